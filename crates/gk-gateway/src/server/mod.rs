//! Accepts connections, within limits: a slow or greedy client affects only itself.
//!
//! | Module | Content |
//! |---|---|
//! | `listen` | addresses to listen on, and sockets that were made from them or handed over |
//! | `clients` | limits for the connections of each client |
//! | `share` | one client's part of the host's memory |
//! | `connection` | time and memory limits of one connection |
//! | `tls` | certificates, and their reload |

mod clients;
mod connection;
mod listen;
mod room;
mod share;
mod tls;

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Version, header};
use axum::response::{IntoResponse, Response};
use gk_runtime::MemoryBudget;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

pub use self::clients::{CONNECTIONS_MAX, CONNECTIONS_PER_CLIENT_MAX};
use self::clients::{Clients, Place};
use self::connection::{Connection, Progress, Times};
pub use self::listen::{
    BoundListener, CreatedSocket, ListenAddress, ListenError, bind_local, inherited,
};
use self::room::Room;
pub use self::tls::{Tls, TlsError};
use crate::problem::Problem;
use crate::request_id;

/// Maximum time from a request's first byte to the end of its head, and for a TLS handshake.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum idle time of a connection between two requests. Load balancers keep theirs for 60 s, and
/// a connection that is closed just as a request arrives causes an error for the client.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// Time within which a client must take [`WRITE_BYTES_MIN`] of its answer.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Minimum number of bytes of an answer that a client must take within [`WRITE_TIMEOUT`].
pub const WRITE_BYTES_MIN: usize = 32 * 1024;

/// Maximum size of a request's head, in bytes.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Maximum number of headers of a request.
pub const HEADERS_MAX: usize = 100;

/// Maximum number of concurrent requests of one HTTP/2 connection.
pub const HTTP2_STREAMS_MAX: u32 = 64;

/// Number of bytes of bodies that an HTTP/2 client may send before they are read: of one request,
/// and of all requests of a connection.
const HTTP2_WINDOW_BYTES: u32 = 64 * 1024;

/// Memory of an HTTP/2 request besides its head, in bytes.
const HTTP2_REQUEST_BYTES: usize = 8 * 1024;

/// Memory of a TLS connection for the buffers of its records in both directions, in bytes.
const TLS_BYTES: usize = 40 * 1024;

/// Pause after a failed accept (most likely for lack of descriptors), so that the loop does not
/// spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Number of failed accepts in a row for each log line; the first one is logged.
const FAILURES_PER_LINE: u64 = 100;

/// Limits within which connections are served.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Budget that connections count in.
    pub memory: MemoryBudget,
    /// Limits on the number and the times of connections. A change applies from the next connection
    /// on.
    pub limits: watch::Receiver<ServerLimits>,
    /// Addresses of proxies, whose connections are many clients'.
    pub unlimited: Vec<ipnet::IpNet>,
    /// Certificates for TCP connections; without them the connections are not encrypted.
    pub tls: Option<Arc<Tls>>,
}

/// Limits on the number of connections, and on their idle times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLimits {
    /// Maximum number of connections at a time; further ones wait.
    pub connections: usize,
    /// Maximum number of connections of one client address at a time; further ones are closed at
    /// once. The requests and unread answers of a client may hold at most half of
    /// [`ServerConfig::memory`]. Clients behind a Unix socket, and those in
    /// [`ServerConfig::unlimited`], have neither limit.
    pub connections_per_client: usize,
    /// Maximum idle time between two requests; see [`IDLE_TIMEOUT`].
    pub idle_timeout: Duration,
    /// Maximum time for a request's head; see [`HEAD_TIMEOUT`].
    pub head_timeout: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        ServerLimits {
            connections: CONNECTIONS_MAX,
            connections_per_client: CONNECTIONS_PER_CLIENT_MAX,
            idle_timeout: IDLE_TIMEOUT,
            head_timeout: HEAD_TIMEOUT,
        }
    }
}

impl ServerConfig {
    /// Creates a configuration with the default limits, within this budget.
    #[must_use]
    pub fn new(memory: MemoryBudget) -> Self {
        ServerConfig {
            memory,
            limits: watch::channel(ServerLimits::default()).1,
            unlimited: Vec::new(),
            tls: None,
        }
    }
}

/// Origin of a request's connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Peer {
    /// Address of the client; `None` for a Unix socket.
    pub address: Option<SocketAddr>,
    /// Id of the user at the other end of the [local socket](bind_local), who needs no token.
    pub local: Option<u32>,
}

/// Service that answers the requests of a server.
pub trait Answer: Send + Sync + 'static {
    /// Answers a request.
    fn answer(&self, request: Request) -> impl Future<Output = Response> + Send;
}

impl Answer for Router {
    async fn answer(&self, request: Request) -> Response {
        match self.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// Serves until `stop` resolves. Then takes no more connections, and returns when the open ones
/// have finished their requests. The caller bounds that wait: dropping the future closes the
/// connections.
pub async fn serve(
    listeners: Vec<BoundListener>,
    answer: impl Answer,
    config: ServerConfig,
    stop: impl Future<Output = ()>,
) {
    let stopping = CancellationToken::new();
    let connections = config.limits.borrow().connections;
    let room = Room::new(connections);
    let resizing = resize(Arc::clone(&room), connections, config.limits.clone());
    let server = Arc::new(Server {
        clients: Clients::new(&config),
        room,
        answer: Arc::new(answer),
        config,
    });
    // Aborts every task when dropped with this future.
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(Arc::clone(&server).accept_all(listener, stopping.clone()));
    }
    tokio::select! {
        () = stop => {}
        never = resizing => match never {},
    }
    stopping.cancel();
    while accepting.join_next().await.is_some() {}
}

/// Adjusts the room whenever the maximum number of connections changes; `limit` is the present one.
async fn resize(
    room: Arc<Room>,
    mut limit: usize,
    mut limits: watch::Receiver<ServerLimits>,
) -> Infallible {
    loop {
        let before = limit;
        limit = limits.borrow_and_update().connections;
        room.resize(before, limit);
        if limits.changed().await.is_err() {
            // The sender is gone, so the limits do not change any more.
            return std::future::pending().await;
        }
    }
}

/// State that the tasks of a server share.
struct Server<A> {
    clients: Arc<Clients>,
    room: Arc<Room>,
    answer: Arc<A>,
    config: ServerConfig,
}

impl<A: Answer> Server<A> {
    /// Accepts connections on one listener until the server stops; then waits for their end.
    async fn accept_all(self: Arc<Self>, listener: BoundListener, stop: CancellationToken) {
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        let mut failed: u64 = 0;
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            let (socket, peer) = match accepted {
                Ok(accepted) => accepted,
                // The client closed the connection before it was accepted.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    if failed.is_multiple_of(FAILURES_PER_LINE) {
                        tracing::warn!(%error, failed, "connections cannot be accepted; they wait");
                    }
                    failed = failed.saturating_add(1);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            if failed > 0 {
                tracing::info!(failed, "connections are accepted again");
                failed = 0;
            }
            // Taken only after the accept, so that an unused listener takes no place from others.
            let inside = tokio::select! {
                () = stop.cancelled() => break,
                inside = self.room.enter() => inside,
            };
            let Some(place) = self.clients.enter(peer) else {
                continue;
            };
            let (server, watcher) = (Arc::clone(&self), graceful.watcher());
            connections.spawn(async move {
                let served = match socket {
                    listen::Accepted::Tcp(socket) => match server.config.tls.clone() {
                        Some(tls) => server.serve_tls(&tls, socket, peer, place, watcher).await,
                        None => server.serve_one(socket, peer, place, watcher).await,
                    },
                    listen::Accepted::Unix(socket) => {
                        server.serve_one(socket, peer, place, watcher).await
                    }
                };
                // A client that goes away early is no event for the operator.
                if let Err(error) = served {
                    tracing::debug!(error, "a connection ended early");
                }
                drop(inside);
            });
        }
        drop(listener);
        tokio::select! {
            () = graceful.shutdown() => {}
            () = async { while connections.join_next().await.is_some() {} } => {}
        }
    }

    async fn serve_tls<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        tls: &Tls,
        socket: S,
        peer: Peer,
        place: Place,
        watcher: hyper_util::server::graceful::Watcher,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let _buffers = self.config.memory.reserve(TLS_BYTES)?;
        let head_timeout = self.config.limits.borrow().head_timeout;
        let socket = tokio::time::timeout(head_timeout, tls.accept(socket)).await??;
        self.serve_one(socket, peer, place, watcher).await
    }

    async fn serve_one<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        socket: S,
        peer: Peer,
        place: Place,
        watcher: hyper_util::server::graceful::Watcher,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let progress = Arc::new(Progress::default());
        let limits = *self.config.limits.borrow();
        let times = Times {
            idle: limits.idle_timeout,
            head: limits.head_timeout,
        };
        let (memory, share) = (self.config.memory.clone(), place.share().cloned());
        let socket = Connection::new(socket, Arc::clone(&progress), times, &memory)?;
        let answer = Arc::clone(&self.answer);
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let (answer, progress) = (Arc::clone(&answer), Arc::clone(&progress));
            let (memory, share) = (memory.clone(), share.clone());
            async move {
                let _running = progress.begin();
                let mut _received = None;
                let mut request: Request = request.map(|body| match &share {
                    Some(share) => {
                        let (body, received) = share.request(body);
                        _received = received;
                        body
                    }
                    None => Body::new(body),
                });
                let refused = |problem: Problem| {
                    let mut response = problem.into_response();
                    let id = request_id::of(request.headers());
                    request_id::tell(&id, &mut response);
                    Ok::<_, Infallible>(response)
                };
                if let Err(problem) = check_host(&request) {
                    return refused(problem);
                }
                // Requests of one HTTP/1 connection come one after the other, and the connection is
                // counted.
                let reservation = match request.version() == Version::HTTP_2 {
                    true => match memory.reserve(HTTP2_REQUEST_BYTES + head_bytes(&request)) {
                        Ok(reservation) => Some(reservation),
                        Err(_) => return refused(Problem::no_memory()),
                    },
                    false => None,
                };
                request.extensions_mut().insert(peer);
                let response = answer.answer(request).await;
                let response = match share {
                    Some(share) => share.answer(response),
                    None => response,
                };
                Ok(match reservation {
                    Some(reservation) => progress.watch(response, reservation),
                    None => response,
                })
            }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            // `Connection` enforces the times: idle, and from a head's first byte to its end.
            .header_read_timeout(None)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(HTTP2_STREAMS_MAX)
            .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
            .initial_stream_window_size(HTTP2_WINDOW_BYTES)
            .initial_connection_window_size(HTTP2_WINDOW_BYTES)
            .max_send_buf_size(HTTP2_WINDOW_BYTES as usize);
        let connection = builder.serve_connection(TokioIo::new(Box::pin(socket)), service);
        watcher.watch(connection.into_owned()).await
    }
}

/// Checks that a request of HTTP/1.1 has exactly one `Host` header, in a valid form. Otherwise a
/// proxy in front of this server might see another host than the plugin behind it.
fn check_host(request: &Request) -> Result<(), Problem> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    let wrong = match (request.version(), first, second) {
        (_, _, Some(_)) => "more than one Host header",
        (Version::HTTP_11, None, None) => "no Host header",
        (_, Some(host), None) if !is_host(host.as_bytes()) => "a Host header that names no host",
        _ => return Ok(()),
    };
    Err(Problem::bad_request(format!("the request has {wrong}")))
}

/// Returns true for a host with an optional port, and for the empty value of a request without an
/// authority.
fn is_host(host: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !b"/\\?#@,<>\"^`{|}".contains(byte);
    host.iter().all(plain)
}

/// Returns the size of a request's head in memory, in bytes.
fn head_bytes(request: &Request) -> usize {
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| name.as_str().len() + value.len() + 64);
    let path = request.uri().path_and_query();
    headers.sum::<usize>() + path.map_or(0, |path| path.as_str().len())
}
