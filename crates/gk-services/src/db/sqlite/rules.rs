//! The rules of SQLite's authorizer, which asks when a statement is compiled and again
//! when tables have changed since.
//!
//! A foreign key makes SQLite touch tables that the statement does not name: it looks for the
//! parent of a new row, and for the children of a row that goes, which it may delete or change.
//! SQLite compiles that into the statement and asks for it in the same words. So a statement that
//! writes may touch what the keys around its tables lead to ([`Keys`]), where the plugin is granted
//! that table; and such a statement is compiled for each call, as grants differ from plugin to
//! plugin.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use gk_hostapi::HostError;
use gk_sqlguard::{Analysis, DbGrant, StatementKind, TableName, is_allowed_in_sqlite};
use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext};

use crate::db::write::foreign_index;

/// The rules that the authorizer goes by.
#[derive(Debug, Default)]
pub(super) enum Rules {
    /// No statement is being compiled.
    #[default]
    Nothing,
    /// A statement of the host's own.
    Own,
    /// A plugin's.
    Statement(Arc<Analysis>),
    /// A plugin's, whose tables have foreign keys.
    WithKeys(Arc<Analysis>, Reach),
}

impl Rules {
    pub(super) fn permit(
        &mut self,
        context: &AuthContext<'_>,
        permits: fn(&Analysis, &AuthContext<'_>) -> bool,
    ) -> bool {
        match self {
            Self::Nothing => false,
            Self::Own => true,
            Self::Statement(statement) => permits(statement, context),
            Self::WithKeys(statement, reach) => {
                permits(statement, context) || reach.permits(&context.action)
            }
        }
    }

    /// The rules' own words for what they have denied.
    pub(super) fn reason(&self) -> Option<HostError> {
        match self {
            Self::WithKeys(_, reach) => reach.reason(),
            _ => None,
        }
    }
}

/// An access of its own: the table is not named by the statement.
const DROP_INDEX: &str = "drop an index of";

/// The tables that foreign keys lead to from the tables of a statement.
#[derive(Debug)]
pub(super) struct Reach {
    tables: HashSet<String>,
    grant: DbGrant,
    denied: Option<(String, &'static str)>,
}

impl Reach {
    /// A reach of no tables but those of the grant itself.
    pub(super) fn nothing(grant: &DbGrant) -> Self {
        Self {
            tables: HashSet::new(),
            grant: grant.clone(),
            denied: None,
        }
    }

    fn permits(&mut self, action: &AuthAction<'_>) -> bool {
        if let AuthAction::DropIndex { table_name, .. } = action {
            let (name, scope) = (TableName::new(None, table_name), &self.grant.write);
            let scope = scope.as_ref();
            let is_granted = scope.is_some_and(|scope| scope.contains(&name, super::OWN_SCHEMA));
            if !is_granted {
                self.denied = Some(((*table_name).to_owned(), DROP_INDEX));
            }
            return is_granted;
        }
        let (table, scope, access) = match action {
            AuthAction::Read { table_name, .. } => (*table_name, &self.grant.read, "read"),
            AuthAction::Insert { table_name }
            | AuthAction::Update { table_name, .. }
            | AuthAction::Delete { table_name } => (*table_name, &self.grant.write, "write"),
            _ => return false,
        };
        if !self.tables.contains(&table.to_ascii_lowercase()) {
            return false;
        }
        let name = TableName::new(None, table);
        let is_granted = scope
            .as_ref()
            .is_some_and(|scope| scope.contains(&name, super::OWN_SCHEMA));
        if !is_granted {
            self.denied = Some((table.to_owned(), access));
        }
        is_granted
    }

    fn reason(&self) -> Option<HostError> {
        let (table, access) = self.denied.as_ref()?;
        if *access == DROP_INDEX {
            return Some(foreign_index(table));
        }
        Some(HostError::denied(format!(
            "a foreign key makes the statement {access} table \"{table}\", which is not permitted: \
             ask for {access} access to it, or drop the key"
        )))
    }
}

/// The foreign keys of a file, as they were when its tables last changed.
#[derive(Debug, Default)]
pub(super) struct Keys {
    schema_version: Option<i64>,
    /// Tables that a key leads to from this one, in either direction; in lower case.
    neighbours: HashMap<String, Vec<String>>,
}

impl Keys {
    /// Reads the keys anew if tables have changed.
    pub(super) fn refresh(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let version = connection
            .prepare_cached("PRAGMA schema_version")?
            .query_row([], |row| row.get(0))?;
        if self.schema_version == Some(version) {
            return Ok(());
        }
        let mut keys = connection.prepare(
            "SELECT lower(t.name), lower(k.\"table\") FROM sqlite_schema t \
             JOIN pragma_foreign_key_list(t.name) k WHERE t.type = 'table'",
        )?;
        self.neighbours.clear();
        let mut rows = keys.query([])?;
        while let Some(row) = rows.next()? {
            let (child, parent): (String, String) = (row.get(0)?, row.get(1)?);
            let mut lead = |from: &str, to: &str| {
                let tables = self.neighbours.entry(from.to_owned()).or_default();
                tables.push(to.to_owned());
            };
            lead(&child, &parent);
            lead(&parent, &child);
        }
        self.schema_version = Some(version);
        Ok(())
    }

    /// The tables that keys lead to from these, over any number of keys; `None` without a key.
    pub(super) fn reach(&self, from: &BTreeSet<TableName>, grant: &DbGrant) -> Option<Reach> {
        let from = from.iter().map(|table| table.name().to_ascii_lowercase());
        let mut ahead: Vec<String> = from
            .filter(|table| self.neighbours.contains_key(table))
            .collect();
        if ahead.is_empty() {
            return None;
        }
        let mut tables: HashSet<String> = ahead.iter().cloned().collect();
        while let Some(table) = ahead.pop() {
            for next in self.neighbours.get(&table).into_iter().flatten() {
                if tables.insert(next.clone()) {
                    ahead.push(next.clone());
                }
            }
        }
        Some(Reach {
            tables,
            grant: grant.clone(),
            denied: None,
        })
    }
}

/// Returns whether a statement needs what SQLite is about to do for it.
pub(super) fn permits(statement: &Analysis, context: &AuthContext<'_>) -> bool {
    let has = |tables: &std::collections::BTreeSet<TableName>, table: &str| {
        tables
            .iter()
            .any(|known| known.name().eq_ignore_ascii_case(table))
    };
    let is_schema = statement.kind == StatementKind::Schema;
    // SQLite's own books, which a change of tables changes.
    let is_book = |table: &str| {
        [
            "sqlite_master",
            "sqlite_temp_master",
            "sqlite_schema",
            "sqlite_sequence",
            "sqlite_stat1",
            "sqlite_stat4",
        ]
        .iter()
        .any(|book| book.eq_ignore_ascii_case(table))
    };
    let writes = |table: &str| has(&statement.writes, table) || (is_schema && is_book(table));
    let reads = |table: &str| {
        has(&statement.reads, table)
            || writes(table)
            || statement.functions.contains(&table.to_ascii_lowercase())
    };
    let is_with = |name: &str| {
        let mut names = statement.with_names.iter();
        names.any(|known| known.eq_ignore_ascii_case(name))
    };
    // A view reads and a trigger writes what whoever made it may; plugins make neither.
    let is_inside = context.accessor.is_some();
    let may_write = statement.kind != StatementKind::Query;
    match context.action {
        AuthAction::Select | AuthAction::Recursive => true,
        // The rows of a WITH query are counted under its name, without a column.
        AuthAction::Read {
            table_name,
            column_name,
        } => is_inside || reads(table_name) || (column_name.is_empty() && is_with(table_name)),
        AuthAction::Insert { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::Delete { table_name } => may_write && (is_inside || writes(table_name)),
        AuthAction::Function { function_name } => {
            is_inside
                || is_allowed_in_sqlite(function_name)
                || (is_schema && function_name.starts_with("sqlite_"))
        }
        AuthAction::CreateTable { table_name }
        | AuthAction::DropTable { table_name }
        | AuthAction::AlterTable { table_name, .. }
        | AuthAction::CreateIndex { table_name, .. }
        | AuthAction::DropIndex { table_name, .. } => is_schema && writes(table_name),
        AuthAction::Reindex { .. } => is_schema,
        _ => false,
    }
}
