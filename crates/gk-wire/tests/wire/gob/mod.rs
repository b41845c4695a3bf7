//! Gob through serde: round trips of any shape, and what is refused.

mod round_trips;

use std::collections::BTreeMap;

use bytes::Bytes;
use gk_wire::gob::{
    Decoder, Encoder, Error, Limits, MAX_DEFINITION_BYTES, MAX_FIELDS, Message, Payload, Value,
};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

fn encode<T: Serialize + DeserializeOwned + 'static>(value: &T) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    Encoder::new().encode(value, &mut out).map(|()| out)
}

fn message(bytes: &[u8]) -> Result<Message, Error> {
    let mut stream = Bytes::copy_from_slice(bytes);
    let mut decoder = Decoder::new(Limits::default());
    decoder.next(&mut stream)?.ok_or(Error::UnexpectedEnd)
}

fn round_trip<T: Serialize + DeserializeOwned + 'static>(value: &T) -> T {
    message(&encode(value).unwrap()).unwrap().decode().unwrap()
}

#[test]
fn bytes_are_bytes_whatever_holds_them() {
    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, rename = "Box")]
    struct Payloads {
        data: Payload,
    }
    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, rename = "Box")]
    struct Vecs {
        data: Vec<u8>,
    }
    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, rename = "Box")]
    struct Shared {
        data: Bytes,
    }
    for length in [0, 1, 127, 128, 2_047, 2_048, 8_191, 8_192, 100_000] {
        let data: Vec<u8> = (0..length)
            .map(|at| u8::try_from(at % 253).unwrap())
            .collect();
        let payload = encode(&Payloads {
            data: Payload(data.clone().into()),
        });
        assert_eq!(payload, encode(&Vecs { data: data.clone() }));
        assert_eq!(
            payload,
            encode(&Shared {
                data: data.clone().into()
            })
        );
        let message = message(&payload.unwrap()).unwrap();
        assert_eq!(message.decode::<Vecs>().unwrap().data, data);
        assert_eq!(message.decode::<Shared>().unwrap().data, data);
        let shared = message.decode::<Payloads>().unwrap().data.0;
        assert_eq!(shared, data);
        // Large payloads are slices of the message; a small one would keep its buffer alive.
        let again = message.decode::<Payloads>().unwrap().data.0;
        assert_eq!(
            shared.as_ptr() == again.as_ptr(),
            length >= 2_048 || length == 0
        );
    }
    // A payload elsewhere than in gob is plain bytes.
    let json = serde_json::to_string(&Payload(Bytes::from_static(b"ab"))).unwrap();
    assert_eq!(json, "[97,98]");
    assert_eq!(
        serde_json::from_str::<Payload>(&json).unwrap().0,
        b"ab".as_slice()
    );
}

#[test]
fn what_has_no_form_in_gob_says_so_and_leaves_the_stream_as_it_was() {
    #[derive(Serialize, Deserialize)]
    enum Choice {
        One,
    }
    #[derive(Debug, Default, Serialize, Deserialize)]
    struct Itself(Vec<Itself>);
    #[derive(Debug, Default, Serialize, Deserialize)]
    #[serde(default)]
    struct Holes {
        list: Vec<Option<u32>>,
    }
    let unsupported =
        |error: Result<(), Error>| assert!(matches!(error, Err(Error::Unsupported(_))));
    let (mut encoder, mut out) = (Encoder::new(), Vec::new());
    encoder.encode(&"before".to_owned(), &mut out).unwrap();
    let before = out.clone();
    unsupported(encoder.encode(&Choice::One, &mut out));
    unsupported(encoder.encode(&Itself::default(), &mut out));
    unsupported(encoder.encode(&None::<String>, &mut out));
    unsupported(encoder.encode(
        &Holes {
            list: vec![Some(1), None],
        },
        &mut out,
    ));
    unsupported(encoder.encode(&serde_json::json!({"a": 1}), &mut out));
    unsupported(encoder.encode::<[u8; 0]>(&[], &mut out));
    assert_eq!(out, before);
    // What failed by its value works with another; its type is defined then.
    let good = Holes {
        list: vec![Some(1), Some(0)],
    };
    encoder.encode(&good, &mut out).unwrap();
    let (mut decoder, mut stream) = (Decoder::new(Limits::default()), Bytes::from(out));
    decoder.next(&mut stream).unwrap().unwrap();
    let holes: Holes = decoder
        .next(&mut stream)
        .unwrap()
        .unwrap()
        .decode()
        .unwrap();
    assert_eq!(holes.list, [Some(1), Some(0)]);
}

#[test]
fn kinds_must_match_and_widths_must_hold() {
    let number = message(&encode(&300_i64).unwrap()).unwrap();
    assert_eq!(number.decode::<i16>().unwrap(), 300);
    assert!(number.decode::<i8>().is_err());
    assert!(number.decode::<u16>().is_err());
    assert!(number.decode::<String>().is_err());
    assert!(number.decode::<f64>().is_err());
    assert!(number.decode::<round_trips::Outer>().is_err());
    assert!(number.decode::<Vec<i64>>().is_err());
    let huge = message(&encode(&1e300_f64).unwrap()).unwrap();
    assert!(huge.decode::<f32>().is_err());
    let text = message(&encode(&"text".to_owned()).unwrap()).unwrap();
    assert!(text.decode::<Payload>().is_err());
    assert!(text.decode::<Vec<u8>>().is_err());
    let raw = message(&encode(&Payload(Bytes::from_static(b"x"))).unwrap()).unwrap();
    assert!(raw.decode::<String>().is_err());
    assert!(raw.is_bytes() && !text.is_bytes());
    let three = message(&encode(&[1_i32, 2, 3]).unwrap()).unwrap();
    assert_eq!(three.decode::<Vec<i64>>().unwrap(), [1, 2, 3]);
    assert!(three.decode::<[i32; 4]>().is_err());
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Renamed {
    menu_items: Vec<String>,
    extra: u8,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Snake {
    menu_items: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Unrelated {
    something_else: u8,
}

#[test]
fn fields_meet_by_name() {
    let sent = Renamed {
        menu_items: vec!["a".into()],
        extra: 7,
    };
    let message = message(&encode(&sent).unwrap()).unwrap();
    assert!(message.has_field("MenuItems") && !message.has_field("menu_items"));
    let got: Snake = message.decode().unwrap();
    assert_eq!(got.menu_items, sent.menu_items);
    assert!(matches!(
        message.decode::<Unrelated>(),
        Err(Error::NoSharedField { .. })
    ));
    // Without default, gob's left-out zeros are missing fields; the error says what to do.
    #[derive(Debug, Deserialize)]
    struct Strict {
        #[serde(rename = "MenuItems")]
        _menu_items: Vec<String>,
    }
    let empty = Renamed {
        extra: 1,
        ..Renamed::default()
    };
    let empty = crate::gob::message(&encode(&empty).unwrap()).unwrap();
    let error = empty.decode::<Strict>().unwrap_err();
    assert!(error.to_string().contains("#[serde(default)]"), "{error}");
}

fn put_uint(out: &mut Vec<u8>, value: usize) {
    match u8::try_from(value) {
        Ok(short) if short < 128 => out.push(short),
        _ => {
            out.push(0xfc);
            out.extend(u32::try_from(value).unwrap().to_be_bytes());
        }
    }
}

fn framed(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_uint(&mut out, content.len());
    out.extend(content);
    out
}

/// A definition of type 64: a struct with `count` fields whose names are `name_length` long.
fn wide_struct(count: usize, name_length: usize) -> Vec<u8> {
    // −64; StructT, Field.
    let mut content = vec![0x7f, 3, 2];
    put_uint(&mut content, count);
    for _ in 0..count {
        content.push(1);
        put_uint(&mut content, name_length);
        content.extend(vec![b'N'; name_length]);
        // Id: int.
        content.extend([1, 4, 0]);
    }
    content.extend([0, 0]);
    framed(&content)
}

#[test]
fn definitions_are_kept_small() {
    let decode = |bytes: Vec<u8>| {
        let mut decoder = Decoder::new(Limits::default());
        decoder.next(&mut Bytes::from(bytes)).map(|_| ())
    };
    assert_eq!(decode(wide_struct(MAX_FIELDS, 10)), Ok(()));
    assert!(matches!(
        decode(wide_struct(MAX_FIELDS + 1, 0)),
        Err(Error::BadDefinition(_))
    ));
    assert!(matches!(
        decode(wide_struct(2, MAX_DEFINITION_BYTES)),
        Err(Error::BadDefinition(_))
    ));
}

#[test]
fn limits_hold() {
    let few = Limits {
        max_type_bytes: 200,
        max_messages_per_value: 4,
        max_message_bytes: 100,
        max_elements: 10,
        max_depth: 4,
        max_types: 2,
    };
    let decode = |bytes: &[u8]| {
        let mut decoder = Decoder::new(few);
        let mut stream = Bytes::copy_from_slice(bytes);
        decoder
            .next(&mut stream)
            .and_then(|message| message.unwrap().value())
    };
    assert!(decode(&encode(&vec![1_i64; 10]).unwrap()).is_ok());
    assert_eq!(
        decode(&encode(&vec![1_i64; 11]).unwrap()),
        Err(Error::TooManyElements(10))
    );
    assert!(matches!(
        decode(&encode(&"x".repeat(100)).unwrap()),
        Err(Error::MessageTooLong { .. })
    ));
    assert_eq!(
        decode(&encode(&vec![vec![vec![vec![vec![1_i64]]]]]).unwrap()),
        Err(Error::TooManyTypes(2))
    );
    let few = Limits {
        max_types: 10,
        ..few
    };
    let short = Limits {
        max_type_bytes: 10,
        ..few
    };
    assert_eq!(
        Decoder::new(short)
            .next(&mut Bytes::from(encode(&vec![vec![1_i64]]).unwrap()))
            .map(drop),
        Err(Error::TypesTooLong(10))
    );
    let mut decoder = Decoder::new(few);
    let mut stream = Bytes::from(encode(&vec![vec![vec![vec![vec![1_i64]]]]]).unwrap());
    let deep = decoder.next(&mut stream).unwrap().unwrap();
    assert_eq!(deep.value(), Err(Error::TooDeep(4)));
    // A type that holds itself, and a value that never ends: refused by depth, not by the stack.
    let slice_of_itself = [&[0x7f, 2, 2][..], &[0xff, 0x80, 0, 0]].concat();
    let mut bytes = framed(&slice_of_itself);
    let mut content = vec![0xff, 0x80, 0];
    content.extend(vec![1; 200_000]);
    bytes.extend(framed(&content));
    assert_eq!(message(&bytes).unwrap().value(), Err(Error::TooDeep(64)));
    let nothing = message(&bytes).unwrap().decode::<()>();
    assert_eq!(nothing, Err(Error::TooDeep(64)));
}

#[test]
fn an_interface_holding_a_value_is_looked_through() {
    // interface{}(float64(1.5)): type 8, zero, name, id float, length, zero, value.
    let content = [
        &[0x10, 0, 7][..],
        b"float64",
        &[0x08, 0x04, 0, 0xfe, 0xf8, 0x3f],
    ]
    .concat();
    let message = message(&framed(&content)).unwrap();
    assert_eq!(message.decode::<f64>().unwrap(), 1.5);
    assert_eq!(message.decode::<f32>().unwrap(), 1.5);
    assert_eq!(message.decode::<Option<f64>>().unwrap(), Some(1.5));
    assert!(matches!(
        message.value().unwrap(),
        Value::Interface { value, .. } if *value == Value::Float(1.5)
    ));
    let nil = crate::gob::message(&[0x03, 0x10, 0, 0]).unwrap();
    assert_eq!(nil.decode::<Option<f64>>().unwrap(), None);
    assert_eq!(nil.value().unwrap(), Value::Nil);
    assert!(nil.decode::<f64>().is_err());
}

/// Structs of one message are matched once for each pair of types, whatever stands around them.
#[test]
fn lists_of_structs_are_matched_for_each_receiver() {
    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default)]
    struct Row {
        a: u8,
        b: String,
    }
    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct OnlyB {
        b: String,
    }
    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default)]
    struct Table {
        first: Vec<Row>,
        second: Vec<Row>,
    }
    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Mixed {
        first: Vec<OnlyB>,
        second: Vec<Row>,
    }
    let rows = || {
        (0..5)
            .map(|a| Row {
                a,
                b: format!("row {a}"),
            })
            .collect::<Vec<_>>()
    };
    let table = Table {
        first: rows(),
        second: rows(),
    };
    let message = message(&encode(&table).unwrap()).unwrap();
    assert_eq!(message.decode::<Table>().unwrap(), table);
    let mixed: Mixed = message.decode().unwrap();
    assert_eq!(mixed.second, rows());
    let texts: Vec<String> = mixed.first.into_iter().map(|row| row.b).collect();
    assert_eq!(texts[4], "row 4");
}
