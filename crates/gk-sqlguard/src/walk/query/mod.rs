//! Queries: which tables they read, in which scope.

mod from;

use sqlparser::ast::{
    Cte, Distinct, Fetch, GroupByExpr, GroupByWithModifier, Ident, LimitClause,
    NamedWindowDefinition, NamedWindowExpr, Offset, OrderBy, OrderByExpr, OrderByKind,
    OrderByOptions, OrderBySort, Query, Select, SelectFlavor, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, SetQuantifier, Values, WildcardAdditionalOptions,
    With,
};

use super::Walk;
use crate::analysis::StatementKind;
use crate::dialect::Dialect;
use crate::refusal::{Outcome, Refusal};
use crate::{literals, scan};

/// Longest name that a column without a name of its own is given, in bytes.
const LABEL_BYTES_MAX: usize = 60;

impl Walk {
    /// A statement that begins with WITH may write; inside of another one it may not.
    pub(super) fn top_query(&mut self, query: &mut Query) -> Result<StatementKind, Refusal> {
        if matches!(
            *query.body,
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)
        ) {
            let (with, body) = split(query)?;
            let hidden = self.hidden.len();
            if let Some(with) = with {
                self.with(with)?;
            }
            let kind = match body {
                SetExpr::Insert(statement)
                | SetExpr::Update(statement)
                | SetExpr::Delete(statement)
                | SetExpr::Merge(statement) => self.statement(statement)?,
                _ => return Err(Refusal::unclear("WITH before this statement")),
            };
            self.hidden.truncate(hidden);
            return Ok(kind);
        }
        self.query(query)?;
        if self.writes.is_empty() {
            return Ok(StatementKind::Query);
        }
        // A WITH query writes, and this one returns rows.
        self.returning = true;
        Ok(StatementKind::Write)
    }

    /// A query of WITH. On PostgreSQL it may write; where it may not, the engine says so.
    fn with_query(&mut self, query: &mut Query) -> Outcome {
        let writes = matches!(
            *query.body,
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)
        );
        if !writes || self.dialect != Dialect::Postgres {
            return self.query(query);
        }
        let outer = (self.returning, self.inserts.take());
        self.top_query(query)?;
        // Rows of the inner statement are the outer one's to return.
        (self.returning, self.inserts) = outer;
        Ok(())
    }

    pub(super) fn query(&mut self, query: &mut Query) -> Outcome {
        let Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        if !locks.is_empty() {
            return Err(Refusal::denied("FOR UPDATE and FOR SHARE lock rows"));
        }
        if for_clause.is_some()
            || settings.is_some()
            || format_clause.is_some()
            || !pipe_operators.is_empty()
        {
            return Err(Refusal::unclear("what stands after the query"));
        }
        let hidden = self.hidden.len();
        if let Some(with) = with {
            self.with(with)?;
        }
        self.set_expr(body)?;
        if let Some(order_by) = order_by {
            self.order_by(order_by)?;
        }
        if let Some(limit) = limit_clause {
            self.limit(limit)?;
        }
        if let Some(Fetch {
            with_ties: _,
            percent,
            quantity,
        }) = fetch
        {
            if *percent {
                return Err(Refusal::unclear("FETCH … PERCENT"));
            }
            self.optional(quantity.as_mut())?;
        }
        self.hidden.truncate(hidden);
        Ok(())
    }

    /// Leaves the names hidden: the caller uncovers them where their scope ends.
    fn with(&mut self, with: &mut With) -> Outcome {
        let With {
            with_token: _,
            recursive,
            cte_tables,
        } = with;
        for cte in cte_tables {
            let Cte {
                alias,
                query,
                from,
                materialized: _,
                closing_paren_token: _,
            } = cte;
            if from.is_some() {
                return Err(Refusal::unclear("FROM after a WITH query"));
            }
            self.alias(alias)?;
            self.with_names.insert(alias.name.value.clone());
            // Engines differ on what else sees a name (SQLite: every query of the same WITH;
            // PostgreSQL with RECURSIVE: earlier ones too). Where it is not hidden here, a table
            // of that name has to be granted: too strict, never too lax.
            if *recursive {
                self.hidden.push(alias.name.value.clone());
                self.with_query(query)?;
            } else {
                self.with_query(query)?;
                self.hidden.push(alias.name.value.clone());
            }
        }
        Ok(())
    }

    fn set_expr(&mut self, body: &mut SetExpr) -> Outcome {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation {
                left,
                op: _,
                set_quantifier,
                right,
            } => {
                match set_quantifier {
                    SetQuantifier::All | SetQuantifier::Distinct | SetQuantifier::None => {}
                    _ => return Err(Refusal::unclear("BY NAME")),
                }
                self.set_expr(left)?;
                self.set_expr(right)
            }
            SetExpr::Values(Values {
                explicit_row: _,
                value_keyword: _,
                rows,
            }) => {
                let mut cells = rows.iter_mut().flat_map(|row| &mut row.content);
                cells.try_for_each(|cell| self.expr(cell))
            }
            SetExpr::Table(_) => Err(Refusal::denied("TABLE: write SELECT * FROM")),
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                Err(Refusal::denied("a query that writes"))
            }
        }
    }

    fn select(&mut self, select: &mut Select) -> Outcome {
        let Select {
            select_token: _,
            optimizer_hints,
            distinct,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having,
            named_window,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        if into.is_some() {
            return Err(Refusal::denied("SELECT … INTO writes"));
        }
        let is_known = optimizer_hints.is_empty()
            && select_modifiers.as_ref().is_none_or(|modifiers| {
                // The others say how, and not what.
                self.dialect == Dialect::Mysql && !modifiers.sql_calc_found_rows
                    || !modifiers.is_any_set()
            })
            && top.is_none()
            && exclude.is_none()
            && lateral_views.is_empty()
            && prewhere.is_none()
            && connect_by.is_empty()
            && cluster_by.is_empty()
            && distribute_by.is_empty()
            && sort_by.is_empty()
            && qualify.is_none()
            && value_table_mode.is_none()
            && *flavor == SelectFlavor::Standard;
        if !is_known {
            return Err(Refusal::unclear("a clause of the SELECT"));
        }
        match distinct {
            None | Some(Distinct::All | Distinct::Distinct) => {}
            Some(Distinct::On(list)) => self.exprs(list)?,
        }
        for item in projection {
            self.select_item(item)?;
        }
        for tables in from {
            self.tables(tables)?;
        }
        self.optional(selection.as_mut())?;
        match group_by {
            GroupByExpr::Expressions(list, modifiers) => {
                self.exprs(list)?;
                for modifier in modifiers {
                    match modifier {
                        GroupByWithModifier::Rollup | GroupByWithModifier::Cube => {}
                        GroupByWithModifier::GroupingSets(sets) => self.expr(sets)?,
                        GroupByWithModifier::Totals => {
                            return Err(Refusal::unclear("WITH TOTALS"));
                        }
                    }
                }
            }
            GroupByExpr::All(_) => return Err(Refusal::unclear("GROUP BY ALL")),
        }
        self.optional(having.as_mut())?;
        for NamedWindowDefinition(name, window) in named_window {
            self.name(name)?;
            match window {
                NamedWindowExpr::NamedWindow(name) => self.name(name)?,
                NamedWindowExpr::WindowSpec(window) => self.window(window)?,
            }
        }
        Ok(())
    }

    pub(super) fn select_item(&mut self, item: &mut SelectItem) -> Outcome {
        match item {
            SelectItem::UnnamedExpr(expr) => {
                // SQLite and MySQL name a column by its expression's text, which quotes change; a
                // literal's they do not, and a name that could be a column's must not come of it:
                // ORDER BY would find it.
                let label = match expr {
                    _ if self.dialect == Dialect::Postgres => None,
                    sqlparser::ast::Expr::Identifier(_)
                    | sqlparser::ast::Expr::CompoundIdentifier(_)
                    | sqlparser::ast::Expr::Value(_)
                    | sqlparser::ast::Expr::Prefixed { .. } => None,
                    _ => Some(label(self.dialect, &expr.to_string())),
                };
                self.expr(expr)?;
                if let Some(label) = label {
                    let null = sqlparser::ast::Expr::value(sqlparser::ast::Value::Null);
                    *item = SelectItem::ExprWithAlias {
                        expr: std::mem::replace(expr, null),
                        alias: Ident::with_quote(self.dialect.quote(), label),
                    };
                }
                Ok(())
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                self.expr(expr)?;
                self.name(alias)
            }
            SelectItem::QualifiedWildcard(
                SelectItemQualifiedWildcardKind::ObjectName(name),
                rest,
            ) => {
                plain_wildcard(rest)?;
                self.object_name(name)
            }
            SelectItem::Wildcard(rest) => plain_wildcard(rest),
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(_), _)
            | SelectItem::ExprWithAliases { .. } => Err(Refusal::unclear("a column of the SELECT")),
        }
    }

    fn order_by(&mut self, order_by: &mut OrderBy) -> Outcome {
        let OrderBy { kind, interpolate } = order_by;
        match kind {
            OrderByKind::Expressions(list) if interpolate.is_none() => self.order_exprs(list),
            _ => Err(Refusal::unclear("ORDER BY ALL")),
        }
    }

    pub(super) fn order_exprs(&mut self, list: &mut [OrderByExpr]) -> Outcome {
        for item in list {
            let OrderByExpr {
                expr,
                options:
                    OrderByOptions {
                        sort,
                        nulls_first: _,
                    },
                with_fill,
            } = item;
            match sort {
                None | Some(OrderBySort::Asc | OrderBySort::Desc) => {}
                Some(OrderBySort::Using(_)) => return Err(Refusal::unclear("ORDER BY … USING")),
            }
            if with_fill.is_some() {
                return Err(Refusal::unclear("WITH FILL"));
            }
            self.expr(expr)?;
        }
        Ok(())
    }

    fn limit(&mut self, limit: &mut LimitClause) -> Outcome {
        match limit {
            LimitClause::LimitOffset {
                limit,
                offset,
                limit_by,
            } => {
                if !limit_by.is_empty() {
                    return Err(Refusal::unclear("LIMIT BY"));
                }
                self.optional(limit.as_mut())?;
                let offset = offset.as_mut().map(|Offset { value, rows: _ }| value);
                self.optional(offset)
            }
            LimitClause::OffsetCommaLimit { offset, limit } => {
                self.expr(offset)?;
                self.expr(limit)
            }
        }
    }
}

/// WITH and what follows it, where nothing else stands around.
fn split(query: &mut Query) -> Result<(Option<&mut With>, &mut SetExpr), Refusal> {
    let Query {
        with,
        body,
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks,
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators,
    } = query
    else {
        return Err(Refusal::unclear("what stands after the statement"));
    };
    if !locks.is_empty() || !pipe_operators.is_empty() {
        return Err(Refusal::unclear("what stands after the statement"));
    }
    Ok((with.as_mut(), body))
}

fn plain_wildcard(options: &WildcardAdditionalOptions) -> Outcome {
    let WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike: None,
        opt_exclude: None,
        opt_except: None,
        opt_replace: None,
        opt_rename: None,
        opt_alias: None,
    } = options
    else {
        return Err(Refusal::unclear("what stands after *"));
    };
    Ok(())
}

/// A name for a column that has none, from the text of its expression. MySQL's names hold no
/// characters beyond the basic plane.
fn label(dialect: Dialect, text: &str) -> String {
    let text = match dialect {
        // The mark is not the plugin's word.
        Dialect::Sqlite => text
            .replace(" IS NOT UNKNOWN", " NOTNULL")
            .replace(" IS UNKNOWN", " ISNULL"),
        _ => text.to_owned(),
    };
    let plain = text.chars().filter(|c| {
        !c.is_control()
            && !matches!(c, '"' | '`' | '\'' | '\\' | '[' | ']')
            && !literals::is_stand_in(*c)
    });
    let mut label: String = plain
        .map(|c| match dialect {
            Dialect::Mysql if c > '\u{ffff}' => '?',
            _ => c,
        })
        .collect();
    let mut end = LABEL_BYTES_MAX.min(label.len());
    while !label.is_char_boundary(end) {
        end -= 1;
    }
    label.truncate(end);
    label.truncate(label.trim_end().len());
    if label.is_empty() || scan::is_plain_word(&label) {
        label.push_str(" _");
    }
    label.trim_start().to_owned()
}
