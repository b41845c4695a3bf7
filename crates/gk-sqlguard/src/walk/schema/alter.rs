//! ALTER TABLE.

use sqlparser::ast::{
    AlterColumnOperation, AlterTable, AlterTableOperation, MySQLColumnPosition, ObjectName,
    RenameTableNameKind, Value,
};

use crate::analysis::TableName;
use crate::dialect::Dialect;
use crate::refusal::{Outcome, Refusal};
use crate::scan;
use crate::walk::{Walk, types};

impl Walk {
    pub(super) fn alter_table(&mut self, alter: &mut AlterTable) -> Outcome {
        let AlterTable {
            name,
            if_exists: _,
            only: false,
            operations,
            location: None,
            on_cluster: None,
            table_type: None,
            end_token: _,
        } = alter
        else {
            return Err(Refusal::denied("a clause of the ALTER TABLE"));
        };
        let altered = self.table_name(name)?;
        self.write(name)?;
        operations
            .iter_mut()
            .try_for_each(|operation| self.alter(&altered, operation))
    }

    fn alter(&mut self, altered: &TableName, operation: &mut AlterTableOperation) -> Outcome {
        match operation {
            AlterTableOperation::AddColumn {
                column_keyword: _,
                if_not_exists: _,
                column_def,
                column_position,
            } => {
                self.column(column_def)?;
                self.position(column_position)?;
            }
            AlterTableOperation::ModifyColumn {
                col_name,
                data_type,
                options,
                column_position,
            } => {
                self.name(col_name)?;
                types::check(self.dialect, data_type)?;
                options
                    .iter_mut()
                    .try_for_each(|option| self.column_option(option))?;
                self.position(column_position)?;
            }
            AlterTableOperation::ChangeColumn {
                old_name,
                new_name,
                data_type,
                options,
                column_position,
            } => {
                self.names([old_name, new_name])?;
                types::check(self.dialect, data_type)?;
                options
                    .iter_mut()
                    .try_for_each(|option| self.column_option(option))?;
                self.position(column_position)?;
            }
            AlterTableOperation::AlterColumn { column_name, op } => {
                self.name(column_name)?;
                self.alter_column(op)?;
            }
            AlterTableOperation::DropConstraint {
                if_exists: _,
                name,
                drop_behavior: None,
            }
            | AlterTableOperation::DropForeignKey {
                name,
                drop_behavior: None,
            }
            | AlterTableOperation::DropIndex { name } => self.name(name)?,
            AlterTableOperation::DropPrimaryKey {
                drop_behavior: None,
            } => {}
            AlterTableOperation::RenameConstraint { old_name, new_name } => {
                self.names([old_name, new_name])?;
            }
            AlterTableOperation::DropColumn {
                has_column_keyword: _,
                column_names,
                if_exists: _,
                drop_behavior: None,
            } => self.names(column_names)?,
            AlterTableOperation::RenameColumn {
                old_column_name,
                new_column_name,
            } => self.names([old_column_name, new_column_name])?,
            AlterTableOperation::RenameTable {
                table_name: RenameTableNameKind::To(new) | RenameTableNameKind::As(new),
            } => {
                self.rename(altered, new)?;
            }
            AlterTableOperation::AutoIncrement { equals: _, value }
                if matches!(value.value, Value::Number(..)) => {}
            AlterTableOperation::AddConstraint {
                constraint,
                not_valid: _,
            } => self.constraint(constraint)?,
            _ => return Err(Refusal::denied("this ALTER TABLE")),
        }
        Ok(())
    }

    fn alter_column(&mut self, operation: &mut AlterColumnOperation) -> Outcome {
        match operation {
            AlterColumnOperation::SetNotNull
            | AlterColumnOperation::DropNotNull
            | AlterColumnOperation::DropDefault => {}
            AlterColumnOperation::SetDefault { value } => self.expr(value)?,
            AlterColumnOperation::SetDataType {
                data_type,
                using,
                had_set: _,
            } => {
                types::check(self.dialect, data_type)?;
                self.optional(using.as_mut())?;
            }
            AlterColumnOperation::AddGenerated { .. } => {
                return Err(Refusal::denied("this ALTER COLUMN"));
            }
        }
        Ok(())
    }

    fn rename(&mut self, altered: &TableName, new: &mut ObjectName) -> Outcome {
        // PostgreSQL leaves a renamed table where it is, MySQL moves it.
        let table = self.table_name(new)?;
        if table.schema() != altered.schema()
            && (table.schema().is_some() || self.dialect == Dialect::Mysql)
        {
            return Err(Refusal::denied("a table that moves to another schema"));
        }
        let there = TableName::new(altered.schema(), table.name());
        self.writes.insert(there);
        Ok(())
    }

    /// MySQL's FIRST and AFTER.
    pub(super) fn position(&self, position: &mut Option<MySQLColumnPosition>) -> Outcome {
        match position {
            // The parser writes it without quotes.
            Some(MySQLColumnPosition::After(column)) if scan::is_plain_word(&column.value) => {
                column.quote_style = None;
                Ok(())
            }
            Some(MySQLColumnPosition::After(_)) => Err(Refusal::unclear("a name behind AFTER")),
            None | Some(MySQLColumnPosition::First) => Ok(()),
        }
    }
}
