//! A whole exchange, delivered in any pieces, and broken off behind any byte.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use gk_wire::connection::{Connection, Event, IncomingCall};
use gk_wire::gob::Payload;
use gk_wire::yamux::Kind;
use gk_wire::{Empty, Limits};

use crate::end::{End, Names, frames, text};

/// The broker id at which the host serves the plugin.
const CALLBACK_ID: u32 = 40;

/// Large enough to be read straight into its place.
const LARGE_BYTES: usize = 5000;

/// An application at one end. It acts on events alone, so the input decides what it does.
trait Application {
    fn act(&mut self, end: &mut End, event: Event<Names>);

    /// The bytes that were read from a stream.
    fn printed(&self) -> &[u8];

    /// The tokens of the calls and waiters that were handed to the connection.
    fn handed_in(&self) -> &[&'static str];
}

/// Pings, dispenses, calls, is called back, reads stdout, and quits.
struct Host {
    control: u32,
    stdout: u32,
    service: u32,
    printed: Vec<u8>,
    handed_in: Vec<&'static str>,
}

impl Host {
    fn start() -> (End, Self) {
        let now = Instant::now();
        let (connection, streams) = Connection::host(Limits::default(), now).unwrap();
        let mut end = End { connection, now };
        end.connection.serve_id(CALLBACK_ID, "host service");
        end.connection
            .call(streams.control, "Control.Ping", &true, "ping")
            .unwrap();
        end.read(streams.stdout, "stdout");
        let host = Host {
            control: streams.control,
            stdout: streams.stdout,
            service: 0,
            printed: Vec::new(),
            handed_in: vec!["ping"],
        };
        (end, host)
    }
}

impl Application for Host {
    fn printed(&self) -> &[u8] {
        &self.printed
    }

    fn handed_in(&self) -> &[&'static str] {
        &self.handed_in
    }

    fn act(&mut self, end: &mut End, event: Event<Names>) {
        let now = end.now;
        let connection = &mut end.connection;
        let next = match &event {
            Event::Reply { call: "ping", .. } => Some("dispense"),
            Event::Reply {
                call: "dispense", ..
            } => Some("service"),
            Event::Opened { .. } => Some("large"),
            Event::Reply { call: "large", .. } => Some("fail"),
            Event::Reply { call: "fail", .. } => Some("back"),
            Event::Reply { call: "back", .. } => Some("quit"),
            _ => None,
        };
        self.handed_in.extend(next);
        match event {
            Event::Reply {
                call,
                reply: Ok(body),
            } => match call {
                "ping" => {
                    let name = "any".to_owned();
                    connection
                        .call(self.control, "Dispenser.Dispense", &name, "dispense")
                        .unwrap();
                }
                "dispense" => {
                    let id = body.decode().unwrap();
                    self.service = connection.dial(now, id, "service").unwrap();
                }
                "large" => {
                    assert_eq!(body.decode::<Payload>().unwrap().0.len(), LARGE_BYTES);
                    connection
                        .call(self.service, "Plugin.Fail", &(), "fail")
                        .unwrap();
                }
                "back" => {
                    connection.close_client(now, self.service);
                    connection
                        .call(self.control, "Control.Quit", &true, "quit")
                        .unwrap();
                }
                _ => {}
            },
            Event::Reply { call: "fail", .. } => connection
                .call(self.service, "Plugin.CallBack", &CALLBACK_ID, "back")
                .unwrap(),
            Event::Opened { stream, .. } => {
                connection.make_client(now, stream).unwrap();
                let large = Payload(vec![7; LARGE_BYTES].into());
                connection
                    .call(stream, "Plugin.Echo", &large, "large")
                    .unwrap();
            }
            Event::Request { call, body, .. } => {
                let text = body.decode::<String>().unwrap();
                connection
                    .reply(call, "", &format!("{text}, says the host"))
                    .unwrap();
            }
            Event::Ready("stdout") => {
                let (bytes, _) = end.read(self.stdout, "stdout");
                self.printed.extend(bytes);
            }
            _ => {}
        }
    }
}

/// Serves one plugin, prints to stdout, calls back, and closes its streams when it is told to quit.
struct Plugin {
    /// The call that waits for the call back.
    waiting: Option<IncomingCall>,
    handed_in: Vec<&'static str>,
}

impl Plugin {
    fn start() -> (End, Self) {
        let plugin = Plugin {
            waiting: None,
            handed_in: vec!["stdout", "stderr"],
        };
        (crate::end::plugin(Limits::default()), plugin)
    }
}

impl Application for Plugin {
    fn printed(&self) -> &[u8] {
        &[]
    }

    fn handed_in(&self) -> &[&'static str] {
        &self.handed_in
    }

    fn act(&mut self, end: &mut End, event: Event<Names>) {
        let now = end.now;
        let connection = &mut end.connection;
        match event {
            Event::Request { call, body, .. } => match call.method().as_str() {
                "Control.Ping" => connection.reply(call, "", &Empty {}).unwrap(),
                "Dispenser.Dispense" => {
                    let id = connection.next_broker_id();
                    connection.serve_id(id, "service");
                    connection.reply(call, "", &id).unwrap();
                }
                "Plugin.Echo" => {
                    let payload = body.decode::<Payload>().unwrap();
                    connection.reply(call, "", &payload).unwrap();
                }
                "Plugin.Fail" => connection.reply(call, "it broke", &Empty {}).unwrap(),
                "Plugin.CallBack" => {
                    self.waiting = Some(call);
                    let id = body.decode().unwrap();
                    self.handed_in.push("call back");
                    connection.dial(now, id, "call back").unwrap();
                }
                "Control.Quit" => connection.reply(call, "", &Empty {}).unwrap(),
                other => panic!("{other}"),
            },
            Event::Opened {
                waiter: "call back",
                stream,
            } => {
                connection.make_client(now, stream).unwrap();
                let text = "the plugin".to_owned();
                self.handed_in.push("get");
                connection.call(stream, "Host.Get", &text, "get").unwrap();
            }
            Event::Opened {
                waiter: "stdout",
                stream,
            } => {
                let written = connection.write(stream, b"hello\n", || "writer");
                assert!(written.is_ready());
                connection.shutdown(now, stream);
            }
            Event::Reply {
                reply: Ok(body), ..
            } => {
                let text = body.decode::<String>().unwrap();
                let call = self.waiting.take().unwrap();
                connection.reply(call, "", &text).unwrap();
            }
            _ => {}
        }
    }
}

/// The outcome of an input.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// Events that do not depend on the pieces: all but the wake-ups of readers.
    events: Vec<String>,
    printed: Vec<u8>,
    sent: BTreeMap<u32, Sent>,
}

/// Frames that were sent on a stream.
#[derive(Debug, Default, PartialEq)]
struct Sent {
    bytes: usize,
    digest: u64,
    /// Flags and grants of frames without payload.
    control: Vec<(Kind, u16, u32)>,
}

/// An end with its application, and its events so far.
struct Running<A> {
    end: End,
    application: A,
    events: Vec<String>,
}

impl<A: Application> Running<A> {
    fn new((end, application): (End, A)) -> Self {
        Running {
            end,
            application,
            events: Vec::new(),
        }
    }

    /// Takes input, straight into large messages or not, and acts on what follows.
    fn input(&mut self, bytes: &[u8], straight: bool) {
        match straight {
            true => self.end.read_in(bytes).unwrap(),
            false => self.end.receive(bytes).unwrap(),
        }
        self.act();
    }

    fn act(&mut self) {
        while let Some(event) = self.end.connection.poll_event() {
            if !matches!(event, Event::Ready(_)) {
                self.events.push(text(&event));
            }
            self.application.act(&mut self.end, event);
        }
    }

    fn outcome(mut self) -> Outcome {
        let mut bytes = Vec::new();
        self.end.connection.transmit_into(&mut bytes);
        let mut payloads = BTreeMap::<u32, Vec<u8>>::new();
        let mut sent = BTreeMap::<u32, Sent>::new();
        for (header, payload) in frames(&bytes) {
            payloads.entry(header.stream).or_default().extend(payload);
            let sent = sent.entry(header.stream).or_default();
            if header.kind != Kind::Data {
                let control = (header.kind, header.flags.0, header.length);
                sent.control.push(control);
            }
        }
        for (stream, payload) in payloads {
            let mut hasher = DefaultHasher::new();
            payload.hash(&mut hasher);
            let sent = sent.entry(stream).or_default();
            sent.bytes = payload.len();
            sent.digest = hasher.finish();
        }
        Outcome {
            events: self.events,
            printed: self.application.printed().to_vec(),
            sent,
        }
    }
}

/// The input of each end in a whole exchange, in the pieces in which it came.
fn exchange() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut host, mut plugin) = (Running::new(Host::start()), Running::new(Plugin::start()));
    let (mut to_host, mut to_plugin) = (Vec::new(), Vec::new());
    loop {
        let (mut there, mut back) = (Vec::new(), Vec::new());
        host.end.connection.transmit_into(&mut there);
        plugin.end.connection.transmit_into(&mut back);
        if there.is_empty() && back.is_empty() {
            break;
        }
        for (bytes, log) in [(&there, &mut to_plugin), (&back, &mut to_host)] {
            if !bytes.is_empty() {
                log.push(bytes.clone());
            }
        }
        plugin.input(&there, false);
        host.input(&back, false);
    }
    assert_eq!(host.application.printed, b"hello\n");
    let calls = ["ping", "dispense", "large", "fail", "back", "quit"];
    let replies: Vec<_> = host
        .events
        .iter()
        .filter_map(|event| {
            let (_, rest) = event.split_once("reply to ")?;
            rest.split_once(':').map(|(call, _)| call)
        })
        .collect();
    assert_eq!(replies, calls, "{:?}", host.events);
    let back = "reply to back: the plugin, says the host".to_owned();
    assert!(host.events.contains(&back), "{:?}", host.events);
    (to_host, to_plugin)
}

/// Cuts `pieces` behind the byte `at` once more: in two, and what is before and behind.
fn cut(pieces: &[Vec<u8>], at: usize) -> (Vec<&[u8]>, Vec<&[u8]>) {
    let (mut before, mut behind, mut start) = (Vec::new(), Vec::new(), 0);
    for piece in pieces {
        let (first, second) = piece.split_at(at.saturating_sub(start).min(piece.len()));
        before.extend(Some(first).filter(|part| !part.is_empty()));
        behind.extend(Some(second).filter(|part| !part.is_empty()));
        start += piece.len();
    }
    (before, behind)
}

fn any_pieces<A: Application>(start: impl Fn() -> (End, A), pieces: &[Vec<u8>]) {
    let run = |pieces: &mut dyn Iterator<Item = &[u8]>, straight| {
        let mut running = Running::new(start());
        pieces.for_each(|piece| running.input(piece, straight));
        running.outcome()
    };
    let whole = run(&mut pieces.iter().map(Vec::as_slice), false);
    let bytes = pieces.concat();
    for straight in [false, true] {
        let single = run(&mut bytes.chunks(1), straight);
        assert_eq!(single, whole, "byte by byte");
        for at in 0..bytes.len() {
            let (before, behind) = cut(pieces, at);
            let outcome = run(&mut before.into_iter().chain(behind), straight);
            assert_eq!(outcome, whole, "cut behind byte {at}");
        }
    }
}

/// The token of a call or a waiter that an event gives back, as `text` puts it.
fn given_back(event: &str) -> Option<&str> {
    let event = event.split(':').next().unwrap_or_default();
    ["reply to ", "no reply to ", "refused "]
        .iter()
        .find_map(|prefix| event.strip_prefix(prefix))
        .or_else(|| event.split_once(" for ").map(|(_, waiter)| waiter))
}

/// Breaks the connection off behind each byte. Events up to there are those of the whole exchange, and
/// each token comes back exactly once.
fn broken_anywhere<A: Application>(start: impl Fn() -> (End, A), pieces: &[Vec<u8>]) {
    let mut whole = Running::new(start());
    pieces.iter().for_each(|piece| whole.input(piece, false));
    let length = pieces.concat().len();
    for at in 0..=length {
        let mut running = Running::new(start());
        for piece in cut(pieces, at).0 {
            running.input(piece, false);
        }
        assert!(
            whole.events.starts_with(&running.events),
            "{at}: {:?}",
            running.events
        );
        let before = running.events.len();
        assert!(running.end.connection.close("broken off"));
        let rest = running.end.events().into_iter();
        let rest = rest.filter(|event| !event.starts_with("ready "));
        running.events.extend(rest);
        for event in &running.events[before..] {
            let told = event.starts_with("refused ")
                || event.starts_with("released ")
                || (event.starts_with("no reply to ") && event.ends_with(": broken off"));
            assert!(told, "{at}: {event}");
        }
        let mut given_back: Vec<_> = running
            .events
            .iter()
            .filter_map(|event| given_back(event))
            .collect();
        given_back.sort_unstable();
        let mut handed_in = running.application.handed_in().to_vec();
        handed_in.sort_unstable();
        assert_eq!(given_back, handed_in, "{at}: {:?}", running.events);
    }
}

#[test]
fn a_host_does_the_same_in_whatever_pieces_its_input_comes() {
    any_pieces(Host::start, &exchange().0);
}

#[test]
fn a_plugin_does_the_same_in_whatever_pieces_its_input_comes() {
    any_pieces(Plugin::start, &exchange().1);
}

#[test]
fn a_host_whose_plugin_dies_at_any_byte_tells_everybody_who_waits() {
    broken_anywhere(Host::start, &exchange().0);
}

#[test]
fn a_plugin_whose_host_dies_at_any_byte_tells_everybody_who_waits() {
    broken_anywhere(Plugin::start, &exchange().1);
}
