//! Peers that do not read, or ask too much: memory stays within its limits.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use gk_wire::gob::{Interface, Payload};
use gk_wire::yamux::{Flags, Header, Kind};
use gk_wire::{Limits, RpcError};
use tokio::io::AsyncWrite;

use crate::peer::{dispensed, host, plugin, soon};

const KIB: usize = 1024;

#[tokio::test]
async fn calls_to_a_peer_that_does_not_read_are_refused() {
    let mut limits = Limits::default();
    limits.yamux.max_queued_bytes = 1024 * KIB;
    let (client, rpc, mut peer, _script) = dispensed(limits).await;
    let argument = Payload(Bytes::from(vec![7; 64 * KIB]));
    let mut calls = tokio::task::JoinSet::new();
    let mut refused = None;
    // Window and queue take what is below 2 MiB, the socket's own buffers a little.
    for _ in 0..200 {
        let (rpc, argument) = (rpc.clone(), argument.clone());
        calls.spawn(async move { rpc.call::<_, Payload>("Plugin.Call", &argument).await });
        tokio::task::yield_now().await;
        if let Some(done) = calls.try_join_next() {
            refused = Some(done.unwrap());
            break;
        }
    }
    let Some(Err(RpcError::QueueFull(queued))) = refused else {
        panic!("{refused:?}");
    };
    assert!((1024 * KIB..1200 * KIB).contains(&queued), "{queued}");
    let accepted = calls.len();
    assert!(accepted < 40, "{accepted} calls were taken");
    // Nothing is lost: what was taken arrives once the peer reads and grants, and calls go on.
    for _ in 0..accepted {
        peer.frame(Kind::WindowUpdate, Flags::NONE, 7, 128 * 1024)
            .await;
    }
    let expected = accepted * 64 * KIB;
    soon(peer.bytes(7, expected)).await;
    let (rpc, argument) = (rpc.clone(), argument.clone());
    calls.spawn(async move { rpc.call::<_, Payload>("Plugin.Call", &argument).await });
    soon(peer.bytes(7, 64 * KIB)).await;
    client.close();
    while let Some(done) = soon(calls.join_next()).await {
        assert!(matches!(done.unwrap(), Err(RpcError::Closed(_))));
    }
}

#[tokio::test]
async fn a_writer_stalls_at_the_window_and_goes_on_after_a_grant() {
    let (client, mut peer) = host(Limits::default()).await;
    peer.dial(2, 3).await;
    let mut stream = soon(client.broker().accept(3)).await.unwrap();
    // The echo of the id has taken four bytes of the window.
    let window = 256 * KIB - 4;
    let chunk = vec![1; 50 * KIB];
    let mut written = 0;
    let stalled = poll_fn(|cx| {
        loop {
            match Pin::new(&mut stream).poll_write(cx, &chunk) {
                Poll::Ready(count) => written += count.unwrap(),
                Poll::Pending => return Poll::Ready(written),
            }
        }
    });
    assert_eq!(soon(stalled).await, window);
    peer.frame(Kind::WindowUpdate, Flags::NONE, 2, 10).await;
    let more = poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, &chunk));
    assert_eq!(soon(more).await.unwrap(), 10);
    peer.bytes(2, 256 * KIB + 10).await;
    // A reset wakes a writer that waits.
    let blocked = poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, &chunk));
    let (error, ()) = soon(async { tokio::join!(blocked, peer.update(Flags::RST, 2)) }).await;
    assert!(error.is_err());
}

#[tokio::test]
async fn pings_of_a_peer_that_does_not_read_end_the_session() {
    let mut limits = Limits::default();
    limits.yamux.max_queued_control_bytes = 16 * KIB;
    let (client, mut peer) = host(limits).await;
    let ping = Header {
        kind: Kind::Ping,
        flags: Flags::SYN,
        stream: 0,
        length: 1,
    };
    let flood = ping.encode().repeat(1000);
    let pings = async {
        // Ends when the connection does.
        while tokio::io::AsyncWriteExt::write_all(&mut peer.socket, &flood)
            .await
            .is_ok()
        {}
    };
    let (reason, ()) = soon(async { tokio::join!(client.closed(), pings) }).await;
    assert!(
        reason.ends_with("bytes wait to be sent and the peer does not read"),
        "{reason}"
    );
}

/// A slow reader is not a dead one: pings are answered although much is queued.
#[tokio::test]
async fn a_full_queue_does_not_end_the_session() {
    let mut limits = Limits::default();
    limits.yamux.max_queued_bytes = 64 * KIB;
    let (client, rpc, mut peer, mut script) = dispensed(limits).await;
    let argument = Payload(Bytes::from(vec![7; 1024 * KIB]));
    let call = tokio::spawn(async move { rpc.call::<_, Payload>("Plugin.Call", &argument).await });
    peer.frame(Kind::Ping, Flags::SYN, 0, 99).await;
    loop {
        let (header, _) = peer.next().await.unwrap();
        if header.kind == Kind::Ping {
            assert_eq!((header.flags, header.length), (Flags::ACK, 99));
            break;
        }
    }
    peer.frame(Kind::WindowUpdate, Flags::NONE, 7, 2 << 20)
        .await;
    let (header, body) = script.request(&mut peer).await;
    assert_eq!(body.decode::<Payload>().unwrap().0.len(), 1024 * KIB);
    script
        .reply(&mut peer, header.seq, "", &Payload::default())
        .await;
    soon(call).await.unwrap().unwrap();
    drop(client);
}

#[tokio::test]
async fn calls_beyond_the_limit_are_answered_with_an_error() {
    let limits = Limits {
        max_requests: 4,
        ..Limits::default()
    };
    let (_connection, service, mut peer, mut rpc) = plugin(limits).await;
    for seq in 0..6 {
        rpc.call(&mut peer, "Plugin.Hang", seq, &()).await;
    }
    for expected in [4, 5] {
        let (header, _) = rpc.response(&mut peer).await;
        assert_eq!(header.seq, expected);
        assert_eq!(
            header.error,
            "rpc: too many calls at once (at most 4, with 268435456 bytes)"
        );
    }
    service.hanging.lock().pop().unwrap().reply(&());
    assert_eq!(rpc.response(&mut peer).await.0.seq, 3);
    rpc.call(&mut peer, "Plugin.Nil", 6, &()).await;
    assert_eq!(rpc.response(&mut peer).await.0.seq, 6);
}

#[tokio::test]
async fn a_call_given_up_counts_until_its_late_reply() {
    let limits = Limits {
        max_calls: 2,
        ..Limits::default()
    };
    let (_client, rpc, mut peer, mut script) = dispensed(limits).await;
    let argument = Payload(Bytes::from_static(b"1"));
    for _ in 0..2 {
        let call = rpc.call::<_, Payload>("Plugin.Call", &argument);
        let given_up = tokio::time::timeout(std::time::Duration::ZERO, call).await;
        assert!(given_up.is_err());
    }
    let refused = rpc.call::<_, Payload>("Plugin.Call", &argument).await;
    assert!(matches!(refused, Err(RpcError::TooManyCalls(2))));
    let (header, _) = script.request(&mut peer).await;
    script
        .reply(&mut peer, header.seq, "", &Payload::default())
        .await;
    soon(async {
        loop {
            let call = rpc.call::<_, Payload>("Plugin.Call", &argument);
            match tokio::time::timeout(std::time::Duration::ZERO, call).await {
                Ok(Err(RpcError::TooManyCalls(2))) => tokio::task::yield_now().await,
                Ok(other) => panic!("{other:?}"),
                Err(_sent) => break,
            }
        }
    })
    .await;
}

#[tokio::test]
async fn arguments_beyond_the_budget_are_answered_with_an_error() {
    let limits = Limits {
        max_held_bytes: 100 * KIB,
        ..Limits::default()
    };
    let (_connection, service, mut peer, mut rpc) = plugin(limits).await;
    let argument = Payload(Bytes::from(vec![7; 60 * KIB]));
    rpc.call(&mut peer, "Plugin.Hang", 0, &argument).await;
    rpc.call(&mut peer, "Plugin.Hang", 1, &argument).await;
    let (header, _) = rpc.response(&mut peer).await;
    assert_eq!(header.seq, 1);
    assert!(header.error.contains("102400 bytes"), "{}", header.error);
    service.hanging.lock().pop().unwrap().reply(&());
    assert_eq!(rpc.response(&mut peer).await.0.seq, 0);
    rpc.call(&mut peer, "Plugin.Nil", 2, &argument).await;
    let (header, _) = rpc.response(&mut peer).await;
    assert_eq!((header.seq, header.error.as_str()), (2, ""));
}

#[tokio::test]
async fn unfinished_messages_beyond_the_budget_end_the_connection() {
    let limits = Limits {
        max_held_bytes: 100 * KIB,
        ..Limits::default()
    };
    let (connection, _service, mut peer, rpc) = plugin(limits).await;
    let other = peer.dialled(9, 1).await;
    // A message of 90 KiB announced on each of two streams, 60 KiB of it sent.
    let mut begun = vec![0xfd, 0x01, 0x68, 0x00];
    begun.resize(60 * KIB, 0);
    peer.data(rpc.stream, &begun).await;
    let sent = async {
        let frame = crate::peer::data_frame(other.stream, &begun);
        let _ = tokio::io::AsyncWriteExt::write_all(&mut peer.socket, &frame).await;
    };
    let (reason, ()) = soon(async { tokio::join!(connection.closed(), sent) }).await;
    assert!(reason.contains("102400 bytes can hold"), "{reason}");
}

/// A value of 60 KiB that ends behind a definition, and goes on in a further message, which may
/// never come.
fn spread_over_two(rpc: &mut crate::peer::Rpc, seq: u64) -> (Vec<u8>, Vec<u8>) {
    #[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
    #[serde(default)]
    struct Note {
        text: String,
    }
    let large = Payload(Bytes::from(vec![7; 60 * KIB]));
    let body = vec![
        Interface::from(large),
        Interface::new("main.Note", vec![Note::default()]),
    ];
    let mut bytes = rpc.call_bytes("Plugin.Hang", seq, &body);
    // Behind the last of the messages there is only what follows the second definition.
    let rest = bytes.split_off(bytes.len() - 8);
    (bytes, rest)
}

#[tokio::test]
async fn values_that_go_on_count_among_what_is_held() {
    let limits = Limits {
        max_held_bytes: 100 * KIB,
        ..Limits::default()
    };
    let (connection, _service, mut peer, mut rpc) = plugin(limits).await;
    let mut other = peer.dialled(9, 1).await;
    let (begun, _) = spread_over_two(&mut rpc, 0);
    peer.data(rpc.stream, &begun).await;
    let (begun, _) = spread_over_two(&mut other, 0);
    let sent = async {
        let frame = crate::peer::data_frame(other.stream, &begun);
        let _ = tokio::io::AsyncWriteExt::write_all(&mut peer.socket, &frame).await;
    };
    let (reason, ()) = soon(async { tokio::join!(connection.closed(), sent) }).await;
    assert!(reason.contains("102400 bytes can hold"), "{reason}");
}

#[tokio::test]
async fn arguments_count_whole_however_many_messages_they_came_in() {
    let limits = Limits {
        max_held_bytes: 170 * KIB,
        ..Limits::default()
    };
    let (_connection, service, mut peer, mut rpc) = plugin(limits).await;
    for seq in 0..2 {
        let (begun, rest) = spread_over_two(&mut rpc, seq);
        peer.data(rpc.stream, &begun).await;
        peer.data(rpc.stream, &rest).await;
    }
    let argument = Payload(Bytes::from(vec![7; 60 * KIB]));
    rpc.call(&mut peer, "Plugin.Hang", 2, &argument).await;
    let (header, _) = rpc.response(&mut peer).await;
    assert_eq!(header.seq, 2);
    assert!(header.error.contains("174080 bytes"), "{}", header.error);
    assert_eq!(service.hanging.lock().len(), 2);
}

/// The budget that connections share has no room for a value that can bring definitions along:
/// without them nothing behind it could be read.
#[tokio::test]
async fn a_value_with_definitions_for_which_there_is_no_memory_ends_the_connection() {
    let memory = gk_wire::MemoryBudget::new(40 * KIB);
    let limits = Limits {
        memory: Some(memory.clone()),
        ..Limits::default()
    };
    let (connection, _service, mut peer, mut rpc) = plugin(limits).await;
    let (begun, _) = spread_over_two(&mut rpc, 0);
    // In pieces, as the network cuts it.
    let sent = async {
        for piece in begun.chunks(8 * KIB) {
            let frame = crate::peer::data_frame(rpc.stream, piece);
            let _ = tokio::io::AsyncWriteExt::write_all(&mut peer.socket, &frame).await;
        }
    };
    let (reason, ()) = soon(async { tokio::join!(connection.closed(), sent) }).await;
    assert!(
        reason.contains("there is no memory for a value"),
        "{reason}"
    );
    assert_eq!(memory.used(), 0);
}

#[tokio::test]
async fn control_is_answered_however_many_calls_run() {
    let limits = Limits {
        max_requests: 0,
        max_held_bytes: 0,
        ..Limits::default()
    };
    let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    let service = std::sync::Arc::default();
    let _connection = crate::peer::server(limits, &service).serve_connection(ours);
    let mut peer = crate::peer::Peer::new(theirs);
    peer.update(Flags::SYN, 1).await;
    let mut control = crate::peer::Rpc::new(1);
    control.call(&mut peer, "Control.Ping", 0, &true).await;
    let (header, _) = control.response(&mut peer).await;
    assert_eq!(header.error, "");
}

/// Refusals are replies too: a peer that only asks cannot pile them up.
#[tokio::test]
async fn refused_calls_of_a_peer_that_does_not_read_end_the_session() {
    let mut limits = Limits {
        max_requests: 0,
        ..Limits::default()
    };
    limits.yamux.max_queued_bytes = 64 * KIB;
    let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    let service = std::sync::Arc::default();
    let connection = crate::peer::server(limits, &service).serve_connection(ours);
    let mut peer = crate::peer::Peer::new(theirs);
    peer.update(Flags::SYN, 1).await;
    let mut rpc = crate::peer::Rpc::new(1);
    let mut seq = 0;
    let flood = async {
        loop {
            let bytes = crate::peer::data_frame(1, &rpc.call_bytes("Plugin.Nil", seq, &()));
            seq += 1;
            let sent = tokio::io::AsyncWriteExt::write_all(&mut peer.socket, &bytes).await;
            if sent.is_err() {
                break;
            }
        }
    };
    let (reason, ()) = soon(async { tokio::join!(connection.closed(), flood) }).await;
    assert!(
        reason.contains("does not read") || reason.contains("overran"),
        "{reason}"
    );
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused() {
    let mut limits = Limits::default();
    limits.yamux.max_streams = 3;
    let (client, mut peer) = host(limits).await;
    for stream in [2, 4, 6, 8] {
        peer.update(Flags::SYN, stream).await;
    }
    peer.until(8, Flags::RST).await;
    assert!(crate::peer::ended(&client).await.is_none());
}
