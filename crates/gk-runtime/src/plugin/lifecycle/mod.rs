//! The state machine of a plugin over its generations. Pure: takes reports and requests, returns
//! starts and stops.
//!
//! A generation has one of three roles:
//!
//! | Role | Begins | Ends |
//! |---|---|---|
//! | current | it starts while no generation serves, or comes up as a candidate | another one comes up |
//! | candidate | it starts while the current one serves | it comes up, or ends |
//! | draining | it was current when the candidate came up | its process ends |
//!
//! The status of a plugin is that of its current generation. At any time a plugin has at most one
//! candidate and [`DRAINING_MAX`] draining generations. A change that comes meanwhile waits, and
//! only the last one counts.
//!
//! A current generation that ends by itself is restarted after a [delay](super::restarts). After a
//! failure that a restart cannot overcome, only a change starts it. A failed candidate is not tried
//! again without a change.

use tokio::time::Instant;

use super::restarts::{Now, Restarts, STEADY};
use crate::generation::{Failure, GenerationState, GenerationStatus};

/// Maximum number of generations of a plugin that may be draining while a new one is started.
pub(crate) const DRAINING_MAX: usize = 2;

/// Action for the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start a generation of this number; then [`Lifecycle::begun`].
    Start(u64, Source),
    /// Let a generation finish its calls, and end it.
    Stop(u64),
}

/// Package that a generation is started from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The present package.
    Present,
    /// The package that came up last, as the present one does not come up.
    Good,
    /// The package that came up before that, on the operator's request.
    Previous,
}

/// Order of the steps when one generation replaces another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Replacement {
    /// The new one comes up beside the old one.
    #[default]
    Rolling,
    /// The old one ends first.
    Recreate,
}

/// State that the operator, or the host, wants of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The plugin is to serve.
    Running,
    /// No process of the plugin is to run.
    Stopped,
    /// The host ends: later requests are ignored.
    Ended,
}

#[derive(Debug)]
struct Member {
    status: GenerationStatus,
    /// A stop was requested.
    stopping: bool,
    /// The package is not the one that crashed before.
    fresh: bool,
    source: Source,
    /// Strategy for the replacement of this generation by the next.
    replacement: Replacement,
}

/// The generations of a plugin that have a role.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    current: Member,
    candidate: Option<Member>,
    draining: Vec<Member>,
    /// Number and error of the last candidate that did not come up; `None` once another one has.
    rejected: Option<(u64, String)>,
    wanted: Wanted,
    /// A newer generation is to be started.
    behind: bool,
    /// The next generation is of another package, or rolled back: earlier crashes do not count for
    /// it.
    fresh: bool,
    /// The operator asks for the version before.
    back: bool,
    /// The version before runs: the present package is ignored until it changes.
    rolled_back: bool,
    /// The present package is to be tried, although it did not come up before.
    try_present: bool,
    restarts: Restarts,
    /// Time at which the current generation came up.
    up: Option<Instant>,
    /// Time of the restart of a current generation that ended by itself.
    due: Option<Instant>,
    /// Number of the newest generation.
    newest: u64,
    /// Source of the generation that the driver was told to start, until it has begun.
    starting: Option<Source>,
    /// Counts the changes of the visible status.
    revision: u64,
}

impl Lifecycle {
    /// Creates a plugin without a process. Its status is `status` until a generation starts.
    pub(crate) fn new(status: GenerationStatus, restarts: Restarts) -> Self {
        Self {
            current: Member {
                status,
                stopping: false,
                fresh: false,
                source: Source::Present,
                replacement: Replacement::default(),
            },
            candidate: None,
            draining: Vec::new(),
            rejected: None,
            wanted: Wanted::Stopped,
            behind: false,
            fresh: false,
            back: false,
            rolled_back: false,
            try_present: false,
            restarts,
            up: None,
            due: None,
            newest: 0,
            starting: None,
            revision: 0,
        }
    }

    /// Number that changes with the visible status.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Returns the status of the current generation, which is the plugin's.
    pub(crate) fn current(&self) -> &GenerationStatus {
        &self.current.status
    }

    /// The generation that is starting beside the current one.
    pub(crate) fn candidate(&self) -> Option<&GenerationStatus> {
        self.candidate.as_ref().map(|member| &member.status)
    }

    /// Number and error of the last candidate, if it did not come up.
    pub(crate) fn rejected(&self) -> Option<(u64, &str)> {
        let (number, error) = self.rejected.as_ref()?;
        Some((*number, error))
    }

    /// Number of the newest generation that was started, or is being started.
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// Records that the present package cannot be started. Without a generation that serves or will
    /// restart, the plugin has failed.
    pub(crate) fn reject(&mut self, error: String) {
        if self.current.status.state.has_ended() && self.due.is_none() {
            let failure = Failure::Refused;
            self.current.status.state = GenerationState::Failed { error, failure };
        } else {
            self.rejected = Some((self.newest + 1, error));
        }
        self.revision += 1;
    }

    /// Records that the present package is the running one, and clears the last rejection.
    pub(crate) fn accept(&mut self) {
        if self.rejected.take().is_some() {
            self.revision += 1;
        }
    }

    /// Returns the number of draining generations.
    pub(crate) fn draining(&self) -> usize {
        self.draining.len()
    }

    /// Returns true if no generation is starting or stopping, except those that drain.
    pub(crate) fn is_settled(&self) -> bool {
        let moving = matches!(
            self.current.status.state,
            GenerationState::Starting | GenerationState::Draining
        );
        !moving && self.candidate.is_none() && self.starting.is_none() && !self.wants_start()
    }

    /// Returns true if the plugin has no process.
    pub(crate) fn is_idle(&self) -> bool {
        self.alive() == 0 && self.starting.is_none()
    }

    /// Changes the wanted state.
    pub(crate) fn want(&mut self, wanted: Wanted, now: Now) -> Vec<Action> {
        if self.wanted != Wanted::Ended {
            self.behind |= wanted == Wanted::Running && self.wanted == Wanted::Stopped;
            self.wanted = wanted;
        }
        self.settle(now)
    }

    /// Requests a new generation of the present package; `fresh` if that is another package, to
    /// which earlier crashes do not apply.
    pub(crate) fn changed(&mut self, fresh: bool, now: Now) -> Vec<Action> {
        self.behind = true;
        self.try_present = true;
        self.fresh |= fresh;
        self.back &= !fresh;
        self.rolled_back &= !fresh;
        self.settle(now)
    }

    /// Requests a new generation, as its inputs from the host have changed. A rejected package is
    /// not tried again: the last good one is used then.
    pub(crate) fn renew(&mut self, now: Now) -> Vec<Action> {
        self.behind = true;
        self.settle(now)
    }

    /// Records another package, for when the plugin is wanted again.
    pub(crate) fn another_package(&mut self) {
        (self.fresh, self.rolled_back, self.rejected) = (true, false, None);
    }

    /// Requests the version that came up before.
    pub(crate) fn roll_back(&mut self, now: Now) -> Vec<Action> {
        self.behind = true;
        self.fresh = true;
        self.back = true;
        self.settle(now)
    }

    /// Ends the preference for the version before: the present package counts again.
    pub(crate) fn forget_roll_back(&mut self) {
        self.rolled_back = false;
    }

    /// Forgets earlier crashes. A plugin that waits for its restart starts now.
    pub(crate) fn reset(&mut self, now: Now) -> Vec<Action> {
        self.restarts.forget();
        self.revision += 1;
        if self.due.is_some() {
            self.due = Some(now.instant);
        }
        self.settle(now)
    }

    /// Forgets crashes that were of another binary.
    pub(crate) fn forget_crashes(&mut self) {
        self.restarts.forget();
    }

    /// Returns the crashes of the plugin.
    pub(crate) fn restarts(&self) -> &Restarts {
        &self.restarts
    }

    /// Time at which [`settle`](Self::settle) is to be called: to restart the plugin, or to forget
    /// its crashes.
    pub(crate) fn wake(&self) -> Option<Instant> {
        let steady = self.up.filter(|_| self.restarts.in_a_row() > 0);
        self.due.or(steady.map(|up| up + STEADY))
    }

    /// Time of the restart, if the plugin ended by itself.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Returns true if no generation serves and one is coming up, or will.
    pub(crate) fn is_returning(&self) -> bool {
        let coming = match self.current.status.state {
            GenerationState::Starting => true,
            GenerationState::Draining | GenerationState::Stopped => self.behind,
            GenerationState::Failed { .. } => self.due.is_some(),
            GenerationState::Up => false,
        };
        self.wanted == Wanted::Running && (coming || self.candidate.is_some())
    }

    /// Records that a requested generation has no package to start from. The next change tries
    /// again.
    pub(crate) fn not_begun(&mut self) {
        self.starting = None;
        self.fresh = false;
    }

    /// Returns the generation that calls go to.
    pub(crate) fn serving(&self) -> Option<u64> {
        let current = &self.current.status;
        (current.state == GenerationState::Up).then_some(current.generation)
    }

    /// Returns true if the last start failed.
    pub(crate) fn has_failed(&self) -> bool {
        let failed = matches!(self.current.status.state, GenerationState::Failed { .. });
        failed || self.rejected.is_some()
    }

    /// Records that a requested generation has begun with this status; `replacement` says how the
    /// next one replaces it.
    pub(crate) fn begun(
        &mut self,
        status: GenerationStatus,
        replacement: Replacement,
        now: Now,
    ) -> Vec<Action> {
        let source = self.starting.take().unwrap_or(Source::Present);
        let member = Member {
            status,
            stopping: false,
            fresh: std::mem::take(&mut self.fresh),
            source,
            replacement,
        };
        if self.current.status.state.has_ended() {
            if member.fresh {
                self.restarts.forget();
            }
            if source != Source::Good {
                // The new generation is the visible one, so the rejection is out of date.
                self.rejected = None;
            }
            (self.up, self.due) = (None, None);
            self.current = member;
        } else {
            self.candidate = Some(member);
        }
        self.revision += 1;
        self.settle(now)
    }

    /// Takes in the status that a generation reports.
    pub(crate) fn report(&mut self, status: GenerationStatus, now: Now) -> Vec<Action> {
        let number = status.generation;
        // The visible status includes the candidate and the number of draining generations.
        self.revision += 1;
        if self.current.status.generation == number {
            let had_ended = self.current.status.state.has_ended();
            self.current.status = status;
            if !had_ended {
                self.note(now);
            }
        } else if let Some(member) = self.draining.iter_mut().find(|member| member.is(number)) {
            member.status = status;
        } else if let Some(mut member) = self.candidate.take_if(|member| member.is(number)) {
            member.status = status;
            match &member.status.state {
                GenerationState::Up if !member.stopping => {
                    if member.source != Source::Good {
                        self.rejected = None;
                    }
                    if member.fresh {
                        self.restarts.forget();
                    }
                    let before = std::mem::replace(&mut self.current, member);
                    self.draining.push(before);
                    (self.up, self.due) = (Some(now.instant), None);
                    self.rolled_back |= self.current.source == Source::Previous;
                }
                GenerationState::Failed { error, .. } => {
                    self.rejected = Some((number, error.clone()));
                }
                state if state.has_ended() => {}
                _ => self.candidate = Some(member),
            }
        }
        self.draining
            .retain(|member| !member.status.state.has_ended());
        self.settle(now)
    }

    /// Records when the current generation came up, or plans its restart after a crash.
    fn note(&mut self, now: Now) {
        match &self.current.status.state {
            GenerationState::Up if self.up.is_none() => {
                self.up = Some(now.instant);
                self.rolled_back |= self.current.source == Source::Previous;
            }
            GenerationState::Failed { failure, .. }
                if *failure != Failure::Refused && !self.current.stopping =>
            {
                let out_of_memory = *failure == Failure::OutOfMemory;
                let delay = self.restarts.crashed(now, self.up, out_of_memory);
                self.due = Some(now.instant + delay);
            }
            _ => {}
        }
    }

    fn alive(&self) -> usize {
        let others = self.candidate.iter().chain(&self.draining);
        std::iter::once(&self.current)
            .chain(others)
            .filter(|member| !member.status.state.has_ended())
            .count()
    }

    /// Returns true if the plugin is to serve.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted == Wanted::Running
    }

    fn wants_start(&self) -> bool {
        self.wanted == Wanted::Running && self.behind
    }

    /// Compares what is wanted with what runs. Updates the state, and returns the driver's actions.
    pub(crate) fn settle(&mut self, now: Now) -> Vec<Action> {
        let mut actions = Vec::new();
        let is_up = self.current.status.state == GenerationState::Up;
        if is_up && self.restarts.in_a_row() > 0 && self.wake().is_some_and(|at| at <= now.instant)
        {
            self.restarts.forget();
            self.revision += 1;
        }
        for member in &mut self.draining {
            member.stop(&mut actions);
        }
        if self.wanted != Wanted::Running {
            for member in self.candidate.iter_mut().chain([&mut self.current]) {
                member.stop(&mut actions);
            }
            self.due = None;
            return actions;
        }
        let again = self.due.is_some_and(|due| due <= now.instant) && self.candidate.is_none();
        if !(self.behind || again) || self.starting.is_some() {
            return actions;
        }
        // A generation that is not up yet was started from an outdated package.
        if let Some(superseded) = &mut self.candidate {
            superseded.stop(&mut actions);
            return actions;
        }
        if self.current.status.state == GenerationState::Starting {
            self.current.stop(&mut actions);
            return actions;
        }
        let replaces = self.current.status.state == GenerationState::Up && !self.current.stopping;
        let free = self.current.status.state.has_ended();
        if replaces && self.current.replacement == Replacement::Recreate {
            self.current.stop(&mut actions);
            return actions;
        }
        if (replaces && self.draining.len() < DRAINING_MAX) || free {
            let good = self.rolled_back || (self.rejected.is_some() && !self.try_present);
            let source = match self.back {
                true => Source::Previous,
                false if good => Source::Good,
                false => Source::Present,
            };
            (self.behind, self.back, self.due) = (false, false, None);
            self.try_present = false;
            self.starting = Some(source);
            self.newest += 1;
            actions.push(Action::Start(self.newest, source));
        }
        actions
    }
}

impl Member {
    fn is(&self, number: u64) -> bool {
        self.status.generation == number
    }

    fn stop(&mut self, actions: &mut Vec<Action>) {
        if !self.stopping && !self.status.state.has_ended() {
            self.stopping = true;
            actions.push(Action::Stop(self.status.generation));
        }
    }
}

#[cfg(test)]
mod tests;
