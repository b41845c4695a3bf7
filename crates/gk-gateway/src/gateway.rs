//! The router, and the state behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use gk_hostapi::Host;
use gk_runtime::{CallContext, Runtime};
use tokio::sync::watch;

use crate::bodies::{BODIES_BYTES_MAX, Bodies};
use crate::envelope::{self, Incoming};
use crate::events::Streams;
use crate::problem::Problem;
use crate::routes::{Found, RouteTable};
use crate::tokens::{Identity, Tokens};
use crate::{answer, api, auth};

/// Renders the metrics in Prometheus' text format.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What a gateway is made of.
#[non_exhaustive]
pub struct GatewayConfig {
    /// Runs the plugins.
    pub runtime: Runtime,
    /// Knows the callers.
    pub tokens: Arc<Tokens>,
    /// The host's version, for `/openapi.json`.
    pub version: String,
    /// What `/metrics` answers.
    pub metrics: RenderMetrics,
    /// The plugins' host API, for policies and events; without it there are none.
    pub host_api: Option<Arc<Host>>,
}

impl std::fmt::Debug for GatewayConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayConfig")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl GatewayConfig {
    /// A gateway to these plugins for these callers.
    pub fn new(
        runtime: Runtime,
        tokens: Arc<Tokens>,
        version: impl Into<String>,
        metrics: RenderMetrics,
    ) -> Self {
        GatewayConfig {
            runtime,
            tokens,
            version: version.into(),
            metrics,
            host_api: None,
        }
    }

    /// With the plugins' host API.
    #[must_use]
    pub fn with_host_api(mut self, host_api: Arc<Host>) -> Self {
        self.host_api = Some(host_api);
        self
    }
}

/// The HTTP side of one host. A cheap clone.
#[derive(Debug, Clone)]
pub struct Gateway {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) runtime: Runtime,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) version: String,
    pub(crate) metrics: RenderMetrics,
    pub(crate) table: ArcSwap<RouteTable>,
    pub(crate) bodies: Bodies,
    pub(crate) host_api: Option<Arc<Host>>,
    pub(crate) streams: Streams,
    ready: AtomicBool,
    stopping: watch::Sender<bool>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway that serves what the runtime's plugins offer at this moment. [`follow`](Self::follow)
    /// keeps it so.
    #[must_use]
    pub fn new(config: GatewayConfig) -> Self {
        let table = RouteTable::build(&config.runtime.snapshot());
        let inner = Inner {
            runtime: config.runtime,
            tokens: config.tokens,
            version: config.version,
            metrics: config.metrics,
            table: ArcSwap::from_pointee(table),
            bodies: Bodies::new(BODIES_BYTES_MAX),
            host_api: config.host_api,
            streams: Streams::default(),
            ready: AtomicBool::new(false),
            stopping: watch::Sender::new(false),
        };
        Gateway {
            inner: Arc::new(inner),
        }
    }

    /// Rebuilds the routes whenever a plugin comes or goes; returns when the runtime is gone.
    pub async fn follow(&self) {
        let mut changed = self.inner.runtime.changed();
        loop {
            changed.mark_unchanged();
            self.rebuild();
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Takes the routes of the present snapshot.
    pub fn rebuild(&self) {
        let table = RouteTable::build(&self.inner.runtime.snapshot());
        let before = self.inner.table.swap(Arc::new(table));
        let now = self.inner.table.load();
        for (plugin, refused) in now
            .all_refused()
            .filter(|(plugin, refused)| !before.refused(plugin.as_str()).contains(refused))
        {
            tracing::warn!(%plugin, method = refused.method, path = refused.path, reason = refused.reason, "a route is not served");
        }
    }

    /// Says whether `/readyz` answers 200: not before the plugins have come up, not while stopping.
    pub fn set_ready(&self, ready: bool) {
        self.inner.ready.store(ready, Ordering::Release);
    }

    /// Ends what would go on by itself: streams of events.
    pub fn stop(&self) {
        self.set_ready(false);
        self.inner.stopping.send_replace(true);
    }

    /// Set when the host stops.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.inner.stopping.subscribe()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.inner.ready.load(Ordering::Acquire)
    }

    /// All of the host's endpoints, and behind them the plugins' routes.
    pub fn router(&self) -> Router {
        api::router()
            .fallback(plugin_route)
            .method_not_allowed_fallback(async || {
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
            })
            .layer(middleware::from_fn(observe))
            .with_state(self.clone())
    }

    /// The caller of a request.
    pub(crate) fn caller(&self, request: &Request) -> Result<Option<Identity>, Problem> {
        auth::identify(request.headers(), &self.inner.tokens)
    }
}

/// Counts and times requests, and keeps browsers from guessing at types.
async fn observe(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let mut response = next.run(request).await;
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    let class =
        ["1xx", "2xx", "3xx", "4xx", "5xx"].get(usize::from(response.status().as_u16() / 100) - 1);
    metrics::counter!("gk_http_requests_total", "status" => *class.unwrap_or(&"other"))
        .increment(1);
    metrics::histogram!("gk_http_request_seconds").record(started.elapsed().as_secs_f64());
    response
}

/// Everything that is not the host's own.
async fn plugin_route(State(gateway): State<Gateway>, request: Request) -> Response {
    serve(&gateway, request)
        .await
        .unwrap_or_else(IntoResponse::into_response)
}

async fn serve(gateway: &Gateway, request: Request) -> Result<Response, Problem> {
    let found = gateway
        .inner
        .table
        .load()
        .find(request.method(), request.uri().path());
    let (route, params) = match found {
        Found::Route { route, params } => (route, params),
        Found::OtherMethods(methods) => {
            let mut response =
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed").into_response();
            if let Ok(allow) = HeaderValue::from_str(&methods.join(", ")) {
                response.headers_mut().insert(header::ALLOW, allow);
            }
            return Ok(response);
        }
        Found::Nothing => return Err(Problem::not_found("there is nothing here")),
    };
    // A token that is sent must be valid, also where none is needed.
    let caller = gateway.caller(&request)?;
    auth::require(caller.as_ref(), &route.middleware)?;
    let (parts, body) = request.into_parts();
    let body = gateway.inner.bodies.read(body).await?;
    let args = envelope::arguments(&Incoming {
        method: &parts.method,
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
        params: &params,
        body: &body,
        caller: caller.as_ref(),
        skip_org: route.skip_org,
    })?;
    let context = call_context(caller.as_ref(), &parts.headers);
    let result = gateway
        .inner
        .runtime
        .call(route.plugin.as_str(), &route.function, args, context)
        .await;
    let result = result.map_err(|error| Problem::from_call(&error, caller.as_ref()))?;
    Ok(answer::answer(&route.plugin, result))
}

/// What the runtime is told about the caller.
pub(crate) fn call_context(
    caller: Option<&Identity>,
    headers: &axum::http::HeaderMap,
) -> CallContext {
    let context = CallContext::new().with_language(envelope::language(headers));
    match caller {
        Some(caller) => context.with_user(caller.user()),
        None => context,
    }
}
