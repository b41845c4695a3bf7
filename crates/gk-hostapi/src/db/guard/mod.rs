//! The guard: what a plugin's statement is, what it touches, and the text that is run instead of
//! the plugin's. No I/O.
//!
//! A statement is taken apart by a parser and walked by code that knows every part it lets pass;
//! a part that it does not know is refused, and so is a function that is not on the list of its
//! engine. What the engine gets is never the plugin's text: it is written from the parsed
//! statement, every name in quotes, without comments, and it has to parse to the same statement
//! again, which is plain where it has the tokens that the statement was parsed from. Thus a text that the parser and an engine read in different ways is no way around the
//! guard: the engine sees only what the parser understood.
//!
//! Parsers of SQL recurse. Length, words and nesting of a statement are limited before it is
//! parsed, and everything that recurses runs on a stack that is large enough for these limits.

mod dialects;
mod expr;
mod functions;
mod literals;
mod query;
mod rewrite;
mod scan;
mod schema;
mod tokens;
mod types;
mod write;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use moka::sync::Cache;
use sqlparser::ast::{Ident, ObjectName, ObjectNamePart, Statement};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::HostError;

pub use functions::allowed_functions;
pub(super) use functions::is_allowed_in_sqlite;

/// Longest statement, in bytes.
pub const STATEMENT_BYTES_MAX: usize = 16 * 1024;

/// Most words, signs and literals of a statement.
pub const TOKENS_MAX: usize = 4096;

/// Most parentheses inside each other.
pub const NESTING_MAX: usize = 32;

/// Most placeholders of a statement, and with them arguments.
pub const PLACEHOLDERS_MAX: u16 = 999;

/// Bytes that the analyses of one engine may take in memory, together with their statements.
pub const CACHE_BYTES_MAX: u64 = 8 * 1024 * 1024;

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

const TOO_DEEP: &str = "it is nested too deeply";

/// Room that a small statement is given: half as much again as the worst one may take in a build
/// without optimisations, which a test holds.
const SMALL_STACK_BYTES: usize = 1536 * 1024;

/// Whose SQL it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
}

impl Dialect {
    /// The quote of a name.
    fn quote(self) -> char {
        match self {
            // Not the double quote: SQLite takes an unknown name in these for a string.
            Self::Sqlite | Self::Mysql => '`',
            Self::Postgres => '"',
        }
    }

    fn placeholder(self) -> char {
        match self {
            Self::Sqlite | Self::Mysql => '?',
            Self::Postgres => '$',
        }
    }

    /// Longest name, in bytes: PostgreSQL cuts longer ones off, silently.
    fn name_bytes_max(self) -> usize {
        match self {
            Self::Sqlite => 128,
            Self::Postgres => 63,
            Self::Mysql => 64,
        }
    }
}

/// What a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatementKind {
    /// It reads: SELECT, VALUES, TABLE, with or without WITH.
    Query,
    /// It writes rows: INSERT, REPLACE, UPDATE, DELETE.
    Write,
    /// It changes tables: CREATE TABLE, ALTER TABLE, DROP TABLE, CREATE INDEX, TRUNCATE.
    Schema,
}

/// A table as the engine will look it up: folded as the engine folds it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    schema: Option<String>,
    name: String,
}

impl TableName {
    pub(crate) fn new(schema: Option<&str>, name: &str) -> Self {
        Self {
            schema: schema.map(str::to_owned),
            name: name.to_owned(),
        }
    }

    /// The schema, or database, where the statement names one.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The table.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        f.write_str(&self.name)
    }
}

/// What the guard found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Analysis {
    /// What the statement does.
    pub kind: StatementKind,
    /// Tables it reads.
    pub reads: BTreeSet<TableName>,
    /// Tables it writes, makes, alters or drops.
    pub writes: BTreeSet<TableName>,
    /// Functions it calls, in lower case.
    pub functions: BTreeSet<String>,
    /// Names that WITH defines in it.
    pub with_names: BTreeSet<String>,
    /// PostgreSQL: names behind a period that may be functions, if they are no columns.
    pub(super) fields: BTreeSet<String>,
    /// Tables that its foreign keys refer to. To make such a key, a plugin has to be granted both
    /// reading and writing them.
    pub keys: BTreeSet<TableName>,
    /// Indexes that it drops without naming their tables. To drop one, a plugin has to be granted
    /// writing its table.
    pub drops: BTreeSet<String>,
    /// The table that it inserts into, if it is an INSERT or a REPLACE.
    pub inserts: Option<String>,
    /// Whether it writes and returns rows all the same: RETURNING.
    pub returning: bool,
    /// How many arguments it takes.
    pub placeholders: u16,
    /// The text for the engine.
    pub sql: String,
    /// What the engine found out.
    pub(super) note: Note,
}

/// What was found out about a statement since it was analysed. It is no part of what it means.
#[derive(Debug, Default)]
pub(super) struct Note {
    /// How often in a row it was too much work to be done in passing.
    pub(super) too_much: AtomicU32,
}

impl Clone for Note {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Note {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Note {}

impl Analysis {
    /// Whether rows come of it.
    #[must_use]
    pub fn returns_rows(&self) -> bool {
        self.returning || self.kind == StatementKind::Query
    }

    /// Bytes in memory, roughly.
    fn weight(&self) -> usize {
        let tables = self.reads.iter().chain(&self.writes).chain(&self.keys);
        let names = tables.map(|table| table.name.len() + table.schema().map_or(0, str::len) + 96);
        let functions = self.functions.iter().chain(&self.with_names);
        let functions = functions.chain(&self.fields);
        let functions = functions.map(|name| name.len() + 48);
        self.sql.len() + names.sum::<usize>() + functions.sum::<usize>() + 200
    }
}

/// Why a statement is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is no statement of this engine, or not one.
    #[error("the statement cannot be read: {0}")]
    Invalid(Cow<'static, str>),
    /// Plugins have to do without it.
    #[error("the statement is not permitted: {0}")]
    Denied(Cow<'static, str>),
    /// It is too large.
    #[error("the statement is too large: {0}")]
    Large(Cow<'static, str>),
}

impl Refusal {
    fn invalid(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid(text.into())
    }

    fn denied(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Denied(text.into())
    }

    /// Something that engines and parsers may read in different ways.
    fn unclear(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Denied(text.into())
    }

    fn large(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Large(text.into())
    }
}

impl From<Refusal> for HostError {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::Invalid(_) => Self::invalid(text),
            Refusal::Denied(_) => Self::denied(text),
            Refusal::Large(_) => Self::limit(text),
        }
    }
}

type Outcome = Result<(), Refusal>;

/// Whether a schema's name needs neither quotes nor escapes.
pub(super) fn is_plain_schema(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.len() <= 63 && name.chars().all(is_word)
}

/// The guard of one engine, which remembers statements.
#[derive(Debug)]
pub struct Guard {
    dialect: Dialect,
    seen: Cache<Arc<str>, Result<Arc<Analysis>, Refusal>>,
}

impl Guard {
    /// A guard with an empty memory.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        type Verdict = Result<Arc<Analysis>, Refusal>;
        let weigh = |text: &Arc<str>, verdict: &Verdict| {
            let verdict = verdict.as_ref().map_or(200, |analysis| analysis.weight());
            u32::try_from(text.len() + verdict + 150).unwrap_or(u32::MAX)
        };
        let seen = Cache::builder()
            .weigher(weigh)
            .max_capacity(CACHE_BYTES_MAX);
        Self {
            dialect,
            seen: seen.build(),
        }
    }

    /// What a statement does, from memory where it was seen before.
    ///
    /// # Errors
    ///
    /// It is refused, whoever asks.
    pub fn analyse(&self, statement: &str) -> Result<Arc<Analysis>, Refusal> {
        if statement.len() > STATEMENT_BYTES_MAX {
            return Err(Refusal::large(format!(
                "it has {} bytes, {STATEMENT_BYTES_MAX} are the most",
                statement.len()
            )));
        }
        if let Some(verdict) = self.seen.get(statement) {
            return verdict;
        }
        let verdict = analyse(self.dialect, statement).map(Arc::new);
        self.seen.insert(Arc::from(statement), verdict.clone());
        verdict
    }
}

/// What a statement does.
///
/// # Errors
///
/// It is refused, whoever asks.
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
        // What is wrong with it, the plugin's own words say.
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
            "something that the host cannot write down again: simplify it, or pass strings as arguments",
        ));
    }
    let sql = scan::finish(dialect, &written, placeholders)?;
    Ok(Analysis {
        kind,
        reads: walk.reads,
        writes: walk.writes,
        functions: walk.functions,
        with_names: walk.with_names,
        fields: walk.fields,
        keys: walk.keys,
        drops: walk.drops,
        inserts: walk.inserts,
        returning: walk.returning,
        placeholders,
        sql,
        note: Note::default(),
    })
}

/// Whether an engine gives a word a meaning that the parser does not know: without quotes it is no name.
fn is_word_of(dialect: Dialect, word: &str) -> bool {
    let words: &[&str] = match dialect {
        Dialect::Sqlite => &[],
        Dialect::Postgres => &[
            "analyse",
            "analyze",
            "asymmetric",
            "current_catalog",
            "current_role",
            "current_schema",
            "current_user",
            "only",
            "session_user",
            "symmetric",
            "system_user",
            "tablesample",
            "user",
            "variadic",
        ],
        Dialect::Mysql => &[
            "current_role",
            "current_user",
            "low_priority",
            "straight_join",
        ],
    };
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

fn with_dialect<T>(
    dialect: Dialect,
    work: impl FnOnce(&dyn sqlparser::dialect::Dialect) -> T,
) -> T {
    match dialect {
        Dialect::Sqlite => work(&dialects::Sqlite),
        Dialect::Postgres => work(&PostgreSqlDialect {}),
        Dialect::Mysql => work(&dialects::Mysql),
    }
}

/// Goes through a statement, notes what it touches, and puts its names in quotes.
struct Walk {
    dialect: Dialect,
    reads: BTreeSet<TableName>,
    writes: BTreeSet<TableName>,
    functions: BTreeSet<String>,
    with_names: BTreeSet<String>,
    fields: BTreeSet<String>,
    keys: BTreeSet<TableName>,
    drops: BTreeSet<String>,
    inserts: Option<String>,
    returning: bool,
    /// Names that WITH defines around the place that is walked: tables of the same name are
    /// hidden there, and only there.
    hidden: Vec<String>,
}

impl Walk {
    fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            reads: BTreeSet::new(),
            writes: BTreeSet::new(),
            functions: BTreeSet::new(),
            with_names: BTreeSet::new(),
            fields: BTreeSet::new(),
            keys: BTreeSet::new(),
            drops: BTreeSet::new(),
            inserts: None,
            returning: false,
            hidden: Vec::new(),
        }
    }

    fn statement(&mut self, statement: &mut Statement) -> Result<StatementKind, Refusal> {
        match statement {
            Statement::Query(query) => self.top_query(query),
            Statement::Insert(insert) => {
                self.insert(insert)?;
                Ok(StatementKind::Write)
            }
            Statement::Update(update) => {
                self.update(update)?;
                Ok(StatementKind::Write)
            }
            Statement::Delete(delete) => {
                self.delete(delete)?;
                Ok(StatementKind::Write)
            }
            Statement::Merge(merge) => {
                self.merge(merge)?;
                Ok(StatementKind::Write)
            }
            other => {
                self.schema_change(other)?;
                Ok(StatementKind::Schema)
            }
        }
    }

    /// Puts a name in quotes, folded as the engine folds it without them.
    fn name(&self, ident: &mut Ident) -> Outcome {
        if ident.quote_style == Some('\'') && self.dialect == Dialect::Postgres {
            return Err(Refusal::invalid("a string where a name has to be"));
        }
        if ident.quote_style.is_none() {
            if !scan::is_plain_word(&ident.value) {
                return Err(Refusal::unclear(format!("the name {}", ident.value)));
            }
            if self.dialect == Dialect::Postgres {
                ident.value.make_ascii_lowercase();
            }
        }
        if !scan::is_plain_name(&ident.value) {
            return Err(Refusal::unclear("a name that needs an escape"));
        }
        if ident.value.len() > self.dialect.name_bytes_max() {
            return Err(Refusal::large(format!(
                "a name of more than {} bytes",
                self.dialect.name_bytes_max()
            )));
        }
        ident.quote_style = Some(self.dialect.quote());
        Ok(())
    }

    /// Puts a name in quotes that stands by itself, where a word may have a meaning to the engine that
    /// the parser does not know.
    fn own_name(&self, ident: &mut Ident) -> Outcome {
        if ident.quote_style.is_none() && is_word_of(self.dialect, &ident.value) {
            return Err(Refusal::denied(format!(
                "{}, which is a word of the engine's: put it in quotes if it is a name",
                ident.value.to_ascii_uppercase()
            )));
        }
        self.name(ident)
    }

    fn names<'a>(&self, idents: impl IntoIterator<Item = &'a mut Ident>) -> Outcome {
        idents.into_iter().try_for_each(|ident| self.name(ident))
    }

    fn object_name(&self, name: &mut ObjectName) -> Outcome {
        for part in &mut name.0 {
            match part {
                ObjectNamePart::Identifier(ident) => self.name(ident)?,
                ObjectNamePart::Function(_) => {
                    return Err(Refusal::unclear("a name that is computed"));
                }
            }
        }
        Ok(())
    }

    /// A table's name, in quotes from here on.
    fn table_name(&self, name: &mut ObjectName) -> Result<TableName, Refusal> {
        if let Some(ObjectNamePart::Identifier(first)) = name.0.first_mut() {
            self.own_name(first)?;
        }
        self.object_name(name)?;
        let mut parts = name.0.iter().filter_map(|part| part.as_ident());
        let (first, second, third) = (parts.next(), parts.next(), parts.next());
        let table = match (first, second, third) {
            (Some(table), None, None) => TableName::new(None, &table.value),
            (Some(schema), Some(table), None) => TableName::new(Some(&schema.value), &table.value),
            _ => return Err(Refusal::unclear(format!("the name {name}"))),
        };
        if self.is_system(&table) {
            return Err(Refusal::denied(format!("{table} belongs to the engine")));
        }
        Ok(table)
    }

    /// Whether a table is the engine's own; these tell about everything in a database.
    fn is_system(&self, table: &TableName) -> bool {
        let starts = |name: &str, start: &str| {
            name.get(..start.len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case(start))
        };
        let is = |schema: &str, names: &[&str]| {
            names.iter().any(|name| schema.eq_ignore_ascii_case(name))
        };
        match self.dialect {
            Dialect::Sqlite => {
                // Only the file itself: neither attached nor temporary databases.
                table.schema().is_some_and(|schema| !is(schema, &["main"]))
                    || starts(&table.name, "sqlite_")
                    || starts(&table.name, "pragma_")
                    || is(
                        &table.name,
                        &["dbstat", "bytecode", "tables_used", "generate_series"],
                    )
            }
            Dialect::Postgres => {
                starts(&table.name, "pg_")
                    || table.schema().is_some_and(|schema| {
                        starts(schema, "pg_") || is(schema, &["information_schema"])
                    })
            }
            Dialect::Mysql => table.schema().is_some_and(|schema| {
                is(
                    schema,
                    &["mysql", "information_schema", "performance_schema", "sys"],
                )
            }),
        }
    }

    fn read(&mut self, name: &mut ObjectName) -> Outcome {
        if self.dialect == Dialect::Mysql
            && let [ObjectNamePart::Identifier(only)] = name.0.as_slice()
            && functions::is_dual(only)
        {
            // No table: it stands for one row without columns.
            return Ok(());
        }
        let table = self.table_name(name)?;
        let is_hidden = |hidden: &String| match self.dialect {
            Dialect::Sqlite => hidden.eq_ignore_ascii_case(&table.name),
            _ => *hidden == table.name,
        };
        if table.schema.is_some() || !self.hidden.iter().any(is_hidden) {
            self.reads.insert(table);
        }
        Ok(())
    }

    /// WITH hides no table that is written.
    fn write(&mut self, name: &mut ObjectName) -> Result<TableName, Refusal> {
        let table = self.table_name(name)?;
        self.writes.insert(table.clone());
        Ok(table)
    }
}

#[cfg(test)]
mod tests;
