//! The life of one plugin process as a state machine: events in, actions out. No I/O, no clock.
//!
//! ```text
//! Launching → Handshaking → Connecting → Registering → Initialising → Running
//!     any start step fails ─→ Dying ─→ Collecting ─→ Ended      Running → Draining → ShuttingDown
//!     the process ends ────────────────↗                             → Quitting → Exiting ↗
//! ```
//!
//! At most one operation is under way; beginning another one abandons it.

use std::time::Duration;

use crate::error::{PluginError, Step};
use crate::limits::{CRASH_EXIT_GRACE, EXIT_TIMEOUT};

/// Phases of a process's life, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Launching,
    Handshaking,
    Connecting,
    Registering,
    Initialising,
    Running,
    Draining,
    ShuttingDown,
    Quitting,
    /// Waiting for a process that was asked to exit.
    Exiting,
    /// Waiting a moment for a process that broke its connection, to see how it ends.
    Dying,
    /// Reading what an ended process printed last.
    Collecting,
    Ended,
}

/// Something happened.
#[derive(Debug)]
pub(super) enum Event {
    /// The operation under way succeeded.
    Done,
    /// The operation under way failed.
    Failed(PluginError),
    /// The process has ended.
    Exited,
    /// The connection has ended, for that reason.
    Disconnected(String),
    /// The host wants it stopped.
    StopRequested,
}

/// Something that takes time; ends in [`Event::Done`] or [`Event::Failed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Launch,
    Handshake,
    Connect,
    Register,
    Init,
    /// Look after it while it runs; ends only when it gives no sign of life.
    Probe,
    /// Wait until no call is running, within the limit.
    Drain,
    Shutdown,
    Quit,
    /// Wait for the process's end, so long.
    AwaitExit(Duration),
    /// Read the rest of the process's output.
    CollectOutput,
}

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Start an operation, abandoning the one under way.
    Begin(Operation),
    /// Open the plugin for calls and say that it runs.
    Open,
    /// Refuse new calls, and say that it stops (or has failed).
    CloseGate,
    /// Drop the connection: running calls fail at once.
    Disconnect,
    /// Kill the rest of the process group.
    KillGroup,
    /// Reap, clean up, report.
    Finish,
}

/// Why a process ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// The host stopped it.
    Stopped,
    /// The process failed.
    Failed(PluginError),
}

/// State of the machine.
#[derive(Debug)]
pub(super) struct Machine {
    phase: Phase,
    exited: bool,
    ending: Option<Ending>,
}

impl Machine {
    /// A machine and its first action.
    pub(super) fn start() -> (Self, Vec<Action>) {
        (
            Self {
                phase: Phase::Launching,
                exited: false,
                ending: None,
            },
            vec![Action::Begin(Operation::Launch)],
        )
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns the reason for the end; a process that has no other ending was stopped.
    pub(super) fn into_ending(self) -> Ending {
        self.ending.unwrap_or(Ending::Stopped)
    }

    /// Returns true if the ending is a failure.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.ending, Some(Ending::Failed(_)))
    }

    /// Advances the machine by an event, and returns the actions to carry out.
    pub(super) fn on(&mut self, event: Event) -> Vec<Action> {
        self.exited |= matches!(event, Event::Exited);
        match (self.phase, event) {
            (Phase::Launching, Event::Done) => self.go(Phase::Handshaking, Operation::Handshake),
            (Phase::Handshaking, Event::Done) => self.go(Phase::Connecting, Operation::Connect),
            (Phase::Connecting, Event::Done) => self.go(Phase::Registering, Operation::Register),
            (Phase::Registering, Event::Done) => self.go(Phase::Initialising, Operation::Init),
            (Phase::Initialising, Event::Done) => {
                self.phase = Phase::Running;
                vec![Action::Open, Action::Begin(Operation::Probe)]
            }

            (Phase::Launching, Event::Failed(error)) => {
                self.ending = Some(Ending::Failed(error));
                self.phase = Phase::Ended;
                vec![Action::Finish]
            }
            (
                Phase::Handshaking
                | Phase::Connecting
                | Phase::Registering
                | Phase::Initialising
                | Phase::Running,
                Event::Failed(error),
            ) => self.fail(error),
            (
                Phase::Handshaking
                | Phase::Connecting
                | Phase::Registering
                | Phase::Initialising
                | Phase::Running,
                Event::Exited,
            ) => self.crash("its process ended".into()),
            (
                Phase::Handshaking
                | Phase::Connecting
                | Phase::Registering
                | Phase::Initialising
                | Phase::Running,
                Event::Disconnected(reason),
            ) => self.crash(reason),

            (Phase::Launching, Event::StopRequested) => {
                self.ending = Some(Ending::Failed(PluginError::Stopped));
                self.phase = Phase::Ended;
                vec![Action::Finish]
            }
            (
                Phase::Handshaking | Phase::Connecting | Phase::Registering | Phase::Initialising,
                Event::StopRequested,
            ) => {
                self.ending = Some(Ending::Failed(PluginError::Stopped));
                self.kill()
            }
            (Phase::Running, Event::StopRequested) => {
                let mut actions = vec![Action::CloseGate];
                actions.extend(self.go(Phase::Draining, Operation::Drain));
                actions
            }

            // Errors of a step on the way down do not stop the next step.
            (Phase::Draining, Event::Done | Event::Failed(_)) => {
                self.go(Phase::ShuttingDown, Operation::Shutdown)
            }
            (Phase::ShuttingDown, Event::Done | Event::Failed(_)) => {
                self.go(Phase::Quitting, Operation::Quit)
            }
            (Phase::Quitting, Event::Done | Event::Failed(_))
            | (Phase::Draining | Phase::ShuttingDown | Phase::Quitting, Event::Disconnected(_)) => {
                self.phase = Phase::Exiting;
                vec![
                    Action::Disconnect,
                    Action::Begin(Operation::AwaitExit(EXIT_TIMEOUT)),
                ]
            }
            (
                Phase::Draining
                | Phase::ShuttingDown
                | Phase::Quitting
                | Phase::Exiting
                | Phase::Dying,
                Event::Exited,
            ) => self.kill(),
            (Phase::Exiting | Phase::Dying, Event::Done | Event::Failed(_)) => self.kill(),

            (Phase::Collecting, Event::Done | Event::Failed(_)) => {
                self.phase = Phase::Ended;
                vec![Action::Finish]
            }

            // Events that repeat an earlier one, or no longer matter.
            (Phase::Running, Event::Done)
            | (
                Phase::Draining
                | Phase::ShuttingDown
                | Phase::Quitting
                | Phase::Exiting
                | Phase::Dying
                | Phase::Collecting,
                Event::StopRequested,
            )
            | (
                Phase::Launching | Phase::Exiting | Phase::Dying | Phase::Collecting,
                Event::Disconnected(_),
            )
            | (Phase::Launching | Phase::Collecting, Event::Exited)
            | (Phase::Ended, _) => vec![],
        }
    }

    fn go(&mut self, phase: Phase, operation: Operation) -> Vec<Action> {
        self.phase = phase;
        vec![Action::Begin(operation)]
    }

    /// The start step that is under way.
    fn step(&self) -> Option<Step> {
        match self.phase {
            Phase::Launching => Some(Step::Launch),
            Phase::Handshaking => Some(Step::Handshake),
            Phase::Connecting => Some(Step::Connect),
            Phase::Registering => Some(Step::Register),
            Phase::Initialising => Some(Step::Init),
            _ => None,
        }
    }

    fn crash(&mut self, reason: String) -> Vec<Action> {
        self.fail(PluginError::Crashed {
            step: self.step(),
            reason,
        })
    }

    /// A process that merely broke its connection is given a moment to end by itself, so that
    /// its own exit code is reported; one that is too slow or wrong is not.
    fn fail(&mut self, error: PluginError) -> Vec<Action> {
        let may_be_ending = matches!(
            error,
            PluginError::Crashed { .. }
                | PluginError::Rpc { .. }
                | PluginError::Connect(_)
                | PluginError::Handshake { .. }
                | PluginError::Launch(_)
        );
        self.ending = Some(Ending::Failed(error));
        if self.exited || !may_be_ending {
            return self.kill();
        }
        self.phase = Phase::Dying;
        vec![
            Action::CloseGate,
            Action::Disconnect,
            Action::Begin(Operation::AwaitExit(CRASH_EXIT_GRACE)),
        ]
    }

    fn kill(&mut self) -> Vec<Action> {
        self.phase = Phase::Collecting;
        vec![
            Action::CloseGate,
            Action::Disconnect,
            Action::KillGroup,
            Action::Begin(Operation::CollectOutput),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: [Phase; 6] = [
        Phase::Launching,
        Phase::Handshaking,
        Phase::Connecting,
        Phase::Registering,
        Phase::Initialising,
        Phase::Running,
    ];

    fn at(phase: Phase) -> Machine {
        let (mut machine, _) = Machine::start();
        while machine.phase() != phase {
            let event = match (machine.phase(), phase) {
                (Phase::Running, Phase::Dying) => Event::Disconnected("reset".into()),
                (Phase::Running, _) => Event::StopRequested,
                _ => Event::Done,
            };
            machine.on(event);
            assert_ne!(machine.phase(), Phase::Ended, "never at {phase:?}");
        }
        machine
    }

    fn timed_out() -> PluginError {
        PluginError::TimedOut {
            step: Step::Init,
            after: Duration::from_secs(1),
        }
    }

    #[test]
    fn the_way_up() {
        let (mut machine, first) = Machine::start();
        assert_eq!(first, [Action::Begin(Operation::Launch)]);
        for next in [
            Operation::Handshake,
            Operation::Connect,
            Operation::Register,
            Operation::Init,
        ] {
            assert_eq!(machine.on(Event::Done), [Action::Begin(next)]);
        }
        assert_eq!(
            machine.on(Event::Done),
            [Action::Open, Action::Begin(Operation::Probe)]
        );
        assert_eq!(machine.phase(), Phase::Running);
    }

    #[test]
    fn the_way_down_in_order() {
        let mut machine = at(Phase::Running);
        assert_eq!(
            machine.on(Event::StopRequested),
            [Action::CloseGate, Action::Begin(Operation::Drain)]
        );
        assert_eq!(machine.on(Event::StopRequested), []);
        assert_eq!(
            machine.on(Event::Done),
            [Action::Begin(Operation::Shutdown)]
        );
        assert_eq!(machine.on(Event::Done), [Action::Begin(Operation::Quit)]);
        assert_eq!(
            machine.on(Event::Done),
            [
                Action::Disconnect,
                Action::Begin(Operation::AwaitExit(EXIT_TIMEOUT))
            ]
        );
        assert_eq!(machine.on(Event::Disconnected("closed".into())), []);
        assert!(machine.on(Event::Exited).contains(&Action::KillGroup));
        assert_eq!(machine.on(Event::Done), [Action::Finish]);
        assert_eq!(machine.phase(), Phase::Ended);
        assert!(matches!(machine.into_ending(), Ending::Stopped));
    }

    #[test]
    fn a_failing_shutdown_does_not_hold_up_the_rest() {
        let mut machine = at(Phase::ShuttingDown);
        assert_eq!(
            machine.on(Event::Failed(timed_out())),
            [Action::Begin(Operation::Quit)]
        );
        machine.on(Event::Failed(timed_out()));
        assert_eq!(machine.phase(), Phase::Exiting);
        assert!(
            machine
                .on(Event::Failed(timed_out()))
                .contains(&Action::KillGroup)
        );
        assert!(!machine.has_failed());
    }

    #[test]
    fn an_exit_at_any_step_is_a_crash_that_says_where() {
        for phase in UP.into_iter().skip(1) {
            let mut machine = at(phase);
            let actions = machine.on(Event::Exited);
            assert_eq!(
                actions[..3],
                [Action::CloseGate, Action::Disconnect, Action::KillGroup],
                "{phase:?}"
            );
            let Ending::Failed(PluginError::Crashed { step, .. }) = machine.into_ending() else {
                panic!("{phase:?}")
            };
            assert_eq!(step.is_none(), phase == Phase::Running);
        }
    }

    #[test]
    fn a_broken_connection_fails_the_calls_at_once_and_waits_for_the_exit_code() {
        let mut machine = at(Phase::Running);
        assert_eq!(
            machine.on(Event::Disconnected("reset".into())),
            [
                Action::CloseGate,
                Action::Disconnect,
                Action::Begin(Operation::AwaitExit(CRASH_EXIT_GRACE))
            ]
        );
        assert!(
            machine
                .on(Event::Exited)
                .contains(&Action::Begin(Operation::CollectOutput))
        );
        assert_eq!(machine.on(Event::Exited), []);
        assert_eq!(machine.on(Event::Done), [Action::Finish]);
        assert!(machine.has_failed());
    }

    #[test]
    fn a_hanging_start_is_killed_without_grace() {
        for phase in [
            Phase::Handshaking,
            Phase::Connecting,
            Phase::Registering,
            Phase::Initialising,
            // A running plugin that gives no sign of life.
            Phase::Running,
        ] {
            let mut machine = at(phase);
            assert!(
                machine
                    .on(Event::Failed(timed_out()))
                    .contains(&Action::KillGroup),
                "{phase:?}"
            );
        }
    }

    #[test]
    fn a_failed_launch_ends_at_once() {
        let (mut machine, _) = Machine::start();
        assert_eq!(machine.on(Event::Failed(timed_out())), [Action::Finish]);
    }

    /// Driver that records the machine's actions, and checks the invariants that hold for any order
    /// of events.
    #[derive(Default)]
    struct Driver {
        working: Option<Operation>,
        opened: usize,
        closed: usize,
        killed: usize,
        finished: usize,
        exited: bool,
        disconnected: bool,
        stopping: bool,
    }

    impl Driver {
        fn perform(&mut self, actions: Vec<Action>, events: &[u8]) {
            for action in actions {
                assert_eq!(self.finished, 0, "nothing follows the end: {events:?}");
                match action {
                    Action::Begin(operation) => self.working = Some(operation),
                    Action::Open => {
                        self.opened += 1;
                        assert_eq!(self.closed, 0, "it opens once, and first: {events:?}");
                    }
                    Action::CloseGate => self.closed += 1,
                    Action::Disconnect => {}
                    Action::KillGroup => self.killed += 1,
                    Action::Finish => self.finished += 1,
                }
            }
        }
    }

    /// Covers every order of events up to a depth. The machine ends once, opens at most once and
    /// before it closes, and kills any process before it finishes.
    #[test]
    fn in_every_order_of_events_it_ends_once_and_leaves_no_process() {
        const DEPTH: usize = 12;
        fn go(events: &mut Vec<u8>, orders: &mut u64) {
            let (mut machine, first) = Machine::start();
            let mut driver = Driver::default();
            driver.perform(first, events);
            for event in events.iter() {
                let event = match event {
                    0 => Event::Done,
                    1 => Event::Failed(timed_out()),
                    2 => Event::Exited,
                    3 => Event::Disconnected("reset".into()),
                    _ => Event::StopRequested,
                };
                match &event {
                    Event::Done | Event::Failed(_) => driver.working = None,
                    Event::Exited => driver.exited = true,
                    Event::Disconnected(_) => driver.disconnected = true,
                    Event::StopRequested => driver.stopping = true,
                }
                let launched = machine.phase() > Phase::Launching;
                driver.perform(machine.on(event), events);
                let is_over = machine.phase() == Phase::Ended;
                assert_eq!(driver.finished == 1, is_over, "{events:?}");
                assert!(driver.opened <= 1 && driver.killed <= 1, "{events:?}");
                if is_over && launched {
                    assert_eq!(driver.killed, 1, "{events:?}");
                    assert!(driver.closed > 0, "{events:?}");
                }
                // Something is always under way, so that it cannot stand still.
                assert!(is_over || driver.working.is_some(), "{events:?}");
            }
            *orders += 1;
            if machine.phase() == Phase::Ended || events.len() == DEPTH {
                return;
            }
            // The probe of a running plugin ends only with a failure.
            let may_end = driver.working != Some(Operation::Probe);
            let has_process = machine.phase() > Phase::Launching;
            let next = [
                (0, may_end),
                (1, true),
                (2, has_process && !driver.exited),
                (
                    3,
                    machine.phase() > Phase::Connecting && !driver.disconnected,
                ),
                (4, !driver.stopping),
            ];
            for (event, is_possible) in next {
                if is_possible {
                    events.push(event);
                    go(events, orders);
                    events.pop();
                }
            }
        }
        let mut orders = 0;
        go(&mut Vec::new(), &mut orders);
        assert!(orders > 1_000, "{orders}");
    }

    #[test]
    fn a_stop_is_obeyed_in_every_phase_and_every_phase_ends() {
        let down = [
            Phase::Draining,
            Phase::ShuttingDown,
            Phase::Quitting,
            Phase::Exiting,
            Phase::Dying,
            Phase::Collecting,
        ];
        for phase in UP.into_iter().chain(down) {
            let mut machine = at(phase);
            let actions = machine.on(Event::StopRequested);
            match phase {
                Phase::Launching => {
                    assert_eq!(actions, [Action::Finish]);
                    assert_eq!(machine.phase(), Phase::Ended);
                }
                Phase::Running => assert_eq!(
                    actions,
                    [Action::CloseGate, Action::Begin(Operation::Drain)]
                ),
                phase if UP.contains(&phase) => {
                    assert!(
                        actions.contains(&Action::KillGroup),
                        "{phase:?}: {actions:?}"
                    );
                    assert_eq!(machine.phase(), Phase::Collecting, "{phase:?}");
                }
                // The process is on its way down already.
                phase => {
                    assert_eq!(actions, [], "{phase:?}");
                    assert_eq!(machine.phase(), phase);
                }
            }
            // Every later step succeeds, so that only the stop leads to the end.
            let mut steps = 0;
            while machine.phase() != Phase::Ended {
                machine.on(Event::Done);
                steps += 1;
                assert!(steps < 10, "{phase:?} never ends");
            }
        }
    }
}
