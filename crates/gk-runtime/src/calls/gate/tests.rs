use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::*;

#[tokio::test]
async fn the_gate_counts_limits_closes_and_drains() {
    let gate = Gate::new();
    let one = gate.enter(2).ok().unwrap();
    let two = gate.enter(2).ok().unwrap();
    assert_eq!(gate.enter(2).err(), Some(Refusal::Full));
    assert_eq!(gate.inside(), 2);
    drop(two);
    gate.close();
    assert_eq!(gate.enter(2).err(), Some(Refusal::Closed));
    let mut drained = std::pin::pin!(gate.drained());
    assert!(
        tokio::time::timeout(Duration::ZERO, &mut drained)
            .await
            .is_err()
    );
    drop(one);
    drained.await;
    assert_eq!(gate.inside(), 0);
}

fn limits(inside: usize, waiting: usize) -> Limits {
    Limits { inside, waiting }
}

#[tokio::test]
async fn those_that_wait_enter_one_by_one_and_nobody_new_before_them() {
    let (gate, now) = (Gate::new(), Instant::now());
    let inside = gate.enter(1).ok().unwrap();
    let first = gate.wait(limits(1, 2), now).ok().unwrap();
    let second = gate.wait(limits(1, 2), now).ok().unwrap();
    assert_eq!(
        gate.wait(limits(1, 2), now).err(),
        Some(Refusal::Full),
        "two wait"
    );
    // A call that is made during another one may overtake.
    let nested = gate.pass(2).ok().unwrap();
    assert_eq!(gate.pass(2).err(), Some(Refusal::Full));
    drop(nested);
    assert_eq!((gate.inside(), gate.waiting()), (1, 2));
    drop(inside);
    let first = first.inside().await.ok().unwrap();
    assert_eq!(gate.enter(2).err(), Some(Refusal::Full), "one still waits");
    assert_eq!((gate.inside(), gate.waiting()), (1, 1));
    // A higher limit is in force from the next call on.
    let third = gate.wait(limits(3, 2), now).ok().unwrap();
    let (second, third) = (second.inside().await, third.inside().await);
    assert_eq!((gate.inside(), gate.waiting()), (3, 0));
    drop((first, second, third));
    let _free = gate.enter(1).ok().unwrap();
}

/// A waker that counts its wake-ups.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

type Entering<'a> = Pin<Box<dyn Future<Output = Result<Inside<'a>, Refusal>> + 'a>>;

/// A waiting call, and how often it had been woken at its last poll.
struct Caller<'a> {
    entering: Entering<'a>,
    woken: Arc<Woken>,
    asked: Option<usize>,
}

/// A gate, and a model of its state. Each step is one atomic operation, or runs under the gate's
/// lock, so all interleavings of several threads are all sequences of steps.
struct World<'a> {
    gate: &'a Gate,
    inside: usize,
    /// States before each call that has left, but has not let the next one in yet.
    leaving: Vec<usize>,
    /// Number of calls that found no room and are not in the queue yet.
    refused: usize,
    waiting: Vec<Caller<'a>>,
    closed: bool,
    closing: bool,
}

const KINDS: usize = 9;
const LIMIT: usize = 1;
const QUEUE: usize = 2;

impl<'a> World<'a> {
    fn new(gate: &'a Gate) -> Self {
        gate.take_place(CLOSED | WAITING, LIMIT).unwrap();
        World {
            gate,
            inside: 1,
            leaving: Vec::new(),
            refused: 0,
            waiting: Vec::new(),
            closed: false,
            closing: false,
        }
    }

    fn step(&mut self, kind: usize) {
        match kind {
            0 => match self.gate.take_place(CLOSED | WAITING, LIMIT) {
                Ok(()) => {
                    assert!(!self.closed && self.inside < LIMIT);
                    self.inside += 1;
                }
                Err(Refusal::Closed) => assert!(self.closed),
                Err(Refusal::Full) => self.refused += 1,
            },
            1 if self.refused > 0 => {
                self.refused -= 1;
                match self.gate.wait(limits(LIMIT, QUEUE), Instant::now()) {
                    Ok(waiting) => self.waiting.push(Caller {
                        entering: Box::pin(waiting.inside()),
                        woken: Arc::default(),
                        asked: None,
                    }),
                    Err(Refusal::Closed) => assert!(self.closed),
                    Err(Refusal::Full) => assert!(self.waiting.len() >= QUEUE),
                }
            }
            2 if self.inside > 0 => {
                self.inside -= 1;
                self.leaving
                    .push(self.gate.state.fetch_sub(1, Ordering::AcqRel));
            }
            3 => {
                if let Some(before) = self.leaving.pop() {
                    self.gate.left(before);
                }
            }
            4 => match self.gate.take_place(CLOSED, LIMIT + 1) {
                Ok(()) => self.inside += 1,
                Err(Refusal::Closed) => assert!(self.closed),
                Err(Refusal::Full) => assert!(self.gate.inside() > LIMIT),
            },
            5 if !self.closed => {
                self.gate.state.fetch_or(CLOSED, Ordering::AcqRel);
                (self.closed, self.closing) = (true, true);
            }
            5 if std::mem::take(&mut self.closing) => self.gate.send_away(),
            6 if !self.waiting.is_empty() => self.ask(0),
            7 if !self.waiting.is_empty() => self.ask(self.waiting.len() - 1),
            8 => drop(self.waiting.pop()),
            _ => {}
        }
    }

    fn ask(&mut self, at: usize) {
        let caller = &mut self.waiting[at];
        let waker = Waker::from(Arc::clone(&caller.woken));
        let entering = caller.entering.as_mut();
        let woken = caller.woken.0.load(Ordering::Relaxed);
        match entering.poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => caller.asked = Some(woken),
            Poll::Ready(entered) => {
                if let Some(asked) = caller.asked {
                    assert!(woken > asked, "it would not have asked again");
                }
                match entered {
                    Ok(place) => {
                        std::mem::forget(place);
                        self.inside += 1;
                    }
                    Err(refusal) => assert!(self.closed && refusal == Refusal::Closed),
                }
                drop(self.waiting.remove(at));
            }
        }
    }

    /// Completes all pending steps: no call waits while there is room, or at a closed gate.
    fn finish(mut self) {
        if std::mem::take(&mut self.closing) {
            self.gate.send_away();
        }
        while let Some(before) = self.leaving.pop() {
            self.gate.left(before);
        }
        for at in (0..self.waiting.len()).rev() {
            self.ask(at);
        }
        assert_eq!(self.gate.inside(), self.inside);
        assert_eq!(self.gate.waiting(), self.waiting.len());
        let state = self.gate.state.load(Ordering::Relaxed);
        assert_eq!(state & WAITING != 0, !self.waiting.is_empty());
        if !self.waiting.is_empty() {
            assert!(!self.closed && self.inside >= LIMIT);
        }
        // A waiting call that gives up leaves the counts unchanged.
        self.waiting.clear();
        assert_eq!((self.gate.inside(), self.gate.waiting()), (self.inside, 0));
    }
}

#[test]
fn in_every_order_of_steps_nobody_waits_while_there_is_room() {
    const STEPS: u32 = 6;
    for number in 0..KINDS.pow(STEPS) {
        let gate = Gate::new();
        let mut world = World::new(&gate);
        let mut steps = number;
        for _ in 0..STEPS {
            world.step(steps % KINDS);
            steps /= KINDS;
        }
        world.finish();
    }
}

/// Longer sequences, which are too many to try all.
#[test]
fn in_many_long_orders_of_steps_nobody_waits_while_there_is_room() {
    let mut random = 1_u64;
    for _ in 0..20_000 {
        let gate = Gate::new();
        let mut world = World::new(&gate);
        for _ in 0..40 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let number = usize::try_from(random >> 40).unwrap();
            // The gate closes only now and then.
            match number % KINDS {
                5 if !number.is_multiple_of(7) => {}
                kind => world.step(kind),
            }
        }
        world.finish();
    }
}

/// A lost wake-up in any order would make a plugin's end wait for its last call forever.
#[test]
fn in_every_order_of_steps_the_gate_counts_and_who_waits_for_its_end_is_woken() {
    const STEPS: u32 = 7;
    const KINDS: usize = 4;
    const LIMIT: usize = 2;
    for number in 0..KINDS.pow(STEPS) {
        let gate = Gate::new();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let mut drained = Some(Box::pin(gate.drained()));
        let (mut inside, mut closed, mut waits) = (Vec::new(), false, None);
        let mut steps = number;
        for _ in 0..STEPS {
            match steps % KINDS {
                0 => match gate.enter(LIMIT) {
                    Ok(one) => {
                        assert!(!closed && inside.len() < LIMIT);
                        inside.push(one);
                    }
                    Err(Refusal::Closed) => assert!(closed),
                    Err(Refusal::Full) => assert!(!closed && inside.len() == LIMIT),
                },
                1 => drop(inside.pop()),
                2 => {
                    gate.close();
                    closed = true;
                }
                _ => {
                    if let Some(future) = &mut drained {
                        if future.as_mut().poll(&mut context).is_ready() {
                            assert!(closed && inside.is_empty());
                            drained = None;
                        } else {
                            assert!(!closed || !inside.is_empty());
                            waits = Some(woken.0.load(Ordering::Relaxed));
                        }
                    }
                }
            }
            assert_eq!(gate.inside(), inside.len());
            steps /= KINDS;
        }
        let still = drained.is_some() && closed && inside.is_empty();
        if let (true, Some(before)) = (still, waits) {
            assert!(woken.0.load(Ordering::Relaxed) > before, "{number}");
        }
    }
}

/// Threads that enter, wait, leave and give up at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_several_threads_everybody_gets_through() {
    const CALLS: usize = 20_000;
    let gate = Arc::new(Gate::new());
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..CALLS {
        let gate = Arc::clone(&gate);
        calls.spawn(async move {
            let inside = match gate.enter(3) {
                Ok(inside) => inside,
                Err(_) => {
                    let waiting = gate.wait(limits(3, CALLS), Instant::now()).ok().unwrap();
                    let entering = waiting.inside();
                    if number % 5 == 0 {
                        // The call gives up, possibly just when it is let in.
                        tokio::select! {
                            biased;
                            () = tokio::task::yield_now() => return false,
                            inside = entering => inside.ok().unwrap(),
                        }
                    } else {
                        entering.await.ok().unwrap()
                    }
                }
            };
            assert!(gate.inside() <= 3);
            tokio::task::yield_now().await;
            drop(inside);
            true
        });
    }
    let mut through = 0;
    let all = async {
        while let Some(call) = calls.join_next().await {
            through += usize::from(call.unwrap());
        }
    };
    tokio::time::timeout(Duration::from_secs(120), all)
        .await
        .expect("nobody may wait for ever");
    assert!(through >= CALLS - CALLS / 5);
    assert_eq!(gate.state.load(Ordering::Relaxed), 0);
}
