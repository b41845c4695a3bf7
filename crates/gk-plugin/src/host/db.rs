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
    /// See [`HostError`]; that the result is larger than the host allows is among them, for which see
    /// [`rows`](Self::rows).
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

    /// The rows of a reading statement one by one, fetched [`PAGE_ROWS_DEFAULT`] at a time, however
    /// many there are.
    ///
    /// The pages are statements of their own: `LIMIT … OFFSET …` is put behind the statement. So it
    /// has an `ORDER BY` over something unique and no `LIMIT`; rows that come or go meanwhile may be
    /// missed or seen twice.
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

/// What `db_query` and `db_exec` take.
#[derive(Serialize)]
struct Statement<'a> {
    query: &'a str,
    args: &'a RawValue,
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
