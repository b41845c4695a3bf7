//! The host's own endpoints.

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Json, Router};
use gk_runtime::{LogEntry, LogLevel, LogQuery, PluginState, PluginStatus, Snapshot};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::Middleware;
use crate::bodies::HeldBody;
use crate::envelope::Incoming;
use crate::envelope::call_context;
use crate::extract::{Path, Query};
use crate::gateway::Gateway;
use crate::problem::Problem;
use crate::rfc3339::rfc3339;
use crate::routes::RouteTable;
use crate::tokens::{Identity, Role, TokenError};
use crate::{answer, control, events, openapi, policy};

/// Most log entries in one answer.
const LOG_ENTRIES_MAX: usize = 1000;

/// A path of the host's, and what serves it.
type Endpoint = (&'static str, fn() -> MethodRouter<Gateway>);

/// Every endpoint of the host. The document is checked against it.
pub(crate) const PATHS: &[Endpoint] = &[
    ("/livez", || get(async || "ok\n")),
    ("/readyz", || get(ready)),
    ("/healthz", || get(ready)),
    ("/metrics", || get(metrics)),
    ("/openapi.json", || get(openapi::document)),
    ("/api/v1/plugins", || get(list)),
    ("/api/v1/plugins/{plugin}", || get(detail)),
    ("/api/v1/plugins/{plugin}/call/{function}", || post(call)),
    ("/api/v1/plugins/{plugin}/widgets/{id}", || get(widget)),
    ("/api/v1/plugins/{plugin}/logs", || get(logs)),
    ("/api/v1/plugins/health", || get(control::all_health)),
    ("/api/v1/plugins/{plugin}/health", || get(control::health)),
    ("/api/v1/plugins/{plugin}/reload", || post(control::reload)),
    ("/api/v1/plugins/{plugin}/restart", || {
        post(control::restart)
    }),
    ("/api/v1/plugins/{plugin}/enable", || post(control::enable)),
    ("/api/v1/plugins/{plugin}/disable", || {
        post(control::disable)
    }),
    ("/api/v1/plugins/{plugin}/reset-crashloop", || {
        post(control::reset)
    }),
    ("/api/v1/plugins/{plugin}/rollback", || {
        post(control::roll_back)
    }),
    ("/api/v1/plugins/{plugin}/policy", || {
        get(policy::show).put(policy::set).delete(policy::reset)
    }),
    ("/api/v1/plugins/{plugin}/events", || {
        get(events::whole_plugin)
    }),
    // The channel of that name, too.
    ("/api/v1/plugins/{plugin}/events/ticket", || {
        get(events::ticket_channel).post(events::ticket)
    }),
    ("/api/v1/plugins/{plugin}/events/{channel}", || {
        get(events::subscribe)
    }),
    ("/api/v1/tokens", || get(list_tokens).post(create_token)),
    ("/api/v1/tokens/{id}", || delete(delete_token)),
];

/// Of these, those that tell how the host is.
const HEALTH: &[&str] = &["/livez", "/readyz", "/healthz", "/metrics"];

/// Whether a path only asks how the host is.
pub(crate) fn is_health(path: &str) -> bool {
    HEALTH.contains(&path)
}

pub(crate) fn router() -> Router<Gateway> {
    let mut router = Router::new();
    for (path, serve) in PATHS {
        router = router.route(path, serve());
    }
    router
}

/// The endpoints that tell how the host is.
pub(crate) fn health_router() -> Router<Gateway> {
    let mut router = Router::new();
    for (path, serve) in PATHS.iter().filter(|(path, _)| is_health(path)) {
        router = router.route(path, serve());
    }
    router
}

type Answer = Result<Response, Problem>;

async fn ready(State(gateway): State<Gateway>, request: Request) -> Response {
    let is_ready = gateway.is_ready();
    let status = match is_ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let stopping = *gateway.stopping().borrow();
    let text = match (is_ready, stopping) {
        (true, _) => "ok",
        (false, false) => "not ready: starting",
        (false, true) => "not ready: stopping",
    };
    let mut text = format!("{text}\n");
    let query = request.uri().query().unwrap_or_default();
    if form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "verbose") {
        for plugin in &gateway.inner.runtime.snapshot().plugins {
            let sign = if plugin.is_running() { '+' } else { '-' };
            let state = plugin.state.as_str();
            text.push_str(&format!("[{sign}] plugin {} {state}\n", plugin.name));
        }
    }
    (status, text).into_response()
}

async fn metrics(State(gateway): State<Gateway>) -> Response {
    let render = std::sync::Arc::clone(&gateway.inner.metrics);
    let memory = &gateway.inner.memory;
    #[expect(clippy::cast_precision_loss, reason = "memory is below 2^52 bytes")]
    for (name, bytes) in [
        ("gk_memory_budget_bytes", memory.limit()),
        ("gk_memory_held_bytes", memory.used()),
        ("gk_memory_held_peak_bytes", memory.peak()),
        ("gk_memory_refused", memory.refused()),
    ] {
        metrics::gauge!(name).set(bytes as f64);
    }
    // It looks at all processes of the machine.
    let text = tokio::task::spawn_blocking(move || render()).await;
    match text {
        Ok(text) => {
            let content_type = "text/plain; version=0.0.4; charset=utf-8";
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "metrics cannot be rendered; please report this");
            Problem::internal("metrics cannot be rendered; the host's log says why").into_response()
        }
    }
}

async fn list(State(gateway): State<Gateway>, request: Request) -> Answer {
    let caller = gateway.require(&request, Middleware::Agent)?;
    let snapshot = gateway.inner.runtime.snapshot();
    let table = gateway.inner.table.load();
    let admin = caller.is_some_and(|caller| caller.is_admin());
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
        "enabled": status.is_enabled && status.state != PluginState::Blocked,
        "generation": status.generation,
        "draining": status.draining,
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
        let candidate = status.candidate.as_ref().map(|candidate| {
            let state = match candidate.error {
                None => "starting",
                Some(_) => "failed",
            };
            json!({ "generation": candidate.generation, "state": state, "error": candidate.error })
        });
        item.insert("candidate".into(), candidate.into());
        item.insert("sandbox".into(), sandbox(status));
        item.insert(
            "warnings".into(),
            status.warnings.iter().map(ToString::to_string).collect(),
        );
        item.insert("crashes".into(), status.crashes.into());
        item.insert("last_error".into(), status.last_error.as_deref().into());
        item.insert("can_roll_back".into(), status.can_roll_back.into());
        item.insert(
            "next_start".into(),
            status.next_start.and_then(rfc3339).into(),
        );
        let error = match &status.state {
            PluginState::Blocked => Some("its policy blocks it; set another one, and it starts"),
            PluginState::Waiting { reason } => Some(reason.as_str()),
            state => state.error(),
        };
        if let Some(error) = error {
            item.insert("error".into(), error.into());
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

async fn detail(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    request: Request,
) -> Answer {
    let caller = gateway.require(&request, Middleware::Agent)?;
    let snapshot = gateway.inner.runtime.snapshot();
    let status = snapshot
        .get(&plugin)
        .ok_or_else(|| Problem::no_plugin(&plugin))?;
    let admin = caller.is_some_and(|caller| caller.is_admin());
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
    let caller = gateway.require(&request, Middleware::Admin)?;
    let (parts, body) = gateway.read(request).await?;
    let inner = &gateway.inner;
    let incoming = Incoming::direct(parts, body, caller.as_ref().map(Identity::user));
    let (args, incoming) = gateway.arguments().direct(incoming).await?;
    let caller = incoming.caller.as_ref();
    let context = call_context(caller, &incoming.parts);
    drop(incoming.body);
    let result = inner.runtime.call(&plugin, &function, args, context).await;
    let result = result.map_err(|error| match &error {
        error if error.is_unknown_function(&function) => Problem::not_found(error.to_string()),
        _ => Problem::from_call(&error, caller),
    })?;
    answer::plain(&inner.memory, result)
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
    let caller = gateway.require(&request, Middleware::Agent)?;
    let snapshot = gateway.inner.runtime.snapshot();
    let status = snapshot
        .get(&plugin)
        .ok_or_else(|| Problem::no_plugin(&plugin))?;
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
        None if not_running => return Err(Problem::not_running(&plugin)),
        None => {
            return Err(Problem::not_found(format!(
                "plugin \"{plugin}\" has no widget {id:?}"
            )));
        }
    };
    let (mut parts, _) = request.into_parts();
    let path = parts.uri.path().parse();
    parts.uri = path.unwrap_or_default();
    let mut incoming = Incoming::direct(
        parts,
        HeldBody::empty(),
        caller.as_ref().map(Identity::user),
    );
    incoming.skip_org = false;
    let (args, incoming) = gateway.arguments().arguments(incoming).await?;
    let caller = incoming.caller.as_ref();
    let context = call_context(caller, &incoming.parts);
    let target = status.target();
    let result = gateway
        .call(
            target.as_ref(),
            &status.name,
            &widget.handler,
            args,
            context,
        )
        .await;
    let result = result.map_err(|error| Problem::from_call(&error, caller))?;
    let bytes = result.len();
    let read = move || html_of(&result);
    let html = gateway.inner.heavy.run(bytes, read).await?;
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

/// The markup of a widget, and nothing else of what it answered.
fn html_of(result: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Widget {
        html: String,
    }
    serde_json::from_slice::<Widget>(result)
        .ok()
        .map(|widget| widget.html)
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
    gateway.require(&request, Middleware::Admin)?;
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
        .ok_or_else(|| Problem::no_plugin(&plugin))?;
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
    gateway.require(&request, Middleware::Admin)?;
    Ok(Json(gateway.inner.tokens.list()).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewToken {
    login: String,
    role: String,
}

async fn create_token(State(gateway): State<Gateway>, request: Request) -> Answer {
    gateway.require(&request, Middleware::Admin)?;
    let (_, body) = gateway.read(request).await?;
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
    gateway.require(&request, Middleware::Admin)?;
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
