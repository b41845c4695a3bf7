//! Authentication of callers, and authorization by the middleware of routes.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use parking_lot::Mutex;

use crate::problem::Problem;
use crate::tokens::{Identity, Role, Tokens};

/// A middleware of a plugin route, by the contract's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Middleware {
    /// Any caller with a valid token.
    Auth,
    /// Administrators.
    Admin,
    /// Agents and administrators.
    Agent,
    /// Customers.
    Customer,
}

impl Middleware {
    /// Returns the middleware of that name. A name that is not known here must refuse its route.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "auth" => Middleware::Auth,
            "admin" => Middleware::Admin,
            "agent" => Middleware::Agent,
            "customer" => Middleware::Customer,
            _ => return None,
        })
    }

    pub(crate) fn allows(self, role: Role) -> bool {
        match self {
            Middleware::Auth => true,
            Middleware::Admin => role == Role::Admin,
            Middleware::Agent => role != Role::Customer,
            Middleware::Customer => role == Role::Customer,
        }
    }

    fn refusal(self) -> &'static str {
        match self {
            Middleware::Auth => "authentication required",
            Middleware::Admin => "admin access required",
            Middleware::Agent => "agent access required",
            Middleware::Customer => "customer access required",
        }
    }
}

/// Returns the identity behind a request: `None` without a token, an error with an invalid one.
pub(crate) fn identify(headers: &HeaderMap, tokens: &Tokens) -> Result<Option<Identity>, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Problem::unauthorized("more than one Authorization header"));
    }
    let token = value.to_str().ok().and_then(|value| value.split_once(' '));
    let Some((scheme, token)) = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
    else {
        return Err(Problem::unauthorized(
            "the Authorization header must be \"Bearer <token>\"",
        ));
    };
    debug_assert!(scheme.eq_ignore_ascii_case("bearer"));
    match tokens.identify(token.trim()) {
        Some(identity) => Ok(Some(identity)),
        None => Err(Problem::unauthorized("invalid token")),
    }
}

/// Minimum interval between log lines about failed sign-ins.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Failed sign-ins: counted, and logged at intervals.
#[derive(Debug)]
pub(crate) struct Refusals {
    total: metrics::Counter,
    state: Mutex<Reported>,
}

#[derive(Debug, Default)]
struct Reported {
    last: Option<Instant>,
    since: u64,
}

impl Default for Refusals {
    fn default() -> Self {
        metrics::describe_counter!(
            "gk_auth_failures_total",
            "Requests with a token that is not valid."
        );
        Refusals {
            total: metrics::counter!("gk_auth_failures_total"),
            state: Mutex::default(),
        }
    }
}

impl Refusals {
    /// Counts a failed sign-in of this client.
    pub(crate) fn count(&self, client: Option<IpAddr>) {
        self.total.increment(1);
        let failures = {
            let mut reported = self.state.lock();
            reported.since += 1;
            let now = Instant::now();
            let due = |last: Instant| now.saturating_duration_since(last) >= LINE_INTERVAL;
            if !reported.last.is_none_or(due) {
                return;
            }
            reported.last = Some(now);
            std::mem::take(&mut reported.since)
        };
        let client = client.map(tracing::field::display);
        tracing::warn!(client, failures, "a sign-in failed: the token is not valid");
    }
}

/// Checks that the caller passes all of a route's middleware.
pub(crate) fn require(caller: Option<&Identity>, middleware: &[Middleware]) -> Result<(), Problem> {
    for middleware in middleware {
        match caller {
            None => return Err(Problem::unauthorized("authentication required")),
            Some(caller) if middleware.allows(caller.role) => {}
            Some(_) => {
                return Err(Problem::new(
                    axum::http::StatusCode::FORBIDDEN,
                    middleware.refusal(),
                ));
            }
        }
    }
    Ok(())
}
