//! `translate`, and the texts of registrations.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use gk_hostapi::json::read;
use gk_hostapi::{ErrorKind, Granted, HostError, Method, MethodSpec, Service, ServiceMethod};
use gk_manifest::{PluginName, Registration};
use serde::Deserialize;
use serde_json::Value;

use super::{Catalogue, FALLBACK};
use crate::wire::{or_default, value_of};

/// The method of the catalogue.
pub(crate) const METHODS: &[ServiceMethod<Catalogue>] = &[ServiceMethod::new(
    MethodSpec::free("translate"),
    |catalogue, granted, args| Box::pin(async move { translate(catalogue, granted, &args) }),
)];

impl Service for Catalogue {
    fn methods(self: Arc<Self>) -> Vec<Arc<dyn Method>> {
        ServiceMethod::all(METHODS, &self)
    }

    fn prepare(
        &self,
        plugin: &PluginName,
        generation: u64,
        registration: &Registration,
    ) -> Result<(), HostError> {
        match Catalogue::prepare(self, plugin, generation, registration.i18n.as_ref()) {
            // A plugin that took this one's namespace first must not keep it from starting.
            Err(error) if error.kind() == ErrorKind::Denied => {
                tracing::warn!(%plugin, %error, "its translations are left out");
                Ok(())
            }
            prepared => prepared,
        }
    }

    fn commit(&self, plugin: &PluginName, generation: u64) {
        Catalogue::commit(self, plugin, generation);
    }

    fn ended(&self, plugin: &PluginName, generation: u64) {
        self.remove(plugin, generation);
    }
}

#[derive(Deserialize)]
struct Translation<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(default, deserialize_with = "or_default")]
    args: Vec<Value>,
}

fn translate(
    catalogue: &Catalogue,
    granted: &Granted<'_>,
    args: &[u8],
) -> Result<Bytes, HostError> {
    let wanted: Translation<'_> = read(args)?;
    let language = granted.call().and_then(|call| call.language.as_deref());
    let language = language.unwrap_or(FALLBACK);
    let text = catalogue.translate(granted.plugin(), language, &wanted.key, &wanted.args);
    value_of(granted, &text)
}
