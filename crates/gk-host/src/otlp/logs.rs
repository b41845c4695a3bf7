//! Log lines for the export: the events that go to the host's log, with their own fields.

use std::fmt::{self, Write};
use std::time::SystemTime;

use gk_hostapi::{HexId, TraceContext};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::queue::Queue;

/// Maximum length of a message or of a field's value, in bytes. A longer one is cut.
const TEXT_BYTES_MAX: usize = 4096;

/// Maximum number of fields of an entry. Further ones are left out.
const FIELDS_MAX: usize = 32;

/// Beginnings of the targets of what the export itself does: sending these would make more of them.
const OWN_TARGETS: &[&str] = &["gk_host::otlp", "hyper", "h2", "reqwest", "rustls", "tower"];

/// An event of the host's log.
#[derive(Debug)]
pub(super) struct LogEntry {
    pub(super) time: SystemTime,
    pub(super) level: Level,
    pub(super) target: &'static str,
    pub(super) message: String,
    pub(super) fields: Vec<(&'static str, String)>,
    /// Trace that the event belongs to.
    pub(super) trace_id: Option<HexId<16>>,
}

/// Layer that queues the events of the log. A cheap clone.
#[derive(Debug, Clone)]
pub(crate) struct LogLayer(Queue<LogEntry>);

impl LogLayer {
    pub(super) fn new(queue: Queue<LogEntry>) -> Self {
        Self(queue)
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let target = event.metadata().target();
        if OWN_TARGETS.iter().any(|own| target.starts_with(own)) {
            return;
        }
        let mut entry = LogEntry {
            time: SystemTime::now(),
            level: *event.metadata().level(),
            target,
            message: String::new(),
            fields: Vec::new(),
            trace_id: None,
        };
        event.record(&mut entry);
        self.0.push(entry);
    }
}

impl LogEntry {
    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let mut text = Text(String::new());
        // A text that is full stops the formatting.
        let _ = text.write_fmt(value);
        match field.name() {
            "message" => self.message = text.0,
            "trace_id" => self.trace_id = TraceContext::read_id(&text.0),
            name if self.fields.len() < FIELDS_MAX => self.fields.push((name, text.0)),
            _ => {}
        }
    }
}

impl Visit for LogEntry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}

/// A text of bounded length.
struct Text(String);

impl Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = TEXT_BYTES_MAX.saturating_sub(self.0.len());
        let mut end = room.min(part.len());
        while !part.is_char_boundary(end) {
            end -= 1;
        }
        self.0.push_str(&part[..end]);
        match end == part.len() {
            true => Ok(()),
            false => Err(fmt::Error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tokio_util::sync::CancellationToken;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::otlp::queue;

    #[tokio::test]
    async fn an_event_is_queued_with_its_fields_and_its_trace() {
        let (queue, batches) = queue::new("logs", &Arc::default());
        let subscriber = tracing_subscriber::registry().with(LogLayer::new(queue));
        let long = "ä".repeat(TEXT_BYTES_MAX);
        tracing::subscriber::with_default(subscriber, || {
            let trace_id = "0af7651916cd43dd8448eb211c80319c";
            tracing::warn!(target: "goat", number = 7, trace_id, "it bleats");
            tracing::info!(target: "goat", long, "long");
            tracing::info!(target: "hyper::client", "the export's own");
        });
        let seen = Mutex::new(Vec::new());
        let stop = CancellationToken::new();
        stop.cancel();
        batches
            .each(stop, async |batch| seen.lock().extend(batch))
            .await;
        let seen = seen.into_inner();
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert_eq!((&*seen[0].message, seen[0].target), ("it bleats", "goat"));
        assert_eq!(seen[0].fields, [("number", "7".to_owned())]);
        let trace_id = seen[0].trace_id.unwrap().to_string();
        assert_eq!(trace_id, "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(seen[1].fields[0].1.len(), TEXT_BYTES_MAX);
    }
}
