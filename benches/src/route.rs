//! A route of a plugin over HTTP: `gk-host serve` with the Go and the Rust sample, and the Go
//! gateway, in turn.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::measure::print;
use crate::server::Server;
use crate::{load, proc};

const CONNECTIONS: [usize; 3] = [1, 16, 64];

/// Time after the last request until a host counts as idle; ours looks every 5 s.
const IDLE: Duration = Duration::from_secs(12);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The Go gateway.
    gateway: PathBuf,
    /// The Go sample's executable.
    hello_go: PathBuf,
    /// A plugins directory with the Go sample.
    go_dir: PathBuf,
    /// A plugins directory with the Rust sample.
    rust_dir: PathBuf,
    /// How often all of it is measured.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// How long each is measured.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

/// Prints a JSON line for each round, system, and number of connections, and one for each system
/// once it is idle.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    crate::server::end_with_parent(None)?;
    let route = |plugin: &str| format!("/api/plugins/{plugin}/status");
    let (go, rust) = (route("hello-go"), route("hello-rust"));
    for round in 1..=arguments.rounds {
        // New processes in each round, so that a lucky or unlucky start does not count for all.
        let servers = [
            (
                "go",
                &go,
                Server::go(&arguments.gateway, &arguments.hello_go, &go)?,
            ),
            ("gk-go", &go, Server::gk_host(&arguments.go_dir)?),
            ("gk-rust", &rust, Server::gk_host(&arguments.rust_dir)?),
        ];
        let mut expected = None;
        for (name, path, server) in &servers {
            if *name != "go" {
                server.wait_running(1)?;
            }
            let body = load::body(server.address(), path, server.token())
                .with_context(|| format!("asking {name}"))?;
            let expected = expected.get_or_insert_with(|| body.clone());
            ensure!(
                body == *expected,
                "{name} answers {:?}, another {:?}",
                String::from_utf8_lossy(&body),
                String::from_utf8_lossy(expected)
            );
        }
        for connections in CONNECTIONS {
            for (name, path, server) in &servers {
                let measured = load::measure(
                    server.address(),
                    path,
                    server.token(),
                    connections,
                    Duration::from_secs_f64(arguments.seconds),
                    Some(server.pid()),
                )
                .with_context(|| format!("measuring {name}"))?;
                print(&json!({
                    "round": round,
                    "system": name,
                    "connections": connections,
                    "requests": measured.requests,
                    "requests_per_s": measured.per_s,
                    "p50_us": measured.p50_us,
                    "p99_us": measured.p99_us,
                    "host_cpu_us": measured.cpu_us,
                    "host_rss_kb": proc::rss_kb(server.pid())?,
                }))?;
            }
        }
        if round == arguments.rounds {
            std::thread::sleep(IDLE);
            for (name, _, server) in &servers {
                let kb = proc::rss_kb(server.pid())?;
                print(&json!({ "system": name, "idle_rss_kb": kb }))?;
            }
        }
        for (_, _, server) in servers {
            server.stop()?;
        }
    }
    Ok(())
}
