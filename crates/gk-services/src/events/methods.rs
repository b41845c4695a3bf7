//! `publish_event`.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use gk_hostapi::json::read;
use gk_hostapi::{Granted, HostError, Method, MethodSpec, Service, ServiceMethod};
use gk_manifest::PluginName;
use serde::Deserialize;
use serde_json::Value;

use super::Events;
use crate::wire::STATUS_OK;

/// The method of the events.
pub(crate) const METHODS: &[ServiceMethod<Events>] = &[ServiceMethod::new(
    MethodSpec::free("publish_event"),
    |events, granted, args| Box::pin(publish(events, granted, args)),
)];

impl Service for Events {
    fn methods(self: Arc<Self>) -> Vec<Arc<dyn Method>> {
        ServiceMethod::all(METHODS, &self)
    }

    fn stopped(&self, plugin: &PluginName) {
        // Subscriptions are the plugin's: they go on while it is started again.
        self.close(plugin);
    }
}

#[derive(Deserialize)]
struct Publication<'a> {
    #[serde(borrow, default)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    #[serde(default)]
    data: Value,
}

async fn publish(events: &Events, granted: &Granted<'_>, args: Bytes) -> Result<Bytes, HostError> {
    let Publication {
        channel,
        event_type,
        data,
    } = read(&args)?;
    let plugin = granted.plugin();
    events.publish(plugin, &channel, &event_type, &data).await?;
    Ok(STATUS_OK)
}
