//! Health of the host, for monitoring.

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::gateway::Gateway;
use crate::problem::Problem;

/// Returns 200 if requests are accepted.
pub(crate) async fn ready(State(gateway): State<Gateway>, request: Request) -> Response {
    let is_ready = gateway.is_ready();
    let status = match is_ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let stopping = gateway.stopping().is_cancelled();
    let text = match (is_ready, stopping) {
        (true, _) => "ok",
        (false, true) => "not ready: stopping",
        (false, false) if gateway.is_out_of_touch() => {
            "not ready: the shared database cannot be reached"
        }
        (false, false) => "not ready: starting",
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

/// Returns the metrics in Prometheus' text format.
pub(crate) async fn metrics(State(gateway): State<Gateway>) -> Response {
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
    metrics::gauge!("gk_ready").set(f64::from(u8::from(gateway.is_ready())));
    // The renderer looks at all processes of the machine.
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
