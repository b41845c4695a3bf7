//! Which tables may be read and written, and whether a statement keeps to that.

use std::collections::HashMap;

use crate::analysis::{Analysis, TableName};
use crate::pattern;
use crate::scope::Scope;

/// Grants on the databases of a program, taken together.
///
/// A pattern is a table's whole name, without regard to the case of ASCII letters, in which `*`
/// stands for any run of characters. `@name:pattern` is for the named database alone, and a pattern
/// without a prefix for the default database alone: each database is a grant of its own. A table of
/// a schema that is not the database's own is `schema.table`, and only a pattern with a period in
/// it grants it. [`Scope::Any`] grants every table of the default database's own schema. The
/// engines' own tables are never granted, whatever the pattern.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DbGrants {
    default: DbGrant,
    named: HashMap<String, DbGrant>,
}

/// A grant on one database. `None` is nothing, and so is the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DbGrant {
    /// Tables that may be read.
    pub read: Option<TableScope>,
    /// Tables that may be written, made and dropped.
    pub write: Option<TableScope>,
}

/// How tables may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading rows.
    Read,
    /// Writing rows, and making, altering and dropping tables.
    Write,
    /// Reading and writing.
    ReadWrite,
}

/// Some tables of one database. The default is none of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableScope {
    /// Every table of the database's own schema.
    own_schema: bool,
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    /// A schema other than the database's own.
    schema: Option<String>,
    table: String,
}

/// A table that a statement touches and that is not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotGranted {
    /// A foreign key refers to the table. That tells which rows it has, and keeps others from
    /// deleting them, so both reading and writing the table have to be granted.
    #[error("a foreign key to table \"{0}\" is not granted")]
    Key(TableName),
    /// The statement writes the table.
    #[error("writing table \"{0}\" is not granted")]
    Write(TableName),
    /// The statement reads the table.
    #[error("reading table \"{0}\" is not granted")]
    Read(TableName),
}

impl DbGrants {
    /// The union of several grants. A pattern that cannot be read grants nothing.
    pub fn new<'a>(entries: impl IntoIterator<Item = (Access, Scope<&'a [String]>)>) -> Self {
        let mut grants = Self::default();
        for (access, scope) in entries {
            let (read, write) = match access {
                Access::Read => (true, false),
                Access::Write => (false, true),
                Access::ReadWrite => (true, true),
            };
            for (database, tables) in TableScope::parse(scope) {
                let grant = match database {
                    None => &mut grants.default,
                    Some(name) => grants.named.entry(name).or_default(),
                };
                if read {
                    grant.read.get_or_insert_default().add(&tables);
                }
                if write {
                    grant.write.get_or_insert_default().add(&tables);
                }
            }
        }
        grants
    }

    /// Grants for the default database alone.
    #[must_use]
    pub fn of_default(grant: DbGrant) -> Self {
        Self {
            default: grant,
            named: HashMap::new(),
        }
    }

    /// The grant on the default database (`None`), or on a named one.
    #[must_use]
    pub fn of(&self, database: Option<&str>) -> Option<&DbGrant> {
        match database {
            None => Some(&self.default),
            Some(name) => self.named.get(name),
        }
    }
}

impl DbGrant {
    /// Checks that every table that a statement touches is granted. `own_schema` is the schema of
    /// tables that are named without one.
    ///
    /// Indexes that a statement drops without naming their tables ([`Analysis::drops`]) are not
    /// among these: only the engine knows whose they are.
    ///
    /// # Errors
    ///
    /// The first table that is not granted, and for what.
    pub fn check(&self, analysis: &Analysis, own_schema: &str) -> Result<(), NotGranted> {
        let may = |scope: &Option<TableScope>, table: &TableName| {
            let scope = scope.as_ref();
            scope.is_some_and(|scope| scope.contains(table, own_schema))
        };
        for table in &analysis.keys {
            if !may(&self.read, table) || !may(&self.write, table) {
                return Err(NotGranted::Key(table.clone()));
            }
        }
        for table in &analysis.writes {
            if !may(&self.write, table) {
                return Err(NotGranted::Write(table.clone()));
            }
        }
        for table in &analysis.reads {
            if !may(&self.read, table) {
                return Err(NotGranted::Read(table.clone()));
            }
        }
        Ok(())
    }
}

impl TableScope {
    /// The scope of one entry, by database: `None` is the default one. Names of databases are
    /// compared as they are written.
    #[must_use]
    pub fn parse(scope: Scope<&[String]>) -> HashMap<Option<String>, Self> {
        let mut scopes = HashMap::<Option<String>, Self>::new();
        let patterns = match scope {
            Scope::Any => {
                let everything = Self {
                    own_schema: true,
                    patterns: Vec::new(),
                };
                scopes.insert(None, everything);
                return scopes;
            }
            Scope::Only(patterns) => patterns,
        };
        for pattern in patterns {
            let pattern = pattern.trim();
            let (database, tables) = match pattern.strip_prefix('@') {
                None => (None, pattern),
                Some(named) => match named.split_once(':') {
                    Some((name, tables)) if !name.is_empty() => (Some(name.to_owned()), tables),
                    _ => continue,
                },
            };
            let (schema, table) = match tables.split_once('.') {
                None => (None, tables),
                Some((schema, table)) => (Some(schema), table),
            };
            if table.is_empty() || schema.is_some_and(str::is_empty) {
                continue;
            }
            let pattern = Pattern {
                schema: schema.map(str::to_ascii_lowercase),
                table: table.to_ascii_lowercase(),
            };
            scopes.entry(database).or_default().patterns.push(pattern);
        }
        scopes
    }

    fn add(&mut self, other: &Self) {
        self.own_schema |= other.own_schema;
        self.patterns.extend(other.patterns.iter().cloned());
    }

    /// Returns whether a table is among these; `own_schema` is the schema of tables that are named
    /// without one.
    #[must_use]
    pub fn contains(&self, table: &TableName, own_schema: &str) -> bool {
        let schema = table.schema().filter(|schema| *schema != own_schema);
        if schema.is_none() && self.own_schema {
            return true;
        }
        self.patterns.iter().any(|pattern| {
            let in_schema = match (&pattern.schema, schema) {
                (None, None) => true,
                (Some(pattern), _) => matches(pattern, schema.unwrap_or(own_schema)),
                (None, Some(_)) => false,
            };
            in_schema && matches(&pattern.table, table.name())
        })
    }
}

/// Returns whether a pattern in lower case is a whole name, without regard to the case of ASCII
/// letters.
fn matches(pattern: &str, name: &str) -> bool {
    pattern::matches(pattern, &name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(scope: &[&str], table: &str) -> bool {
        let scope: Vec<String> = scope.iter().map(|pattern| (*pattern).to_owned()).collect();
        let scopes = TableScope::parse(match *scope {
            [] => Scope::Any,
            _ => Scope::Only(&scope),
        });
        let table = match table.split_once('.') {
            None => TableName::new(None, table),
            Some((schema, table)) => TableName::new(Some(schema), table),
        };
        scopes
            .get(&None)
            .is_some_and(|scope| scope.contains(&table, "public"))
    }

    #[test]
    fn a_pattern_is_a_whole_name() {
        for (scope, table, expected) in [
            (&["gk_*"][..], "gk_users", true),
            (&["gk_*"], "GK_USERS", true),
            (&["GK_*"], "gk_", true),
            // Upstream's unanchored pattern allows these.
            (&["gk_*"], "xgk_users", false),
            (&["users"], "users_old", false),
            (&["users"], "all_users", false),
            (&["*_log"], "a_log", true),
            (&["*_log"], "a_logs", false),
            (&["a*b*c"], "a--b--b-c", true),
            (&["a*b*c"], "a--c--b", false),
            (&["**"], "x", true),
            (&[], "anything", true),
            (&["*"], "anything", true),
            // The Kelvin sign is not a k.
            (&["k"], "\u{212a}", false),
            // Schemas.
            (&["users"], "public.users", true),
            (&["public.users"], "users", true),
            (&["users"], "other.users", false),
            (&["*"], "other.users", false),
            (&[], "other.users", false),
            (&["other.*"], "other.users", true),
            (&["other.*"], "users", false),
            // Nothing that can be read.
            (&[""], "users", false),
            (&["@"], "users", false),
            (&["@:users"], "users", false),
            (&["@db:users"], "users", false),
            (&[".users"], "users", false),
            (&["other."], "users", false),
            // No regular expressions.
            (&["user."], "users", false),
            (&["(users)"], "users", false),
        ] {
            assert_eq!(granted(scope, table), expected, "{scope:?} {table}");
        }
        assert!(!matches(&"a*".repeat(2000), &"a".repeat(1999)));
    }

    #[test]
    fn entries_are_taken_together_and_by_database() {
        let strings =
            |list: &[&str]| -> Vec<String> { list.iter().map(|item| (*item).to_owned()).collect() };
        let entries = [
            (Access::Read, strings(&["a", "@reports:*"])),
            (Access::Write, strings(&["b"])),
            (Access::ReadWrite, strings(&["c"])),
        ];
        let entries = entries.iter();
        let grants =
            DbGrants::new(entries.map(|(access, scope)| (*access, Scope::Only(scope.as_slice()))));
        let may = |database: Option<&str>, write: bool, table: &str| {
            let grant = grants.of(database);
            let scope = grant.and_then(|grant| {
                let scope = if write { &grant.write } else { &grant.read };
                scope.as_ref()
            });
            scope.is_some_and(|scope| scope.contains(&TableName::new(None, table), "main"))
        };
        let allowed = |database: Option<&str>, write: bool| {
            let tables = ["a", "b", "c", "d"].into_iter();
            tables
                .filter(|table| may(database, write, table))
                .collect::<String>()
        };
        assert_eq!(allowed(None, false), "ac");
        assert_eq!(allowed(None, true), "bc");
        assert_eq!(allowed(Some("reports"), false), "abcd");
        assert_eq!(allowed(Some("reports"), true), "");
        assert_eq!(allowed(Some("other"), false), "");
        // Everything is everything, but of the default database.
        let grants = DbGrants::new([(Access::Read, Scope::Any)]);
        assert!(grants.of(None).is_some_and(|grant| grant.read.is_some()));
        assert!(grants.of(Some("reports")).is_none());
        assert_eq!(DbGrants::new([]), DbGrants::default());
        // A list of no patterns is not everything, but nothing.
        let grants = DbGrants::new([(Access::ReadWrite, Scope::Only(&[][..]))]);
        assert_eq!(grants, DbGrants::default());
    }
}
