//! Counters of a plugin's use of the host API.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// A counter of [`Usage`], beside that of all requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Counter {
    /// A statement that reads.
    DbQueries,
    /// A statement that may write, or a batch of statements.
    DbExecs,
    /// A request to the cache.
    CacheOps,
    /// An outgoing HTTP request.
    HttpRequests,
    /// A call to another plugin.
    Calls,
}

/// A plugin's use of the host API since the host started (contract §7.6).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// Requests of every kind.
    pub requests: u64,
    /// Statements that read.
    pub db_queries: u64,
    /// Other statements, and batches.
    pub db_execs: u64,
    /// Requests to the cache.
    pub cache_ops: u64,
    /// Outgoing HTTP requests.
    pub http_requests: u64,
    /// Calls to other plugins.
    pub calls: u64,
    /// Requests that the policy or a rate refused.
    pub errors: u64,
    /// The time of the last request, in milliseconds since 1970; 0 before the first one.
    pub last_call_at: i64,
}

/// The counters of one plugin.
#[derive(Debug, Default)]
pub(super) struct Counters {
    requests: AtomicU64,
    db_queries: AtomicU64,
    db_execs: AtomicU64,
    cache_ops: AtomicU64,
    http_requests: AtomicU64,
    calls: AtomicU64,
    refused: AtomicU64,
    last_unix_ms: AtomicI64,
}

impl Counters {
    /// Counts a request, and what it counts as beside that.
    pub(super) fn count(&self, counter: Option<Counter>) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let of_kind = counter.map(|counter| match counter {
            Counter::DbQueries => &self.db_queries,
            Counter::DbExecs => &self.db_execs,
            Counter::CacheOps => &self.cache_ops,
            Counter::HttpRequests => &self.http_requests,
            Counter::Calls => &self.calls,
        });
        if let Some(of_kind) = of_kind {
            of_kind.fetch_add(1, Ordering::Relaxed);
        }
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let ms = since_1970.map_or(0, |time| time.as_millis());
        let ms = i64::try_from(ms).unwrap_or(i64::MAX);
        self.last_unix_ms.store(ms, Ordering::Relaxed);
    }

    /// Counts a refusal.
    pub(super) fn count_refusal(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts of this moment.
    pub(super) fn usage(&self) -> Usage {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Usage {
            requests: of(&self.requests),
            db_queries: of(&self.db_queries),
            db_execs: of(&self.db_execs),
            cache_ops: of(&self.cache_ops),
            http_requests: of(&self.http_requests),
            calls: of(&self.calls),
            errors: of(&self.refused),
            last_call_at: self.last_unix_ms.load(Ordering::Relaxed),
        }
    }
}
