//! Input that is no gob, or not what was asked for: it costs one call, or the connection, and says why.

use gk_wire::{Limits, RpcError};
use serde::{Deserialize, Serialize};

use crate::peer::{dispensed, ended, plugin, soon};

/// What cannot be decoded as gob may be anything: the connection is lost.
#[tokio::test]
async fn garbage_ends_the_connection_with_a_reason() {
    for (garbage, reason) in [
        (&b"\x80\x01"[..], "malformed unsigned integer"),
        (b"\x02\xff\x05", "gob on stream 7"),
        (b"\x03\x04\x00\x02", "cannot decode int into an RPC header"),
        (b"\xfc\x40\x00\x00\x00", "over the limit"),
        (b"\x02\x7f\x00", "malformed type definition"),
    ] {
        let (connection, _, mut peer, _) = plugin(Limits::default()).await;
        peer.data(7, garbage).await;
        let closed = soon(connection.closed()).await;
        assert!(closed.contains(reason), "{garbage:x?}: {closed}");
        peer.end().await;
    }
}

#[tokio::test]
async fn a_gibibyte_is_refused_by_its_length() {
    let (client, rpc, mut peer, mut script) = dispensed(Limits::default()).await;
    let answers = async {
        script.request(&mut peer).await;
        peer.data(7, &[0xfc, 0x40, 0, 0, 0]).await;
    };
    let call = rpc.call::<_, String>("Plugin.Echo", &());
    let (reply, ()) = soon(async { tokio::join!(call, answers) }).await;
    assert!(matches!(reply, Err(RpcError::Closed(_))));
    assert_eq!(
        soon(client.closed()).await,
        "gob on stream 7: a message of 1073741824 bytes is over the limit of 67108864"
    );
}

#[tokio::test]
async fn a_body_of_the_wrong_type_costs_one_call() {
    let (client, rpc, mut peer, mut script) = dispensed(Limits::default()).await;
    for right in [false, true] {
        let answers = async {
            let (header, _) = script.request(&mut peer).await;
            match right {
                true => {
                    script
                        .reply(&mut peer, header.seq, "", &"text".to_owned())
                        .await
                }
                false => script.reply(&mut peer, header.seq, "", &7_i64).await,
            }
        };
        let call = rpc.call::<_, String>("Plugin.Echo", &());
        let (reply, ()) = soon(async { tokio::join!(call, answers) }).await;
        match right {
            true => assert_eq!(reply.unwrap(), "text"),
            false => assert!(matches!(reply, Err(RpcError::Decode(_)))),
        }
    }
    assert!(ended(&client).await.is_none());

    let (_connection, _, mut peer, mut rpc) = plugin(Limits::default()).await;
    rpc.call(&mut peer, "Plugin.Echo", 0, &7_i64).await;
    let (header, _) = rpc.response(&mut peer).await;
    assert_eq!(header.error, "cannot decode int into string");
    rpc.call(&mut peer, "Plugin.Echo", 1, &"text".to_owned())
        .await;
    assert_eq!(rpc.response(&mut peer).await.0.error, "");
}

#[tokio::test]
async fn an_argument_without_a_form_in_gob_costs_one_call() {
    #[derive(Serialize, Deserialize)]
    enum Choice {
        One,
    }
    let (_client, rpc, mut peer, mut script) = dispensed(Limits::default()).await;
    let error = soon(rpc.call::<_, String>("Plugin.Echo", &Choice::One)).await;
    assert!(matches!(error, Err(RpcError::Encode(_))));
    let answers = async {
        let (header, body) = script.request(&mut peer).await;
        assert_eq!((header.seq, body.decode::<u64>().unwrap()), (0, 9));
        script
            .reply(&mut peer, header.seq, "", &"text".to_owned())
            .await;
    };
    let call = rpc.call::<_, String>("Plugin.Echo", &9_u64);
    let (reply, ()) = soon(async { tokio::join!(call, answers) }).await;
    assert_eq!(reply.unwrap(), "text");
}
