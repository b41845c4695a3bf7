//! The analysis of one statement: text in, [`Analysis`] or [`Refusal`] out.

use std::borrow::Cow;

use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::analysis::Analysis;
use crate::dialect::Dialect;
use crate::limits::{STATEMENT_BYTES_MAX, TOO_DEEP};
use crate::refusal::{Outcome, Refusal};
use crate::walk::Walk;
use crate::{scan, tokens};

/// How deep the parser may recurse: several levels for each parenthesis, and for words such as NOT.
const RECURSION_MAX: usize = 200;

/// Stack for all that recurses. It is reserved, not used: pages count once they are touched.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Statements of no more than this run on the stack they find, where it has room: a new one costs
/// more than all the rest.
const SMALL_TOKENS: usize = 128;
const SMALL_NESTING: usize = 4;

/// [`RECURSION_MAX`] of a small statement; one that needs more gets a large stack after all.
const SMALL_RECURSION: usize = 20;

/// Room that a small statement is given: half as much again as the worst one may take in a build
/// without optimisations, which a test holds.
const SMALL_STACK_BYTES: usize = 1536 * 1024;

/// Analyses a statement of a dialect: what it touches, and the text for the engine.
///
/// # Errors
///
/// The statement is refused, whatever is granted: it cannot be read, has a part that is not known
/// or not permitted, or is over a limit.
pub fn analyse(dialect: Dialect, statement: &str) -> Result<Analysis, Refusal> {
    if statement.len() > STATEMENT_BYTES_MAX {
        return Err(Refusal::large(format!(
            "more than {STATEMENT_BYTES_MAX} bytes"
        )));
    }
    let prepared = scan::prepare(dialect, statement)?;
    let (mut tokens, aside) = tokens::read(dialect, &prepared.text)?;
    known_verb(dialect, tokens.first().map(|first| &first.token))?;
    let with_aside = |mut analysis: Analysis| {
        analysis.sql = aside.put_back(analysis.sql);
        analysis
    };
    if tokens::quote_names(dialect, &mut tokens) {
        let quoted = |text: &str| {
            let (mut tokens, _) = tokens::read(dialect, text)?;
            tokens::quote_names(dialect, &mut tokens);
            Ok(tokens)
        };
        if let Ok(analysis) = with_room(dialect, &prepared, tokens, quoted) {
            return Ok(with_aside(analysis));
        }
        // An error is to be about the statement's own words, not about the quoted ones.
        (tokens, _) = tokens::read(dialect, &prepared.text)?;
    }
    let as_given = |text: &str| Ok(tokens::read(dialect, text)?.0);
    with_room(dialect, &prepared, tokens, as_given).map(with_aside)
}

/// [`understand`], on a stack with room for what recurses. `again` makes the tokens once more.
fn with_room(
    dialect: Dialect,
    prepared: &scan::Prepared,
    mut tokens: Vec<TokenWithSpan>,
    again: impl FnOnce(&str) -> Result<Vec<TokenWithSpan>, Refusal>,
) -> Result<Analysis, Refusal> {
    let work =
        |tokens, recursion_max| understand(dialect, tokens, prepared.placeholders, recursion_max);
    if tokens.len() <= SMALL_TOKENS && prepared.depth <= SMALL_NESTING {
        let small = || work(tokens, SMALL_RECURSION);
        match stacker::maybe_grow(SMALL_STACK_BYTES, STACK_BYTES, small) {
            Err(Refusal::Large(Cow::Borrowed(TOO_DEEP))) => {}
            verdict => return verdict,
        }
        tokens = again(&prepared.text)?;
    }
    stacker::grow(STACK_BYTES, || work(tokens, RECURSION_MAX))
}

/// Most of what the parser knows is not for plugins, and is not even parsed.
fn known_verb(dialect: Dialect, first: Option<&Token>) -> Outcome {
    const VERBS: &[&str] = &[
        "SELECT", "VALUES", "WITH", "INSERT", "REPLACE", "UPDATE", "DELETE", "MERGE", "CREATE",
        "ALTER", "DROP", "TRUNCATE",
    ];
    match first {
        None => Err(Refusal::invalid("it is empty")),
        Some(Token::LParen) => Ok(()),
        Some(Token::Word(word))
            if dialect == Dialect::Mysql && word.value.eq_ignore_ascii_case("RENAME") =>
        {
            Ok(())
        }
        Some(Token::Word(word))
            if word.quote_style.is_none()
                && VERBS
                    .iter()
                    .any(|verb| word.value.eq_ignore_ascii_case(verb)) =>
        {
            Ok(())
        }
        Some(Token::Word(word)) => Err(Refusal::denied(format!(
            "{} is not for plugins",
            word.value.to_ascii_uppercase()
        ))),
        Some(_) => Err(Refusal::invalid("it does not begin with a word")),
    }
}

/// Parses, walks, writes, compares and drops a statement, all of which recurse.
fn understand(
    dialect: Dialect,
    tokens: Vec<TokenWithSpan>,
    placeholders: u16,
    recursion_max: usize,
) -> Result<Analysis, Refusal> {
    let (mut statement, tokens) = tokens::parse(dialect, tokens, recursion_max)?;
    let mut walk = Walk::new(dialect);
    let kind = walk.statement(&mut statement)?;
    let written = statement.to_string();
    let means_the_same = || {
        let again = tokens::tokenize(dialect, &written)?;
        Ok::<_, Refusal>(tokens::parse(dialect, again, recursion_max)?.0 == statement)
    };
    if tokens::spell(&written, &tokens) {
        debug_assert_eq!(means_the_same(), Ok(true), "{written}");
    } else if !means_the_same()? {
        return Err(Refusal::unclear(
            "something that the host cannot write down again: simplify it, or pass strings as \
             arguments",
        ));
    }
    let sql = scan::finish(dialect, &written, placeholders)?;
    Ok(walk.into_analysis(kind, placeholders, sql))
}

#[cfg(test)]
mod tests;
