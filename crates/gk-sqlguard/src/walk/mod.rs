//! The walk through a parsed statement: it knows every part that it lets pass.

mod expr;
mod query;
mod schema;
mod types;
mod write;

use std::collections::BTreeSet;

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart, Statement};

use crate::analysis::{Analysis, StatementKind, TableName};
use crate::dialect::{Dialect, is_word_of};
use crate::refusal::{Outcome, Refusal};
use crate::{functions, scan};

/// Goes through a statement, notes what it touches, and puts its names in quotes.
pub(crate) struct Walk {
    dialect: Dialect,
    reads: BTreeSet<TableName>,
    writes: BTreeSet<TableName>,
    functions: BTreeSet<String>,
    with_names: BTreeSet<String>,
    fields: BTreeSet<String>,
    keys: BTreeSet<TableName>,
    drops: BTreeSet<String>,
    inserts: Option<String>,
    returning: bool,
    /// Names that WITH defines around the place that is walked: tables of the same name are
    /// hidden there, and only there.
    hidden: Vec<String>,
}

impl Walk {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            reads: BTreeSet::new(),
            writes: BTreeSet::new(),
            functions: BTreeSet::new(),
            with_names: BTreeSet::new(),
            fields: BTreeSet::new(),
            keys: BTreeSet::new(),
            drops: BTreeSet::new(),
            inserts: None,
            returning: false,
            hidden: Vec::new(),
        }
    }

    /// The notes of the walk, with the text for the engine.
    pub(crate) fn into_analysis(
        self,
        kind: StatementKind,
        placeholders: u16,
        sql: String,
    ) -> Analysis {
        Analysis {
            kind,
            reads: self.reads,
            writes: self.writes,
            functions: self.functions,
            with_names: self.with_names,
            fields: self.fields,
            keys: self.keys,
            drops: self.drops,
            inserts: self.inserts,
            returning: self.returning,
            placeholders,
            sql,
            note: Default::default(),
        }
    }

    /// Walks through a whole statement, and says what kind it is of.
    pub(crate) fn statement(
        &mut self,
        statement: &mut Statement,
    ) -> Result<StatementKind, Refusal> {
        match statement {
            Statement::Query(query) => self.top_query(query),
            Statement::Insert(insert) => {
                self.insert(insert)?;
                Ok(StatementKind::Write)
            }
            Statement::Update(update) => {
                self.update(update)?;
                Ok(StatementKind::Write)
            }
            Statement::Delete(delete) => {
                self.delete(delete)?;
                Ok(StatementKind::Write)
            }
            Statement::Merge(merge) => {
                self.merge(merge)?;
                Ok(StatementKind::Write)
            }
            other => {
                self.schema_change(other)?;
                Ok(StatementKind::Schema)
            }
        }
    }

    /// Puts a name in quotes, folded as the engine folds it without them.
    fn name(&self, ident: &mut Ident) -> Outcome {
        if ident.quote_style == Some('\'') && self.dialect == Dialect::Postgres {
            return Err(Refusal::invalid("a string where a name has to be"));
        }
        if ident.quote_style.is_none() {
            if !scan::is_plain_word(&ident.value) {
                return Err(Refusal::unclear(format!("the name {}", ident.value)));
            }
            if self.dialect == Dialect::Postgres {
                ident.value.make_ascii_lowercase();
            }
        }
        if !scan::is_plain_name(&ident.value) {
            return Err(Refusal::unclear("a name that needs an escape"));
        }
        if ident.value.len() > self.dialect.name_bytes_max() {
            return Err(Refusal::large(format!(
                "a name of more than {} bytes",
                self.dialect.name_bytes_max()
            )));
        }
        ident.quote_style = Some(self.dialect.quote());
        Ok(())
    }

    /// Puts a name in quotes that stands by itself, where a word may have a meaning to the engine
    /// that the parser does not know.
    fn own_name(&self, ident: &mut Ident) -> Outcome {
        if ident.quote_style.is_none() && is_word_of(self.dialect, &ident.value) {
            return Err(Refusal::denied(format!(
                "{}, which is a word of the engine's: put it in quotes if it is a name",
                ident.value.to_ascii_uppercase()
            )));
        }
        self.name(ident)
    }

    fn names<'a>(&self, idents: impl IntoIterator<Item = &'a mut Ident>) -> Outcome {
        idents.into_iter().try_for_each(|ident| self.name(ident))
    }

    fn object_name(&self, name: &mut ObjectName) -> Outcome {
        for part in &mut name.0 {
            match part {
                ObjectNamePart::Identifier(ident) => self.name(ident)?,
                ObjectNamePart::Function(_) => {
                    return Err(Refusal::unclear("a name that is computed"));
                }
            }
        }
        Ok(())
    }

    /// A table's name, in quotes from here on.
    fn table_name(&self, name: &mut ObjectName) -> Result<TableName, Refusal> {
        if let Some(ObjectNamePart::Identifier(first)) = name.0.first_mut() {
            self.own_name(first)?;
        }
        self.object_name(name)?;
        let mut parts = name.0.iter().filter_map(|part| part.as_ident());
        let (first, second, third) = (parts.next(), parts.next(), parts.next());
        let table = match (first, second, third) {
            (Some(table), None, None) => TableName::new(None, &table.value),
            (Some(schema), Some(table), None) => TableName::new(Some(&schema.value), &table.value),
            _ => return Err(Refusal::unclear(format!("the name {name}"))),
        };
        if self.is_system(&table) {
            return Err(Refusal::denied(format!("{table} belongs to the engine")));
        }
        Ok(table)
    }

    /// Returns whether a table is the engine's own; these tell about everything in a database.
    fn is_system(&self, table: &TableName) -> bool {
        let starts = |name: &str, start: &str| {
            name.get(..start.len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case(start))
        };
        let is = |schema: &str, names: &[&str]| {
            names.iter().any(|name| schema.eq_ignore_ascii_case(name))
        };
        match self.dialect {
            Dialect::Sqlite => {
                // Only the file itself: neither attached nor temporary databases.
                table.schema().is_some_and(|schema| !is(schema, &["main"]))
                    || starts(table.name(), "sqlite_")
                    || starts(table.name(), "pragma_")
                    || is(
                        table.name(),
                        &["dbstat", "bytecode", "tables_used", "generate_series"],
                    )
            }
            Dialect::Postgres => {
                starts(table.name(), "pg_")
                    || table.schema().is_some_and(|schema| {
                        starts(schema, "pg_") || is(schema, &["information_schema"])
                    })
            }
            Dialect::Mysql => table.schema().is_some_and(|schema| {
                is(
                    schema,
                    &["mysql", "information_schema", "performance_schema", "sys"],
                )
            }),
        }
    }

    fn read(&mut self, name: &mut ObjectName) -> Outcome {
        if self.dialect == Dialect::Mysql
            && let [ObjectNamePart::Identifier(only)] = name.0.as_slice()
            && functions::is_dual(only)
        {
            // No table: it stands for one row without columns.
            return Ok(());
        }
        let table = self.table_name(name)?;
        let is_hidden = |hidden: &String| match self.dialect {
            Dialect::Sqlite => hidden.eq_ignore_ascii_case(table.name()),
            _ => hidden == table.name(),
        };
        if table.schema().is_some() || !self.hidden.iter().any(is_hidden) {
            self.reads.insert(table);
        }
        Ok(())
    }

    /// WITH hides no table that is written.
    fn write(&mut self, name: &mut ObjectName) -> Result<TableName, Refusal> {
        let table = self.table_name(name)?;
        self.writes.insert(table.clone());
        Ok(table)
    }
}
