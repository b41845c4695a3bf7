//! The export of a host that is built without it.

use std::convert::Infallible;

use anyhow::{Result, ensure};
use gk_runtime::Runtime;

use crate::telemetry::Metrics;

/// The layer that queues log entries.
type LogLayer = tracing_subscriber::layer::Identity;

/// An export that is set up.
pub(crate) struct Prepared(Infallible);

/// An export that goes on.
pub(crate) struct Export(Infallible);

/// Returns `None` if the variables name no collector.
///
/// # Errors
/// If they name one: nothing would get there.
pub(crate) fn prepare() -> Result<Option<Prepared>> {
    for name in [
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
    ] {
        ensure!(
            std::env::var_os(name).is_none_or(|value| value.is_empty()),
            "{name} is set, and this host is built without the feature otlp"
        );
    }
    Ok(None)
}

impl Prepared {
    pub(crate) fn layer(&self) -> Option<LogLayer> {
        match self.0 {}
    }

    pub(crate) fn start(self, _: Metrics, _: Runtime) -> Result<Export> {
        match self.0 {}
    }
}

impl Export {
    pub(crate) async fn end(self) {
        match self.0 {}
    }
}
