//! The state machine: its cases, and every order of events against what must always hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use GenerationState::{Draining, Starting, Stopped, Up};

fn status(generation: u64, state: GenerationState) -> GenerationStatus {
    let mut status = GenerationStatus::not_started("/p".into(), state);
    status.generation = generation;
    status
}

fn failed() -> GenerationState {
    GenerationState::Failed {
        error: "no".to_owned(),
        failure: Failure::Refused,
    }
}

fn crashed() -> GenerationState {
    GenerationState::Failed {
        error: "boom".to_owned(),
        failure: Failure::Crashed,
    }
}

/// A lifecycle, and the processes that its actions create.
#[derive(Debug)]
struct World {
    lifecycle: Lifecycle,
    processes: BTreeMap<u64, Process>,
    wanted: Wanted,
    now: Now,
    /// Source of the newest generation.
    source: Option<Source>,
    replacement: Replacement,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    state: GenerationState,
    stopping: bool,
}

impl World {
    fn new() -> Self {
        Self {
            lifecycle: Lifecycle::new(status(0, Stopped), Restarts::new(7)),
            processes: BTreeMap::new(),
            wanted: Wanted::Stopped,
            now: Now::new(),
            source: None,
            replacement: Replacement::Rolling,
        }
    }

    fn recreating(mut self) -> Self {
        self.replacement = Replacement::Recreate;
        self
    }

    /// A world whose plugin serves.
    fn serving() -> Self {
        let mut world = Self::new();
        world.want(Wanted::Running);
        world.report(1, Up);
        world
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start(number, source) => {
                    self.source = Some(source);
                    let process = Process {
                        state: Starting,
                        stopping: false,
                    };
                    assert!(self.processes.insert(number, process).is_none());
                    let further =
                        self.lifecycle
                            .begun(status(number, Starting), self.replacement, self.now);
                    self.perform(further);
                }
                Action::Stop(number) => {
                    let process = self.processes.get_mut(&number).unwrap();
                    assert!(!process.stopping, "told twice");
                    process.stopping = true;
                }
            }
        }
    }

    fn want(&mut self, wanted: Wanted) {
        self.wanted = wanted;
        let actions = self.lifecycle.want(wanted, self.now);
        self.perform(actions);
    }

    fn change(&mut self) {
        let actions = self.lifecycle.changed(true, self.now);
        self.perform(actions);
    }

    fn roll_back(&mut self) {
        let actions = self.lifecycle.roll_back(self.now);
        self.perform(actions);
    }

    /// Lets time pass until the next wake-up, or for a second.
    fn pass(&mut self) {
        let passed = self.lifecycle.wake().map_or(Duration::from_secs(1), |at| {
            at.saturating_duration_since(self.now.instant)
        });
        self.now.instant += passed;
        self.now.time += passed;
        let actions = self.lifecycle.settle(self.now);
        self.perform(actions);
    }

    fn report(&mut self, number: u64, state: GenerationState) {
        match state.has_ended() {
            true => drop(self.processes.remove(&number)),
            false => self.processes.get_mut(&number).unwrap().state = state.clone(),
        }
        let actions = self.lifecycle.report(status(number, state), self.now);
        self.perform(actions);
    }

    fn face(&self) -> (u64, &GenerationState) {
        let current = self.lifecycle.current();
        (current.generation, &current.state)
    }

    fn stopping(&self) -> Vec<u64> {
        let stopping = self
            .processes
            .iter()
            .filter(|(_, process)| process.stopping);
        stopping.map(|(number, _)| *number).collect()
    }
}

/// The end of a replaced generation must not overwrite the status of its successor; with one status
/// per name it did.
#[test]
fn the_old_ones_end_is_not_the_new_ones() {
    let mut world = World::serving();
    world.change();
    // While it starts, calls go to the one that serves.
    assert_eq!(world.face(), (1, &Up));
    world.report(2, Up);
    assert_eq!((world.face(), world.stopping()), ((2, &Up), vec![1]));
    world.report(1, Draining);
    assert_eq!(world.face(), (2, &Up));
    world.report(1, Stopped);
    assert_eq!(world.face(), (2, &Up));
    assert_eq!(world.processes.len(), 1);
    // Reports after a generation's end are ignored.
    let now = world.now;
    world.lifecycle.report(status(1, failed()), now);
    assert_eq!(world.face(), (2, &Up));
}

#[test]
fn a_candidate_that_fails_leaves_everything_as_it_was() {
    let mut world = World::serving();
    world.change();
    world.report(2, failed());
    assert_eq!((world.face(), world.stopping()), ((1, &Up), vec![]));
    assert_eq!(world.lifecycle.rejected(), Some((2, "no")));
    assert!(world.lifecycle.is_settled());
    world.change();
    world.report(3, Up);
    assert_eq!((world.face(), world.lifecycle.rejected()), ((3, &Up), None));
}

#[test]
fn a_change_supersedes_what_is_starting() {
    let mut world = World::serving();
    world.change();
    world.change();
    world.change();
    assert_eq!(world.stopping(), [2]);
    assert!(!world.lifecycle.is_settled());
    // A superseded candidate that comes up all the same does not take over.
    world.report(2, Up);
    assert_eq!(world.face(), (1, &Up));
    world.report(2, Stopped);
    assert_eq!(world.lifecycle.candidate().unwrap().generation, 3);
    world.report(3, Up);
    assert_eq!(world.face(), (3, &Up));
    // Also the very first one.
    let mut world = World::new();
    world.want(Wanted::Running);
    world.change();
    assert_eq!(world.stopping(), [1]);
    world.report(1, Stopped);
    assert_eq!(world.face(), (2, &Starting));
}

#[test]
fn old_ones_that_do_not_end_hold_up_the_next() {
    let mut world = World::serving();
    for number in 2..=3 {
        world.change();
        world.report(number, Up);
    }
    assert_eq!(
        (world.stopping(), world.lifecycle.draining()),
        (vec![1, 2], 2)
    );
    world.change();
    world.change();
    assert_eq!(world.processes.len(), 3);
    world.report(1, Stopped);
    assert_eq!(world.lifecycle.candidate().unwrap().generation, 4);
}

#[test]
fn what_is_stopped_starts_again_only_when_it_is_wanted() {
    let mut world = World::serving();
    world.want(Wanted::Stopped);
    assert_eq!(world.stopping(), [1]);
    world.change();
    world.want(Wanted::Running);
    world.report(1, Draining);
    assert_eq!(world.processes.len(), 1);
    world.report(1, Stopped);
    assert_eq!(world.face(), (2, &Starting));
    world.report(2, failed());
    assert_eq!(world.face(), (2, &failed()));
    assert!(world.lifecycle.is_settled() && world.lifecycle.is_idle());
    world.change();
    assert_eq!(world.face(), (3, &Starting));
}

#[test]
fn after_the_hosts_end_nothing_starts() {
    let mut world = World::serving();
    world.want(Wanted::Ended);
    world.change();
    world.want(Wanted::Running);
    world.report(1, Stopped);
    assert!(world.processes.is_empty() && world.lifecycle.is_idle());
}

/// A package that cannot be started, such as one with an invalid plugin.yaml, is started once it
/// can be.
#[test]
fn what_cannot_begin_can_later() {
    let mut lifecycle = Lifecycle::new(status(0, failed()), Restarts::new(7));
    let (now, present) = (Now::new(), Source::Present);
    assert_eq!(
        lifecycle.want(Wanted::Running, now),
        [Action::Start(1, present)]
    );
    lifecycle.not_begun();
    assert!(lifecycle.is_idle() && lifecycle.is_settled());
    assert_eq!(lifecycle.changed(true, now), [Action::Start(2, present)]);
}

#[test]
fn what_ends_by_itself_comes_back_and_what_time_does_not_mend_stays() {
    let mut world = World::serving();
    world.report(1, crashed());
    assert_eq!((world.face(), world.processes.len()), ((1, &crashed()), 0));
    assert!(world.lifecycle.is_returning() && world.lifecycle.is_settled());
    // Not before its time.
    let actions = world.lifecycle.settle(world.now);
    assert_eq!(actions, []);
    world.pass();
    assert_eq!(
        (world.face(), world.source),
        ((2, &Starting), Some(Source::Present))
    );
    world.report(2, failed());
    assert!(world.lifecycle.due().is_none() && !world.lifecycle.is_returning());
    world.pass();
    assert_eq!(world.face(), (2, &failed()));
    // Nor what was told to stop.
    let mut world = World::serving();
    world.want(Wanted::Stopped);
    world.report(1, crashed());
    assert!(world.lifecycle.due().is_none());
    world.pass();
    assert!(world.processes.is_empty());
    // A stop in between holds.
    let mut world = World::serving();
    world.report(1, crashed());
    world.want(Wanted::Stopped);
    world.pass();
    assert!(world.processes.is_empty() && world.lifecycle.due().is_none());
}

/// The present package does not come up; the version before is restarted when it ends by itself.
#[test]
fn what_came_up_last_comes_back_where_what_is_there_does_not() {
    let mut world = World::serving();
    world.change();
    world.report(2, failed());
    world.report(1, crashed());
    world.pass();
    assert_eq!(
        (world.face(), world.source),
        ((3, &Starting), Some(Source::Good))
    );
    world.report(3, Up);
    assert_eq!(world.lifecycle.rejected(), Some((2, "no")), "that stays so");
    // While a candidate starts, it may be what takes over.
    let mut world = World::serving();
    world.change();
    world.report(1, crashed());
    world.pass();
    assert_eq!(world.processes.len(), 1);
    world.report(2, crashed());
    assert_eq!(
        (world.face(), world.source),
        ((3, &Starting), Some(Source::Good))
    );
}

#[test]
fn crashes_count_until_it_is_another_package_or_the_operator_forgets_them() {
    let mut world = World::serving();
    for number in 1..=5 {
        world.report(number, crashed());
        world.pass();
        world.report(number + 1, Up);
    }
    assert!(world.lifecycle.restarts().is_looping());
    // The same package, started anew.
    let actions = world.lifecycle.changed(false, world.now);
    world.perform(actions);
    world.report(7, Up);
    assert!(world.lifecycle.restarts().is_looping());
    world.change();
    assert!(world.lifecycle.restarts().is_looping(), "it is not up yet");
    world.report(8, Up);
    assert!(!world.lifecycle.restarts().is_looping());
    world.report(8, crashed());
    let actions = world.lifecycle.reset(world.now);
    world.perform(actions);
    assert_eq!(world.face(), (9, &Starting), "it starts now");
    assert_eq!(world.lifecycle.restarts().in_a_row(), 0);
}

#[test]
fn of_one_that_cannot_run_twice_the_old_one_ends_first() {
    let mut world = World::new().recreating();
    world.want(Wanted::Running);
    world.report(1, Up);
    world.change();
    assert_eq!((world.processes.len(), world.stopping()), (1, vec![1]));
    assert!(!world.lifecycle.is_settled());
    world.report(1, Draining);
    assert!(world.lifecycle.is_returning());
    world.report(1, Stopped);
    assert_eq!(world.face(), (2, &Starting));
    world.report(2, Up);
    assert!(!world.lifecycle.is_returning());
}

/// The replacement strategy of a candidate does not count before it is up.
#[test]
fn a_candidate_that_failed_does_not_decide_how_the_next_one_comes() {
    let mut world = World::serving().recreating();
    world.change();
    world.report(2, failed());
    world.replacement = Replacement::Rolling;
    world.change();
    assert_eq!((world.stopping(), world.processes.len()), (vec![], 2));
}

/// While the present package does not come up, new limits or an end in between start the version
/// before.
#[test]
fn what_came_up_is_renewed_where_what_is_there_does_not() {
    let mut world = World::serving();
    world.change();
    world.report(2, failed());
    let actions = world.lifecycle.renew(world.now);
    world.perform(actions);
    assert_eq!(world.source, Some(Source::Good));
    world.report(3, Up);
    assert_eq!(
        (world.face(), world.lifecycle.rejected()),
        ((3, &Up), Some((2, "no")))
    );
    world.report(1, Stopped);
    world.want(Wanted::Stopped);
    world.report(3, Stopped);
    world.want(Wanted::Running);
    assert_eq!(world.source, Some(Source::Good));
    // A broken package does not keep a plugin that waits after a crash from coming back.
    let mut world = World::serving();
    world.report(1, crashed());
    world.lifecycle.reject("broken".to_owned());
    world.pass();
    assert_eq!(
        (world.face(), world.source),
        ((2, &Starting), Some(Source::Good))
    );
}

#[test]
fn crashes_are_forgotten_while_it_runs_well() {
    let mut world = World::serving();
    world.report(1, crashed());
    world.pass();
    world.report(2, Up);
    assert_eq!(world.lifecycle.restarts().in_a_row(), 1);
    world.pass();
    assert_eq!(world.lifecycle.restarts().in_a_row(), 0);
    assert_eq!((world.lifecycle.wake(), world.face()), (None, (2, &Up)));
}

#[test]
fn the_operator_goes_back_and_a_change_goes_on() {
    let mut world = World::serving();
    world.roll_back();
    assert_eq!(world.source, Some(Source::Previous));
    world.report(2, Up);
    assert_eq!(world.face(), (2, &Up));
    world.report(1, Stopped);
    // The version before stays in use after a crash and after a restart.
    world.report(2, crashed());
    world.pass();
    assert_eq!(world.source, Some(Source::Good));
    world.report(3, Up);
    let actions = world.lifecycle.changed(false, world.now);
    world.perform(actions);
    assert_eq!(world.source, Some(Source::Good));
    world.report(4, Up);
    world.change();
    assert_eq!(world.source, Some(Source::Present));
    let mut world = World::serving();
    world.roll_back();
    world.report(2, Up);
    world.roll_back();
    world.change();
    world.report(3, Stopped);
    assert_eq!(world.source, Some(Source::Present), "the last word counts");
}

/// Events that may happen next: those of the operator, time, and the reports of each process.
fn possible(world: &World) -> Vec<(u64, Option<GenerationState>)> {
    let mut events = vec![(0, None), (0, Some(Stopped))];
    if world.lifecycle.wake().is_some() {
        events.push((0, Some(Up)));
    }
    for (number, process) in &world.processes {
        let mut next = vec![failed(), crashed()];
        match process.state {
            Starting if process.stopping => next.extend([Up, Stopped]),
            Starting => next.push(Up),
            Up if process.stopping => next.push(Draining),
            Draining => next.push(Stopped),
            _ => {}
        }
        events.extend(next.into_iter().map(|state| (*number, Some(state))));
    }
    events
}

fn apply(world: &mut World, event: &(u64, Option<GenerationState>)) {
    match event {
        (0, None) => world.change(),
        (0, Some(Up)) => world.pass(),
        (0, Some(_)) => world.want(match world.wanted {
            Wanted::Running => Wanted::Stopped,
            _ => Wanted::Running,
        }),
        (number, Some(state)) => world.report(*number, state.clone()),
        (_, None) => unreachable!("only 0 has no state"),
    }
}

fn check(
    world: &World,
    before: &(u64, GenerationState),
    events: &[(u64, Option<GenerationState>)],
) {
    let lifecycle = &world.lifecycle;
    let (face, state) = world.face();
    // The number never goes back. A new generation becomes visible only once it is up, or where
    // there was none.
    assert!(face >= before.0, "{events:?}");
    if face != before.0 {
        let gone = !world.processes.contains_key(&before.0);
        assert!(*state == Up || gone, "{events:?}");
    }
    // Each process has one role, and each role that is alive has a process.
    let candidate = lifecycle.candidate.iter();
    let members: Vec<_> = candidate
        .chain(&lifecycle.draining)
        .chain([&lifecycle.current])
        .collect();
    let alive: Vec<_> = members
        .iter()
        .filter(|member| !member.status.state.has_ended())
        .map(|member| (member.status.generation, member.stopping))
        .collect();
    let processes: BTreeSet<_> = world
        .processes
        .iter()
        .map(|(number, process)| (*number, process.stopping))
        .collect();
    assert_eq!(alive.len(), processes.len(), "{events:?}");
    assert_eq!(
        alive.into_iter().collect::<BTreeSet<_>>(),
        processes,
        "{events:?}"
    );
    assert!(lifecycle.draining.len() <= DRAINING_MAX, "{events:?}");
    assert!(
        lifecycle.draining.iter().all(|member| member.stopping),
        "{events:?}"
    );
    // A candidate that is up and wanted takes over at once.
    let waits = lifecycle
        .candidate
        .iter()
        .any(|member| member.status.state == Up && !member.stopping);
    assert!(!waits, "{events:?}");
    match world.wanted {
        Wanted::Stopped | Wanted::Ended => assert!(
            world.processes.values().all(|process| process.stopping),
            "{events:?}"
        ),
        Wanted::Running => {
            // A newer generation is starting, or waits for one that was told to stop, or is not
            // needed.
            let waits = world.processes.values().any(|process| process.stopping);
            assert!(!lifecycle.behind || waits, "{events:?}");
            // Without a process the plugin restarts, unless a restart cannot overcome its failure.
            let refused = matches!(
                state,
                GenerationState::Failed {
                    failure: Failure::Refused,
                    ..
                }
            );
            let comes = !world.processes.is_empty() || lifecycle.due.is_some();
            assert!(comes || refused, "{events:?}");
        }
    }
}

/// Covers every order of events to this depth.
#[test]
fn in_every_order_of_events_the_invariants_hold() {
    const DEPTH: usize = 8;
    let mut orders = 0_u64;
    let mut path: Vec<(u64, Option<GenerationState>)> = Vec::new();
    // Each path is replayed from the beginning, so that the real machine is checked and not a copy
    // of its state.
    fn go(new: fn() -> World, path: &mut Vec<(u64, Option<GenerationState>)>, orders: &mut u64) {
        let mut world = new();
        for event in path.iter() {
            apply(&mut world, event);
        }
        for event in possible(&world) {
            let mut world = new();
            for event in path.iter() {
                apply(&mut world, event);
            }
            let (face, state) = world.face();
            let before = (face, state.clone());
            path.push(event);
            apply(&mut world, path.last().unwrap());
            check(&world, &before, path);
            *orders += 1;
            if path.len() < DEPTH {
                go(new, path, orders);
            }
            path.pop();
        }
    }
    go(World::new, &mut path, &mut orders);
    go(|| World::new().recreating(), &mut path, &mut orders);
    assert!(orders > 10_000, "{orders}");
}
