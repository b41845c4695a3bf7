//! The SQL dialects that the guard knows.

use sqlparser::dialect::PostgreSqlDialect;

use crate::parser;

/// A dialect of SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
}

impl Dialect {
    /// The quote of a name.
    pub(crate) fn quote(self) -> char {
        match self {
            // Not the double quote: SQLite takes an unknown name in these for a string.
            Self::Sqlite | Self::Mysql => '`',
            Self::Postgres => '"',
        }
    }

    pub(crate) fn placeholder(self) -> char {
        match self {
            Self::Sqlite | Self::Mysql => '?',
            Self::Postgres => '$',
        }
    }

    /// Longest name, in bytes: PostgreSQL cuts longer ones off, silently.
    pub(crate) fn name_bytes_max(self) -> usize {
        match self {
            Self::Sqlite => 128,
            Self::Postgres => 63,
            Self::Mysql => 64,
        }
    }
}

/// Returns whether an engine gives a word a meaning that the parser does not know: without quotes
/// it is no name.
pub(crate) fn is_word_of(dialect: Dialect, word: &str) -> bool {
    let words: &[&str] = match dialect {
        Dialect::Sqlite => &[],
        Dialect::Postgres => &[
            "analyse",
            "analyze",
            "asymmetric",
            "current_catalog",
            "current_role",
            "current_schema",
            "current_user",
            "only",
            "session_user",
            "symmetric",
            "system_user",
            "tablesample",
            "user",
            "variadic",
        ],
        Dialect::Mysql => &[
            "current_role",
            "current_user",
            "low_priority",
            "straight_join",
        ],
    };
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

pub(crate) fn with_dialect<T>(
    dialect: Dialect,
    work: impl FnOnce(&dyn sqlparser::dialect::Dialect) -> T,
) -> T {
    match dialect {
        Dialect::Sqlite => work(&parser::Sqlite),
        Dialect::Postgres => work(&PostgreSqlDialect {}),
        Dialect::Mysql => work(&parser::Mysql),
    }
}

/// Returns whether a schema's name needs neither quotes nor escapes in any dialect: 1 to 63 ASCII
/// letters, digits and `_`.
#[must_use]
pub fn is_plain_schema(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.len() <= 63 && name.chars().all(is_word)
}
