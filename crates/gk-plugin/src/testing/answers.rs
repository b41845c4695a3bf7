//! Answers that a test sets up: for statements, outgoing requests, other plugins, methods.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use crate::HttpResponse;

/// A statement that the plugin asked for.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Statement {
    /// `db_query`, `db_exec` or `db_batch`.
    pub method: String,
    /// The text as the plugin wrote it.
    pub query: String,
    /// The arguments, as a host gets them.
    pub args: Vec<Value>,
}

/// Outcome of a statement.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    pub(super) affected: i64,
    pub(super) last_insert_id: Option<i64>,
    pub(super) rows: Option<Value>,
}

impl Answer {
    /// Of a statement that writes this many rows.
    #[must_use]
    pub fn affected(rows: i64) -> Self {
        Answer {
            affected: rows,
            ..Answer::default()
        }
    }

    /// Of a statement that returns these rows: a list of structs or maps.
    ///
    /// # Panics
    /// If they are none.
    #[must_use]
    pub fn rows(rows: impl Serialize) -> Self {
        Answer::default().with_rows(rows)
    }

    /// The same, with rows, as of RETURNING.
    ///
    /// # Panics
    /// If they are no list of structs or maps.
    #[must_use]
    pub fn with_rows(mut self, rows: impl Serialize) -> Self {
        self.rows = Some(as_rows(&rows));
        self
    }

    /// The same, with the number that the database gave to a new row.
    #[must_use]
    pub fn with_last_insert_id(mut self, id: i64) -> Self {
        self.last_insert_id = Some(id);
        self
    }
}

#[expect(
    clippy::panic,
    reason = "a mistake of the test's, which has to end it where it is made"
)]
pub(super) fn as_rows(rows: &impl Serialize) -> Value {
    match serde_json::to_value(rows) {
        Ok(Value::Array(rows)) if rows.iter().all(Value::is_object) => Value::Array(rows),
        Ok(_) => panic!("rows are a list of structs or maps"),
        Err(error) => panic!("the rows cannot be written as JSON: {error}"),
    }
}

/// An HTTP request that the plugin asked its host to make.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutgoingRequest {
    /// The method; `GET` where the plugin named none.
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// The headers by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// Sets the body of the answer.
    pub body: Bytes,
}

type Shared<F> = Arc<F>;
pub(super) type OnStatement =
    Shared<dyn Fn(&Statement) -> Option<Result<Answer, String>> + Send + Sync>;
pub(super) type OnHttp = Shared<dyn Fn(&OutgoingRequest) -> HttpResponse + Send + Sync>;
pub(super) type OnCall = Shared<dyn Fn(Value) -> Result<Value, String> + Send + Sync>;

/// All that a test has set up.
#[derive(Default)]
pub(super) struct Answers {
    pub(super) queries: HashMap<String, Value>,
    pub(super) writes: HashMap<String, Answer>,
    pub(super) statements: Vec<OnStatement>,
    pub(super) http: Option<OnHttp>,
    /// By plugin and function.
    pub(super) plugins: HashMap<(String, String), OnCall>,
    pub(super) methods: HashMap<String, OnCall>,
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").finish_non_exhaustive()
    }
}

/// A statement's text with runs of white space as one blank.
pub(super) fn collapse(query: &str) -> String {
    query.split_whitespace().collect::<Vec<_>>().join(" ")
}
