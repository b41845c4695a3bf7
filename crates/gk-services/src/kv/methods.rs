//! `kv_get`, `kv_set`, `kv_delete` and `kv_list`.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use gk_hostapi::json::{read, write};
use gk_hostapi::policy::Queue;
use gk_hostapi::{Granted, HostError, Method, MethodSpec, Service, ServiceMethod};
use serde::Deserialize;
use serde_json::json;

use super::{Kv, KvCondition, KvWritten};
use crate::wire::{Binary, Key, Listing, OK, found, found_with};

const fn spec(name: &'static str) -> MethodSpec {
    MethodSpec::free(name).queued(Queue::Store)
}

/// The methods of keys and values.
pub(crate) const METHODS: &[ServiceMethod<Kv>] = &[
    ServiceMethod::new(spec("kv_get"), |kv, granted, args| {
        Box::pin(get(kv, granted, args))
    }),
    ServiceMethod::new(spec("kv_set"), |kv, granted, args| {
        Box::pin(set(kv, granted, args))
    }),
    ServiceMethod::new(spec("kv_delete"), |kv, granted, args| {
        Box::pin(delete(kv, granted, args))
    }),
    ServiceMethod::new(spec("kv_list"), |kv, granted, args| {
        Box::pin(list(kv, granted, args))
    }),
];

impl Service for Kv {
    fn methods(self: Arc<Self>) -> Vec<Arc<dyn Method>> {
        ServiceMethod::all(METHODS, &self)
    }
}

/// A key, its value, and the version that it must have: 0 for no such key.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(default)]
    value: Binary,
    #[serde(default)]
    if_version: Option<u64>,
}

async fn get(kv: &Kv, granted: &Granted<'_>, args: Bytes) -> Result<Bytes, HostError> {
    let Key { key } = read(&args)?;
    Ok(match kv.get(granted.plugin(), &key).await? {
        Some(stored) => {
            let tail = format!(r#"","found":true,"version":{}}}"#, stored.version);
            found_with(&stored.value, &tail)
        }
        None => found(None),
    })
}

async fn set(kv: &Kv, granted: &Granted<'_>, args: Bytes) -> Result<Bytes, HostError> {
    let entry: Entry<'_> = read(&args)?;
    let condition = match entry.if_version {
        None => KvCondition::Any,
        Some(0) => KvCondition::Absent,
        Some(version) => KvCondition::Version(version),
    };
    let set = kv.set(granted.plugin(), &entry.key, entry.value.into(), condition);
    write(&match set.await? {
        KvWritten::Stored(version) => json!({ "ok": true, "version": version }),
        KvWritten::Conflict(version) => json!({ "ok": false, "version": version.unwrap_or(0) }),
    })
}

async fn delete(kv: &Kv, granted: &Granted<'_>, args: Bytes) -> Result<Bytes, HostError> {
    let Key { key } = read(&args)?;
    kv.delete(granted.plugin(), &key).await?;
    Ok(OK)
}

async fn list(kv: &Kv, granted: &Granted<'_>, args: Bytes) -> Result<Bytes, HostError> {
    let Listing {
        prefix,
        after,
        limit,
    } = read(&args)?;
    let page = kv.list(granted.plugin(), &prefix, after.as_deref(), limit);
    let page = page.await?;
    write(&json!({ "keys": page.keys, "next": page.next }))
}
