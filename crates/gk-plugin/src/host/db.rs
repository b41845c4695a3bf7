//! The host's database.

use std::collections::VecDeque;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Host, HostError, list};

/// Rows that [`Db::rows`] fetches at once.
pub const PAGE_ROWS_DEFAULT: u32 = 500;

/// Statements with `?` placeholders; `@name:` before a statement selects a named database.
#[derive(Debug, Clone, Copy)]
pub struct Db<'a> {
    host: &'a Host,
}

impl<'a> Db<'a> {
    pub(super) fn new(host: &'a Host) -> Self {
        Self { host }
    }

    /// Runs a reading statement. Each row is an object, so a `T` is a struct whose fields bear the
    /// columns' names, or a map. Integers are exact. `args` is a slice, a tuple, or `()` for none.
    ///
    /// # Errors
    /// See [`HostError`]; that the result is larger than the host allows is among them, for which
    /// see [`rows`](Self::rows).
    pub async fn query<T: DeserializeOwned>(
        &self,
        query: &str,
        args: impl Serialize,
    ) -> Result<Vec<T>, HostError> {
        let args = list("db_query", &args)?;
        self.run(query, &args).await
    }

    /// The first row, if there is one.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn first<T: DeserializeOwned>(
        &self,
        query: &str,
        args: impl Serialize,
    ) -> Result<Option<T>, HostError> {
        Ok(self.query(query, args).await?.into_iter().next())
    }

    /// Runs a writing statement and returns the number of affected rows.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn execute(&self, query: &str, args: impl Serialize) -> Result<i64, HostError> {
        #[derive(Deserialize)]
        struct Affected {
            affected: i64,
        }
        let args = list("db_exec", &args)?;
        let statement = Statement { query, args: &args };
        let result: Affected = self.host.call("db_exec", &statement).await?;
        Ok(result.affected)
    }

    /// Runs a writing statement and returns all that came of it: how many rows it wrote, a new
    /// row's number, and the rows of its RETURNING.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn write(&self, query: &str, args: impl Serialize) -> Result<Written, HostError> {
        let args = list("db_exec", &args)?;
        let statement = Statement { query, args: &args };
        self.host.call("db_exec", &statement).await
    }

    /// Several statements of any kind in one transaction, all of them or none.
    pub fn batch(&self) -> Batch<'a> {
        Batch {
            db: *self,
            statements: Vec::new(),
        }
    }

    /// The rows of a reading statement one by one, fetched [`PAGE_ROWS_DEFAULT`] at a time, however
    /// many there are.
    ///
    /// The pages are statements of their own: `LIMIT … OFFSET …` is put behind the statement. So it
    /// has an `ORDER BY` over something unique and no `LIMIT`; rows that come or go meanwhile may
    /// be missed or seen twice.
    ///
    /// # Errors
    /// If the arguments are no list.
    pub fn rows<T: DeserializeOwned>(
        &self,
        query: &str,
        args: impl Serialize,
    ) -> Result<Rows<'a, T>, HostError> {
        Ok(Rows {
            db: *self,
            query: query.trim_end().trim_end_matches(';').to_owned(),
            args: list("db_query", &args)?,
            page_rows: PAGE_ROWS_DEFAULT,
            offset: 0,
            page: VecDeque::new(),
            last: false,
        })
    }

    async fn run<T: DeserializeOwned>(
        &self,
        query: &str,
        args: &RawValue,
    ) -> Result<Vec<T>, HostError> {
        // No rows are `null`.
        let statement = Statement { query, args };
        let rows: Option<Vec<T>> = self.host.call("db_query", &statement).await?;
        Ok(rows.unwrap_or_default())
    }
}

/// Arguments of `db_query` and `db_exec`; `db_batch` takes several.
#[derive(Serialize)]
struct Statement<'a> {
    query: &'a str,
    args: &'a RawValue,
}

/// Outcome of a statement that may write.
#[derive(Debug, Deserialize)]
#[non_exhaustive]
pub struct Written {
    /// Rows that it wrote; 0 for one that reads, or that changes tables.
    pub affected: i64,
    /// The number that the database gave to a new row: SQLite to the last one, MySQL to the first
    /// one of the statement. `None` where there is no such row, and always on PostgreSQL: RETURNING
    /// tells there.
    #[serde(default)]
    pub last_insert_id: Option<i64>,
    #[serde(default)]
    rows: Option<Box<RawValue>>,
}

impl Written {
    /// The rows that it returned, by the rules of [`Db::query`]; none of a statement without
    /// RETURNING.
    ///
    /// # Errors
    /// If they are no `T`.
    pub fn rows<T: DeserializeOwned>(&self) -> Result<Vec<T>, HostError> {
        let Some(rows) = &self.rows else {
            return Ok(Vec::new());
        };
        serde_json::from_str(rows.get()).map_err(|source| HostError::Result {
            method: "db_exec".to_owned(),
            source,
        })
    }
}

/// Statements of one transaction. See [`Db::batch`].
#[must_use = "nothing is run before `run`"]
pub struct Batch<'a> {
    db: Db<'a>,
    statements: Vec<(String, Box<RawValue>)>,
}

impl Batch<'_> {
    /// Adds a statement; its arguments are as those of [`Db::query`].
    ///
    /// # Errors
    /// If the arguments are no list.
    pub fn add(
        mut self,
        query: impl Into<String>,
        args: impl Serialize,
    ) -> Result<Self, HostError> {
        self.statements
            .push((query.into(), list("db_batch", &args)?));
        Ok(self)
    }

    /// Runs them, and returns what came of each in turn.
    ///
    /// # Errors
    /// See [`HostError`]; then nothing was carried out, but for a timeout or a broken connection,
    /// after which nobody knows.
    pub async fn run(self) -> Result<Vec<Written>, HostError> {
        #[derive(Serialize)]
        struct Statements<'a> {
            statements: Vec<Statement<'a>>,
        }
        let statements = self.statements.iter();
        let statements = statements.map(|(query, args)| Statement { query, args });
        let statements = Statements {
            statements: statements.collect(),
        };
        self.db.host.call("db_batch", &statements).await
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queries = self.statements.iter().map(|(query, _)| query);
        f.debug_list().entries(queries).finish()
    }
}

/// Rows that are fetched as they are asked for. See [`Db::rows`].
#[must_use = "nothing is fetched until a row is asked for"]
pub struct Rows<'a, T> {
    db: Db<'a>,
    query: String,
    args: Box<RawValue>,
    page_rows: u32,
    offset: u64,
    page: VecDeque<T>,
    last: bool,
}

impl<T: DeserializeOwned> Rows<'_, T> {
    /// Fetches so many rows at a time, at least 1.
    pub fn page_rows(mut self, rows: u32) -> Self {
        self.page_rows = rows.max(1);
        self
    }

    /// The next row, none after the last. If the wait is given up or fails, the next call begins
    /// where this one did.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn next(&mut self) -> Result<Option<T>, HostError> {
        if self.page.is_empty() && !self.last {
            let Self {
                query,
                page_rows,
                offset,
                ..
            } = self;
            // On a line of its own: the statement may end with a comment.
            let query = format!("{query}\nLIMIT {page_rows} OFFSET {offset}");
            let page: Vec<T> = self.db.run(&query, &self.args).await?;
            self.offset += page.len() as u64;
            self.last = page.len() < usize::try_from(self.page_rows).unwrap_or(usize::MAX);
            self.page = page.into();
        }
        Ok(self.page.pop_front())
    }
}

impl<T> fmt::Debug for Rows<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("query", &self.query)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}
