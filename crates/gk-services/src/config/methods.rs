//! `config_get`.

use std::sync::Arc;

use bytes::Bytes;
use gk_hostapi::json::read;
use gk_hostapi::{Granted, HostError, Method, MethodSpec, Service, ServiceMethod};
use gk_manifest::{Access, PermissionKind};

use super::Config;
use crate::wire::{Key, not_granted, value_of};

/// The method of the configuration.
pub(crate) const METHODS: &[ServiceMethod<Config>] = &[ServiceMethod::new(
    MethodSpec::needing(
        "config_get",
        PermissionKind::Config,
        Some(Access::Read),
        "config access not granted",
    ),
    |config, granted, args| Box::pin(async move { get(config, granted, &args) }),
)];

impl Service for Config {
    fn methods(self: Arc<Self>) -> Vec<Arc<dyn Method>> {
        ServiceMethod::all(METHODS, &self)
    }
}

fn get(config: &Config, granted: &Granted<'_>, args: &[u8]) -> Result<Bytes, HostError> {
    let Key { key } = read(args)?;
    let scope = granted.grants().config.as_ref().ok_or_else(not_granted)?;
    value_of(granted, config.get(&key, scope)?)
}
