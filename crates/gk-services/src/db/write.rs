//! Statements that may write, and what comes of them.

use std::sync::Arc;

use bytes::Bytes;
use gk_hostapi::HostError;
use gk_sqlguard::Analysis;
use serde_json::Number;

use super::value::Arg;

/// Most statements of one transaction ([`Databases::batch`](super::Databases::batch)).
pub const BATCH_STATEMENTS_MAX: usize = 100;

/// A statement with its arguments.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) statement: Arc<Analysis>,
    pub(super) args: Vec<Arg>,
}

/// The result of a statement that may write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// Rows that it wrote; 0 for one that reads, or that changes tables.
    pub affected: u64,
    /// The number that the engine gave to a new row: SQLite to the last one, MySQL to the first one
    /// of the statement. `None` where there is no such row, and always on PostgreSQL, whose tables
    /// have no such number: RETURNING tells there.
    pub last_insert_id: Option<Number>,
    /// The rows that it returned, as a JSON array of objects; `None` of a statement without rows.
    pub rows: Option<Bytes>,
}

/// Says which of several statements failed, counted from 1.
pub(super) fn numbered(error: HostError, index: usize, count: usize) -> HostError {
    match count {
        1 => error,
        _ => error.prefixed(&format!("statement {}: ", index + 1)),
    }
}

/// Why an index is not dropped.
pub(super) fn foreign_index(table: &str) -> HostError {
    HostError::denied(format!(
        "an index of table \"{table}\" not permitted to be dropped: ask for write access to the \
         table"
    ))
}
