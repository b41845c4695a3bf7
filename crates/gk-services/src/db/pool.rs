//! Connections to a server: made when they are needed, lent to one statement or transaction at a
//! time, and closed with what runs in them cancelled when that does not come to its end.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use deadpool::managed::{Manager, Metrics, Object, RecycleError, RecycleResult};
use gk_hostapi::HostError;
use tokio::time::{Instant, timeout};

use super::DbLimits;

/// How long a request to cancel may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// How a driver makes connections and ends what runs in them.
pub(super) trait Connector: Send + Sync + 'static {
    /// The engine's name, for the host's log.
    const ENGINE: &'static str;
    /// A connection.
    type Session: Send + Sync + 'static;
    /// The driver's error.
    type Error: fmt::Display + Send;
    /// The transaction that a lease begins with.
    type Begin: Copy + Send + Sync;

    /// Makes a connection.
    fn connect(&self) -> impl Future<Output = Result<Self::Session, Self::Error>> + Send;

    /// The server's words on an error of [`connect`](Self::connect). They may name the user, and
    /// never the password or the URL.
    fn describe(error: &Self::Error) -> String;

    /// Returns whether a connection is known to be closed, without asking the server.
    fn is_closed(session: &Self::Session) -> bool;

    /// Returns whether the server may still run a statement of a connection that is given up.
    fn may_run(session: &Self::Session) -> bool;

    /// Prepares a connection for statements that may take so long, and begins the transaction. It
    /// fails if the connection is broken.
    fn begin(
        session: &mut Self::Session,
        begin: Self::Begin,
        left: Duration,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Cancels the statement that runs in a connection, by way of another connection.
    fn cancel(session: &Self::Session) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// The connections to one database of a server.
pub(super) struct Pool<C: Connector> {
    pool: deadpool::managed::Pool<Managed<C>>,
    connections_max: usize,
}

impl<C: Connector> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("engine", &C::ENGINE)
            .finish_non_exhaustive()
    }
}

impl<C: Connector> Pool<C> {
    /// A pool, which connects to nothing yet.
    pub(super) fn new(connector: C, limits: &DbLimits) -> Result<Self, HostError> {
        let managed = Managed {
            connector,
            connect_timeout: limits.connect_timeout,
        };
        let connections_max = limits.max_connections;
        let pool = deadpool::managed::Pool::builder(managed)
            .max_size(connections_max.max(1))
            .build()
            .map_err(|_| HostError::unavailable("no pool for the database"))?;
        Ok(Self {
            pool,
            connections_max,
        })
    }

    /// A connection whose statements end at the deadline. A connection that turns out to be broken
    /// is replaced.
    pub(super) async fn lease(
        &self,
        begin: C::Begin,
        deadline: Instant,
    ) -> Result<Lease<C>, HostError> {
        for _ in 0..=self.connections_max {
            let session = self.pool.get().await.map_err(|error| {
                tracing::warn!(engine = C::ENGINE, %error, "the database cannot be reached");
                HostError::unavailable("the database cannot be reached; the host's log says why")
            })?;
            let mut lease = Lease {
                session: Some(session),
            };
            // The wait for a connection is part of the statement's time.
            let left = deadline.saturating_duration_since(Instant::now());
            match C::begin(lease.session()?, begin, left).await {
                Ok(()) => return Ok(lease),
                Err(error) => {
                    tracing::debug!(engine = C::ENGINE, %error, "a connection was broken");
                }
            }
        }
        Err(HostError::unavailable("the database's connections break"))
    }
}

/// A connection at work. Unless it is [given back](Self::give_back), it is not used again, and the
/// statement that runs in it is cancelled: a dropped future, a deadline, a result over its limits.
pub(super) struct Lease<C: Connector> {
    session: Option<Object<Managed<C>>>,
}

impl<C: Connector> Lease<C> {
    /// The connection.
    pub(super) fn session(&mut self) -> Result<&mut C::Session, HostError> {
        match &mut self.session {
            Some(session) => Ok(session),
            // A lease was used after its end, which would be a bug.
            None => Err(HostError::unavailable("the connection has gone")),
        }
    }

    /// Gives the connection back, for the next statement.
    pub(super) fn give_back(mut self) {
        self.session = None;
    }
}

impl<C: Connector> Drop for Lease<C> {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        let session = Object::take(session);
        if !C::may_run(&session) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            let cancelled = timeout(CANCEL_TIMEOUT, C::cancel(&session)).await;
            if !matches!(cancelled, Ok(Ok(()))) {
                tracing::debug!(engine = C::ENGINE, "a statement could not be cancelled");
            }
            // The connection is closed no earlier: its number would be another one's.
            drop(session);
        });
    }
}

/// A connector, as the pool's library wants it.
struct Managed<C> {
    connector: C,
    connect_timeout: Duration,
}

impl<C> fmt::Debug for Managed<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Managed")
    }
}

/// Why there is no connection, for the host's log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotReached(String);

impl<C: Connector> Manager for Managed<C> {
    type Type = C::Session;
    type Error = NotReached;

    async fn create(&self) -> Result<C::Session, NotReached> {
        // Drivers' futures are large, and this one is part of every statement's.
        match timeout(self.connect_timeout, Box::pin(self.connector.connect())).await {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(error)) => Err(NotReached(C::describe(&error))),
            Err(_) => Err(NotReached("no answer in time".to_owned())),
        }
    }

    async fn recycle(&self, session: &mut C::Session, _: &Metrics) -> RecycleResult<NotReached> {
        match C::is_closed(session) {
            true => Err(RecycleError::message("closed")),
            // Beginning shows whether the connection is alive.
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// A driver of a server that is always there. A connection keeps what it was told of the time.
    struct Ready;

    impl Connector for Ready {
        const ENGINE: &'static str = "ready";
        type Session = Duration;
        type Error = Infallible;
        type Begin = ();

        async fn connect(&self) -> Result<Duration, Infallible> {
            Ok(Duration::ZERO)
        }

        fn describe(error: &Infallible) -> String {
            match *error {}
        }

        fn is_closed(_: &Duration) -> bool {
            false
        }

        fn may_run(_: &Duration) -> bool {
            false
        }

        async fn begin(told: &mut Duration, (): (), left: Duration) -> Result<(), Infallible> {
            *told = left;
            Ok(())
        }

        async fn cancel(_: &Duration) -> Result<(), Infallible> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_statement_has_the_time_that_the_wait_for_a_connection_has_left() {
        let limits = DbLimits {
            max_connections: 1,
            ..DbLimits::default()
        };
        let pool = Pool::new(Ready, &limits).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let first = pool.lease((), deadline).await.unwrap();
        let held = async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            first.give_back();
        };
        let (second, ()) = tokio::join!(pool.lease((), deadline), held);
        let left = *second.unwrap().session().unwrap();
        assert!(left <= Duration::from_secs(10), "{left:?}");
        assert!(left > Duration::from_secs(9), "{left:?}");
    }
}
