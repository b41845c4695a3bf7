//! What an operator does to one plugin, and how it is.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use gk_manifest::GoDuration;
use gk_runtime::{ControlError, Outcome, PluginState, PluginStatus};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::auth::Middleware;
use crate::extract::{Path, Query};
use crate::gateway::Gateway;
use crate::problem::Problem;
use crate::rfc3339::rfc3339;

/// How long an answer may wait for its outcome.
const WAIT_MAX: Duration = Duration::from_secs(120);

type Answer = Result<Response, Problem>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReloadQuery {
    /// Also if what is there is what runs.
    #[serde(default)]
    force: bool,
    /// How long to wait for the outcome.
    #[serde(default)]
    wait: GoDuration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WaitQuery {
    /// How long to wait for the outcome.
    #[serde(default)]
    wait: GoDuration,
}

/// Who asks for what; only an administrator may.
fn begin(gateway: &Gateway, request: &Request, plugin: &str, what: &str) -> Result<(), Problem> {
    let caller = gateway.require(request, Middleware::Admin)?;
    let by = caller.map(|caller| caller.login);
    tracing::info!(plugin, by = by.as_deref(), "{what} is asked for");
    Ok(())
}

fn wait(asked: GoDuration) -> Duration {
    asked.to_std().unwrap_or_default().min(WAIT_MAX)
}

/// What came of it; `done` is what upstream answers, where it has the endpoint.
fn answer(
    gateway: &Gateway,
    plugin: &str,
    outcome: Result<Outcome, ControlError>,
    done: Option<&str>,
) -> Answer {
    let outcome = outcome.map_err(|error| match error {
        ControlError::Unknown { .. } => Problem::no_plugin(plugin),
        ControlError::NoPrevious { .. } => Problem::new(StatusCode::CONFLICT, error.to_string()),
        ControlError::NotKept { .. } => {
            tracing::error!(%error, "what was asked for holds until the host ends only");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
        }
        _ => Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    })?;
    let (status, word, error) = match outcome {
        Outcome::Serving(_) => (StatusCode::OK, "serving", None),
        Outcome::Failed { error } => (StatusCode::CONFLICT, "failed", Some(error)),
        Outcome::Waiting { reason } => (StatusCode::CONFLICT, "waiting", Some(reason)),
        Outcome::Stopped if done == Some("disabled") => (StatusCode::OK, "stopped", None),
        Outcome::Stopped => {
            let why = "nothing of it is to run: its policy blocks it, it is disabled, or its package is gone";
            (StatusCode::CONFLICT, "stopped", Some(why.to_owned()))
        }
        Outcome::Stopping => (StatusCode::ACCEPTED, "stopping", None),
        _ => (StatusCode::ACCEPTED, "starting", None),
    };
    let snapshot = gateway.inner.runtime.snapshot();
    let generation = snapshot.get(plugin).map(|status| status.generation);
    let mut body = json!({ "outcome": word, "generation": generation, "error": error });
    if let Some(done) = done {
        body["status"] = done.into();
    }
    Ok((status, Json(body)).into_response())
}

/// Starts what is there of a plugin beside what runs, and puts it in its place.
pub(crate) async fn reload(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    Query(query): Query<ReloadQuery>,
    request: Request,
) -> Answer {
    begin(&gateway, &request, &plugin, "a reload")?;
    let runtime = &gateway.inner.runtime;
    let outcome = runtime.reload(&plugin, query.force, wait(query.wait)).await;
    answer(&gateway, &plugin, outcome, None)
}

/// Starts a plugin anew, without looking at its files.
pub(crate) async fn restart(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    Query(query): Query<WaitQuery>,
    request: Request,
) -> Answer {
    begin(&gateway, &request, &plugin, "a restart")?;
    let runtime = &gateway.inner.runtime;
    let outcome = runtime.restart(&plugin, wait(query.wait)).await;
    answer(&gateway, &plugin, outcome, None)
}

/// Starts the version that came up before.
pub(crate) async fn roll_back(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    Query(query): Query<WaitQuery>,
    request: Request,
) -> Answer {
    begin(&gateway, &request, &plugin, "a rollback")?;
    let runtime = &gateway.inner.runtime;
    let outcome = runtime.roll_back(&plugin, wait(query.wait)).await;
    answer(&gateway, &plugin, outcome, None)
}

/// Lets a plugin run.
pub(crate) async fn enable(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    Query(query): Query<WaitQuery>,
    request: Request,
) -> Answer {
    begin(&gateway, &request, &plugin, "enabling")?;
    let runtime = &gateway.inner.runtime;
    let outcome = runtime.enable(&plugin, true, wait(query.wait)).await;
    answer(&gateway, &plugin, outcome, Some("enabled"))
}

/// Ends a plugin, and keeps it from starting.
pub(crate) async fn disable(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    Query(query): Query<WaitQuery>,
    request: Request,
) -> Answer {
    begin(&gateway, &request, &plugin, "disabling")?;
    let runtime = &gateway.inner.runtime;
    let outcome = runtime.enable(&plugin, false, wait(query.wait)).await;
    answer(&gateway, &plugin, outcome, Some("disabled"))
}

/// Forgets a plugin's crashes.
pub(crate) async fn reset(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    Query(query): Query<WaitQuery>,
    request: Request,
) -> Answer {
    begin(&gateway, &request, &plugin, "forgetting the crashes")?;
    let runtime = &gateway.inner.runtime;
    let outcome = runtime.reset_crashes(&plugin, wait(query.wait)).await;
    answer(&gateway, &plugin, outcome, Some("reset"))
}

/// How a plugin is, in upstream's words and some more (contract §3.8).
pub(crate) async fn health(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    request: Request,
) -> Answer {
    let caller = gateway.require(&request, Middleware::Agent)?;
    let snapshot = gateway.inner.runtime.snapshot();
    let status = snapshot
        .get(&plugin)
        .ok_or_else(|| Problem::no_plugin(&plugin))?;
    Ok(Json(told(status, caller.is_some_and(|caller| caller.is_admin()))).into_response())
}

/// How all plugins are.
pub(crate) async fn all_health(State(gateway): State<Gateway>, request: Request) -> Answer {
    let caller = gateway.require(&request, Middleware::Agent)?;
    let admin = caller.is_some_and(|caller| caller.is_admin());
    let snapshot = gateway.inner.runtime.snapshot();
    let plugins: Map<String, Value> = snapshot
        .plugins
        .iter()
        .map(|status| (status.name.to_string(), told(status, admin)))
        .collect();
    Ok(Json(json!({ "plugins": plugins })).into_response())
}

/// What went on inside of a plugin is for administrators.
fn told(status: &PluginStatus, admin: bool) -> Value {
    let health = status.health();
    let is_running = status.state == PluginState::Running;
    let payload = health.payload.as_ref();
    let payload = payload.and_then(|payload| serde_json::from_slice::<Value>(payload).ok());
    let error = match is_running {
        true => health.last_error.as_deref(),
        false => status.state.error(),
    };
    json!({
        "healthy": is_running && health.is_healthy && !health.is_degraded,
        "degraded": health.is_degraded,
        "state": status.state.as_str(),
        "generation": status.generation,
        "last_check": health.last_check.and_then(rfc3339),
        "last_success": health.last_success.and_then(rfc3339),
        "consecutive_failures": health.consecutive_failures,
        "last_error": error.or(status.last_error.as_deref()).filter(|_| admin),
        "payload": payload.filter(|_| admin),
        "restart_attempts": status.crashes,
        "last_restart_at": status.last_crash.and_then(rfc3339),
        "next_restart_at": status.next_start.and_then(rfc3339),
        "crash_loop_abandoned": false,
        "crash_looping": status.is_crash_looping,
    })
}
