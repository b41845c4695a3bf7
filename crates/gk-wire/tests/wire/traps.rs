//! Traps of go-plugin's protocol, each with its own test.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gk_wire::gob::Payload;
use gk_wire::yamux::Flags;
use gk_wire::{Empty, Limits, RpcError};
use serde::{Deserialize, Serialize};

use crate::peer::{Methods, Rpc, dispensed, ended, host, plugin, soon};

fn short_broker_timeout() -> Limits {
    Limits {
        // The id of a dial has to come within it, too, on a busy machine.
        broker_timeout: Duration::from_secs(1),
        ..Limits::default()
    }
}

/// A Go host decodes `Init`'s reply into an `interface{}`: anything but nil kills it.
#[tokio::test]
async fn a_nil_reply_is_the_nil_interface() {
    let (_connection, _, mut peer, mut rpc) = plugin(Limits::default()).await;
    rpc.call(&mut peer, "Plugin.Nil", 0, &()).await;
    let (_, payload) = peer.next().await.unwrap();
    assert!(payload.ends_with(&[0x03, 0x10, 0x00, 0x00]), "{payload:x?}");
    let (header, body) = rpc.response(&mut peer).await;
    assert_eq!(header.error, "");
    body.decode::<()>().unwrap();
}

/// A Go server loses sync over a nil argument for an unknown method; ours answers, and goes on.
#[tokio::test]
async fn an_unknown_method_with_a_nil_argument_is_answered() {
    let (_connection, _, mut peer, mut rpc) = plugin(Limits::default()).await;
    rpc.call(&mut peer, "Plugin.Optional", 0, &()).await;
    let (header, body) = rpc.response(&mut peer).await;
    assert_eq!(header.error, "rpc: can't find method Plugin.Optional");
    assert_eq!(body.decode::<Empty>().unwrap(), Empty {});
    rpc.call(&mut peer, "Other.Echo", 1, &()).await;
    let (header, _) = rpc.response(&mut peer).await;
    assert_eq!(header.error, "rpc: can't find service Other.Echo");
    rpc.call(&mut peer, "echo", 2, &()).await;
    let (header, _) = rpc.response(&mut peer).await;
    assert_eq!(header.error, "rpc: service/method request ill-formed: echo");
    rpc.call(&mut peer, "Plugin.Echo", 3, &"on".to_owned())
        .await;
    let (header, body) = rpc.response(&mut peer).await;
    assert_eq!(
        (header.seq, body.decode::<String>().unwrap().as_str()),
        (3, "on")
    );
}

/// Go accepts an id once and for five seconds; ours is acceptable for the life of the connection.
#[tokio::test]
async fn a_broker_id_is_accepted_late_and_many_times() {
    let (client, mut peer) = host(short_broker_timeout()).await;
    let broker = client.broker();
    let id = broker.next_id();
    assert_eq!(id, 1, "each acceptor's ids start at 1");
    broker.serve(id, Arc::new(Methods::default()));
    // Longer than a dial to an id that nobody accepts would live.
    peer.dial(2, 99).await;
    peer.until(2, Flags::RST).await;
    for stream in [4, 6, 8] {
        let mut rpc = peer.dialled(stream, id).await;
        rpc.call(&mut peer, "Plugin.Echo", 0, &"here".to_owned())
            .await;
        let (_, body) = rpc.response(&mut peer).await;
        assert_eq!(body.decode::<String>().unwrap(), "here");
    }
}

#[tokio::test]
async fn a_dial_ahead_of_its_acceptor_is_kept() {
    let (client, mut peer) = host(Limits::default()).await;
    peer.dial(2, 5).await;
    peer.until(2, Flags::ACK).await;
    client.broker().serve(5, Arc::new(Methods::default()));
    assert_eq!(peer.bytes(2, 4).await, 5_u32.to_le_bytes());
    peer.dial(4, 6).await;
    peer.until(4, Flags::ACK).await;
    let mut stream = soon(client.broker().accept(6)).await.unwrap();
    peer.data(4, b"raw").await;
    let mut bytes = [0; 3];
    soon(tokio::io::AsyncReadExt::read_exact(&mut stream, &mut bytes))
        .await
        .unwrap();
    assert_eq!(&bytes, b"raw");
}

/// Go reads the ids of brokered streams one after another.
#[tokio::test]
async fn a_silent_stream_blocks_nobody() {
    let (client, mut peer) = host(Limits::default()).await;
    client.broker().serve(1, Arc::new(Methods::default()));
    peer.update(Flags::SYN, 2).await;
    peer.update(Flags::SYN, 4).await;
    peer.data(4, &[1, 0]).await;
    let mut rpc = peer.dialled(6, 1).await;
    rpc.call(&mut peer, "Plugin.Nil", 0, &()).await;
    assert_eq!(rpc.response(&mut peer).await.0.error, "");
}

#[tokio::test]
async fn a_stream_that_names_no_id_is_reset() {
    let (_client, mut peer) = host(short_broker_timeout()).await;
    peer.update(Flags::SYN, 2).await;
    peer.until(2, Flags::RST).await;
}

/// Two dials to an id that nobody has accepted lock Go's broker up for good.
#[tokio::test]
async fn a_second_dial_to_an_unaccepted_id_is_reset() {
    let (client, mut peer) = host(Limits::default()).await;
    peer.dial(2, 9).await;
    peer.dial(4, 9).await;
    peer.until(4, Flags::RST).await;
    client.broker().serve(9, Arc::new(Methods::default()));
    assert_eq!(peer.bytes(2, 4).await, 9_u32.to_le_bytes());
}

#[tokio::test]
async fn a_dial_to_an_unknown_id_ends() {
    let (client, mut peer) = host(short_broker_timeout()).await;
    peer.dial(2, 1234).await;
    peer.until(2, Flags::RST).await;
    // Its time is over, so a late acceptor finds nothing.
    let broker = client.broker();
    let late = broker.accept(1234);
    let nothing = tokio::time::timeout(Duration::from_millis(1), late).await;
    assert!(nothing.is_err());
    // And one that gave up takes nobody: this dial is parked, and ends.
    peer.dial(4, 1234).await;
    peer.until(4, Flags::RST).await;
    assert!(!peer.inbox.contains_key(&4));
}

#[tokio::test]
async fn our_dial_that_the_peer_refuses_is_an_error() {
    let (client, mut peer) = host(Limits::default()).await;
    for (stream, refusal) in [(7, Flags::FIN), (9, Flags::RST)] {
        let broker = client.broker();
        let script = async {
            peer.until(stream, Flags::SYN).await;
            peer.update(refusal, stream).await;
        };
        let (dialled, ()) = soon(async { tokio::join!(broker.dial(77), script) }).await;
        let error = dialled.unwrap_err();
        assert!(
            matches!(&error, RpcError::Remote(text) if text.contains("77")),
            "{error}"
        );
    }
    // An echo of another id is none.
    let broker = client.broker();
    let script = async {
        peer.until(11, Flags::SYN).await;
        peer.data(11, &78_u32.to_le_bytes()).await;
    };
    let (dialled, ()) = soon(async { tokio::join!(broker.dial(77), script) }).await;
    assert!(matches!(dialled, Err(RpcError::Remote(_))));
    assert!(ended(&client).await.is_none());
}

/// About one in ten plugins is gone before its reply to Quit is.
#[tokio::test]
async fn the_end_of_the_connection_after_quit_is_success() {
    let (client, mut peer) = host(Limits::default()).await;
    let script = async {
        let (header, body) = Rpc::new(1).request(&mut peer).await;
        assert_eq!(header.service_method, "Control.Quit");
        assert!(body.decode::<bool>().unwrap());
        drop(peer);
    };
    let (quit, ()) = soon(async { tokio::join!(client.quit(), script) }).await;
    quit.unwrap();
    assert_eq!(
        soon(client.closed()).await,
        "the peer closed the connection"
    );
}

#[tokio::test]
async fn a_quit_that_is_refused_is_an_error() {
    let (client, mut peer) = host(Limits::default()).await;
    let script = async {
        let mut control = Rpc::new(1);
        let (header, _) = control.request(&mut peer).await;
        control.reply(&mut peer, header.seq, "no", &Empty {}).await;
    };
    let (quit, ()) = soon(async { tokio::join!(client.quit(), script) }).await;
    assert!(matches!(quit, Err(RpcError::Remote(text)) if text == "no"));
}

#[tokio::test]
async fn a_plugin_that_is_told_to_quit_replies_and_hangs_up() {
    let (connection, _, mut peer, _) = plugin(Limits::default()).await;
    let mut control = Rpc::new(1);
    // A new encoder on a used stream would define its types again: the ids must differ.
    control.call(&mut peer, "Control.Ping", 0, &true).await;
    drop(control);
    assert!(soon(connection.closed()).await.contains("defined twice"));

    let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    let service = Arc::new(Methods::default());
    let connection = crate::peer::server(Limits::default(), &service).serve_connection(ours);
    let mut peer = crate::peer::Peer::new(theirs);
    peer.update(Flags::SYN, 1).await;
    let mut control = Rpc::new(1);
    control.call(&mut peer, "Control.Ping", 0, &true).await;
    assert_eq!(control.response(&mut peer).await.0.error, "");
    control.call(&mut peer, "Control.Quit", 1, &true).await;
    assert_eq!(control.response(&mut peer).await.0.seq, 1);
    peer.end().await;
    assert_eq!(soon(connection.closed()).await, "the host said quit");
}

/// No Go RPC has a timeout: callers give up, and what comes later must not be taken for another's
/// reply.
#[tokio::test]
async fn late_duplicate_and_invented_replies_are_thrown_away() {
    let (_client, rpc, mut peer, mut script) = dispensed(Limits::default()).await;
    let text = |text: &str| text.to_owned();
    let given_up = {
        let first = text("first");
        let call = rpc.call::<_, String>("Plugin.Echo", &first);
        let request = script.request(&mut peer);
        tokio::select! {
            _ = call => unreachable!("nobody replies"),
            (header, _) = request => header.seq,
        }
    };
    assert_eq!(given_up, 0);
    let answers = async {
        let (header, _) = script.request(&mut peer).await;
        assert_eq!(header.seq, 1);
        // Late, invented, right, and right again with another text.
        script.reply(&mut peer, 0, "", &text("late")).await;
        script.reply(&mut peer, 4711, "", &text("invented")).await;
        script.reply(&mut peer, u64::MAX, "no", &Empty {}).await;
        script.reply(&mut peer, 1, "", &text("right")).await;
        script.reply(&mut peer, 1, "", &text("again")).await;
    };
    let second = text("second");
    let call = rpc.call::<_, String>("Plugin.Echo", &second);
    let (reply, ()) = soon(async { tokio::join!(call, answers) }).await;
    assert_eq!(reply.unwrap(), "right");
    let answers = async {
        let (header, _) = script.request(&mut peer).await;
        script
            .reply(&mut peer, header.seq, "", &text("third"))
            .await;
    };
    let call = rpc.call::<_, String>("Plugin.Echo", &second);
    let (reply, ()) = soon(async { tokio::join!(call, answers) }).await;
    assert_eq!(reply.unwrap(), "third");
}

#[tokio::test]
async fn replies_come_in_any_order() {
    let (_client, rpc, mut peer, mut script) = dispensed(Limits::default()).await;
    let numbers = [1_u32, 2, 3];
    let calls = async {
        let [one, two, three] = numbers.each_ref();
        tokio::join!(
            rpc.call::<_, u32>("Plugin.Double", one),
            rpc.call::<_, u32>("Plugin.Double", two),
            rpc.call::<_, u32>("Plugin.Double", three),
        )
    };
    let answers = async {
        let mut asked = Vec::new();
        for _ in numbers {
            let (header, body) = script.request(&mut peer).await;
            asked.push((header.seq, body.decode::<u32>().unwrap()));
        }
        for (seq, number) in asked.into_iter().rev() {
            script.reply(&mut peer, seq, "", &(number * 2)).await;
        }
    };
    let ((one, two, three), ()) = soon(async { tokio::join!(calls, answers) }).await;
    assert_eq!((one.unwrap(), two.unwrap(), three.unwrap()), (2, 4, 6));
}

#[tokio::test]
async fn a_stream_that_is_opened_and_closed_at_once_hurts_nobody() {
    let (client, mut peer) = host(Limits::default()).await;
    client.broker().serve(1, Arc::new(Methods::default()));
    peer.update(Flags::SYN, 2).await;
    peer.update(Flags::FIN, 2).await;
    peer.update(Flags(Flags::SYN.0 | Flags::FIN.0), 4).await;
    peer.update(Flags(Flags::SYN.0 | Flags::RST.0), 6).await;
    let mut rpc = peer.dialled(8, 1).await;
    rpc.call(&mut peer, "Plugin.Nil", 0, &()).await;
    rpc.response(&mut peer).await;
    assert!(ended(&client).await.is_none());
}

#[tokio::test]
async fn a_second_fin_ends_the_session() {
    let (mut client, mut peer) = host(Limits::default()).await;
    // Held open on our side; else the second one would be for an unknown stream.
    let stdout = client.take_stdout();
    peer.update(Flags::FIN, 3).await;
    peer.update(Flags::FIN, 3).await;
    assert_eq!(
        soon(client.closed()).await,
        "yamux: stream 3 was closed twice"
    );
    drop(stdout);
    peer.end().await;
}

#[tokio::test]
async fn a_panic_in_a_handler_is_one_error_reply() {
    let (_connection, _, mut peer, mut rpc) = plugin(Limits::default()).await;
    for (seq, method) in [(0, "Plugin.Panic"), (1, "Plugin.Forget")] {
        rpc.call(&mut peer, method, seq, &()).await;
        let (header, _) = rpc.response(&mut peer).await;
        assert_eq!(
            (header.seq, header.error.as_str()),
            (seq, "rpc: the handler gave no reply")
        );
    }
    rpc.call(&mut peer, "Plugin.Nil", 2, &()).await;
    assert_eq!(rpc.response(&mut peer).await.0.error, "");
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct CallResponse {
    result: Payload,
    error: String,
}

/// In Go a field that is left out keeps what a reused target held before.
#[tokio::test]
async fn nothing_of_an_earlier_reply_remains() {
    let (_client, rpc, mut peer, mut script) = dispensed(Limits::default()).await;
    let replies = [
        CallResponse {
            result: Payload(Bytes::from_static(b"full")),
            error: "an application's error".into(),
        },
        CallResponse::default(),
    ];
    for expected in &replies {
        let answers = async {
            let (header, _) = script.request(&mut peer).await;
            script.reply(&mut peer, header.seq, "", expected).await;
        };
        let call = rpc.call::<_, CallResponse>("Plugin.Call", &());
        let (reply, ()) = soon(async { tokio::join!(call, answers) }).await;
        // An application's error is no error of the call.
        assert_eq!(&reply.unwrap(), expected);
    }
}

#[tokio::test]
async fn an_error_of_the_protocol_is_told_from_one_of_the_application() {
    let (_client, rpc, mut peer, mut script) = dispensed(Limits::default()).await;
    let answers = async {
        let (header, _) = script.request(&mut peer).await;
        script
            .reply(&mut peer, header.seq, "it broke", &Empty {})
            .await;
    };
    let call = rpc.call::<_, CallResponse>("Plugin.Call", &());
    let (reply, ()) = soon(async { tokio::join!(call, answers) }).await;
    assert!(matches!(reply, Err(RpcError::Remote(text)) if text == "it broke"));
}

/// To Go a message of length zero is the end of the stream.
#[tokio::test]
async fn a_message_of_length_zero_ends_the_connection() {
    let (client, rpc, mut peer, mut script) = dispensed(Limits::default()).await;
    let answers = async {
        script.request(&mut peer).await;
        peer.data(7, &[0]).await;
    };
    let call = rpc.call::<_, String>("Plugin.Echo", &());
    let (reply, ()) = soon(async { tokio::join!(call, answers) }).await;
    let reason = "gob on stream 7: a message of length zero";
    assert!(matches!(reply, Err(RpcError::Closed(text)) if *text == *reason));
    assert_eq!(soon(client.closed()).await, reason);
}

#[tokio::test]
async fn a_string_need_not_be_utf8() {
    let (_client, rpc, mut peer, mut script) = dispensed(Limits::default()).await;
    let answers = async {
        let (header, _) = script.request(&mut peer).await;
        let bytes = script.reply_bytes(header.seq, "", &"a?b".to_owned());
        let bytes: Vec<u8> = bytes
            .into_iter()
            .map(|byte| if byte == b'?' { 0xff } else { byte })
            .collect();
        peer.data(7, &bytes).await;
    };
    let call = rpc.call::<_, String>("Plugin.Echo", &());
    let (reply, ()) = soon(async { tokio::join!(call, answers) }).await;
    assert_eq!(reply.unwrap(), "a\u{fffd}b");
}

#[tokio::test]
async fn a_peer_that_dies_fails_every_pending_call() {
    let (client, rpc, mut peer, mut script) = dispensed(Limits::default()).await;
    let calls: Vec<_> = (0..20_u32)
        .map(|number| {
            let rpc = rpc.clone();
            tokio::spawn(async move { rpc.call::<_, u32>("Plugin.Call", &number).await })
        })
        .collect();
    for _ in &calls {
        script.request(&mut peer).await;
    }
    // Death in the middle of a reply, and of a frame.
    let reply = crate::peer::data_frame(7, &script.reply_bytes(0, "", &1_u32));
    peer.raw(&reply[..reply.len() - 3]).await;
    drop(peer);
    for call in calls {
        let error = soon(call).await.unwrap().unwrap_err();
        assert!(matches!(error, RpcError::Closed(_)), "{error}");
    }
    let later = soon(rpc.call::<_, u32>("Plugin.Call", &1_u32)).await;
    assert!(
        matches!(later, Err(RpcError::Closed(text)) if *text == *"the peer closed the connection")
    );
    assert!(soon(client.ping()).await.is_err());
    assert!(soon(client.broker().dial(1)).await.is_err());
    assert!(soon(client.broker().accept(1)).await.is_err());
}

/// Go writes header and body of a frame in two writes; a reader must take any cut.
#[tokio::test]
async fn frames_come_in_any_pieces() {
    let (_connection, _, mut peer, mut rpc) = plugin(Limits::default()).await;
    let first = rpc.call_bytes("Plugin.Echo", 0, &"one".to_owned());
    for byte in crate::peer::data_frame(7, &first) {
        peer.raw(&[byte]).await;
        tokio::task::yield_now().await;
    }
    // A frame for each byte, all in one write; then two messages in one frame.
    let second = rpc.call_bytes("Plugin.Echo", 1, &"two".to_owned());
    let frames: Vec<u8> = second
        .iter()
        .flat_map(|byte| crate::peer::data_frame(7, &[*byte]))
        .collect();
    peer.raw(&frames).await;
    let mut both = rpc.call_bytes("Plugin.Echo", 2, &"three".to_owned());
    both.extend(rpc.call_bytes("Plugin.Echo", 3, &"four".to_owned()));
    peer.data(7, &both).await;
    for expected in ["one", "two", "three", "four"] {
        let (_, body) = rpc.response(&mut peer).await;
        assert_eq!(body.decode::<String>().unwrap(), expected);
    }
}
