//! `db_query`, `db_exec` and `db_batch`.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use gk_hostapi::json::{elements, read};
use gk_hostapi::policy::{Counter, Queue, Rate};
use gk_hostapi::{Granted, HostError, Method, MethodSpec, Service, ServiceMethod};
use gk_manifest::{Access, PermissionKind};
use gk_sqlguard::PLACEHOLDERS_MAX;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{BATCH_STATEMENTS_MAX, Databases, Written};

const fn statement(
    name: &'static str,
    access: Access,
    denied: &'static str,
    counter: Counter,
) -> MethodSpec {
    MethodSpec::needing(name, PermissionKind::Db, Some(access), denied)
        .limited(Rate::Db)
        .queued(Queue::Statements)
        .counted(counter)
}

const DENIED_READ: &str = "database read access not granted";
const DENIED_WRITE: &str = "database write access not granted";

/// The methods of the databases.
pub(crate) const METHODS: &[ServiceMethod<Databases>] = &[
    ServiceMethod::new(
        statement("db_query", Access::Read, DENIED_READ, Counter::DbQueries),
        |db, granted, args| Box::pin(query(db, granted, args)),
    )
    .checked(check_statement),
    ServiceMethod::new(
        statement("db_exec", Access::Write, DENIED_WRITE, Counter::DbExecs),
        |db, granted, args| Box::pin(exec(db, granted, args)),
    )
    .checked(check_statement),
    ServiceMethod::new(
        statement("db_batch", Access::Write, DENIED_WRITE, Counter::DbExecs),
        |db, granted, args| Box::pin(batch(db, granted, args)),
    )
    .checked(check_batch),
];

impl Service for Databases {
    fn methods(self: Arc<Self>) -> Vec<Arc<dyn Method>> {
        ServiceMethod::all(METHODS, &self)
    }
}

/// Bytes of JSON up to which a statement cannot have too many arguments: each takes two bytes.
const ARGUMENTS_BYTES_MIN: usize = 2 * PLACEHOLDERS_MAX as usize;

/// Refuses, unread, more arguments than a statement can have placeholders.
fn check_statement(args: &[u8]) -> Result<usize, HostError> {
    if args.len() > ARGUMENTS_BYTES_MIN {
        read::<Statement<'_>>(args)?.check()?;
    }
    Ok(0)
}

/// Refuses, unread, more statements than a batch can have, or more arguments than one of them can.
/// Each statement counts against the rate.
fn check_batch(args: &[u8]) -> Result<usize, HostError> {
    let statements = read::<Batch<'_>>(args)?.statements()?;
    Ok(statements.len().saturating_sub(1))
}

async fn query(db: &Databases, granted: &Granted<'_>, args: Bytes) -> Result<Bytes, HostError> {
    let statement: Statement<'_> = read(&args)?;
    let (grants, deadline) = (&granted.grants().db, granted.deadline());
    db.query(grants, &statement.query, &statement.args()?, deadline)
        .await
}

async fn exec(db: &Databases, granted: &Granted<'_>, args: Bytes) -> Result<Bytes, HostError> {
    let statement: Statement<'_> = read(&args)?;
    let (grants, deadline) = (&granted.grants().db, granted.deadline());
    let result = db
        .exec(grants, &statement.query, &statement.args()?, deadline)
        .await?;
    let mut out = Vec::with_capacity(64 + result.rows.as_ref().map_or(0, Bytes::len));
    written(&result, &mut out);
    Ok(out.into())
}

async fn batch(db: &Databases, granted: &Granted<'_>, args: Bytes) -> Result<Bytes, HostError> {
    let statements = read::<Batch<'_>>(&args)?.statements()?;
    let args: Vec<Vec<Value>> = statements
        .iter()
        .map(Statement::args)
        .collect::<Result<_, _>>()?;
    let statements: Vec<(&str, &[Value])> = statements
        .iter()
        .zip(&args)
        .map(|(statement, args)| (&*statement.query, &**args))
        .collect();
    let results = db.batch(&granted.grants().db, &statements, granted.deadline());
    let results = results.await?;
    let mut out = vec![b'['];
    for (index, result) in results.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        written(result, &mut out);
    }
    out.push(b']');
    Ok(out.into())
}

/// A statement whose arguments are not read yet: as values they take many times their JSON's
/// memory, and a plugin may have many statements waiting for a place.
#[derive(Deserialize)]
struct Statement<'a> {
    #[serde(borrow)]
    query: Cow<'a, str>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
}

impl Statement<'_> {
    /// Refuses, unread, more arguments than a statement can have placeholders.
    fn check(&self) -> Result<(), HostError> {
        let count = self.args.map_or(0, |args| elements(args.get()));
        match count > usize::from(PLACEHOLDERS_MAX) {
            true => Err(HostError::limit(format!(
                "a statement has at most {PLACEHOLDERS_MAX} arguments, not {count}"
            ))),
            false => Ok(()),
        }
    }

    /// The arguments; to be called once the statement may run.
    fn args(&self) -> Result<Vec<Value>, HostError> {
        let args: Option<Vec<Value>> = match self.args {
            None => None,
            Some(args) => serde_json::from_str(args.get())
                .map_err(|error| HostError::invalid(format!("arguments: args: {error}")))?,
        };
        Ok(args.unwrap_or_default())
    }
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    statements: Option<&'a RawValue>,
}

impl<'a> Batch<'a> {
    /// The statements, their arguments unread.
    fn statements(&self) -> Result<Vec<Statement<'a>>, HostError> {
        let Some(statements) = self.statements else {
            return Ok(Vec::new());
        };
        let count = elements(statements.get());
        if count > BATCH_STATEMENTS_MAX {
            return Err(HostError::limit(format!(
                "a batch has at most {BATCH_STATEMENTS_MAX} statements, not {count}"
            )));
        }
        let statements: Option<Vec<Statement<'a>>> = serde_json::from_str(statements.get())
            .map_err(|error| HostError::invalid(format!("arguments: statements: {error}")))?;
        let statements = statements.unwrap_or_default();
        statements.iter().try_for_each(Statement::check)?;
        Ok(statements)
    }
}

/// The result of a statement that writes: rows are JSON already, and are not read again.
fn written(result: &Written, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{{\"affected\":{}", result.affected).as_bytes());
    if let Some(id) = &result.last_insert_id {
        out.extend_from_slice(format!(",\"last_insert_id\":{id}").as_bytes());
    }
    if let Some(rows) = &result.rows {
        out.extend_from_slice(b",\"rows\":");
        out.extend_from_slice(rows);
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_of_a_statement_in_json() {
        let json = |affected, id: Option<u64>, rows: Option<&'static str>| {
            let result = Written {
                affected,
                last_insert_id: id.map(Into::into),
                rows: rows.map(|rows| Bytes::from_static(rows.as_bytes())),
            };
            let mut out = Vec::new();
            written(&result, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(json(2, None, None), r#"{"affected":2}"#);
        assert_eq!(
            json(1, Some(7), None),
            r#"{"affected":1,"last_insert_id":7}"#
        );
        assert_eq!(
            json(1, Some(7), Some(r#"[{"id":7}]"#)),
            r#"{"affected":1,"last_insert_id":7,"rows":[{"id":7}]}"#
        );
    }
}
