//! Fuzz targets: one function per codec, on the public API alone. A target fails by panicking.

mod connection;

use std::collections::{BTreeMap, HashMap};
use std::io::IoSlice;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gk_wire::Handshake;
use gk_wire::gob::{self, Decoder, Encoder, Error, Interface, Message, Payload, Time, Value};
use gk_wire::handshake::MAX_LINE_BYTES;
use gk_wire::rpc::{
    Assembler, Content, HeaderEncoder, MAX_METHOD_BYTES, RequestHeader, ResponseHeader,
};
use gk_wire::yamux::{Event, Header, Kind, Limits, Role, Session};
use serde::{Deserialize, Serialize};

pub use connection::connection;

const GOB_LIMITS: gob::Limits = gob::Limits {
    max_message_bytes: 16 * 1024,
    max_elements: 512,
    max_depth: 16,
    max_types: 32,
    max_type_bytes: 8 * 1024,
    max_messages_per_value: 16,
};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Anything {
    function: String,
    args: Payload,
    raw: Vec<u8>,
    number: i64,
    seq: u64,
    ratio: f64,
    flag: bool,
    list: Vec<String>,
    config: BTreeMap<String, String>,
    children: Vec<Anything>,
    next: Option<Box<Anything>>,
    at: Time,
    perhaps: Option<Time>,
    holds: Interface,
    #[serde(rename = "F0")]
    first: Vec<Interface>,
    by_name: BTreeMap<String, Interface>,
}

/// Elements and depth of a value.
fn measure(value: &Value) -> (usize, usize) {
    let (elements, inside): (usize, Vec<&Value>) = match value {
        Value::List(list) => (list.len(), list.iter().collect()),
        Value::Map(map) => (
            map.len(),
            map.iter().flat_map(|(key, value)| [key, value]).collect(),
        ),
        Value::Struct { fields, .. } => (0, fields.iter().map(|(_, value)| value).collect()),
        Value::Interface { value, .. } => (0, vec![&**value]),
        _ => (0, Vec::new()),
    };
    let parts = inside.into_iter().map(measure);
    let sum = |(a, b): (usize, usize), (c, d): (usize, usize)| (a + c, b.max(d));
    let (more, depth) = parts.fold((0, 0), sum);
    (elements + more, depth + 1)
}

/// The encoding of a value. `None` for a received interface of a type that was never defined, which
/// can only hold an empty list.
fn encoded<T: Serialize + serde::de::DeserializeOwned + std::fmt::Debug + 'static>(
    value: &T,
) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match Encoder::new().encode(value, &mut out) {
        Ok(()) => Some(out),
        Err(Error::UnknownType(_) | Error::LengthOutOfRange(_) | Error::TooDeep(_)) => None,
        Err(error) => panic!("{error}: {value:?}"),
    }
}

/// A decoded value is encoded, and comes back the same.
fn comes_back<T: Serialize + serde::de::DeserializeOwned + std::fmt::Debug + 'static>(value: &T) {
    let Some(bytes) = encoded(value) else {
        return;
    };
    let mut decoder = Decoder::new(gob::Limits::default());
    let again = decoder.next(&mut Bytes::from(bytes.clone()));
    let Ok(Some(again)) = again else {
        panic!("{again:?}");
    };
    let again = again.decode::<T>();
    let Ok(again) = again else {
        panic!("{again:?}");
    };
    assert_eq!(encoded(&again), Some(bytes));
}

fn judge(message: &Message) {
    let value = message.value();
    if let Ok(value) = &value {
        let (elements, depth) = measure(value);
        assert!(elements <= GOB_LIMITS.max_elements && depth <= GOB_LIMITS.max_depth);
        // A value that can be read can be passed over.
        assert_eq!(message.decode::<()>(), Ok(()));
    }
    // A value is decoded as often as one likes. NaN is not itself, so the text is compared.
    assert_eq!(format!("{value:?}"), format!("{:?}", message.value()));
    let _ = message.decode::<String>();
    let _ = message.decode::<Vec<f32>>();
    let _ = message.decode::<Option<BTreeMap<String, i8>>>();
    let _ = message.decode::<Payload>();
    if let Ok(value) = message.decode::<Anything>() {
        comes_back(&value);
    }
    if let Ok(held) = message.decode::<Interface>() {
        assert_eq!(
            format!("{:?}", held.value()),
            format!("{:?}", held.clone().value())
        );
        comes_back(&held);
    }
}

/// A stream of gob messages.
pub fn gob(data: &[u8]) {
    let mut stream = Bytes::copy_from_slice(data);
    let mut decoder = Decoder::new(GOB_LIMITS);
    loop {
        let before = stream.len();
        match decoder.next(&mut stream) {
            Ok(Some(message)) => judge(&message),
            Ok(None) => break,
            Err(error) if error.poisons_stream() => break,
            Err(_) => {}
        }
        assert!(stream.len() < before, "no progress");
    }
}

/// The first byte says where the stream is cut; the rest is one direction of net/rpc.
pub fn rpc(data: &[u8]) {
    let Some((cut, data)) = data.split_first() else {
        return;
    };
    let assemble = |piece_bytes: usize| {
        let mut assembler = Assembler::new(GOB_LIMITS);
        let mut messages = Vec::new();
        for piece in data.chunks(piece_bytes) {
            let mut piece = Bytes::copy_from_slice(piece);
            loop {
                match assembler.next(&mut piece) {
                    Ok(Some(Content::Message(message))) => messages.push(message),
                    Ok(Some(dropped)) => panic!("{dropped:?} without a budget"),
                    Ok(None) => break,
                    Err(error) => return (messages, Some(error)),
                }
            }
            assert!(piece.is_empty(), "an assembler takes what it is given");
        }
        (messages, None)
    };
    let whole = assemble(data.len().max(1));
    assert_eq!(whole, assemble(usize::from(*cut).max(1)));
    let mut decoder = Decoder::new(GOB_LIMITS);
    for content in whole.0 {
        assert!((1..=GOB_LIMITS.max_message_bytes).contains(&content.len()));
        let Ok(message) = decoder.message(content) else {
            return;
        };
        let Some(message) = message else {
            continue;
        };
        if let Ok(header) = RequestHeader::from_message(&message) {
            assert!(header.service_method.as_str().len() <= MAX_METHOD_BYTES);
            // Go's decoder reads nothing else into such a header.
            assert_eq!(
                ResponseHeader::from_message(&message).map(|reply| reply.seq),
                Ok(header.seq)
            );
        }
        if let Ok(header) = RequestHeader::from_message(&message) {
            // The header that is written of it reads the same.
            let (mut encoder, mut bytes) = (HeaderEncoder::default(), Vec::new());
            encoder
                .request(header.service_method.as_str(), header.seq, &mut bytes)
                .sent();
            let again = Decoder::new(GOB_LIMITS).next(&mut Bytes::from(bytes));
            let again = again.map(|message| message.as_ref().map(RequestHeader::from_message));
            let name = header.service_method.as_str();
            let Ok(Some(Ok(again))) = again else {
                panic!("{again:?}");
            };
            assert_eq!(
                (again.service_method.as_str(), again.seq),
                (name, header.seq)
            );
        }
        judge(&message);
    }
}

/// A first line.
pub fn handshake(data: &[u8]) {
    let Ok(handshake) = Handshake::parse(data) else {
        return;
    };
    assert!(data.len() <= MAX_LINE_BYTES + 1);
    let line = handshake.to_string();
    assert!(!line.contains('\n') || handshake.address.contains('\n'));
    // A certificate of fewer than 38 bytes has a field that is too short to count.
    let again = Handshake::parse(line.as_bytes());
    let certificate_counts = handshake.cert.as_ref().is_none_or(|cert| cert.len() >= 38);
    if certificate_counts && line.len() <= MAX_LINE_BYTES {
        assert_eq!(again, Ok(handshake));
    }
}

const YAMUX_LIMITS: Limits = Limits {
    max_streams: 8,
    max_queued_bytes: 1 << 20,
    max_queued_control_bytes: 1024,
    keepalive_interval: Duration::from_secs(30),
    keepalive_timeout: Duration::from_secs(10),
    open_timeout: Duration::from_secs(75),
    close_timeout: Duration::from_secs(300),
};

const WINDOW: u64 = 256 * 1024;

/// The windows that the session must keep.
#[derive(Default)]
struct Model {
    /// Bytes that we may still send, by stream.
    send: HashMap<u32, u64>,
    /// Bytes that the peer may still send.
    receive: HashMap<u32, u64>,
    /// Bytes of a stream that came and were not taken.
    unread: HashMap<u32, u32>,
}

/// The session's frames, checked against the windows.
fn sent(session: &mut Session, model: &mut Model) {
    let mut bytes = Vec::new();
    while let Some(mut batch) = session.out().begin() {
        while !batch.is_done() {
            let mut slices = [IoSlice::new(&[]); 4];
            let count = batch.slices(&mut slices);
            let all = slices.iter().take(count).flat_map(|slice| slice.iter());
            let part: Vec<u8> = all.copied().take(10_000).collect();
            batch.advance(part.len());
            bytes.extend(part);
        }
        session.out().end(batch);
    }
    let mut rest = bytes.as_slice();
    while let Some((head, after)) = rest.split_first_chunk() {
        let header = Header::decode(head).expect("our own frames are good");
        let length = match header.kind {
            Kind::Data => header.length as usize,
            _ => 0,
        };
        rest = after.get(length..).expect("a frame is as long as it says");
        if header.kind == Kind::Data {
            let window = model.send.get_mut(&header.stream).expect("an open stream");
            *window = window
                .checked_sub(u64::from(header.length))
                .expect("we overrun the peer's window");
        }
        if header.kind == Kind::WindowUpdate
            && let Some(window) = model.receive.get_mut(&header.stream)
        {
            *window += u64::from(header.length);
            assert!(*window <= WINDOW);
        }
    }
    assert!(rest.is_empty());
    assert_eq!(session.out().bytes(), 0);
    assert_eq!(session.out().control_bytes(), 0);
}

fn received(session: &mut Session, model: &mut Model, header: Header, now: Instant) -> bool {
    let Ok(event) = session.received(header, now) else {
        return false;
    };
    assert!(session.out().control_bytes() <= YAMUX_LIMITS.max_queued_control_bytes);
    let (stream, opened) = match event {
        Event::Data {
            stream,
            opened,
            known,
            length,
            ..
        } => {
            assert_eq!((stream, length), (header.stream, header.length));
            if opened {
                model.receive.insert(stream, WINDOW);
            }
            if known {
                let window = model.receive.get_mut(&stream).expect("an open stream");
                *window = window
                    .checked_sub(u64::from(length))
                    .expect("the peer overran its window");
                *model.unread.entry(stream).or_default() += length;
            }
            (stream, opened)
        }
        Event::Stream { stream, opened, .. } => {
            if opened {
                model.receive.insert(stream, WINDOW);
            }
            (stream, opened)
        }
        _ => return true,
    };
    if opened {
        model.send.insert(stream, WINDOW);
        session.accept(stream);
    }
    if header.kind == Kind::WindowUpdate {
        *model.send.entry(stream).or_default() += u64::from(header.length);
    }
    true
}

/// A script: each step is a byte that says what happens, and what it takes.
pub fn yamux(data: &[u8]) {
    let mut now = Instant::now();
    let mut rest = data;
    let mut take = |count: usize| {
        let (head, tail) = rest.split_at_checked(count)?;
        rest = tail;
        Some(head)
    };
    let role = match take(1) {
        Some([0]) => Role::Server,
        _ => Role::Client,
    };
    let mut session = Session::new(role, YAMUX_LIMITS, now);
    let mut model = Model::default();
    while let Some(&[step]) = take(1) {
        let stream = |byte: &[u8]| byte.first().map_or(0, |byte| u32::from(byte % 16));
        match step % 8 {
            // A frame of the peer.
            0..=2 => {
                let Some(Ok(head)) = take(Header::LEN).map(<[u8; Header::LEN]>::try_from) else {
                    break;
                };
                let Ok(header) = Header::decode(&head) else {
                    break;
                };
                if !received(&mut session, &mut model, header, now) {
                    break;
                }
            }
            3 => {
                if let Ok(id) = session.open(now) {
                    model.send.insert(id, WINDOW);
                    model.receive.insert(id, WINDOW);
                }
            }
            4 => {
                let Some(&[on, high, low]) = take(3) else {
                    break;
                };
                let length = usize::from(u16::from_be_bytes([high, low])) * 8;
                if session.has_room() {
                    session.send_bytes(stream(&[on]), Bytes::from(vec![on; length]));
                }
                assert!(session.queued_bytes() < YAMUX_LIMITS.max_queued_bytes + 16 * 65_536);
            }
            5 => {
                let Some(on) = take(1).map(stream) else { break };
                let count = model.unread.remove(&on).unwrap_or(0);
                session.consumed(on, count);
            }
            6 => {
                let Some(&[on, how]) = take(2) else { break };
                match how % 3 {
                    0 => session.close(stream(&[on]), now),
                    1 => session.reset(stream(&[on])),
                    _ => session.go_away(),
                }
                assert!(how % 3 == 2 || !session.can_send(stream(&[on])));
            }
            _ => {
                let Some(&[seconds]) = take(1) else { break };
                now += Duration::from_secs(u64::from(seconds));
                let Ok(reset) = session.on_timeout(now) else {
                    break;
                };
                assert!(reset.iter().all(|stream| !session.contains(*stream)));
                assert!(session.next_timeout() > now);
            }
        }
        if step >= 128 {
            sent(&mut session, &mut model);
        }
    }
    sent(&mut session, &mut model);
}
