//! Resource use of plugins, and statistics of their calls.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use gk_api::{Stats, Usage};
use gk_runtime::PluginStatus;

use super::Answer;
use crate::auth::Middleware;
use crate::extract::Path;
use crate::gateway::Gateway;
use crate::insight::Seen;
use crate::problem::Problem;

/// Returns the statistics of all plugins, by name.
pub(crate) async fn all(State(gateway): State<Gateway>, request: Request) -> Answer {
    gateway.require(&request, Middleware::Admin)?;
    let mut seen = gateway.seen().await;
    let snapshot = gateway.inner.runtime.snapshot();
    let plugins = snapshot.plugins.iter();
    let all: Vec<_> = plugins
        .map(|status| stats(&gateway, status, &mut seen))
        .collect();
    Ok(Json(all).into_response())
}

/// Returns the statistics of one plugin.
pub(crate) async fn one(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    request: Request,
) -> Answer {
    gateway.require(&request, Middleware::Admin)?;
    let snapshot = gateway.inner.runtime.snapshot();
    let status = snapshot
        .get(&plugin)
        .ok_or_else(|| Problem::no_plugin(&plugin))?;
    let mut seen = gateway.seen().await;
    Ok(Json(stats(&gateway, status, &mut seen)).into_response())
}

fn stats(gateway: &Gateway, status: &PluginStatus, seen: &mut Seen) -> Stats {
    let host = gateway.inner.host_api.as_ref();
    let usage = host.map(|host| host.policies().usage(&status.name));
    Stats {
        plugin_name: status.name.to_string(),
        state: status.state.as_str().to_owned(),
        generation: status.generation,
        usage: usage.map(|usage| used(&usage)).unwrap_or_default(),
        figures: seen.remove(status.name.as_str()).unwrap_or_default(),
    }
}

/// Converts the usage to the type of the API.
pub(crate) fn used(usage: &gk_hostapi::policy::Usage) -> Usage {
    Usage {
        requests: usage.requests,
        db_queries: usage.db_queries,
        db_execs: usage.db_execs,
        cache_ops: usage.cache_ops,
        http_requests: usage.http_requests,
        calls: usage.calls,
        errors: usage.errors,
        last_call_at: usage.last_call_at,
    }
}
