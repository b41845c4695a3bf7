//! The yamux session on virtual time: what ends it, what it tolerates, windows and timeouts.

mod random;

use std::collections::HashMap;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gk_wire::yamux::{Event, Flags, Header, Kind, Limits, Role, Session, SessionError};
use proptest::prelude::*;

const WINDOW: u32 = 256 * 1024;

fn header(kind: Kind, flags: Flags, stream: u32, length: u32) -> Header {
    Header {
        kind,
        flags,
        stream,
        length,
    }
}

fn update(flags: Flags, stream: u32) -> Header {
    header(Kind::WindowUpdate, flags, stream, 0)
}

/// What the session wants to send, as bytes.
fn written(session: &mut Session) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(mut batch) = session.out().begin() {
        while !batch.is_done() {
            let mut slices = [IoSlice::new(&[]); 3];
            let count = batch.slices(&mut slices);
            // Not all at once, as a socket would.
            let part: Vec<u8> = slices[..count]
                .iter()
                .flat_map(|slice| slice.iter().copied())
                .take(100_000)
                .collect();
            batch.advance(part.len());
            bytes.extend(part);
        }
        session.out().end(batch);
    }
    bytes
}

/// What the session wants to send, as headers and payload.
fn frames(session: &mut Session) -> Vec<(Header, Vec<u8>)> {
    let bytes = written(session);
    let (mut rest, mut frames) = (&bytes[..], Vec::new());
    while let Some((head, after)) = rest.split_first_chunk() {
        let header = Header::decode(head).unwrap();
        let length = match header.kind {
            Kind::Data => header.length as usize,
            _ => 0,
        };
        let (payload, after) = after.split_at(length);
        frames.push((header, payload.to_vec()));
        rest = after;
    }
    assert!(rest.is_empty());
    frames
}

fn headers(session: &mut Session) -> Vec<Header> {
    frames(session)
        .into_iter()
        .map(|(header, _)| header)
        .collect()
}

struct Test {
    session: Session,
    now: Instant,
}

impl Test {
    fn new(limits: Limits) -> Self {
        let now = Instant::now();
        Test {
            session: Session::new(Role::Client, limits, now),
            now,
        }
    }

    fn receive(&mut self, header: Header) -> Result<Event, SessionError> {
        self.session.received(header, self.now)
    }

    fn later(&mut self, by: Duration) -> Result<Vec<u32>, SessionError> {
        self.now += by;
        self.session.on_timeout(self.now)
    }

    fn headers(&mut self) -> Vec<Header> {
        headers(&mut self.session)
    }
}

fn session() -> Test {
    Test::new(Limits::default())
}

#[test]
fn streams_are_opened_by_a_window_update_with_odd_or_even_ids() {
    let now = Instant::now();
    for (role, ids) in [(Role::Client, [1, 3, 5]), (Role::Server, [2, 4, 6])] {
        let mut session = Session::new(role, Limits::default(), now);
        assert_eq!(ids.map(|_| session.open(now).unwrap()), ids);
        assert_eq!(headers(&mut session), ids.map(|id| update(Flags::SYN, id)));
    }
}

#[test]
fn what_ends_the_session() {
    let syn = update(Flags::SYN, 2);
    let fin = update(Flags::FIN, 2);
    let data = |length| header(Kind::Data, Flags::NONE, 2, length);
    let grant = |length| header(Kind::WindowUpdate, Flags::NONE, 2, length);
    let away = |code| header(Kind::GoAway, Flags::NONE, 0, code);
    for (frames, error) in [
        (vec![syn, syn], SessionError::DuplicateStream(2)),
        (vec![syn, fin, fin], SessionError::DuplicateFin(2)),
        (vec![syn, data(WINDOW + 1)], SessionError::WindowOverrun(2)),
        (
            vec![syn, data(WINDOW), data(1)],
            SessionError::WindowOverrun(2),
        ),
        (
            vec![syn, data(1), data(WINDOW)],
            SessionError::WindowOverrun(2),
        ),
        (vec![syn, grant(u32::MAX)], SessionError::WindowOverflow(2)),
        (vec![away(1)], SessionError::GoAway(1)),
        (vec![away(2)], SessionError::GoAway(2)),
    ] {
        let mut test = session();
        let (last, first) = frames.split_last().unwrap();
        for frame in first {
            test.receive(*frame).unwrap();
        }
        assert_eq!(test.receive(*last), Err(error));
    }
    let good = update(Flags::SYN, 2).encode();
    let with = |at: usize, byte: u8| {
        let mut bytes = good;
        bytes[at] = byte;
        Header::decode(&bytes)
    };
    assert_eq!(with(0, 1), Err(SessionError::Version(1)));
    assert_eq!(with(1, 4), Err(SessionError::Type(4)));
    assert_eq!(with(1, 255), Err(SessionError::Type(255)));
}

#[test]
fn what_is_tolerated() {
    let mut test = session();
    let stray = [
        header(Kind::Data, Flags::NONE, 40, 17),
        header(Kind::WindowUpdate, Flags::NONE, 40, u32::MAX),
        update(Flags::RST, 40),
        update(Flags::FIN, 40),
        update(Flags::ACK, 40),
        header(Kind::Ping, Flags::ACK, 0, 12345),
        header(Kind::Ping, Flags::NONE, 0, 12345),
    ];
    for frame in stray {
        let event = test.receive(frame).unwrap();
        match frame.kind {
            Kind::Data => assert_eq!(
                event,
                Event::Data {
                    stream: 40,
                    length: 17,
                    known: false,
                    opened: false,
                    fin: false,
                    reset: false
                }
            ),
            _ => assert_eq!(event, Event::None, "{frame:?}"),
        }
    }
    assert_eq!(test.headers(), []);
    // SYN on Data, with data; unknown flags; ids of any parity.
    for (stream, flags) in [(2, Flags::SYN), (7, Flags::SYN), (8, Flags(0xfff1))] {
        let event = test.receive(header(Kind::Data, flags, stream, 5)).unwrap();
        assert!(
            matches!(
                event,
                Event::Data {
                    known: true,
                    opened: true,
                    fin: false,
                    ..
                }
            ),
            "{event:?}"
        );
    }
    // A normal goodbye leaves the streams as they are, and takes no new ones.
    assert_eq!(
        test.receive(header(Kind::GoAway, Flags::NONE, 0, 0)),
        Ok(Event::None)
    );
    assert!(test.session.can_send(2));
    assert_eq!(test.session.open(test.now), Err(SessionError::GoAway(0)));
    // It is the peer that takes no more: it may still open some.
    let event = test.receive(update(Flags::SYN, 10)).unwrap();
    assert!(matches!(event, Event::Stream { opened: true, .. }));
    // A second FIN once both sides have closed is for an unknown stream.
    test.receive(update(Flags::FIN, 10)).unwrap();
    test.session.close(10, test.now);
    assert!(!test.session.contains(10));
    test.receive(update(Flags::FIN, 10)).unwrap();
}

#[test]
fn after_our_goodbye_streams_are_refused() {
    let mut test = session();
    test.session.go_away();
    assert_eq!(test.receive(update(Flags::SYN, 2)), Ok(Event::None));
    assert_eq!(
        test.headers(),
        [
            header(Kind::GoAway, Flags::NONE, 0, 0),
            update(Flags::RST, 2)
        ]
    );
}

#[test]
fn ids_that_the_peer_has_taken_are_left_out() {
    let mut test = session();
    test.receive(update(Flags::SYN, 1)).unwrap();
    test.receive(update(Flags::SYN, 5)).unwrap();
    let ids = [(); 3].map(|()| test.session.open(test.now).unwrap());
    assert_eq!(ids, [3, 7, 9]);
}

#[test]
fn streams_beyond_the_limit_are_reset_and_places_come_back() {
    let mut test = Test::new(Limits {
        max_streams: 2,
        ..Limits::default()
    });
    for stream in [2, 4] {
        test.receive(update(Flags::SYN, stream)).unwrap();
    }
    // With data, which is then thrown away.
    let event = test.receive(header(Kind::Data, Flags::SYN, 6, 9)).unwrap();
    assert!(matches!(
        event,
        Event::Data {
            known: false,
            length: 9,
            ..
        }
    ));
    assert_eq!(test.headers(), [update(Flags::RST, 6)]);
    test.receive(update(Flags::RST, 2)).unwrap();
    let event = test.receive(update(Flags::SYN, 8)).unwrap();
    assert!(matches!(event, Event::Stream { opened: true, .. }));
    // Our own do not count.
    test.session.open(test.now).unwrap();
}

#[test]
fn pings_are_answered_and_sent() {
    let mut test = session();
    test.receive(header(Kind::Ping, Flags::SYN, 0, 7)).unwrap();
    assert_eq!(test.headers(), [header(Kind::Ping, Flags::ACK, 0, 7)]);
    for round in 1..=3 {
        assert_eq!(
            test.session.next_timeout(),
            test.now + Duration::from_secs(30)
        );
        test.later(Duration::from_secs(29)).unwrap();
        assert_eq!(test.headers(), []);
        test.later(Duration::from_secs(1)).unwrap();
        assert_eq!(test.headers(), [header(Kind::Ping, Flags::SYN, 0, round)]);
        assert_eq!(
            test.session.next_timeout(),
            test.now + Duration::from_secs(10)
        );
        // One ping at a time; a pong for another is none.
        test.later(Duration::from_secs(9)).unwrap();
        test.receive(header(Kind::Ping, Flags::ACK, 0, round + 1))
            .unwrap();
        assert_eq!(test.headers(), []);
        test.receive(header(Kind::Ping, Flags::ACK, 0, round))
            .unwrap();
    }
    test.later(Duration::from_secs(30)).unwrap();
    assert_eq!(
        test.later(Duration::from_secs(10)),
        Err(SessionError::KeepaliveTimeout(Duration::from_secs(10)))
    );
}

/// Answers the session's pings while time goes by.
fn pass(test: &mut Test, time: Duration) -> Result<Vec<u32>, SessionError> {
    let (mut reset, end) = (Vec::new(), test.now + time);
    while test.now < end {
        let next = test.session.next_timeout().min(end);
        reset.extend(test.later(next - test.now)?);
        for frame in test.headers() {
            if frame.kind == Kind::Ping {
                test.receive(header(Kind::Ping, Flags::ACK, 0, frame.length))?;
            }
        }
    }
    Ok(reset)
}

#[test]
fn a_stream_without_ack_ends_the_session_after_75_seconds() {
    let mut test = session();
    let (first, second) = (
        test.session.open(test.now).unwrap(),
        test.session.open(test.now).unwrap(),
    );
    test.receive(update(Flags::ACK, first)).unwrap();
    pass(&mut test, Duration::from_secs(74)).unwrap();
    assert_eq!(
        pass(&mut test, Duration::from_secs(1)),
        Err(SessionError::OpenTimeout(second, Duration::from_secs(75)))
    );
}

#[test]
fn a_stream_that_the_peer_does_not_close_is_reset_after_5_minutes() {
    let mut test = session();
    for stream in [2, 4, 6] {
        test.receive(update(Flags::SYN, stream)).unwrap();
        test.session.close(stream, test.now);
    }
    // One is closed in time, and one has data that the peer never takes: its FIN cannot go out.
    test.receive(update(Flags::FIN, 4)).unwrap();
    test.receive(update(Flags::SYN, 8)).unwrap();
    test.session
        .send_bytes(8, Bytes::from(vec![0; WINDOW as usize + 1]));
    test.session.close(8, test.now);
    test.headers();
    assert_eq!(pass(&mut test, Duration::from_secs(299)), Ok(vec![]));
    let mut reset = pass(&mut test, Duration::from_secs(1)).unwrap();
    reset.sort_unstable();
    assert_eq!(reset, [2, 6, 8]);
    assert!(!test.session.contains(8));
    assert_eq!(test.session.queued_bytes(), 0);
}

#[test]
fn a_writer_is_blocked_at_the_window_and_goes_on_after_an_update() {
    let mut test = session();
    test.receive(update(Flags::SYN, 2)).unwrap();
    let payload: Vec<u8> = (0..WINDOW + 1000)
        .map(|at| u8::try_from(at % 251).unwrap())
        .collect();
    test.session.send_bytes(2, payload.clone().into());
    test.session.close(2, test.now);
    assert!(!test.session.can_send(2));
    assert_eq!(test.session.stream_pending(2), 1000);
    let mut got: Vec<u8> = Vec::new();
    for (frame, data) in frames(&mut test.session) {
        assert_eq!(frame.kind, Kind::Data);
        got.extend(data);
    }
    assert_eq!(got.len(), WINDOW as usize);
    let grant = header(Kind::WindowUpdate, Flags::NONE, 2, 600);
    assert!(matches!(
        test.receive(grant),
        Ok(Event::Stream { writable: true, .. })
    ));
    test.receive(grant).unwrap();
    let last = frames(&mut test.session);
    assert_eq!(last.last().unwrap().0, update(Flags::FIN, 2));
    got.extend(last.into_iter().flat_map(|(_, data)| data));
    assert_eq!(got, payload);
    assert_eq!(test.session.queued_bytes(), 0);
}

#[test]
fn grants_come_when_half_a_window_was_taken() {
    let mut test = session();
    test.receive(update(Flags::SYN, 2)).unwrap();
    test.receive(header(Kind::Data, Flags::NONE, 2, WINDOW))
        .unwrap();
    test.session.consumed(2, WINDOW / 2 - 1);
    assert_eq!(test.headers(), []);
    test.session.consumed(2, 1);
    let grant = header(Kind::WindowUpdate, Flags::NONE, 2, WINDOW / 2);
    assert_eq!(test.headers(), [grant]);
    test.receive(header(Kind::Data, Flags::NONE, 2, WINDOW / 2))
        .unwrap();
    assert_eq!(
        test.receive(header(Kind::Data, Flags::NONE, 2, 1)),
        Err(SessionError::WindowOverrun(2))
    );
}

#[test]
fn small_data_of_one_stream_shares_a_frame_until_something_else_is_sent() {
    let mut test = session();
    for stream in [2, 4] {
        test.receive(update(Flags::SYN, stream)).unwrap();
    }
    for (stream, text) in [(2, "a"), (2, "b"), (4, "c"), (2, "d"), (2, "e")] {
        test.session
            .send_bytes(stream, Bytes::from_static(text.as_bytes()));
    }
    test.session.close(4, test.now);
    test.session.send_bytes(2, Bytes::from_static(b"f"));
    let sent: Vec<(u32, Vec<u8>)> = frames(&mut test.session)
        .into_iter()
        .map(|(header, data)| (header.stream, data))
        .collect();
    let expected = [(2, &b"ab"[..]), (4, b"c"), (2, b"de"), (4, b""), (2, b"f")];
    assert_eq!(sent, expected.map(|(stream, data)| (stream, data.to_vec())));
    // Never beyond 64 KiB.
    test.session.send_bytes(2, Bytes::from(vec![0; 60 * 1024]));
    test.session.send_bytes(2, Bytes::from(vec![0; 60 * 1024]));
    assert_eq!(test.headers().len(), 2);
    // What is being written does not grow any more.
    test.session.send_bytes(2, Bytes::from_static(b"x"));
    let mut batch = test.session.out().begin().unwrap();
    test.session.send_bytes(2, Bytes::from_static(b"y"));
    assert!(test.session.out().begin().is_none(), "one batch at a time");
    batch.advance(Header::LEN + 1);
    test.session.out().end(batch);
    let rest = frames(&mut test.session);
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].1, b"y");
}

#[test]
fn the_queue_has_a_limit() {
    let mut test = Test::new(Limits {
        max_queued_bytes: 1000,
        max_queued_control_bytes: 120,
        ..Limits::default()
    });
    test.receive(update(Flags::SYN, 2)).unwrap();
    assert!(test.session.has_room());
    test.session.send_bytes(2, Bytes::from(vec![0; 2000]));
    assert!(!test.session.has_room());
    // Data does not count as the peer's fault, and is answered around.
    for _ in 0..10 {
        test.receive(header(Kind::Ping, Flags::SYN, 0, 1)).unwrap();
    }
    assert_eq!(
        test.receive(header(Kind::Ping, Flags::SYN, 0, 1)),
        Err(SessionError::QueueFull(132))
    );
    test.headers();
    assert!(test.session.has_room());
    test.receive(header(Kind::Ping, Flags::SYN, 0, 1)).unwrap();
}
