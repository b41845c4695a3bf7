//! The state machine of a plugin over its generations. Pure: reports and wishes in, starts and stops out.
//!
//! A generation has one of three roles:
//!
//! | Role | How it gets it | How it loses it |
//! |---|---|---|
//! | current | it begins while nothing serves, or comes up as a candidate | another one comes up |
//! | candidate | it begins while the current one serves | it comes up, or ends |
//! | draining | it was current when the candidate came up, or a candidate that was superseded | its process ends |
//!
//! What people see of a plugin is its current generation. At any time it has at most one candidate and
//! [`DRAINING_MAX`] draining generations; a change that comes meanwhile waits, and the last one counts.
//!
//! A current generation that ends by itself is started again after a [delay](super::restarts); where time cannot mend
//! what it failed of, only a change starts it. A candidate that fails is not tried again by itself.

use tokio::time::Instant;

use super::restarts::{Now, Restarts, STEADY};
use crate::generation::{Failure, GenerationState, GenerationStatus};

/// Generations of a plugin that may be on their way out while a new one is started.
pub(crate) const DRAINING_MAX: usize = 2;

/// What the driver has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start a generation of this number; then [`Lifecycle::begun`].
    Start(u64, Source),
    /// Let a generation finish its calls, and end it.
    Stop(u64),
}

/// What a generation is started from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// What is there now.
    Present,
    /// What came up last, because what is there now does not.
    Good,
    /// What came up before that, because the operator wants it back.
    Previous,
}

/// How one generation replaces another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Replacement {
    /// The new one comes up beside the old one.
    #[default]
    Rolling,
    /// The old one ends first.
    Recreate,
}

/// What the operator, or the host, wants of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// It is to serve.
    Running,
    /// Nothing of it is to run.
    Stopped,
    /// The host ends: nothing is to run, whatever is wanted later.
    Ended,
}

#[derive(Debug)]
struct Member {
    status: GenerationStatus,
    /// Whether it was told to end.
    stopping: bool,
    /// Whether it is another package than what crashed before.
    fresh: bool,
    source: Source,
    /// How the next one replaces it.
    replacement: Replacement,
}

/// The generations of a plugin that have a role.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    current: Member,
    candidate: Option<Member>,
    draining: Vec<Member>,
    /// Why the last candidate did not come up; nothing once another one has.
    rejected: Option<(u64, String)>,
    wanted: Wanted,
    /// Whether something is to be started that is newer than what was.
    behind: bool,
    /// Whether that is another package.
    fresh: bool,
    /// Whether the operator wants back what came up before.
    back: bool,
    /// Whether that is so: what is there is left alone until it changes.
    rolled_back: bool,
    /// Whether what is there is to be tried, although it did not come up before.
    try_present: bool,
    restarts: Restarts,
    /// When the current generation came up.
    up: Option<Instant>,
    /// When the current one, which ended by itself, is started again.
    due: Option<Instant>,
    /// Number of the newest generation.
    newest: u64,
    /// What the generation is started from that the driver was told to start, until it has begun.
    starting: Option<Source>,
    /// Counts the changes of the plugin's face.
    revision: u64,
}

impl Lifecycle {
    /// A plugin of which nothing runs, and as which people see `status` until something does.
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

    /// Changes whenever something does that people see.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The plugin's face.
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

    /// What is there cannot be started. Without a generation that serves this is what the plugin is.
    pub(crate) fn reject(&mut self, error: String) {
        if self.current.status.state.has_ended() && self.due.is_none() {
            let failure = Failure::Refused;
            self.current.status.state = GenerationState::Failed { error, failure };
        } else {
            self.rejected = Some((self.newest + 1, error));
        }
        self.revision += 1;
    }

    /// What is there now is what runs: nothing is rejected any more.
    pub(crate) fn accept(&mut self) {
        if self.rejected.take().is_some() {
            self.revision += 1;
        }
    }

    /// Generations on their way out.
    pub(crate) fn draining(&self) -> usize {
        self.draining.len()
    }

    /// Whether nothing is under way but what is draining.
    pub(crate) fn is_settled(&self) -> bool {
        let moving = matches!(
            self.current.status.state,
            GenerationState::Starting | GenerationState::Draining
        );
        !moving && self.candidate.is_none() && self.starting.is_none() && !self.wants_start()
    }

    /// Whether no process of the plugin is there.
    pub(crate) fn is_idle(&self) -> bool {
        self.alive() == 0 && self.starting.is_none()
    }

    /// Takes what is wanted from now on.
    pub(crate) fn want(&mut self, wanted: Wanted, now: Now) -> Vec<Action> {
        if self.wanted != Wanted::Ended {
            self.behind |= wanted == Wanted::Running && self.wanted == Wanted::Stopped;
            self.wanted = wanted;
        }
        self.settle(now)
    }

    /// There is something newer than what was started, or it is to be started anew; `fresh`: it is another package, whose
    /// crashes are none of the present one's.
    pub(crate) fn changed(&mut self, fresh: bool, now: Now) -> Vec<Action> {
        self.behind = true;
        self.try_present = true;
        self.fresh |= fresh;
        self.back &= !fresh;
        self.rolled_back &= !fresh;
        self.settle(now)
    }

    /// What came up is to be started anew, as the host gives it something else.
    pub(crate) fn renew(&mut self, now: Now) -> Vec<Action> {
        self.behind = true;
        self.settle(now)
    }

    /// Another package is there, for when it is wanted.
    pub(crate) fn another_package(&mut self) {
        (self.fresh, self.rolled_back, self.rejected) = (true, false, None);
    }

    /// What came up before is to come back.
    pub(crate) fn roll_back(&mut self, now: Now) -> Vec<Action> {
        self.behind = true;
        self.fresh = true;
        self.back = true;
        self.settle(now)
    }

    /// What is there counts again.
    pub(crate) fn forget_roll_back(&mut self) {
        self.rolled_back = false;
    }

    /// Earlier crashes count no more; one that waits is started now.
    pub(crate) fn reset(&mut self, now: Now) -> Vec<Action> {
        self.restarts.forget();
        self.revision += 1;
        if self.due.is_some() {
            self.due = Some(now.instant);
        }
        self.settle(now)
    }

    /// What crashed is not what is there.
    pub(crate) fn forget_crashes(&mut self) {
        self.restarts.forget();
    }

    /// Its crashes.
    pub(crate) fn restarts(&self) -> &Restarts {
        &self.restarts
    }

    /// When [`settle`](Self::settle) is to be called: to start it again, or to forget its crashes.
    pub(crate) fn wake(&self) -> Option<Instant> {
        let steady = self.up.filter(|_| self.restarts.in_a_row() > 0);
        self.due.or(steady.map(|up| up + STEADY))
    }

    /// When it is started again, if it ended by itself.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether a new generation is on its way where none serves, after one that did.
    pub(crate) fn is_returning(&self) -> bool {
        let coming = match self.current.status.state {
            GenerationState::Starting => true,
            GenerationState::Draining | GenerationState::Stopped => self.behind,
            GenerationState::Failed { .. } => self.due.is_some(),
            GenerationState::Up => false,
        };
        self.wanted == Wanted::Running && (coming || self.candidate.is_some())
    }

    /// A generation that was to be started cannot be: there is nothing to start it from. The next change tries again.
    pub(crate) fn not_begun(&mut self) {
        self.starting = None;
        self.fresh = false;
    }

    /// The generation that calls go to.
    pub(crate) fn serving(&self) -> Option<u64> {
        let current = &self.current.status;
        (current.state == GenerationState::Up).then_some(current.generation)
    }

    /// Whether what was started last did not come up.
    pub(crate) fn has_failed(&self) -> bool {
        let failed = matches!(self.current.status.state, GenerationState::Failed { .. });
        failed || self.rejected.is_some()
    }

    /// A generation that was to be started has begun, as this; the next one replaces it so.
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
                // It is what people see now.
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

    /// Takes in what a generation reports.
    pub(crate) fn report(&mut self, status: GenerationStatus, now: Now) -> Vec<Action> {
        let number = status.generation;
        // People see the candidate and how many are draining, too.
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

    /// What the state that the current generation has now means for its restart.
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

    /// Whether it is to serve.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted == Wanted::Running
    }

    fn wants_start(&self) -> bool {
        self.wanted == Wanted::Running && self.behind
    }

    /// What follows from how things stand at that time.
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
        // What is not up yet was started from what is no longer meant.
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
