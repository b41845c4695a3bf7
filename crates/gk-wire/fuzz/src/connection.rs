//! A connection's input, whole and in pieces.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use gk_wire::connection::{Connection, ConnectionError, Event, Input};
use gk_wire::{Empty, Limits};

use super::GOB_LIMITS;

/// Tokens are numbers. The one of a service is in [`SERVICES`].
type End = Connection<(u32, u32, u32, u32)>;

const SERVICES: std::ops::Range<u32> = 100..200;

/// An end with calls, a dial, and acceptors, and the tokens of all but the services.
fn end(is_host: bool, now: Instant) -> (End, Vec<u32>) {
    let limits = Limits {
        gob: GOB_LIMITS,
        ..Limits::default()
    };
    let mut tokens = vec![10, 11];
    let mut end = match is_host {
        true => {
            let (mut end, streams) = End::host(limits, now).expect("three streams");
            for call in 0..4 {
                let sent = end.call(streams.control, "Control.Ping", &true, call);
                sent.expect("room for four calls");
                tokens.push(call);
            }
            end
        }
        false => {
            let mut end = End::plugin(limits, now);
            end.serve_control(SERVICES.start, [20, 21]);
            tokens.extend([20, 21]);
            end
        }
    };
    end.serve_id(1, SERVICES.start + 1);
    end.accept_id(2, 10);
    end.dial(now, 1, 11).expect("a stream");
    (end, tokens)
}

/// The outcome of an input.
#[derive(Debug, PartialEq)]
struct Outcome {
    error: Option<ConnectionError>,
    events: Vec<String>,
}

/// Reads straight into messages where it can, if that is asked for.
fn read(end: &mut End, now: Instant, piece: &[u8], straight: bool) -> Result<(), ConnectionError> {
    let mut rest = piece;
    while !rest.is_empty() {
        let place = match straight {
            true => end.begin_message_read(),
            false => None,
        };
        let input = match place {
            Some(mut place) => {
                let (message, room) = place.buffer();
                let (part, after) = rest.split_at(room.min(rest.len()));
                message.extend_from_slice(part);
                rest = after;
                Input::Message(place)
            }
            None => {
                let whole = std::mem::take(&mut rest);
                Input::Bytes(Bytes::copy_from_slice(whole))
            }
        };
        end.handle_input(now, input)?;
    }
    Ok(())
}

fn run(data: &[u8], is_host: bool, piece_bytes: usize, straight: bool) -> Outcome {
    let now = Instant::now();
    let (mut end, tokens) = end(is_host, now);
    let mut outcome = Outcome {
        error: None,
        events: Vec::new(),
    };
    let mut back = BTreeMap::<u32, usize>::new();
    for piece in data.chunks(piece_bytes.max(1)) {
        if let Err(error) = read(&mut end, now, piece, straight) {
            outcome.error = Some(error);
            break;
        }
    }
    work_off(&mut end, &mut outcome, &mut back);
    assert!(end.close("over") && !end.close("again"));
    assert_eq!(end.poll_timeout(), None);
    work_off(&mut end, &mut outcome, &mut back);
    for token in &tokens {
        assert_eq!(back.remove(token), Some(1), "token {token}");
    }
    assert!(back.keys().all(|token| SERVICES.contains(token)));
    outcome
}

/// Answers calls, and counts the tokens that have come back.
fn work_off(end: &mut End, outcome: &mut Outcome, back: &mut BTreeMap<u32, usize>) {
    while let Some(event) = end.poll_event() {
        outcome.events.push(format!("{event:?}"));
        let token = match event {
            Event::Request { service, call, .. } => {
                assert!(SERVICES.contains(&service));
                end.reply(call, "", &Empty {}).expect("room for a reply");
                continue;
            }
            Event::Reply { call, .. } => call,
            Event::Opened { waiter, .. } | Event::Refused(waiter) => waiter,
            Event::Released(service) => service,
            _ => continue,
        };
        *back.entry(token).or_default() += 1;
    }
}

/// The first byte says which end it is, and how the rest is cut.
pub fn connection(data: &[u8]) {
    let Some((how, data)) = data.split_first() else {
        return;
    };
    let (is_host, piece_bytes) = (how % 2 == 0, usize::from(how / 2));
    let whole = run(data, is_host, data.len(), false);
    for straight in [false, true] {
        assert_eq!(run(data, is_host, piece_bytes, straight), whole);
    }
}
