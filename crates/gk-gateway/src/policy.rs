//! Policies over HTTP: what a plugin asks for, what it is granted, and the operator's word on it.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use gk_hostapi::policy::{PolicyStatus, PolicyUpdate};
use gk_hostapi::{ErrorKind, Host, HostError};
use gk_manifest::PluginName;
use std::sync::Arc;

use crate::auth::Middleware;
use crate::extract::Path;
use crate::gateway::Gateway;
use crate::problem::Problem;
use crate::routes::is_reserved;

fn host(gateway: &Gateway) -> Result<&Arc<Host>, Problem> {
    gateway
        .inner
        .host_api
        .as_ref()
        .ok_or_else(|| Problem::not_found("this host has no policies"))
}

fn name(plugin: &str) -> Result<PluginName, Problem> {
    PluginName::new(plugin).map_err(|_| Problem::no_plugin(plugin))
}

fn problem(error: &HostError) -> Problem {
    match error.kind() {
        ErrorKind::Invalid | ErrorKind::Limit => Problem::bad_request(error.to_string()),
        _ => {
            tracing::error!(%error, "the policy store failed");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
        }
    }
}

/// What is in force, where it comes from, what was asked for, what was used.
pub(crate) async fn show(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    gateway.require(&request, Middleware::Admin)?;
    let view = host(&gateway)?.policies().view(&name(&plugin)?);
    let view = view.ok_or_else(|| Problem::no_plugin(&plugin))?;
    Ok(Json(view).into_response())
}

/// Stores a policy; it applies from the plugin's next request on.
pub(crate) async fn set(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = gateway.require(&request, Middleware::Admin)?;
    let (host, plugin) = (host(&gateway)?, name(&plugin)?);
    let (_, body) = gateway.read(request).await?;
    let update = PolicyUpdate::from_json(&body).map_err(|error| problem(&error))?;
    if let Some(path) = update.routes().iter().find(|path| is_reserved(path)) {
        return Err(Problem::bad_request(format!(
            "routes: {path:?} is the host's own, or a plugin's place: no policy can give it away"
        )));
    }
    let status = update.status();
    let set = host.policies().update(&plugin, update).await;
    if status == PolicyStatus::Blocked && host.policies().is_blocked(&plugin) {
        // A block holds although it could not be stored.
        host.services().events.close(&plugin);
        gateway.inner.runtime.policy_changed(&plugin);
    }
    set.map_err(|error| problem(&error))?;
    let by = caller.map(|caller| caller.login);
    tracing::info!(%plugin, ?status, by = by.as_deref(), "a policy was set");
    gateway.inner.runtime.policy_changed(&plugin);
    // It may say which paths the plugin serves.
    gateway.rebuild();
    let view = host.policies().view(&plugin);
    let clamped = view
        .as_ref()
        .map(|view| gk_runtime::clamped(&gk_hostapi::policy::limits(&view.policy)));
    let mut answer = serde_json::to_value(view)
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    answer["clamped"] = clamped.into();
    Ok(Json(answer).into_response())
}

/// Removes a stored policy: the default applies again.
pub(crate) async fn reset(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = gateway.require(&request, Middleware::Admin)?;
    let (host, plugin) = (host(&gateway)?, name(&plugin)?);
    let reset = host.policies().reset(&plugin).await;
    if !reset.map_err(|error| problem(&error))? {
        return Err(Problem::not_found(format!(
            "plugin \"{plugin}\" has no stored policy"
        )));
    }
    let by = caller.map(|caller| caller.login);
    tracing::info!(%plugin, by = by.as_deref(), "a policy was removed");
    gateway.inner.runtime.policy_changed(&plugin);
    gateway.rebuild();
    Ok(StatusCode::NO_CONTENT.into_response())
}
