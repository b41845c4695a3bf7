//! The host's own endpoints.

use std::time::SystemTime;

use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use gk_runtime::{LogEntry, LogLevel, LogQuery, PluginState, PluginStatus, Snapshot};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::{self, Middleware};
use crate::envelope::{self, Incoming};
use crate::gateway::{Gateway, call_context};
use crate::problem::Problem;
use crate::routes::RouteTable;
use crate::tokens::{Identity, Role, TokenError};
use crate::{answer, events, openapi, policy};

/// Most log entries in one answer.
const LOG_ENTRIES_MAX: usize = 1000;

pub(crate) fn router() -> Router<Gateway> {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/healthz", get(ready))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi::document))
        .route("/api/v1/plugins", get(list))
        .route("/api/v1/plugins/{plugin}", get(detail))
        .route("/api/v1/plugins/{plugin}/call/{function}", post(call))
        .route("/api/v1/plugins/{plugin}/widgets/{id}", get(widget))
        .route("/api/v1/plugins/{plugin}/logs", get(logs))
        .route(
            "/api/v1/plugins/{plugin}/policy",
            get(policy::show).put(policy::set).delete(policy::reset),
        )
        .route("/api/v1/plugins/{plugin}/events", get(events::whole_plugin))
        .route(
            "/api/v1/plugins/{plugin}/events/{channel}",
            get(events::subscribe),
        )
        .route("/api/v1/tokens", get(list_tokens).post(create_token))
        .route("/api/v1/tokens/{id}", delete(delete_token))
}

type Answer = Result<Response, Problem>;

/// The caller, who must pass this middleware.
pub(crate) fn require(
    gateway: &Gateway,
    request: &Request,
    middleware: Middleware,
) -> Result<Option<Identity>, Problem> {
    let caller = gateway.caller(request)?;
    auth::require(caller.as_ref(), &[middleware])?;
    Ok(caller)
}

fn is_admin(caller: Option<&Identity>) -> bool {
    caller.is_some_and(|caller| caller.role == Role::Admin)
}

async fn ready(State(gateway): State<Gateway>) -> Response {
    if gateway.is_ready() {
        "ok\n".into_response()
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: starting or stopping\n",
        )
            .into_response()
    }
}

async fn metrics(State(gateway): State<Gateway>) -> Response {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    (
        [(header::CONTENT_TYPE, content_type)],
        (gateway.inner.metrics)(),
    )
        .into_response()
}

async fn list(State(gateway): State<Gateway>, request: Request) -> Answer {
    let caller = require(&gateway, &request, Middleware::Agent)?;
    let snapshot = gateway.inner.runtime.snapshot();
    let table = gateway.inner.table.load();
    let admin = is_admin(caller.as_ref());
    let mut items: Vec<_> = snapshot
        .plugins
        .iter()
        .map(|status| item(status, &table, admin))
        .collect();
    if admin {
        items.extend(problems(&snapshot));
    }
    Ok(Json(items).into_response())
}

/// A plugin as people and scripts see it: snake_case, and `Name` beside `name` as the tutorial has it.
fn item(status: &PluginStatus, table: &RouteTable, admin: bool) -> Value {
    let manifest = status.manifest.as_deref();
    let registered = status.registration.as_deref();
    let text = |registered: Option<&String>, manifest: Option<&String>| {
        registered.or(manifest).cloned().unwrap_or_default()
    };
    let mut item = json!({
        "name": status.name,
        "Name": status.name,
        "version": text(registered.map(|r| &r.version), manifest.map(|m| &m.version)),
        "description": text(registered.map(|r| &r.description), manifest.map(|m| &m.description)),
        "author": text(registered.map(|r| &r.author), manifest.map(|m| &m.author)),
        "license": text(registered.map(|r| &r.license), manifest.map(|m| &m.license)),
        "homepage": text(registered.map(|r| &r.homepage), manifest.map(|m| &m.homepage)),
        "icon": text(registered.map(|r| &r.icon), manifest.map(|m| &m.icon)),
        "state": status.state.as_str(),
        "loaded": status.is_running(),
        "enabled": status.state != PluginState::Blocked,
        "generation": status.generation,
        "started_at": status.started_at.and_then(rfc3339),
        "running_since": status.running_since.and_then(rfc3339),
        "signature": status.signature.map(|signature| signature.state.as_str()),
        "signing_key": status.signature.and_then(|signature| signature.key).map(|key| key.to_string()),
        "routes": registered.map(|r| &r.routes),
        "widgets": registered.map(|r| &r.widgets),
        "jobs": registered.map(|r| &r.jobs),
        "menu_items": registered.map(|r| &r.menu_items),
        "refused_routes": table.refused(status.name.as_str()),
    });
    if let (true, Value::Object(item)) = (admin, &mut item) {
        item.insert("directory".into(), status.dir.to_string_lossy().into());
        item.insert("pid".into(), status.pid.into());
        item.insert("changed".into(), status.changed.into());
        item.insert("sandbox".into(), sandbox(status));
        item.insert(
            "warnings".into(),
            status.warnings.iter().map(ToString::to_string).collect(),
        );
        if let PluginState::Failed { error } = &status.state {
            item.insert("error".into(), error.as_str().into());
        }
    }
    item
}

/// How the layers of its sandbox stand; null while there is none.
fn sandbox(status: &PluginStatus) -> Value {
    let Some(report) = &status.sandbox else {
        return Value::Null;
    };
    json!({
        "complete": report.is_complete(),
        "layers": report.layers,
    })
}

/// Directories that hold no plugin one could name.
fn problems(snapshot: &Snapshot) -> impl Iterator<Item = Value> + '_ {
    snapshot.problems.iter().map(|problem| {
        json!({
            "name": problem.name,
            "Name": problem.name,
            "state": "failed",
            "loaded": false,
            "enabled": false,
            "directory": problem.dir.to_string_lossy(),
            "error": problem.error,
        })
    })
}

fn rfc3339(time: SystemTime) -> Option<String> {
    time::OffsetDateTime::from(time)
        .format(&time::format_description::well_known::Rfc3339)
        .ok()
}

pub(crate) fn no_plugin(plugin: &str) -> Problem {
    let shown: String = plugin.chars().take(128).collect();
    Problem::not_found(format!("plugin {shown:?} not found"))
}

async fn detail(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    request: Request,
) -> Answer {
    let caller = require(&gateway, &request, Middleware::Agent)?;
    let snapshot = gateway.inner.runtime.snapshot();
    let status = snapshot.get(&plugin).ok_or_else(|| no_plugin(&plugin))?;
    let admin = is_admin(caller.as_ref());
    let mut item = item(status, &gateway.inner.table.load(), admin);
    if let (true, Value::Object(item)) = (admin, &mut item) {
        let timeouts = status.timeouts;
        item.insert(
            "timeouts_ms".into(),
            json!({
                "call": timeouts.call.as_millis(),
                "init": timeouts.init.as_millis(),
                "shutdown": timeouts.shutdown.as_millis(),
            }),
        );
        item.insert("registration".into(), json!(status.registration.as_deref()));
    }
    Ok(Json(item).into_response())
}

async fn call(
    State(gateway): State<Gateway>,
    Path((plugin, function)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let caller = require(&gateway, &request, Middleware::Admin)?;
    let (parts, body) = request.into_parts();
    let body = gateway.inner.bodies.read(body).await?;
    let args = envelope::direct_arguments(&Incoming {
        method: &parts.method,
        path: parts.uri.path(),
        query: "",
        headers: &parts.headers,
        params: &[],
        body: &body,
        caller: caller.as_ref(),
        skip_org: true,
    })?;
    let context = call_context(caller.as_ref(), &parts.headers);
    let result = gateway
        .inner
        .runtime
        .call(&plugin, &function, args, context)
        .await;
    let result = result.map_err(|error| Problem::from_call(&error, caller.as_ref()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], result).into_response())
}

#[derive(Deserialize)]
struct WidgetQuery {
    #[serde(default)]
    wrap: bool,
}

async fn widget(
    State(gateway): State<Gateway>,
    Path((plugin, id)): Path<(String, String)>,
    Query(query): Query<WidgetQuery>,
    request: Request,
) -> Answer {
    let caller = require(&gateway, &request, Middleware::Agent)?;
    let snapshot = gateway.inner.runtime.snapshot();
    let status = snapshot.get(&plugin).ok_or_else(|| no_plugin(&plugin))?;
    let widgets = status
        .registration
        .as_deref()
        .map(|registration| registration.widgets.as_slice());
    let found = widgets
        .unwrap_or_default()
        .iter()
        .find(|widget| widget.id == id);
    let not_running = widgets.is_none();
    let widget = match found {
        Some(widget) => widget,
        None if not_running => {
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("plugin \"{plugin}\" is not running"),
            ));
        }
        None => {
            return Err(Problem::not_found(format!(
                "plugin \"{plugin}\" has no widget {id:?}"
            )));
        }
    };
    let (parts, _) = request.into_parts();
    let args = envelope::arguments(&Incoming {
        method: &parts.method,
        path: parts.uri.path(),
        query: "",
        headers: &parts.headers,
        params: &[],
        body: &bytes::Bytes::new(),
        caller: caller.as_ref(),
        skip_org: false,
    })?;
    let context = call_context(caller.as_ref(), &parts.headers);
    let result = gateway
        .inner
        .runtime
        .call(&plugin, &widget.handler, args, context)
        .await;
    let result = result.map_err(|error| Problem::from_call(&error, caller.as_ref()))?;
    let html = serde_json::from_slice::<Value>(&result)
        .ok()
        .and_then(|result| Some(result.get("html")?.as_str()?.to_owned()));
    let Some(html) = html else {
        let text =
            format!("the widget {id:?} of plugin \"{plugin}\" did not answer {{\"html\": …}}");
        return Err(Problem::new(StatusCode::BAD_GATEWAY, text));
    };
    if !query.wrap {
        return Ok(Html(html).into_response());
    }
    let title = answer::escape(&widget.title);
    Ok(Html(format!(
        "<div class=\"gk-card-header\">{title}</div>\n<div class=\"gk-card-body\">{html}</div>\n"
    ))
    .into_response())
}

#[derive(Deserialize)]
struct LogsQuery {
    level: Option<String>,
    limit: Option<usize>,
}

async fn logs(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    Query(query): Query<LogsQuery>,
    request: Request,
) -> Answer {
    require(&gateway, &request, Middleware::Admin)?;
    let mut wanted = LogQuery::default();
    wanted.limit = Some(query.limit.unwrap_or(100).min(LOG_ENTRIES_MAX));
    if let Some(level) = &query.level {
        let known = LogLevel::parse(level);
        wanted.min_level = Some(known.ok_or_else(|| {
            Problem::bad_request(format!(
                "unknown level {level:?}; trace, debug, info, warn and error exist"
            ))
        })?);
    }
    let entries = gateway
        .inner
        .runtime
        .logs(&plugin, &wanted)
        .ok_or_else(|| no_plugin(&plugin))?;
    let logs: Vec<_> = entries.iter().map(log_entry).collect();
    Ok(Json(json!({ "count": logs.len(), "logs": logs })).into_response())
}

fn log_entry(entry: &LogEntry) -> Value {
    let fields: serde_json::Map<_, _> = entry
        .fields
        .iter()
        .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
        .collect();
    json!({
        "sequence": entry.sequence,
        "timestamp": rfc3339(entry.time),
        "generation": entry.generation,
        "level": entry.level.as_str(),
        "source": entry.source.as_str(),
        "message": entry.message,
        "fields": fields,
    })
}

async fn list_tokens(State(gateway): State<Gateway>, request: Request) -> Answer {
    require(&gateway, &request, Middleware::Admin)?;
    Ok(Json(gateway.inner.tokens.list()).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewToken {
    login: String,
    role: String,
}

async fn create_token(State(gateway): State<Gateway>, request: Request) -> Answer {
    require(&gateway, &request, Middleware::Admin)?;
    let body = gateway.inner.bodies.read(request.into_body()).await?;
    let wanted: NewToken = serde_json::from_slice(&body).map_err(|error| {
        Problem::bad_request(format!("expected {{\"login\": …, \"role\": …}}: {error}"))
    })?;
    let role: Role = wanted
        .role
        .parse()
        .map_err(|error: TokenError| Problem::bad_request(error.to_string()))?;
    let tokens = std::sync::Arc::clone(&gateway.inner.tokens);
    let created = tokio::task::spawn_blocking(move || tokens.create(&wanted.login, role)).await;
    match created {
        Ok(Ok((token, identity))) => {
            tracing::info!(id = identity.id, login = %identity.login, %role, "a token was made");
            let body = json!({ "id": identity.id, "login": identity.login, "role": identity.role, "token": token });
            Ok((StatusCode::CREATED, Json(body)).into_response())
        }
        Ok(Err(error @ TokenError::Login)) => Err(Problem::bad_request(error.to_string())),
        Ok(Err(error @ TokenError::Full)) => {
            Err(Problem::new(StatusCode::CONFLICT, error.to_string()))
        }
        Ok(Err(error)) => Err(storage(&error)),
        Err(error) => Err(storage(&error)),
    }
}

async fn delete_token(
    State(gateway): State<Gateway>,
    Path(id): Path<i64>,
    request: Request,
) -> Answer {
    require(&gateway, &request, Middleware::Admin)?;
    let tokens = std::sync::Arc::clone(&gateway.inner.tokens);
    match tokio::task::spawn_blocking(move || tokens.delete(id)).await {
        Ok(Ok(true)) => {
            tracing::info!(id, "a token was deleted");
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Ok(Ok(false)) => Err(Problem::not_found(format!("there is no token {id}"))),
        Ok(Err(error)) => Err(storage(&error)),
        Err(error) => Err(storage(&error)),
    }
}

fn storage(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(error, "the host's database failed");
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the host's database failed; its log says why",
    )
}
