//! Accepting connections, within limits: a slow or greedy client costs itself, nobody else.

use std::future::Future;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;

/// Connections at a time; further ones wait to be accepted.
pub const CONNECTIONS_MAX: usize = 4096;

/// How long a client may take to send a request's head, also between two requests.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may take nothing of its answer.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Headers of a request.
pub const HEADERS_MAX: usize = 100;

/// Wait after a failed accept (no descriptors left, most likely), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Failed accepts in a row for each line in the log; it has the first of them.
const FAILURES_PER_LINE: u64 = 100;

/// Serves until `stop` resolves; then takes no more connections and returns when those that are open have
/// finished their requests. Bound that wait from outside: dropping the future cuts them.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    let mut failed: u64 = 0;
    loop {
        let accepting = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => continue,
            accepted = accepting => accepted,
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            // Gone before its turn came: that concerns nobody else.
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
        // Answers are written whole; a socket that refuses the option still works.
        let _ = socket.set_nodelay(true);
        let mut socket = TimeoutStream::new(socket);
        socket.set_write_timeout(Some(WRITE_TIMEOUT));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_headers(HEADERS_MAX)
            .serve_connection(
                TokioIo::new(Box::pin(socket)),
                TowerToHyperService::new(router.clone()),
            );
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            // That a client goes away is not news.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}
