//! The export: what is queued, and who sends it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use gk_hostapi::spans::{self, Span, SpanSink};
use gk_runtime::Runtime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::logs::{LogEntry, LogLayer};
use super::queue::{self, Batches, Queue};
use super::send::{Sender, Trouble};
use super::settings::Settings;
use super::{encode, measures};
use crate::telemetry::Metrics;

/// Maximum time for what is left to be sent when the host ends.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// An export that is set up and has not begun. Log entries are queued from now on.
pub(crate) struct Prepared {
    settings: Settings,
    trouble: Arc<Trouble>,
    spans: Option<(Queue<Span>, Batches<Span>)>,
    logs: Option<(LogLayer, Batches<LogEntry>)>,
}

/// Reads the variables; returns `None` if they name no collector.
///
/// # Errors
/// A value that is not valid, with the name of its variable.
pub(crate) fn prepare() -> Result<Option<Prepared>> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let Some(settings) = Settings::read(variable)? else {
        return Ok(None);
    };
    let trouble = Arc::<Trouble>::default();
    let spans = settings
        .traces
        .as_ref()
        .map(|_| queue::new("traces", &trouble));
    let logs = settings.logs.as_ref().map(|_| {
        let (queue, batches) = queue::new("logs", &trouble);
        (LogLayer::new(queue), batches)
    });
    Ok(Some(Prepared {
        settings,
        trouble,
        spans,
        logs,
    }))
}

#[derive(Debug)]
struct Sink(Queue<Span>);

impl SpanSink for Sink {
    fn ended(&self, span: Span) {
        self.0.push(span);
    }
}

impl Prepared {
    /// Returns the layer that queues log entries.
    pub(crate) fn layer(&self) -> Option<LogLayer> {
        self.logs.as_ref().map(|(layer, _)| layer.clone())
    }

    /// Begins to send. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the client cannot be set up.
    pub(crate) fn start(self, metrics: Metrics, runtime: Runtime) -> Result<Export> {
        let Self {
            settings,
            trouble,
            spans,
            logs,
        } = self;
        let client = settings
            .client()
            .context("the OTLP client cannot be set up")?;
        let sender = |signal, url| Sender::new(client.clone(), signal, url, &settings, &trouble);
        let resource = Arc::new(settings.resource.clone());
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        if let (Some(url), Some((queue, batches))) = (&settings.traces, spans) {
            ensure!(
                spans::record(Sink(queue), settings.sampling),
                "spans are recorded already"
            );
            let (sender, resource) = (sender("traces", url), Arc::clone(&resource));
            let work = batches.each(stop.clone(), async move |batch: Vec<Span>| {
                let items = batch.len();
                sender.send(&encode::spans(&resource, batch), items).await;
            });
            tasks.spawn(work);
        }
        if let (Some(url), Some((_, batches))) = (&settings.logs, logs) {
            let (sender, resource) = (sender("logs", url), Arc::clone(&resource));
            let work = batches.each(stop.clone(), async move |batch: Vec<LogEntry>| {
                let items = batch.len();
                sender.send(&encode::logs(&resource, batch), items).await;
            });
            tasks.spawn(work);
        }
        if let Some(url) = &settings.metrics {
            let (sender, interval) = (sender("metrics", url), settings.metrics_interval);
            let (stop, started) = (stop.clone(), SystemTime::now());
            tasks.spawn(async move {
                loop {
                    let stopped = tokio::time::timeout(interval, stop.cancelled())
                        .await
                        .is_ok();
                    let (metrics, snapshot) = (metrics.clone(), runtime.snapshot());
                    let resource = Arc::clone(&resource);
                    // The processes of the machine are looked at.
                    let work = move || {
                        let mut request = measures::Measures::new(started, SystemTime::now());
                        metrics.visit(&snapshot, |key, value| request.add(key, value));
                        request.finish(&resource)
                    };
                    if let Ok((request, items)) = tokio::task::spawn_blocking(work).await {
                        sender.send(&request, items).await;
                    }
                    if stopped {
                        return;
                    }
                }
            });
        }
        Ok(Export { stop, tasks })
    }
}

/// An export that goes on.
pub(crate) struct Export {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Export {
    /// Sends what is left, for at most [`END_TIMEOUT`].
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(END_TIMEOUT, all).await;
    }
}
