//! `gk-host serve`: start in order, serve, stop in order.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use gk_gateway::tokens::{Role, Tokens};
use gk_gateway::{Gateway, GatewayConfig, server};
use gk_runtime::{ProcessLauncher, Runtime, RuntimeConfig};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::config::Config;
use crate::{services, signatures, telemetry};

/// The administrator's token of the first start stands here, in the data directory.
const TOKEN_FILE: &str = "admin.token";

/// The host's database, in the data directory.
const DATABASE_FILE: &str = "host.db";

/// How long requests under way may take when the host stops, before their connections are cut.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the host until it is told to stop.
pub(crate) fn run(config: Config) -> Result<()> {
    let log = telemetry::log(&config)?;
    let metrics = telemetry::metrics()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(worker_threads())
        .thread_name("gk-host")
        .build()
        .context("the asynchronous runtime cannot start")?;
    runtime.block_on(async move {
        tokio::spawn(serve(config, metrics, log))
            .await
            .context("the host panicked")?
    })
}

/// Half of the processors: the plugins need some, too, and a host that spreads its short tasks over all of
/// them spends more on waking threads than on the tasks. `TOKIO_WORKER_THREADS` sets another number.
fn worker_threads() -> usize {
    let set = std::env::var("TOKIO_WORKER_THREADS")
        .ok()
        .and_then(|number| number.parse().ok());
    let half = || std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
    set.filter(|number| *number > 0).unwrap_or_else(half)
}

async fn serve(config: Config, metrics: telemetry::Metrics, log: telemetry::Limit) -> Result<()> {
    let mut stop = StopSignals::new()?;
    crate::data::make(&config.data_dir)?;
    let signatures = signatures::open(&config.signatures)?;
    let tokens = Arc::new(open_tokens(&config.data_dir)?);
    // Listening comes first: a port that is taken should not cost a start of all plugins.
    let listener = TcpListener::bind(config.listen).await;
    let listener =
        listener.with_context(|| format!("cannot listen on {}; is it in use?", config.listen))?;
    let address = listener.local_addr()?;

    let version = env!("CARGO_PKG_VERSION");
    let mut plugins =
        RuntimeConfig::new(&config.plugins_dir, &config.data_dir, version).with_environment();
    plugins.start_timeout = config.start_timeout();
    plugins.sandbox = config.sandbox.to_config(config.sandbox_level)?;
    plugins.signatures = signatures;
    let launcher = ProcessLauncher::new(&plugins)?;
    let host_api = services::open(&config).await?;
    if plugins.sandbox.is_some() {
        crate::data::let_through(&config.data_dir)?;
    }
    let runtime = Runtime::start_with(plugins, Arc::new(launcher), Arc::clone(&host_api) as _)?;
    host_api.connect(Arc::new(runtime.downgrade()));
    let render = {
        let runtime = runtime.clone();
        Arc::new(move || metrics.render(&runtime.snapshot()))
    };
    let gateway = GatewayConfig::new(runtime.clone(), tokens, version, render);
    let gateway = Gateway::new(gateway.with_host_api(host_api));
    let following = tokio::spawn({
        let gateway = gateway.clone();
        async move { gateway.follow().await }
    });
    let (closing, closed) = watch::channel(false);
    let mut server = tokio::spawn(server::serve(listener, gateway.router(), flag(closed)));
    say(&format!("listening on http://{address}"));

    let settled = tokio::select! {
        () = runtime.settled() => true,
        () = stop.next() => false,
    };
    if settled {
        gateway.rebuild();
        gateway.set_ready(true);
        report(&runtime);
        log.started();
        stop.next().await;
    }
    tracing::info!("stopping; a second signal stops at once");
    gateway.stop();
    closing.send_replace(true);
    let orderly = async {
        let drained = tokio::time::timeout(DRAIN_TIMEOUT, &mut server).await;
        if drained.is_err() {
            server.abort();
            tracing::warn!(
                "requests were still under way after {DRAIN_TIMEOUT:?}; their connections are cut"
            );
        }
        runtime.shutdown().await;
    };
    tokio::select! {
        () = orderly => {}
        () = stop.next() => tracing::warn!("stopped at once"),
    }
    following.abort();
    Ok(())
}

async fn flag(mut flag: watch::Receiver<bool>) {
    // The sender outlives the server.
    let _ = flag.wait_for(|set| *set).await;
}

/// TERM, INT and HUP.
struct StopSignals(Vec<Signal>);

impl StopSignals {
    fn new() -> Result<Self> {
        let kinds = [
            SignalKind::terminate(),
            SignalKind::interrupt(),
            SignalKind::hangup(),
        ];
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

/// A line for the person, or script, that started the host.
fn say(text: &str) {
    // A closed stdout is no reason to stop.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn report(runtime: &Runtime) {
    let snapshot = runtime.snapshot();
    let running = snapshot
        .plugins
        .iter()
        .filter(|status| status.is_running())
        .count();
    let failed = snapshot.plugins.len() - running + snapshot.problems.len();
    tracing::info!(running, failed, "plugins are up");
    say(&format!("{running} plugins running, {failed} failed"));
}

/// The host's tokens; the first start makes one for the administrator.
fn open_tokens(data_dir: &Path) -> Result<Tokens> {
    let database = data_dir.join(DATABASE_FILE);
    let tokens = Tokens::open(&database)
        .with_context(|| format!("{} cannot be used", database.display()))?;
    if let Some(token) = std::env::var_os("GK_ADMIN_TOKEN") {
        let token = token
            .into_string()
            .ok()
            .context("GK_ADMIN_TOKEN is not text")?;
        tokens
            .accept_admin(&token)
            .context("GK_ADMIN_TOKEN cannot be used")?;
        say("admin token: the one in GK_ADMIN_TOKEN");
        return Ok(tokens);
    }
    let path = data_dir.join(TOKEN_FILE);
    if tokens.has_role(Role::Admin) {
        if path.exists() {
            say(&format!("admin token: in {}", path.display()));
        } else {
            tracing::warn!(
                "{} is gone; whoever lost the token can set GK_ADMIN_TOKEN for one start and make a new one with POST /api/v1/tokens",
                path.display()
            );
        }
        return Ok(tokens);
    }
    let (token, identity) = tokens.create("admin", Role::Admin)?;
    if let Err(error) = write_token(&path, &token) {
        // A token that nobody can read is none: the next start tries again.
        tokens.delete(identity.id)?;
        return Err(error)
            .with_context(|| format!("the admin token cannot be written to {}", path.display()));
    }
    say(&format!("admin token: written to {}", path.display()));
    Ok(tokens)
}

fn write_token(path: &Path, token: &str) -> std::io::Result<()> {
    // Never through a link, and never into a file that others may have open.
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(token.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}
