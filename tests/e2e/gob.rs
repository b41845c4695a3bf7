//! gk-wire's gob against Go's own encoder and decoder: generated types and values, the table of its documentation, and
//! messages as real plugins have them.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use gk_wire::gob::{
    Decoder, Encoder, Error, Interface, Limits, Marshal, Marshaled, Marshaler, Message, Payload,
    Time, Value,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::program;

/// What `gobpeer` answers to these streams.
#[expect(
    clippy::disallowed_methods,
    reason = "Go's own encoder is under test, not a plugin"
)]
fn peer(arguments: &[&str], streams: &[Vec<u8>]) -> Vec<u8> {
    let mut child = Command::new(program("gobpeer"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let streams = streams.to_vec();
    let writing = std::thread::spawn(move || {
        for stream in streams {
            let length = u32::try_from(stream.len()).unwrap();
            // Whoever has found a mistake reads no further.
            let written = stdin
                .write_all(&length.to_le_bytes())
                .and_then(|()| stdin.write_all(&stream));
            if written.is_err() {
                return;
            }
        }
    });
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", output.status);
    output.stdout
}

fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut streams = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = u32::from_le_bytes(*length) as usize;
        let (stream, rest) = rest.split_at(length);
        streams.push(stream.to_vec());
        bytes = rest;
    }
    assert!(bytes.is_empty());
    streams
}

/// The only value of a stream.
fn message(stream: &[u8]) -> Result<Message, Error> {
    let mut left = bytes::Bytes::copy_from_slice(stream);
    let message = Decoder::new(Limits::default()).next(&mut left)?;
    assert!(left.is_empty(), "{} bytes are left", left.len());
    message.ok_or(Error::UnexpectedEnd)
}

fn encoded<T: Serialize + DeserializeOwned + 'static>(first_id: i64, value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::starting_at(first_id)
        .encode(value, &mut out)
        .unwrap();
    out
}

/// An unsigned integer of gob at the beginning, and what stands behind it.
fn uint(bytes: &[u8]) -> (u64, &[u8]) {
    match bytes.split_first() {
        Some((short @ ..128, rest)) => (u64::from(*short), rest),
        Some((length, rest)) => {
            let (value, rest) = rest.split_at(usize::from(length.wrapping_neg()));
            let value = value
                .iter()
                .fold(0, |value, byte| value << 8 | u64::from(*byte));
            (value, rest)
        }
        None => panic!("the stream ends"),
    }
}

/// The number that Go gave the first type in a stream that holds one interface, or none if it holds a basic type.
fn first_id(stream: &[u8]) -> Option<i64> {
    // Length, the interface's type, the mark of a value that stands by itself.
    let (_, rest) = uint(stream);
    let (_, rest) = uint(rest);
    let (_, rest) = uint(rest);
    let (length, rest) = uint(rest);
    let (id, _) = uint(&rest[usize::try_from(length).unwrap()..]);
    // A definition has its number as a negative one.
    (id & 1 == 1).then(|| i64::try_from(id >> 1).unwrap() + 1)
}

const GENERATED: usize = 4000;

/// Everything that Go's reflection can make a type of goes through gk-wire, and is the same in Go afterwards; and where
/// Go has numbered the types of a value in one row, the bytes are the same, too.
#[test]
fn generated_values_go_through_as_they_are() {
    for seed in ["1", "2"] {
        let count = GENERATED.to_string();
        let streams = frames(&peer(&["produce", seed, &count], &[]));
        assert_eq!(streams.len(), GENERATED);
        let mut same_bytes = 0;
        let again: Vec<_> = streams
            .iter()
            .enumerate()
            .map(|(number, stream)| {
                let received = message(stream)
                    .unwrap_or_else(|error| panic!("seed {seed}, case {number}: {error}"));
                let value = received.value().unwrap();
                let held: Interface = received.decode().unwrap();
                let first = first_id(stream);
                let sent = encoded(first.unwrap_or(64), &held);
                assert_eq!(message(&sent).unwrap().value(), Ok(value));
                match (first, sent == *stream) {
                    (_, true) => same_bytes += 1,
                    (None, false) => panic!("seed {seed}, case {number}: {stream:x?} {sent:x?}"),
                    // Types that another case has defined have older numbers.
                    (Some(_), false) => {}
                }
                sent
            })
            .collect();
        let said = peer(&["judge", seed, &count], &again);
        let said = String::from_utf8(said).unwrap();
        assert_eq!(said, format!("{GENERATED} equal\n"));
        assert!(same_bytes > GENERATED / 4, "only {same_bytes}");
    }
}

/// Each row of the table stands between two fields that show where it begins and ends.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "lowercase", rename = "row")]
struct Row<T> {
    before: String,
    value: T,
    after: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Inner {
    name: String,
    count: i64,
}

/// A type that encodes itself, as bytes.
#[derive(Debug, Clone, Default, PartialEq)]
struct Raw<const BINARY: bool>(Vec<u8>);

impl<const BINARY: bool> Marshal for Raw<BINARY> {
    const MARSHALER: Marshaler = match BINARY {
        true => Marshaler::Binary,
        false => Marshaler::Gob,
    };
    const GO_NAME: &'static str = "Raw";

    fn marshal(&self) -> Result<Vec<u8>, Error> {
        Ok(self.0.clone())
    }

    fn unmarshal(bytes: &[u8]) -> Result<Self, Error> {
        Ok(Raw(bytes.to_vec()))
    }
}

/// Reads a row, compares it, and writes it for Go to compare.
fn row<T>(stream: &[u8], is_right: impl Fn(&T) -> bool) -> Vec<u8>
where
    T: Default + std::fmt::Debug + Serialize + DeserializeOwned + 'static,
{
    let row: Row<T> = message(stream).unwrap().decode().unwrap();
    assert_eq!((&*row.before, row.after), ("before", -1), "{row:?}");
    assert!(is_right(&row.value), "{row:?}");
    encoded(64, &row)
}

#[test]
fn the_table_of_types_is_true() {
    let streams = frames(&peer(&["table"], &[]));
    let mut streams = streams.iter();
    let mut next = || streams.next().unwrap().as_slice();
    let at = Time {
        unix_seconds: 1_795_831_445,
        nanoseconds: 600,
        offset: Some(3600),
    };
    let inner = |name: &str, count| Inner {
        name: name.to_owned(),
        count,
    };
    let link: Marshaled<Raw<true>> = Marshaled(Raw(b"https://goat.example/a%20b".to_vec()));
    let again = vec![
        row(next(), |value: &bool| *value),
        row(next(), |value: &i8| *value == i8::MIN),
        row(next(), |value: &i16| *value == i16::MIN),
        row(next(), |value: &i32| *value == i32::MAX),
        row(next(), |value: &i64| *value == i64::MIN),
        row(next(), |value: &i64| *value == -5),
        row(next(), |value: &u8| *value == u8::MAX),
        row(next(), |value: &u16| *value == u16::MAX),
        row(next(), |value: &u32| *value == u32::MAX),
        row(next(), |value: &u64| *value == u64::MAX),
        row(next(), |value: &u64| *value == 5),
        row(next(), |value: &f32| (*value - 1.5).abs() < f32::EPSILON),
        row(next(), |value: &f64| (*value + 2.25).abs() < f64::EPSILON),
        row(next(), |value: &String| value == "text"),
        row(next(), |value: &char| *value == 'ß'),
        row(next(), |value: &Payload| value.0 == "bytes"),
        row(next(), |value: &Vec<u8>| value == br#"{"a":1}"#),
        row(next(), |value: &Vec<String>| value == &["a", "b"]),
        row(next(), |value: &[i32; 2]| value == &[3, -4]),
        row(next(), |value: &BTreeMap<String, i64>| {
            value == &BTreeMap::from([("k".to_owned(), 9)])
        }),
        row(next(), |value: &Inner| *value == inner("inner", 2)),
        row(next(), |value: &Option<Box<Inner>>| {
            *value == Some(Box::new(inner("pointed", 0)))
        }),
        row(next(), |value: &Option<i64>| *value == Some(7)),
        row(next(), |value: &Option<i64>| value.is_none()),
        row(next(), |value: &Interface| value.is_nil()),
        row(next(), |value: &Interface| value.decode() == Ok(11_i64)),
        row(next(), |value: &Interface| {
            value.name() == Some("string") && value.decode::<String>().as_deref() == Ok("held")
        }),
        row(next(), |value: &Time| *value == at),
        row(next(), |value: &Option<Time>| *value == Some(at)),
        row(next(), |value: &Option<Marshaled<Raw<true>>>| {
            *value == Some(link.clone())
        }),
        row(next(), |value: &Marshaled<Raw<false>>| value.0.0.len() == 9),
        row(next(), |value: &i64| *value == 90_000_000_000),
    ];
    assert!(streams.next().is_none(), "the table has more rows");
    let said = String::from_utf8(peer(&["table-judge"], &again)).unwrap();
    assert_eq!(said, format!("{} equal\n", again.len()));
    // A receiver without a type for what encodes itself can take the bytes.
    let nothing: Row<()> = message(&again[29]).unwrap().decode().unwrap();
    assert_eq!(nothing.after, -1);
    let bytes: Row<Payload> = message(&again[29]).unwrap().decode().unwrap();
    assert_eq!(bytes.value.0, link.0.0);
}

/// The shapes of `tests/plugins/gobpeer/echo.go`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Shapes {
    id: u64,
    at: Time,
    perhaps: Option<Time>,
    link: Option<Marshaled<Raw<true>>>,
    body: Interface,
    headers: BTreeMap<String, Interface>,
    items: Vec<Interface>,
    children: Vec<Shapes>,
    next: Option<Box<Shapes>>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Circle {
    radius: f64,
    made: Time,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Square {
    side: i64,
    label: Interface,
}

/// Numbers without a pattern that are the same in each run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn time(&mut self) -> Time {
        Time {
            unix_seconds: i64::try_from(self.below(4_000_000_000)).unwrap() - 1_000_000_000,
            nanoseconds: u32::try_from(self.below(1_000_000_000)).unwrap(),
            // West of UTC Go itself takes the seconds of an offset for something else.
            offset: [None, Some(-7200), Some(12_345)][usize::try_from(self.below(3)).unwrap()],
        }
    }

    fn held(&mut self, depth: u32) -> Interface {
        match self.below(if depth == 0 { 5 } else { 8 }) {
            0 => Interface::nil(),
            1 => i64::try_from(self.below(1 << 40)).unwrap().into(),
            2 => "a text".into(),
            3 => Interface::new("[]string", vec!["a".to_owned(), String::new()]),
            4 => Payload(vec![7; usize::try_from(self.below(20_000)).unwrap()].into()).into(),
            5 => Interface::new(
                "shapes.Circle",
                Circle {
                    radius: 1.5,
                    made: self.time(),
                },
            ),
            6 => Interface::new(
                "shapes.Square",
                Square {
                    side: -3,
                    label: self.held(depth - 1),
                },
            ),
            _ => Interface::new("shapes.Message", self.shapes(depth - 1)),
        }
    }

    fn shapes(&mut self, depth: u32) -> Shapes {
        let count = |numbers: &mut Self| if depth == 0 { 0 } else { numbers.below(3) };
        Shapes {
            id: self.below(u64::MAX),
            at: self.time(),
            perhaps: (self.below(2) == 0).then(|| self.time()),
            link: (self.below(2) == 0).then(|| Marshaled(Raw(b"https://goat.example/".to_vec()))),
            body: self.held(depth),
            headers: (0..count(self))
                .map(|number| (format!("header {number}"), self.held(depth - 1)))
                .collect(),
            items: (0..count(self)).map(|_| self.held(depth - 1)).collect(),
            children: (0..count(self)).map(|_| self.shapes(depth - 1)).collect(),
            next: (count(self) > 0).then(|| Box::new(self.shapes(depth - 1))),
        }
    }
}

fn tree<T: Serialize + DeserializeOwned + 'static>(value: &T) -> Value {
    message(&encoded(64, value)).unwrap().value().unwrap()
}

/// What Rust makes, Go reads, and what Go then makes of it Rust reads: nothing is lost on either way.
#[test]
fn messages_of_real_plugins_come_back_from_go() {
    let mut numbers = Numbers(0x5eed);
    let sent: Vec<_> = (0..2000).map(|_| numbers.shapes(3)).collect();
    let streams: Vec<_> = sent.iter().map(|shapes| encoded(64, shapes)).collect();
    let back = frames(&peer(&["echo"], &streams));
    assert_eq!(back.len(), sent.len());
    for (sent, back) in sent.iter().zip(&back) {
        let back: Shapes = message(back).unwrap().decode().unwrap();
        let (found, expected) = (ordered(tree(&back)), ordered(tree(sent)));
        if found != expected {
            let (found, expected) = (format!("{found:#?}"), format!("{expected:#?}"));
            let mut lines = found.lines().zip(expected.lines()).enumerate();
            let first = lines.find(|(_, (found, expected))| found != expected);
            panic!("after {:?} of them: {first:?}", found.lines().count());
        }
    }
}

/// Go writes the keys of a map in any order, and calls its types by their own names.
fn ordered(value: Value) -> Value {
    match value {
        Value::Map(mut entries) => {
            entries.sort_by(|one, other| format!("{:?}", one.0).cmp(&format!("{:?}", other.0)));
            let entries = entries.into_iter();
            Value::Map(entries.map(|(key, value)| (key, ordered(value))).collect())
        }
        Value::List(list) => Value::List(list.into_iter().map(ordered).collect()),
        Value::Struct { fields, .. } => Value::Struct {
            name: String::new(),
            fields: fields
                .into_iter()
                .map(|(name, value)| (name.to_lowercase(), ordered(value)))
                .collect(),
        },
        Value::Interface { name, value } => Value::Interface {
            name,
            value: Box::new(ordered(*value)),
        },
        other => other,
    }
}
