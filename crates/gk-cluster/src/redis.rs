//! The connection to Redis, which carries what may be lost.

use std::fmt;
use std::time::Duration;

use gk_hostapi::HostError;
use gk_services::redis::RedisServer;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, FromRedisValue, RedisError, ScriptInvocation};
use tokio::time::{Instant, timeout};

/// Maximum time for an answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Time for which Redis is not asked after it could not be reached.
const PAUSE: Duration = Duration::from_secs(1);

/// Why Redis did not do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// It was not asked.
    NotAsked,
    /// It may have done it.
    InDoubt,
}

/// The Redis that hosts share.
#[derive(Debug)]
pub struct Redis {
    server: RedisServer,
    asked_again_at: Mutex<Option<Instant>>,
}

impl Redis {
    /// Reads the URL; connects to nothing.
    ///
    /// # Errors
    /// Invalid: the URL, which the error does not repeat.
    pub fn new(url: &str) -> Result<Self, HostError> {
        Ok(Self {
            server: RedisServer::new(url)?,
            asked_again_at: Mutex::new(None),
        })
    }

    /// Runs a script.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, Unanswered> {
        if self
            .asked_again_at
            .lock()
            .is_some_and(|at| Instant::now() < at)
        {
            return Err(Unanswered::NotAsked);
        }
        let connected = timeout(ANSWER_TIMEOUT, self.server.connection()).await;
        let (mut connection, epoch) = match connected {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) => {
                self.failed(error.kind());
                return Err(Unanswered::NotAsked);
            }
            Err(_) => {
                self.failed("no connection in time");
                return Err(Unanswered::NotAsked);
            }
        };
        let answer = timeout(ANSWER_TIMEOUT, script.invoke_async(&mut connection)).await;
        match answer {
            Ok(Ok(value)) => {
                *self.asked_again_at.lock() = None;
                return Ok(value);
            }
            Ok(Err(error)) => self.failed(error.kind()),
            Err(_) => self.failed("no answer in time"),
        }
        self.server.lost(epoch);
        Err(Unanswered::InDoubt)
    }

    /// A connection of its own, for requests that wait in the server.
    pub(crate) async fn own_connection(&self) -> Result<MultiplexedConnection, RedisError> {
        let late = |_| RedisError::from((ErrorKind::Io, "no connection in time"));
        let connected = timeout(ANSWER_TIMEOUT, self.server.own_connection()).await;
        connected.map_err(late)?
    }

    /// Takes note of a failure. The client's text may name what a log must not show; the kind says
    /// enough.
    fn failed(&self, why: impl fmt::Debug) {
        let mut asked_again_at = self.asked_again_at.lock();
        if asked_again_at.is_none() {
            tracing::warn!(
                ?why,
                "Redis cannot be used: events and rates are this host's own"
            );
        }
        *asked_again_at = Some(Instant::now() + PAUSE);
    }
}
