//! The functions a plugin's statement may call, by engine. What is not here is refused: a function
//! may read files, wait, connect, or run other statements.

mod lists;

use lists::{
    BARE, COMMON, MYSQL, MYSQL_BARE, POSTGRES, POSTGRES_CASTS, POSTGRES_TABLES, SQLITE,
    SQLITE_IMPLICIT, SQLITE_TABLES,
};

use crate::dialect::{Dialect, is_word_of};

/// Returns whether a statement may call this function, by its name in lower case.
pub(crate) fn is_allowed(dialect: Dialect, name: &str) -> bool {
    let own = match dialect {
        Dialect::Sqlite => SQLITE,
        Dialect::Postgres => POSTGRES,
        Dialect::Mysql => MYSQL,
    };
    COMMON.contains(&name) || own.contains(&name) || BARE.contains(&name)
}

/// Returns whether this name behind a period does no harm on PostgreSQL even if it is no column's.
pub(crate) fn is_harmless_field(name: &str) -> bool {
    is_allowed(Dialect::Postgres, name) || POSTGRES_CASTS.contains(&name)
}

/// Returns whether this function is called without parentheses.
pub(crate) fn is_bare(name: &str) -> bool {
    BARE.contains(&name)
}

/// Returns whether MySQL takes this word for something else than a name.
pub(crate) fn is_bare_in_mysql(word: &str) -> bool {
    let known = MYSQL_BARE.iter().chain(&["dual"]);
    known
        .into_iter()
        .any(|known| known.eq_ignore_ascii_case(word))
}

/// Returns whether a word without quotes may be something else than a name.
pub(crate) fn has_meaning(dialect: Dialect, word: &str) -> bool {
    (dialect == Dialect::Mysql && is_bare_in_mysql(word)) || is_word_of(dialect, word)
}

/// Returns whether this is MySQL's name of a table that is none.
pub(crate) fn is_dual(ident: &sqlparser::ast::Ident) -> bool {
    ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("dual")
}

/// Returns whether this function may stand where a table does.
pub(crate) fn is_allowed_table(dialect: Dialect, name: &str) -> bool {
    match dialect {
        Dialect::Sqlite => SQLITE_TABLES.contains(&name),
        Dialect::Postgres => POSTGRES_TABLES.contains(&name),
        Dialect::Mysql => false,
    }
}

/// Returns whether SQLite itself may call this function for a statement of a plugin.
pub fn is_allowed_in_sqlite(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    is_allowed(Dialect::Sqlite, &name)
        || SQLITE_IMPLICIT.contains(&name.as_str())
        || SQLITE_TABLES.contains(&name.as_str())
}

/// The functions that statements of a dialect may call, in order, in lower case.
pub fn allowed_functions(dialect: Dialect) -> Vec<&'static str> {
    let lists: &[&[&str]] = match dialect {
        Dialect::Sqlite => &[COMMON, SQLITE, BARE, SQLITE_TABLES],
        Dialect::Postgres => &[COMMON, POSTGRES, BARE, POSTGRES_TABLES],
        Dialect::Mysql => &[COMMON, MYSQL, BARE],
    };
    let mut names: Vec<_> = lists.iter().flat_map(|list| list.iter().copied()).collect();
    names.sort_unstable();
    names.dedup();
    names
}
