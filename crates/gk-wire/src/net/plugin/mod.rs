//! The plugin's end, go-plugin's server.

mod control;
mod listen;
mod tls;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UnixListener;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

use super::driver::{Driver, PEER_CLOSED};
use super::transport::{Reader, Socket, Writer};
use super::{Broker, Service, Shared, Stream, host};
use crate::connection::{self, Limits};
use crate::handshake::{Handshake, HandshakeConfig, Network, Protocol, env};
use control::Control;
use listen::{Unlink, listen};
use tls::Tls;

/// Time that a plugin which was told to quit gives its host to hang up, so that the host gets the
/// reply.
const QUIT_GRACE: Duration = Duration::from_millis(500);

/// Makes the service for a name; called once for every dispense.
pub type Factory = Arc<dyn Fn(&Broker) -> Arc<dyn Service> + Send + Sync>;

/// Why a plugin cannot serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The cookie is missing: the binary was started by hand.
    #[error(
        "this program is a plugin: it is started by its host, not by hand ({0} is not set as expected)"
    )]
    NotAPlugin(String),
    /// The socket cannot be made.
    #[error("cannot listen on {path}")]
    Listen {
        /// The socket's path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The handshake line cannot be printed: the host has ended.
    #[error("cannot print the handshake")]
    Handshake(#[source] io::Error),
    /// TLS cannot be set up: AutoMTLS, which the host asks for, or the program's own.
    #[error("TLS: {0}")]
    Tls(String),
}

/// The services of a plugin, by name.
type PluginSet = HashMap<String, Factory>;

/// Makes the TLS configuration that a plugin serves with.
#[cfg(feature = "tls")]
type TlsProvider = Arc<
    dyn Fn() -> Result<Arc<rustls::ServerConfig>, Box<dyn std::error::Error + Send + Sync>>
        + Send
        + Sync,
>;

/// A plugin: its services, a set for each version of the application's protocol, and the way to
/// serve them.
#[derive(Clone)]
pub struct Server {
    config: HandshakeConfig,
    plugins: BTreeMap<u32, PluginSet>,
    limits: Limits,
    #[cfg(feature = "tls")]
    tls: Option<TlsProvider>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("config", &self.config)
            .field("versions", &self.plugins.keys())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// A plugin without services.
    #[must_use]
    pub fn new(config: HandshakeConfig) -> Self {
        Server {
            config,
            plugins: BTreeMap::new(),
            limits: Limits::default(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Offers a service under a name, in the protocol version of the [`HandshakeConfig`]. Its
    /// methods are called `Plugin.…`.
    #[must_use]
    pub fn plugin(
        self,
        name: &str,
        factory: impl Fn(&Broker) -> Arc<dyn Service> + Send + Sync + 'static,
    ) -> Self {
        let version = self.config.protocol_version;
        self.versioned_plugin(version, name, factory)
    }

    /// Offers a service under a name in another version of the application's protocol. Each version
    /// has a set of its own, as Go's `VersionedPlugins`; see [`negotiate`](Self::negotiate).
    #[must_use]
    pub fn versioned_plugin(
        mut self,
        version: u32,
        name: &str,
        factory: impl Fn(&Broker) -> Arc<dyn Service> + Send + Sync + 'static,
    ) -> Self {
        let set = self.plugins.entry(version).or_default();
        set.insert(name.to_owned(), Arc::new(factory));
        self
    }

    /// Serves under a TLS configuration of the program's own, as Go's `TLSProvider`. The provider is
    /// called once, when [`serve`](Self::serve) begins. The handshake does not announce such TLS: the
    /// host must be configured for it. The configuration replaces AutoMTLS.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls_provider<E>(
        mut self,
        provider: impl Fn() -> Result<Arc<rustls::ServerConfig>, E> + Send + Sync + 'static,
    ) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.tls = Some(Arc::new(move || provider().map_err(Into::into)));
        self
    }

    /// The version that is served to a host. `offered` is the host's list of versions, separated by
    /// commas. The highest common version counts; without one it is the plugin's lowest, which the
    /// host then refuses. A host without a list is an old one and gets the lowest.
    #[must_use]
    pub fn negotiate(&self, offered: Option<&str>) -> u32 {
        let offered: Vec<u32> = offered
            .unwrap_or_default()
            .split(',')
            .filter_map(|version| version.trim().parse().ok())
            .collect();
        let mut ours = self.plugins.keys().rev();
        let common = ours.find(|version| offered.contains(version));
        let lowest = self.plugins.keys().next();
        let version = common.or(lowest).copied();
        version.unwrap_or(self.config.protocol_version)
    }

    /// Sets the limits of each connection.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Serves the host that started this process: checks the cookie, listens, prints the handshake,
    /// and returns when the host says quit or its last connection ends. Later output of the process
    /// to stdout goes to the host's pipe, not to the stdout stream of the connection.
    ///
    /// # Errors
    ///
    /// See [`ServeError`].
    pub async fn serve(self) -> Result<(), ServeError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        if variable(&self.config.cookie_key).as_deref() != Some(self.config.cookie_value.as_str()) {
            return Err(ServeError::NotAPlugin(self.config.cookie_key));
        }
        let offered = variable(env::PROTOCOL_VERSIONS);
        let version = self.negotiate(offered.as_deref());
        if let Some(offered) = &offered
            && !offered
                .split(',')
                .any(|offered| offered.trim().parse() == Ok(version))
        {
            tracing::warn!(
                offered,
                serving = version,
                "the host speaks no protocol version that this plugin speaks, and will refuse it"
            );
        }
        let tls = self.tls(variable(env::CLIENT_CERT))?;
        let directory =
            variable(env::UNIX_SOCKET_DIR).map_or_else(std::env::temp_dir, PathBuf::from);
        let (listener, path) = listen(&directory, variable(env::UNIX_SOCKET_GROUP).as_deref())?;
        let _unlink = Unlink(&path);
        let handshake = Handshake {
            app_version: version,
            network: Network::Unix,
            address: path.to_string_lossy().into_owned(),
            protocol: Protocol::NetRpc,
            cert: tls.cert(),
            multiplex: false,
        };
        print(&handshake).map_err(ServeError::Handshake)?;
        self.accept(version, listener, &tls).await;
        Ok(())
    }

    async fn accept(self, version: u32, listener: UnixListener, tls: &Tls) {
        let quit = Arc::new(Notify::new());
        let mut connections = JoinSet::new();
        loop {
            let socket = tokio::select! {
                () = quit.notified() => break,
                Some(ended) = connections.join_next(), if !connections.is_empty() => {
                    // A peer that opened no stream, or failed in TLS, was not the host.
                    let was_host = ended.unwrap_or(true);
                    if was_host && connections.is_empty() { return } else { continue }
                }
                accepted = listener.accept() => accepted,
            };
            match socket.map(|(socket, _)| tls.accept(socket.into())) {
                Ok(Ok((reader, writer))) => {
                    let quit = Some(Arc::clone(&quit));
                    let connection = self.start(version, reader, writer, quit);
                    connections.spawn(async move {
                        let reason = connection.closed().await;
                        let state = connection.shared.lock();
                        let was_host = state.connection.is_handshake_done();
                        drop(state);
                        match (was_host, &*reason) {
                            (false, _) => {
                                tracing::warn!(reason, "a connection ended before it began");
                            }
                            // This is how hosts end.
                            (true, PEER_CLOSED) => tracing::debug!(reason, "the connection ended"),
                            (true, _) => tracing::warn!(reason, "the connection to the host ended"),
                        }
                        was_host
                    });
                }
                Ok(Err(error)) => {
                    tracing::error!(%error, "a connection of the host cannot be served")
                }
                Err(error) => {
                    tracing::error!(%error, "the socket takes no connections any more");
                    break;
                }
            }
        }
        let all = async { while connections.join_next().await.is_some() {} };
        // A host that does not hang up is not waited for any longer.
        let _ = tokio::time::timeout(QUIT_GRACE, all).await;
    }

    /// Serves a connection of a listener that is the program's own. The version is that of
    /// [`negotiate`](Self::negotiate) without a list; [`at_version`](Self::at_version) chooses another
    /// one.
    #[must_use]
    pub fn serve_connection(&self, socket: impl Into<Socket>) -> Connection {
        let (reader, writer) = socket.into().plain();
        self.start(self.negotiate(None), reader, writer, None)
    }

    /// Like [`serve_connection`](Self::serve_connection), under TLS: AutoMTLS, by
    /// [`Identity::server`](crate::automtls::Identity::server), or a configuration of the program's
    /// own.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn serve_connection_tls(
        &self,
        socket: impl Into<Socket>,
        tls: rustls::ServerConnection,
    ) -> Connection {
        let (reader, writer) = socket.into().encrypted(tls.into());
        self.start(self.negotiate(None), reader, writer, None)
    }

    /// Keeps only the services of this version, if there are any.
    #[must_use]
    pub fn at_version(mut self, version: u32) -> Self {
        self.plugins.retain(|other, _| *other == version);
        self
    }

    fn tls(&self, host_cert: Option<String>) -> Result<Tls, ServeError> {
        #[cfg(feature = "tls")]
        if let Some(provider) = &self.tls {
            let config = provider().map_err(|error| ServeError::Tls(error.to_string()))?;
            return Ok(Tls::Own(config));
        }
        let Some(host_cert) = host_cert else {
            return Ok(Tls::Plain);
        };
        Tls::auto(&host_cert)
    }

    fn start(
        &self,
        version: u32,
        reader: Reader,
        writer: Writer,
        quit: Option<Arc<Notify>>,
    ) -> Connection {
        let connection = connection::Connection::plugin(self.limits.clone(), Instant::now());
        let shared = Shared::new(connection, writer);
        let broker = Broker {
            shared: Arc::clone(&shared),
        };
        let control = Arc::new(Control {
            plugins: self.plugins.get(&version).cloned().unwrap_or_default(),
            broker,
            quit,
        });
        let (stdout_waiter, stdout) = oneshot::channel();
        let (stderr_waiter, stderr) = oneshot::channel();
        let stdio = [stdout_waiter, stderr_waiter];
        shared.lock().connection.serve_control(control, stdio);
        tokio::spawn(Driver::new(&shared, reader));
        Connection {
            shared,
            stdio: Some((stdout, stderr)),
        }
    }
}

/// A plugin's connection to its host. Dropping it leaves the connection as it is.
#[derive(Debug)]
pub struct Connection {
    shared: Arc<Shared>,
    stdio: Option<(oneshot::Receiver<Stream>, oneshot::Receiver<Stream>)>,
}

impl Connection {
    /// The streams that a Go host shows as the plugin's stdout and stderr, once the host has opened
    /// them; `None` the second time, or when the connection ended before. Streams that are not
    /// taken stay open and silent.
    pub async fn take_stdio(&mut self) -> Option<(Stream, Stream)> {
        let (stdout, stderr) = self.stdio.take()?;
        Some((stdout.await.ok()?, stderr.await.ok()?))
    }

    /// Ends the connection.
    pub fn close(&self) {
        self.shared.close("this side closed the connection");
    }

    /// Waits until the connection has ended, and says why it did.
    pub async fn closed(&self) -> String {
        host::closed(&self.shared).await
    }
}

fn print(handshake: &Handshake) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{handshake}")?;
    stdout.flush()
}
