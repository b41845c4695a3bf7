//! `kv_get`, `kv_set`, `kv_delete` and `kv_list`.

use std::sync::Arc;

use bytes::Bytes;
use gk_hostapi::json::{read, write};
use gk_hostapi::policy::Queue;
use gk_hostapi::{Granted, HostError, Method, MethodSpec, Service, ServiceMethod};
use serde_json::json;

use super::Kv;
use crate::wire::{Key, KeyValue, Listing, OK, found};

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

async fn get(kv: &Kv, granted: &Granted<'_>, args: Bytes) -> Result<Bytes, HostError> {
    let Key { key } = read(&args)?;
    let value = kv.get(granted.plugin(), &key).await?;
    Ok(found(value.as_ref()))
}

async fn set(kv: &Kv, granted: &Granted<'_>, args: Bytes) -> Result<Bytes, HostError> {
    let entry: KeyValue<'_> = read(&args)?;
    kv.set(granted.plugin(), &entry.key, entry.value.into())
        .await?;
    Ok(OK)
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
