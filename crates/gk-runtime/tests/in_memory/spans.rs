//! Spans of the runtime, as a subscriber sees them.

use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::*;

/// Collects the spans up to a level, with their fields, and counts messages in the plugin's log.
struct Spans {
    max: LevelFilter,
    seen: Arc<Mutex<Vec<String>>>,
    messages: Arc<AtomicUsize>,
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.max
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.max)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields(span.metadata().name().to_owned());
        span.record(&mut fields);
        let mut seen = self.seen.lock();
        if span.metadata().target().starts_with("gk_runtime") {
            if span.is_root() {
                fields.0.push_str(" (root)");
            }
            seen.push(fields.0);
        }
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        if !event.metadata().target().starts_with("gk_runtime::log") {
            return;
        }
        self.messages.fetch_add(1, Ordering::Relaxed);
        // A log line would say the span's fields twice.
        if !event.is_root() {
            self.seen.lock().push("a message within a span".to_owned());
        }
    }

    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

async fn spans(max: LevelFilter) -> Vec<String> {
    let (seen, messages) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
    let subscriber = Spans {
        max,
        seen: Arc::clone(&seen),
        messages: Arc::clone(&messages),
    };
    let _guard = tracing::subscriber::set_default(subscriber);
    let (host, _) = Host::new().with("goat", "", Fake::default());
    let (runtime, _root) = host.settled().await;
    call(&runtime, "echo", "1").await.unwrap();
    within(runtime.shutdown()).await;
    assert_ne!(messages.load(Ordering::Relaxed), 0);
    let spans = seen.lock();
    spans.clone()
}

#[tokio::test]
async fn a_generation_and_each_of_its_calls_have_a_span() {
    let generation = "generation plugin=goat generation=1 (root)";
    let call = "call plugin=goat generation=1 function=\"echo\"";
    assert_eq!(spans(LevelFilter::DEBUG).await, [generation, call]);
    assert_eq!(spans(LevelFilter::INFO).await, [generation]);
}
