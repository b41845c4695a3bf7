//! Visible status of a plugin.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gk_manifest::PluginName;
use tokio::time::Instant;

use super::state::State;
use crate::generation::GenerationState;
use crate::limits::{FIRST_START_WAIT, RESTART_WAIT};
use crate::snapshot::{Awaited, Candidate, PluginState, PluginStatus};

pub(super) fn view(name: &PluginName, state: &State) -> PluginStatus {
    let lifecycle = &state.lifecycle;
    let current = lifecycle.current().clone();
    let starting = lifecycle.candidate().map(|candidate| Candidate {
        generation: candidate.generation,
        error: None,
    });
    let rejected = lifecycle.rejected().map(|(generation, error)| Candidate {
        generation,
        error: Some(error.to_owned()),
    });
    let is_returning = lifecycle.is_returning();
    let limit = match (is_returning || waits_for_others(state), state.has_served) {
        (false, _) => None,
        (true, false) => Some(FIRST_START_WAIT),
        (true, true) => Some(match &state.package {
            Some(package) => package.found.manifest.reload.wait().unwrap_or(RESTART_WAIT),
            None => RESTART_WAIT,
        }),
    };
    // A restart that comes later than calls wait is not worth waiting for.
    let is_soon = |limit: &Duration| {
        let due = lifecycle.due();
        due.is_none_or(|due| due.saturating_duration_since(Instant::now()) < *limit)
    };
    let awaited = limit.filter(is_soon).map(|limit| Awaited {
        limit,
        waiters: Arc::clone(&state.waiters),
    });
    let restarts = lifecycle.restarts();
    PluginStatus {
        name: name.clone(),
        dir: current.dir.clone(),
        generation: current.generation,
        state: state_of(name, state),
        registration: current.registration.or_else(|| state.registration.clone()),
        manifest: current.manifest,
        signature: current.signature,
        warnings: current.warnings,
        pid: current.pid,
        started_at: current.started_at,
        running_since: current.running_since,
        sandbox: current.sandbox,
        timeouts: current.timeouts,
        changed: state.changed,
        candidate: starting.or(rejected),
        draining: lifecycle.draining(),
        is_enabled: state.will.is_enabled(),
        can_roll_back: state.previous.is_some(),
        crashes: restarts.in_a_row(),
        last_crash: restarts.last(),
        last_error: state.last_error.clone(),
        next_start: lifecycle.due().map(wall),
        is_crash_looping: restarts.is_looping(),
        is_settled: is_settled(state),
        has_settled: state.has_settled || is_settled(state),
        awaited,
        // A generation that is stopping takes no calls.
        instance: current
            .instance
            .filter(|_| current.state == GenerationState::Up),
    }
}

/// Returns true if no generation is starting or stopping, except those that drain.
pub(super) fn is_settled(state: &State) -> bool {
    state.lifecycle.is_settled() && !waits_for_others(state)
}

/// Returns true if the plugin starts once its dependencies do, which are coming up.
fn waits_for_others(state: &State) -> bool {
    let hold = state.will.hold.as_ref();
    hold.is_some_and(|hold| state.will.wants() && hold.is_passing)
}

/// Converts a time of the monotonic clock to the wall clock.
fn wall(at: Instant) -> SystemTime {
    SystemTime::now() + at.saturating_duration_since(Instant::now())
}

pub(super) fn state_of(name: &PluginName, state: &State) -> PluginState {
    let (lifecycle, will) = (&state.lifecycle, &state.will);
    let current = &lifecycle.current().state;
    match current {
        GenerationState::Starting => return PluginState::Starting,
        GenerationState::Up => return PluginState::Running,
        GenerationState::Draining => return PluginState::Stopping,
        GenerationState::Stopped | GenerationState::Failed { .. } => {}
    }
    if will.blocked {
        return PluginState::Blocked;
    }
    if !will.is_enabled() {
        return PluginState::Disabled;
    }
    if let Some(reason) = &will.distrusted {
        let error = format!("plugin \"{name}\": {reason}");
        return PluginState::Failed { error };
    }
    if let Some(hold) = will.hold.as_ref().filter(|_| will.wants()) {
        let reason = hold.reason.clone();
        return match hold.is_error {
            true => PluginState::Failed { error: reason },
            false => PluginState::Waiting { reason },
        };
    }
    let GenerationState::Failed { error, .. } = current else {
        return PluginState::Stopped;
    };
    let error = error.clone();
    match (lifecycle.due().map(wall), lifecycle.restarts().is_looping()) {
        (None, _) => PluginState::Failed { error },
        (Some(until), false) => PluginState::BackingOff { error, until },
        (Some(until), true) => PluginState::CrashLooping { error, until },
    }
}
