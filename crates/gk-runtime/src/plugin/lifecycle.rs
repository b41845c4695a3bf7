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

use crate::generation::{GenerationState, GenerationStatus};

/// Generations of a plugin that may be on their way out while a new one is started.
pub(crate) const DRAINING_MAX: usize = 2;

/// What the driver has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start a generation of this number, from what is there now; then [`Lifecycle::begun`].
    Start(u64),
    /// Let a generation finish its calls, and end it.
    Stop(u64),
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
    /// Number of the newest generation.
    newest: u64,
    /// A generation that the driver was told to start, until it has begun.
    starting: bool,
    /// Counts the changes of the plugin's face.
    revision: u64,
}

impl Lifecycle {
    /// A plugin of which nothing runs, and as which people see `status` until something does.
    pub(crate) fn new(status: GenerationStatus) -> Self {
        Self {
            current: Member {
                status,
                stopping: false,
            },
            candidate: None,
            draining: Vec::new(),
            rejected: None,
            wanted: Wanted::Stopped,
            behind: false,
            newest: 0,
            starting: false,
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
        if self.current.status.state.has_ended() {
            self.current.status.state = GenerationState::Failed { error };
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
        !moving && self.candidate.is_none() && !self.starting && !self.wants_start()
    }

    /// Whether no process of the plugin is there.
    pub(crate) fn is_idle(&self) -> bool {
        self.alive() == 0 && !self.starting
    }

    /// Takes what is wanted from now on.
    pub(crate) fn want(&mut self, wanted: Wanted) -> Vec<Action> {
        if self.wanted != Wanted::Ended {
            self.behind |= wanted == Wanted::Running && self.wanted == Wanted::Stopped;
            self.wanted = wanted;
        }
        self.settle()
    }

    /// There is something newer than what was started, or it is to be started anew.
    pub(crate) fn changed(&mut self) -> Vec<Action> {
        self.behind = true;
        self.settle()
    }

    /// A generation that was to be started cannot be: there is nothing to start it from. The next change tries again.
    pub(crate) fn not_begun(&mut self) {
        self.starting = false;
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

    /// A generation that was to be started has begun, as this.
    pub(crate) fn begun(&mut self, status: GenerationStatus) -> Vec<Action> {
        self.starting = false;
        let member = Member {
            status,
            stopping: false,
        };
        if self.current.status.state.has_ended() {
            self.current = member;
        } else {
            self.candidate = Some(member);
        }
        self.revision += 1;
        self.settle()
    }

    /// Takes in what a generation reports.
    pub(crate) fn report(&mut self, status: GenerationStatus) -> Vec<Action> {
        let number = status.generation;
        // People see the candidate and how many are draining, too.
        self.revision += 1;
        if self.current.status.generation == number {
            self.current.status = status;
        } else if let Some(member) = self.draining.iter_mut().find(|member| member.is(number)) {
            member.status = status;
        } else if let Some(mut member) = self.candidate.take_if(|member| member.is(number)) {
            member.status = status;
            match &member.status.state {
                GenerationState::Up if !member.stopping => {
                    self.rejected = None;
                    let before = std::mem::replace(&mut self.current, member);
                    self.draining.push(before);
                }
                GenerationState::Failed { error } => {
                    self.rejected = Some((number, error.clone()));
                }
                state if state.has_ended() => {}
                _ => self.candidate = Some(member),
            }
        }
        self.draining
            .retain(|member| !member.status.state.has_ended());
        self.settle()
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

    /// What follows from how things stand.
    fn settle(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        for member in &mut self.draining {
            member.stop(&mut actions);
        }
        if self.wanted != Wanted::Running {
            for member in self.candidate.iter_mut().chain([&mut self.current]) {
                member.stop(&mut actions);
            }
            return actions;
        }
        if !self.behind || self.starting {
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
        if (replaces && self.draining.len() < DRAINING_MAX) || free {
            self.behind = false;
            self.starting = true;
            self.newest += 1;
            actions.push(Action::Start(self.newest));
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
