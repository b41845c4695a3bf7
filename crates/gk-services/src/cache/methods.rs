//! `cache_get`, `cache_set` and `cache_delete`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gk_hostapi::json::read;
use gk_hostapi::policy::Counter;
use gk_hostapi::{Granted, HostError, Method, MethodSpec, Service, ServiceMethod};
use gk_manifest::{Access, PermissionKind};

use super::Cache;
use crate::wire::{Key, KeyValue, OK, found};

const fn spec(name: &'static str, access: Access, denied: &'static str) -> MethodSpec {
    MethodSpec::needing(name, PermissionKind::Cache, Some(access), denied)
        .counted(Counter::CacheOps)
}

/// The methods of the cache.
pub(crate) const METHODS: &[ServiceMethod<Cache>] = &[
    ServiceMethod::new(
        spec("cache_get", Access::Read, "cache access not granted"),
        |cache, granted, args| Box::pin(get(cache, granted, args)),
    ),
    ServiceMethod::new(
        spec("cache_set", Access::Write, "cache write access not granted"),
        |cache, granted, args| Box::pin(set(cache, granted, args)),
    ),
    ServiceMethod::new(
        spec(
            "cache_delete",
            Access::Write,
            "cache delete access not granted",
        ),
        |cache, granted, args| Box::pin(delete(cache, granted, args)),
    ),
];

impl Service for Cache {
    fn methods(self: Arc<Self>) -> Vec<Arc<dyn Method>> {
        ServiceMethod::all(METHODS, &self)
    }
}

async fn get(cache: &Cache, granted: &Granted<'_>, args: Bytes) -> Result<Bytes, HostError> {
    let Key { key } = read(&args)?;
    check_scope(granted, &key, false)?;
    let value = cache
        .get(granted.plugin(), &key, granted.deadline())
        .await?;
    Ok(found(value.as_ref()))
}

async fn set(cache: &Cache, granted: &Granted<'_>, args: Bytes) -> Result<Bytes, HostError> {
    let entry: KeyValue<'_> = read(&args)?;
    check_scope(granted, &entry.key, true)?;
    let ttl = u64::try_from(entry.ttl).ok().filter(|seconds| *seconds > 0);
    let ttl = ttl.map(Duration::from_secs);
    let value = entry.value.into();
    cache
        .set(granted.plugin(), &entry.key, value, ttl, granted.deadline())
        .await?;
    Ok(OK)
}

async fn delete(cache: &Cache, granted: &Granted<'_>, args: Bytes) -> Result<Bytes, HostError> {
    let Key { key } = read(&args)?;
    check_scope(granted, &key, true)?;
    cache
        .delete(granted.plugin(), &key, granted.deadline())
        .await?;
    Ok(OK)
}

fn check_scope(granted: &Granted<'_>, key: &str, write: bool) -> Result<(), HostError> {
    match granted.grants().cache.key(key, write) {
        true => Ok(()),
        false => Err(HostError::denied(format!(
            "cache access to key {:?} not permitted",
            key.chars().take(128).collect::<String>()
        ))),
    }
}
