//! HAProxy with the project's configuration in front of two hosts: who is asked, what the hosts hear
//! of the client, and that no request fails while a host stops.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::Programs;
use super::local::{DEADLINE, Process, ask, connects, free, status};
use crate::command::{command, output, root};

const FILE: &str = "deploy/haproxy.cfg";

/// Addresses of the hosts, and of the client: the proxy comes from 127.0.0.1.
const HOSTS: [&str; 2] = ["127.0.0.2", "127.0.0.3"];
const CLIENT: &str = "127.0.0.9";

/// Requests before one host is told to stop, and in all.
const REQUESTS_BEFORE: usize = 50;
const REQUESTS: usize = 400;

/// Credentials of the hosts that are started here; they end with this check.
const TOKEN: &str = "only-for-the-hosts-of-this-check";

/// The ports that are used, free a moment ago.
struct Ports {
    front: u16,
    public: u16,
    health: u16,
}

/// Starts all, and asks.
pub(super) fn check(programs: &Programs) -> Result<()> {
    let ports = Ports {
        front: free(&["127.0.0.1"])?,
        public: free(&HOSTS)?,
        health: free(&HOSTS)?,
    };
    output(haproxy(&ports)?.arg("-c")).with_context(|| format!("HAProxy does not take {FILE}"))?;
    let made = tempfile::tempdir().context("cannot make a temporary directory")?;
    let plugin = made.path().join("plugins/hello-rust");
    fs::create_dir_all(&plugin)?;
    fs::copy(&programs.plugin, plugin.join("hello-rust"))?;
    fs::copy(
        root().join("plugins/hello-rust/plugin.yaml"),
        plugin.join("plugin.yaml"),
    )?;
    fs::write(
        made.path().join("host.toml"),
        "trusted_proxies = [\"127.0.0.1\"]\n",
    )?;
    let start = |address| host(programs, made.path(), address, &ports);
    let (first, second) = (start(HOSTS[0])?, start(HOSTS[1])?);
    let mut balancer = haproxy(&ports)?;
    let _balancer = Process(
        balancer
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start haproxy")?,
    );
    let address = format!("127.0.0.1:{}", ports.front);
    connects(&address)?;
    ensure!(
        status(&ask(&address, "GET", "/metrics", None)?) == 404,
        "{FILE} shows the hosts' metrics to everybody"
    );
    streams(&address)?;
    hears_of_the_client(&address, &made.path().join("log"))?;
    stopping(&address, first)?;
    drop(second);
    Ok(())
}

/// HAProxy with the file, which says nothing where all is well.
fn haproxy(ports: &Ports) -> Result<std::process::Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps it off the path of users.
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut programs = places.map(|place| place.join("haproxy"));
    let program = programs.find(|program| program.is_file());
    let mut haproxy = command(program.context("there is no haproxy; apt-get install haproxy")?);
    haproxy.arg("-f").arg(root().join(FILE));
    haproxy.env("GOATKIT_BIND", format!("127.0.0.1:{}", ports.front));
    haproxy.env("GOATKIT_HEALTH_PORT", ports.health.to_string());
    for (number, host) in (1..).zip(HOSTS) {
        haproxy.env(
            format!("GOATKIT_HOST_{number}"),
            format!("{host}:{}", ports.public),
        );
    }
    Ok(haproxy)
}

/// Starts a host, and waits until its plugin runs. Its log is added to a file.
fn host(programs: &Programs, place: &Path, address: &str, ports: &Ports) -> Result<Process> {
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(place.join("log"))?;
    let mut serve = command(&programs.host);
    serve
        .arg("serve")
        .env_clear()
        .env("GK_CONFIG", place.join("host.toml"));
    serve.env("GK_PLUGINS_DIR", place.join("plugins"));
    serve.env("GK_DATA_DIR", place.join(address));
    serve
        .env("GK_ADMIN_SOCKET", "off")
        .env("GK_ADMIN_TOKEN", TOKEN);
    serve.env("GK_LISTEN", format!("{address}:{}", ports.public));
    serve.env("GK_HEALTH_LISTEN", format!("{address}:{}", ports.health));
    serve.env("GK_LOG", "info,gk_gateway::access=debug");
    let mut host = Process(serve.stdout(Stdio::piped()).stderr(log).spawn()?);
    let stdout = host.0.stdout.take().context("it has no stdout")?;
    let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
    ensure!(
        lines.any(|line| line.starts_with("1 plugins running, 0 failed")),
        "the host on {address} does not come up: {}",
        fs::read_to_string(place.join("log"))?
    );
    Ok(host)
}

/// An event comes at once, while the stream that it is in goes on.
fn streams(address: &str) -> Result<()> {
    let path = "/api/v1/plugins/hello-rust/logs?follow=true";
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    )?;
    let (found, first) = mpsc::channel();
    let reader = stream.try_clone()?;
    let reading = std::thread::spawn(move || {
        let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
        let _ = found.send(lines.any(|line| line.starts_with("data:")));
    });
    let seen = first.recv_timeout(DEADLINE);
    stream.shutdown(std::net::Shutdown::Both)?;
    let _ = reading.join();
    ensure!(
        seen == Ok(true),
        "{FILE}: events do not come through: {seen:?}"
    );
    Ok(())
}

/// What a client claims of its address is not believed, also of one that the hosts trust themselves;
/// where it comes from is.
fn hears_of_the_client(address: &str, log: &Path) -> Result<()> {
    const CLAIMED: &str = "203.0.113.7";
    for (id, from) in [("claims-1", "127.0.0.1"), ("claims-2", CLIENT)] {
        let mut curl = command("curl");
        curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*"]);
        curl.args([
            "--interface",
            from,
            "--header",
            &format!("X-Request-Id: {id}"),
        ]);
        curl.args(["--header", &format!("X-Forwarded-For: {CLAIMED}")]);
        curl.args(["--header", &format!("Forwarded: for={CLAIMED}")]);
        curl.args(["--header", &format!("Authorization: Bearer {TOKEN}")]);
        output(curl.arg(format!("http://{address}/api/v1/host")))?;
        let line = logged(log, id)?;
        ensure!(
            !line.contains(CLAIMED),
            "{FILE}: the hosts believe what a client claims: {line}"
        );
        ensure!(
            line.contains(from),
            "{FILE}: the hosts do not hear of the client {from}: {line}"
        );
    }
    Ok(())
}

/// The line of a request in the hosts' log.
fn logged(log: &Path, id: &str) -> Result<String> {
    let started = Instant::now();
    loop {
        let text = fs::read_to_string(log)?;
        if let Some(line) = text.lines().find(|line| line.contains(id)) {
            return Ok(line.to_owned());
        }
        ensure!(
            started.elapsed() < DEADLINE,
            "no host has heard of the request {id}: {text}"
        );
        std::thread::yield_now();
    }
}

/// While one host stops, each request is answered.
fn stopping(address: &str, mut host: Process) -> Result<()> {
    let mut ended = None;
    for number in 0..REQUESTS {
        if number == REQUESTS_BEFORE {
            kill_process(Pid::from_child(&host.0), Signal::TERM)?;
        }
        let (method, path) = match number % 2 {
            0 => ("GET", "/api/v1/host"),
            _ => ("POST", "/api/v1/plugins/hello-rust/call/echo"),
        };
        let answer = ask(address, method, path, Some(TOKEN))?;
        ensure!(
            status(&answer) == 200,
            "request {number} ({method}) failed while a host stopped: {answer}"
        );
        if ended.is_none() {
            ended = host.0.try_wait()?;
        }
    }
    let status = match ended {
        Some(status) => status,
        None => host.0.wait()?,
    };
    ensure!(
        status.success(),
        "the host that was told to stop ended with {status}"
    );
    Ok(())
}
