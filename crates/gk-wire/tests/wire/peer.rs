//! A peer that writes its frames by hand, and what tests of both ends share.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gk_wire::gob::{Decoder, Encoder, Message};
use gk_wire::host::Client;
use gk_wire::plugin::{Connection, Server};
use gk_wire::yamux::{Flags, Header, Kind};
use gk_wire::{HandshakeConfig, Limits, Request, Responder, Service, gob};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Long enough for any machine; only a test that fails waits so long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// Waits for what must happen.
pub(crate) async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(DEADLINE, what)
        .await
        .expect("nothing happened")
}

/// `net/rpc`'s request header, or its response header without `Error`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename = "Request", rename_all = "PascalCase")]
pub(crate) struct RequestHeader {
    pub(crate) service_method: String,
    pub(crate) seq: u64,
}

/// `net/rpc`'s response header.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename = "Response", rename_all = "PascalCase")]
pub(crate) struct ResponseHeader {
    pub(crate) service_method: String,
    pub(crate) seq: u64,
    pub(crate) error: String,
}

/// The other end of a connection, one frame at a time.
pub(crate) struct Peer {
    pub(crate) socket: UnixStream,
    /// Payload that has come, by stream.
    pub(crate) inbox: HashMap<u32, BytesMut>,
}

impl Peer {
    pub(crate) fn new(socket: UnixStream) -> Self {
        Peer {
            socket,
            inbox: HashMap::new(),
        }
    }

    /// The next frame; `None` when the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<(Header, Bytes)> {
        soon(async {
            let mut head = [0; Header::LEN];
            self.socket.read_exact(&mut head).await.ok()?;
            let header = Header::decode(&head).unwrap();
            let length = if header.kind == Kind::Data {
                header.length
            } else {
                0
            };
            let mut payload = vec![0; length as usize];
            self.socket.read_exact(&mut payload).await.ok()?;
            if header.kind == Kind::Data {
                self.inbox
                    .entry(header.stream)
                    .or_default()
                    .extend_from_slice(&payload);
            }
            Some((header, payload.into()))
        })
        .await
    }

    /// Reads on to a frame on `stream` that has `flags`.
    pub(crate) async fn until(&mut self, stream: u32, flags: Flags) -> Header {
        loop {
            let (header, _) = self.next().await.expect("the connection ended");
            if header.stream == stream && header.flags.has(flags) && header.kind != Kind::Ping {
                return header;
            }
        }
    }

    /// Reads on until `stream` has brought `count` bytes, and takes them.
    pub(crate) async fn bytes(&mut self, stream: u32, count: usize) -> Vec<u8> {
        loop {
            let inbox = self.inbox.entry(stream).or_default();
            if inbox.len() >= count {
                return inbox.split_to(count).to_vec();
            }
            self.next().await.expect("the connection ended");
        }
    }

    /// Reads on until the connection ends.
    pub(crate) async fn end(&mut self) {
        while self.next().await.is_some() {}
    }

    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        soon(self.socket.write_all(bytes)).await.unwrap();
    }

    pub(crate) async fn frame(&mut self, kind: Kind, flags: Flags, stream: u32, length: u32) {
        let header = Header {
            kind,
            flags,
            stream,
            length,
        };
        self.raw(&header.encode()).await;
    }

    pub(crate) async fn update(&mut self, flags: Flags, stream: u32) {
        self.frame(Kind::WindowUpdate, flags, stream, 0).await;
    }

    pub(crate) async fn data(&mut self, stream: u32, payload: &[u8]) {
        self.raw(&data_frame(stream, payload)).await;
    }

    /// Opens a stream and names a broker id on it.
    pub(crate) async fn dial(&mut self, stream: u32, id: u32) {
        self.update(Flags::SYN, stream).await;
        self.data(stream, &id.to_le_bytes()).await;
    }

    /// Opens a stream to a broker id and waits for its echo.
    pub(crate) async fn dialled(&mut self, stream: u32, id: u32) -> Rpc {
        self.dial(stream, id).await;
        assert_eq!(self.bytes(stream, 4).await, id.to_le_bytes());
        Rpc::new(stream)
    }
}

pub(crate) fn data_frame(stream: u32, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        kind: Kind::Data,
        flags: Flags::NONE,
        stream,
        length: u32::try_from(payload.len()).unwrap(),
    };
    [&header.encode(), payload].concat()
}

/// One stream's net/rpc at a scripted peer, both directions and either role.
pub(crate) struct Rpc {
    pub(crate) stream: u32,
    encoder: Encoder,
    decoder: Decoder,
}

impl Rpc {
    pub(crate) fn new(stream: u32) -> Self {
        Rpc {
            stream,
            encoder: Encoder::new(),
            decoder: Decoder::new(gob::Limits::default()),
        }
    }

    async fn message(&mut self, peer: &mut Peer) -> Message {
        loop {
            let inbox = peer.inbox.entry(self.stream).or_default();
            let mut bytes = std::mem::take(inbox).freeze();
            let message = self.decoder.next(&mut bytes).unwrap();
            *inbox = BytesMut::from(&bytes[..]);
            if let Some(message) = message {
                return message;
            }
            peer.next().await.expect("the connection ended");
        }
    }

    /// The next call that we are asked.
    pub(crate) async fn request(&mut self, peer: &mut Peer) -> (RequestHeader, Message) {
        let header = self.message(peer).await.decode().unwrap();
        (header, self.message(peer).await)
    }

    /// The next reply that we get.
    pub(crate) async fn response(&mut self, peer: &mut Peer) -> (ResponseHeader, Message) {
        let header = self.message(peer).await.decode().unwrap();
        (header, self.message(peer).await)
    }

    pub(crate) fn encode<T: Serialize + DeserializeOwned + 'static>(
        &mut self,
        value: &T,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        self.encoder.encode(value, &mut out).unwrap();
        out
    }

    pub(crate) fn reply_bytes<T: Serialize + DeserializeOwned + 'static>(
        &mut self,
        seq: u64,
        error: &str,
        body: &T,
    ) -> Vec<u8> {
        let header = ResponseHeader {
            service_method: "Plugin.Any".into(),
            seq,
            error: error.into(),
        };
        [self.encode(&header), self.encode(body)].concat()
    }

    pub(crate) async fn reply<T: Serialize + DeserializeOwned + 'static>(
        &mut self,
        peer: &mut Peer,
        seq: u64,
        error: &str,
        body: &T,
    ) {
        let bytes = self.reply_bytes(seq, error, body);
        peer.data(self.stream, &bytes).await;
    }

    pub(crate) fn call_bytes<T: Serialize + DeserializeOwned + 'static>(
        &mut self,
        method: &str,
        seq: u64,
        body: &T,
    ) -> Vec<u8> {
        let header = RequestHeader {
            service_method: method.into(),
            seq,
        };
        [self.encode(&header), self.encode(body)].concat()
    }

    pub(crate) async fn call<T: Serialize + DeserializeOwned + 'static>(
        &mut self,
        peer: &mut Peer,
        method: &str,
        seq: u64,
        body: &T,
    ) {
        let bytes = self.call_bytes(method, seq, body);
        peer.data(self.stream, &bytes).await;
    }
}

/// Our host against a scripted plugin that has accepted control, stdout and stderr.
pub(crate) async fn host(limits: Limits) -> (Client, Peer) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let client = Client::connect(ours, limits).unwrap();
    let mut peer = Peer::new(theirs);
    for stream in [1, 3, 5] {
        let (header, _) = peer.next().await.unwrap();
        let syn = Header {
            kind: Kind::WindowUpdate,
            flags: Flags::SYN,
            stream,
            length: 0,
        };
        assert_eq!(header, syn, "the order of the first three");
    }
    for stream in [1, 3, 5] {
        peer.update(Flags::ACK, stream).await;
    }
    (client, peer)
}

/// Our host with a client for the plugin `any`, and the scripted plugin that answers it on stream
/// 7.
pub(crate) async fn dispensed(limits: Limits) -> (Client, gk_wire::RpcClient, Peer, Rpc) {
    let (client, mut peer) = host(limits).await;
    let rpc = {
        let dispense = client.dispense("any");
        let script = async {
            let mut control = Rpc::new(1);
            let (header, name) = control.request(&mut peer).await;
            assert_eq!(header.service_method, "Dispenser.Dispense");
            assert_eq!(name.decode::<String>().unwrap(), "any");
            control.reply(&mut peer, header.seq, "", &1_u32).await;
            peer.until(7, Flags::SYN).await;
            peer.update(Flags::ACK, 7).await;
            let id = peer.bytes(7, 4).await;
            peer.data(7, &id).await;
        };
        let (rpc, ()) = soon(async { tokio::join!(dispense, script) }).await;
        rpc.unwrap()
    };
    (client, rpc, peer, Rpc::new(7))
}

/// Why a connection has ended, if it has.
pub(crate) async fn ended(client: &Client) -> Option<String> {
    tokio::select! {
        biased;
        reason = client.closed() => Some(reason),
        () = std::future::ready(()) => None,
    }
}

pub(crate) fn config() -> HandshakeConfig {
    HandshakeConfig {
        protocol_version: 1,
        cookie_key: "WIRE_TEST".into(),
        cookie_value: "wire".into(),
    }
}

/// What the scripted hosts call.
#[derive(Default)]
pub(crate) struct Methods {
    /// Calls of `Plugin.Hang`.
    pub(crate) hanging: Mutex<Vec<Responder>>,
}

impl Service for Methods {
    fn call(&self, request: Request, responder: Responder) {
        match request.method.as_str() {
            "Plugin.Echo" => match request.body.decode::<String>() {
                Ok(text) => responder.reply(&text),
                Err(error) => responder.error(&error.to_string()),
            },
            "Plugin.Nil" => responder.reply(&()),
            "Plugin.Hang" => self.hanging.lock().push(responder),
            "Plugin.Panic" => panic!("a handler's panic"),
            "Plugin.Forget" => drop(responder),
            method if method.starts_with("Plugin.") => responder.unknown_method(),
            _ => responder.unknown_service(),
        }
    }
}

pub(crate) fn server(limits: Limits, service: &Arc<Methods>) -> Server {
    let service = Arc::clone(service);
    Server::new(config())
        .limits(limits)
        .plugin("any", move |_| Arc::clone(&service) as Arc<dyn Service>)
}

/// Our plugin against a scripted host that has opened control, stdout and stderr, and dispensed
/// `any` on stream 7.
pub(crate) async fn plugin(limits: Limits) -> (Connection, Arc<Methods>, Peer, Rpc) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let service = Arc::new(Methods::default());
    let connection = server(limits, &service).serve_connection(ours);
    let mut peer = Peer::new(theirs);
    for stream in [1, 3, 5] {
        peer.update(Flags::SYN, stream).await;
    }
    for stream in [1, 3, 5] {
        peer.until(stream, Flags::ACK).await;
    }
    let mut control = Rpc::new(1);
    control
        .call(&mut peer, "Dispenser.Dispense", 0, &"any".to_owned())
        .await;
    let (header, id) = control.response(&mut peer).await;
    assert_eq!((header.seq, header.error.as_str()), (0, ""));
    let rpc = peer.dialled(7, id.decode().unwrap()).await;
    (connection, service, peer, rpc)
}
