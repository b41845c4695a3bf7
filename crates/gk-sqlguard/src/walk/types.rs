//! Types that a statement may name. A cast may look up more than its type tells (`regclass`).

use sqlparser::ast::{ArrayElemTypeDef, DataType, EnumMember};

use crate::dialect::Dialect;
use crate::refusal::{Outcome, Refusal};

pub(super) fn check(dialect: Dialect, data_type: &DataType) -> Outcome {
    use DataType as T;
    match data_type {
        T::Character(_)
        | T::Char(_)
        | T::CharacterVarying(_)
        | T::CharVarying(_)
        | T::Varchar(_)
        | T::Nvarchar(_)
        | T::Uuid
        | T::Clob(_)
        | T::Binary(_)
        | T::Varbinary(_)
        | T::Blob(_)
        | T::TinyBlob
        | T::MediumBlob
        | T::LongBlob
        | T::Numeric(_)
        | T::Decimal(_)
        | T::DecimalUnsigned(_)
        | T::Dec(_)
        | T::DecUnsigned(_)
        | T::Float(_)
        | T::FloatUnsigned(_)
        | T::TinyInt(_)
        | T::TinyIntUnsigned(_)
        | T::Int2(_)
        | T::Int2Unsigned(_)
        | T::SmallInt(_)
        | T::SmallIntUnsigned(_)
        | T::MediumInt(_)
        | T::MediumIntUnsigned(_)
        | T::Int(_)
        | T::Int4(_)
        | T::Int8(_)
        | T::Integer(_)
        | T::IntUnsigned(_)
        | T::Int4Unsigned(_)
        | T::Int8Unsigned(_)
        | T::IntegerUnsigned(_)
        | T::BigInt(_)
        | T::BigIntUnsigned(_)
        | T::Signed
        | T::SignedInteger
        | T::Unsigned
        | T::UnsignedInteger
        | T::Float4
        | T::Real
        | T::RealUnsigned
        | T::Float8
        | T::Double(_)
        | T::DoubleUnsigned(_)
        | T::DoublePrecision
        | T::DoublePrecisionUnsigned
        | T::Bool
        | T::Boolean
        | T::Date
        | T::Time(..)
        | T::Datetime(_)
        | T::Timestamp(..)
        | T::Interval { .. }
        | T::JSON
        | T::JSONB
        | T::Text
        | T::TinyText
        | T::MediumText
        | T::LongText
        | T::Bytea
        | T::TsVector
        | T::TsQuery
        | T::Bit(_) => Ok(()),
        // A column of SQLite may have no type, or any word.
        T::Unspecified if dialect == Dialect::Sqlite => Ok(()),
        T::Array(ArrayElemTypeDef::SquareBracket(element, _)) if dialect == Dialect::Postgres => {
            check(dialect, element)
        }
        T::Enum(members, None) if dialect == Dialect::Mysql => {
            let is_plain = |member: &EnumMember| matches!(member, EnumMember::Name(_));
            if members.iter().all(is_plain) {
                Ok(())
            } else {
                Err(unknown(data_type))
            }
        }
        T::Set(_) if dialect == Dialect::Mysql => Ok(()),
        T::Custom(name, arguments) if arguments.is_empty() => {
            let known: &[&str] = match dialect {
                Dialect::Postgres => &[
                    "serial",
                    "bigserial",
                    "smallserial",
                    "serial4",
                    "serial8",
                    "inet",
                    "cidr",
                    "macaddr",
                    "timestamptz",
                    "timetz",
                    "tsvector",
                    "tsquery",
                    "int4range",
                    "int8range",
                    "numrange",
                    "tsrange",
                    "tstzrange",
                    "daterange",
                    "citext",
                ],
                Dialect::Mysql => &["year"],
                Dialect::Sqlite => &["any"],
            };
            let plain = match name.0.as_slice() {
                [part] => part.as_ident().filter(|ident| ident.quote_style.is_none()),
                _ => None,
            };
            match plain {
                Some(ident) if known.contains(&ident.value.to_ascii_lowercase().as_str()) => Ok(()),
                _ => Err(unknown(data_type)),
            }
        }
        _ => Err(unknown(data_type)),
    }
}

fn unknown(data_type: &DataType) -> Refusal {
    Refusal::denied(format!("the type {data_type}"))
}
