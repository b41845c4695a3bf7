//! Calls in both directions, their limits, and what becomes of them when streams end.

use gk_wire::connection::{ConnectionError, Event, IncomingCall, RpcError};
use gk_wire::gob::Payload;
use gk_wire::yamux::Flags;
use gk_wire::{Empty, Limits};

use crate::end::{End, host, plugin, talk, update};

/// A host and a plugin that have made their first streams; the number of the control stream.
fn both(limits: &Limits) -> (End, End, u32) {
    let now = std::time::Instant::now();
    let (connection, streams) = gk_wire::connection::Connection::host(limits.clone(), now).unwrap();
    let mut host = End { connection, now };
    let mut plugin = plugin(limits.clone());
    talk(&mut host, &mut plugin);
    plugin.events();
    (host, plugin, streams.control)
}

/// The same with a client of the host's for a service of the plugin's.
fn dispensed(limits: &Limits) -> (End, End, u32) {
    let (mut host, mut plugin, _) = both(limits);
    plugin.connection.serve_id(1, "service");
    let stream = host.connection.dial(host.now, 1, "dial").unwrap();
    talk(&mut host, &mut plugin);
    assert_eq!(host.events(), [format!("opened {stream} for dial")]);
    host.connection.make_client(host.now, stream).unwrap();
    (host, plugin, stream)
}

/// The calls that have come.
fn requests(end: &mut End) -> Vec<IncomingCall> {
    std::iter::from_fn(|| end.connection.poll_event())
        .filter_map(|event| match event {
            Event::Request { call, .. } => Some(call),
            _ => None,
        })
        .collect()
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[test]
fn replies_find_their_calls_in_any_order() {
    let (mut host, mut plugin, stream) = dispensed(&Limits::default());
    for name in ["one", "two", "three"] {
        let call = host
            .connection
            .call(stream, "Plugin.Echo", &text(name), name);
        call.unwrap();
    }
    talk(&mut host, &mut plugin);
    let mut calls = requests(&mut plugin);
    assert_eq!(calls[0].method().as_str(), "Plugin.Echo");
    calls.reverse();
    for (number, call) in calls.into_iter().enumerate() {
        let error = if number == 1 { "it broke" } else { "" };
        let reply = text(&format!("reply {number}"));
        match error {
            "" => plugin.connection.reply(call, "", &reply).unwrap(),
            error => plugin.connection.reply(call, error, &Empty {}).unwrap(),
        }
    }
    talk(&mut host, &mut plugin);
    let expected = [
        "reply to three: reply 0",
        "no reply to two: it broke",
        "reply to one: reply 2",
    ];
    assert_eq!(host.events(), expected);
}

#[test]
fn control_is_served_whatever_the_limits_are() {
    let limits = Limits {
        max_requests: 0,
        max_held_bytes: 0,
        ..Limits::default()
    };
    let (mut host, mut plugin, control) = both(&limits);
    host.connection
        .call(control, "Control.Ping", &true, "ping")
        .unwrap();
    talk(&mut host, &mut plugin);
    let [call] = requests(&mut plugin).try_into().unwrap();
    plugin.connection.reply(call, "", &text("here")).unwrap();
    talk(&mut host, &mut plugin);
    assert_eq!(host.events(), ["reply to ping: here"]);
}

#[test]
fn calls_beyond_the_limit_are_refused_until_one_is_answered() {
    let limits = Limits {
        max_requests: 2,
        ..Limits::default()
    };
    let (mut host, mut plugin, stream) = dispensed(&limits);
    for name in ["one", "two", "three"] {
        host.connection
            .call(stream, "Plugin.Hang", &(), name)
            .unwrap();
    }
    talk(&mut host, &mut plugin);
    let mut calls = requests(&mut plugin);
    assert_eq!(calls.len(), 2);
    let refusal = "rpc: too many calls at once (at most 2, with 268435456 bytes)";
    assert_eq!(host.events(), [format!("no reply to three: {refusal}")]);
    plugin
        .connection
        .reply(calls.pop().unwrap(), "", &text("done"))
        .unwrap();
    host.connection
        .call(stream, "Plugin.Hang", &(), "four")
        .unwrap();
    talk(&mut host, &mut plugin);
    assert_eq!(host.events(), ["reply to two: done"]);
    assert_eq!(requests(&mut plugin).len(), 1);
}

#[test]
fn arguments_count_until_their_call_is_answered() {
    let limits = Limits {
        max_held_bytes: 100_000,
        ..Limits::default()
    };
    let (mut host, mut plugin, stream) = dispensed(&limits);
    let argument = Payload(vec![7; 60_000].into());
    let call = |host: &mut End, plugin: &mut End, name| {
        host.connection
            .call(stream, "Plugin.Hang", &argument, name)
            .unwrap();
        talk(host, plugin);
        requests(plugin).pop()
    };
    let first = call(&mut host, &mut plugin, "first").unwrap();
    assert!(call(&mut host, &mut plugin, "second").is_none());
    let refusal = "rpc: too many calls at once (at most 4096, with 100000 bytes)";
    assert_eq!(host.events(), [format!("no reply to second: {refusal}")]);
    plugin.connection.reply(first, "", &()).unwrap();
    assert!(call(&mut host, &mut plugin, "third").is_some());
}

#[test]
fn our_calls_have_a_limit() {
    let limits = Limits {
        max_calls: 1,
        ..Limits::default()
    };
    let (mut host, mut plugin, stream) = dispensed(&limits);
    let connection = &mut host.connection;
    connection.call(stream, "Plugin.Hang", &(), "one").unwrap();
    let error = connection.call(stream, "Plugin.Hang", &(), "two");
    assert!(matches!(error, Err(RpcError::TooManyCalls(1))));
    talk(&mut host, &mut plugin);
    let [call] = requests(&mut plugin).try_into().unwrap();
    plugin.connection.reply(call, "", &text("done")).unwrap();
    talk(&mut host, &mut plugin);
    assert_eq!(host.events(), ["reply to one: done"]);
    host.connection
        .call(stream, "Plugin.Hang", &(), "three")
        .unwrap();
}

#[test]
fn a_stream_that_the_peer_ends_fails_its_calls_alone() {
    for flags in [Flags::FIN, Flags::RST] {
        let (mut end, streams) = host(Limits::default());
        let control = streams.control;
        end.connection
            .call(control, "Control.Ping", &true, "ping")
            .unwrap();
        end.receive(&update(flags, control).encode()).unwrap();
        let expected = "no reply to ping: the connection is closed: the peer closed the stream";
        assert_eq!(end.events(), [expected]);
        let error = end
            .connection
            .call(control, "Control.Ping", &true, "again")
            .unwrap_err();
        assert!(error.to_string().ends_with("the peer closed the stream"));
        // The others live.
        assert_eq!(end.read(streams.stdout, "reader"), (Vec::new(), false));
        assert_eq!(end.connection.closed(), None);
    }
}

#[test]
fn a_reply_to_a_stream_that_has_ended_is_dropped() {
    let (mut host, mut plugin, stream) = dispensed(&Limits::default());
    host.connection
        .call(stream, "Plugin.Hang", &(), "call")
        .unwrap();
    host.connection.close_client(host.now, stream);
    talk(&mut host, &mut plugin);
    let mut released = false;
    let mut calls = Vec::new();
    while let Some(event) = plugin.connection.poll_event() {
        match event {
            Event::Request { call, .. } => calls.push(call),
            Event::Released(service) => released = service == "service",
            other => panic!("{other:?}"),
        }
    }
    assert!(released);
    let [call] = calls.try_into().unwrap();
    plugin.connection.reply(call, "", &text("late")).unwrap();
    talk(&mut host, &mut plugin);
    assert_eq!(host.events(), [""; 0]);
}

#[test]
fn what_came_ahead_of_client_and_server_is_theirs() {
    let (mut host, mut plugin, _) = both(&Limits::default());
    plugin.connection.accept_id(1, "acceptor");
    let stream = host.connection.dial(host.now, 1, "dial").unwrap();
    talk(&mut host, &mut plugin);
    host.connection.make_client(host.now, stream).unwrap();
    host.connection
        .call(stream, "Plugin.Echo", &text("early"), "call")
        .unwrap();
    host.connection.close_client(host.now, stream);
    talk(&mut host, &mut plugin);
    assert_eq!(plugin.events(), [format!("opened {stream} for acceptor")]);
    // The call is served, though the peer has closed the stream; the service has no stream then.
    plugin
        .connection
        .make_server(plugin.now, stream, "service")
        .unwrap();
    assert_eq!(
        plugin.events(),
        ["request to service: Plugin.Echo early", "released service"]
    );
}

#[test]
fn garbage_ahead_of_client_and_server_is_an_error() {
    for serves in [false, true] {
        let (mut host, mut plugin, _) = both(&Limits::default());
        plugin.connection.accept_id(1, "acceptor");
        let stream = host.connection.dial(host.now, 1, "dial").unwrap();
        talk(&mut host, &mut plugin);
        let written = host.connection.write(stream, &[0x80], || "writer");
        assert_eq!(written, std::task::Poll::Ready(Ok(1)));
        talk(&mut host, &mut plugin);
        let made = match serves {
            true => plugin.connection.make_server(plugin.now, stream, "service"),
            false => plugin.connection.make_client(plugin.now, stream),
        };
        assert!(
            matches!(made, Err(ConnectionError::Gob { stream: on, .. }) if on == stream),
            "{made:?}"
        );
    }
}

#[test]
fn a_stream_that_has_gone_becomes_no_server() {
    let (mut end, streams) = host(Limits::default());
    let stdout = streams.stdout;
    end.receive(&update(Flags::RST, stdout).encode()).unwrap();
    end.connection
        .make_server(end.now, stdout, "service")
        .unwrap();
    assert_eq!(end.events(), ["released service"]);
}

#[test]
fn the_end_of_the_connection_fails_every_call() {
    let (mut host, mut plugin, stream) = dispensed(&Limits::default());
    for name in ["one", "two"] {
        host.connection
            .call(stream, "Plugin.Hang", &(), name)
            .unwrap();
    }
    talk(&mut host, &mut plugin);
    let calls = requests(&mut plugin);
    host.connection.close("the cable was cut");
    let mut events = host.events();
    events.sort_unstable();
    assert_eq!(
        events,
        ["one", "two"]
            .map(|name| format!("no reply to {name}: the connection is closed: the cable was cut"))
    );
    plugin.connection.close("over");
    let mut events = plugin.events();
    events.sort_unstable();
    let services = ["released control", "released service", "released service"];
    assert_eq!(events, services);
    // Replies that come too late are nothing to anybody.
    for call in calls {
        plugin.connection.reply(call, "", &text("late")).unwrap();
    }
    assert_eq!(plugin.events(), [""; 0]);
}
