//! A connection under test, frames that are written by hand, and events as text.

use std::time::{Duration, Instant};

use gk_wire::Limits;
use gk_wire::connection::{Connection, ConnectionError, Event, HostStreams, Input, MessageRead};
use gk_wire::gob::Value;
use gk_wire::yamux::{Flags, Header, Kind};

/// Calls, services, waiters and tasks have names.
pub(crate) type Names = (&'static str, &'static str, &'static str, &'static str);

/// The size of a stream's window at the start.
pub(crate) const WINDOW: u32 = 256 * 1024;

/// A connection, and the time that it is told.
pub(crate) struct End {
    pub(crate) connection: Connection<Names>,
    pub(crate) now: Instant,
}

/// A host whose first three streams the peer has accepted.
pub(crate) fn host(limits: Limits) -> (End, HostStreams) {
    let now = Instant::now();
    let (connection, streams) = Connection::host(limits, now).unwrap();
    let mut end = End { connection, now };
    let syn = [1, 3, 5].map(|stream| update(Flags::SYN, stream));
    assert_eq!(end.headers(), syn, "the order of the first three");
    for stream in [1, 3, 5] {
        end.receive(&update(Flags::ACK, stream).encode()).unwrap();
    }
    (end, streams)
}

/// A plugin at which nothing has come yet.
pub(crate) fn plugin(limits: Limits) -> End {
    let now = Instant::now();
    let mut connection = Connection::plugin(limits, now);
    connection.serve_control("control", ["stdout", "stderr"]);
    End { connection, now }
}

impl End {
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        let input = Input::Bytes(bytes.to_vec().into());
        self.connection.handle_input(self.now, input)
    }

    /// Takes frames one after the other.
    pub(crate) fn frames_in(&mut self, frames: &[Vec<u8>]) {
        for frame in frames {
            self.receive(frame).unwrap();
        }
    }

    /// Takes bytes as a transport does that reads large messages straight into their place.
    pub(crate) fn read_in(&mut self, mut bytes: &[u8]) -> Result<(), ConnectionError> {
        while !bytes.is_empty() {
            let place: Option<MessageRead> = self.connection.begin_message_read();
            let input = match place {
                Some(mut place) => {
                    let (message, room) = place.buffer();
                    let (part, rest) = bytes.split_at(room.min(bytes.len()));
                    message.extend_from_slice(part);
                    bytes = rest;
                    Input::Message(place)
                }
                None => {
                    let (part, rest) = bytes.split_at(bytes.len().min(1000));
                    bytes = rest;
                    Input::Bytes(part.to_vec().into())
                }
            };
            self.connection.handle_input(self.now, input)?;
        }
        Ok(())
    }

    /// Lets time go by, to an exact moment: deadlines before it are kept as well.
    pub(crate) fn later(&mut self, by: Duration) -> Result<(), ConnectionError> {
        self.now += by;
        self.connection.handle_timeout(self.now)
    }

    /// Lets time go by, answering pings, and gives the other frames that were sent meanwhile.
    pub(crate) fn pass(&mut self, by: Duration) -> Result<Vec<Header>, ConnectionError> {
        let (mut sent, end) = (self.headers(), self.now + by);
        loop {
            let next = self.connection.poll_timeout().unwrap().min(end);
            self.later(next - self.now)?;
            for frame in self.headers() {
                if frame.kind != Kind::Ping {
                    sent.push(frame);
                } else if frame.flags == Flags::SYN {
                    let pong = header(Kind::Ping, Flags::ACK, 0, frame.length);
                    self.receive(&pong.encode())?;
                }
            }
            if self.now == end {
                return Ok(sent);
            }
        }
    }

    /// The time until the next deadline.
    pub(crate) fn timeout(&self) -> Duration {
        self.connection.poll_timeout().unwrap() - self.now
    }

    pub(crate) fn sent(&mut self) -> Vec<(Header, Vec<u8>)> {
        let mut bytes = Vec::new();
        self.connection.transmit_into(&mut bytes);
        frames(&bytes)
    }

    pub(crate) fn headers(&mut self) -> Vec<Header> {
        let frames = self.sent().into_iter();
        frames.map(|(header, _)| header).collect()
    }

    /// The events, as text.
    pub(crate) fn events(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.connection.poll_event())
            .map(|event| text(&event))
            .collect()
    }

    /// Reads a stream until it is pending, and says whether it has ended.
    pub(crate) fn read(&mut self, stream: u32, task: &'static str) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        loop {
            let take = |part: &[u8]| bytes.extend_from_slice(part);
            let read = self.connection.read(stream, usize::MAX, take, || task);
            match read {
                std::task::Poll::Pending => return (bytes, false),
                std::task::Poll::Ready(0) => return (bytes, true),
                std::task::Poll::Ready(_) => {}
            }
        }
    }
}

/// An event as text, with the tokens in it.
pub(crate) fn text(event: &Event<Names>) -> String {
    let value = |value: Result<Value, _>| match value {
        Ok(Value::String(text)) => String::from_utf8(text).unwrap(),
        Ok(Value::Bytes(bytes)) => format!("{} bytes", bytes.len()),
        other => format!("{other:?}"),
    };
    match event {
        Event::Reply {
            call,
            reply: Ok(body),
        } => format!("reply to {call}: {}", value(body.value())),
        Event::Reply {
            call,
            reply: Err(error),
        } => format!("no reply to {call}: {error}"),
        Event::Request {
            service,
            call,
            body,
        } => format!(
            "request to {service}: {} {}",
            call.method(),
            value(body.value())
        ),
        Event::Opened { waiter, stream } => format!("opened {stream} for {waiter}"),
        Event::Refused(waiter) => format!("refused {waiter}"),
        Event::Ready(task) => format!("ready {task}"),
        Event::Released(service) => format!("released {service}"),
        other => format!("{other:?}"),
    }
}

pub(crate) fn header(kind: Kind, flags: Flags, stream: u32, length: u32) -> Header {
    Header {
        kind,
        flags,
        stream,
        length,
    }
}

/// A window update that grants nothing.
pub(crate) fn update(flags: Flags, stream: u32) -> Header {
    header(Kind::WindowUpdate, flags, stream, 0)
}

pub(crate) fn data(flags: Flags, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    let header = header(Kind::Data, flags, stream, length);
    [&header.encode(), payload].concat()
}

/// Takes bytes apart that are whole frames.
pub(crate) fn frames(bytes: &[u8]) -> Vec<(Header, Vec<u8>)> {
    let (mut rest, mut frames) = (bytes, Vec::new());
    while let Some((head, after)) = rest.split_first_chunk() {
        let header = Header::decode(head).unwrap();
        let length = match header.kind {
            Kind::Data => header.length as usize,
            _ => 0,
        };
        let (payload, after) = after.split_at(length);
        frames.push((header, payload.to_vec()));
        rest = after;
    }
    assert!(rest.is_empty(), "half a frame");
    frames
}

/// Lets two ends talk until both are silent.
pub(crate) fn talk(one: &mut End, other: &mut End) {
    loop {
        let (mut there, mut back) = (Vec::new(), Vec::new());
        one.connection.transmit_into(&mut there);
        other.connection.transmit_into(&mut back);
        if there.is_empty() && back.is_empty() {
            return;
        }
        other.receive(&there).unwrap();
        one.receive(&back).unwrap();
    }
}
