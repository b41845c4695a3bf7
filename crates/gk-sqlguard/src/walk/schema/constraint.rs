//! Constraints of tables: unique, primary and foreign keys, checks.

use sqlparser::ast::{
    CheckConstraint, ForeignKeyConstraint, FullTextOrSpatialConstraint, Ident, IndexColumn,
    IndexConstraint, IndexOption, IndexType, PrimaryKeyConstraint, TableConstraint,
    UniqueConstraint,
};

use super::plain_options;
use crate::refusal::{Outcome, Refusal};
use crate::walk::Walk;

impl Walk {
    pub(super) fn constraint(&mut self, constraint: &mut TableConstraint) -> Outcome {
        match constraint {
            TableConstraint::Unique(unique) => self.unique(unique),
            TableConstraint::PrimaryKey(key) => self.primary_key(key),
            TableConstraint::ForeignKey(key) => self.foreign_key(key),
            TableConstraint::Check(check) => self.check(check),
            TableConstraint::Index(IndexConstraint {
                display_as_key: _,
                name,
                index_type: None | Some(IndexType::BTree | IndexType::Hash),
                columns,
                index_options,
            }) if plain_options(index_options) => {
                self.names(name)?;
                self.index_columns(columns)
            }
            TableConstraint::FulltextOrSpatial(FullTextOrSpatialConstraint {
                fulltext: _,
                index_type_display: _,
                opt_index_name,
                columns,
            }) => {
                self.names(opt_index_name)?;
                self.index_columns(columns)
            }
            _ => Err(Refusal::denied("a constraint of the table")),
        }
    }

    pub(super) fn unique(&mut self, unique: &mut UniqueConstraint) -> Outcome {
        let UniqueConstraint {
            name,
            index_name,
            index_type_display: _,
            index_type: None,
            columns,
            include,
            index_options,
            characteristics: _,
            nulls_distinct: _,
        } = unique
        else {
            return Err(Refusal::unclear("UNIQUE … USING"));
        };
        self.names(name)?;
        self.key(index_name, columns, include, index_options)
    }

    pub(super) fn primary_key(&mut self, key: &mut PrimaryKeyConstraint) -> Outcome {
        let PrimaryKeyConstraint {
            name,
            index_name,
            index_type: None,
            columns,
            include,
            index_options,
            characteristics: _,
        } = key
        else {
            return Err(Refusal::unclear("PRIMARY KEY … USING"));
        };
        self.names(name)?;
        self.key(index_name, columns, include, index_options)
    }

    /// The index of a unique or primary key.
    fn key(
        &mut self,
        name: &mut Option<Ident>,
        columns: &mut [IndexColumn],
        include: &mut [Ident],
        options: &[IndexOption],
    ) -> Outcome {
        if !plain_options(options) {
            return Err(Refusal::unclear("options of an index"));
        }
        self.names(name)?;
        self.names(include)?;
        self.index_columns(columns)
    }

    /// A key tells which rows the other table has, and may keep others from deleting them: the
    /// plugin has to be granted both.
    pub(super) fn foreign_key(&mut self, key: &mut ForeignKeyConstraint) -> Outcome {
        let ForeignKeyConstraint {
            name,
            index_name,
            columns,
            foreign_table,
            referred_columns,
            on_delete: _,
            on_update: _,
            match_kind: _,
            characteristics: _,
        } = key;
        self.names(name)?;
        self.names(index_name)?;
        self.names(columns)?;
        self.names(referred_columns)?;
        let table = self.table_name(foreign_table)?;
        self.keys.insert(table);
        Ok(())
    }

    pub(super) fn check(&mut self, check: &mut CheckConstraint) -> Outcome {
        let CheckConstraint {
            name,
            expr,
            no_inherit: _,
            enforced: _,
        } = check;
        self.names(name)?;
        self.expr(expr)
    }
}
