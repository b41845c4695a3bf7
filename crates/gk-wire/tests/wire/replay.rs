//! A whole session between a Go host and a Go plugin, as it was recorded.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use gk_wire::gob::{Decoder, Limits, Message, Value};
use gk_wire::host::Client;
use gk_wire::yamux::{Flags, Header, Kind};
use gk_wire::{Handshake, Protocol};
use serde_json::Value as Json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::peer::{Methods, soon};

fn events() -> Vec<Json> {
    let lines = include_str!("../data/session.jsonl").lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// Whether a decoded value is the recorded one, where a field that is not there is zero.
fn same(ours: &Value, go: &Json) -> bool {
    match (ours, go) {
        (Value::Nil, Json::Null) => true,
        (Value::Bool(ours), go) => go.as_bool() == Some(*ours),
        (Value::Int(ours), go) => go.as_i64() == Some(*ours),
        (Value::Uint(ours), go) => go.as_u64() == Some(*ours),
        (Value::Float(ours), go) => go.as_f64() == Some(*ours),
        (Value::String(ours) | Value::Bytes(ours), go) => {
            go.as_str().is_some_and(|go| go.as_bytes() == ours)
        }
        (Value::List(ours), Json::Array(go)) => {
            ours.len() == go.len() && ours.iter().zip(go).all(|(ours, go)| same(ours, go))
        }
        (Value::Map(ours), Json::Object(go)) => {
            ours.len() == go.len()
                && ours.iter().all(|(key, value)| match key {
                    Value::String(key) => go
                        .get(std::str::from_utf8(key).unwrap())
                        .is_some_and(|go| same(value, go)),
                    _ => false,
                })
        }
        (Value::Struct { fields, .. }, Json::Object(go)) => {
            go.len() == fields.len()
                && fields
                    .iter()
                    .all(|(name, value)| go.get(name).is_some_and(|go| same(value, go)))
        }
        _ => false,
    }
}

#[test]
fn both_directions_are_read_as_recorded() {
    // Decoder and rest of each direction of each stream; the first four bytes of a brokered one are
    // its id.
    let mut directions: HashMap<(String, u64), (Decoder, BytesMut)> = HashMap::new();
    let (mut values, mut ids) = (0, 0);
    for event in events() {
        let Some(hex) = event["hex"].as_str() else {
            continue;
        };
        let bytes = unhex(hex);
        let (head, payload) = bytes.split_first_chunk().unwrap();
        let header = Header::decode(head).unwrap();
        assert_eq!(header.encode(), *head);
        assert_eq!(format!("{:?}", header.kind), event["type"]);
        assert_eq!(
            (u64::from(header.stream), u64::from(header.length)),
            (
                event["stream"].as_u64().unwrap(),
                event["len"].as_u64().unwrap()
            )
        );
        for (flag, name) in [
            (Flags::SYN, "SYN"),
            (Flags::ACK, "ACK"),
            (Flags::FIN, "FIN"),
            (Flags::RST, "RST"),
        ] {
            assert_eq!(
                header.flags.has(flag),
                event["flags"].as_str().unwrap().contains(name)
            );
        }
        if header.kind != Kind::Data || event["role"] == "stdout" || event["role"] == "stderr" {
            continue;
        }
        let direction = event["dir"].as_str().unwrap().to_owned();
        if event["broker"].is_string() {
            assert_eq!(payload, 1_u32.to_le_bytes());
            ids += 1;
            continue;
        }
        let key = (direction, u64::from(header.stream));
        let (decoder, rest) = directions
            .entry(key)
            .or_insert_with(|| (Decoder::new(Limits::default()), BytesMut::new()));
        rest.extend_from_slice(payload);
        let mut stream = std::mem::take(rest).freeze();
        let recorded = event["gob"].as_array().unwrap();
        for expected in recorded.iter().filter(|entry| entry[0] == "val") {
            let message: Message = decoder.next(&mut stream).unwrap().unwrap();
            let value = message.value().unwrap();
            assert!(same(&value, &expected[2]), "{value:?} is not {expected}");
            values += 1;
        }
        assert_eq!(decoder.next(&mut stream).unwrap().map(|_| ()), None);
        *rest = BytesMut::from(&stream[..]);
    }
    assert!(values > 40 && ids == 4, "{values} values, {ids} ids");
    assert!(directions.values().all(|(_, rest)| rest.is_empty()));
}

/// Our host against the recorded plugin: its bytes are sent as they were, whenever the host has
/// sent as many frames' worth as Go's had.
#[tokio::test]
async fn our_host_gets_along_with_the_recorded_plugin() {
    let events = events();
    let line = events
        .iter()
        .find(|event| event["dir"] == "p2h-stdout")
        .unwrap();
    let handshake = Handshake::parse(line["text"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!(
        (handshake.app_version, handshake.protocol),
        (1, Protocol::NetRpc)
    );

    // What the plugin sends, per request of the host.
    let frames = |from: usize, to: usize| -> Vec<u8> {
        events[from..=to]
            .iter()
            .filter(|event| event["dir"] == "p2h")
            .filter_map(|event| event["hex"].as_str())
            .flat_map(unhex)
            .collect()
    };
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut client = Client::connect(ours, gk_wire::Limits::default()).unwrap();
    let (mut read, mut write) = theirs.into_split();
    // What the host sends, frame by frame, without window updates and what else Go may leave out.
    let (requests, mut requested) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let mut head = [0; Header::LEN];
            if read.read_exact(&mut head).await.is_err() {
                break;
            }
            let header = Header::decode(&head).unwrap();
            if header.kind == Kind::Data {
                let mut payload = vec![0; header.length as usize];
                read.read_exact(&mut payload).await.unwrap();
                requests
                    .send((header.stream, Bytes::from(payload)))
                    .unwrap();
            }
        }
    });
    let script = async {
        for (stream, from, to) in [
            (1, 8, 11),  // Ping
            (1, 13, 13), // Dispense
            (7, 16, 17), // the id on the brokered stream
            (7, 19, 19), // GKRegister
            (7, 21, 23), // Init: the plugin dials our id 1 on stream 2
            (2, 25, 25), // our echo of it: Init's reply
            (7, 27, 27), // Call
            (7, 29, 29), // Call
            (7, 31, 31), // Call
            (7, 33, 33), // Call: the plugin calls HostAPI
            (2, 35, 35), // our reply: Call's
            (7, 37, 37), // Call: and another one
            (2, 39, 39), // our reply: Call's
            (7, 42, 44), // Call that prints
            (7, 46, 46), // Shutdown
            (1, 49, 49), // Quit
        ] {
            let (on, _) = soon(requested.recv()).await.unwrap();
            assert_eq!(on, stream, "ahead of events {from} to {to}");
            write.write_all(&frames(from, to)).await.unwrap();
        }
        drop(write);
    };
    let host = async {
        client.ping().await.unwrap();
        let id = client.broker().next_id();
        client
            .broker()
            .serve(id, std::sync::Arc::new(Methods::default()));
        let plugin = client.dispense("gkplugin").await.unwrap();
        let registration = plugin.call_message("Plugin.GKRegister", &()).await.unwrap();
        assert!(matches!(registration.value(), Ok(Value::Struct { .. })));
        plugin.call::<_, ()>("Plugin.Init", &true).await.unwrap();
        let result = async || {
            let message = plugin.call_message("Plugin.Call", &true).await.unwrap();
            match message.value().unwrap() {
                Value::Struct { fields, .. } => fields,
                other => panic!("{other:?}"),
            }
        };
        let field = |name: &str, value: Value| vec![(name.to_owned(), value)];
        result().await;
        assert_eq!(result().await, vec![]);
        assert_eq!(
            result().await,
            field("Error", Value::String("boom: ünïcode".into()))
        );
        assert_eq!(
            result().await,
            field("Result", Value::Bytes(b"{\"value\":\"42\"}".to_vec()))
        );
        result().await;
        assert_eq!(
            result().await,
            field("Result", Value::Bytes(b"true".to_vec()))
        );
        plugin.call::<_, ()>("Plugin.Shutdown", &()).await.unwrap();
        client.quit().await.unwrap();
        for (stream, text) in [
            (client.take_stdout(), "hello on os.Stdout after handshake\n"),
            (client.take_stderr(), "hello on os.Stderr after handshake\n"),
        ] {
            let mut printed = String::new();
            stream.unwrap().read_to_string(&mut printed).await.unwrap();
            assert_eq!(printed, text);
        }
    };
    soon(async { tokio::join!(script, host) }).await;
}
