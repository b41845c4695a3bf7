//! FROM: tables, joins, and functions that stand for tables.

use sqlparser::ast::{
    FunctionArg, Join, JoinConstraint, JoinOperator, JsonTableColumn, JsonTableColumnErrorHandling,
    JsonTableNamedColumn, TableAlias, TableFactor, TableFunctionArgs, TableIndexHints,
    TableWithJoins,
};

use crate::dialect::Dialect;
use crate::functions;
use crate::refusal::{Outcome, Refusal};
use crate::walk::expr::{literal, sized};
use crate::walk::{Walk, types};

impl Walk {
    pub(in crate::walk) fn tables(&mut self, tables: &mut TableWithJoins) -> Outcome {
        let TableWithJoins { relation, joins } = tables;
        self.table_factor(relation)?;
        for join in joins {
            let Join {
                relation,
                global,
                join_operator,
            } = join;
            if *global {
                return Err(Refusal::unclear("GLOBAL JOIN"));
            }
            self.table_factor(relation)?;
            let constraint = match join_operator {
                JoinOperator::Join(constraint)
                | JoinOperator::Inner(constraint)
                | JoinOperator::Left(constraint)
                | JoinOperator::LeftOuter(constraint)
                | JoinOperator::Right(constraint)
                | JoinOperator::RightOuter(constraint)
                | JoinOperator::FullOuter(constraint)
                | JoinOperator::CrossJoin(constraint)
                | JoinOperator::StraightJoin(constraint) => constraint,
                _ => return Err(Refusal::unclear("a kind of JOIN")),
            };
            match constraint {
                JoinConstraint::On(condition) => self.expr(condition)?,
                JoinConstraint::Using(columns) => {
                    columns
                        .iter_mut()
                        .try_for_each(|column| self.object_name(column))?;
                }
                JoinConstraint::Natural | JoinConstraint::None => {}
            }
        }
        Ok(())
    }

    pub(in crate::walk) fn table_factor(&mut self, factor: &mut TableFactor) -> Outcome {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_hints,
            } => {
                let is_plain = with_hints.is_empty()
                    && version.is_none()
                    && partitions.is_empty()
                    && json_path.is_none()
                    && sample.is_none();
                if !is_plain {
                    return Err(Refusal::unclear("what stands after a table's name"));
                }
                self.index_hints(index_hints)?;
                match args {
                    None if *with_ordinality => return Err(Refusal::unclear("WITH ORDINALITY")),
                    None => self.read(name)?,
                    Some(TableFunctionArgs { args, settings }) => {
                        if settings.is_some() {
                            return Err(Refusal::unclear("SETTINGS"));
                        }
                        self.table_function(name, args)?;
                    }
                }
                self.optional_alias(alias)
            }
            TableFactor::Derived {
                lateral: _,
                subquery,
                alias,
                sample,
            } => {
                if sample.is_some() {
                    return Err(Refusal::unclear("TABLESAMPLE"));
                }
                self.query(subquery)?;
                self.optional_alias(alias)
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias,
            } => {
                self.tables(table_with_joins)?;
                self.optional_alias(alias)
            }
            TableFactor::Function {
                lateral: _,
                name,
                args,
                with_ordinality: _,
                alias,
            } => {
                self.table_function(name, args)?;
                self.optional_alias(alias)
            }
            TableFactor::UNNEST {
                alias,
                array_exprs,
                with_offset,
                with_offset_alias,
                with_ordinality: _,
            } if self.dialect == Dialect::Postgres
                && !*with_offset
                && with_offset_alias.is_none() =>
            {
                self.exprs(array_exprs)?;
                self.optional_alias(alias)
            }
            TableFactor::JsonTable {
                json_expr,
                json_path,
                columns,
                alias,
            } if self.dialect == Dialect::Mysql => {
                self.expr(json_expr)?;
                literal(&json_path.value)?;
                self.json_columns(columns)?;
                self.optional_alias(alias)
            }
            _ => Err(Refusal::unclear(
                "something in FROM that is no table, query or join",
            )),
        }
    }

    fn json_columns(&self, columns: &mut [JsonTableColumn]) -> Outcome {
        for column in columns {
            match column {
                JsonTableColumn::Named(JsonTableNamedColumn {
                    name,
                    r#type,
                    path,
                    exists: _,
                    on_empty,
                    on_error,
                }) => {
                    self.name(name)?;
                    types::check(self.dialect, r#type)?;
                    literal(&path.value)?;
                    for handling in [on_empty, on_error].into_iter().flatten() {
                        if let JsonTableColumnErrorHandling::Default(value) = handling {
                            literal(&value.value)?;
                        }
                    }
                }
                JsonTableColumn::ForOrdinality(name) => self.name(name)?,
                JsonTableColumn::Nested(nested) => {
                    literal(&nested.path.value)?;
                    self.json_columns(&mut nested.columns)?;
                }
            }
        }
        Ok(())
    }

    /// Hints say how rows are found, not which.
    pub(in crate::walk) fn index_hints(&self, hints: &mut [TableIndexHints]) -> Outcome {
        for TableIndexHints {
            hint_type: _,
            index_type: _,
            for_clause: _,
            index_names,
        } in hints
        {
            if self.dialect != Dialect::Mysql {
                return Err(Refusal::unclear("what stands after a table's name"));
            }
            self.names(index_names)?;
        }
        Ok(())
    }

    fn table_function(
        &mut self,
        name: &mut sqlparser::ast::ObjectName,
        args: &mut [FunctionArg],
    ) -> Outcome {
        let name = self.function_name(name)?;
        if !functions::is_allowed_table(self.dialect, &name) {
            return Err(Refusal::denied(format!("the function {name}")));
        }
        sized(&name, args)?;
        self.functions.insert(name);
        args.iter_mut().try_for_each(|arg| self.function_arg(arg))
    }

    fn optional_alias(&self, alias: &mut Option<TableAlias>) -> Outcome {
        alias.as_mut().map_or(Ok(()), |alias| self.alias(alias))
    }

    pub(super) fn alias(&self, alias: &mut TableAlias) -> Outcome {
        let TableAlias {
            explicit: _,
            name,
            columns,
            at,
        } = alias;
        if at.is_some() {
            return Err(Refusal::unclear("AT after an alias"));
        }
        self.name(name)?;
        for column in columns {
            if let Some(data_type) = &column.data_type {
                types::check(self.dialect, data_type)?;
            }
            self.name(&mut column.name)?;
        }
        Ok(())
    }
}
