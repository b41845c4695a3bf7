//! The router, and the state behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use gk_hostapi::{Host, User};
use gk_manifest::PluginName;
use gk_runtime::{CallContext, CallError, MemoryBudget, Runtime};
use tokio::sync::watch;

use crate::auth::Refusals;
use crate::bodies::{BODY_BYTES_MAX, Bodies, HeldBody};
use crate::cors::{self, Cors};
use crate::envelope::{self, Incoming};
use crate::events::Streams;
use crate::forwarded::{self, ClientIp, TrustedProxies};
use crate::heavy::Heavy;
use crate::problem::Problem;
use crate::routes::{Found, RouteTable};
use crate::server::Peer;
use crate::tickets::Tickets;
use crate::tokens::{Identity, Tokens};
use crate::{answer, api, auth};

/// The target of the line about each request, at level debug.
const ACCESS: &str = "gk_gateway::access";

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
    /// What requests, arguments and answers count in.
    pub memory: MemoryBudget,
    /// Who may say for whom a request is.
    pub proxies: TrustedProxies,
    /// Which pages of other origins may call.
    pub cors: Cors,
}

/// What a gateway's requests and answers may take unless [`GatewayConfig::memory`] says otherwise, in
/// bytes.
pub const MEMORY_BYTES_DEFAULT: usize = 512 << 20;

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
            memory: MemoryBudget::new(MEMORY_BYTES_DEFAULT),
            proxies: TrustedProxies::default(),
            cors: Cors::default(),
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
    pub(crate) heavy: Heavy,
    pub(crate) memory: MemoryBudget,
    pub(crate) host_api: Option<Arc<Host>>,
    pub(crate) streams: Streams,
    pub(crate) tickets: Tickets,
    pub(crate) refusals: Refusals,
    proxies: TrustedProxies,
    cors: Cors,
    counts: Counts,
    ready: AtomicBool,
    /// Requests that are not answered yet, those about health left out.
    running: watch::Sender<usize>,
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
        let host_api = config.host_api.clone();
        let table = RouteTable::build(&config.runtime.snapshot(), |plugin| {
            granted(host_api.as_deref(), plugin)
        });
        let inner = Inner {
            runtime: config.runtime,
            tokens: config.tokens,
            version: config.version,
            metrics: config.metrics,
            table: ArcSwap::from_pointee(table),
            bodies: Bodies::new(config.memory.clone()),
            heavy: Heavy::default(),
            memory: config.memory,
            host_api: config.host_api,
            streams: Streams::default(),
            tickets: Tickets::default(),
            refusals: Refusals::default(),
            proxies: config.proxies,
            cors: config.cors,
            counts: Counts::new(),
            running: watch::Sender::new(0),
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
        let table = RouteTable::build(&self.inner.runtime.snapshot(), |plugin| {
            granted(self.inner.host_api.as_deref(), plugin)
        });
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

    /// Begins to drain: `/readyz` answers 503, streams of events end, and answers say that their
    /// connection closes. Requests are served on.
    pub fn stop(&self) {
        self.set_ready(false);
        self.inner.stopping.send_replace(true);
    }

    /// Waits until no request is under way; those about health do not count.
    pub async fn idle(&self) {
        let mut running = self.inner.running.subscribe();
        // The sender is `self`'s.
        let _ = running.wait_for(|running| *running == 0).await;
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
        self.complete(api::router().fallback(plugin_route))
    }

    /// Only what tells how the host is: for an address that clients cannot reach, or use up.
    pub fn health_router(&self) -> Router {
        self.complete(
            api::health_router().fallback(async || Problem::not_found("there is nothing here")),
        )
    }

    fn complete(&self, router: Router<Gateway>) -> Router {
        // A router says which methods it has only at its outside, where this looks for it.
        Router::new()
            .fallback_service(router.with_state(self.clone()))
            .layer(middleware::from_fn_with_state(self.clone(), front))
    }

    /// Builds the arguments of calls.
    pub(crate) fn arguments(&self) -> envelope::Builder<'_> {
        envelope::Builder {
            memory: &self.inner.memory,
            heavy: &self.inner.heavy,
        }
    }

    /// Whether the operator has blocked a plugin.
    fn is_blocked(&self, plugin: &PluginName) -> bool {
        let host = self.inner.host_api.as_ref();
        host.is_some_and(|host| host.policies().is_blocked(plugin))
    }

    /// A request with its whole body, within the usual limit.
    pub(crate) async fn read(&self, request: Request) -> Result<(Parts, HeldBody), Problem> {
        let (parts, body) = request.into_parts();
        let inner = &self.inner;
        let body = inner
            .bodies
            .read(&parts.headers, body, &inner.heavy)
            .await?;
        Ok((parts, body))
    }

    /// The caller of a request.
    pub(crate) fn caller(&self, request: &Request) -> Result<Option<Identity>, Problem> {
        auth::identify(request.headers(), &self.inner.tokens).inspect_err(|_| {
            self.inner
                .refusals
                .count(forwarded::client(request.extensions()))
        })
    }
}

/// The paths beside its own that the operator lets a plugin serve.
fn granted(host: Option<&Host>, plugin: &PluginName) -> Vec<String> {
    host.map(|host| host.policies().http(plugin).routes)
        .unwrap_or_default()
}

/// What is counted of requests.
struct Counts {
    classes: [metrics::Counter; 6],
    seconds: metrics::Histogram,
}

impl Counts {
    fn new() -> Self {
        metrics::describe_counter!(
            "gk_http_requests_total",
            "HTTP requests, by class of status."
        );
        let classes = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];
        Counts {
            classes: classes
                .map(|class| metrics::counter!("gk_http_requests_total", "status" => class)),
            seconds: metrics::histogram!("gk_http_request_seconds"),
        }
    }

    fn count(&self, status: StatusCode, took: Duration) {
        let [other, ..] = &self.classes;
        let class = self.classes.get(usize::from(status.as_u16() / 100));
        class.unwrap_or(other).increment(1);
        self.seconds.record(took.as_secs_f64());
    }
}

/// A request that is under way, until it is dropped.
struct Running<'a>(&'a watch::Sender<usize>);

impl<'a> Running<'a> {
    fn begin(running: &'a watch::Sender<usize>) -> Self {
        running.send_modify(|running| *running += 1);
        Running(running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

/// What all requests go through: whose they are, CORS, what is counted, and the end of the host.
async fn front(State(gateway): State<Gateway>, mut request: Request, next: Next) -> Response {
    let inner = &*gateway.inner;
    let started = Instant::now();
    let _running = (!api::is_health(request.uri().path())).then(|| Running::begin(&inner.running));
    let peer = request.extensions().get::<Peer>().copied();
    let client = inner.proxies.client(peer, request.headers());
    if let Some(client) = client {
        request.extensions_mut().insert(ClientIp(client));
    }
    let (method, version) = (request.method().clone(), request.version());
    let origin = match inner.cors.origins.is_empty() {
        true => None,
        false => Some(request.headers().clone()),
    };
    let shown = tracing::enabled!(target: ACCESS, tracing::Level::DEBUG)
        .then(|| request.uri().path().to_owned());
    let mut response = match method == Method::OPTIONS && request.uri().path() == "*" {
        true => StatusCode::NO_CONTENT.into_response(),
        false => next.run(request).await,
    };
    if method == Method::OPTIONS {
        response = cors::options(response);
    } else if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        // The router's own has no text; what it says of the methods stays.
        let allowed = response.headers_mut().remove(header::ALLOW);
        response =
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed").into_response();
        if let Some(allowed) = allowed {
            response.headers_mut().insert(header::ALLOW, allowed);
        }
    }
    if let Some(request) = origin {
        let preflight = Cors::is_preflight(&method, &request);
        inner.cors.apply(&request, preflight, &mut response);
    }
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if *inner.stopping.borrow() && version <= Version::HTTP_11 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let took = started.elapsed();
    inner.counts.count(response.status(), took);
    if let Some(path) = shown {
        tracing::debug!(target: ACCESS, client = client.map(tracing::field::display), %method, path, status = response.status().as_u16(), ?took, "request");
    }
    response
}

/// Everything that is not the host's own.
async fn plugin_route(State(gateway): State<Gateway>, request: Request) -> Response {
    serve(&gateway, request)
        .await
        .unwrap_or_else(IntoResponse::into_response)
}

async fn serve(gateway: &Gateway, request: Request) -> Result<Response, Problem> {
    let inner = &*gateway.inner;
    let table = inner.table.load_full();
    let found = table.find(request.method(), request.uri().path());
    // Blocked means the same whatever is known of the plugin's routes.
    let owner = match &found {
        Found::Route { route, .. } => Some(&route.plugin),
        _ => table.owner(request.uri().path()),
    };
    if let Some(plugin) = owner.filter(|plugin| gateway.is_blocked(plugin)) {
        let refused = CallError::Refused {
            plugin: plugin.clone(),
            reason: "it is blocked by its policy".to_owned(),
        };
        return Err(Problem::from_call(
            &refused,
            gateway
                .caller(&request)?
                .as_ref()
                .map(Identity::user)
                .as_ref(),
        ));
    }
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
        Found::Nothing => {
            return Err(match owner.filter(|plugin| table.is_unknown(plugin)) {
                // What it would serve is not known, so nobody can say that this is not there.
                Some(plugin) => Problem::not_running(plugin.as_str()),
                None => Problem::not_found("there is nothing here"),
            });
        }
    };
    // A token that is sent must be valid, also where none is needed.
    let caller = gateway.caller(&request)?;
    auth::require(caller.as_ref(), &route.middleware)?;
    let (parts, body) = request.into_parts();
    let limit = inner
        .host_api
        .as_ref()
        .filter(|_| !body.is_end_stream())
        .and_then(|host| host.policies().http(&route.plugin).body_bytes)
        .unwrap_or(BODY_BYTES_MAX);
    let body = inner
        .bodies
        .read_up_to(limit, &parts.headers, body, &inner.heavy)
        .await?;
    let incoming = Incoming {
        client: forwarded::client(&parts.extensions),
        parts,
        params,
        body,
        caller: caller.as_ref().map(Identity::user),
        skip_org: route.skip_org,
    };
    let (args, incoming) = gateway.arguments().arguments(incoming).await?;
    let caller = incoming.caller.as_ref();
    let context = call_context(caller, &incoming.parts.headers);
    // What of it the plugin needs is in the arguments.
    drop(incoming.body);
    let result = inner
        .runtime
        .call(route.plugin.as_str(), &route.function, args, context)
        .await;
    let result = result.map_err(|error| Problem::from_call(&error, caller))?;
    Ok(answer::answer(gateway, &route.plugin, result).await)
}

/// What the runtime is told about the caller.
pub(crate) fn call_context(caller: Option<&User>, headers: &axum::http::HeaderMap) -> CallContext {
    let context = CallContext::new().with_language(envelope::language(headers));
    match caller {
        Some(caller) => context.with_user(caller.clone()),
        None => context,
    }
}
