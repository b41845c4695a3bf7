//! The call path: admission, call tokens, the limits and errors of one call.
//!
//! What a call costs here that finds room: one lookup, two atomic counters, one entry in a sharded map (so that
//! callbacks of the plugin can be told which call they belong to), one timer.

mod account;
mod gate;
mod queue;
mod tokens;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use gk_hostapi::{Admission, Chain, RequestId, User};
use gk_manifest::PluginName;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::error::Elapsed;

pub(crate) use self::account::Account;
pub(crate) use self::gate::Gate;
pub(crate) use self::gate::{Inside, Limits, Refusal};
pub(crate) use self::tokens::Calls;
pub use self::tokens::{FunctionName, RunningCall};
use crate::backend::{Connection, ConnectionError};
use crate::error::{CallError, chain};
use crate::health::Health;
use crate::limits::{
    ARGS_BYTES_MAX, CALL_TIMEOUT_MAX, CALL_WAIT_MAX, CALLS_IN_FLIGHT_DEFAULT, CALLS_IN_FLIGHT_MAX,
    CALLS_WAITING_DEFAULT, CRASH_REPORT_WAIT, ERROR_TEXT_BYTES_MAX, FUNCTION_BYTES_MAX,
    RESULT_BYTES_MAX, TIMEOUT_MIN,
};
use crate::log::cut;
use crate::metrics::{CallMetrics, Shed};

/// What a caller says about a call. The plugin's callbacks during the call are served in it.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CallContext {
    /// The longest the caller waits; only ever shortens the `call_timeout` of plugin or policy.
    pub timeout: Option<Duration>,
    /// The user on whose behalf it is, as the host knows them.
    pub user: Option<User>,
    /// The user's language.
    pub language: Option<Arc<str>>,
    /// The calls from plugin to plugin that led here.
    pub chain: Chain,
    /// The request that led here, by which it is found in every log.
    pub request_id: Option<RequestId>,
}

impl CallContext {
    /// A call of the host's own.
    pub fn new() -> Self {
        Self::default()
    }

    /// With the longest the caller waits.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// With the user on whose behalf it is.
    #[must_use]
    pub fn with_user(mut self, user: User) -> Self {
        self.user = Some(user);
        self
    }

    /// With the calls that led here.
    #[must_use]
    pub fn with_chain(mut self, chain: Chain) -> Self {
        self.chain = chain;
        self
    }

    /// With the request that led here.
    #[must_use]
    pub fn with_request_id(mut self, id: RequestId) -> Self {
        self.request_id = Some(id);
        self
    }

    /// With the user's language.
    #[must_use]
    pub fn with_language(mut self, language: impl Into<Arc<str>>) -> Self {
        self.language = Some(language.into());
        self
    }
}

/// A call that wants to be let in.
#[derive(Debug)]
pub(crate) struct Entry {
    /// When it came.
    arrived: Instant,
    limits: Limits,
    /// The longest the policy lets a call take.
    call_timeout: Option<Duration>,
    /// The longest its caller waits.
    timeout: Option<Duration>,
    /// Whether it is made during another call, which may have to end before there is room.
    passes: bool,
}

impl Entry {
    /// A call that comes now.
    pub(crate) fn new(admission: &Admission, context: &CallContext) -> Self {
        let inside = admission.calls_in_flight;
        Self {
            arrived: Instant::now(),
            limits: Limits {
                inside: inside.map_or(CALLS_IN_FLIGHT_DEFAULT, |set| {
                    set.clamp(1, CALLS_IN_FLIGHT_MAX)
                }),
                waiting: admission.calls_waiting.unwrap_or(CALLS_WAITING_DEFAULT),
            },
            call_timeout: admission.call_timeout,
            timeout: context.timeout,
            passes: context.chain.is_during_call(),
        }
    }

    /// When it came.
    pub(crate) fn arrived(&self) -> Instant {
        self.arrived
    }

    /// How long it may take, where a call may take `usual` as far as the plugin is asked.
    fn time(&self, usual: Duration) -> Duration {
        let limit = self
            .call_timeout
            .map_or(usual, |set| set.clamp(TIMEOUT_MIN, CALL_TIMEOUT_MAX));
        self.timeout.map_or(limit, |timeout| timeout.min(limit))
    }
}

/// Why a call was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Nobody is let in any more.
    Closed,
    /// There is no room.
    Busy(Shed),
}

/// A plugin process that is up: what calls need of it.
pub(crate) struct Instance {
    pub(crate) plugin: PluginName,
    pub(crate) generation: u64,
    pub(crate) connection: Arc<dyn Connection>,
    pub(crate) calls: Arc<Calls>,
    pub(crate) gate: Gate,
    /// Whether the gate was closed because of a failure.
    pub(crate) failing: AtomicBool,
    /// How long a call may take as far as the plugin is asked.
    pub(crate) call_timeout: Duration,
    pub(crate) metrics: CallMetrics,
    pub(crate) health: Health,
    /// The report on its end, once there is one.
    pub(crate) ended: watch::Receiver<Option<Arc<str>>>,
}

/// The generation of a plugin that a call goes to: what was served from it stays with it while another one comes up.
#[derive(Debug, Clone)]
pub struct CallTarget(pub(crate) Arc<Instance>);

/// The same generation of the same plugin.
impl PartialEq for CallTarget {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for CallTarget {}

impl CallTarget {
    /// The plugin.
    #[must_use]
    pub fn plugin(&self) -> &PluginName {
        &self.0.plugin
    }

    /// Whether it takes no more calls: another generation serves, or none does.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.gate.is_closed()
    }

    /// The number of the generation.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.generation
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("plugin", &self.plugin)
            .finish_non_exhaustive()
    }
}

impl Instance {
    /// Lets a call in, at once or when it is its turn.
    ///
    /// # Errors
    /// Why it is not let in; nothing was sent.
    pub(crate) async fn enter(&self, entry: &mut Entry) -> Result<Inside<'_>, Refused> {
        let entered = match entry.passes {
            true => self.gate.pass(CALLS_IN_FLIGHT_MAX),
            false => self.gate.enter(entry.limits.inside),
        };
        match entered {
            Ok(inside) => Ok(inside),
            Err(Refusal::Closed) => Err(Refused::Closed),
            Err(Refusal::Full) if entry.passes => Err(Refused::Busy(Shed::HardLimit)),
            // Boxed, for its room in the many calls that need not wait.
            Err(Refusal::Full) => Box::pin(self.wait(entry)).await,
        }
    }

    async fn wait(&self, entry: &mut Entry) -> Result<Inside<'_>, Refused> {
        let waiting = self.gate.wait(entry.limits, Instant::now());
        let waiting = waiting.map_err(|refusal| match refusal {
            Refusal::Closed => Refused::Closed,
            Refusal::Full => Refused::Busy(Shed::QueueFull),
        })?;
        let _waits = self.metrics.wait();
        let until = entry.arrived + entry.time(self.call_timeout).min(CALL_WAIT_MAX);
        match tokio::time::timeout_at(until, waiting.inside()).await {
            Ok(Ok(inside)) => Ok(inside),
            Ok(Err(_)) => {
                // Where it goes from here it has waited already, and is not refused because others do.
                entry.limits.waiting = usize::MAX;
                Err(Refused::Closed)
            }
            Err(_) => Err(Refused::Busy(Shed::Waited)),
        }
    }

    /// What a caller is told whose call was not let in because there is no room.
    pub(crate) fn busy(&self, why: Shed) -> CallError {
        self.metrics.shed(why);
        CallError::Busy {
            plugin: self.plugin.clone(),
            running: self.gate.inside(),
            waiting: self.gate.waiting(),
        }
    }

    /// What a caller is told whose call was not let in because nobody is let in any more.
    pub(crate) async fn closed(&self) -> CallError {
        let plugin = self.plugin.clone();
        let reason = match self.failing.load(Ordering::Acquire) {
            true => self.report().await,
            false => None,
        };
        let reason = reason.as_deref().unwrap_or("it is being stopped");
        CallError::NotRunning {
            plugin,
            reason: reason.to_owned(),
        }
    }

    /// A call that was let in.
    pub(crate) async fn call(
        &self,
        _inside: Inside<'_>,
        function: &str,
        args: Bytes,
        context: CallContext,
        entry: &Entry,
    ) -> Result<Bytes, CallError> {
        if function.is_empty() || function.len() > FUNCTION_BYTES_MAX {
            return Err(CallError::FunctionName {
                len: function.len(),
                limit: FUNCTION_BYTES_MAX,
            });
        }
        if args.len() > ARGS_BYTES_MAX {
            return Err(CallError::ArgsTooLarge {
                plugin: self.plugin.clone(),
                len: args.len(),
                limit: ARGS_BYTES_MAX,
            });
        }
        let after = entry.time(self.call_timeout);
        let deadline = entry.arrived + after;
        let outcome = {
            let ticket = self.calls.begin(RunningCall {
                function: FunctionName::new(function),
                deadline: deadline.into_std(),
                context,
            });
            let _in_flight = self.metrics.run();
            let call = self.connection.call(function, args, ticket.token());
            tokio::time::timeout_at(deadline, call).await
        };
        let outcome = self.answered(function, after, outcome).await;
        match &outcome {
            Err(CallError::Timeout { .. }) => self.health.timed_out(deadline.into_std()),
            // Most of those that it works on are not waited for any more.
            Err(CallError::Busy { .. }) => self.metrics.shed(Shed::HardLimit),
            Ok(_)
            | Err(
                CallError::Application { .. }
                | CallError::ResultTooLarge { .. }
                | CallError::NoMemory { .. },
            ) => self.health.answered(std::time::Instant::now()),
            // What was not sent is no sign of life.
            Err(_) => {}
        }
        outcome
    }

    /// Asks the plugin's own health function. It is no call: it is not counted, and no limit keeps it out.
    pub(crate) async fn health_function(
        &self,
        function: &str,
        after: Duration,
    ) -> Result<Bytes, CallError> {
        let ticket = self.calls.begin(RunningCall {
            function: FunctionName::new(function),
            deadline: std::time::Instant::now() + after,
            context: CallContext::new(),
        });
        let call = self.connection.call(function, Bytes::new(), ticket.token());
        let outcome = tokio::time::timeout(after, call).await;
        self.answered(function, after, outcome).await
    }

    /// What came of a call of a function that had so long.
    async fn answered(
        &self,
        function: &str,
        after: Duration,
        outcome: Result<Result<Bytes, ConnectionError>, Elapsed>,
    ) -> Result<Bytes, CallError> {
        match outcome {
            Ok(Ok(result)) if result.len() > RESULT_BYTES_MAX => Err(CallError::ResultTooLarge {
                plugin: self.plugin.clone(),
                function: function.to_owned(),
                len: result.len(),
                limit: RESULT_BYTES_MAX,
            }),
            Ok(Ok(result)) => Ok(result),
            Ok(Err(error)) => Err(self.explain(error).await),
            Err(_) => Err(CallError::Timeout {
                plugin: self.plugin.clone(),
                function: function.to_owned(),
                after,
            }),
        }
    }

    /// Asks for a sign of life; says how long it took.
    pub(crate) async fn ping(&self, after: Duration) -> Result<Duration, CallError> {
        let started = Instant::now();
        match tokio::time::timeout(after, self.connection.ping()).await {
            Ok(Ok(())) => Ok(started.elapsed()),
            Ok(Err(error)) => Err(self.explain(error).await),
            Err(_) => Err(CallError::Timeout {
                plugin: self.plugin.clone(),
                function: "Control.Ping".to_owned(),
                after,
            }),
        }
    }

    /// Turns the connection's error into the caller's: where the process is ending, with the
    /// report on that, which takes a moment.
    async fn explain(&self, error: ConnectionError) -> CallError {
        let plugin = self.plugin.clone();
        match error {
            ConnectionError::Plugin(mut message) => {
                message.truncate(cut(&message, ERROR_TEXT_BYTES_MAX).len());
                CallError::Application { plugin, message }
            }
            ConnectionError::TooManyCalls(running) => CallError::Busy {
                plugin,
                running,
                waiting: self.gate.waiting(),
            },
            ConnectionError::NoMemory(bytes) => CallError::NoMemory { plugin, bytes },
            ConnectionError::Protocol(_) => CallError::Protocol {
                plugin,
                reason: chain(&error),
            },
            ConnectionError::Closed(_) => {
                let report = self.report().await;
                CallError::Crashed {
                    plugin,
                    reason: report.map_or_else(|| chain(&error), |report| report.to_string()),
                }
            }
        }
    }

    /// The report on a failure that is being found out about, which takes a moment.
    async fn report(&self) -> Option<Arc<str>> {
        let mut ended = self.ended.clone();
        let report = tokio::time::timeout(CRASH_REPORT_WAIT, ended.wait_for(Option::is_some)).await;
        report
            .ok()
            .and_then(Result::ok)
            .and_then(|report| report.clone())
    }

    /// Lets no more calls in, because it stops or because it has failed.
    pub(crate) fn close(&self, failed: bool) {
        self.failing.fetch_or(failed, Ordering::AcqRel);
        self.gate.close();
    }
}
