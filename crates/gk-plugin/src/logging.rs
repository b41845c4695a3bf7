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

use crate::handler;

/// Sends events and panics to the host. A subscriber that is installed already stays.
pub(crate) fn install(level: LevelFilter) {
    // Events of the SDK itself are of interest from `info` on.
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
            let text = handler::panic_text(panic.payload());
            let running = handler::running();
            let function = running.as_deref();
            tracing::error!(%location, function, "panic: {text}");
            // A line each: what a field holds is shown as one, and cut.
            let backtrace = std::backtrace::Backtrace::force_capture().to_string();
            for frame in frames(&backtrace) {
                tracing::error!(function, "    at {frame}");
            }
        }));
    }
}

/// Frames of a panic that are logged.
const FRAMES_MAX: usize = 16;

/// Beginnings of frames that say nothing of the plugin: how a panic is made, and how calls are run.
const INNER_FRAMES: &[&str] = &[
    "std::",
    "core::",
    "<core::",
    "<alloc::",
    "alloc::",
    "__rust",
    "rust_",
    "tokio::",
    "<tokio::",
    "gk_plugin::",
    "<gk_plugin::",
    "gk_protocol::",
    "<gk_protocol::",
    "clone",
    "start_thread",
    "_start",
    "__libc_",
];

/// The frames of a backtrace that are known and the plugin's, each with its place. The program is
/// started from sealed memory, where its symbols cannot always be read: then there are none.
fn frames(backtrace: &str) -> Vec<String> {
    let mut frames: Vec<String> = Vec::new();
    let mut inside = false;
    for line in backtrace.lines().map(str::trim) {
        if let Some(place) = line.strip_prefix("at ") {
            if let Some(frame) = frames.last_mut().filter(|_| inside) {
                frame.push_str(&format!(" ({place})"));
            }
            continue;
        }
        let name = line.split_once(": ").map_or(line, |(_, name)| name);
        inside = name != "<unknown>" && !INNER_FRAMES.iter().any(|inner| name.starts_with(inner));
        if inside {
            frames.push(name.to_owned());
        }
    }
    frames.truncate(FRAMES_MAX);
    frames
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
    use super::frames;

    #[test]
    fn only_frames_that_say_something_are_told() {
        let backtrace = "   0: <unknown>\n   1: std::panicking::panic\n             at /rustc/x.rs:1\n   \
                         2: goat::bleat::{{closure}}\n             at src/goat.rs:1:5\n   3: <unknown>\n   \
                         4: tokio::runtime::x\n             at /tokio.rs:9\n   5: goat::main\n";
        assert_eq!(
            frames(backtrace),
            ["goat::bleat::{{closure}} (src/goat.rs:1:5)", "goat::main"]
        );
        assert!(frames("   0: <unknown>\n   1: <unknown>\n").is_empty());
    }
}
