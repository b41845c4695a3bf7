//! Words and signs of a statement, between text and tree.
//!
//! The text that the host writes from a tree has to mean that tree. Parsing it again shows that,
//! and costs as much as the first time. It is not needed where the text has the very tokens that
//! the tree was parsed from: a parser makes the same tree of the same tokens. To get there, names
//! are put in quotes before the first parse ([`quote_names`]), as the walk would after it; a name
//! that was missed, or a form that the host writes in another way, costs the second parse.

use sqlparser::ast::Statement;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Span, Token, TokenWithSpan, Tokenizer, Whitespace, Word};

use crate::dialect::{Dialect, with_dialect};
use crate::limits::{TOKENS_MAX, TOO_DEEP};
use crate::refusal::Refusal;
use crate::rewrite::{self, Aside};
use crate::{functions, scan};

/// Words that the parser knows and that are names wherever a plugin's query or write has them.
/// Quoting one that was none would be no hole, only another statement: what is understood is
/// what runs.
const USUAL_NAMES: &[Keyword] = &[
    Keyword::ACCOUNT,
    Keyword::CATEGORY,
    Keyword::COMMENT,
    Keyword::DATA,
    Keyword::EVENT,
    Keyword::ID,
    Keyword::ITEMS,
    Keyword::LOCATION,
    Keyword::MESSAGE,
    Keyword::METADATA,
    Keyword::NAME,
    Keyword::OWNER,
    Keyword::PATH,
    Keyword::ROLE,
    Keyword::SIZE,
    Keyword::STATUS,
    Keyword::TAG,
    Keyword::TASK,
    Keyword::URL,
];

/// The tokens of a plugin's statement, in spellings that the parser knows.
pub(crate) fn read(dialect: Dialect, text: &str) -> Result<(Vec<TokenWithSpan>, Aside), Refusal> {
    let mut tokens = tokenize(dialect, text)?;
    let aside = match rewrite::concerns(dialect, &tokens) {
        true => rewrite::rewrite(dialect, &mut tokens),
        false => Aside::default(),
    };
    Ok((tokens, aside))
}

/// The tokens of a text without comments; blanks are left out.
pub(crate) fn tokenize(dialect: Dialect, text: &str) -> Result<Vec<TokenWithSpan>, Refusal> {
    // A token for each three or four characters is usual, blanks included.
    let mut tokens = Vec::with_capacity(text.len() / 3 + 4);
    let place = |TokenWithSpan { token, span }: TokenWithSpan| {
        let token = match token {
            // `0x1F` is a number to some engines, and a literal of its own to the others; only
            // `X'1F'`, which is longer by one, is what this token says.
            Token::HexStringLiteral(digits)
                if span.end.column - span.start.column == digits.len() as u64 + 2 =>
            {
                Token::Number(format!("0x{digits}"), false)
            }
            token => token,
        };
        // Places in this text would mislead: it is not what the plugin wrote.
        let span = Span::empty();
        TokenWithSpan { token, span }
    };
    let read = with_dialect(dialect, |dialect| {
        let mut tokenizer = Tokenizer::new(dialect, text);
        tokenizer.tokenize_with_location_into_buf_with_mapper(&mut tokens, place)
    });
    read.map_err(|error| Refusal::invalid(error.to_string()))?;
    tokens.retain(|token| {
        !matches!(
            token.token,
            Token::Whitespace(Whitespace::Space | Whitespace::Newline | Whitespace::Tab)
        )
    });
    if tokens.len() > TOKENS_MAX {
        return Err(Refusal::large(format!(
            "more than {TOKENS_MAX} words and signs"
        )));
    }
    for TokenWithSpan { token, .. } in &tokens {
        let is_known = !matches!(
            token,
            // Comments have gone before.
            Token::Whitespace(_)
                | Token::DollarQuotedString(_)
                | Token::EscapedStringLiteral(_)
                | Token::UnicodeStringLiteral(_)
                | Token::Char(_)
                | Token::Backslash
                | Token::SemiColon
        );
        if !is_known {
            return Err(Refusal::unclear(format!("{token}")));
        }
    }
    Ok(tokens)
}

/// The tree of one statement, and its tokens back.
pub(crate) fn parse(
    dialect: Dialect,
    tokens: Vec<TokenWithSpan>,
    recursion_max: usize,
) -> Result<(Statement, Vec<TokenWithSpan>), Refusal> {
    if tokens.is_empty() {
        return Err(Refusal::invalid("it is empty"));
    }
    let parsed = with_dialect(dialect, |dialect| {
        let mut parser = Parser::new(dialect)
            .with_recursion_limit(recursion_max)
            .with_tokens_with_locations(tokens);
        let statement = parser.parse_statement()?;
        let next = parser.peek_token_ref();
        if next.token != Token::EOF {
            return parser.expected_ref("end of statement", next);
        }
        Ok((statement, parser.into_tokens()))
    });
    parsed.map_err(|error| match error {
        ParserError::RecursionLimitExceeded => Refusal::large(TOO_DEEP),
        error => Refusal::invalid(error.to_string()),
    })
}

/// Puts words that can only be names in quotes, folded as the walk would. Whether there was one.
pub(crate) fn quote_names(dialect: Dialect, tokens: &mut [TokenWithSpan]) -> bool {
    const VERBS: &[Keyword] = &[
        Keyword::SELECT,
        Keyword::VALUES,
        Keyword::WITH,
        Keyword::INSERT,
        Keyword::REPLACE,
        Keyword::UPDATE,
        Keyword::DELETE,
    ];
    let keyword = |token: &TokenWithSpan| match &token.token {
        Token::Word(word) => word.keyword,
        _ => Keyword::NoKeyword,
    };
    if !tokens
        .first()
        .is_some_and(|verb| VERBS.contains(&keyword(verb)))
    {
        // Types are words, too.
        return false;
    }
    let mut found = false;
    let (mut after_period, mut after_into) = (false, false);
    for at in 0..tokens.len() {
        let next = tokens.get(at + 1).map(|next| &next.token);
        // Functions have no quotes, and a word may give a string another meaning.
        let is_called = next == Some(&Token::LParen) && !after_into;
        let is_prefix = matches!(
            next,
            Some(Token::SingleQuotedString(_) | Token::HexStringLiteral(_))
        );
        let token = &mut tokens[at].token;
        let (was_after_period, is_period) = (after_period, *token == Token::Period);
        (after_period, after_into) = (is_period, false);
        let Token::Word(word) = token else { continue };
        after_into = word.keyword == Keyword::INTO;
        let is_name = word.quote_style.is_none()
            && (word.keyword == Keyword::NoKeyword
                || was_after_period
                || USUAL_NAMES.contains(&word.keyword));
        // Words without parentheses that the parser takes for names, and the engine does not.
        let is_bare = !was_after_period && functions::has_meaning(dialect, &word.value);
        if is_name && !is_called && !is_prefix && !is_bare && scan::is_plain_word(&word.value) {
            if dialect == Dialect::Postgres {
                word.value.make_ascii_lowercase();
            }
            word.quote_style = Some(dialect.quote());
            word.keyword = Keyword::NoKeyword;
            found = true;
        }
    }
    found
}

/// Returns whether a text that the host wrote has exactly these tokens. `false` may also mean that
/// this cannot be told without reading it again.
pub(crate) fn spell(written: &str, tokens: &[TokenWithSpan]) -> bool {
    let mut rest = written;
    let mut previous = &Token::Comma;
    for TokenWithSpan { token, .. } in tokens {
        let here = rest.trim_start_matches(' ');
        // Signs and words that touch may be read as one.
        if here.len() == rest.len() && !may_touch(previous, token) {
            return false;
        }
        let Some(after) = without(here, token) else {
            return false;
        };
        rest = after;
        previous = token;
    }
    rest.is_empty()
}

fn may_touch(left: &Token, right: &Token) -> bool {
    let is_alone = |token: &Token| matches!(token, Token::Comma | Token::LParen | Token::RParen);
    let is_name = |token: &Token| matches!(token, Token::Word(word) if word.quote_style.is_some());
    is_alone(left)
        || is_alone(right)
        || (is_name(left) && *right == Token::Period)
        || (*left == Token::Period && (is_name(right) || *right == Token::Mul))
}

/// The rest of a text that begins with a token.
fn without<'a>(text: &'a str, token: &Token) -> Option<&'a str> {
    let sign = match token {
        Token::Word(word) => return without_word(text, word),
        Token::Number(number, false) => number.as_str(),
        Token::Placeholder(placeholder) => placeholder.as_str(),
        Token::SingleQuotedString(content) => return without_string(text, "'", content),
        Token::HexStringLiteral(content) => return without_string(text, "X'", content),
        Token::Comma => ",",
        Token::LParen => "(",
        Token::RParen => ")",
        Token::Period => ".",
        Token::Eq => "=",
        Token::Neq => "<>",
        Token::Lt => "<",
        Token::Gt => ">",
        Token::LtEq => "<=",
        Token::GtEq => ">=",
        Token::Plus => "+",
        Token::Minus => "-",
        Token::Mul => "*",
        Token::Div => "/",
        Token::Mod => "%",
        Token::StringConcat => "||",
        _ => return None,
    };
    text.strip_prefix(sign)
}

/// Such a string holds no quote.
fn without_string<'a>(text: &'a str, start: &str, content: &str) -> Option<&'a str> {
    let rest = text.strip_prefix(start)?.strip_prefix(content)?;
    rest.strip_prefix('\'')
}

fn without_word<'a>(text: &'a str, word: &Word) -> Option<&'a str> {
    let value = word.value.as_str();
    if let Some(quote) = word.quote_style {
        // Such a name holds no quote.
        let rest = text.strip_prefix(quote)?.strip_prefix(value)?;
        return rest.strip_prefix(quote);
    }
    let (start, rest) = text.split_at_checked(value.len())?;
    // Of a word that it knows, the parser does not look at the case.
    let is_same =
        start == value || (word.keyword != Keyword::NoKeyword && start.eq_ignore_ascii_case(value));
    is_same.then_some(rest)
}
