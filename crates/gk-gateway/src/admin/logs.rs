//! Logs of plugins.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use gk_api::{LogEntry as ApiEntry, LogPage};
use gk_runtime::{LogEntry, LogFollower, LogLevel, LogQuery};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::Answer;
use crate::auth::Middleware;
use crate::extract::{Path, Query};
use crate::gateway::Gateway;
use crate::problem::Problem;
use crate::rfc3339::{parse_rfc3339, rfc3339};
use crate::sse;
use crate::tokens::Identity;

/// Maximum number of log entries in one answer.
const LOG_ENTRIES_MAX: usize = 1000;

/// Default number of log entries in an answer.
const LOG_ENTRIES_DEFAULT: usize = 100;

/// Maximum length of the text that entries are searched for, in bytes.
const CONTAINS_BYTES_MAX: usize = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    level: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    after: u64,
    since: Option<String>,
    contains: Option<String>,
    #[serde(default)]
    follow: bool,
}

impl Wanted {
    fn query(&self) -> Result<LogQuery, Problem> {
        let mut query = LogQuery::default();
        query.limit = Some(
            self.limit
                .unwrap_or(LOG_ENTRIES_DEFAULT)
                .min(LOG_ENTRIES_MAX),
        );
        query.after = self.after;
        if let Some(level) = &self.level {
            let known = LogLevel::parse(level);
            query.min_level = Some(known.ok_or_else(|| {
                Problem::bad_request(format!(
                    "unknown level {level:?}; trace, debug, info, warn and error exist"
                ))
            })?);
        }
        if let Some(since) = &self.since {
            let time = parse_rfc3339(since);
            query.since = Some(time.ok_or_else(|| {
                Problem::bad_request(format!(
                    "since is {since:?}; write a time such as 2026-11-27T09:30:00Z"
                ))
            })?);
        }
        if let Some(text) = &self.contains {
            if text.len() > CONTAINS_BYTES_MAX {
                return Err(Problem::bad_request(format!(
                    "contains has {} bytes; it may have {CONTAINS_BYTES_MAX}",
                    text.len()
                )));
            }
            query.contains = Some(text.clone());
        }
        Ok(query)
    }
}

/// Returns the entries of a plugin's log, or a stream of them.
pub(crate) async fn logs(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    Query(wanted): Query<Wanted>,
    request: Request,
) -> Answer {
    let caller = gateway.require(&request, Middleware::Admin)?;
    let query = wanted.query()?;
    let runtime = &gateway.inner.runtime;
    if wanted.follow {
        let follower = runtime.follow_logs(&plugin, query);
        let follower = follower.ok_or_else(|| Problem::no_plugin(&plugin))?;
        return follow(&gateway, follower, caller);
    }
    let entries = runtime.logs(&plugin, &query);
    let entries = entries.ok_or_else(|| Problem::no_plugin(&plugin))?;
    let logs: Vec<_> = entries.iter().map(api_entry).collect();
    let count = logs.len();
    Ok(Json(LogPage { count, logs }).into_response())
}

fn api_entry(entry: &LogEntry) -> ApiEntry {
    ApiEntry {
        sequence: entry.sequence,
        timestamp: rfc3339(entry.time),
        generation: entry.generation,
        level: entry.level.as_str().to_owned(),
        source: entry.source.as_str().to_owned(),
        message: entry.message.clone(),
        fields: entry.fields.iter().cloned().collect(),
    }
}

/// Streams entries until the plugin, the token, the client or the host is gone.
fn follow(
    gateway: &Gateway,
    follower: LogFollower,
    caller: Option<Identity>,
) -> Result<Response, Problem> {
    let login = caller.as_ref().map(|caller| caller.login.clone());
    let place = gateway.inner.streams.enter(login.unwrap_or_default())?;
    let (frames, body) = sse::channel();
    let gateway = gateway.clone();
    tokio::spawn(async move {
        let _place = place;
        let tokens = &gateway.inner.tokens;
        tokio::select! {
            () = pass_on(follower, frames) => {}
            () = gateway.stopping().cancelled() => {}
            () = async { tokens.gone(caller.map(|caller| caller.id).unwrap_or_default()).await } => {}
        }
    });
    Ok(sse::response(body))
}

async fn pass_on(mut follower: LogFollower, frames: mpsc::Sender<Bytes>) {
    loop {
        let next = tokio::select! {
            next = tokio::time::timeout(sse::KEEP_ALIVE, follower.next()) => next,
            () = frames.closed() => return,
        };
        let frame = match next {
            Ok(more) => {
                let missed = match more.missed {
                    0 => String::new(),
                    count => format!("event: missed\ndata: {{\"count\":{count}}}\n\n"),
                };
                let entries = more.entries.iter().map(frame);
                Bytes::from(std::iter::once(missed).chain(entries).collect::<String>())
            }
            Err(_) if follower.is_over() => return,
            Err(_) => sse::COMMENT,
        };
        if frames.send_timeout(frame, sse::SEND_TIMEOUT).await.is_err() {
            return;
        }
    }
}

/// Returns an entry as an event; its number is the event's id.
fn frame(entry: &LogEntry) -> String {
    // All keys are strings, so serialization cannot fail.
    let data = serde_json::to_string(&api_entry(entry)).unwrap_or_default();
    format!("event: log\nid: {}\ndata: {data}\n\n", entry.sequence)
}
