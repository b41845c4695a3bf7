//! Statements that write rows. What is written is a table itself: the name of a WITH query does not
//! stand for it. Where MySQL writes several tables at once, all tables it joins count as written,
//! so that no alias has to be looked up.

use sqlparser::ast::{
    Assignment, AssignmentTarget, ConflictTarget, Delete, DoUpdate, FromTable, Insert,
    InsertAliases, Merge, MergeAction, MergeClause, MergeInsertExpr, MergeInsertKind,
    MergeUpdateExpr, MergeUpdateKind, MysqlInsertPriority, ObjectName, OnConflict,
    OnConflictAction, OnInsert, SelectItem, SqliteOnConflict, TableFactor, TableObject,
    TableWithJoins, Update, UpdateTableFromKind, Values,
};

use super::Walk;
use crate::dialect::Dialect;
use crate::refusal::{Outcome, Refusal};

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
        let is_known = optimizer_hints.is_empty()
            && !*overwrite
            && partitioned.is_none()
            && after_columns.is_empty()
            && !*has_table_keyword
            && output.is_none()
            && !matches!(priority, Some(MysqlInsertPriority::Delayed))
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
        let target = self.write(name)?;
        self.inserts = Some(target.name().to_owned());
        if let Some(alias) = table_alias {
            self.name(&mut alias.alias)?;
        }
        if let Some(InsertAliases {
            row_alias,
            col_aliases,
        }) = insert_alias
        {
            self.object_name(row_alias)?;
            self.names(col_aliases.iter_mut().flatten())?;
        }
        columns
            .iter_mut()
            .try_for_each(|column| self.object_name(column))?;
        if let Some(source) = source {
            self.query(source)?;
        }
        self.assignments(assignments)?;
        match on {
            None => {}
            Some(OnInsert::DuplicateKeyUpdate(assignments)) => self.assignments(assignments)?,
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
                    OnConflictAction::DoNothing => {}
                    OnConflictAction::DoUpdate(DoUpdate {
                        assignments,
                        selection,
                    }) => {
                        self.assignments(assignments)?;
                        self.optional(selection.as_mut())?;
                    }
                }
            }
            Some(_) => return Err(Refusal::unclear("ON after the INSERT")),
        }
        self.returning(returning)
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
        if !optimizer_hints.is_empty() || output.is_some() {
            return Err(Refusal::unclear("a clause of the UPDATE"));
        }
        or_clause(*or)?;
        if self.dialect == Dialect::Mysql && !table.joins.is_empty() {
            self.joined(table)?;
        } else {
            self.written(table)?;
        }
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
        self.optional(limit.as_mut())?;
        self.returning(returning)
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
        if !optimizer_hints.is_empty() || output.is_some() {
            return Err(Refusal::unclear("a clause of the DELETE"));
        }
        let FromTable::WithFromKeyword(from) = from else {
            return Err(Refusal::unclear("DELETE without FROM"));
        };
        let mysql = self.dialect == Dialect::Mysql;
        match using {
            // DELETE a, b FROM t AS a JOIN u AS b
            None if mysql && !tables.is_empty() => {
                self.targets(tables)?;
                from.iter_mut().try_for_each(|table| self.joined(table))?;
            }
            None if tables.is_empty() => {
                let [table] = from.as_mut_slice() else {
                    return Err(Refusal::denied("DELETE from several tables"));
                };
                self.written(table)?;
            }
            // DELETE FROM a, b USING t AS a JOIN u AS b
            Some(joined) if mysql && tables.is_empty() => {
                for TableWithJoins { relation, joins } in from {
                    let TableFactor::Table {
                        name,
                        alias: None,
                        args: None,
                        ..
                    } = relation
                    else {
                        return Err(Refusal::unclear("what the DELETE writes to"));
                    };
                    if !joins.is_empty() {
                        return Err(Refusal::unclear("what the DELETE writes to"));
                    }
                    self.targets(std::slice::from_mut(name))?;
                }
                joined.iter_mut().try_for_each(|table| self.joined(table))?;
            }
            Some(joined) if self.dialect == Dialect::Postgres && tables.is_empty() => {
                let [table] = from.as_mut_slice() else {
                    return Err(Refusal::denied("DELETE from several tables"));
                };
                self.written(table)?;
                joined.iter_mut().try_for_each(|table| self.tables(table))?;
            }
            _ => return Err(Refusal::denied("DELETE from several tables")),
        }
        self.optional(selection.as_mut())?;
        self.order_exprs(order_by)?;
        self.optional(limit.as_mut())?;
        self.returning(returning)
    }

    pub(super) fn merge(&mut self, merge: &mut Merge) -> Outcome {
        let Merge {
            merge_token: _,
            optimizer_hints,
            into: _,
            table,
            source,
            on,
            clauses,
            output,
        } = merge;
        if self.dialect != Dialect::Postgres || !optimizer_hints.is_empty() || output.is_some() {
            return Err(Refusal::unclear("a clause of the MERGE"));
        }
        self.target(table)?;
        self.table_factor(source)?;
        self.expr(on)?;
        for clause in clauses {
            let MergeClause {
                when_token: _,
                clause_kind: _,
                predicate,
                action,
            } = clause;
            self.optional(predicate.as_mut())?;
            match action {
                MergeAction::Insert(MergeInsertExpr {
                    insert_token: _,
                    columns,
                    kind_token: _,
                    kind: MergeInsertKind::Values(Values { rows, .. }),
                    insert_predicate: None,
                }) => {
                    columns
                        .iter_mut()
                        .try_for_each(|column| self.object_name(column))?;
                    self.exprs(rows.iter_mut().flat_map(|row| &mut row.content))?;
                }
                MergeAction::Update(MergeUpdateExpr {
                    update_token: _,
                    kind: MergeUpdateKind::Set(assignments),
                    update_predicate: None,
                    delete_predicate: None,
                }) => self.assignments(assignments)?,
                MergeAction::Delete { .. } | MergeAction::DoNothing { .. } => {}
                _ => return Err(Refusal::unclear("an action of the MERGE")),
            }
        }
        Ok(())
    }

    /// RETURNING: reading the rows that are written has to be granted, too.
    fn returning(&mut self, items: &mut Option<Vec<SelectItem>>) -> Outcome {
        let Some(items) = items else { return Ok(()) };
        self.returning = true;
        self.reads.extend(self.writes.iter().cloned());
        items.iter_mut().try_for_each(|item| self.select_item(item))
    }

    /// Names of MySQL's tables, or their aliases, that rows are deleted from: one of those that
    /// follow, all of which count as written.
    fn targets(&self, names: &mut [ObjectName]) -> Outcome {
        for name in names {
            self.object_name(name)?;
        }
        Ok(())
    }

    /// Joined tables, each of which may be written.
    fn joined(&mut self, tables: &mut TableWithJoins) -> Outcome {
        let TableWithJoins { relation, joins } = &mut *tables;
        let joins = joins.iter_mut().map(|join| &mut join.relation);
        for factor in std::iter::once(relation).chain(joins) {
            match factor {
                TableFactor::Table {
                    name, args: None, ..
                } => {
                    self.write(name)?;
                }
                TableFactor::Derived { .. } => {}
                _ => return Err(Refusal::unclear("what the statement writes to")),
            }
        }
        self.tables(tables)
    }

    /// The one table that an UPDATE or a DELETE writes.
    fn written(&mut self, table: &mut TableWithJoins) -> Outcome {
        let TableWithJoins { relation, joins } = table;
        if !joins.is_empty() {
            return Err(Refusal::denied("a statement that writes to a join"));
        }
        self.target(relation)
    }

    fn target(&mut self, relation: &mut TableFactor) -> Outcome {
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
        if !with_hints.is_empty() || !partitions.is_empty() {
            return Err(Refusal::unclear("what stands after the table's name"));
        }
        self.index_hints(index_hints)?;
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

fn or_clause(or: Option<SqliteOnConflict>) -> Outcome {
    match or {
        // ROLLBACK would end a transaction that is the host's.
        Some(SqliteOnConflict::Rollback) => Err(Refusal::denied("OR ROLLBACK")),
        _ => Ok(()),
    }
}
