//! The last log entries of one plugin, bounded by number and by bytes.

use std::collections::VecDeque;
use std::time::SystemTime;

use gk_hostapi::LogLevel;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Origin of a log entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LogSource {
    /// A line the plugin wrote to stdout.
    Stdout,
    /// A line the plugin wrote to stderr.
    Stderr,
    /// A record sent through the host API's `log`.
    HostApi,
    /// A line from the host, about the plugin.
    Host,
}

impl LogSource {
    /// The source's name: `stdout`, `stderr`, `host_api` or `host`.
    pub fn as_str(self) -> &'static str {
        match self {
            LogSource::Stdout => "stdout",
            LogSource::Stderr => "stderr",
            LogSource::HostApi => "host_api",
            LogSource::Host => "host",
        }
    }
}

/// An entry in a plugin's log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogEntry {
    /// Number of the entry, counted from 1 across the plugin's generations; a later read can go on
    /// from it.
    pub sequence: u64,
    /// Time at which the host received the entry.
    pub time: SystemTime,
    /// Generation of the process that wrote the entry; 0 for entries before the first.
    pub generation: u64,
    /// Severity of the entry.
    pub level: LogLevel,
    /// Origin of the entry.
    pub source: LogSource,
    /// Text of the entry, control characters escaped.
    pub message: String,
    /// Names and values of a structured record.
    pub fields: Vec<(String, String)>,
}

impl LogEntry {
    /// Size of the entry in the ring, in bytes: its texts and its own size.
    fn cost_bytes(&self) -> usize {
        let fields: usize = self
            .fields
            .iter()
            .map(|(name, value)| name.len() + value.len() + 2 * size_of::<String>())
            .sum();
        size_of::<Self>() + self.message.len() + fields
    }
}

/// Selection of entries to read.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LogQuery {
    /// Only entries with a higher sequence number.
    pub after: u64,
    /// Only entries of at least this severity.
    pub min_level: Option<LogLevel>,
    /// Only entries received at this time or later.
    pub since: Option<SystemTime>,
    /// Only entries whose text contains this.
    pub contains: Option<String>,
    /// Maximum number of entries, the newest ones.
    pub limit: Option<usize>,
}

impl LogQuery {
    /// Selects all entries.
    pub fn all() -> Self {
        Self::default()
    }

    /// Selects only entries with a higher sequence number.
    #[must_use]
    pub fn after(mut self, sequence: u64) -> Self {
        self.after = sequence;
        self
    }

    /// Selects only entries of at least this severity.
    #[must_use]
    pub fn min_level(mut self, level: LogLevel) -> Self {
        self.min_level = Some(level);
        self
    }

    /// Returns true if the query selects an entry; the sequence number is not checked.
    fn wants(&self, entry: &LogEntry) -> bool {
        self.min_level.is_none_or(|level| entry.level >= level)
            && self.since.is_none_or(|since| entry.time >= since)
            && self
                .contains
                .as_ref()
                .is_none_or(|text| entry.message.contains(text))
    }

    /// Limits the number of entries, to the newest ones.
    #[must_use]
    pub fn limit(mut self, entries: usize) -> Self {
        self.limit = Some(entries);
        self
    }
}

/// Entries of a log since an earlier read.
#[derive(Debug, Clone, Default)]
pub struct MoreLogs {
    /// Number of entries that were dropped before they were read, selected or not: the log keeps
    /// the newest ones only.
    pub missed: u64,
    /// The entries, oldest first.
    pub entries: Vec<LogEntry>,
}

/// Ring of a plugin's log entries. Its lock is held only during a push or a copy.
#[derive(Debug)]
pub(crate) struct LogRing {
    inner: Mutex<Inner>,
    pushed: Notify,
    max_entries: usize,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Inner {
    entries: VecDeque<LogEntry>,
    bytes: usize,
    last_sequence: u64,
}

impl Inner {
    fn read(&self, query: &LogQuery) -> Vec<LogEntry> {
        let wanted = self
            .entries
            .iter()
            .rev()
            .take_while(|entry| entry.sequence > query.after)
            .filter(|entry| query.wants(entry));
        let mut found: Vec<LogEntry> = wanted
            .take(query.limit.unwrap_or(usize::MAX))
            .cloned()
            .collect();
        found.reverse();
        found
    }
}

impl LogRing {
    pub(crate) fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self {
            inner: Mutex::default(),
            pushed: Notify::new(),
            max_entries,
            max_bytes,
        }
    }

    /// Adds an entry with the next sequence number, and drops the oldest ones beyond the limits.
    pub(crate) fn push(&self, mut entry: LogEntry) {
        let mut inner = self.inner.lock();
        inner.last_sequence += 1;
        entry.sequence = inner.last_sequence;
        inner.bytes += entry.cost_bytes();
        inner.entries.push_back(entry);
        while inner.entries.len() > self.max_entries
            || (inner.bytes > self.max_bytes && inner.entries.len() > 1)
        {
            let Some(oldest) = inner.entries.pop_front() else {
                break;
            };
            inner.bytes -= oldest.cost_bytes();
        }
        drop(inner);
        self.pushed.notify_waiters();
    }

    /// Waits until there are entries after this number, and returns the number of the last one.
    pub(crate) async fn more(&self, after: u64) -> u64 {
        loop {
            let pushed = self.pushed.notified();
            let last = self.inner.lock().last_sequence;
            if last > after {
                return last;
            }
            pushed.await;
        }
    }

    /// Returns the entries that the query selects, oldest first.
    pub(crate) fn read(&self, query: &LogQuery) -> Vec<LogEntry> {
        self.inner.lock().read(query)
    }

    /// Like [`Self::read`], with the number of entries after [`LogQuery::after`] that were dropped,
    /// and the number of the last entry.
    pub(crate) fn read_on(&self, query: &LogQuery) -> (MoreLogs, u64) {
        let inner = self.inner.lock();
        let oldest = inner.entries.front().map(|entry| entry.sequence);
        let oldest = oldest.unwrap_or(inner.last_sequence + 1);
        let more = MoreLogs {
            missed: oldest.saturating_sub(query.after + 1),
            entries: inner.read(query),
        };
        (more, inner.last_sequence)
    }

    /// Returns the last lines of a generation's stderr that may tell why it ended, at most `count`,
    /// oldest first: a panic from its first line to its stack, else the last lines. Structured
    /// debug records are left out; plain lines are not, as their level is unknown.
    pub(crate) fn stderr_tail(&self, generation: u64, count: usize) -> Vec<String> {
        let inner = self.inner.lock();
        let lines = || {
            inner.entries.iter().rev().filter(|entry| {
                entry.generation == generation
                    && entry.source == LogSource::Stderr
                    && (entry.level > LogLevel::Debug || entry.fields.is_empty())
            })
        };
        let mut found: Vec<String> = Vec::new();
        if let Some(after) = lines().position(|entry| is_last_words(&entry.message)) {
            let mut panic: Vec<&LogEntry> = lines().take(after + 1).collect();
            panic.reverse();
            let text = panic
                .iter()
                .map(|entry| &entry.message)
                .take_while(|line| !begins_stack(line))
                .take(count);
            found.extend(text.cloned());
        } else {
            found.extend(lines().take(count).map(|entry| entry.message.clone()));
            found.reverse();
        }
        found
    }
}

/// Returns true for the first line of a panic in the forms of Go and Rust.
fn is_last_words(line: &str) -> bool {
    line.starts_with("panic: ")
        || line.starts_with("fatal error: ")
        || (line.starts_with("thread '") && line.contains(" panicked at "))
}

/// Returns true for the beginning of a stack, the empty line before it, or the note on how to get
/// one.
fn begins_stack(line: &str) -> bool {
    line.is_empty()
        || line.starts_with("goroutine ")
        || line.starts_with("stack backtrace:")
        || line.starts_with("note: run with")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(message: &str, level: LogLevel) -> LogEntry {
        LogEntry {
            sequence: 0,
            time: SystemTime::UNIX_EPOCH,
            generation: 1,
            level,
            source: LogSource::Stderr,
            message: message.into(),
            fields: vec![],
        }
    }

    fn messages(ring: &LogRing, query: &LogQuery) -> Vec<String> {
        ring.read(query)
            .into_iter()
            .map(|entry| entry.message)
            .collect()
    }

    #[test]
    fn what_was_dropped_before_it_was_read_is_counted() {
        let ring = LogRing::new(3, usize::MAX);
        for message in ["a", "b", "c", "d", "e"] {
            ring.push(entry(message, LogLevel::Info));
        }
        let read_on = |after| {
            let (more, last) = ring.read_on(&LogQuery::all().after(after));
            (more.missed, more.entries.len(), last)
        };
        assert_eq!(read_on(1), (1, 3, 5));
        assert_eq!(read_on(2), (0, 3, 5));
        assert_eq!(read_on(4), (0, 1, 5));
        assert_eq!(read_on(5), (0, 0, 5));
    }

    #[test]
    fn the_oldest_go_first() {
        let ring = LogRing::new(3, usize::MAX);
        for message in ["a", "b", "c", "d"] {
            ring.push(entry(message, LogLevel::Info));
        }
        assert_eq!(messages(&ring, &LogQuery::all()), ["b", "c", "d"]);
        assert_eq!(ring.read(&LogQuery::all())[0].sequence, 2);
    }

    #[test]
    fn bytes_are_bounded_too_and_the_newest_always_stays() {
        let ring = LogRing::new(1000, 4096);
        for _ in 0..100 {
            ring.push(entry(&"x".repeat(500), LogLevel::Info));
            assert!(ring.inner.lock().bytes <= 4096);
        }
        assert!(messages(&ring, &LogQuery::all()).len() >= 5);
        ring.push(entry(&"y".repeat(9000), LogLevel::Info));
        assert_eq!(messages(&ring, &LogQuery::all()).len(), 1);
        ring.push(entry("z", LogLevel::Info));
        assert_eq!(messages(&ring, &LogQuery::all()), ["z"]);
        let inner = ring.inner.lock();
        assert_eq!(inner.bytes, inner.entries[0].cost_bytes());
    }

    #[test]
    fn queries_select() {
        let ring = LogRing::new(10, usize::MAX);
        for (message, level) in [
            ("a", LogLevel::Debug),
            ("b", LogLevel::Error),
            ("c", LogLevel::Info),
            ("d", LogLevel::Warn),
        ] {
            ring.push(entry(message, level));
        }
        assert_eq!(messages(&ring, &LogQuery::all().after(2)), ["c", "d"]);
        assert_eq!(
            messages(&ring, &LogQuery::all().min_level(LogLevel::Warn)),
            ["b", "d"]
        );
        assert_eq!(
            messages(&ring, &LogQuery::all().min_level(LogLevel::Info).limit(2)),
            ["c", "d"]
        );
        assert_eq!(ring.stderr_tail(1, 2), ["c", "d"]);
        assert_eq!(ring.stderr_tail(2, 2), [""; 0]);
    }

    #[test]
    fn queries_select_by_time_and_text() {
        let ring = LogRing::new(10, usize::MAX);
        let at = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        for (seconds, message) in [(1, "one apple"), (2, "two pears"), (3, "three apples")] {
            let mut entry = entry(message, LogLevel::Info);
            entry.time = at(seconds);
            ring.push(entry);
        }
        let mut query = LogQuery::all();
        query.since = Some(at(2));
        assert_eq!(messages(&ring, &query), ["two pears", "three apples"]);
        query.contains = Some("apple".into());
        assert_eq!(messages(&ring, &query), ["three apples"]);
    }

    #[tokio::test]
    async fn whoever_waits_learns_of_the_next_entry() {
        let ring = std::sync::Arc::new(LogRing::new(10, usize::MAX));
        ring.push(entry("a", LogLevel::Info));
        assert_eq!(ring.more(0).await, 1);
        let waiting = tokio::spawn({
            let ring = std::sync::Arc::clone(&ring);
            async move { ring.more(1).await }
        });
        tokio::task::yield_now().await;
        ring.push(entry("b", LogLevel::Info));
        assert_eq!(waiting.await.unwrap(), 2);
    }

    #[test]
    fn a_panic_is_told_without_its_stack_and_debug_output() {
        let ring = LogRing::new(100, usize::MAX);
        let push = |text: &str, level| ring.push(entry(text, level));
        push("starting", LogLevel::Info);
        let mut address = entry("plugin address", LogLevel::Debug);
        address.fields.push(("network".into(), "unix".into()));
        ring.push(address.clone());
        for line in [
            "panic: boom [recovered]",
            "\tpanic: boom again",
            "goroutine 9 [running]:",
        ] {
            push(line, LogLevel::Error);
        }
        for frame in 0..20 {
            push(&format!("main.frame{frame}()"), LogLevel::Error);
        }
        assert_eq!(
            ring.stderr_tail(1, 8),
            ["panic: boom [recovered]", "\tpanic: boom again"]
        );
        let plain = LogRing::new(100, usize::MAX);
        plain.push(entry("about to crash", LogLevel::Debug));
        plain.push(address);
        assert_eq!(plain.stderr_tail(1, 8), ["about to crash"]);
        let rust = LogRing::new(100, usize::MAX);
        for line in [
            "a line",
            "thread 'main' panicked at src/main.rs:1:2:",
            "boom",
            "note: run with `RUST_BACKTRACE=1`",
        ] {
            rust.push(entry(line, LogLevel::Error));
        }
        assert_eq!(
            rust.stderr_tail(1, 8),
            ["thread 'main' panicked at src/main.rs:1:2:", "boom"]
        );
        assert_eq!(rust.stderr_tail(1, 1).len(), 1);
    }

    #[test]
    fn level_names() {
        assert_eq!(LogLevel::parse("WARNING"), Some(LogLevel::Warn));
        assert_eq!(LogLevel::parse("loud"), None);
        assert!(LogLevel::Error > LogLevel::Warn);
    }
}
