//! Calls of functions: their names, arguments and windows.

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgOperator, FunctionArgumentClause,
    FunctionArgumentList, FunctionArguments, ObjectName, UnaryOperator, Value, WindowFrame,
    WindowFrameBound, WindowSpec, WindowType,
};

use super::literal;
use crate::dialect::Dialect;
use crate::functions;
use crate::refusal::{Outcome, Refusal};
use crate::walk::Walk;

impl Walk {
    /// A function's name in lower case; it is left as it is, without quotes.
    pub(in crate::walk) fn function_name(&self, name: &ObjectName) -> Result<String, Refusal> {
        match name.0.as_slice() {
            [part] => match part.as_ident() {
                Some(ident) if ident.quote_style.is_none() => Ok(ident.value.to_ascii_lowercase()),
                _ => Err(Refusal::denied("a function's name in quotes")),
            },
            _ => Err(Refusal::denied(format!("the function {name}"))),
        }
    }

    pub(super) fn function(&mut self, function: &mut Function) -> Outcome {
        let Function {
            name,
            uses_odbc_syntax,
            parameters,
            args,
            within_group,
            filter,
            null_treatment: _,
            over,
        } = function;
        let name = self.function_name(name)?;
        // With an argument it says nothing of the session: it sets the number that db_exec answers.
        let sets_id = self.dialect == Dialect::Mysql
            && name == "last_insert_id"
            && matches!(args, FunctionArguments::List(list) if list.args.len() == 1);
        if !functions::is_allowed(self.dialect, &name) && !sets_id {
            return Err(Refusal::denied(format!("the function {name}")));
        }
        if *uses_odbc_syntax || *parameters != FunctionArguments::None {
            return Err(Refusal::unclear(format!("the call of {name}")));
        }
        match args {
            FunctionArguments::None if !functions::is_bare(&name) => {
                return Err(Refusal::unclear(format!("the call of {name}")));
            }
            FunctionArguments::None => {}
            FunctionArguments::Subquery(query) => self.query(query)?,
            FunctionArguments::List(FunctionArgumentList {
                duplicate_treatment: _,
                args,
                clauses,
            }) => {
                sized(&name, args)?;
                args.iter_mut().try_for_each(|arg| self.function_arg(arg))?;
                for clause in clauses {
                    match clause {
                        FunctionArgumentClause::IgnoreOrRespectNulls(_) => {}
                        FunctionArgumentClause::OrderBy(list) => self.order_exprs(list)?,
                        FunctionArgumentClause::Limit(limit) => self.expr(limit)?,
                        FunctionArgumentClause::Separator(value) => literal(&value.value)?,
                        _ => return Err(Refusal::unclear(format!("the call of {name}"))),
                    }
                }
            }
        }
        self.functions.insert(name);
        self.order_exprs(within_group)?;
        self.optional(filter.as_deref_mut())?;
        match over {
            None => Ok(()),
            Some(WindowType::NamedWindow(name)) => self.name(name),
            Some(WindowType::WindowSpec(window)) => self.window(window),
        }
    }

    pub(in crate::walk) fn function_arg(&mut self, arg: &mut FunctionArg) -> Outcome {
        match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => self.unit_or_expr(expr),
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => Ok(()),
            FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(name))
                if self.dialect == Dialect::Postgres =>
            {
                self.object_name(name)
            }
            FunctionArg::ExprNamed {
                name,
                arg: FunctionArgExpr::Expr(expr),
                operator:
                    FunctionArgOperator::RightArrow
                    | FunctionArgOperator::Assignment
                    | FunctionArgOperator::Colon,
            } if self.dialect == Dialect::Postgres => {
                self.expr(name)?;
                self.expr(expr)
            }
            FunctionArg::Named {
                name,
                arg: FunctionArgExpr::Expr(expr),
                operator: _,
            } if self.dialect == Dialect::Postgres => {
                self.name(name)?;
                self.expr(expr)
            }
            _ => Err(Refusal::unclear("an argument of a function")),
        }
    }

    /// `TIMESTAMPDIFF(DAY, a, b)`: a unit looks like a column, and must not be put in quotes.
    fn unit_or_expr(&mut self, expr: &mut Expr) -> Outcome {
        const UNITS: &[&str] = &[
            "microsecond",
            "second",
            "minute",
            "hour",
            "day",
            "week",
            "month",
            "quarter",
            "year",
        ];
        match expr {
            Expr::Identifier(ident)
                if self.dialect == Dialect::Mysql
                    && ident.quote_style.is_none()
                    && UNITS
                        .iter()
                        .any(|unit| ident.value.eq_ignore_ascii_case(unit)) =>
            {
                // A unit that is meant as a column is none: the engine refuses a unit there,
                // or takes it for the column all the same.
                Ok(())
            }
            _ => self.expr(expr),
        }
    }

    pub(in crate::walk) fn window(&mut self, window: &mut WindowSpec) -> Outcome {
        let WindowSpec {
            window_name,
            partition_by,
            order_by,
            window_frame,
        } = window;
        self.names(window_name)?;
        self.exprs(partition_by)?;
        self.order_exprs(order_by)?;
        let Some(WindowFrame {
            units: _,
            start_bound,
            end_bound,
        }) = window_frame
        else {
            return Ok(());
        };
        for bound in [Some(start_bound), end_bound.as_mut()]
            .into_iter()
            .flatten()
        {
            match bound {
                WindowFrameBound::CurrentRow => {}
                WindowFrameBound::Preceding(rows) | WindowFrameBound::Following(rows) => {
                    self.optional(rows.as_deref_mut())?;
                }
            }
        }
        Ok(())
    }
}

/// Longest string that a function may be asked to fill up, and most rows that one may be asked to
/// make.
const FILLED_MAX: u64 = 100_000;
const SERIES_MAX: u64 = 1_000_000;
/// Refuses a call that makes much out of little, unless it says how much.
pub(in crate::walk) fn sized(name: &str, args: &[FunctionArg]) -> Outcome {
    fn value(expr: &Expr) -> Option<f64> {
        match expr {
            Expr::Value(value) => match &value.value {
                Value::Number(number, _) => number.parse().ok(),
                _ => None,
            },
            Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr,
            } => value(expr).map(|number| -number),
            _ => None,
        }
    }
    let number = |index: usize| match args.get(index) {
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))) => value(expr),
        _ => None,
    };
    let (index, max) = match name {
        "lpad" | "rpad" | "repeat" => (1, FILLED_MAX),
        "space" => (0, FILLED_MAX),
        // Of dates, and of what a table holds, it cannot be told ahead.
        "generate_series" => {
            return match (number(0), number(1)) {
                (Some(from), Some(to)) if to - from > SERIES_MAX as f64 => Err(Refusal::large(
                    format!("generate_series makes at most {SERIES_MAX} rows"),
                )),
                (None, Some(to)) if to > SERIES_MAX as f64 => Err(Refusal::large(format!(
                    "generate_series makes at most {SERIES_MAX} rows"
                ))),
                _ => Ok(()),
            };
        }
        _ => return Ok(()),
    };
    match number(index) {
        Some(length) if length <= max as f64 => Ok(()),
        _ => Err(Refusal::denied(format!(
            "the length in {name} has to be a number of at most {max}, written down"
        ))),
    }
}
