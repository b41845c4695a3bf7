//! Information about the host itself, and its checks.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use gk_api::{CheckState, Doctor, HostInfo};

use super::Answer;
use crate::auth::Middleware;
use crate::gateway::Gateway;
use crate::insight::Seen;
use crate::rfc3339::rfc3339;

impl Gateway {
    /// Returns the measured figures of the plugins; empty without a source.
    pub(crate) async fn seen(&self) -> Seen {
        let Some(insight) = self.inner.insight.clone() else {
            return Seen::new();
        };
        let figures = tokio::task::spawn_blocking(move || insight.figures()).await;
        figures.unwrap_or_else(|error| {
            tracing::error!(%error, "the plugins cannot be measured; please report this");
            Seen::new()
        })
    }
}

/// Returns the facts about the host, and the caller's identity.
pub(crate) async fn info(State(gateway): State<Gateway>, request: Request) -> Answer {
    let caller = gateway.require(&request, Middleware::Agent)?;
    let insight = gateway.inner.insight.as_ref();
    let about = insight.map(|insight| insight.about()).unwrap_or_default();
    let mut plugins = BTreeMap::new();
    for status in &gateway.inner.runtime.snapshot().plugins {
        *plugins.entry(status.state.as_str().to_owned()).or_default() += 1;
    }
    let admin = caller.as_ref().is_some_and(|caller| caller.is_admin());
    let inside = |text: String| if admin { text } else { String::new() };
    let info = HostInfo {
        version: gateway.inner.version.clone(),
        started_at: about.started_at.and_then(rfc3339),
        ready: gateway.is_ready(),
        plugins_dir: inside(about.plugins_dir),
        data_dir: inside(about.data_dir),
        hot_reload: about.hot_reload,
        signatures_required: about.signatures_required,
        sandbox_level: about.sandbox_level,
        plugins,
        login: caller
            .as_ref()
            .map_or_else(String::new, |caller| caller.login.to_string()),
        role: caller.map_or_else(String::new, |caller| caller.role.to_string()),
    };
    Ok(Json(info).into_response())
}

/// Returns the checks of all parts of the host.
pub(crate) async fn doctor(State(gateway): State<Gateway>, request: Request) -> Answer {
    gateway.require(&request, Middleware::Admin)?;
    let checks = match &gateway.inner.insight {
        Some(insight) => insight.doctor().await,
        None => Vec::new(),
    };
    let healthy = checks.iter().all(|check| check.state != CheckState::Failed);
    Ok(Json(Doctor { healthy, checks }).into_response())
}
