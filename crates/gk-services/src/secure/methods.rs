//! `secure_config_get` and `secure_config_set`.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use gk_hostapi::json::{read, write};
use gk_hostapi::policy::Queue;
use gk_hostapi::{Granted, HostError, Method, MethodSpec, Service, ServiceMethod};
use serde::Deserialize;
use serde_json::json;

use super::{Secret, SecureConfig};
use crate::wire::{Key, STATUS_OK};

/// The methods of the secrets.
pub(crate) const METHODS: &[ServiceMethod<SecureConfig>] = &[
    ServiceMethod::new(
        MethodSpec::free("secure_config_get").queued(Queue::Store),
        |secure, granted, args| Box::pin(get(secure, granted, args)),
    ),
    ServiceMethod::new(
        MethodSpec::free("secure_config_set").queued(Queue::Store),
        |secure, granted, args| Box::pin(set(secure, granted, args)),
    ),
];

impl Service for SecureConfig {
    fn methods(self: Arc<Self>) -> Vec<Arc<dyn Method>> {
        ServiceMethod::all(METHODS, &self)
    }
}

#[derive(Deserialize)]
struct KeyText<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    value: String,
}

async fn get(
    secure: &SecureConfig,
    granted: &Granted<'_>,
    args: Bytes,
) -> Result<Bytes, HostError> {
    let Key { key } = read(&args)?;
    let secret = secure.get(granted.plugin(), &key).await?;
    write(&json!({ "value": secret.expose() }))
}

async fn set(
    secure: &SecureConfig,
    granted: &Granted<'_>,
    args: Bytes,
) -> Result<Bytes, HostError> {
    let KeyText { key, value } = read(&args)?;
    let secret = Secret::new(value);
    secure.set(granted.plugin(), &key, &secret).await?;
    Ok(STATUS_OK)
}
