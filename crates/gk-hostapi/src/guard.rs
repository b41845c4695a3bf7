//! The guard: every request passes it, and a [`Granted`] from it is the only way to a method.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gk_manifest::PluginName;

use crate::caller::{CallInfo, Caller};
use crate::counts;
use crate::error::{ErrorKind, HostError};
use crate::policy::{Effective, Grants, PluginPolicy, Policies, Policy, Queue, Rate, SharedRates};
use crate::spec::MethodSpec;

/// The longest time of a request that belongs to no call.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// An admitted request: its caller, and the plugin's grants. It has no public constructor: only the
/// guard makes one.
pub struct Granted<'a> {
    caller: &'a Caller,
    plugin: Arc<PluginPolicy>,
    effective: arc_swap::Guard<Arc<Effective>>,
    deadline: Instant,
}

impl std::fmt::Debug for Granted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Granted")
            .field("plugin", &self.caller.plugin)
            .field("policy", &self.effective.policy)
            .finish_non_exhaustive()
    }
}

impl Granted<'_> {
    /// The caller of the request.
    pub fn caller(&self) -> &Caller {
        self.caller
    }

    /// The plugin whose request it is.
    pub fn plugin(&self) -> &PluginName {
        &self.caller.plugin
    }

    /// The grants of the plugin.
    pub fn grants(&self) -> &Grants {
        &self.effective.grants
    }

    /// The policy in force for the plugin.
    pub fn policy(&self) -> &Policy {
        &self.effective.policy
    }

    /// The time from which on the answer is of no more use.
    pub fn deadline(&self) -> tokio::time::Instant {
        self.deadline.into()
    }

    /// The call that the request belongs to; `None` where the request does not say so.
    pub fn call(&self) -> Option<&CallInfo> {
        self.caller.call.as_ref()
    }

    /// Takes a permit of the method's queue, if it has one.
    ///
    /// # Errors
    /// Timeout, or limit: there is none to be had.
    pub(crate) async fn permit(
        &self,
        queue: Option<Queue>,
    ) -> Result<Option<tokio::sync::SemaphorePermit<'_>>, HostError> {
        match queue {
            Some(queue) => self.plugin.permit(queue, self.deadline()).await.map(Some),
            None => Ok(None),
        }
    }

    /// Does the work, unless the plugin is blocked meanwhile: then the work is dropped.
    ///
    /// # Errors
    /// The work's own. Denied: the plugin was blocked; what it asked for may have happened or not.
    pub(crate) async fn unless_blocked<T>(
        &self,
        work: impl Future<Output = Result<T, HostError>>,
    ) -> Result<T, HostError> {
        tokio::select! {
            biased;
            result = work => result,
            () = self.plugin.blocked() => Err(HostError::denied(
                "it was blocked by its policy while the request ran; what it asked for may have \
                 happened or not",
            )),
        }
    }

    /// Counts one more against a rate.
    ///
    /// # Errors
    /// When it is used up.
    pub(crate) fn charge(&self, rate: Rate) -> Result<(), HostError> {
        self.plugin.charge(rate, self.policy())
    }

    /// Counts as many against a rate that several hosts keep together.
    ///
    /// # Errors
    /// When it is used up.
    pub(crate) async fn charge_shared(
        &self,
        rate: Rate,
        count: usize,
        shared: &dyn SharedRates,
    ) -> Result<(), HostError> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let name = self.plugin();
        let charge = self
            .plugin
            .charge_shared(name, rate, count, self.policy(), shared);
        charge.await
    }
}

/// Decides on a request.
///
/// # Errors
/// Denied: the plugin is blocked, or has no permission. Limit: a rate is used up. The text names
/// the plugin.
pub(crate) fn admit<'a>(
    policies: &Policies,
    caller: &'a Caller,
    spec: &MethodSpec,
) -> Result<Granted<'a>, HostError> {
    let plugin = policies.of(&caller.plugin);
    plugin.count(spec.counter);
    let effective = plugin.effective_for(caller.generation);
    let decision = decide(&plugin, &effective, spec);
    if let Err(error) = decision {
        counts::refused(&caller.plugin, spec.name, error.kind());
        return Err(refused(&plugin, caller, spec.name, &error));
    }
    let deadline = caller
        .deadline()
        .unwrap_or_else(|| Instant::now() + REQUEST_TIMEOUT);
    Ok(Granted {
        caller,
        effective,
        plugin,
        deadline,
    })
}

fn decide(
    plugin: &PluginPolicy,
    effective: &Effective,
    spec: &MethodSpec,
) -> Result<(), HostError> {
    if effective.is_blocked() {
        return Err(HostError::denied("it is blocked by its policy"));
    }
    if let Some(permission) = spec.permission
        && !effective.grants.has(permission.kind, permission.access)
    {
        return Err(HostError::denied(spec.denied));
    }
    match spec.rate {
        Some(rate) => plugin.charge(rate, &effective.policy),
        None => Ok(()),
    }
}

impl Granted<'_> {
    /// Counts a request that has ended.
    pub(crate) fn ended<T>(&self, method: &'static str, outcome: &Result<T, HostError>) {
        let plugin = &self.caller.plugin;
        self.plugin.succeeded().count(plugin, method, outcome);
    }

    /// Counts and explains a refusal that a method decided on.
    pub(crate) fn refused(&self, method: &'static str, error: &HostError) -> HostError {
        refused(&self.plugin, self.caller, method, error)
    }

    /// The error of a method: a denial is explained as one of the guard.
    pub(crate) fn explain(&self, method: &'static str, error: HostError) -> HostError {
        match error.kind() {
            ErrorKind::Denied => self.refused(method, &error),
            _ => error,
        }
    }
}

/// Says whose request was refused, logs the refusal and counts it. For denials and rates, whether
/// the guard decided or a method.
fn refused(
    plugin: &PluginPolicy,
    caller: &Caller,
    method: &'static str,
    error: &HostError,
) -> HostError {
    plugin.count_refusal();
    counts::denied(&caller.plugin, method);
    let call = caller.call.as_ref();
    let request_id = call.and_then(|call| call.request_id.as_ref());
    let request_id = request_id.map(tracing::field::display);
    let trace_id = call.and_then(|call| call.trace.as_ref());
    let trace_id = trace_id.map(|trace| tracing::field::display(trace.trace_id()));
    tracing::debug!(plugin = %caller.plugin, method, request_id, trace_id, %error, "refused");
    let text = format!("plugin \"{}\": {error}", caller.plugin);
    match error.kind() {
        ErrorKind::Limit => HostError::limit(text),
        _ => HostError::denied(text),
    }
}
