//! Databases: SQLite, PostgreSQL, MySQL and MariaDB, behind a parser and each engine's own wall.
//!
//! A statement passes three walls. The guard ([`gk_sqlguard`]) takes it apart and refuses what it
//! does not understand; then the tables that it reads and writes are compared with the plugin's
//! [`DbGrants`]; then the engine runs the text that the guard wrote, in a transaction that cannot
//! write where the statement only reads, and SQLite asks once more for each table and function.
//!
//! # Statements
//!
//! [`Databases::query`] takes SELECT, VALUES and set operations, with WITH or without, and
//! statements that write rows where the plugin may write. [`Databases::exec`] takes INSERT,
//! REPLACE, UPDATE, DELETE and MERGE, with RETURNING or without, CREATE TABLE, ALTER TABLE, DROP
//! TABLE, TRUNCATE, CREATE INDEX and DROP INDEX. One statement is one transaction;
//! [`Databases::batch`] makes one of several. Arguments stand for `?`, counted from the left;
//! `@name:` before a statement selects a named database.
//!
//! # Values
//!
//! | Column | JSON |
//! |---|---|
//! | integers, signed and unsigned, 64 bits | number, exact |
//! | floating point | number; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | NUMERIC, DECIMAL | string with all digits |
//! | BOOLEAN | `true`, `false` (PostgreSQL); 0, 1 (the others, which keep numbers) |
//! | text, ENUM, SET, UUID, JSON, JSONB, INET, CIDR | string |
//! | BLOB, BINARY, BYTEA | string, standard base64 |
//! | DATE | `"2026-01-31"` |
//! | TIME | `"13:30:00.5"`; MySQL's may be negative or beyond a day |
//! | TIMESTAMP, DATETIME | `"2026-01-31T13:30:00.5Z"` (RFC 3339); without a zone it is taken for UTC; of SQLite's columns those that are declared so |
//! | INTERVAL | ISO 8601, `"P1Y2M3DT4H5M6.7S"` |
//! | arrays of PostgreSQL | array |
//! | NULL | `null` |
//!
//! Other types of PostgreSQL have to be cast to text. Columns of a row stand in the statement's
//! order; of columns with the same name the last one is kept. Arguments are null, booleans,
//! numbers, strings, and `{"base64": "…"}` for bytes.
//!
//! # Limits
//!
//! [`DbLimits`] bounds rows and bytes of a result, bytes of arguments, and connections; the guard's
//! constants bound statements. What is over a limit is an error that names it, never a shorter
//! result. A statement that is still running at its deadline, or whose caller has gone, is
//! cancelled in the engine.

mod config;
mod methods;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
mod rows;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod server;
mod service;
#[cfg(feature = "sqlite")]
mod sqlite;
mod value;
mod write;

pub use config::{DatabaseConfig, DatabasesConfig, DbLimits};
pub use gk_sqlguard::{DbGrant, DbGrants, Dialect, TableScope};
pub(crate) use methods::METHODS;
#[cfg(feature = "postgres")]
pub use postgres::PostgresServer;
pub use service::Databases;
pub use write::{BATCH_STATEMENTS_MAX, Written};
