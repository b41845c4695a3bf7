//! `tracing` events as hclog's JSON lines on stderr, which the host reads as records.

use std::fmt;
use std::io::Write;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Sends events and panics to the host. A subscriber that is installed already stays.
pub(crate) fn install(level: LevelFilter) {
    // What the SDK itself has to say is of interest from `info` on.
    let quiet = level.min(LevelFilter::INFO);
    let targets = ["gk_wire", "gk_protocol", "tokio"].map(|target| (target, quiet));
    let targets = Targets::new().with_default(level).with_targets(targets);
    if tracing_subscriber::registry()
        .with(Hclog.with_filter(targets))
        .try_init()
        .is_ok()
    {
        std::panic::set_hook(Box::new(|panic| {
            let location = panic
                .location()
                .map(ToString::to_string)
                .unwrap_or_default();
            let backtrace = known(std::backtrace::Backtrace::force_capture().to_string());
            let payload = panic.payload();
            let text = payload
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
            tracing::error!(%location, %backtrace, "panic: {}", text.unwrap_or("(no text)"));
        }));
    }
}

/// A backtrace, unless nothing in it is known: the program is started from sealed memory, where its symbols cannot always
/// be read, and a page of unknown frames hides the rest of the log.
fn known(backtrace: String) -> String {
    let unknown = |frame: &str| frame.trim_end().ends_with(": <unknown>");
    if backtrace.lines().all(unknown) {
        "not known: there are no symbols to read; location says where it was".to_owned()
    } else {
        backtrace
    }
}

struct Hclog;

impl<S: Subscriber> Layer<S> for Hclog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = line(event);
        // Without stderr there is nobody to tell.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

fn line(event: &Event<'_>) -> String {
    let mut record = Map::new();
    let level = match *event.metadata().level() {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    };
    let mut time = String::new();
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    record.insert("@level".into(), level.into());
    record.insert("@module".into(), event.metadata().target().into());
    record.insert("@timestamp".into(), time.into());
    record.insert("@message".into(), Value::default());
    event.record(&mut Fields(&mut record));
    if record.get("@message").is_some_and(Value::is_null) {
        record.insert("@message".into(), event.metadata().name().into());
    }
    let mut line = Value::Object(record).to_string();
    line.push('\n');
    line
}

struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn insert(&mut self, field: &Field, value: Value) {
        // An event's own field must not pass for one of hclog's.
        let name = match field.name() {
            "message" => "@message",
            name => name.trim_start_matches('@'),
        };
        self.0.insert(name.to_owned(), value);
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use super::known;

    #[test]
    fn a_backtrace_that_says_nothing_is_left_out() {
        let unknown = "   0: <unknown>\n   1: <unknown>\n";
        assert!(!known(unknown.to_owned()).contains("<unknown>"));
        let half = format!("{unknown}   2: goat::bleat\n             at src/goat.rs:1\n");
        assert_eq!(known(half.clone()), half);
    }
}
