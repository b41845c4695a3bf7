//! The log, the metrics and their export, as a host that serves sets them up.

use anyhow::Result;
use gk_runtime::Runtime;

use crate::config::Config;
use crate::{otlp, telemetry};

/// What is set up before there is an asynchronous runtime.
pub(crate) struct Observation {
    pub(crate) metrics: telemetry::Metrics,
    pub(crate) log: telemetry::Limit,
    export: Option<otlp::Prepared>,
}

/// An export that goes on, if there is one.
pub(crate) struct Exporting(Option<otlp::Export>);

impl Observation {
    /// Sets up log and metrics, and returns the handle of the log's filter.
    pub(crate) fn set_up(config: &Config) -> Result<(Self, telemetry::LogFilter)> {
        let export = otlp::prepare()?;
        let layer = export.as_ref().and_then(otlp::Prepared::layer);
        let layer = layer.map(|layer| Box::new(layer) as telemetry::Exported);
        let (log, filter) = telemetry::log(config, layer)?;
        let observation = Self {
            metrics: telemetry::metrics()?,
            log,
            export,
        };
        Ok((observation, filter))
    }

    /// Begins the export. Must be called within a tokio runtime.
    pub(crate) fn export(&mut self, runtime: &Runtime) -> Result<Exporting> {
        let export = self.export.take();
        let start = |export: otlp::Prepared| export.start(self.metrics.clone(), runtime.clone());
        Ok(Exporting(export.map(start).transpose()?))
    }
}

impl Exporting {
    /// Sends what is left, for a short time.
    pub(crate) async fn end(self) {
        if let Some(export) = self.0 {
            export.end().await;
        }
    }
}
