//! State behind the router.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, StatusCode};
use bytes::Bytes;
use gk_cluster::Member;
use gk_hostapi::Host;
use gk_jobs::Jobs;
use gk_manifest::PluginName;
use gk_runtime::{CallContext, CallError, CallTarget, MemoryBudget, Runtime};
use gk_services::Services;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::audit::Audit;
use crate::auth::{self, Middleware, Refusals};
use crate::bodies::{Bodies, HeldBody};
use crate::cors::Cors;
use crate::envelope;
use crate::forwarded::{self, TrustedProxies};
use crate::heavy::Heavy;
use crate::insight::Insight;
use crate::problem::Problem;
use crate::routes::RouteTable;
use crate::server::Peer;
use crate::streams::Streams;
use crate::tickets::Tickets;
use crate::tokens::{Identity, Tokens};

/// Renders the metrics in Prometheus' text format.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Parts of a gateway.
#[non_exhaustive]
pub struct GatewayConfig {
    /// Runtime of the plugins.
    pub runtime: Runtime,
    /// Tokens of the callers.
    pub tokens: Arc<Tokens>,
    /// Version of the host, for `/openapi.json`.
    pub version: String,
    /// Renderer of the answer to `/metrics`.
    pub metrics: RenderMetrics,
    /// Host API of the plugins, for policies; without it there are none.
    pub host_api: Option<Arc<Host>>,
    /// Services behind the host API, for events and for the data of plugins that are uninstalled.
    pub services: Option<Arc<Services>>,
    /// Jobs of the plugins; without it they have none.
    pub jobs: Option<Jobs>,
    /// This host among those that share their state; `None` for one that shares it with none.
    pub member: Option<Arc<Member>>,
    /// Log of changes; without it changes are not logged.
    pub audit: Option<Audit>,
    /// Information from the program around the gateway; without it the endpoints leave that out.
    pub insight: Option<Arc<dyn Insight>>,
    /// Budget for requests, arguments and answers.
    pub memory: MemoryBudget,
    /// Proxies that are trusted to name the client of a request.
    pub proxies: TrustedProxies,
    /// Origins whose pages may call.
    pub cors: Cors,
}

/// Interval at which the last use of tokens is stored.
const STORE_USES_INTERVAL: Duration = Duration::from_secs(60);

/// Time without the shared state after which a host is not ready: it does not know what other hosts
/// have blocked since.
const OUT_OF_TOUCH: Duration = Duration::from_secs(60);

/// Default of [`GatewayConfig::memory`], in bytes.
pub const MEMORY_BYTES_DEFAULT: usize = 512 << 20;

impl std::fmt::Debug for GatewayConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayConfig")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl GatewayConfig {
    /// Creates the configuration of a gateway to these plugins for these callers.
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
            services: None,
            jobs: None,
            member: None,
            audit: None,
            insight: None,
            memory: MemoryBudget::new(MEMORY_BYTES_DEFAULT),
            proxies: TrustedProxies::default(),
            cors: Cors::default(),
        }
    }

    /// Sets the plugins' host API, and the services behind it.
    #[must_use]
    pub fn with_host_api(mut self, host_api: Arc<Host>, services: Arc<Services>) -> Self {
        self.host_api = Some(host_api);
        self.services = Some(services);
        self
    }
}

/// HTTP side of one host. A cheap clone.
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
    /// Held while the table is replaced, so that an older one never replaces a newer one.
    rebuilding: Mutex<()>,
    pub(crate) bodies: Bodies,
    pub(crate) heavy: Heavy,
    pub(crate) memory: MemoryBudget,
    pub(crate) host_api: Option<Arc<Host>>,
    pub(crate) services: Option<Arc<Services>>,
    pub(crate) jobs: Option<Jobs>,
    pub(crate) member: Option<Arc<Member>>,
    pub(crate) audit: Option<Audit>,
    pub(crate) insight: Option<Arc<dyn Insight>>,
    pub(crate) streams: Streams,
    pub(crate) tickets: Tickets,
    pub(crate) refusals: Refusals,
    pub(crate) proxies: TrustedProxies,
    pub(crate) cors: Cors,
    pub(crate) counts: Counts,
    ready: AtomicBool,
    /// Number of requests that are not answered yet, except those about health.
    pub(crate) running: watch::Sender<usize>,
    pub(crate) stopping: CancellationToken,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// Creates a gateway that serves the routes of the runtime's plugins at this moment.
    /// [`follow`](Self::follow) keeps them up to date.
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
            rebuilding: Mutex::new(()),
            bodies: Bodies::new(config.memory.clone()),
            heavy: Heavy::default(),
            memory: config.memory,
            host_api: config.host_api,
            services: config.services,
            jobs: config.jobs,
            member: config.member,
            audit: config.audit,
            insight: config.insight,
            streams: Streams::default(),
            tickets: Tickets::default(),
            refusals: Refusals::default(),
            proxies: config.proxies,
            cors: config.cors,
            counts: Counts::new(),
            running: watch::Sender::new(0),
            ready: AtomicBool::new(false),
            stopping: CancellationToken::new(),
        };
        Gateway {
            inner: Arc::new(inner),
        }
    }

    /// Rebuilds the routes whenever a plugin comes or goes, and stores the last use of tokens at
    /// intervals. Returns when the runtime is gone.
    pub async fn follow(&self) {
        let mut changed = self.inner.runtime.changed();
        let mut uses = tokio::time::interval(STORE_USES_INTERVAL);
        uses.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.rebuild();
        loop {
            tokio::select! {
                known = changed.changed() => match known {
                    Ok(()) => self.rebuild(),
                    Err(_) => return,
                },
                _ = uses.tick() => self.store_token_uses().await,
            }
        }
    }

    /// Stores the last use of tokens.
    pub async fn store_token_uses(&self) {
        if let Err(error) = self.inner.tokens.store_uses().await {
            tracing::warn!(%error, "when tokens were used last is not written; it is tried again");
        }
    }

    /// Puts in force what follows from changed policies: a blocked plugin ends, its events, too, and
    /// the routes are those that the policies let plugins serve.
    pub fn policies_changed<'a>(&self, plugins: impl IntoIterator<Item = &'a PluginName>) {
        for plugin in plugins {
            if let (true, Some(services)) = (self.is_blocked(plugin), &self.inner.services) {
                services.events.close(plugin);
            }
            self.inner.runtime.policy_changed(plugin);
        }
        self.rebuild();
    }

    /// Rebuilds the routes from the present snapshot.
    pub fn rebuild(&self) {
        let _rebuilding = self.inner.rebuilding.lock();
        self.replace_table();
    }

    /// Rebuilds the routes from the present snapshot, unless they are up to date.
    pub(crate) fn refresh(&self) {
        let _rebuilding = self.inner.rebuilding.lock();
        if self.inner.table.load().version() < self.inner.runtime.snapshot().version {
            self.replace_table();
        }
    }

    fn replace_table(&self) {
        let before = self.inner.table.load_full();
        let table = before.next(&self.inner.runtime.snapshot(), |plugin| {
            granted(self.inner.host_api.as_deref(), plugin)
        });
        let table = Arc::new(table);
        self.inner.table.store(Arc::clone(&table));
        for (plugin, refused) in table.newly_refused(&before) {
            tracing::warn!(%plugin, method = refused.method, path = refused.path, reason = refused.reason, "a route is not served");
        }
    }

    /// Sets the answer of `/readyz`: 200 only after the plugins have come up, and until the host
    /// stops.
    pub fn set_ready(&self, ready: bool) {
        self.inner.ready.store(ready, Ordering::Release);
    }

    /// Begins to drain: `/readyz` answers 503, event streams end, and answers announce that their
    /// connection closes. Requests are still served.
    pub fn stop(&self) {
        self.set_ready(false);
        self.inner.stopping.cancel();
    }

    /// Waits until no request is under way; those about health do not count.
    pub async fn idle(&self) {
        let mut running = self.inner.running.subscribe();
        // The sender is `self`'s.
        let _ = running.wait_for(|running| *running == 0).await;
    }

    /// Cancelled when the host stops.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.inner.stopping
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.inner.ready.load(Ordering::Acquire) && !self.is_out_of_touch()
    }

    /// Returns true if the shared state could not be followed for [`OUT_OF_TOUCH`].
    pub(crate) fn is_out_of_touch(&self) -> bool {
        let member = self.inner.member.as_ref();
        member.is_some_and(|member| member.age() > OUT_OF_TOUCH)
    }

    /// Returns a builder for the arguments of calls.
    pub(crate) fn arguments(&self) -> envelope::Builder<'_> {
        envelope::Builder {
            memory: &self.inner.memory,
            heavy: &self.inner.heavy,
        }
    }

    /// Calls a function in the generation `target`, which offers it, even if a newer one came up
    /// since. Without a target, the runtime waits for the plugin to come up, and calls it or fails.
    pub(crate) async fn call(
        &self,
        target: Option<&CallTarget>,
        plugin: &PluginName,
        function: &str,
        args: Bytes,
        context: CallContext,
    ) -> Result<Bytes, CallError> {
        let runtime = &self.inner.runtime;
        match target {
            Some(target) => runtime.call_on(target, function, args, context).await,
            None => runtime.call(plugin.as_str(), function, args, context).await,
        }
    }

    /// Returns true if the operator has blocked a plugin.
    pub(crate) fn is_blocked(&self, plugin: &PluginName) -> bool {
        let host = self.inner.host_api.as_ref();
        host.is_some_and(|host| host.policies().is_blocked(plugin))
    }

    /// Reads a request with its whole body, within the default limit.
    pub(crate) async fn read(&self, request: Request) -> Result<(Parts, HeldBody), Problem> {
        let (parts, body) = request.into_parts();
        let inner = &self.inner;
        let body = inner
            .bodies
            .read(&parts.headers, body, &inner.heavy)
            .await?;
        Ok((parts, body))
    }

    /// Returns the caller of a request, who must pass this middleware.
    pub(crate) fn require(
        &self,
        request: &Request,
        middleware: Middleware,
    ) -> Result<Option<Identity>, Problem> {
        let caller = self.caller(request)?;
        auth::require(caller.as_ref(), &[middleware])?;
        Ok(caller)
    }

    /// Returns the caller of a request.
    pub(crate) fn caller(&self, request: &Request) -> Result<Option<Identity>, Problem> {
        self.identify(request.headers(), request.extensions())
    }

    /// Returns the caller of a request whose body was taken.
    pub(crate) fn caller_of(&self, parts: &Parts) -> Result<Option<Identity>, Problem> {
        self.identify(&parts.headers, &parts.extensions)
    }

    /// Returns the identity of the token; without one, the user of this machine who came by the
    /// local socket.
    fn identify(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Option<Identity>, Problem> {
        let identity = auth::identify(headers, &self.inner.tokens)
            .inspect_err(|_| self.inner.refusals.count(forwarded::client(extensions)))?;
        let local = || {
            let peer = extensions.get::<Peer>()?;
            peer.local.map(Identity::local)
        };
        Ok(identity.or_else(local))
    }
}

/// Returns the paths outside a plugin's own that the operator lets it serve.
fn granted(host: Option<&Host>, plugin: &PluginName) -> Vec<String> {
    host.map(|host| host.policies().http(plugin).routes)
        .unwrap_or_default()
}

/// Metrics of requests.
pub(crate) struct Counts {
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

    pub(crate) fn count(&self, status: StatusCode, took: Duration) {
        let [other, ..] = &self.classes;
        let class = self.classes.get(usize::from(status.as_u16() / 100));
        class.unwrap_or(other).increment(1);
        self.seconds.record(took.as_secs_f64());
    }
}
