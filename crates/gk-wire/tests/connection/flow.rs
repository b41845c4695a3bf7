//! Flow control: windows, grants, queues, and peers that do not read.

use std::task::Poll;

use gk_wire::connection::{ConnectionError, Event, Input, MessageRead, RpcError, StreamClosed};
use gk_wire::gob::Payload;
use gk_wire::yamux::{Flags, Kind, SessionError};
use gk_wire::{Limits, MemoryBudget};

use crate::end::{End, WINDOW, data, header, host, plugin, talk, update};

/// The bytes that the end grants on a stream.
fn granted(end: &mut End, stream: u32) -> u32 {
    let grants = end
        .headers()
        .into_iter()
        .filter(|header| header.stream == stream && header.kind == Kind::WindowUpdate);
    grants.map(|header| header.length).sum()
}

#[test]
fn a_writer_stops_at_the_window_and_goes_on_after_a_grant() {
    let (mut end, streams) = host(Limits::default());
    let (connection, stream) = (&mut end.connection, streams.stdout);
    let chunk = vec![1; 50_000];
    let mut written = 0;
    while let Poll::Ready(count) = connection.write(stream, &chunk, || "writer") {
        written += count.unwrap();
    }
    assert_eq!(written, WINDOW as usize);
    // Nothing to write needs no room.
    let nothing = connection.write(stream, &[], || "nobody");
    assert_eq!(nothing, Poll::Ready(Ok(0)));
    let sent = end.sent();
    assert_eq!(
        sent.iter().map(|(_, payload)| payload.len()).sum::<usize>(),
        written
    );
    // A grant on another stream is none of the writer's.
    end.receive(&header(Kind::WindowUpdate, Flags::NONE, streams.stderr, 10).encode())
        .unwrap();
    assert_eq!(end.events(), [""; 0]);
    end.receive(&header(Kind::WindowUpdate, Flags::NONE, stream, 10).encode())
        .unwrap();
    assert_eq!(end.events(), ["ready writer"]);
    let more = end.connection.write(stream, &chunk, || "writer");
    assert_eq!(more, Poll::Ready(Ok(10)));
    // A reset wakes a writer that waits, with an error.
    assert_eq!(
        end.connection.write(stream, &chunk, || "writer"),
        Poll::Pending
    );
    end.receive(&update(Flags::RST, stream).encode()).unwrap();
    assert_eq!(end.events(), ["ready writer"]);
    assert_eq!(
        end.connection.write(stream, &chunk, || "writer"),
        Poll::Ready(Err(StreamClosed))
    );
}

#[test]
fn bytes_are_granted_when_they_are_read_and_not_before() {
    let (mut end, streams) = host(Limits::default());
    let stream = streams.stdout;
    let half = vec![b'x'; WINDOW as usize / 2];
    for _ in 0..2 {
        end.receive(&data(Flags::NONE, stream, &half)).unwrap();
    }
    assert_eq!(granted(&mut end, stream), 0);
    let one_more = end.receive(&data(Flags::NONE, stream, b"x"));
    let overrun = SessionError::WindowOverrun(stream);
    assert_eq!(one_more, Err(ConnectionError::Session(overrun)));

    let (mut end, _) = host(Limits::default());
    for round in 1..=10 {
        end.receive(&data(Flags::NONE, stream, &half)).unwrap();
        let mut read = 0;
        while read < half.len() - 1 {
            let limit = 1000.min(half.len() - 1 - read);
            let count = end.connection.read(stream, limit, |_| {}, || "reader");
            let Poll::Ready(count) = count else {
                panic!("{round}")
            };
            read += count;
        }
        let before = granted(&mut end, stream);
        end.read(stream, "reader");
        // Half a window is worth a frame.
        assert_eq!(before + granted(&mut end, stream), WINDOW / 2, "{round}");
    }
}

#[test]
fn a_reader_is_woken_by_bytes_and_by_the_end() {
    let (mut end, streams) = host(Limits::default());
    let stream = streams.stdout;
    assert_eq!(end.read(stream, "first"), (Vec::new(), false));
    // Only the last one who asks is told.
    assert_eq!(end.read(stream, "second"), (Vec::new(), false));
    end.receive(&data(Flags::NONE, stream, b"one")).unwrap();
    end.receive(&data(Flags::NONE, stream, b"two")).unwrap();
    assert_eq!(end.events(), ["ready second"]);
    assert_eq!(end.read(stream, "reader"), (b"onetwo".to_vec(), false));
    end.receive(&data(Flags::FIN, stream, b"three")).unwrap();
    assert_eq!(end.events(), ["ready reader"]);
    assert_eq!(end.read(stream, "reader"), (b"three".to_vec(), true));
    // The connection's end is the end of every stream; what came before is still there.
    end.receive(&data(Flags::NONE, streams.stderr, b"last"))
        .unwrap();
    end.connection.close("over");
    assert_eq!(end.read(streams.stderr, "reader"), (b"last".to_vec(), true));
}

#[test]
fn a_stream_that_was_released_is_granted_on() {
    let (mut end, streams) = host(Limits::default());
    end.connection.release(end.now, streams.stdout);
    let chunk = vec![b'x'; 32 * 1024];
    let mut received = 0;
    for _ in 0..40 {
        end.receive(&data(Flags::NONE, streams.stdout, &chunk))
            .unwrap();
        received += chunk.len();
    }
    let granted = granted(&mut end, streams.stdout) as usize;
    assert!(granted > received - WINDOW as usize / 2);
    assert_eq!(end.events(), [""; 0]);
}

/// A peer that has filled the window and waits must not wait for a reader that has gone.
#[test]
fn what_was_unread_is_granted_when_its_stream_is_released() {
    let (mut end, streams) = host(Limits::default());
    let stream = streams.stdout;
    let window = vec![b'x'; WINDOW as usize];
    end.receive(&data(Flags::NONE, stream, &window)).unwrap();
    assert_eq!(granted(&mut end, stream), 0);
    end.connection.release(end.now, stream);
    assert_eq!(granted(&mut end, stream), WINDOW);
}

/// A host with a client on a plugin's service.
fn dispensed(limits: &Limits) -> (End, End, u32) {
    let (mut host, _) = host(Limits::default());
    let mut plugin = plugin(limits.clone());
    let open: Vec<u8> = [1, 3, 5]
        .iter()
        .flat_map(|stream| update(Flags::SYN, *stream).encode())
        .collect();
    plugin.receive(&open).unwrap();
    plugin.headers();
    plugin.connection.serve_id(1, "service");
    let stream = host.connection.dial(host.now, 1, "dial").unwrap();
    talk(&mut host, &mut plugin);
    host.connection.make_client(host.now, stream).unwrap();
    host.events();
    plugin.events();
    (host, plugin, stream)
}

#[test]
fn a_call_larger_than_the_window_goes_in_parts_and_arrives_whole() {
    let (mut host, mut plugin, stream) = dispensed(&Limits::default());
    let argument = Payload(vec![7; 1 << 20].into());
    host.connection
        .call(stream, "Plugin.Echo", &argument, "call")
        .unwrap();
    let mut bytes = Vec::new();
    host.connection.transmit_into(&mut bytes);
    // The id has taken four bytes of the window.
    let first: u32 = crate::end::frames(&bytes)
        .iter()
        .map(|(header, _)| header.length)
        .sum();
    assert_eq!(first, WINDOW - 4);
    plugin.receive(&bytes).unwrap();
    assert_eq!(plugin.events(), [""; 0]);
    talk(&mut host, &mut plugin);
    let Some(Event::Request { call, body, .. }) = plugin.connection.poll_event() else {
        panic!("no request");
    };
    assert_eq!(body.decode::<Payload>().unwrap(), argument);
    plugin.connection.reply(call, "", &argument).unwrap();
    talk(&mut host, &mut plugin);
    assert_eq!(host.events(), ["reply to call: 1048576 bytes"]);
}

#[test]
fn calls_to_a_peer_that_does_not_read_are_refused_and_nothing_is_lost() {
    let mut limits = Limits::default();
    limits.yamux.max_queued_bytes = 1 << 20;
    let now = std::time::Instant::now();
    let (connection, streams) = gk_wire::connection::Connection::host(limits, now).unwrap();
    let mut end = End { connection, now };
    let argument = Payload(vec![7; 64 * 1024].into());
    let mut taken = 0_usize;
    let refused = loop {
        let call = end
            .connection
            .call(streams.control, "Plugin.Call", &argument, "call");
        match call {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    let RpcError::QueueFull(queued) = refused else {
        panic!("{refused:?}")
    };
    assert!((1 << 20..1200 * 1024).contains(&queued), "{queued}");
    let mut payload = 0;
    for _ in 0..taken {
        let sent = end.sent();
        payload += sent.iter().map(|(_, payload)| payload.len()).sum::<usize>();
        let grant = header(Kind::WindowUpdate, Flags::NONE, streams.control, 128 * 1024);
        end.receive(&grant.encode()).unwrap();
    }
    assert!(payload > taken * 64 * 1024);
    end.connection
        .call(streams.control, "Plugin.Call", &argument, "call")
        .unwrap();
}

#[test]
fn replies_to_a_peer_that_does_not_read_end_the_connection() {
    let mut limits = Limits::default();
    limits.yamux.max_queued_bytes = 64 * 1024;
    let (mut host, mut plugin, stream) = dispensed(&limits);
    for _ in 0..2 {
        host.connection
            .call(stream, "Plugin.Big", &(), "call")
            .unwrap();
    }
    talk(&mut host, &mut plugin);
    let big = Payload(vec![7; 100_000].into());
    let mut outcomes = Vec::new();
    while let Some(event) = plugin.connection.poll_event() {
        if let Event::Request { call, .. } = event {
            outcomes.push(plugin.connection.reply(call, "", &big));
        }
    }
    let [Ok(()), Err(ConnectionError::UnreadReplies(queued))] = outcomes[..] else {
        panic!("{outcomes:?}")
    };
    assert!(queued > 100_000);
}

#[test]
fn pings_of_a_peer_that_does_not_read_end_the_connection() {
    let mut limits = Limits::default();
    limits.yamux.max_queued_control_bytes = 1200;
    let (mut end, _) = host(limits);
    let ping = header(Kind::Ping, Flags::SYN, 0, 1).encode();
    for _ in 0..100 {
        end.receive(&ping).unwrap();
    }
    let error = end.receive(&ping).unwrap_err();
    assert_eq!(
        error,
        ConnectionError::Session(SessionError::QueueFull(1212))
    );
}

#[test]
fn unfinished_messages_beyond_the_limit_end_the_connection() {
    let limits = Limits {
        max_held_bytes: 100_000,
        ..Limits::default()
    };
    // A message of 92,160 bytes is announced on each of two streams, 60,000 bytes of it sent.
    let mut begun = vec![0xfd, 0x01, 0x68, 0x00];
    begun.resize(60_000, 0);
    for straight in [false, true] {
        let mut plugin = plugin(limits.clone());
        for id in [1, 2] {
            plugin.connection.serve_id(id, "service");
        }
        let mut outcome = Ok(());
        for stream in [1, 3, 5] {
            plugin
                .receive(&update(Flags::SYN, stream).encode())
                .unwrap();
        }
        for (stream, id) in [(7, 1), (9, 2)] {
            plugin
                .receive(&data(Flags::SYN, stream, &[id, 0, 0, 0]))
                .unwrap();
        }
        for stream in [7, 9] {
            outcome.clone().unwrap();
            let frame = data(Flags::NONE, stream, &begun);
            outcome = match straight {
                true => plugin.read_in(&frame),
                false => plugin.receive(&frame),
            };
        }
        assert_eq!(outcome, Err(ConnectionError::UnfinishedMessages(100_000)));
    }
}

/// A plugin of which the place of a large message has been taken: 65,536 bytes are announced, and
/// 1,000 of them have come.
fn message_read() -> (End, MessageRead) {
    let mut plugin = plugin(Limits::default());
    plugin.connection.serve_id(1, "service");
    for stream in [1, 3, 5] {
        plugin
            .receive(&update(Flags::SYN, stream).encode())
            .unwrap();
    }
    plugin.receive(&data(Flags::SYN, 7, &[1, 0, 0, 0])).unwrap();
    let mut message = vec![0xfd, 0x01, 0x00, 0x00];
    message.resize(40_000, 0);
    let frame = data(Flags::NONE, 7, &message);
    let (first, _) = frame.split_at(1_000);
    plugin.receive(first).unwrap();
    let read = plugin.connection.begin_message_read().unwrap();
    (plugin, read)
}

#[test]
fn the_place_of_a_message_must_come_back_with_the_next_bytes() {
    type Misuse = fn(&mut End, MessageRead) -> Input;
    let misuses: [(&str, Misuse); 4] = [
        ("dropped", |_, _| Input::Bytes(vec![0; 10].into())),
        ("shorter", |_, mut read| {
            read.buffer().0.clear();
            Input::Message(read)
        }),
        ("too long", |_, mut read| {
            let (message, room) = read.buffer();
            message.resize(message.len() + room + 1, 0);
            Input::Message(read)
        }),
        ("not asked for", |end, read| {
            let own = Input::Message(read);
            end.connection.handle_input(end.now, own).unwrap();
            Input::Message(message_read().1)
        }),
    ];
    for (case, misuse) in misuses {
        let (mut plugin, read) = message_read();
        assert!(plugin.connection.begin_message_read().is_none(), "{case}");
        let input = misuse(&mut plugin, read);
        let outcome = plugin.connection.handle_input(plugin.now, input);
        assert_eq!(outcome, Err(ConnectionError::MessageRead), "{case}");
    }
}

#[test]
fn a_call_for_which_there_is_no_memory_fails_alone() {
    let memory = MemoryBudget::new(1 << 20);
    let limits = Limits {
        memory: Some(memory.clone()),
        ..Limits::default()
    };
    let (mut host, mut plugin, stream) = dispensed(&limits);
    let argument = Payload(vec![7; 2 << 20].into());
    for name in ["large", "small"] {
        let argument = match name {
            "large" => argument.clone(),
            _ => Payload(vec![7; 100].into()),
        };
        host.connection
            .call(stream, "Plugin.Echo", &argument, name)
            .unwrap();
    }
    // In reads of a socket, not in one piece.
    loop {
        let (mut there, mut back) = (Vec::new(), Vec::new());
        host.connection.transmit_into(&mut there);
        plugin.connection.transmit_into(&mut back);
        if there.is_empty() && back.is_empty() {
            break;
        }
        plugin.read_in(&there).unwrap();
        host.receive(&back).unwrap();
    }
    let events = host.events();
    assert_eq!(events.len(), 1);
    assert!(
        events[0].starts_with("no reply to large: the request has 2097")
            && events[0].ends_with("no memory at this moment; try again later"),
        "{events:?}"
    );
    assert_eq!(
        plugin.events(),
        ["request to service: Plugin.Echo 100 bytes"]
    );
    assert_eq!(memory.used(), 0);
}
