//! Streams as bytes, what becomes of them, and handles that outlive their connection.

use std::sync::Arc;
use std::time::Duration;

use gk_wire::host::Client;
use gk_wire::yamux::{self, Flags, Kind};
use gk_wire::{Limits, Request, Responder, RpcClient, RpcError, Service, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::peer::{Methods, Peer, Rpc, dispensed, host, soon};

/// A stream that the scripted peer has dialled as its stream 2.
async fn accepted(client: &Client, peer: &mut Peer) -> Stream {
    peer.dial(2, 3).await;
    let stream = soon(client.broker().accept(3)).await.unwrap();
    assert_eq!(peer.bytes(2, 4).await, 3_u32.to_le_bytes());
    stream
}

#[tokio::test]
async fn stdout_and_stderr_are_the_second_and_third_stream() {
    let (mut client, mut peer) = host(Limits::default()).await;
    let (mut out, mut err) = (client.take_stdout().unwrap(), client.take_stderr().unwrap());
    assert!(client.take_stdout().is_none() && client.take_stderr().is_none());
    peer.data(3, b"out").await;
    peer.data(5, b"err").await;
    peer.update(Flags::FIN, 3).await;
    peer.update(Flags::FIN, 5).await;
    let mut text = String::new();
    soon(out.read_to_string(&mut text)).await.unwrap();
    soon(err.read_to_string(&mut text)).await.unwrap();
    assert_eq!(text, "outerr");
}

/// Nobody reads stdout: the plugin must not stall.
#[tokio::test]
async fn a_stream_that_was_dropped_is_granted_on() {
    let (mut client, mut peer) = host(Limits::default()).await;
    drop(client.take_stdout());
    peer.until(3, Flags::FIN).await;
    for _ in 0..40 {
        peer.data(3, &[b'x'; 32 * 1024]).await;
    }
    let mut granted = 0;
    while granted < 1024 * 1024 {
        let (header, _) = peer.next().await.unwrap();
        if header.stream == 3 && header.kind == Kind::WindowUpdate {
            granted += header.length;
        }
    }
}

#[tokio::test]
async fn what_came_ahead_of_the_server_is_served() {
    let (client, mut peer) = host(Limits::default()).await;
    let stream = accepted(&client, &mut peer).await;
    let mut rpc = Rpc::new(2);
    rpc.call(&mut peer, "Plugin.Echo", 0, &"early".to_owned())
        .await;
    // An answer on another stream shows that the call above has been read.
    client.broker().serve(4, Arc::new(Methods::default()));
    peer.dialled(4, 4).await;
    stream.serve(Arc::new(Methods::default()));
    let (_, body) = rpc.response(&mut peer).await;
    assert_eq!(body.decode::<String>().unwrap(), "early");
}

/// The peer closes a brokered stream before the first call.
#[tokio::test]
async fn a_client_of_a_closed_stream_says_so() {
    let (client, mut peer) = host(Limits::default()).await;
    for (serve, flag) in [(10, Flags::FIN), (11, Flags::RST)] {
        let stream = if flag == Flags::FIN { 2 } else { 4 };
        peer.dial(stream, serve).await;
        let raw = soon(client.broker().accept(serve)).await.unwrap();
        peer.update(flag, stream).await;
        client
            .broker()
            .serve(serve + 10, Arc::new(Methods::default()));
        peer.dialled(stream + 10, serve + 10).await;
        let rpc = raw.into_rpc_client();
        let error = soon(rpc.call::<_, String>("Plugin.Echo", &())).await;
        assert!(
            matches!(&error, Err(RpcError::Closed(text)) if text.contains("closed the stream")),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_stream_that_the_peer_closes_fails_its_calls_alone() {
    let (client, rpc, mut peer, mut script) = dispensed(Limits::default()).await;
    let script = async {
        script.request(&mut peer).await;
        peer.update(Flags::FIN, 7).await;
        peer.until(7, Flags::FIN).await;
        // The others live.
        peer.until(9, Flags::SYN).await;
        peer.data(9, &5_u32.to_le_bytes()).await;
    };
    let calls = async {
        let error = rpc.call::<_, String>("Plugin.Hang", &()).await;
        assert!(matches!(error, Err(RpcError::Closed(_))));
        client.broker().dial(5).await.unwrap();
    };
    soon(async { tokio::join!(calls, script) }).await;
}

#[tokio::test]
async fn a_half_closed_stream_is_read_to_its_end() {
    let (client, mut peer) = host(Limits::default()).await;
    let mut stream = accepted(&client, &mut peer).await;
    stream.write_all(b"question").await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(stream.write_all(b"more").await.is_err());
    assert_eq!(peer.bytes(2, 8).await, b"question");
    peer.until(2, Flags::FIN).await;
    peer.data(2, b"answer").await;
    peer.update(Flags::FIN, 2).await;
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer, "answer");
}

/// The peer never closes its half: the stream is reset, and whoever still reads finds its end.
#[tokio::test]
async fn a_half_closed_stream_does_not_wait_for_ever() {
    let mut limits = Limits::default();
    limits.yamux.close_timeout = Duration::from_millis(30);
    let (client, mut peer) = host(limits).await;
    let mut stream = accepted(&client, &mut peer).await;
    let reader = async {
        let mut rest = Vec::new();
        stream.shutdown().await.unwrap();
        stream.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
    };
    soon(async { tokio::join!(reader, peer.until(2, Flags::RST)) }).await;
}

#[tokio::test]
async fn a_peer_that_accepts_no_stream_ends_the_session() {
    let mut limits = Limits::default();
    limits.yamux.open_timeout = Duration::from_millis(30);
    let (client, _peer) = host(limits).await;
    let error = soon(client.broker().dial(1)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the connection is closed: yamux: the peer did not accept stream 7 within 30ms"
    );
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_ends_the_session() {
    let limits = Limits {
        yamux: yamux::Limits {
            keepalive_interval: Duration::from_millis(10),
            keepalive_timeout: Duration::from_millis(20),
            ..yamux::Limits::default()
        },
        ..Limits::default()
    };
    let (client, _peer) = host(limits).await;
    assert!(
        soon(client.closed())
            .await
            .contains("did not answer a ping")
    );
}

/// Holds handles of the very connection that serves it, as a plugin holds its host's API.
struct Holder {
    _handles: (RpcClient, Stream),
}

impl Service for Holder {
    fn call(&self, _: Request, responder: Responder) {
        responder.reply(&());
    }
}

/// A service's last reference goes with its stream or connection; what it drops takes the lock.
#[tokio::test]
async fn a_service_may_hold_handles_of_its_own_connection() {
    for (by_stream, dialled) in [(true, true), (false, true), (false, false)] {
        let (mut client, rpc, mut peer, _) = dispensed(Limits::default()).await;
        let handles = (rpc, client.take_stdout().unwrap());
        let holder = Arc::new(Holder { _handles: handles });
        let weak = Arc::downgrade(&holder);
        if by_stream {
            accepted(&client, &mut peer).await.serve(holder);
            peer.update(Flags::FIN, 2).await;
            peer.until(7, Flags::FIN).await;
        } else {
            client.broker().serve(1, holder);
            if dialled {
                peer.dialled(2, 1).await;
            }
            drop(peer);
        }
        soon(async {
            while weak.strong_count() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn closing_fails_calls_at_once_and_hangs_up() {
    let (client, rpc, mut peer, mut script) = dispensed(Limits::default()).await;
    let call = tokio::spawn(async move { rpc.call::<_, String>("Plugin.Hang", &()).await });
    script.request(&mut peer).await;
    client.close();
    assert!(matches!(
        soon(call).await.unwrap(),
        Err(RpcError::Closed(_))
    ));
    peer.end().await;
    assert_eq!(
        soon(client.closed()).await,
        "this side closed the connection"
    );
}

/// The connection's task goes down with its runtime; callers elsewhere must not wait for it.
#[test]
fn a_runtime_that_ends_closes_its_connections() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (client, _peer) = runtime.block_on(host(Limits::default()));
    runtime.shutdown_background();
    let other = tokio::runtime::Runtime::new().unwrap();
    let reason = other.block_on(soon(async { client.closed().await }));
    assert_eq!(reason, "the connection's task has ended");
    assert!(other.block_on(soon(async { client.ping().await })).is_err());
}
