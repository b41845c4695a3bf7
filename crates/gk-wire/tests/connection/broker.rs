//! Every order in which a stream, its id, and who accepts it can come.

use std::time::Duration;

use gk_wire::Limits;
use gk_wire::connection::RpcError;
use gk_wire::yamux::{Flags, Kind};

use crate::end::{End, data, host, update};

const ID: u32 = 0x0102_0304;

/// The payload that is sent on a stream.
fn payload(end: &mut End, stream: u32) -> Vec<u8> {
    let frames = end.sent().into_iter();
    let ours = frames.filter(|(header, _)| header.stream == stream && header.kind == Kind::Data);
    ours.flat_map(|(_, payload)| payload).collect()
}

fn was_reset(end: &mut End, stream: u32) -> bool {
    end.headers().contains(&update(Flags::RST, stream))
}

/// The peer dials `id` on `stream`.
fn dial(end: &mut End, stream: u32, id: u32) {
    end.receive(&update(Flags::SYN, stream).encode()).unwrap();
    end.receive(&data(Flags::NONE, stream, &id.to_le_bytes()))
        .unwrap();
}

/// The ways to open a stream and to send an id on it, in frames.
fn dials() -> Vec<Vec<Vec<u8>>> {
    let id = ID.to_le_bytes();
    let mut ways = vec![vec![data(Flags::SYN, 2, &id)]];
    // Each set bit is a cut behind that byte.
    for cuts in 0..8_u8 {
        let mut pieces = vec![Vec::new()];
        for (at, byte) in id.into_iter().enumerate() {
            pieces.last_mut().unwrap().push(byte);
            if at < 3 && cuts & (1 << at) != 0 {
                pieces.push(Vec::new());
            }
        }
        let pieces = pieces.iter().map(|piece| data(Flags::NONE, 2, piece));
        let syn = update(Flags::SYN, 2).encode().to_vec();
        ways.push([vec![syn], pieces.collect()].concat());
    }
    ways
}

#[test]
fn a_stream_and_its_acceptor_find_each_other_in_any_order() {
    for frames in dials() {
        for accept_at in 0..=frames.len() {
            let (mut end, _) = host(Limits::default());
            end.frames_in(&frames[..accept_at]);
            assert_eq!(end.events(), [""; 0]);
            end.connection.accept_id(ID, "acceptor");
            end.frames_in(&frames[accept_at..]);
            let place = format!("{accept_at} of {} frames", frames.len());
            assert_eq!(end.events(), ["opened 2 for acceptor"], "{place}");
            assert_eq!(payload(&mut end, 2), ID.to_le_bytes(), "{place}");
            assert_eq!(end.timeout(), Duration::from_secs(30), "{place}");
        }
    }
}

#[test]
fn a_stream_and_its_service_find_each_other_in_any_order() {
    for frames in dials() {
        for serve_at in 0..=frames.len() {
            let (mut end, _) = host(Limits::default());
            end.frames_in(&frames[..serve_at]);
            end.connection.serve_id(ID, "service");
            end.frames_in(&frames[serve_at..]);
            assert_eq!(payload(&mut end, 2), ID.to_le_bytes());
            // Any number of streams, with no event but their calls.
            dial(&mut end, 4, ID);
            assert_eq!(payload(&mut end, 4), ID.to_le_bytes());
            assert_eq!(end.events(), [""; 0]);
        }
    }
}

#[test]
fn what_follows_the_id_is_the_acceptors() {
    // In one frame with the id, and in the next one.
    for frames in [
        vec![data(Flags::SYN, 2, &[4, 3, 2, 1, b'x', b'y'])],
        vec![
            data(Flags::SYN, 2, &[4, 3, 2, 1]),
            data(Flags::NONE, 2, b"xy"),
        ],
    ] {
        let (mut end, _) = host(Limits::default());
        end.connection.accept_id(ID, "acceptor");
        end.frames_in(&frames);
        assert_eq!(end.events(), ["opened 2 for acceptor"]);
        assert_eq!(end.read(2, "reader"), (b"xy".to_vec(), false));
    }
}

#[test]
fn nothing_may_follow_the_id_before_it_is_accepted() {
    for frames in [
        vec![data(Flags::SYN, 2, &[4, 3, 2, 1, 0])],
        vec![
            data(Flags::SYN, 2, &[4, 3, 2, 1]),
            data(Flags::NONE, 2, &[0]),
        ],
    ] {
        let (mut end, _) = host(Limits::default());
        end.frames_in(&frames);
        assert!(was_reset(&mut end, 2));
        // The id is free again.
        end.connection.accept_id(ID, "acceptor");
        dial(&mut end, 4, ID);
        assert_eq!(end.events(), ["opened 4 for acceptor"]);
    }
}

#[test]
fn a_second_dial_to_an_id_without_acceptor_is_reset() {
    let (mut end, _) = host(Limits::default());
    dial(&mut end, 2, ID);
    dial(&mut end, 4, ID);
    let sent = end.headers();
    assert!(sent.contains(&update(Flags::RST, 4)) && !sent.contains(&update(Flags::RST, 2)));
    end.connection.accept_id(ID, "acceptor");
    assert_eq!(end.events(), ["opened 2 for acceptor"]);
}

#[test]
fn an_id_that_was_accepted_once_can_be_accepted_again() {
    let (mut end, _) = host(Limits::default());
    end.connection.accept_id(ID, "first");
    dial(&mut end, 2, ID);
    dial(&mut end, 4, ID);
    assert_eq!(end.events(), ["opened 2 for first"]);
    end.connection.accept_id(ID, "second");
    assert_eq!(end.events(), ["opened 4 for second"]);
}

#[test]
fn the_last_acceptor_counts() {
    let (mut end, _) = host(Limits::default());
    end.connection.accept_id(ID, "first");
    end.connection.accept_id(ID, "second");
    assert_eq!(end.events(), ["refused first"]);
    end.connection.serve_id(ID, "service");
    assert_eq!(end.events(), ["refused second"]);
    end.connection.serve_id(ID, "other service");
    assert_eq!(end.events(), ["released service"]);
    end.connection.accept_id(ID, "third");
    assert_eq!(end.events(), ["released other service"]);
    dial(&mut end, 2, ID);
    assert_eq!(end.events(), ["opened 2 for third"]);
}

#[test]
fn an_acceptor_that_gave_up_gets_nothing() {
    let (mut end, _) = host(Limits::default());
    end.connection.accept_id(ID, "gone");
    let other = end
        .connection
        .cancel_accept(ID, |waiter| *waiter == "other");
    assert_eq!(other, None);
    let ours = end.connection.cancel_accept(ID, |waiter| *waiter == "gone");
    assert_eq!(ours, Some("gone"));
    assert_eq!(end.connection.cancel_accept(ID, |_| true), None);
    dial(&mut end, 2, ID);
    assert_eq!(end.events(), [""; 0]);
    // The stream waits for another acceptor.
    assert_eq!(end.connection.cancel_accept(ID, |_| true), None);
    end.connection.accept_id(ID, "next");
    assert_eq!(end.events(), ["opened 2 for next"]);
    // The waiter has its stream, and a service is not cancelled like a waiter.
    assert_eq!(end.connection.cancel_accept(ID, |_| true), None);
    end.connection.serve_id(ID, "service");
    assert_eq!(end.connection.cancel_accept(ID, |_| true), None);
}

#[test]
fn a_dial_is_answered_by_its_echo() {
    let echo = ID.to_le_bytes();
    for cut in 0..=4 {
        let (mut end, _) = host(Limits::default());
        let stream = end.connection.dial(end.now, ID, "dial").unwrap();
        let sent = end.sent();
        assert_eq!(sent[0].0, update(Flags::SYN, stream));
        assert_eq!(sent[1].1, echo);
        end.receive(&update(Flags::ACK, stream).encode()).unwrap();
        end.receive(&data(Flags::NONE, stream, &echo[..cut]))
            .unwrap();
        let early = end.events();
        // The rest of the echo, and the first bytes of what the stream is for.
        let rest = [&echo[cut..], b"hello"].concat();
        end.receive(&data(Flags::NONE, stream, &rest)).unwrap();
        let events = [early, end.events()].concat();
        assert_eq!(events, [format!("opened {stream} for dial")], "{cut}");
        assert_eq!(end.read(stream, "reader"), (b"hello".to_vec(), false));
        assert_eq!(end.connection.cancel_dial(stream), None);
    }
}

#[test]
fn a_wrong_echo_refuses_the_dial() {
    for wrong in 0..4 {
        let mut echo = ID.to_le_bytes();
        echo[wrong] ^= 0x80;
        let (mut end, _) = host(Limits::default());
        let stream = end.connection.dial(end.now, ID, "dial").unwrap();
        end.receive(&data(Flags::ACK, stream, &echo)).unwrap();
        assert_eq!(end.events(), ["refused dial"]);
        assert!(was_reset(&mut end, stream));
    }
}

#[test]
fn a_peer_that_ends_the_stream_refuses_the_dial() {
    for flags in [Flags::FIN, Flags::RST] {
        for sent in 0..4 {
            let (mut end, _) = host(Limits::default());
            let stream = end.connection.dial(end.now, ID, "dial").unwrap();
            let echo = &ID.to_le_bytes()[..sent];
            end.receive(&data(flags, stream, echo)).unwrap();
            assert_eq!(end.events(), ["refused dial"]);
            assert_eq!(end.read(stream, "reader"), (Vec::new(), true));
        }
    }
}

#[test]
fn a_dial_that_was_given_up_is_reset() {
    let (mut end, _) = host(Limits::default());
    let stream = end.connection.dial(end.now, ID, "dial").unwrap();
    end.receive(&data(Flags::ACK, stream, &ID.to_le_bytes()[..2]))
        .unwrap();
    assert_eq!(end.connection.cancel_dial(stream), Some("dial"));
    assert!(was_reset(&mut end, stream));
    // A late echo is thrown away.
    end.receive(&data(Flags::NONE, stream, &ID.to_le_bytes()[2..]))
        .unwrap();
    assert_eq!(end.events(), [""; 0]);
    assert_eq!(end.connection.cancel_dial(stream), None);
}

#[test]
fn a_stream_that_ends_before_it_is_accepted_frees_its_id() {
    for flags in [Flags::FIN, Flags::RST] {
        for sent in 0..=4 {
            let (mut end, _) = host(Limits::default());
            end.receive(&data(Flags::SYN, 2, &ID.to_le_bytes()[..sent]))
                .unwrap();
            end.receive(&update(flags, 2).encode()).unwrap();
            assert_eq!(
                end.timeout(),
                Duration::from_secs(30),
                "no deadline is left"
            );
            end.connection.accept_id(ID, "acceptor");
            assert_eq!(end.events(), [""; 0]);
            dial(&mut end, 4, ID);
            assert_eq!(end.events(), ["opened 4 for acceptor"]);
        }
    }
}

#[test]
fn ids_count_from_one_and_are_never_zero() {
    let (mut end, _) = host(Limits::default());
    let ids = [(); 3].map(|()| end.connection.next_broker_id());
    assert_eq!(ids, [1, 2, 3]);
}

#[test]
fn the_end_of_the_connection_tells_everybody_who_waits() {
    let (mut end, _) = host(Limits::default());
    end.connection.accept_id(1, "acceptor");
    end.connection.serve_id(2, "service");
    dial(&mut end, 2, 2);
    dial(&mut end, 4, 9);
    end.connection.dial(end.now, 1, "dial").unwrap();
    assert!(end.connection.close("over"));
    let mut events = end.events();
    events.sort_unstable();
    // Once for the id, and once for the stream that was served.
    let expected = [
        "refused acceptor",
        "refused dial",
        "released service",
        "released service",
    ];
    assert_eq!(events, expected);
    // A later operation fails at once.
    end.connection.accept_id(3, "late acceptor");
    end.connection.serve_id(4, "late service");
    assert_eq!(
        end.events(),
        ["refused late acceptor", "released late service"]
    );
    let late = end.connection.dial(end.now, 5, "late dial");
    assert!(matches!(late, Err(RpcError::Closed(reason)) if *reason == *"over"));
    // The first reason counts.
    assert!(!end.connection.close("over again"));
    assert_eq!(
        end.connection.closed().map(|reason| &**reason),
        Some("over")
    );
}
