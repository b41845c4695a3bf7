//! A guard for SQL that strangers write: it takes a statement apart, says which tables and
//! functions it touches, and writes the statement that may run in its place.
//!
//! It is for programs that run statements of plugins, tenants or generated code on a database they
//! share, and that have to know beforehand what such a statement reads and writes. It knows the SQL
//! of SQLite, PostgreSQL, MySQL and MariaDB. It opens nothing, connects to nothing and needs no
//! runtime: dialect, grants and statement go in, a decision and the rewritten statement come out.
//!
//! ```
//! use gk_sqlguard::{Access, DbGrants, Dialect, NotGranted, Scope, StatementKind, analyse};
//!
//! let analysis = analyse(Dialect::Postgres, "select Name from app_items where id = ? -- mine")?;
//! assert_eq!(analysis.kind, StatementKind::Query);
//! assert_eq!(analysis.sql, r#"SELECT "name" FROM "app_items" WHERE "id" = $1"#);
//!
//! let patterns = ["app_*".to_owned()];
//! let grants = DbGrants::new([(Access::Read, Scope::Only(&patterns[..]))]);
//! let grant = grants.of(None).expect("the default database has a grant");
//! grant.check(&analysis, "public")?;
//!
//! let analysis = analyse(Dialect::Postgres, "SELECT * FROM app_items, salaries")?;
//! let refused = grant.check(&analysis, "public").unwrap_err();
//! assert!(matches!(refused, NotGranted::Read(table) if table.name() == "salaries"));
//!
//! // A function that reads files is refused, whatever is granted.
//! analyse(Dialect::Postgres, "SELECT pg_read_file('/etc/passwd')").unwrap_err();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it decides
//!
//! A parser takes the statement apart, and the guard walks through all of the tree. A part that it
//! does not know is refused, and so is a function that is not on the list of its engine
//! ([`allowed_functions`]). The engine never gets the stranger's text: the guard writes the
//! statement anew from the tree, every name in quotes, without comments, and makes sure that this
//! text parses to the same tree. A text that the parser and an engine read in different ways is
//! therefore no way around the guard: the engine sees only what the parser understood.
//!
//! # What it does not promise
//!
//! - It bounds what a statement touches, not what it costs: give the engine a deadline and limits
//!   of memory and result.
//! - It knows the names in a statement, not the database: a view, a trigger or a rule that is there
//!   already touches what it touches. Refuse to create them, as the guard does, and let nobody else
//!   create some that reach further than the grants.
//! - Only the engine knows the tables of the indexes in [`Analysis::drops`], and, on PostgreSQL,
//!   whether one of [`Analysis::fields`] is a function. The program that runs the statement has to
//!   look these up.
//! - A second wall is worth having: a read-only transaction for what only reads, SQLite's
//!   authorizer (with [`is_allowed_in_sqlite`]), a database user with few rights.
//! - A statement that is refused is not always harmful. The guard prefers to refuse: rare syntax
//!   may have to be written in another way.
//!
//! # Limits
//!
//! Parsers of SQL recurse. A statement's length, words, parentheses and placeholders are limited
//! before it is parsed ([`STATEMENT_BYTES_MAX`], [`TOKENS_MAX`], [`NESTING_MAX`],
//! [`PLACEHOLDERS_MAX`]), and all that recurses runs on a stack that is large enough for these
//! limits: 64 MiB, of which only what is touched is used.
//!
//! # Features
//!
//! `cache`, a default one, brings [`Guard`], which remembers statements; without it [`analyse()`]
//! does all.
#![forbid(unsafe_code)]

mod analyse;
mod analysis;
mod dialect;
mod functions;
mod grants;
#[cfg(feature = "cache")]
mod guard;
mod limits;
mod literals;
mod parser;
pub mod pattern;
mod refusal;
mod rewrite;
mod scan;
mod scope;
mod tokens;
mod walk;

pub use analyse::analyse;
pub use analysis::{Analysis, StatementKind, TableName};
pub use dialect::{Dialect, is_plain_schema};
pub use functions::{allowed_functions, is_allowed_in_sqlite};
pub use grants::{Access, DbGrant, DbGrants, NotGranted, TableScope};
#[cfg(feature = "cache")]
pub use guard::{CACHE_BYTES_MAX, Guard};
pub use limits::{NESTING_MAX, PLACEHOLDERS_MAX, STATEMENT_BYTES_MAX, TOKENS_MAX};
pub use refusal::Refusal;
pub use scope::Scope;
