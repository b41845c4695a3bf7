//! Logs of plugins: lines from their pipes and streams, and records through the host API, kept in a
//! bounded ring per plugin and passed on to tracing.

mod capture;
mod classify;
mod lines;
mod rate;
mod ring;
mod sink;

pub(crate) use capture::{Capture, NoLine, read_first_line};
pub use capture::{Output, WorkerOutput};
pub(crate) use classify::printable;
pub use gk_hostapi::LogLevel;
pub use ring::{LogEntry, LogQuery, LogSource, MoreLogs};
pub(crate) use sink::{LogSink, Record};

/// Returns `text` cut to at most `limit` bytes, at a character's boundary.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len()))
        .rev()
        .find(|&at| text.is_char_boundary(at));
    &text[..end.unwrap_or_default()]
}
