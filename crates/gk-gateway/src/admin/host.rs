//! The host itself: what it is, and how it stands.

use std::collections::BTreeMap;
use std::time::SystemTime;

use async_trait::async_trait;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use gk_api::{Check, CheckState, Doctor, Figures, HostInfo};

use super::Answer;
use crate::auth::Middleware;
use crate::gateway::Gateway;
use crate::rfc3339::rfc3339;

/// What is measured of plugins, by name.
pub type Seen = BTreeMap<String, Figures>;

/// What the program around the gateway knows of itself.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct About {
    /// When it was started.
    pub started_at: Option<SystemTime>,
    /// The directory that it looks for plugins in.
    pub plugins_dir: String,
    /// The directory that it keeps its own data in.
    pub data_dir: String,
    /// Whether plugins start anew when their files change.
    pub hot_reload: bool,
    /// Whether plugins must be signed by a trusted key.
    pub signatures_required: bool,
    /// `best-effort`, `required` or `off`.
    pub sandbox_level: String,
}

/// What only the program around the gateway can tell: it has put the host together.
#[async_trait]
pub trait Insight: Send + Sync + 'static {
    /// What it is at this moment.
    fn about(&self) -> About;
    /// What is measured of its plugins. It may look at all processes of the machine, and so block.
    fn figures(&self) -> Seen;
    /// Looks at everything that the host is made of.
    async fn doctor(&self) -> Vec<Check>;
}

impl Gateway {
    /// What is measured of plugins; nothing where nobody can tell.
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

/// The host, and who asks.
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

/// How everything stands that the host is made of.
pub(crate) async fn doctor(State(gateway): State<Gateway>, request: Request) -> Answer {
    gateway.require(&request, Middleware::Admin)?;
    let checks = match &gateway.inner.insight {
        Some(insight) => insight.doctor().await,
        None => Vec::new(),
    };
    let healthy = checks.iter().all(|check| check.state != CheckState::Failed);
    Ok(Json(Doctor { healthy, checks }).into_response())
}
