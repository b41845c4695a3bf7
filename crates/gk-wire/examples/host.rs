//! A host for the plugin of HashiCorp's `examples/basic`: starts it, and prints its greeting.
//!
//! ```text
//! cargo run -p gk-wire --example host -- PLUGIN [--automtls]
//! ```
//!
//! Any program that serves `greeter` over net/rpc will do: go-plugin's own example, or `greeter` next to
//! this file.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;

use gk_wire::automtls::Identity;
use gk_wire::host::Client;
use gk_wire::{Handshake, HandshakeConfig, Limits, Network, Protocol, handshake};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::time::timeout;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// No call of the protocol has a timeout of its own.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A plugin's process, which is not left behind whatever happens.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // One that has exited by itself is what we hope for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    #[expect(
        clippy::disallowed_methods,
        reason = "an example of this crate alone, which starts no processes itself"
    )]
    fn start(
        program: &str,
        environment: Vec<(String, String)>,
    ) -> Result<(Self, ChildStdout), Error> {
        let mut command = Command::new(program);
        // A stray PLUGIN_ variable changes what a plugin does, so it gets those of the protocol only.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PLUGIN_")) {
            command.env_remove(name);
        }
        let mut child = command
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {program}: {error}"))?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        Ok((Process(child), stdout))
    }
}

/// Reads the handshake, and drains what is printed behind it for ever: a pipe that is full stalls the plugin.
async fn handshake(stdout: ChildStdout) -> Result<Handshake, Error> {
    let (line, first) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut bytes = Vec::new();
        let most = handshake::MAX_LINE_BYTES as u64 + 1;
        let read = stdout.by_ref().take(most).read_until(b'\n', &mut bytes);
        // Nobody waits any more if this took too long.
        let _ = line.send(read.map(|_| bytes));
        let _ = std::io::copy(&mut stdout, &mut std::io::sink());
    });
    let line = timeout(TIMEOUT, first)
        .await
        .map_err(|_| "the plugin printed no handshake")???;
    Ok(Handshake::parse(&line)?)
}

async fn greet(program: &str, automtls: bool) -> Result<String, Error> {
    let config = HandshakeConfig {
        protocol_version: 1,
        cookie_key: "BASIC_PLUGIN".to_owned(),
        cookie_value: "hello".to_owned(),
    };
    let mut environment = config.environment();
    let identity = automtls.then(Identity::generate).transpose()?;
    if let Some(identity) = &identity {
        let pem = identity.cert_pem().to_owned();
        environment.push((handshake::env::CLIENT_CERT.to_owned(), pem));
    }
    let (_process, stdout) = Process::start(program, environment)?;
    let plugin = handshake(stdout).await?;
    if (plugin.app_version, plugin.network, plugin.protocol) != (1, Network::Unix, Protocol::NetRpc)
    {
        return Err(format!("this host cannot speak with {plugin}").into());
    }
    let socket = timeout(TIMEOUT, UnixStream::connect(&plugin.address)).await??;
    let mut client = match (&identity, &plugin.cert) {
        (Some(identity), Some(cert)) => {
            Client::connect_tls(socket, Limits::default(), identity, cert)?
        }
        (None, None) => Client::connect(socket, Limits::default())?,
        (Some(_), None) => return Err("the plugin does not speak TLS".into()),
        (None, Some(_)) => return Err("the plugin wants TLS, which nobody asked for".into()),
    };
    // What the plugin prints after its handshake.
    for mut output in [client.take_stdout(), client.take_stderr()]
        .into_iter()
        .flatten()
    {
        tokio::spawn(async move {
            let mut buffer = vec![0; 4096];
            while let Ok(1..) = output.read(&mut buffer).await {}
        });
    }
    let greeter = timeout(TIMEOUT, client.dispense("greeter")).await??;
    let greeting = timeout(TIMEOUT, greeter.call("Plugin.Greet", &())).await??;
    timeout(TIMEOUT, client.quit()).await??;
    timeout(TIMEOUT, client.closed()).await?;
    Ok(greeting)
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let greeting = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [program] => greet(program, false).await,
        [program, "--automtls"] | ["--automtls", program] => greet(program, true).await,
        _ => Err("usage: host PLUGIN [--automtls]".into()),
    };
    match greeting {
        Ok(greeting) => {
            println!("{greeting}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("host: {error}");
            ExitCode::FAILURE
        }
    }
}
