//! Which tables a plugin may read and write: the `db` entries of its permissions.

use std::collections::HashMap;

use gk_manifest::Access;

use super::guard::TableName;

/// What a plugin may do with the host's databases: what its permissions grant, taken together.
///
/// A pattern is a table's whole name, without regard to case, where `*` stands for any run of
/// characters. `@name:pattern` is for the named database alone, and a pattern without a prefix for
/// the default database alone: each database is a grant of its own. A table of a schema that is
/// not the database's own is `schema.table`, and only a pattern with a period in it grants it. An
/// entry without patterns grants every table of the default database's own schema. The engines'
/// own tables are never granted, whatever the pattern.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DbGrants {
    default: DbGrant,
    named: HashMap<String, DbGrant>,
}

/// What a plugin may do with one database: `None` is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DbGrant {
    /// Tables it may read.
    pub read: Option<TableScope>,
    /// Tables it may write, make and drop.
    pub write: Option<TableScope>,
}

/// Some tables of one database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableScope {
    everything: bool,
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    /// Of another schema than the database's own.
    schema: Option<String>,
    table: String,
}

impl DbGrants {
    /// The union of the `db` entries of a plugin's permissions. Entries whose access is neither
    /// read nor write grant nothing, and a pattern that cannot be read grants nothing.
    pub fn from_permissions<'a>(entries: impl IntoIterator<Item = (Access, &'a [String])>) -> Self {
        let mut grants = Self::default();
        for (access, scope) in entries {
            let (read, write) = match access {
                Access::Read => (true, false),
                Access::Write => (false, true),
                Access::ReadWrite => (true, true),
                _ => continue,
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

    /// What is granted on the default database, or on a named one.
    #[must_use]
    pub fn of(&self, database: Option<&str>) -> Option<&DbGrant> {
        match database {
            None => Some(&self.default),
            Some(name) => self.named.get(name),
        }
    }
}

impl TableScope {
    /// The scope of one entry, by database: `None` is the default one. Databases' names are
    /// compared as they are written.
    #[must_use]
    pub fn parse(patterns: &[String]) -> HashMap<Option<String>, Self> {
        let mut scopes = HashMap::<Option<String>, Self>::new();
        if patterns.is_empty() {
            let everything = Self {
                everything: true,
                patterns: Vec::new(),
            };
            scopes.insert(None, everything);
        }
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
        self.everything |= other.everything;
        self.patterns.extend(other.patterns.iter().cloned());
    }

    /// Whether a table is among these; `own_schema` is what tables without a schema belong to.
    pub(crate) fn contains(&self, table: &TableName, own_schema: &str) -> bool {
        let schema = table.schema().filter(|schema| *schema != own_schema);
        if schema.is_none() && self.everything {
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

/// Whether a pattern in lower case is a whole name, without regard to the case of ASCII letters.
/// The time is at most the product of both lengths.
fn matches(pattern: &str, name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Where to go on when the latest `*` has to take one byte more.
    let mut star = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p) == Some(&name[n]) {
            p += 1;
            n += 1;
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            p = at + 1;
            n = taken + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(scope: &[&str], table: &str) -> bool {
        let scope: Vec<String> = scope.iter().map(|pattern| (*pattern).to_owned()).collect();
        let scopes = TableScope::parse(&scope);
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
            (Access::HardDelete, strings(&["d"])),
        ];
        let grants = DbGrants::from_permissions(
            entries
                .iter()
                .map(|(access, scope)| (*access, scope.as_slice())),
        );
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
        // An entry without a scope is everything, but of the default database.
        let grants = DbGrants::from_permissions([(Access::Read, &[][..])]);
        assert!(grants.of(None).is_some_and(|grant| grant.read.is_some()));
        assert!(grants.of(Some("reports")).is_none());
        assert_eq!(DbGrants::from_permissions([]), DbGrants::default());
    }
}
