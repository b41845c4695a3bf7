//! `gk-host serve`: start in order, serve, stop in order.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use gk_cluster::Member;
use gk_gateway::audit::Audit;
use gk_gateway::tokens::Tokens;
use gk_gateway::{Gateway, GatewayConfig, server};
use gk_hostapi::Host;
use gk_runtime::{MemoryBudget, PluginState, ProcessLauncher, Runtime, RuntimeConfig, Signatures};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::config::{Config, ServeArgs};
use crate::jobs::RunningJobs;
use crate::lock::DataLock;
use crate::observe::Observation;
use crate::reread::{self, Changing, Hangup, Startup};
use crate::{access, cluster, insight, jobs, service, services, signatures, telemetry};

/// Maximum time for requests under way when the host stops, before their connections are cut.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum time that `/readyz` waits for a plugin that is starting. The others are served by then.
const START_PATIENCE: Duration = Duration::from_secs(3);

/// Maximum time for blocking work that cannot be cancelled after all else has ended. A scan of a
/// directory whose file system does not answer any more would keep the host forever.
const LEFTOVERS_TIMEOUT: Duration = Duration::from_secs(2);

/// The host's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs the host until a signal stops it.
pub(crate) fn run(args: ServeArgs, config: Config) -> Result<()> {
    // Removes variables from the environment, which is safe only while there is one thread.
    let inherited = listenfd::ListenFd::from_env();
    let (observation, filter) = Observation::set_up(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(worker_threads())
        .thread_name("gk-host")
        .build()
        .context("the asynchronous runtime cannot start")?;
    to_the_end(runtime, async move {
        tokio::spawn(serve(
            Startup {
                args,
                config,
                filter,
            },
            inherited,
            observation,
        ))
        .await
        .context("the host panicked")?
    })
}

/// Runs a future to its end. Blocking work that may never end is then waited for only for
/// [`LEFTOVERS_TIMEOUT`].
fn to_the_end<T>(runtime: tokio::runtime::Runtime, future: impl Future<Output = T>) -> T {
    let result = runtime.block_on(future);
    runtime.shutdown_timeout(LEFTOVERS_TIMEOUT);
    result
}

/// Returns the number of worker threads: half of the processors, as the plugins need some, too, and
/// a host that spreads its short tasks over all of them spends more on waking threads than on the
/// tasks. `TOKIO_WORKER_THREADS` sets another number.
fn worker_threads() -> usize {
    let set = std::env::var("TOKIO_WORKER_THREADS")
        .ok()
        .and_then(|number| number.parse().ok());
    let half = || std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
    set.filter(|number| *number > 0).unwrap_or_else(half)
}

async fn serve(
    startup: Startup,
    inherited: listenfd::ListenFd,
    mut observation: Observation,
) -> Result<()> {
    let mut stop = StopSignals::new()?;
    let hangups = reread::hangups()?;
    let config = startup.config.clone();
    check_plugins_dir(&config)?;
    crate::data::make(&config.data_dir)?;
    // Held until the host has ended.
    let _lock = DataLock::take(&config.data_dir)?;
    config.warn_of_unknown_variables(std::env::vars_os());
    let signatures = signatures::open(&config.signatures)?;
    let cluster = cluster::join(&config.cluster, VERSION).await?;
    let member = cluster.as_ref().map(|cluster| &cluster.member);
    let (tokens, audit) = access::open(&config.data_dir, member).await?;
    // Listening comes first: a port that is taken should not cost a start of all plugins.
    let front = config.front();
    let memory = MemoryBudget::new(front.counted_bytes());
    let (limits, limits_now) = watch::channel(front.server_limits());
    let tls = front.tls()?;
    let listeners = Listeners::bind(&config, inherited).await?;

    let plugins = runtime_config(&config, signatures, memory.clone(), cluster.as_ref())?;
    let launcher = ProcessLauncher::new(&plugins)?;
    let (host_api, services, store) = services::open(&config, cluster.as_ref()).await?;
    if plugins.sandbox.is_some() {
        crate::data::let_through(&config.data_dir)?;
    }
    let runtime = Runtime::start_with(plugins, Arc::new(launcher), Arc::clone(&host_api) as _)?;
    let export = observation.export(&runtime)?;
    host_api.connect(Arc::new(runtime.downgrade()));
    let mut jobs = jobs::start(&config, store, member, &runtime).await?;
    let shown = (observation.metrics, cluster.as_ref());
    let own = insight::Own::new(&config, &runtime, &services, shown);
    let parts = (Arc::clone(&host_api), Arc::clone(&tokens), audit.clone());
    let mut gateway = gateway_config(own, parts, memory.clone(), member)?;
    gateway.jobs = Some(jobs.jobs.clone());
    let gateway = Gateway::new(gateway);
    let following = tokio::spawn(follow(gateway.clone()));
    let shared = cluster.map(|cluster| cluster.follow((host_api, tokens), &runtime, &gateway));
    let changing = Changing {
        runtime: runtime.clone(),
        memory: memory.clone(),
        limits,
        audit,
    };
    let rereading = tokio::spawn(startup.follow(changing, hangups));
    let closing = CancellationToken::new();
    let mut server = tokio::spawn(server::serve(
        listeners.served,
        gateway.front(),
        front.server(memory, limits_now, tls.clone())?,
        closing.clone().cancelled_owned(),
    ));
    // The health server answers while requests drain; `closing` ends both servers.
    let health = tokio::spawn(server::serve(
        listeners.health,
        gateway.health_front(),
        front.health_server(),
        closing.clone().cancelled_owned(),
    ));
    let certificates = tls.map(|tls| tokio::spawn(async move { tls.follow().await }));
    listeners.lines.iter().for_each(|line| print_line(line));

    let alive = tokio::spawn(service::sign_of_life());
    let readying = tokio::spawn(become_ready(
        gateway.clone(),
        runtime.clone(),
        observation.log,
    ));
    until_stopped(&runtime, &mut stop).await;
    tracing::info!("stopping; a second signal stops at once");
    readying.abort();
    service::stopping();
    jobs.jobs.stop();
    gateway.stop();
    let draining = async {
        // Balancers learn meanwhile that this host is not ready.
        tokio::time::sleep(config.drain_delay()).await;
        drain(&gateway, &runtime, &closing, &mut server, &mut jobs).await;
    };
    tokio::select! {
        () = draining => {}
        () = stop.next() => tracing::warn!("stopped at once"),
    }
    jobs.end();
    gateway.store_token_uses().await;
    if let Some(shared) = shared {
        shared.leave().await;
    }
    let tasks = [following, rereading, health, alive];
    for task in tasks.into_iter().chain(certificates) {
        task.abort();
    }
    export.end().await;
    crate::data::give_back(&config.data_dir);
    Ok(())
}

/// Keeps the table of routes up to date.
async fn follow(gateway: Gateway) {
    gateway.follow().await;
}

/// Binds the local socket; `None` if it is off, or if its default path cannot be used.
fn local_socket(config: &Config) -> Result<Option<server::BoundListener>> {
    let Some(path) = config.admin_socket() else {
        return Ok(None);
    };
    crate::data::remove_left_socket(&config.data_dir, &path)?;
    match server::bind_local(&path) {
        Ok(local) => Ok(Some(local)),
        // The default path is longer than the system's 107 bytes, which is no error of the
        // operator.
        Err(error)
            if error.kind() == io::ErrorKind::InvalidInput && config.admin_socket.is_none() =>
        {
            tracing::warn!(
                path = %path.display(),
                %error,
                "there is no local socket; set admin_socket to a shorter path"
            );
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on the local socket {}; admin_socket in the configuration sets another path, or \"off\"", path.display())),
    }
}

/// Returns the configuration of the plugins' supervisor.
fn runtime_config(
    config: &Config,
    signatures: Signatures,
    memory: MemoryBudget,
    cluster: Option<&Cluster>,
) -> Result<RuntimeConfig> {
    let (dir, data) = (&config.plugins_dir, &config.data_dir);
    let mut plugins = RuntimeConfig::new(dir, data, VERSION).with_environment();
    plugins.start_timeout = config.start_timeout();
    plugins.hot_reload = config.hot_reload();
    plugins.rescan_interval = config.rescan_interval();
    plugins.sandbox = config.sandbox.to_config(config.sandbox_level)?;
    plugins.signatures = signatures;
    plugins.health = config.health.to_config();
    plugins.settings = config.plugin_config.clone();
    plugins.memory = Some(memory);
    if let Some(cluster) = cluster {
        plugins.enabled = Arc::clone(&cluster.enabled);
    }
    plugins.hints.grant = |name| {
        format!(
            "grant it with gk policy approve {name}, or PUT /api/v1/plugins/{name}/policy (gk policy diff {name} shows what it asks for; what it does not ask for, its author adds to resources.permissions in plugin.yaml)"
        )
    };
    plugins.hints.logs =
        |name| format!("GET /api/v1/plugins/{name}/logs shows all that it printed");
    plugins.hints.enable = |name| format!("POST /api/v1/plugins/{name}/enable");
    plugins.hints.sandbox = "gk-host doctor tells how to get the rest";
    Ok(plugins)
}

/// Returns the configuration of the gateway.
fn gateway_config(
    own: insight::Own,
    (host_api, tokens, audit): (Arc<Host>, Arc<Tokens>, Audit),
    memory: MemoryBudget,
    member: Option<&Arc<Member>>,
) -> Result<GatewayConfig> {
    let front = own.config.front();
    let render = {
        let (runtime, metrics) = (own.runtime.clone(), own.metrics.clone());
        Arc::new(move || metrics.render(&runtime.snapshot()))
    };
    let mut gateway = GatewayConfig::new(own.runtime.clone(), tokens, VERSION, render);
    gateway.memory = memory;
    gateway.proxies = front.proxies()?;
    gateway.cors = front.cors()?;
    gateway.audit = Some(audit);
    gateway.member = member.cloned();
    let services = Arc::clone(&own.services);
    gateway.insight = Some(Arc::new(own));
    Ok(gateway.with_host_api(host_api, services))
}

fn check_plugins_dir(config: &Config) -> Result<()> {
    if config.plugins_dir_is_given && !config.plugins_dir.is_dir() {
        anyhow::bail!(
            "the plugins directory {} does not exist or is no directory; create it, or correct plugins_dir",
            config.plugins_dir.display()
        );
    }
    Ok(())
}

/// Where the host listens.
struct Listeners {
    /// The public addresses, and the local socket if there is one.
    served: Vec<server::BoundListener>,
    /// The addresses that only report the host's health.
    health: Vec<server::BoundListener>,
    /// Lines about them for the person at the terminal.
    lines: Vec<String>,
}

impl Listeners {
    async fn bind(config: &Config, inherited: listenfd::ListenFd) -> Result<Self> {
        let front = config.front();
        let scheme = match front.tls()?.is_some() {
            true => "https",
            false => "http",
        };
        let mut served = front.bind(inherited).await?;
        let health = front.bind_health().await?;
        let public = served.iter().map(|public| public.shown(scheme));
        let mut lines: Vec<_> = public
            .map(|address| format!("listening on {address}"))
            .collect();
        let local = local_socket(config)?;
        if let (true, Some(path)) = (local.is_some(), config.admin_socket()) {
            let path = std::path::absolute(&path).unwrap_or(path);
            lines.push(format!("local socket: unix:{}", path.display()));
        }
        served.extend(local);
        let told = health.iter().map(|health| health.shown("http"));
        lines.extend(told.map(|address| format!("telling how the host is on {address}")));
        Ok(Self {
            served,
            health,
            lines,
        })
    }
}

/// Marks the host as ready once the plugins serve.
async fn become_ready(gateway: Gateway, runtime: Runtime, log: telemetry::Limit) {
    serving(&runtime).await;
    gateway.rebuild();
    gateway.set_ready(true);
    log.started();
    service::ready();
}

/// Waits for the signal that ends the host. Releases memory meanwhile, whenever the host is idle.
async fn until_stopped(runtime: &Runtime, stop: &mut StopSignals) {
    tokio::select! {
        () = runtime.settled() => {}
        () = stop.next() => return,
    }
    crate::idle::release();
    report(runtime);
    tokio::select! {
        () = stop.next() => {}
        never = crate::idle::follow() => match never {},
    }
}

/// Lets requests and jobs finish, closes the listeners, and stops the plugins.
async fn drain(
    gateway: &Gateway,
    runtime: &Runtime,
    closing: &CancellationToken,
    server: &mut JoinHandle<()>,
    jobs: &mut RunningJobs,
) {
    let requests = tokio::time::timeout(DRAIN_TIMEOUT, async {
        gateway.idle().await;
        closing.cancel();
        let _ = (&mut *server).await;
    });
    let (requests, ()) = tokio::join!(requests, jobs.drain(DRAIN_TIMEOUT));
    if requests.is_err() {
        server.abort();
        tracing::warn!(
            "requests were still under way after {DRAIN_TIMEOUT:?}; their connections are cut"
        );
    }
    runtime.shutdown().await;
    jobs.last_ends().await;
}

/// Waits until every plugin has come up or failed, or has been starting for [`START_PATIENCE`], so
/// that a plugin that hangs does not keep the others from being reached.
async fn serving(runtime: &Runtime) {
    let mut changed = runtime.changed();
    loop {
        let snapshot = runtime.snapshot();
        let starting = snapshot
            .plugins
            .iter()
            .filter(|status| status.state == PluginState::Starting && status.crashes == 0);
        // Remaining time of each starting plugin; one without a process has all of it.
        let left = starting.map(|status| match status.started_at {
            Some(started) => START_PATIENCE.saturating_sub(started.elapsed().unwrap_or_default()),
            None => START_PATIENCE,
        });
        let Some(longest) = left.max().filter(|left| !left.is_zero()) else {
            return;
        };
        tokio::select! {
            // The sender lives as long as the runtime.
            _ = changed.changed() => {}
            () = tokio::time::sleep(longest) => {}
        }
    }
}

/// Signals that stop the host: TERM, INT, and HUP if it means that the terminal is gone.
struct StopSignals(Vec<Signal>);

impl StopSignals {
    fn new() -> Result<Self> {
        let mut kinds = vec![SignalKind::terminate(), SignalKind::interrupt()];
        if reread::hangup() == Hangup::Stop {
            kinds.push(SignalKind::hangup());
        }
        let signals = kinds.into_iter().map(signal).collect::<Result<_, _>>();
        Ok(StopSignals(signals.context("signals cannot be received")?))
    }

    async fn next(&mut self) {
        std::future::poll_fn(|cx| {
            match self
                .0
                .iter_mut()
                .any(|signal| signal.poll_recv(cx).is_ready())
            {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
        .await;
    }
}

/// Prints a line for the person, or script, that started the host.
pub(crate) fn print_line(text: &str) {
    // A closed stdout is no reason to stop.
    let _ = writeln!(io::stdout(), "{text}");
}

fn report(runtime: &Runtime) {
    let snapshot = runtime.snapshot();
    let of = |wanted: fn(&PluginState) -> bool| {
        let states = snapshot.plugins.iter().map(|status| &status.state);
        states.filter(|state| wanted(state)).count()
    };
    let running = of(|state| *state == PluginState::Running);
    let blocked = of(|state| *state == PluginState::Blocked);
    let disabled = of(|state| *state == PluginState::Disabled);
    let waiting = of(|state| matches!(state, PluginState::Waiting { .. }));
    let well = running + blocked + disabled + waiting;
    let failed = snapshot.plugins.len() - well + snapshot.problems.len();
    tracing::info!(
        running,
        failed,
        blocked,
        disabled,
        waiting,
        "plugins are up"
    );
    let mut text = format!("{running} plugins running, {failed} failed");
    for (number, what) in [
        (blocked, "blocked"),
        (disabled, "disabled"),
        (waiting, "waiting"),
    ] {
        if number > 0 {
            text.push_str(&format!(", {number} {what}"));
        }
    }
    service::status(&text);
    print_line(&text);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Blocking work stands for a scan of a plugins directory on a file system that hangs.
    #[test]
    fn what_blocks_for_ever_does_not_hold_up_the_end() {
        let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        let (release, held) = mpsc::channel::<()>();
        let (ended, ends) = mpsc::channel();
        std::thread::spawn(move || {
            let result = to_the_end(runtime, async move {
                let (begun, begins) = tokio::sync::oneshot::channel();
                tokio::task::spawn_blocking(move || {
                    let _ = begun.send(());
                    let _ = held.recv();
                });
                begins.await
            });
            let _ = ended.send(result);
        });
        let result = ends.recv_timeout(Duration::from_secs(60));
        result.expect("it waits for what blocks").unwrap();
        drop(release);
    }
}
