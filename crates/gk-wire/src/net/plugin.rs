//! The plugin's end: what go-plugin calls serving.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

use super::driver::Driver;
use super::recv::Opening;
use super::rpc_server::Empty;
use super::state::{Limits, Shared};
use super::transport::{Reader, Socket, Writer};
use super::{Broker, Request, Responder, Service, Stream, host};
use crate::handshake::{Handshake, HandshakeConfig, Network, Protocol, env};
use crate::yamux::Role;

/// How long a plugin that was told to quit waits for its host to hang up, so that the host gets the reply.
const QUIT_GRACE: Duration = Duration::from_millis(500);

/// Makes the service behind a name; called once for every dispense.
pub type Factory = Arc<dyn Fn(&Broker) -> Arc<dyn Service> + Send + Sync>;

/// Why a plugin cannot serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The cookie is missing: somebody started the binary by hand.
    #[error(
        "this program is a plugin: it is started by its host, not by hand ({0} is not set as expected)"
    )]
    NotAPlugin(String),
    /// The host speaks other versions only.
    #[error("the host speaks protocol versions {host}, this plugin {plugin}")]
    Version {
        /// What the host offers.
        host: String,
        /// What we speak.
        plugin: u32,
    },
    /// The socket cannot be made.
    #[error("cannot listen on {path}")]
    Listen {
        /// The socket's path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The handshake line cannot be printed: the host is gone.
    #[error("cannot print the handshake")]
    Handshake(#[source] io::Error),
    /// The host asks for AutoMTLS and it cannot be had.
    #[error("AutoMTLS: {0}")]
    Tls(String),
}

/// A plugin's set and how it is served.
#[derive(Clone)]
pub struct Server {
    config: HandshakeConfig,
    plugins: HashMap<String, Factory>,
    limits: Limits,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("config", &self.config)
            .field("plugins", &self.plugins.keys())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// An empty set.
    #[must_use]
    pub fn new(config: HandshakeConfig) -> Self {
        Server {
            config,
            plugins: HashMap::new(),
            limits: Limits::default(),
        }
    }

    /// Offers a service under a name. Its methods are called `Plugin.…`.
    #[must_use]
    pub fn plugin(
        mut self,
        name: &str,
        factory: impl Fn(&Broker) -> Arc<dyn Service> + Send + Sync + 'static,
    ) -> Self {
        self.plugins.insert(name.to_owned(), Arc::new(factory));
        self
    }

    /// Takes other limits than the defaults.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Serves the host that started this process: checks the cookie, listens, prints the handshake, and
    /// returns when the host says quit or its last connection ends. What the process prints to stdout
    /// afterwards goes to the host's pipe.
    ///
    /// # Errors
    ///
    /// See [`ServeError`].
    pub async fn serve(self) -> Result<(), ServeError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        if variable(&self.config.cookie_key).as_deref() != Some(self.config.cookie_value.as_str()) {
            return Err(ServeError::NotAPlugin(self.config.cookie_key));
        }
        let version = self.config.protocol_version;
        // A host that says nothing is an old one, and speaks the version it checks afterwards.
        if let Some(versions) = variable(env::PROTOCOL_VERSIONS)
            && !versions
                .split(',')
                .any(|offered| offered.trim().parse() == Ok(version))
        {
            return Err(ServeError::Version {
                host: versions,
                plugin: version,
            });
        }
        let tls = Tls::from_environment(variable(env::CLIENT_CERT))?;
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
        self.accept(listener, &tls).await;
        Ok(())
    }

    async fn accept(self, listener: UnixListener, tls: &Tls) {
        let quit = Arc::new(Notify::new());
        let mut connections = JoinSet::new();
        loop {
            let socket = tokio::select! {
                () = quit.notified() => break,
                Some(ended) = connections.join_next(), if !connections.is_empty() => {
                    // Somebody who only looked in, or could not prove who he is, was not the host.
                    let was_host = ended.unwrap_or(true);
                    if was_host && connections.is_empty() { return } else { continue }
                }
                accepted = listener.accept() => accepted,
            };
            match socket.map(|(socket, _)| tls.accept(socket.into())) {
                Ok(Ok((reader, writer))) => {
                    let connection = self.start(reader, writer, Some(Arc::clone(&quit)));
                    connections.spawn(async move {
                        let reason = connection.closed().await;
                        let greeted = connection.shared.lock().greeted;
                        if !greeted {
                            tracing::warn!(%reason, "a connection ended before it began");
                        }
                        greeted
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
        // A host that does not hang up is left.
        let _ = tokio::time::timeout(QUIT_GRACE, all).await;
    }

    /// Serves one connection that is there already, for those who bring their own listener.
    #[must_use]
    pub fn serve_connection(&self, socket: impl Into<Socket>) -> Connection {
        let (reader, writer) = socket.into().plain();
        self.start(reader, writer, None)
    }

    /// Like [`serve_connection`](Self::serve_connection), under the TLS of AutoMTLS.
    ///
    /// # Errors
    ///
    /// If the host's certificate or our own is unusable.
    #[cfg(feature = "automtls")]
    pub fn serve_connection_tls(
        &self,
        socket: impl Into<Socket>,
        identity: &crate::automtls::Identity,
        host_cert: &[u8],
    ) -> Result<Connection, crate::automtls::TlsError> {
        let connection = identity.server(host_cert)?;
        let (reader, writer) = socket.into().encrypted(connection.into());
        Ok(self.start(reader, writer, None))
    }

    fn start(&self, reader: Reader, writer: Writer, quit: Option<Arc<Notify>>) -> Connection {
        let shared = Shared::new(Role::Server, self.limits.clone(), writer);
        let broker = Broker {
            shared: Arc::clone(&shared),
        };
        let control = Arc::new(Control {
            plugins: self.plugins.clone(),
            broker,
            quit,
        });
        let (stdout_waiter, stdout) = oneshot::channel();
        let (stderr_waiter, stderr) = oneshot::channel();
        let opening = Opening::Plugin {
            control,
            stdio: [stdout_waiter, stderr_waiter].into(),
        };
        tokio::spawn(Driver::new(&shared, reader, opening));
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
    /// The streams that a Go host shows as the plugin's stdout and stderr, once the host has opened them;
    /// `None` the second time, or when the connection ended before. As long as nobody takes them they
    /// stay open and silent.
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

/// `Control` and `Dispenser`: what every plugin answers on its first stream.
struct Control {
    plugins: HashMap<String, Factory>,
    broker: Broker,
    quit: Option<Arc<Notify>>,
}

impl Service for Control {
    fn call(&self, request: Request, responder: Responder) {
        match request.method.as_str() {
            "Control.Ping" => responder.reply(&Empty {}),
            "Control.Quit" => {
                responder.reply(&Empty {});
                match &self.quit {
                    Some(quit) => quit.notify_one(),
                    None => self.broker.shared.close("the host said quit"),
                }
            }
            "Dispenser.Dispense" => match request.body.decode::<String>() {
                Ok(name) => match self.plugins.get(&name) {
                    Some(factory) => {
                        let id = self.broker.next_id();
                        self.broker.serve(id, factory(&self.broker));
                        responder.reply(&id);
                    }
                    None => responder.error(&format!("unknown plugin type: {name}")),
                },
                Err(error) => responder.error(&error.to_string()),
            },
            method if method.starts_with("Control.") || method.starts_with("Dispenser.") => {
                responder.unknown_method()
            }
            _ => responder.unknown_service(),
        }
    }
}

fn print(handshake: &Handshake) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{handshake}")?;
    stdout.flush()
}

struct Unlink<'a>(&'a Path);

impl Drop for Unlink<'_> {
    fn drop(&mut self) {
        // The host may have removed the whole directory.
        let _ = std::fs::remove_file(self.0);
    }
}

fn listen(directory: &Path, group: Option<&str>) -> Result<(UnixListener, PathBuf), ServeError> {
    for attempt in 0_u32.. {
        let unique = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        let path = directory.join(format!(
            "plugin{:x}{:08x}{attempt:x}",
            std::process::id(),
            unique & 0xffff_ffff
        ));
        match UnixListener::bind(&path) {
            Ok(listener) => {
                let shared = group.map_or(Ok(()), |group| share(&path, group));
                return match shared {
                    Ok(()) => Ok((listener, path)),
                    Err(source) => Err(ServeError::Listen { path, source }),
                };
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempt < 100 => {}
            Err(source) => return Err(ServeError::Listen { path, source }),
        }
    }
    unreachable!("the loop returns after a hundred attempts")
}

/// Gives the socket to a group, by number or by name.
fn share(path: &Path, group: &str) -> io::Result<()> {
    use std::os::unix::fs::{PermissionsExt, chown};
    let by_name = || {
        let groups = std::fs::read_to_string("/etc/group").ok()?;
        let line = groups
            .lines()
            .find(|line| line.split(':').next() == Some(group))?;
        line.split(':').nth(2)?.parse().ok()
    };
    let id = group.parse().ok().or_else(by_name);
    let id =
        id.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no group {group:?}")))?;
    chown(path, None, Some(id))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
}

#[cfg(feature = "automtls")]
struct Tls(Option<(crate::automtls::Identity, Vec<u8>)>);

#[cfg(feature = "automtls")]
impl Tls {
    fn from_environment(host_cert: Option<String>) -> Result<Self, ServeError> {
        let Some(pem) = host_cert else {
            return Ok(Tls(None));
        };
        let tls = |error: crate::automtls::TlsError| ServeError::Tls(error.to_string());
        let host = crate::automtls::der_from_pem(&pem).map_err(tls)?;
        Ok(Tls(Some((
            crate::automtls::Identity::generate().map_err(tls)?,
            host,
        ))))
    }

    fn cert(&self) -> Option<Vec<u8>> {
        self.0
            .as_ref()
            .map(|(identity, _)| identity.cert_der().to_vec())
    }

    fn accept(&self, socket: Socket) -> Result<(Reader, Writer), crate::automtls::TlsError> {
        Ok(match &self.0 {
            None => socket.plain(),
            Some((identity, host)) => socket.encrypted(identity.server(host)?.into()),
        })
    }
}

#[cfg(not(feature = "automtls"))]
struct Tls;

#[cfg(not(feature = "automtls"))]
impl Tls {
    fn from_environment(host_cert: Option<String>) -> Result<Self, ServeError> {
        match host_cert {
            None => Ok(Tls),
            Some(_) => Err(ServeError::Tls(
                "this plugin was built without it".to_owned(),
            )),
        }
    }

    fn cert(&self) -> Option<Vec<u8>> {
        None
    }

    fn accept(&self, socket: Socket) -> Result<(Reader, Writer), std::convert::Infallible> {
        Ok(socket.plain())
    }
}
