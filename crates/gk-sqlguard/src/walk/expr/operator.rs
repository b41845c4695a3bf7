//! Operators and units that expressions may have.

use sqlparser::ast::{BinaryOperator, DateTimeField};

use crate::dialect::Dialect;
use crate::parser;
use crate::refusal::{Outcome, Refusal};

pub(super) fn date_field(dialect: Dialect, field: &DateTimeField) -> Outcome {
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

pub(super) fn binary(dialect: Dialect, op: &BinaryOperator) -> Outcome {
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
