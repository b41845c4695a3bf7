//! Bounds of the host's log, for lines from any source: the length of a line, and the number of
//! lines in a second.

use std::cell::RefCell;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::json;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, Json, Writer};
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

/// Maximum length of a log line in bytes, its end included. A longer one is cut.
pub(super) const LINE_BYTES_MAX: usize = 16 * 1024;

/// Maximum number of log lines in any one second. Further ones are dropped and counted.
pub(super) const LINES_PER_SECOND_MAX: u32 = 200;

/// Number of lines, of [`LINES_PER_SECOND_MAX`], that only warnings and errors of the host may use.
const RESERVED_LINES: u32 = 50;

/// Number of further lines while the host starts, in total: many plugins come up in one second, and
/// each writes several lines.
const START_LINES: u32 = 2000;

/// Number of parts of a second in which lines are counted.
const PARTS: usize = 10;

/// Space for the note at the end of a line that was cut, in bytes.
const CUT_BYTES: usize = 64;

/// Number of bytes that are shown of a JSON line that was cut; escaping may turn one byte into six.
const CUT_JSON_BYTES: usize = (LINE_BYTES_MAX - 1024) / 6;

/// Target of the lines that plugins write, which must not use up the host's own reserve.
const PLUGIN_TARGET: &str = "plugin";

/// Module of the runtime whose lines about plugins must not use up that reserve either.
const RUNTIME_TARGET: &str = "gk_runtime::log";

/// Limit of the number of log lines. A cheap clone.
#[derive(Debug, Clone)]
pub(crate) struct Limit {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    window: Mutex<Window>,
    /// Remaining lines of [`START_LINES`].
    start: AtomicU32,
    /// Number of dropped lines that were not reported yet.
    dropped: AtomicU64,
}

/// Counts of the lines in the last second, by part.
#[derive(Debug)]
struct Window {
    began: Instant,
    now: u64,
    parts: [u32; PARTS],
}

impl Window {
    /// Counts a line if fewer than `limit` were counted within a second.
    fn admit(&mut self, limit: u32, now: Instant) -> bool {
        const PART: Duration = Duration::from_millis(1000 / PARTS as u64);
        let elapsed = now.saturating_duration_since(self.began);
        let part = u64::try_from(elapsed.as_nanos() / PART.as_nanos()).unwrap_or(u64::MAX);
        let passed = part.saturating_sub(self.now);
        for step in 1..=passed.min(PARTS as u64) {
            self.parts[part_index(self.now + step)] = 0;
        }
        self.now = self.now.max(part);
        if self.parts.iter().sum::<u32>() >= limit {
            return false;
        }
        self.parts[part_index(self.now)] += 1;
        true
    }
}

fn part_index(part: u64) -> usize {
    // The remainder is below PARTS.
    usize::try_from(part % PARTS as u64).unwrap_or_default()
}

impl Limit {
    pub(super) fn new() -> Self {
        let window = Window {
            began: Instant::now(),
            now: 0,
            parts: [0; PARTS],
        };
        Limit {
            shared: Arc::new(Shared {
                window: Mutex::new(window),
                start: AtomicU32::new(START_LINES),
                dropped: AtomicU64::new(0),
            }),
        }
    }

    /// Ends the start of the host: from now on [`LINES_PER_SECOND_MAX`] holds without exception.
    pub(crate) fn started(&self) {
        self.shared.start.store(0, Ordering::Relaxed);
    }

    /// Returns the limit as a filter, so that dropped lines are not formatted.
    pub(super) fn filter(&self) -> Admit {
        Admit(self.clone())
    }

    fn admit(&self, metadata: &Metadata<'_>, now: Instant) -> bool {
        let target = metadata.target();
        let is_plugins = target == PLUGIN_TARGET || target.starts_with(RUNTIME_TARGET);
        let important = !is_plugins && *metadata.level() <= tracing::Level::WARN;
        let limit = if important {
            LINES_PER_SECOND_MAX
        } else {
            LINES_PER_SECOND_MAX - RESERVED_LINES
        };
        let shared = &self.shared;
        if shared.window.lock().admit(limit, now) {
            return true;
        }
        let take = |left: u32| left.checked_sub(1);
        if shared
            .start
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
        {
            return true;
        }
        shared.dropped.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("gk_log_lines_dropped_total").increment(1);
        false
    }
}

/// Filter that lets through the events that [`Limit`] admits.
pub(super) struct Admit(Limit);

impl<S> Filter<S> for Admit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.0.admit(event.metadata(), Instant::now())
    }
}

/// A format that cuts lines at [`LINE_BYTES_MAX`], and reports dropped lines before the next one.
pub(super) struct Capped<F> {
    format: F,
    /// Format of events without a parent, where `format` would show the current span.
    root: Option<F>,
    limit: Limit,
    json: bool,
}

impl<T: Clone> Capped<Format<Json, T>> {
    /// Creates a format of one JSON object a line. A line that is too long becomes an object with
    /// its beginning.
    pub(super) fn json(format: Format<Json, T>, limit: Limit) -> Self {
        let format = format.with_span_list(false);
        Capped {
            root: Some(format.clone().with_current_span(false)),
            format,
            limit,
            json: true,
        }
    }
}

impl<F> Capped<F> {
    /// Creates a format for people.
    pub(super) fn text(format: F, limit: Limit) -> Self {
        Capped {
            format,
            root: None,
            limit,
            json: false,
        }
    }

    fn write_line(&self, writer: &mut Writer<'_>, line: &Line, level: &str) -> fmt::Result {
        let dropped = self.limit.shared.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let text = format!(
                "{dropped} log lines were dropped: more than {LINES_PER_SECOND_MAX} in a second"
            );
            match self.json {
                true => writeln!(writer, "{}", object("WARN", &text, dropped))?,
                false => writeln!(writer, "WARN gk_host: {text}")?,
            }
        }
        if !line.full {
            return writer.write_str(&line.text);
        }
        let bytes = line.text.len();
        match self.json {
            true => {
                let shown = shorten(&line.text, CUT_JSON_BYTES);
                let text = format!("this line was longer than {bytes} bytes; it began: {shown}");
                writeln!(writer, "{}", object(level, &text, 0))
            }
            false => writeln!(
                writer,
                "{} [cut: longer than {bytes} bytes]",
                line.text.trim_end()
            ),
        }
    }
}

/// Returns a line of the host's log that has no event.
fn object(level: &str, text: &str, dropped: u64) -> serde_json::Value {
    let now = time::OffsetDateTime::now_utc()
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap_or_default();
    let mut object = json!({
        "timestamp": now, "level": level, "target": "gk_host", "fields": { "message": text },
    });
    if dropped > 0 {
        object["fields"]["dropped"] = dropped.into();
    }
    object
}

fn shorten(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

impl<S, N, F> FormatEvent<S, N> for Capped<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        thread_local! {
            static LINE: RefCell<Line> = RefCell::default();
        }
        LINE.with(|line| {
            let Ok(mut line) = line.try_borrow_mut() else {
                // The event was logged while a value of another line is formatted.
                return Ok(());
            };
            line.text.clear();
            line.full = false;
            let root = self.root.as_ref().filter(|_| event.is_root());
            let format = root.unwrap_or(&self.format);
            let formatted = format.format_event(context, Writer::new(&mut *line), event);
            if !line.full {
                formatted?;
            }
            self.write_line(&mut writer, &line, event.metadata().level().as_str())
        })
    }
}

/// A buffer of bounded size for one line.
#[derive(Debug, Default)]
struct Line {
    text: String,
    full: bool,
}

impl Write for Line {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = (LINE_BYTES_MAX - CUT_BYTES).saturating_sub(self.text.len());
        let taken = shorten(part, room);
        self.text.push_str(taken);
        if taken.len() < part.len() {
            self.full = true;
            // Stops the formatting of a value that may be much longer.
            return Err(fmt::Error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::{Layer, SubscriberExt};

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Log {
        type Writer = Log;

        fn make_writer(&'a self) -> Log {
            self.clone()
        }
    }

    fn logged(json: bool, work: impl FnOnce(&Limit)) -> Vec<String> {
        let (log, limit) = (Log::default(), Limit::new());
        let lines = tracing_subscriber::fmt::layer().with_writer(log.clone());
        let admit = limit.filter();
        if json {
            let lines = lines
                .json()
                .map_event_format(|format| Capped::json(format, limit.clone()))
                .with_filter(admit);
            let subscriber = tracing_subscriber::registry().with(lines);
            tracing::subscriber::with_default(subscriber, || work(&limit));
        } else {
            let lines = lines
                .with_ansi(false)
                .map_event_format(|format| Capped::text(format, limit.clone()))
                .with_filter(admit);
            let subscriber = tracing_subscriber::registry().with(lines);
            tracing::subscriber::with_default(subscriber, || work(&limit));
        }
        let bytes = log.0.lock().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_line_is_cut_at_its_limit_in_both_forms() {
        for json in [false, true] {
            for fill in ["x", "\u{1}", "\"", "ü"] {
                let name = fill.repeat(600_000);
                let lines = logged(json, |_| {
                    tracing::warn!(name, "a header is not one");
                    tracing::warn!("{name:?}");
                    tracing::info!("short");
                });
                assert_eq!(lines.len(), 3, "{fill:?}");
                for line in &lines {
                    assert!(line.len() < LINE_BYTES_MAX, "{} bytes", line.len());
                    if json {
                        serde_json::from_str::<serde_json::Value>(line).unwrap();
                    }
                }
                assert!(lines[0].contains("longer than") && lines[0].len() > 1000);
                assert!(lines[2].contains("short"));
            }
        }
    }

    #[test]
    fn a_second_has_its_lines_and_the_rest_is_counted() {
        let lines = logged(false, |limit| {
            limit.started();
            for number in 0..10_000 {
                tracing::info!(number, "flood");
            }
            tracing::error!("what matters");
        });
        let flood = lines.iter().filter(|line| line.contains("flood")).count();
        // The loop may begin in one second and end in another.
        let dropped: usize = lines
            .iter()
            .filter(|line| line.contains("log lines were dropped"))
            .map(|line| {
                line.split_whitespace()
                    .nth(2)
                    .unwrap()
                    .parse::<usize>()
                    .unwrap()
            })
            .sum();
        assert_eq!(flood + dropped, 10_000);
        assert!(dropped > 0, "{flood}");
        assert!(lines.last().unwrap().contains("what matters"));
    }

    #[test]
    fn no_second_has_more_than_its_lines() {
        let began = Instant::now();
        let mut window = Window {
            began,
            now: 0,
            parts: [0; PARTS],
        };
        let mut admitted = Vec::new();
        for millisecond in 0..5000_u64 {
            let now = began + Duration::from_millis(millisecond);
            for _ in 0..3 {
                if window.admit(LINES_PER_SECOND_MAX, now) {
                    admitted.push(millisecond);
                }
            }
        }
        for from in &admitted {
            let within = admitted
                .iter()
                .filter(|at| (*from..from + 900).contains(*at));
            assert!(within.count() <= LINES_PER_SECOND_MAX as usize);
        }
        assert!(admitted.len() >= 4 * LINES_PER_SECOND_MAX as usize);
    }

    /// Lines of plugins have their own target; the runtime's lines about them have its module's.
    #[test]
    fn plugins_leave_the_host_its_reserve() {
        for target in [PLUGIN_TARGET, "gk_runtime::log::sink"] {
            let lines = logged(false, |limit| {
                limit.started();
                for number in 0..10_000 {
                    match target {
                        PLUGIN_TARGET => tracing::error!(target: PLUGIN_TARGET, number, "flood"),
                        _ => tracing::error!(target: "gk_runtime::log::sink", number, "flood"),
                    }
                }
                tracing::error!("what matters");
            });
            assert!(lines.last().unwrap().contains("what matters"), "{target}");
        }
    }

    #[test]
    fn the_fields_of_a_span_are_shown_once() {
        for json in [false, true] {
            let lines = logged(json, |_| {
                let span = tracing::info_span!("generation", plugin = %"goat", generation = 7);
                let _inside = span.enter();
                tracing::warn!("an event without fields");
                tracing::warn!(parent: None, plugin = "goat", generation = 7, "an event of the log");
            });
            assert_eq!(lines.len(), 2);
            for line in &lines {
                assert_eq!(line.matches("goat").count(), 1, "{line}");
            }
        }
    }

    #[test]
    fn a_start_may_say_more() {
        let lines = logged(false, |_| {
            for number in 0..1000 {
                tracing::info!(number, "plugin is up");
            }
        });
        assert_eq!(lines.len(), 1000);
    }
}
