//! The call path: admission, call tokens, the limits and errors of one call.
//!
//! Cost of a call that finds room: one lookup, two atomic counters, one entry in a sharded map
//! (which maps callbacks of the plugin to their call), one timer.

mod account;
mod gate;
mod queue;
mod tokens;
mod traced;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use gk_hostapi::{Admission, Chain, RequestId, TraceContext, User};
use gk_manifest::PluginName;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::error::Elapsed;
use tracing::Instrument;

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
    JOB_TIMEOUT_MAX, RESULT_BYTES_MAX, TIMEOUT_MIN,
};
use crate::log::cut;
use crate::metrics::{CallMetrics, Shed};

/// Context of a call, from its caller. The plugin's callbacks during the call are served in it.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CallContext {
    /// Maximum time that the caller waits; only ever shortens the `call_timeout` of plugin or
    /// policy.
    pub timeout: Option<Duration>,
    /// The call is a run of a job, with this time limit in place of the `call_timeout` of plugin and
    /// policy; the policy's `job_timeout` may shorten it.
    pub job_timeout: Option<Duration>,
    /// User on whose behalf the call is made, as the host knows them.
    pub user: Option<User>,
    /// Language of the user.
    pub language: Option<Arc<str>>,
    /// Calls from plugin to plugin that led to this one.
    pub chain: Chain,
    /// Id of the request that led to the call, by which it is found in every log.
    pub request_id: Option<RequestId>,
    /// Trace and span within which the call is made; the call is a span of its own in it. `None` if
    /// the call belongs to no trace, which then costs it nothing.
    pub trace: Option<TraceContext>,
}

impl CallContext {
    /// Creates the context of a call of the host's own.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the maximum time that the caller waits.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Marks the call as a run of a job, with its time limit.
    #[must_use]
    pub fn with_job_timeout(mut self, timeout: Duration) -> Self {
        self.job_timeout = Some(timeout);
        self
    }

    /// Sets the user on whose behalf the call is made.
    #[must_use]
    pub fn with_user(mut self, user: User) -> Self {
        self.user = Some(user);
        self
    }

    /// Sets the calls that led to this one.
    #[must_use]
    pub fn with_chain(mut self, chain: Chain) -> Self {
        self.chain = chain;
        self
    }

    /// Sets the id of the request that led to the call.
    #[must_use]
    pub fn with_request_id(mut self, id: RequestId) -> Self {
        self.request_id = Some(id);
        self
    }

    /// Sets the trace and the span within which the call is made.
    #[must_use]
    pub fn with_trace(mut self, trace: TraceContext) -> Self {
        self.trace = Some(trace);
        self
    }

    /// Sets the language of the user.
    #[must_use]
    pub fn with_language(mut self, language: impl Into<Arc<str>>) -> Self {
        self.language = Some(language.into());
        self
    }
}

/// A call that asks for admission.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Time of the call's arrival.
    arrived: Instant,
    limits: Limits,
    /// Maximum time of a call by the policy; of a job's run by policy and job.
    call_timeout: Option<Duration>,
    /// Maximum of the former.
    max: Duration,
    /// Maximum time that the caller waits.
    timeout: Option<Duration>,
    /// The call is made during another call, which may have to end before there is room; so it does
    /// not wait.
    passes: bool,
}

impl Entry {
    /// Creates the entry of a call that arrives now.
    pub(crate) fn new(admission: &Admission, context: &CallContext) -> Self {
        let inside = admission.calls_in_flight;
        let (call_timeout, max) = match context.job_timeout {
            Some(job) => {
                let limit = admission.job_timeout.map_or(job, |limit| limit.min(job));
                (Some(limit), JOB_TIMEOUT_MAX)
            }
            None => (admission.call_timeout, CALL_TIMEOUT_MAX),
        };
        Self {
            arrived: Instant::now(),
            limits: Limits {
                inside: inside.map_or(CALLS_IN_FLIGHT_DEFAULT, |set| {
                    set.clamp(1, CALLS_IN_FLIGHT_MAX)
                }),
                waiting: admission.calls_waiting.unwrap_or(CALLS_WAITING_DEFAULT),
            },
            call_timeout,
            max,
            timeout: context.timeout,
            passes: context.chain.is_during_call(),
        }
    }

    /// Time of the call's arrival.
    pub(crate) fn arrived(&self) -> Instant {
        self.arrived
    }

    /// Returns the time limit of the call; `default` applies unless the policy has another, and the
    /// caller may only shorten it.
    fn time(&self, default: Duration) -> Duration {
        let limit = self
            .call_timeout
            .map_or(default, |set| set.clamp(TIMEOUT_MIN, self.max));
        self.timeout.map_or(limit, |timeout| timeout.min(limit))
    }
}

/// Reason why a call was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The generation takes no more calls.
    Closed,
    /// The calls inside and in the queue are at their limits.
    Busy(Shed),
}

/// A running plugin process, as far as calls need it.
pub(crate) struct Instance {
    pub(crate) plugin: PluginName,
    pub(crate) generation: u64,
    pub(crate) connection: Arc<dyn Connection>,
    pub(crate) calls: Arc<Calls>,
    pub(crate) gate: Gate,
    /// The gate was closed because of a failure.
    pub(crate) failing: AtomicBool,
    /// Time limit of a call as the plugin asks for it; the policy may have another.
    pub(crate) call_timeout: Duration,
    pub(crate) metrics: CallMetrics,
    pub(crate) health: Health,
    /// Report on the end of the process, once there is one.
    pub(crate) ended: watch::Receiver<Option<Arc<str>>>,
}

/// Generation of a plugin that a call goes to. A call target does not move to another generation
/// that comes up.
#[derive(Debug, Clone)]
pub struct CallTarget(pub(crate) Arc<Instance>);

/// Compares by identity: the same generation of the same plugin.
impl PartialEq for CallTarget {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for CallTarget {}

impl CallTarget {
    /// Name of the plugin.
    #[must_use]
    pub fn plugin(&self) -> &PluginName {
        &self.0.plugin
    }

    /// Returns true if the generation takes no more calls: another generation serves, or none does.
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
    /// Lets a call in, at once or after a wait in the queue.
    ///
    /// # Errors
    /// The reason of the refusal; no part of the call was sent.
    pub(crate) async fn enter(&self, entry: &mut Entry) -> Result<Inside<'_>, Refused> {
        let entered = match entry.passes {
            true => self.gate.pass(CALLS_IN_FLIGHT_MAX),
            false => self.gate.enter(entry.limits.inside),
        };
        match entered {
            Ok(inside) => Ok(inside),
            Err(Refusal::Closed) => Err(Refused::Closed),
            Err(Refusal::Full) if entry.passes => Err(Refused::Busy(Shed::HardLimit)),
            // Boxed to keep the future of the many calls that need not wait small.
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
                // The call has waited already, so the queue of the next generation must not refuse
                // it for being full.
                entry.limits.waiting = usize::MAX;
                Err(Refused::Closed)
            }
            Err(_) => Err(Refused::Busy(Shed::Waited)),
        }
    }

    /// Returns the error for a call that was not let in for lack of room.
    pub(crate) fn busy(&self, why: Shed) -> CallError {
        self.metrics.shed(why);
        CallError::Busy {
            plugin: self.plugin.clone(),
            running: self.gate.inside(),
            waiting: self.gate.waiting(),
        }
    }

    /// Returns the error for a call that was not let in because the gate is closed.
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

    /// Runs a call that was let in.
    pub(crate) fn call(
        &self,
        inside: Inside<'_>,
        function: &str,
        args: Bytes,
        context: CallContext,
        entry: &Entry,
    ) -> impl Future<Output = Result<Bytes, CallError>> {
        // A span that no subscriber wants evaluates no field and allocates nothing.
        let span = tracing::debug_span!(
            "call",
            plugin = %self.plugin,
            generation = self.generation,
            function = cut(function, FUNCTION_BYTES_MAX),
        );
        let call = self.send(inside, function, args, context, entry);
        call.instrument(span)
    }

    async fn send(
        &self,
        _inside: Inside<'_>,
        function: &str,
        args: Bytes,
        mut context: CallContext,
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
        let span = traced::begin(&mut context, self, function);
        let after = entry.time(self.call_timeout);
        let deadline = entry.arrived + after;
        let outcome = {
            let call = RunningCall {
                function: FunctionName::new(function),
                deadline: deadline.into_std(),
                context,
            };
            let mut ticket = self.calls.begin(call, span);
            let _in_flight = self.metrics.run();
            let call = self.connection.call(function, args, ticket.token());
            let outcome = tokio::time::timeout_at(deadline, call).await;
            traced::end(ticket.take_span(), &outcome);
            outcome
        };
        let outcome = self.answered(function, after, outcome).await;
        match &outcome {
            Err(CallError::Timeout { .. }) => self.health.timed_out(deadline.into_std()),
            // Most of the calls in flight have no caller any more.
            Err(CallError::Busy { .. }) => self.metrics.shed(Shed::HardLimit),
            Ok(_)
            | Err(
                CallError::Application { .. }
                | CallError::ResultTooLarge { .. }
                | CallError::NoMemory { .. },
            ) => self.health.answered(std::time::Instant::now()),
            // A call that was not sent is no sign of life.
            Err(_) => {}
        }
        outcome
    }

    /// Calls the plugin's own health function. The call is not counted, and no limit applies.
    pub(crate) async fn health_function(
        &self,
        function: &str,
        after: Duration,
    ) -> Result<Bytes, CallError> {
        let call = RunningCall {
            function: FunctionName::new(function),
            deadline: std::time::Instant::now() + after,
            context: CallContext::new(),
        };
        let ticket = self.calls.begin(call, None);
        let call = self.connection.call(function, Bytes::new(), ticket.token());
        let outcome = tokio::time::timeout(after, call).await;
        self.answered(function, after, outcome).await
    }

    /// Returns the result of a call of a function whose time limit was `after`.
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

    /// Asks for a sign of life; returns the time until the answer.
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

    /// Converts an error of the connection for the caller. If the process is ending, waits a moment
    /// for the report on that.
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

    /// Waits a moment for the report on a failure.
    async fn report(&self) -> Option<Arc<str>> {
        let mut ended = self.ended.clone();
        let report = tokio::time::timeout(CRASH_REPORT_WAIT, ended.wait_for(Option::is_some)).await;
        report
            .ok()
            .and_then(Result::ok)
            .and_then(|report| report.clone())
    }

    /// Refuses further calls, because the generation stops or has failed.
    pub(crate) fn close(&self, failed: bool) {
        self.failing.fetch_or(failed, Ordering::AcqRel);
        self.gate.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CALL_TIMEOUT_DEFAULT;

    #[test]
    fn a_run_of_a_job_has_its_own_time_limit() {
        let seconds = Duration::from_secs;
        let time = |policy: [Option<u64>; 2], context: CallContext| {
            let [call, job] = policy.map(|limit| limit.map(seconds));
            let mut admission = Admission::within(call);
            admission.job_timeout = job;
            Entry::new(&admission, &context).time(CALL_TIMEOUT_DEFAULT)
        };
        let job = |limit| CallContext::new().with_job_timeout(seconds(limit));
        assert_eq!(time([Some(5), Some(8)], CallContext::new()), seconds(5));
        assert_eq!(time([Some(5), None], job(300)), seconds(300));
        assert_eq!(time([None, Some(8)], job(300)), seconds(8));
        assert_eq!(time([None, Some(800)], job(300)), seconds(300));
        assert_eq!(
            time([None, None], job(300).with_timeout(seconds(2))),
            seconds(2)
        );
        assert_eq!(time([None, None], job(1_000_000)), JOB_TIMEOUT_MAX);
    }
}
