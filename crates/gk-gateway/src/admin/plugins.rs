//! Lists and describes the plugins.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use gk_api::{Candidate, Plugin, PluginDetail, PluginInside, Sandbox, SandboxLayer, Timeouts};
use gk_runtime::{PluginState, PluginStatus, Problem as Found, Report};

use super::Answer;
use crate::auth::Middleware;
use crate::extract::Path;
use crate::gateway::Gateway;
use crate::problem::Problem;
use crate::rfc3339::rfc3339;
use crate::routes::RouteTable;

/// Lists all plugins by name; for administrators also the directories with problems.
pub(crate) async fn list(State(gateway): State<Gateway>, request: Request) -> Answer {
    let caller = gateway.require(&request, Middleware::Agent)?;
    let snapshot = gateway.inner.runtime.snapshot();
    let table = gateway.inner.table.load();
    let admin = caller.is_some_and(|caller| caller.is_admin());
    let plugins = snapshot.plugins.iter();
    let mut all: Vec<_> = plugins
        .map(|status| plugin(status, &table, admin))
        .collect();
    if admin {
        all.extend(snapshot.problems.iter().map(problem));
    }
    Ok(Json(all).into_response())
}

/// Returns the details of a plugin.
pub(crate) async fn detail(
    State(gateway): State<Gateway>,
    Path(name): Path<String>,
    request: Request,
) -> Answer {
    let caller = gateway.require(&request, Middleware::Agent)?;
    let snapshot = gateway.inner.runtime.snapshot();
    let status = snapshot
        .get(&name)
        .ok_or_else(|| Problem::no_plugin(&name))?;
    let admin = caller.is_some_and(|caller| caller.is_admin());
    let mut detail = PluginDetail {
        plugin: plugin(status, &gateway.inner.table.load(), admin),
        ..PluginDetail::default()
    };
    if admin {
        let millis =
            |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let timeouts = status.timeouts;
        detail.timeouts_ms = Some(Timeouts {
            call: millis(timeouts.call),
            init: millis(timeouts.init),
            shutdown: millis(timeouts.shutdown),
        });
        detail.registration = status.registration.as_deref().cloned();
    }
    Ok(Json(detail).into_response())
}

/// Returns the description of a plugin.
pub(crate) fn plugin(status: &PluginStatus, table: &RouteTable, admin: bool) -> Plugin {
    let manifest = status.manifest.as_deref();
    let registered = status.registration.as_deref();
    let text = |registered: Option<&String>, manifest: Option<&String>| {
        registered.or(manifest).cloned().unwrap_or_default()
    };
    let signature = status.signature;
    Plugin {
        name: Some(status.name.to_string()),
        legacy_name: Some(status.name.to_string()),
        version: text(registered.map(|r| &r.version), manifest.map(|m| &m.version)),
        description: text(
            registered.map(|r| &r.description),
            manifest.map(|m| &m.description),
        ),
        author: text(registered.map(|r| &r.author), manifest.map(|m| &m.author)),
        license: text(registered.map(|r| &r.license), manifest.map(|m| &m.license)),
        homepage: text(
            registered.map(|r| &r.homepage),
            manifest.map(|m| &m.homepage),
        ),
        icon: text(registered.map(|r| &r.icon), manifest.map(|m| &m.icon)),
        state: status.state.as_str().to_owned(),
        loaded: status.is_running(),
        enabled: status.is_enabled && status.state != PluginState::Blocked,
        generation: status.generation,
        draining: status.draining,
        started_at: status.started_at.and_then(rfc3339),
        running_since: status.running_since.and_then(rfc3339),
        signature: signature.map(|signature| signature.state.as_str().to_owned()),
        signing_key: signature
            .and_then(|signature| signature.key)
            .map(|key| key.to_string()),
        routes: registered.map(|r| r.routes.clone()),
        widgets: registered.map(|r| r.widgets.clone()),
        jobs: registered.map(|r| r.jobs.clone()),
        menu_items: registered.map(|r| r.menu_items.clone()),
        refused_routes: table
            .refused(status.name.as_str())
            .into_iter()
            .cloned()
            .collect(),
        inside: admin.then(|| inside(status)),
    }
}

/// Returns the details of a plugin that only administrators see.
fn inside(status: &PluginStatus) -> PluginInside {
    let candidate = status.candidate.as_ref().map(|candidate| Candidate {
        generation: candidate.generation,
        state: match candidate.error {
            None => "starting".to_owned(),
            Some(_) => "failed".to_owned(),
        },
        error: candidate.error.clone(),
    });
    let error = match &status.state {
        PluginState::Blocked => Some("its policy blocks it; set another one, and it starts"),
        PluginState::Waiting { reason } => Some(reason.as_str()),
        state => state.error(),
    };
    PluginInside {
        directory: status.dir.to_string_lossy().into_owned(),
        pid: status.pid,
        changed: status.changed.map(str::to_owned),
        candidate,
        sandbox: status.sandbox.as_deref().map(sandbox),
        warnings: status.warnings.iter().map(ToString::to_string).collect(),
        crashes: status.crashes,
        last_error: status.last_error.as_deref().map(str::to_owned),
        can_roll_back: status.can_roll_back,
        next_start: status.next_start.and_then(rfc3339),
        error: error.map(str::to_owned),
    }
}

/// Returns the state of a sandbox's layers.
pub(crate) fn sandbox(report: &Report) -> Sandbox {
    let layers = report.layers.iter().map(|entry| SandboxLayer {
        layer: entry.layer.name().to_owned(),
        state: entry.state.as_str().to_owned(),
        detail: entry.detail.clone(),
        errno: entry.errno,
    });
    Sandbox {
        complete: report.is_complete(),
        layers: layers.collect(),
    }
}

/// Returns the description of a directory whose plugin has no known name.
fn problem(found: &Found) -> Plugin {
    let name = found.name.as_ref().map(ToString::to_string);
    Plugin {
        legacy_name: name.clone(),
        name,
        state: "failed".to_owned(),
        inside: Some(PluginInside {
            directory: found.dir.to_string_lossy().into_owned(),
            error: Some(found.error.clone()),
            ..PluginInside::default()
        }),
        ..Plugin::default()
    }
}
