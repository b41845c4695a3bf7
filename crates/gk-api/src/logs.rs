//! Logs of plugins.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An entry of a plugin's log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LogEntry {
    /// Counts the plugin's entries, from 1.
    pub sequence: u64,
    /// When the host received it, RFC 3339.
    pub timestamp: Option<String>,
    /// The generation of the process that said it.
    pub generation: u64,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// `stdout`, `stderr`, `host_api` or `host`.
    pub source: String,
    /// The text.
    pub message: String,
    /// Names and values of a structured record.
    pub fields: BTreeMap<String, String>,
}

/// Entries of a log, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LogPage {
    /// Number of entries in this answer.
    pub count: usize,
    /// The entries.
    pub logs: Vec<LogEntry>,
}
