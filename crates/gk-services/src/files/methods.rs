//! `store_file`, `get_file`, `delete_file` and `list_files`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use gk_hostapi::json::{read, write};
use gk_hostapi::policy::Queue;
use gk_hostapi::{Granted, HostError, Method, MethodSpec, Service, ServiceMethod};
use gk_manifest::{Access, PermissionKind};
use serde::Deserialize;
use serde_json::json;

use super::Files;
use crate::wire::{Binary, Key, Listing, STATUS_OK, or_default};

const fn reading(name: &'static str) -> MethodSpec {
    let denied = "file read access not granted";
    MethodSpec::needing(name, PermissionKind::File, Some(Access::Read), denied)
}

const fn writing(name: &'static str) -> MethodSpec {
    let denied = "file write access not granted";
    MethodSpec::needing(name, PermissionKind::File, Some(Access::Write), denied)
}

/// The methods of the files.
pub(crate) const METHODS: &[ServiceMethod<Files>] = &[
    ServiceMethod::new(
        writing("store_file").queued(Queue::Files),
        |files, granted, args| Box::pin(store(files, granted, args)),
    ),
    ServiceMethod::new(
        reading("get_file").queued(Queue::Files),
        |files, granted, args| Box::pin(get(files, granted, args)),
    ),
    ServiceMethod::new(writing("delete_file"), |files, granted, args| {
        Box::pin(delete(files, granted, args))
    }),
    ServiceMethod::new(reading("list_files"), |files, granted, args| {
        Box::pin(list(files, granted, args))
    }),
];

impl Service for Files {
    fn methods(self: Arc<Self>) -> Vec<Arc<dyn Method>> {
        ServiceMethod::all(METHODS, &self)
    }
}

#[derive(Deserialize)]
struct NewFile<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(default)]
    data: Binary,
    #[serde(default, deserialize_with = "or_default")]
    metadata: BTreeMap<String, String>,
}

async fn store(files: &Files, granted: &Granted<'_>, args: Bytes) -> Result<Bytes, HostError> {
    let file: NewFile<'_> = read(&args)?;
    let quota = Some(granted.policy().max_file_storage_bytes).filter(|bytes| *bytes > 0);
    let data = file.data.into();
    files
        .store(granted.plugin(), &file.key, data, &file.metadata, quota)
        .await?;
    Ok(STATUS_OK)
}

async fn get(files: &Files, granted: &Granted<'_>, args: Bytes) -> Result<Bytes, HostError> {
    let Key { key } = read(&args)?;
    let file = files.get(granted.plugin(), &key).await?;
    write(&json!({ "data": BASE64.encode(&file.data), "metadata": file.metadata }))
}

async fn delete(files: &Files, granted: &Granted<'_>, args: Bytes) -> Result<Bytes, HostError> {
    let Key { key } = read(&args)?;
    files.delete(granted.plugin(), &key).await?;
    Ok(STATUS_OK)
}

async fn list(files: &Files, granted: &Granted<'_>, args: Bytes) -> Result<Bytes, HostError> {
    let Listing {
        prefix,
        after,
        limit,
    } = read(&args)?;
    let page = files.list(granted.plugin(), &prefix, after.as_deref(), limit);
    write(&page.await?.files)
}
