//! Expressions: what they call, and the queries in them.

mod call;
mod operator;

use sqlparser::ast::{
    AccessExpr, Array, CaseWhen, CastKind, CeilFloorKind, DateTimeField, Expr, Interval, Subscript,
    TypedString, UnaryOperator, Value,
};

use super::{Walk, types};
use crate::dialect::Dialect;
use crate::functions;
use crate::refusal::{Outcome, Refusal};
pub(in crate::walk) use call::sized;
use operator::{binary, date_field};

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
            Expr::BinaryOp { left, op, right } => {
                self.expr(left)?;
                binary(self.dialect, op)?;
                self.expr(right)
            }
            Expr::UnaryOp { op, expr } => self.unary(op, expr),
            Expr::Function(function) => self.function(function),
            other => self.predicate(other),
        }
    }

    /// Comparisons with more than two sides, conditions, and queries within an expression.
    ///
    /// An expression that is walked in steps takes a smaller frame of the stack at each level.
    #[inline(never)]
    fn predicate(&mut self, expr: &mut Expr) -> Outcome {
        match expr {
            Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
                self.exprs([&mut **left, right])
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
            } => self.exprs([&mut **expr, low, high]),
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
            } => self.exprs([&mut **expr, pattern]),
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
                    self.exprs([condition, result])?;
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
            other => self.conversion(other),
        }
    }

    /// Conversions to a type, and literals of one.
    #[inline(never)]
    fn conversion(&mut self, expr: &mut Expr) -> Outcome {
        match expr {
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
                access_chain
                    .iter_mut()
                    .try_for_each(|access| self.access(access))
            }
            other => Err(Refusal::unclear(format!(
                "the expression {}",
                excerpt(other)
            ))),
        }
    }

    /// A part of an array or of a composite value.
    fn access(&mut self, access: &mut AccessExpr) -> Outcome {
        match access {
            AccessExpr::Subscript(Subscript::Index { index }) => self.expr(index),
            AccessExpr::Subscript(Subscript::Slice {
                lower_bound,
                upper_bound,
                stride: None,
            }) => {
                self.optional(lower_bound.as_mut())?;
                self.optional(upper_bound.as_mut())
            }
            AccessExpr::Dot(Expr::Identifier(field)) => {
                self.name(field)?;
                self.field(&field.value);
                Ok(())
            }
            _ => Err(Refusal::unclear("a part of a value")),
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

/// The beginning of an expression, for a message.
fn excerpt(expr: &Expr) -> String {
    let text = expr.to_string();
    text.chars().take(40).collect()
}
