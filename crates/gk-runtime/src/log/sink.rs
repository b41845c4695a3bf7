//! Destination of a plugin's log records: all go into its ring, and into tracing at a bounded rate.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use gk_hostapi::LogLevel;
use gk_manifest::PluginName;
use parking_lot::Mutex;

use super::cut;
use super::rate::{LineLimit, Verdict};
use super::ring::{LogEntry, LogQuery, LogRing, LogSource, MoreLogs};
use crate::limits::{
    LOG_LINE_BYTES_MAX, LOG_LINES_MAX, LOG_RING_BYTES, LOG_RING_ENTRIES, LOG_WINDOW,
};

/// A log record that is not in the ring yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) level: LogLevel,
    pub(crate) message: String,
    pub(crate) fields: Vec<(String, String)>,
}

impl Record {
    pub(crate) fn text(level: LogLevel, message: impl Into<String>) -> Self {
        Self {
            level,
            message: message.into(),
            fields: Vec::new(),
        }
    }
}

/// Log of one plugin, across its generations. A cheap clone.
#[derive(Debug, Clone)]
pub(crate) struct LogSink {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    plugin: PluginName,
    ring: LogRing,
    to_tracing: Mutex<LineLimit>,
}

impl LogSink {
    pub(crate) fn new(plugin: PluginName) -> Self {
        let ring = LogRing::new(LOG_RING_ENTRIES, LOG_RING_BYTES);
        Self {
            shared: Arc::new(Shared {
                plugin,
                ring,
                to_tracing: Mutex::new(LineLimit::new(LOG_LINES_MAX, LOG_WINDOW, Instant::now())),
            }),
        }
    }

    pub(crate) fn read(&self, query: &LogQuery) -> Vec<LogEntry> {
        self.shared.ring.read(query)
    }

    pub(crate) fn read_on(&self, query: &LogQuery) -> (MoreLogs, u64) {
        self.shared.ring.read_on(query)
    }

    pub(crate) async fn more(&self, after: u64) -> u64 {
        self.shared.ring.more(after).await
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    pub(crate) fn stderr_tail(&self, generation: u64, count: usize) -> Vec<String> {
        self.shared.ring.stderr_tail(generation, count)
    }

    /// Logs a message of the host about the plugin.
    pub(crate) fn host(&self, generation: u64, level: LogLevel, message: impl Into<String>) {
        let message = message.into();
        let plugin = self.shared.plugin.as_str();
        // Without a parent, as a log line would repeat the fields that the spans of the generation
        // and of its calls have in common with the event.
        match level {
            LogLevel::Error => tracing::error!(parent: None, plugin, generation, "{message}"),
            LogLevel::Warn => tracing::warn!(parent: None, plugin, generation, "{message}"),
            LogLevel::Info => tracing::info!(parent: None, plugin, generation, "{message}"),
            LogLevel::Debug | LogLevel::Trace => {
                tracing::debug!(parent: None, plugin, generation, "{message}")
            }
        }
        self.keep(generation, LogSource::Host, Record::text(level, message));
    }

    /// Logs a record of the plugin.
    pub(crate) fn plugin(&self, generation: u64, source: LogSource, mut record: Record) {
        if record.message.len() > LOG_LINE_BYTES_MAX {
            record
                .message
                .truncate(cut(&record.message, LOG_LINE_BYTES_MAX).len());
        }
        let verdict = self.shared.to_tracing.lock().check(Instant::now());
        if let Verdict::Pass { suppressed } = verdict {
            if suppressed > 0 {
                let seconds = LOG_WINDOW.as_secs();
                let message = format!(
                    "{suppressed} log lines were kept out of the host's log: the plugin writes \
                     more than {LOG_LINES_MAX} in {seconds} seconds"
                );
                self.host(generation, LogLevel::Warn, message);
            }
            self.emit(generation, source, &record);
        }
        self.keep(generation, source, record);
    }

    fn emit(&self, generation: u64, source: LogSource, record: &Record) {
        let plugin = self.shared.plugin.as_str();
        let source = source.as_str();
        let message = record.message.as_str();
        // The field names of tracing are fixed at compile time, so a record's own fields go into
        // one.
        let fields = (!record.fields.is_empty()).then(|| {
            record
                .fields
                .iter()
                .map(|(name, value)| format!("{name}={value:?}"))
                .collect::<Vec<_>>()
                .join(" ")
        });
        let fields = fields.as_deref();
        match record.level {
            LogLevel::Error => {
                tracing::error!(target: "plugin", plugin, generation, source, fields, "{message}")
            }
            LogLevel::Warn => {
                tracing::warn!(target: "plugin", plugin, generation, source, fields, "{message}")
            }
            LogLevel::Info => {
                tracing::info!(target: "plugin", plugin, generation, source, fields, "{message}")
            }
            LogLevel::Debug => {
                tracing::debug!(target: "plugin", plugin, generation, source, fields, "{message}")
            }
            LogLevel::Trace => {
                tracing::trace!(target: "plugin", plugin, generation, source, fields, "{message}")
            }
        }
    }

    fn keep(&self, generation: u64, source: LogSource, record: Record) {
        let Record {
            level,
            message,
            fields,
        } = record;
        self.shared.ring.push(LogEntry {
            sequence: 0,
            time: SystemTime::now(),
            generation,
            level,
            source,
            message,
            fields,
        });
    }
}
