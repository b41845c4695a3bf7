//! Statements that write rows. What is written is a table itself: neither an alias nor the name of
//! a WITH query stands for it. Forms that write several tables at once are refused.

use sqlparser::ast::{
    Assignment, AssignmentTarget, ConflictTarget, Delete, DoUpdate, FromTable, Insert, OnConflict,
    OnConflictAction, OnInsert, SqliteOnConflict, TableFactor, TableObject, TableWithJoins, Update,
    UpdateTableFromKind,
};

use super::{Dialect, Outcome, Refusal, Walk};

impl Walk {
    pub(super) fn insert(&mut self, insert: &mut Insert) -> Outcome {
        let Insert {
            insert_token: _,
            optimizer_hints,
            or,
            ignore: _,
            into: _,
            table,
            table_alias,
            columns,
            overwrite,
            source,
            assignments,
            partitioned,
            after_columns,
            has_table_keyword,
            on,
            returning,
            output,
            replace_into: _,
            priority,
            insert_alias,
            settings,
            format_clause,
            multi_table_insert_type,
            multi_table_into_clauses,
            multi_table_when_clauses,
            multi_table_else_clause,
        } = insert;
        returns_nothing(returning.is_some())?;
        let is_known = optimizer_hints.is_empty()
            && !*overwrite
            && partitioned.is_none()
            && after_columns.is_empty()
            && !*has_table_keyword
            && output.is_none()
            && priority.is_none()
            && insert_alias.is_none()
            && settings.is_none()
            && format_clause.is_none()
            && multi_table_insert_type.is_none()
            && multi_table_into_clauses.is_empty()
            && multi_table_when_clauses.is_empty()
            && multi_table_else_clause.is_none();
        if !is_known {
            return Err(Refusal::unclear("a clause of the INSERT"));
        }
        or_clause(*or)?;
        let TableObject::TableName(name) = table else {
            return Err(Refusal::unclear("what the INSERT writes to"));
        };
        self.write(name)?;
        if let Some(alias) = table_alias {
            self.name(&mut alias.alias)?;
        }
        columns
            .iter_mut()
            .try_for_each(|column| self.object_name(column))?;
        if let Some(source) = source {
            self.query(source)?;
        }
        self.assignments(assignments)?;
        match on {
            None => Ok(()),
            Some(OnInsert::DuplicateKeyUpdate(assignments)) => self.assignments(assignments),
            Some(OnInsert::OnConflict(OnConflict {
                conflict_target,
                action,
            })) => {
                match conflict_target {
                    None => {}
                    Some(ConflictTarget::Columns(columns)) => self.names(columns)?,
                    Some(ConflictTarget::OnConstraint(name)) => self.object_name(name)?,
                }
                match action {
                    OnConflictAction::DoNothing => Ok(()),
                    OnConflictAction::DoUpdate(DoUpdate {
                        assignments,
                        selection,
                    }) => {
                        self.assignments(assignments)?;
                        self.optional(selection.as_mut())
                    }
                }
            }
            Some(_) => Err(Refusal::unclear("ON after the INSERT")),
        }
    }

    pub(super) fn update(&mut self, update: &mut Update) -> Outcome {
        let Update {
            update_token: _,
            optimizer_hints,
            table,
            assignments,
            from,
            selection,
            returning,
            output,
            or,
            order_by,
            limit,
        } = update;
        returns_nothing(returning.is_some())?;
        if !optimizer_hints.is_empty() || output.is_some() {
            return Err(Refusal::unclear("a clause of the UPDATE"));
        }
        or_clause(*or)?;
        self.written(table)?;
        self.assignments(assignments)?;
        match from {
            None => {}
            Some(UpdateTableFromKind::AfterSet(tables)) if self.dialect != Dialect::Mysql => {
                tables
                    .iter_mut()
                    .try_for_each(|tables| self.tables(tables))?;
            }
            Some(_) => return Err(Refusal::unclear("FROM in the UPDATE")),
        }
        self.optional(selection.as_mut())?;
        self.order_exprs(order_by)?;
        self.optional(limit.as_mut())
    }

    pub(super) fn delete(&mut self, delete: &mut Delete) -> Outcome {
        let Delete {
            delete_token: _,
            optimizer_hints,
            tables,
            from,
            using,
            selection,
            returning,
            output,
            order_by,
            limit,
        } = delete;
        returns_nothing(returning.is_some())?;
        if !optimizer_hints.is_empty() || output.is_some() {
            return Err(Refusal::unclear("a clause of the DELETE"));
        }
        if !tables.is_empty() {
            return Err(Refusal::denied("DELETE from several tables"));
        }
        let FromTable::WithFromKeyword(from) = from else {
            return Err(Refusal::unclear("DELETE without FROM"));
        };
        let [table] = from.as_mut_slice() else {
            return Err(Refusal::denied("DELETE from several tables"));
        };
        self.written(table)?;
        match using {
            None => {}
            // In MySQL what is deleted from is an alias of what stands after USING.
            Some(tables) if self.dialect == Dialect::Postgres => {
                tables
                    .iter_mut()
                    .try_for_each(|tables| self.tables(tables))?;
            }
            Some(_) => return Err(Refusal::denied("DELETE … USING")),
        }
        self.optional(selection.as_mut())?;
        self.order_exprs(order_by)?;
        self.optional(limit.as_mut())
    }

    /// The one table that an UPDATE or a DELETE writes.
    fn written(&mut self, table: &mut TableWithJoins) -> Outcome {
        let TableWithJoins { relation, joins } = table;
        if !joins.is_empty() {
            return Err(Refusal::denied("a statement that writes to a join"));
        }
        let TableFactor::Table {
            name,
            alias,
            args: None,
            with_hints,
            version: None,
            with_ordinality: false,
            partitions,
            json_path: None,
            sample: None,
            index_hints,
        } = relation
        else {
            return Err(Refusal::unclear("what the statement writes to"));
        };
        if !with_hints.is_empty() || !partitions.is_empty() || !index_hints.is_empty() {
            return Err(Refusal::unclear("what stands after the table's name"));
        }
        self.write(name)?;
        match alias {
            None => Ok(()),
            Some(alias) if alias.columns.is_empty() && alias.at.is_none() => {
                self.name(&mut alias.name)
            }
            Some(_) => Err(Refusal::unclear("the alias of the table")),
        }
    }

    fn assignments(&mut self, assignments: &mut [Assignment]) -> Outcome {
        for Assignment { target, value } in assignments {
            match target {
                AssignmentTarget::ColumnName(name) => self.object_name(name)?,
                AssignmentTarget::Tuple(names) => {
                    names
                        .iter_mut()
                        .try_for_each(|name| self.object_name(name))?;
                }
            }
            self.expr(value)?;
        }
        Ok(())
    }
}

fn returns_nothing(returning: bool) -> Outcome {
    if returning {
        return Err(Refusal::denied(
            "RETURNING: a statement that writes returns how many rows it wrote",
        ));
    }
    Ok(())
}

fn or_clause(or: Option<SqliteOnConflict>) -> Outcome {
    match or {
        // ROLLBACK would end a transaction that is the host's.
        Some(SqliteOnConflict::Rollback) => Err(Refusal::denied("OR ROLLBACK")),
        _ => Ok(()),
    }
}
