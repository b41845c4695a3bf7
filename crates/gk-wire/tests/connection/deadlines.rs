//! Every deadline, on virtual time.

use std::time::Duration;

use gk_wire::Limits;
use gk_wire::connection::ConnectionError;
use gk_wire::yamux::{Flags, Kind, SessionError};

use crate::end::{data, header, host, plugin, update};

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_nanos(1);

#[test]
fn a_stream_has_five_seconds_to_name_its_id() {
    let (mut end, _) = host(Limits::default());
    end.pass(7 * SECOND).unwrap();
    end.receive(&update(Flags::SYN, 2).encode()).unwrap();
    assert_eq!(end.timeout(), 5 * SECOND);
    // A part of the id gains no time.
    end.pass(2 * SECOND).unwrap();
    end.receive(&data(Flags::NONE, 2, &[1, 0, 0])).unwrap();
    assert_eq!(end.timeout(), 3 * SECOND);
    assert_eq!(end.pass(3 * SECOND - MOMENT).unwrap(), []);
    assert_eq!(end.pass(MOMENT).unwrap(), [update(Flags::RST, 2)]);
    assert_eq!(end.timeout(), 18 * SECOND, "the next is keep-alive");
    assert_eq!(end.events(), [""; 0]);
}

#[test]
fn a_stream_waits_five_seconds_for_its_acceptor() {
    let (mut end, _) = host(Limits::default());
    end.receive(&update(Flags::SYN, 2).encode()).unwrap();
    end.pass(4 * SECOND).unwrap();
    end.receive(&data(Flags::NONE, 2, &[9, 0, 0, 0])).unwrap();
    assert_eq!(end.timeout(), 5 * SECOND);
    assert_eq!(end.pass(5 * SECOND - MOMENT).unwrap(), []);
    assert_eq!(end.pass(MOMENT).unwrap(), [update(Flags::RST, 2)]);
    // An acceptor that comes then waits for the next one.
    end.connection.accept_id(9, "acceptor");
    assert_eq!(end.events(), [""; 0]);
    end.receive(&data(Flags::SYN, 4, &[9, 0, 0, 0])).unwrap();
    assert_eq!(end.events(), ["opened 4 for acceptor"]);
    assert_eq!(end.pass(600 * SECOND).unwrap().len(), 2, "ACK and echo");
}

#[test]
fn each_brokered_stream_has_its_own_deadline() {
    let limits = Limits {
        broker_timeout: 10 * SECOND,
        ..Limits::default()
    };
    let (mut end, _) = host(limits);
    for stream in [2, 4, 6] {
        end.receive(&update(Flags::SYN, stream).encode()).unwrap();
        end.pass(SECOND).unwrap();
    }
    // Stream 4 names its id, stream 6 is closed by the peer.
    end.receive(&data(Flags::NONE, 4, &[1, 0, 0, 0])).unwrap();
    end.receive(&update(Flags::FIN, 6).encode()).unwrap();
    end.headers();
    assert_eq!(end.timeout(), 7 * SECOND);
    assert_eq!(end.pass(7 * SECOND).unwrap(), [update(Flags::RST, 2)]);
    assert_eq!(end.timeout(), 3 * SECOND);
    assert_eq!(end.pass(3 * SECOND).unwrap(), [update(Flags::RST, 4)]);
}

#[test]
fn the_first_streams_and_those_that_are_served_have_no_deadline() {
    let mut end = plugin(Limits::default());
    for stream in [1, 3, 5] {
        end.receive(&update(Flags::SYN, stream).encode()).unwrap();
    }
    assert_eq!(end.timeout(), 30 * SECOND);
    assert_eq!(end.events(), ["opened 3 for stdout", "opened 5 for stderr"]);
    end.connection.serve_id(1, "service");
    end.receive(&data(Flags::SYN, 7, &[1, 0, 0, 0])).unwrap();
    assert_eq!(end.timeout(), 30 * SECOND);
    let sent = end.pass(3600 * SECOND).unwrap();
    assert!(sent.iter().all(|header| !header.flags.has(Flags::RST)));
}

#[test]
fn a_dial_without_acknowledgement_ends_the_connection_after_75_seconds() {
    let (mut end, _) = host(Limits::default());
    let acknowledged = end.connection.dial(end.now, 1, "first").unwrap();
    end.pass(SECOND).unwrap();
    let silent = end.connection.dial(end.now, 2, "second").unwrap();
    end.receive(&update(Flags::ACK, acknowledged).encode())
        .unwrap();
    end.pass(75 * SECOND - MOMENT).unwrap();
    assert_eq!(end.timeout(), MOMENT);
    let error = end.pass(MOMENT).unwrap_err();
    let expected = SessionError::OpenTimeout(silent, 75 * SECOND);
    assert_eq!(error, ConnectionError::Session(expected));
    end.connection.close(&error.to_string());
    let mut events = end.events();
    events.sort_unstable();
    assert_eq!(events, ["refused first", "refused second"]);
}

#[test]
fn a_dial_that_is_acknowledged_waits_for_its_echo_without_end() {
    let (mut end, _) = host(Limits::default());
    let stream = end.connection.dial(end.now, 1, "dial").unwrap();
    end.receive(&update(Flags::ACK, stream).encode()).unwrap();
    end.pass(24 * 3600 * SECOND).unwrap();
    assert_eq!(end.events(), [""; 0]);
    end.receive(&data(Flags::NONE, stream, &[1, 0, 0, 0]))
        .unwrap();
    assert_eq!(end.events(), [format!("opened {stream} for dial")]);
}

#[test]
fn a_host_whose_first_streams_are_not_acknowledged_gives_up() {
    let now = std::time::Instant::now();
    let (connection, streams) =
        gk_wire::connection::Connection::host(Limits::default(), now).unwrap();
    let mut end = crate::end::End { connection, now };
    for stream in [streams.control, streams.stderr] {
        end.receive(&update(Flags::ACK, stream).encode()).unwrap();
    }
    end.pass(75 * SECOND - MOMENT).unwrap();
    let expected = SessionError::OpenTimeout(streams.stdout, 75 * SECOND);
    assert_eq!(end.pass(MOMENT), Err(ConnectionError::Session(expected)));
}

#[test]
fn a_silent_peer_is_pinged_and_then_given_up() {
    let (mut end, streams) = host(Limits::default());
    end.connection
        .call(streams.control, "Control.Ping", &true, "call")
        .unwrap();
    end.headers();
    for round in 1..=3 {
        assert_eq!(end.timeout(), 30 * SECOND);
        end.later(30 * SECOND - MOMENT).unwrap();
        assert_eq!(end.headers(), []);
        end.later(MOMENT).unwrap();
        assert_eq!(end.headers(), [header(Kind::Ping, Flags::SYN, 0, round)]);
        assert_eq!(end.timeout(), 10 * SECOND);
        end.later(10 * SECOND - MOMENT).unwrap();
        end.receive(&header(Kind::Ping, Flags::ACK, 0, round).encode())
            .unwrap();
    }
    end.later(30 * SECOND).unwrap();
    let error = end.later(10 * SECOND).unwrap_err();
    let expected = SessionError::KeepaliveTimeout(10 * SECOND);
    assert_eq!(error, ConnectionError::Session(expected));
    end.connection.close(&error.to_string());
    assert_eq!(
        end.events(),
        [
            "no reply to call: the connection is closed: yamux: the peer did not answer a ping within 10s"
        ]
    );
    assert_eq!(end.connection.poll_timeout(), None);
}

#[test]
fn a_stream_that_the_peer_does_not_close_is_reset_after_five_minutes() {
    let (mut end, streams) = host(Limits::default());
    let (stdout, stderr) = (streams.stdout, streams.stderr);
    assert_eq!(end.read(stdout, "reader"), (Vec::new(), false));
    end.connection.shutdown(end.now, stdout);
    end.connection.release(end.now, stderr);
    end.pass(SECOND).unwrap();
    end.connection.close_client(end.now, streams.control);
    let sent = end.pass(299 * SECOND - MOMENT).unwrap();
    assert_eq!(sent, [update(Flags::FIN, streams.control)]);
    assert_eq!(end.events(), [""; 0]);
    let mut sent = end.pass(MOMENT).unwrap();
    sent.sort_by_key(|header| header.stream);
    assert_eq!(
        sent,
        [update(Flags::RST, stdout), update(Flags::RST, stderr)]
    );
    // A reader of the half-closed stream finds its end.
    assert_eq!(end.events(), ["ready reader"]);
    assert_eq!(end.read(stdout, "reader"), (Vec::new(), true));
    let sent = end.pass(SECOND).unwrap();
    assert_eq!(sent, [update(Flags::RST, streams.control)]);
    // Data of a stream that was reset is thrown away.
    end.receive(&data(Flags::NONE, stdout, b"late")).unwrap();
}

#[test]
fn a_stream_that_both_sides_close_has_no_deadline() {
    let (mut end, streams) = host(Limits::default());
    end.connection.shutdown(end.now, streams.stdout);
    end.pass(299 * SECOND).unwrap();
    end.receive(&update(Flags::FIN, streams.stdout).encode())
        .unwrap();
    let sent = end.pass(3600 * SECOND).unwrap();
    assert_eq!(sent, []);
}

#[test]
fn a_closed_connection_has_no_deadline() {
    let (mut end, _) = host(Limits::default());
    end.receive(&update(Flags::SYN, 2).encode()).unwrap();
    end.connection.close("over");
    assert_eq!(end.connection.poll_timeout(), None);
}
