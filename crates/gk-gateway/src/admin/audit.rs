//! `/api/v1/audit`: log of all changes with their authors.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use gk_api::{AuditPage, Change};
use serde::Deserialize;

use super::Answer;
use crate::audit::{AUDIT_PAGE_MAX, AuditQuery};
use crate::auth::Middleware;
use crate::extract::Query;
use crate::gateway::Gateway;
use crate::problem::Problem;

/// Default number of entries in an answer.
const PAGE_DEFAULT: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    limit: Option<usize>,
    before: Option<i64>,
    target: Option<String>,
    change: Option<String>,
    login: Option<String>,
}

/// Returns entries, newest first.
pub(crate) async fn read(
    State(gateway): State<Gateway>,
    Query(wanted): Query<Wanted>,
    request: Request,
) -> Answer {
    gateway.require(&request, Middleware::Admin)?;
    let limit = wanted.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=AUDIT_PAGE_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!(
            "limit is {limit}; it must be 1 to {AUDIT_PAGE_MAX}"
        )));
    }
    let change = match &wanted.change {
        None => None,
        Some(word) => Some(change(word)?),
    };
    let Some(audit) = &gateway.inner.audit else {
        return Ok(Json(AuditPage::default()).into_response());
    };
    let query = AuditQuery {
        limit,
        before: wanted.before,
        target: wanted.target,
        change,
        login: wanted.login,
    };
    Ok(Json(audit.read(query).await?).into_response())
}

fn change(word: &str) -> Result<Change, Problem> {
    let known = Change::ALL
        .into_iter()
        .find(|change| change.as_str() == word);
    known.ok_or_else(|| {
        let words = Change::ALL.map(Change::as_str).join(", ");
        Problem::bad_request(format!("unknown change {word:?}; there are {words}"))
    })
}
