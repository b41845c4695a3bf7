//! Operations on one plugin, and the health of plugins.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use gk_api::{Change, Health, HealthOfAll, Outcome as Answered, OutcomeWord};
use gk_manifest::GoDuration;
use gk_runtime::{ControlError, Outcome, PluginState, PluginStatus};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Answer;
use crate::auth::Middleware;
use crate::extract::{Path, Query};
use crate::gateway::Gateway;
use crate::problem::Problem;
use crate::rfc3339::rfc3339;

/// Maximum time that an answer may wait for its outcome.
const WAIT_MAX: Duration = Duration::from_secs(120);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReloadQuery {
    /// Restart the plugin also if its files are unchanged.
    #[serde(default)]
    force: bool,
    /// Time to wait for the outcome.
    #[serde(default)]
    wait: GoDuration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WaitQuery {
    /// Time to wait for the outcome.
    #[serde(default)]
    wait: GoDuration,
}

/// Operation on a plugin.
#[derive(Debug, Clone, Copy)]
enum Order {
    Reload { force: bool },
    Restart,
    RollBack,
    Enable(bool),
    Reset,
}

impl Order {
    fn change(self) -> Change {
        match self {
            Order::Reload { .. } => Change::Reload,
            Order::Restart => Change::Restart,
            Order::RollBack => Change::RollBack,
            Order::Enable(true) => Change::Enable,
            Order::Enable(false) => Change::Disable,
            Order::Reset => Change::ResetCrashes,
        }
    }

    /// Returns the status text of upstream's answer, if upstream has the endpoint.
    fn word(self) -> Option<&'static str> {
        match self {
            Order::Enable(true) => Some("enabled"),
            Order::Enable(false) => Some("disabled"),
            Order::Reset => Some("reset"),
            _ => None,
        }
    }
}

/// Returns the requested waiting time, up to the maximum.
pub(crate) fn wait(asked: GoDuration) -> Duration {
    asked.to_std().unwrap_or_default().min(WAIT_MAX)
}

/// Returns the state of a plugin for the audit log.
pub(crate) fn shown(gateway: &Gateway, plugin: &str) -> Value {
    let snapshot = gateway.inner.runtime.snapshot();
    let Some(status) = snapshot.get(plugin) else {
        return Value::Null;
    };
    let registered = status.registration.as_deref();
    let manifest = status.manifest.as_deref();
    let version = registered.map(|r| &r.version);
    json!({
        "state": status.state.as_str(),
        "enabled": status.is_enabled,
        "generation": status.generation,
        "version": version.or(manifest.map(|m| &m.version)),
        "crashes": status.crashes,
    })
}

async fn carry_out(
    gateway: Gateway,
    plugin: String,
    order: Order,
    wait: Duration,
    request: Request,
) -> Answer {
    let (parts, _) = request.into_parts();
    let before = shown(&gateway, &plugin);
    let ongoing = gateway
        .begin(&parts, order.change(), &plugin, before)
        .await?;
    let runtime = &gateway.inner.runtime;
    if let (Order::Enable(enabled), Some(member)) = (order, &gateway.inner.member) {
        if runtime.snapshot().get(&plugin).is_none() {
            return ongoing.failed(Problem::no_plugin(&plugin)).await;
        }
        // For all hosts first: what is in force here alone would be undone by the next change.
        if let Err(error) = member.database().enable_plugin(&plugin, enabled).await {
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
            return ongoing.failed(problem).await;
        }
    }
    let outcome = match order {
        Order::Reload { force } => runtime.reload(&plugin, force, wait).await,
        Order::Restart => runtime.restart(&plugin, wait).await,
        Order::RollBack => runtime.roll_back(&plugin, wait).await,
        Order::Enable(enabled) => runtime.enable(&plugin, enabled, wait).await,
        Order::Reset => runtime.reset_crashes(&plugin, wait).await,
    };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => return ongoing.failed(refused(&plugin, &error)).await,
    };
    if let Order::Enable(enabled) = order {
        gateway.enabled_meanwhile(&plugin, enabled).await;
    }
    let is_end = matches!(order, Order::Enable(false));
    let (status, mut answer) = answered(&gateway, &plugin, outcome, is_end);
    answer.status = order.word().map(str::to_owned);
    let error = answer.error.clone();
    ongoing.end(shown(&gateway, &plugin), error).await;
    let answer = (status, Json(answer)).into_response();
    match order {
        Order::Enable(_) => Ok(gateway.settled(answer).await),
        _ => Ok(answer),
    }
}

impl Gateway {
    /// Puts in force what another host has made of a plugin meanwhile: the later order counts.
    async fn enabled_meanwhile(&self, plugin: &str, enabled: bool) {
        let Some(member) = &self.inner.member else {
            return;
        };
        let Ok(wanted) = member.database().enabled_plugins().await else {
            return;
        };
        let other = wanted.get(plugin).filter(|wanted| **wanted != enabled);
        if let Some(other) = other
            && let Err(error) = self
                .inner
                .runtime
                .enable(plugin, *other, Duration::ZERO)
                .await
        {
            tracing::error!(plugin, %error, "the plugin is not as the other hosts have it");
        }
    }
}

/// Converts the error of an operation that was not carried out.
pub(crate) fn refused(plugin: &str, error: &ControlError) -> Problem {
    match error {
        ControlError::Unknown { .. } => Problem::no_plugin(plugin),
        ControlError::NoPrevious { .. } => Problem::new(StatusCode::CONFLICT, error.to_string()),
        ControlError::NotKept { .. } => {
            tracing::error!(%error, "what was asked for holds until the host ends only");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
        }
        _ => Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

/// Converts the outcome of an operation; `is_end` if the plugin was to stop.
pub(crate) fn answered(
    gateway: &Gateway,
    plugin: &str,
    outcome: Outcome,
    is_end: bool,
) -> (StatusCode, Answered) {
    let (status, word, error) = match outcome {
        Outcome::Serving(_) => (StatusCode::OK, OutcomeWord::Serving, None),
        Outcome::Failed { error } => (StatusCode::CONFLICT, OutcomeWord::Failed, Some(error)),
        Outcome::Waiting { reason } => (StatusCode::CONFLICT, OutcomeWord::Waiting, Some(reason)),
        Outcome::Stopped if is_end => (StatusCode::OK, OutcomeWord::Stopped, None),
        Outcome::Stopped => {
            let why = "nothing of it is to run: its policy blocks it, it is disabled, or its package is gone";
            let why = Some(why.to_owned());
            (StatusCode::CONFLICT, OutcomeWord::Stopped, why)
        }
        Outcome::Stopping => (StatusCode::ACCEPTED, OutcomeWord::Stopping, None),
        _ => (StatusCode::ACCEPTED, OutcomeWord::Starting, None),
    };
    let snapshot = gateway.inner.runtime.snapshot();
    let answer = Answered {
        outcome: word,
        generation: snapshot.get(plugin).map(|status| status.generation),
        error,
        status: None,
    };
    (status, answer)
}

/// Starts the package found for a plugin beside the running generation, and replaces that.
pub(crate) async fn reload(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    Query(query): Query<ReloadQuery>,
    request: Request,
) -> Answer {
    let order = Order::Reload { force: query.force };
    carry_out(gateway, plugin, order, wait(query.wait), request).await
}

/// Restarts a plugin without a scan of its files.
pub(crate) async fn restart(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    Query(query): Query<WaitQuery>,
    request: Request,
) -> Answer {
    carry_out(gateway, plugin, Order::Restart, wait(query.wait), request).await
}

/// Starts the version that came up before.
pub(crate) async fn roll_back(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    Query(query): Query<WaitQuery>,
    request: Request,
) -> Answer {
    carry_out(gateway, plugin, Order::RollBack, wait(query.wait), request).await
}

/// Enables a plugin.
pub(crate) async fn enable(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    Query(query): Query<WaitQuery>,
    request: Request,
) -> Answer {
    let order = Order::Enable(true);
    carry_out(gateway, plugin, order, wait(query.wait), request).await
}

/// Stops a plugin, and keeps it from starting.
pub(crate) async fn disable(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    Query(query): Query<WaitQuery>,
    request: Request,
) -> Answer {
    let order = Order::Enable(false);
    carry_out(gateway, plugin, order, wait(query.wait), request).await
}

/// Forgets a plugin's crashes.
pub(crate) async fn reset(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    Query(query): Query<WaitQuery>,
    request: Request,
) -> Answer {
    carry_out(gateway, plugin, Order::Reset, wait(query.wait), request).await
}

/// Returns the health of a plugin.
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
    Ok(Json(health_of(
        status,
        caller.is_some_and(|caller| caller.is_admin()),
    ))
    .into_response())
}

/// Returns the health of all plugins.
pub(crate) async fn all_health(State(gateway): State<Gateway>, request: Request) -> Answer {
    let caller = gateway.require(&request, Middleware::Agent)?;
    let admin = caller.is_some_and(|caller| caller.is_admin());
    let snapshot = gateway.inner.runtime.snapshot();
    let plugins = snapshot
        .plugins
        .iter()
        .map(|status| (status.name.to_string(), health_of(status, admin)))
        .collect();
    Ok(Json(HealthOfAll { plugins }).into_response())
}

/// Converts the health of a plugin; details from inside of the plugin are for administrators.
fn health_of(status: &PluginStatus, admin: bool) -> Health {
    let health = status.health();
    let is_running = status.state == PluginState::Running;
    let payload = health.payload.as_ref();
    let payload = payload.and_then(|payload| serde_json::from_slice::<Value>(payload).ok());
    let error = match is_running {
        true => health.last_error.as_deref(),
        false => status.state.error(),
    };
    let error = error.or(status.last_error.as_deref()).map(str::to_owned);
    Health {
        healthy: is_running && health.is_healthy && !health.is_degraded,
        degraded: health.is_degraded,
        state: status.state.as_str().to_owned(),
        generation: status.generation,
        last_check: health.last_check.and_then(rfc3339),
        last_success: health.last_success.and_then(rfc3339),
        consecutive_failures: health.consecutive_failures,
        last_error: error.filter(|_| admin),
        payload: payload.filter(|_| admin),
        restart_attempts: status.crashes,
        last_restart_at: status.last_crash.and_then(rfc3339),
        next_restart_at: status.next_start.and_then(rfc3339),
        crash_loop_abandoned: false,
        crash_looping: status.is_crash_looping,
    }
}
