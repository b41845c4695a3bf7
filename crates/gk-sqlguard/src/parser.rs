//! The parser's dialects, with what their engines know and the parser does not.
//!
//! Each passes for the dialect that it is made from; where the parser decides by a yes or no, that
//! one's answer is passed on.

use std::any::TypeId;

use sqlparser::ast::{BinaryOperator, DateTimeField, Expr, Interval, Statement};
use sqlparser::dialect::{Dialect, MySqlDialect, SQLiteDialect};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

/// SQLite, with shifts, aliases of INSERT, and NOT before GLOB.
#[derive(Debug)]
pub(crate) struct Sqlite;

/// MySQL, with `!`, and units such as HOUR_MINUTE.
#[derive(Debug)]
pub(crate) struct Mysql;

/// Units of MySQL's intervals that the parser does not know.
pub(crate) const MYSQL_UNITS: &[&str] = &[
    "DAY_HOUR",
    "DAY_MICROSECOND",
    "DAY_MINUTE",
    "DAY_SECOND",
    "HOUR_MICROSECOND",
    "HOUR_MINUTE",
    "HOUR_SECOND",
    "MINUTE_MICROSECOND",
    "MINUTE_SECOND",
    "SECOND_MICROSECOND",
    "YEAR_MONTH",
];

type Parsed<T> = Option<Result<T, ParserError>>;

macro_rules! passed_on {
    ($base:expr; $($name:ident)*) => {
        $(fn $name(&self) -> bool { $base.$name() })*
    };
}

impl Dialect for Sqlite {
    fn dialect(&self) -> TypeId {
        TypeId::of::<SQLiteDialect>()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        SQLiteDialect {}.is_delimited_identifier_start(ch)
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        SQLiteDialect {}.identifier_quote_style(identifier)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        SQLiteDialect {}.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        SQLiteDialect {}.is_identifier_part(ch)
    }

    fn parse_statement(&self, parser: &mut Parser) -> Parsed<Statement> {
        SQLiteDialect {}.parse_statement(parser)
    }

    fn parse_infix(&self, parser: &mut Parser, expr: &Expr, precedence: u8) -> Parsed<Expr> {
        for (keyword, op) in [
            (Keyword::GLOB, "NOT GLOB"),
            (Keyword::MATCH, "NOT MATCH"),
            (Keyword::REGEXP, "NOT REGEXP"),
        ] {
            if parser.parse_keywords(&[Keyword::NOT, keyword]) {
                let right = parser.parse_subexpr(precedence);
                return Some(right.map(|right| Expr::BinaryOp {
                    left: Box::new(expr.clone()),
                    op: BinaryOperator::Custom(op.to_owned()),
                    right: Box::new(right),
                }));
            }
        }
        SQLiteDialect {}.parse_infix(parser, expr, precedence)
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }

    fn supports_insert_table_alias(&self) -> bool {
        true
    }

    passed_on! { SQLiteDialect {};
        supports_filter_during_aggregation
        supports_start_transaction_modifier
        supports_in_empty_list
        supports_limit_comma
        supports_asc_desc_in_column_definition
        supports_dollar_placeholder
        supports_notnull_operator
        supports_comma_separated_trim
        supports_numeric_literal_underscores
    }
}

impl Dialect for Mysql {
    fn dialect(&self) -> TypeId {
        TypeId::of::<MySqlDialect>()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        MySqlDialect {}.is_delimited_identifier_start(ch)
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        MySqlDialect {}.identifier_quote_style(identifier)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        MySqlDialect {}.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        MySqlDialect {}.is_identifier_part(ch)
    }

    fn is_table_factor_alias(&self, explicit: bool, kw: &Keyword, parser: &mut Parser) -> bool {
        MySqlDialect {}.is_table_factor_alias(explicit, kw, parser)
    }

    fn parse_infix(&self, parser: &mut Parser, expr: &Expr, precedence: u8) -> Parsed<Expr> {
        MySqlDialect {}.parse_infix(parser, expr, precedence)
    }

    fn parse_statement(&self, parser: &mut Parser) -> Parsed<Statement> {
        MySqlDialect {}.parse_statement(parser)
    }

    /// `INTERVAL '1:30' HOUR_MINUTE`.
    fn parse_prefix(&self, parser: &mut Parser) -> Parsed<Expr> {
        let is_interval =
            |token: &Token| matches!(token, Token::Word(word) if word.keyword == Keyword::INTERVAL);
        if !is_interval(&parser.peek_token_ref().token)
            || parser.peek_nth_token_ref(1).token == Token::LParen
        {
            return None;
        }
        let interval = parser.maybe_parse(|parser| {
            parser.next_token();
            let value = parser.parse_expr()?;
            match parser.next_token().token {
                Token::Word(unit) if is_unit(&unit.value) => Ok(Expr::Interval(Interval {
                    value: Box::new(value),
                    leading_field: Some(DateTimeField::Custom(
                        unit.value.to_ascii_uppercase().as_str().into(),
                    )),
                    leading_precision: None,
                    last_field: None,
                    fractional_seconds_precision: None,
                })),
                _ => Err(ParserError::ParserError("another unit".to_owned())),
            }
        });
        interval.transpose()
    }

    fn supports_bang_not_operator(&self) -> bool {
        true
    }

    fn allow_extract_custom(&self) -> bool {
        true
    }

    passed_on! { MySqlDialect {};
        supports_string_literal_backslash_escape
        supports_string_literal_concatenation
        ignores_wildcard_escapes
        supports_numeric_prefix
        supports_bitwise_shift_operators
        supports_multiline_comment_hints
        require_interval_qualifier
        supports_limit_comma
        supports_create_table_select
        supports_insert_set
        supports_user_host_grantee
        supports_table_hints
        requires_single_line_comment_whitespace
        supports_match_against
        supports_select_modifiers
        supports_set_names
        supports_comma_separated_set_assignments
        supports_update_order_by
        supports_data_type_signed_suffix
        supports_cross_join_constraint
        supports_double_ampersand_operator
        supports_comment_optimizer_hint
        supports_constraint_keyword_without_name
        supports_key_column_option
        supports_group_by_with_modifier
        supports_left_associative_joins_without_parens
    }
}

/// Returns whether this is one of [`MYSQL_UNITS`].
pub(crate) fn is_unit(word: &str) -> bool {
    MYSQL_UNITS
        .iter()
        .any(|unit| unit.eq_ignore_ascii_case(word))
}
