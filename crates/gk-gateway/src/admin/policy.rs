//! Policies over HTTP: permissions that a plugin asks for, those that it has, and changes by the
//! operator.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use gk_api::{Change, LimitDiff, PolicyDiff, PolicyOrigin};
use gk_hostapi::policy::{Origin, Policy, PolicyStatus, PolicyUpdate, PolicyView, missing};
use gk_hostapi::{ErrorKind, Host, HostError};
use gk_manifest::{GoDuration, Permission, PluginName};
use serde_json::{Value, json};
use std::sync::Arc;

use super::Answer;
use super::change::Ongoing;
use super::stats::used;
use crate::auth::Middleware;
use crate::extract::Path;
use crate::gateway::Gateway;
use crate::paths::is_reserved;
use crate::problem::Problem;

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

/// Converts a view to the type of the API.
fn shown(view: &PolicyView) -> gk_api::PolicyView {
    gk_api::PolicyView {
        plugin_name: view.plugin_name.to_string(),
        origin: match view.origin {
            Origin::Stored => PolicyOrigin::Stored,
            Origin::Default => PolicyOrigin::Default,
            Origin::Declared => PolicyOrigin::Declared,
            Origin::Unregistered => PolicyOrigin::Unregistered,
            Origin::Unreadable => PolicyOrigin::Unreadable,
        },
        policy: view.policy.clone(),
        requested: view.requested.clone(),
        exceeds_grant: view.exceeds_grant.clone(),
        usage: used(&view.usage),
        clamped: Vec::new(),
    }
}

fn view(gateway: &Gateway, plugin: &str) -> Result<PolicyView, Problem> {
    let view = host(gateway)?.policies().view(&name(plugin)?);
    view.ok_or_else(|| Problem::no_plugin(plugin))
}

/// Returns the state of a policy for the audit log; null for an unknown plugin.
fn kept(host: &Host, plugin: &PluginName) -> Value {
    let view = host.policies().view(plugin);
    view.map_or(
        Value::Null,
        |view| json!({ "origin": view.origin, "policy": view.policy }),
    )
}

/// Returns the policy in force, its origin, the requested permissions, and the usage.
pub(crate) async fn show(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    request: Request,
) -> Answer {
    gateway.require(&request, Middleware::Admin)?;
    Ok(Json(shown(&view(&gateway, &plugin)?)).into_response())
}

/// Compares the requested permissions with the granted ones.
pub(crate) async fn diff(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    request: Request,
) -> Answer {
    gateway.require(&request, Middleware::Admin)?;
    let view = view(&gateway, &plugin)?;
    Ok(Json(compare(&view)?).into_response())
}

/// Returns the differences between a policy and the plugin's request.
pub(super) fn compare(view: &PolicyView) -> Result<PolicyDiff, Problem> {
    let (asked, granted) = (&view.requested, &view.policy);
    let missing_ones = missing(&asked.permissions, &granted.permissions);
    let has = |permission: &&Permission| !missing_ones.contains(permission);
    let mut approval = asked.clone();
    approval.status = PolicyStatus::Approved;
    let approval = serde_json::to_value(approval)
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(PolicyDiff {
        plugin_name: view.plugin_name.to_string(),
        status: word(granted.status).to_owned(),
        granted: asked.permissions.iter().filter(has).cloned().collect(),
        extra: missing(&granted.permissions, &asked.permissions),
        missing: missing_ones,
        limits: limits(asked, granted),
        approval,
    })
}

fn word(status: PolicyStatus) -> &'static str {
    match status {
        PolicyStatus::PendingReview => "pending_review",
        PolicyStatus::Approved => "approved",
        PolicyStatus::Restricted => "restricted",
        PolicyStatus::Blocked => "blocked",
    }
}

/// Returns the limits that a policy sets to another value than requested. Limits that the policy
/// leaves to the plugin are as requested.
fn limits(asked: &Policy, granted: &Policy) -> Vec<LimitDiff> {
    let number = |number: u64| (number > 0).then(|| number.to_string());
    let time = |time: Option<GoDuration>| time.map(|time| time.to_string());
    let all = [
        (
            "memory_mb",
            number(asked.memory_mb.into()),
            number(granted.memory_mb.into()),
        ),
        (
            "max_file_storage_bytes",
            number(asked.max_file_storage_bytes),
            number(granted.max_file_storage_bytes),
        ),
        (
            "call_timeout",
            time(asked.call_timeout),
            time(granted.call_timeout),
        ),
        (
            "job_timeout",
            time(asked.job_timeout),
            time(granted.job_timeout),
        ),
        (
            "init_timeout",
            time(asked.init_timeout),
            time(granted.init_timeout),
        ),
        (
            "shutdown_timeout",
            time(asked.shutdown_timeout),
            time(granted.shutdown_timeout),
        ),
    ];
    let differs = |(limit, asked, granted): (&str, Option<String>, Option<String>)| {
        let granted = granted.filter(|granted| asked.as_ref() != Some(granted))?;
        Some(LimitDiff {
            limit: limit.to_owned(),
            asked: asked.unwrap_or_else(|| "the host's default".to_owned()),
            granted,
        })
    };
    all.into_iter().filter_map(differs).collect()
}

/// Stores a policy, which applies from the plugin's next request on.
pub(crate) async fn set(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    request: Request,
) -> Answer {
    gateway.require(&request, Middleware::Admin)?;
    let (host, plugin) = (host(&gateway)?, name(&plugin)?);
    let (parts, body) = gateway.read(request).await?;
    let update = PolicyUpdate::from_json(&body).map_err(|error| problem(&error))?;
    if let Some(path) = update.routes().iter().find(|path| is_reserved(path)) {
        return Err(Problem::bad_request(format!(
            "routes: {path:?} is the host's own, or a plugin's place: no policy can give it away"
        )));
    }
    let status = update.status();
    let before = kept(host, &plugin);
    let begun = gateway.begin(&parts, Change::SetPolicy, plugin.as_str(), before);
    let ongoing = match begun.await {
        // A plugin must be stopped also where nothing can be written.
        Err(refused)
            if status == PolicyStatus::Blocked
                && refused.status == StatusCode::SERVICE_UNAVAILABLE =>
        {
            tracing::error!(%plugin, "it is blocked without an entry in the audit log");
            Ongoing::unwritten()
        }
        begun => begun?,
    };
    let set = host.policies().update(&plugin, update).await;
    if status == PolicyStatus::Blocked && host.policies().is_blocked(&plugin) {
        // A block applies even if it could not be stored.
        gateway.policies_changed([&plugin]);
    }
    if let Err(error) = set {
        return ongoing.failed(problem(&error)).await;
    }
    gateway.policies_changed([&plugin]);
    ongoing.end(kept(host, &plugin), None).await;
    let view = view(&gateway, plugin.as_str())?;
    let mut answer = shown(&view);
    answer.clamped = gk_runtime::clamped(&gk_hostapi::policy::limits(&view.policy));
    Ok(gateway.settled(Json(answer).into_response()).await)
}

/// Removes a stored policy; the default applies again.
pub(crate) async fn reset(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    request: Request,
) -> Answer {
    gateway.require(&request, Middleware::Admin)?;
    let (host, plugin) = (host(&gateway)?, name(&plugin)?);
    let (parts, _) = request.into_parts();
    let ongoing = gateway
        .begin(
            &parts,
            Change::ResetPolicy,
            plugin.as_str(),
            kept(host, &plugin),
        )
        .await?;
    match host.policies().reset(&plugin).await {
        Ok(true) => {}
        Ok(false) => {
            let none = format!("plugin \"{plugin}\" has no stored policy");
            return ongoing.failed(Problem::not_found(none)).await;
        }
        Err(error) => return ongoing.failed(problem(&error)).await,
    }
    gateway.policies_changed([&plugin]);
    ongoing.end(kept(host, &plugin), None).await;
    Ok(gateway
        .settled(StatusCode::NO_CONTENT.into_response())
        .await)
}
