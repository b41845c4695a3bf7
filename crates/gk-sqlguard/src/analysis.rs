//! The analysis of a statement, as data.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU32;

/// What a statement does with the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatementKind {
    /// The statement reads: SELECT, VALUES, TABLE, with or without WITH.
    Query,
    /// The statement writes rows: INSERT, REPLACE, UPDATE, DELETE, MERGE.
    Write,
    /// The statement changes tables: CREATE TABLE, ALTER TABLE, DROP TABLE, CREATE INDEX, TRUNCATE.
    Schema,
}

/// A table as the engine will look it up: folded as the engine folds it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    schema: Option<String>,
    name: String,
}

impl TableName {
    /// A table, of a schema or without one; both names as the engine folds them.
    #[must_use]
    pub fn new(schema: Option<&str>, name: &str) -> Self {
        Self {
            schema: schema.map(str::to_owned),
            name: name.to_owned(),
        }
    }

    /// The schema, or database, where the statement names one.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The table.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        f.write_str(&self.name)
    }
}

/// A statement that the guard understood: what it touches, and the text for the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Analysis {
    /// The kind of the statement.
    pub kind: StatementKind,
    /// The tables it reads.
    pub reads: BTreeSet<TableName>,
    /// Tables it writes, makes, alters or drops.
    pub writes: BTreeSet<TableName>,
    /// Functions it calls, in lower case.
    pub functions: BTreeSet<String>,
    /// Names that WITH defines in it.
    pub with_names: BTreeSet<String>,
    /// PostgreSQL: names behind a period that may be functions, if they are no columns.
    pub fields: BTreeSet<String>,
    /// Tables that its foreign keys refer to. To make such a key, a plugin has to be granted both
    /// reading and writing them.
    pub keys: BTreeSet<TableName>,
    /// Indexes that it drops without naming their tables. To drop one, a plugin has to be granted
    /// writing its table.
    pub drops: BTreeSet<String>,
    /// The table that it inserts into, if it is an INSERT or a REPLACE.
    pub inserts: Option<String>,
    /// Set if the statement writes and returns rows all the same: RETURNING.
    pub returning: bool,
    /// How many arguments it takes.
    pub placeholders: u16,
    /// The text for the engine.
    pub sql: String,
    /// A number of whoever runs the statement.
    pub(crate) note: RunnerNote,
}

/// A number that is no part of what an analysis means: a copy has one of its own, which is 0.
#[derive(Debug, Default)]
pub(crate) struct RunnerNote(AtomicU32);

impl Clone for RunnerNote {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for RunnerNote {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for RunnerNote {}

impl Analysis {
    /// Returns whether rows come of it.
    #[must_use]
    pub fn returns_rows(&self) -> bool {
        self.returning || self.kind == StatementKind::Query
    }

    /// A number that the program which runs the statement may keep with it, such as what running it
    /// cost; 0 at first. Two analyses that differ in it alone are equal, and a clone has 0 again.
    #[must_use]
    pub fn runner_note(&self) -> &AtomicU32 {
        &self.note.0
    }

    /// Bytes in memory, roughly.
    #[cfg(feature = "cache")]
    pub(crate) fn weight(&self) -> usize {
        let tables = self.reads.iter().chain(&self.writes).chain(&self.keys);
        let names = tables.map(|table| table.name.len() + table.schema().map_or(0, str::len) + 96);
        let functions = self.functions.iter().chain(&self.with_names);
        let functions = functions.chain(&self.fields);
        let functions = functions.map(|name| name.len() + 48);
        self.sql.len() + names.sum::<usize>() + functions.sum::<usize>() + 200
    }
}
