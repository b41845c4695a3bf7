//! Parts that the example hosts share: a plugin's process, its handshake, and the connection.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use gk_wire::automtls::Identity;
use gk_wire::host::Client;
use gk_wire::{Handshake, HandshakeConfig, Limits, Network, Protocol, handshake};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::time::timeout;

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// No call of the protocol has a timeout of its own.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// A plugin's process, which is not left behind whatever happens.
pub(crate) struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // The plugin should have exited by itself.
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
        // A stray PLUGIN_ variable changes what a plugin does, so it gets those of the protocol
        // only.
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

/// Reads the handshake, and drains what is printed behind it for ever: a pipe that is full stalls
/// the plugin.
async fn handshake(stdout: ChildStdout) -> Result<Handshake, Error> {
    let (line, first) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut bytes = Vec::new();
        let most = handshake::MAX_LINE_BYTES as u64 + 1;
        let read = stdout.by_ref().take(most).read_until(b'\n', &mut bytes);
        // The receiver has given up if this took too long.
        let _ = line.send(read.map(|_| bytes));
        let _ = std::io::copy(&mut stdout, &mut std::io::sink());
    });
    let line = timeout(TIMEOUT, first)
        .await
        .map_err(|_| "the plugin printed no handshake")???;
    Ok(Handshake::parse(&line)?)
}

/// The cookie of HashiCorp's examples.
pub(crate) fn config() -> HandshakeConfig {
    HandshakeConfig {
        protocol_version: 1,
        cookie_key: "BASIC_PLUGIN".to_owned(),
        cookie_value: "hello".to_owned(),
    }
}

/// The encryption between a host and a plugin.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code, reason = "not every example has each of them")]
pub(crate) enum Tls<'a> {
    /// Nothing: the socket is the user's own.
    None,
    /// Certificates for the occasion.
    Auto,
    /// The plugin has a certificate for `localhost`, which stands in this file.
    Trusting(&'a str),
}

fn trusting(cert: &str) -> Result<ClientConnection, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert)?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost")?;
    Ok(ClientConnection::new(Arc::new(config), name)?)
}

/// Starts a plugin that speaks one of these versions, and connects to it. Says which version it is.
pub(crate) async fn start(
    program: &str,
    versions: &[u32],
    tls: Tls<'_>,
) -> Result<(Process, Client, u32), Error> {
    let mut environment = config().environment_for(versions);
    let automtls = matches!(tls, Tls::Auto);
    let identity = automtls.then(Identity::generate).transpose()?;
    if let Some(identity) = &identity {
        let pem = identity.cert_pem().to_owned();
        environment.push((handshake::env::CLIENT_CERT.to_owned(), pem));
    }
    let (process, stdout) = Process::start(program, environment)?;
    let plugin = handshake(stdout).await?;
    let version = plugin.version(versions)?;
    if (plugin.network, plugin.protocol) != (Network::Unix, Protocol::NetRpc) {
        return Err(format!("this host cannot speak with {plugin}").into());
    }
    let socket = timeout(TIMEOUT, UnixStream::connect(&plugin.address)).await??;
    let limits = Limits::default();
    let mut client = match (&identity, &plugin.cert) {
        (Some(identity), Some(cert)) => {
            Client::connect_tls(socket, limits, identity.client(cert)?)?
        }
        (None, None) => match tls {
            Tls::Trusting(cert) => Client::connect_tls(socket, limits, trusting(cert)?)?,
            _ => Client::connect(socket, limits)?,
        },
        (Some(_), None) => return Err("the plugin does not speak TLS".into()),
        (None, Some(_)) => return Err("the plugin wants TLS, which nobody asked for".into()),
    };
    // The plugin's output after its handshake.
    for mut output in [client.take_stdout(), client.take_stderr()]
        .into_iter()
        .flatten()
    {
        tokio::spawn(async move {
            let mut buffer = vec![0; 4096];
            while let Ok(1..) = output.read(&mut buffer).await {}
        });
    }
    Ok((process, client, version))
}

/// Tells the plugin to exit, and waits until it has hung up.
pub(crate) async fn quit(client: &Client) -> Result<(), Error> {
    timeout(TIMEOUT, client.quit()).await??;
    timeout(TIMEOUT, client.closed()).await?;
    Ok(())
}
