//! Interfaces that hold values, types that encode themselves, and values that are spread over many
//! messages.

mod long;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use gk_wire::gob::{
    Decoder, Encoder, Error, Interface, Limits, Marshal, Marshaled, Marshaler, Message, Payload,
    Time, Value,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Circle {
    radius: f64,
    name: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Group {
    shapes: Vec<Interface>,
    by_name: BTreeMap<String, Interface>,
    nothing: Interface,
    after: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Times {
    at: Time,
    perhaps: Option<Time>,
    all: Vec<Time>,
    link: Option<Marshaled<Url>>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Url(String);

impl Marshal for Url {
    const MARSHALER: Marshaler = Marshaler::Binary;
    const GO_NAME: &'static str = "URL";

    fn marshal(&self) -> Result<Vec<u8>, Error> {
        Ok(self.0.clone().into_bytes())
    }

    fn unmarshal(bytes: &[u8]) -> Result<Self, Error> {
        Ok(Url(String::from_utf8_lossy(bytes).into_owned()))
    }
}

fn encode<T: Serialize + DeserializeOwned + 'static>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::new().encode(value, &mut out).unwrap();
    out
}

fn decoded(bytes: &[u8]) -> Result<Message, Error> {
    let mut stream = Bytes::copy_from_slice(bytes);
    let message = Decoder::new(Limits::default()).next(&mut stream)?;
    assert!(stream.is_empty(), "{} bytes are left", stream.len());
    message.ok_or(Error::UnexpectedEnd)
}

fn circle(radius: f64) -> Circle {
    Circle {
        radius,
        name: "a circle".to_owned(),
    }
}

fn group() -> Group {
    let inner = Group {
        shapes: vec![Interface::new("main.Circle", circle(1.0)), 7_i32.into()],
        after: 3,
        ..Group::default()
    };
    Group {
        shapes: vec![
            Interface::new("main.Circle", circle(2.0)),
            Interface::nil(),
            Interface::new("main.Group", inner),
            "text".into(),
            Payload(Bytes::from(vec![7; 10_000])).into(),
        ],
        by_name: [
            ("n".to_owned(), 5_u64.into()),
            ("t".to_owned(), true.into()),
        ]
        .into(),
        nothing: Interface::nil(),
        after: 9,
    }
}

fn expect_group(group: &Group) {
    assert_eq!(group.after, 9);
    assert!(group.nothing.is_nil() && group.shapes[1].is_nil());
    assert_eq!(group.shapes[0].name(), Some("main.Circle"));
    assert_eq!(group.shapes[0].decode::<Circle>(), Ok(circle(2.0)));
    let inner: Group = group.shapes[2].decode().unwrap();
    assert_eq!(inner.after, 3);
    assert_eq!(inner.shapes[0].decode::<Circle>(), Ok(circle(1.0)));
    assert_eq!(inner.shapes[1].value(), Ok(Value::Int(7)));
    assert_eq!(group.shapes[3].decode::<String>().as_deref(), Ok("text"));
    assert_eq!(
        group.shapes[4].decode::<Payload>().unwrap().0,
        vec![7; 10_000]
    );
    assert_eq!(group.by_name["n"].decode::<u64>(), Ok(5));
    assert_eq!(group.by_name["n"].name(), Some("uint64"));
    assert_eq!(group.by_name["t"].decode::<bool>(), Ok(true));
}

#[test]
fn interfaces_hold_values_of_any_type() {
    let received: Group = decoded(&encode(&group())).unwrap().decode().unwrap();
    expect_group(&received);
    // What this program made can be looked at, too.
    expect_group(&group());
}

/// A program in the middle has no Rust types for what passes through it.
#[test]
fn received_interfaces_are_sent_on_as_they_are() {
    let first = encode(&group());
    let received: Group = decoded(&first).unwrap().decode().unwrap();
    assert_eq!(encode(&received), first);
    // Behind other types, under other numbers, and a second time on the same stream.
    let (mut encoder, mut decoder) = (Encoder::starting_at(500), Decoder::new(Limits::default()));
    for _ in 0..3 {
        let mut bytes = Vec::new();
        encoder.encode(&Times::default(), &mut bytes).unwrap();
        encoder.encode(&received, &mut bytes).unwrap();
        let mut stream = Bytes::from(bytes);
        let times = decoder.next(&mut stream).unwrap().unwrap();
        assert_eq!(times.decode(), Ok(Times::default()));
        let group = decoder.next(&mut stream).unwrap().unwrap();
        expect_group(&group.decode().unwrap());
    }
}

#[test]
fn an_interface_of_what_has_no_form_leaves_the_stream_as_it_was() {
    #[derive(Debug, Default, Serialize, Deserialize)]
    #[serde(default)]
    struct Odd {
        circle: Circle,
        odd: Vec<Option<i32>>,
    }
    let mut encoder = Encoder::new();
    let odd = Odd {
        circle: circle(1.0),
        odd: vec![None],
    };
    let group_of = |shapes| Group {
        shapes,
        ..Group::default()
    };
    let mut bytes = b"before".to_vec();
    for shapes in [
        vec![
            Interface::new("main.Circle", circle(1.0)),
            Interface::new("main.Odd", odd),
        ],
        vec![Interface::new("main.None", None::<Circle>)],
    ] {
        let result = encoder.encode(&group_of(shapes), &mut bytes);
        assert!(matches!(result, Err(Error::Unsupported(_))), "{result:?}");
        assert_eq!(bytes, b"before");
    }
    // The types that came with it are defined by what is sent next.
    bytes.clear();
    let good = group_of(vec![Interface::new("main.Circle", circle(4.0))]);
    encoder.encode(&good, &mut bytes).unwrap();
    let received: Group = decoded(&bytes).unwrap().decode().unwrap();
    assert_eq!(received.shapes[0].decode::<Circle>(), Ok(circle(4.0)));
    // Nor has it a form elsewhere.
    let error = serde_json::to_string(&good).unwrap_err();
    assert!(error.to_string().contains("in gob alone"), "{error}");
    assert!(Interface::nil().decode::<i32>().is_err());
    assert_eq!(Interface::nil().value(), Ok(Value::Nil));
}

/// An interface can be asked for as one, as what it holds, or as either of them with nil told
/// apart.
#[test]
fn options_of_interfaces() {
    #[derive(Debug, Clone, Default, Serialize, Deserialize)]
    #[serde(default)]
    struct Perhaps {
        held: Option<Interface>,
        nil: Option<Interface>,
    }
    #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default)]
    struct Through {
        held: Option<Option<Circle>>,
        nil: Option<String>,
    }
    let sent = Perhaps {
        held: Some(Interface::new("main.Circle", circle(3.0))),
        nil: None,
    };
    let message = decoded(&encode(&sent)).unwrap();
    let perhaps: Perhaps = message.decode().unwrap();
    assert_eq!(perhaps.held.unwrap().decode(), Ok(circle(3.0)));
    assert!(perhaps.nil.is_none());
    let through = Through {
        held: Some(Some(circle(3.0))),
        nil: None,
    };
    assert_eq!(message.decode(), Ok(through));
}

#[test]
fn names_that_gob_cannot_send() {
    for name in [String::new(), "n".repeat(1025)] {
        let group = Group {
            shapes: vec![Interface::new(name, 1_i64)],
            ..Group::default()
        };
        let refused = Encoder::new().encode(&group, &mut Vec::new());
        assert!(matches!(refused, Err(Error::Unsupported(_))), "{refused:?}");
    }
}

/// A panic while a value is written leaves nothing that the receiver does not know.
#[test]
fn a_panic_in_a_value_leaves_the_stream_as_it_was() {
    #[derive(Debug, Clone, Copy, Default)]
    struct Explosive(bool);

    impl Marshal for Explosive {
        const MARSHALER: Marshaler = Marshaler::Gob;
        const GO_NAME: &'static str = "Explosive";

        fn marshal(&self) -> Result<Vec<u8>, Error> {
            assert!(!self.0, "as a bug in a program");
            Ok(vec![1])
        }

        fn unmarshal(_: &[u8]) -> Result<Self, Error> {
            Ok(Explosive(false))
        }
    }
    let mut encoder = Encoder::new();
    let mut send = |explodes| {
        let held = Interface::new("main.Explosive", Marshaled(Explosive(explodes)));
        let shapes = vec![Interface::new("main.Circle", circle(1.0)), held];
        let group = Group {
            shapes,
            ..Group::default()
        };
        let mut bytes = Vec::new();
        encoder.encode(&group, &mut bytes).unwrap();
        bytes
    };
    let exploded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| send(true)));
    assert!(exploded.is_err());
    let received: Group = decoded(&send(false)).unwrap().decode().unwrap();
    assert_eq!(received.shapes[0].decode(), Ok(circle(1.0)));
}

/// Types of a peer that are the same are one to whoever they are sent on to.
#[test]
fn received_types_are_defined_once() {
    let held: Vec<Interface> = decoded(&long::spread(2000)).unwrap().decode().unwrap();
    let mut encoder = Encoder::new();
    let mut first = Vec::new();
    encoder.encode(&held, &mut first).unwrap();
    // All of them are `[]int`, whatever their sender calls them: it takes one definition.
    assert!(first.len() < held.len() * 20, "{}", first.len());
    let mut second = Vec::new();
    encoder.encode(&held, &mut second).unwrap();
    assert!(second.len() < first.len());
}

/// `[]interface{}` with an empty slice for each kind of element, of `depth` dimensions.
fn deep_slices(depth: i64, elements: &[i64]) -> Vec<u8> {
    let mut stream = framed(slice(64, 8));
    let mut content = [int(64), vec![0], uint(elements.len())].concat();
    for (number, element) in (0_i64..).zip(elements) {
        let first = 65 + number * depth;
        for id in first..first + depth - 1 {
            stream.extend(framed(slice(id, id + 1)));
        }
        stream.extend(framed(slice(first + depth - 1, *element)));
        content.extend([1, b'x']);
        content.extend(int(first));
        // Its length, the mark of a value that stands by itself, no elements.
        content.extend([2, 0, 0]);
    }
    stream.extend(framed(content));
    stream
}

/// A peer's types may be alike as far as one looks, each time anew.
#[test]
fn telling_received_types_apart_is_bounded() {
    let (int, string) = (2, 6);
    let held = |depth| -> Vec<Interface> {
        let message = decoded(&deep_slices(depth, &[int, string])).unwrap();
        message.decode().unwrap()
    };
    let mut encoder = Encoder::new();
    let mut bytes = Vec::new();
    let refused = encoder.encode(&held(60), &mut bytes).unwrap_err();
    let expected = Error::Unsupported("a value of types that take too long to tell apart");
    assert_eq!(refused, expected);
    // The stream is as it was, and goes on.
    assert!(bytes.is_empty());
    encoder.encode(&held(20), &mut bytes).unwrap();
    let again: Vec<Interface> = decoded(&bytes).unwrap().decode().unwrap();
    assert_eq!(again.len(), 2);
}

#[test]
fn a_definition_is_whole_and_allocates_no_more_than_it_has() {
    // A struct with 1024 fields, of which none is there; and one that ends before its end.
    let announced = [int(-65), vec![3, 2], uint(1024), vec![0]].concat();
    let cut = [int(-65), vec![3, 1, 1, 1, b'T']].concat();
    for content in [announced, cut] {
        let refused = Decoder::new(Limits::default()).next(&mut Bytes::from(framed(content)));
        let refused = refused.map(drop).unwrap_err();
        assert_eq!(refused, Error::BadDefinition("it is cut short"));
    }
}

/// A small value of a large message is not kept with all of that.
#[test]
fn a_kept_interface_keeps_little() {
    #[derive(Debug, Default, Serialize, Deserialize)]
    #[serde(default)]
    struct Large {
        junk: Payload,
        held: Interface,
    }
    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Small {
        held: Interface,
    }
    let budget = gk_wire::MemoryBudget::new(64 << 20);
    let large = Large {
        junk: Payload(vec![1; 1 << 20].into()),
        held: 5_i64.into(),
    };
    let bytes = budget.hold(encode(&large)).unwrap();
    let mut decoder = Decoder::new(Limits::default());
    let mut stream = bytes;
    let message = decoder.next(&mut stream).unwrap().unwrap();
    let small: Small = message.decode().unwrap();
    drop((message, stream));
    assert_eq!(budget.used(), 0);
    assert_eq!(small.held.decode(), Ok(5_i64));
}

#[test]
fn types_that_encode_themselves() {
    let at = Time {
        unix_seconds: 1_700_000_000,
        nanoseconds: 5,
        offset: Some(-(3 * 3600 + 30 * 60 + 15)),
    };
    let times = Times {
        at,
        perhaps: Some(Time::from(Duration::from_millis(1500))),
        all: vec![Time::default(), at],
        link: Some(Marshaled(Url("https://goat.example/".to_owned()))),
    };
    let bytes = encode(&times);
    let message = decoded(&bytes).unwrap();
    assert_eq!(message.decode(), Ok(times.clone()));
    assert_eq!(
        Duration::try_from(times.perhaps.unwrap()),
        Ok(Duration::from_millis(1500))
    );
    assert!(Duration::try_from(Time::default()).is_err());
    // As bytes, without a type for it.
    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Raw {
        at: Payload,
        link: Vec<u8>,
    }
    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Link {
        link: Payload,
    }
    let raw: Link = message.decode().unwrap();
    assert_eq!(raw.link.0, "https://goat.example/");
    let raw: Result<Raw, _> = message.decode();
    assert!(matches!(raw, Err(Error::Mismatch { .. })), "{raw:?}");
    let held = Interface::new("time.Time", at);
    assert_eq!(held.decode(), Ok(at));
    for (malformed, says) in [
        (vec![1, 0], "as Go encodes"),
        (vec![3; 15], "as Go encodes"),
    ] {
        let error = Time::unmarshal(&malformed).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    let unsendable = Time {
        offset: Some(-60),
        ..at
    };
    assert!(unsendable.marshal().is_err());
}

fn uint(value: usize) -> Vec<u8> {
    match u8::try_from(value) {
        Ok(short) if short < 128 => vec![short],
        _ => {
            let bytes = value.to_be_bytes();
            let bytes: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
            let mut out = vec![u8::try_from(bytes.len()).unwrap().wrapping_neg()];
            out.extend(bytes);
            out
        }
    }
}

fn int(value: i64) -> Vec<u8> {
    uint(usize::try_from((value << 1) ^ (value >> 63)).unwrap())
}

fn framed(content: Vec<u8>) -> Vec<u8> {
    [uint(content.len()), content].concat()
}

/// The definition of a slice type without a name: `wireType{SliceT: {CommonType{Id}, Elem}}`.
fn slice(id: i64, elem: i64) -> Vec<u8> {
    let mut out = int(-id);
    out.extend([2, 1, 2]);
    out.extend(int(id));
    out.extend([0, 1]);
    out.extend(int(elem));
    out.extend([0, 0]);
    out
}
