//! Expressions: what they call, and the queries in them.

use sqlparser::ast::{
    AccessExpr, Array, BinaryOperator, CaseWhen, CastKind, CeilFloorKind, DateTimeField, Expr,
    Function, FunctionArg, FunctionArgExpr, FunctionArgOperator, FunctionArgumentClause,
    FunctionArgumentList, FunctionArguments, Interval, ObjectName, Subscript, TypedString,
    UnaryOperator, Value, WindowFrame, WindowFrameBound, WindowSpec, WindowType,
};

use super::{Walk, types};
use crate::dialect::Dialect;
use crate::refusal::{Outcome, Refusal};
use crate::{functions, parser};

impl Walk {
    pub(super) fn exprs<'a>(&mut self, list: impl IntoIterator<Item = &'a mut Expr>) -> Outcome {
        list.into_iter().try_for_each(|expr| self.expr(expr))
    }

    pub(super) fn optional(&mut self, expr: Option<&mut Expr>) -> Outcome {
        expr.map_or(Ok(()), |expr| self.expr(expr))
    }

    pub(super) fn expr(&mut self, expr: &mut Expr) -> Outcome {
        match expr {
            // A keyword in the place of a value; in quotes it were a column.
            Expr::Identifier(ident)
                if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default") =>
            {
                Ok(())
            }
            Expr::Identifier(ident)
                if self.dialect == Dialect::Mysql
                    && ident.quote_style.is_none()
                    && functions::is_bare_in_mysql(&ident.value)
                    && !functions::is_dual(ident) =>
            {
                self.functions.insert(ident.value.to_ascii_lowercase());
                Ok(())
            }
            Expr::Identifier(ident) => self.own_name(ident),
            Expr::CompoundIdentifier(parts) => {
                self.names(parts.iter_mut())?;
                if let Some(field) = parts.last() {
                    self.field(&field.value);
                }
                Ok(())
            }
            Expr::Value(value) => literal(&value.value),
            // The scan lets harmless character sets pass, and no others.
            Expr::Prefixed { prefix, value }
                if self.dialect == Dialect::Mysql && prefix.quote_style.is_none() =>
            {
                self.expr(value)
            }
            Expr::IsFalse(inner)
            | Expr::IsNotFalse(inner)
            | Expr::IsTrue(inner)
            | Expr::IsNotTrue(inner)
            | Expr::IsNull(inner)
            | Expr::IsNotNull(inner)
            | Expr::IsUnknown(inner)
            | Expr::IsNotUnknown(inner)
            | Expr::Nested(inner) => self.expr(inner),
            Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
                self.expr(left)?;
                self.expr(right)
            }
            Expr::InList {
                expr,
                list,
                negated: _,
            } => {
                self.expr(expr)?;
                self.exprs(list)
            }
            Expr::InSubquery {
                expr,
                subquery,
                negated: _,
            } => {
                self.expr(expr)?;
                self.query(subquery)
            }
            Expr::Between {
                expr,
                negated: _,
                low,
                high,
            } => {
                self.expr(expr)?;
                self.expr(low)?;
                self.expr(high)
            }
            Expr::BinaryOp { left, op, right } => {
                self.expr(left)?;
                binary(self.dialect, op)?;
                self.expr(right)
            }
            Expr::UnaryOp { op, expr } => self.unary(op, expr),
            // Only PostgreSQL knows ANY here.
            Expr::Like {
                negated: _,
                any: _,
                expr,
                pattern,
                escape_char,
            }
            | Expr::ILike {
                negated: _,
                any: _,
                expr,
                pattern,
                escape_char,
            }
            | Expr::SimilarTo {
                negated: _,
                expr,
                pattern,
                escape_char,
            } => {
                self.expr(expr)?;
                self.expr(pattern)?;
                self.optional(escape_char.as_deref_mut())
            }
            Expr::RLike {
                negated: _,
                expr,
                pattern,
                regexp: _,
            } => {
                self.expr(expr)?;
                self.expr(pattern)
            }
            Expr::AnyOp {
                left,
                compare_op,
                right,
                is_some: _,
            }
            | Expr::AllOp {
                left,
                compare_op,
                right,
            } => {
                self.expr(left)?;
                binary(self.dialect, compare_op)?;
                self.expr(right)
            }
            Expr::Case {
                case_token: _,
                end_token: _,
                operand,
                conditions,
                else_result,
            } => {
                self.optional(operand.as_deref_mut())?;
                for CaseWhen { condition, result } in conditions {
                    self.expr(condition)?;
                    self.expr(result)?;
                }
                self.optional(else_result.as_deref_mut())
            }
            Expr::Exists {
                subquery,
                negated: _,
            }
            | Expr::Subquery(subquery) => self.query(subquery),
            Expr::Tuple(list) => self.exprs(list),
            Expr::GroupingSets(sets) | Expr::Cube(sets) | Expr::Rollup(sets) => {
                self.exprs(sets.iter_mut().flatten())
            }
            Expr::Function(function) => self.function(function),
            Expr::Cast {
                kind: CastKind::Cast | CastKind::DoubleColon,
                expr,
                data_type,
                format: None,
            } => {
                types::check(self.dialect, data_type)?;
                self.expr(expr)
            }
            Expr::Convert {
                is_try: false,
                expr,
                data_type,
                charset,
                target_before_value: false,
                styles,
            } if styles.is_empty() => {
                if let Some(data_type) = data_type {
                    types::check(self.dialect, data_type)?;
                }
                if let Some(charset) = charset {
                    self.object_name(charset)?;
                }
                self.expr(expr)
            }
            Expr::TypedString(TypedString {
                data_type,
                value,
                uses_odbc_syntax: false,
            }) => {
                types::check(self.dialect, data_type)?;
                literal(&value.value)
            }
            Expr::Interval(interval) => self.interval(interval),
            other => self.rarer(other),
        }
    }

    /// Written without a blank, an operator and the one behind it might be read as one.
    #[inline(never)]
    fn unary(&mut self, op: &UnaryOperator, expr: &mut Expr) -> Outcome {
        let is_known = match op {
            UnaryOperator::Plus
            | UnaryOperator::Minus
            | UnaryOperator::Not
            | UnaryOperator::BitwiseNot => true,
            UnaryOperator::BangNot => self.dialect == Dialect::Mysql,
            UnaryOperator::PGAbs | UnaryOperator::PGSquareRoot | UnaryOperator::PGCubeRoot => {
                self.dialect == Dialect::Postgres
            }
            _ => false,
        };
        if !is_known {
            return Err(Refusal::unclear(format!("the operator {op}")));
        }
        if *op != UnaryOperator::Not && matches!(expr, Expr::UnaryOp { .. }) {
            let inner = std::mem::replace(expr, Expr::value(Value::Null));
            *expr = Expr::Nested(Box::new(inner));
        }
        self.expr(expr)
    }

    /// Expressions with a syntax of their own: fewer statements have them, and a smaller frame for
    /// the others is a deeper recursion.
    #[inline(never)]
    fn rarer(&mut self, expr: &mut Expr) -> Outcome {
        match expr {
            Expr::Extract {
                field,
                syntax: _,
                expr,
            } => {
                date_field(self.dialect, field)?;
                self.functions.insert("extract".to_owned());
                self.expr(expr)
            }
            Expr::Ceil {
                expr,
                field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime),
            }
            | Expr::Floor {
                expr,
                field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime),
            } => self.expr(expr),
            Expr::AtTimeZone {
                timestamp,
                time_zone,
            } => {
                self.expr(timestamp)?;
                self.expr(time_zone)
            }
            Expr::Position { expr, r#in } => {
                self.expr(expr)?;
                self.expr(r#in)
            }
            Expr::Substring {
                expr,
                substring_from,
                substring_for,
                special: _,
                shorthand: _,
            } => {
                self.expr(expr)?;
                self.optional(substring_from.as_deref_mut())?;
                self.optional(substring_for.as_deref_mut())
            }
            Expr::Trim {
                trim_where: _,
                trim_what,
                expr,
                trim_characters,
            } => {
                self.optional(trim_what.as_deref_mut())?;
                self.exprs(trim_characters.iter_mut().flatten())?;
                self.expr(expr)
            }
            Expr::Overlay {
                expr,
                overlay_what,
                overlay_from,
                overlay_for,
            } => {
                self.expr(expr)?;
                self.expr(overlay_what)?;
                self.expr(overlay_from)?;
                self.optional(overlay_for.as_deref_mut())
            }
            Expr::Collate { expr, collation } => {
                self.object_name(collation)?;
                self.expr(expr)
            }
            Expr::MatchAgainst {
                columns,
                match_value,
                opt_search_modifier: _,
            } if self.dialect == Dialect::Mysql => {
                columns
                    .iter_mut()
                    .try_for_each(|column| self.object_name(column))?;
                literal(&match_value.value)
            }
            // Within an array of arrays the word ARRAY is left out.
            Expr::Array(Array { elem, named: _ }) if self.dialect == Dialect::Postgres => {
                self.exprs(elem)
            }
            Expr::CompoundFieldAccess { root, access_chain }
                if self.dialect == Dialect::Postgres =>
            {
                self.expr(root)?;
                for access in access_chain {
                    match access {
                        AccessExpr::Subscript(Subscript::Index { index }) => self.expr(index)?,
                        AccessExpr::Subscript(Subscript::Slice {
                            lower_bound,
                            upper_bound,
                            stride: None,
                        }) => {
                            self.optional(lower_bound.as_mut())?;
                            self.optional(upper_bound.as_mut())?;
                        }
                        AccessExpr::Dot(Expr::Identifier(field)) => {
                            self.name(field)?;
                            self.field(&field.value);
                        }
                        _ => return Err(Refusal::unclear("a part of a value")),
                    }
                }
                Ok(())
            }
            other => Err(Refusal::unclear(format!(
                "the expression {}",
                excerpt(other)
            ))),
        }
    }

    /// To PostgreSQL `x.f` is `f(x)` where `x` has no column `f`, if there is such a function.
    fn field(&mut self, name: &str) {
        if self.dialect == Dialect::Postgres && !functions::is_harmless_field(name) {
            self.fields.insert(name.to_owned());
        }
    }

    fn interval(&mut self, interval: &mut Interval) -> Outcome {
        let Interval {
            value,
            leading_field,
            leading_precision: _,
            last_field,
            fractional_seconds_precision: _,
        } = interval;
        for field in [leading_field, last_field].into_iter().flatten() {
            date_field(self.dialect, field)?;
        }
        self.expr(value)
    }

    /// A function's name in lower case; it is left as it is, without quotes.
    pub(super) fn function_name(&self, name: &ObjectName) -> Result<String, Refusal> {
        match name.0.as_slice() {
            [part] => match part.as_ident() {
                Some(ident) if ident.quote_style.is_none() => Ok(ident.value.to_ascii_lowercase()),
                _ => Err(Refusal::denied("a function's name in quotes")),
            },
            _ => Err(Refusal::denied(format!("the function {name}"))),
        }
    }

    fn function(&mut self, function: &mut Function) -> Outcome {
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

    pub(super) fn function_arg(&mut self, arg: &mut FunctionArg) -> Outcome {
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
                // Where it is meant as a column it is none: the engine refuses a unit there,
                // or takes it for the column all the same.
                Ok(())
            }
            _ => self.expr(expr),
        }
    }

    pub(super) fn window(&mut self, window: &mut WindowSpec) -> Outcome {
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

/// Longest string that a function may be asked to fill up, and most rows that one may be asked to make.
const FILLED_MAX: u64 = 100_000;
const SERIES_MAX: u64 = 1_000_000;

/// What makes much of nothing has to say how much.
pub(super) fn sized(name: &str, args: &[FunctionArg]) -> Outcome {
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

pub(super) fn literal(value: &Value) -> Outcome {
    match value {
        Value::Number(_, false)
        | Value::SingleQuotedString(_)
        | Value::Boolean(_)
        | Value::Null
        | Value::Placeholder(_) => Ok(()),
        Value::NationalStringLiteral(_) => Ok(()),
        Value::SingleQuotedByteStringLiteral(digits)
            if digits.bytes().all(|digit| matches!(digit, b'0' | b'1')) =>
        {
            Ok(())
        }
        Value::HexStringLiteral(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Ok(())
        }
        other => Err(Refusal::unclear(format!("the literal {other}"))),
    }
}

fn date_field(dialect: Dialect, field: &DateTimeField) -> Outcome {
    match field {
        DateTimeField::Custom(unit)
            if dialect == Dialect::Mysql
                && unit.quote_style.is_none()
                && parser::is_unit(&unit.value) =>
        {
            Ok(())
        }
        DateTimeField::Custom(_) | DateTimeField::Week(Some(_)) => {
            Err(Refusal::unclear("a part of a date"))
        }
        _ => Ok(()),
    }
}

fn binary(dialect: Dialect, op: &BinaryOperator) -> Outcome {
    use BinaryOperator as Op;
    let is_common = matches!(
        op,
        Op::Plus
            | Op::Minus
            | Op::Multiply
            | Op::Divide
            | Op::Modulo
            | Op::StringConcat
            | Op::Gt
            | Op::Lt
            | Op::GtEq
            | Op::LtEq
            | Op::Eq
            | Op::NotEq
            | Op::And
            | Op::Or
            | Op::BitwiseOr
            | Op::BitwiseAnd
            | Op::PGBitwiseShiftLeft
            | Op::PGBitwiseShiftRight
            | Op::Arrow
            | Op::LongArrow
    );
    let is_own = match dialect {
        Dialect::Sqlite => {
            matches!(op, Op::Glob) || matches!(op, Op::Custom(op) if op == "NOT GLOB")
        }
        Dialect::Mysql => matches!(
            op,
            Op::Spaceship | Op::Xor | Op::BitwiseXor | Op::MyIntegerDivide | Op::Regexp
        ),
        Dialect::Postgres => matches!(
            op,
            Op::BitwiseXor
                | Op::PGBitwiseXor
                | Op::PGExp
                | Op::PGOverlap
                | Op::PGRegexMatch
                | Op::PGRegexIMatch
                | Op::PGRegexNotMatch
                | Op::PGRegexNotIMatch
                | Op::PGLikeMatch
                | Op::PGILikeMatch
                | Op::PGNotLikeMatch
                | Op::PGNotILikeMatch
                | Op::PGStartsWith
                | Op::HashArrow
                | Op::HashLongArrow
                | Op::AtArrow
                | Op::ArrowAt
                | Op::AtAt
                | Op::AtQuestion
                | Op::HashMinus
                | Op::Overlaps
                | Op::AndLt
                | Op::AndGt
                | Op::LtDashGt
        ),
    };
    if is_common || is_own {
        Ok(())
    } else {
        Err(Refusal::unclear(format!("the operator {op}")))
    }
}

/// The beginning of an expression, for a message.
fn excerpt(expr: &Expr) -> String {
    let text = expr.to_string();
    text.chars().take(40).collect()
}
