//! Go's own encoder and decoder as the judge: `tests/data/gob.jsonl`.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use gk_wire::gob::{Decoder, Encoder, Error, Limits, Message, Payload, Value};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

fn vectors(kind: &str) -> Vec<Json> {
    let lines = include_str!("data/gob.jsonl").lines();
    let vectors = lines.map(|line| serde_json::from_str::<Json>(line).unwrap());
    vectors.filter(|vector| vector["kind"] == kind).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Whether a decoded value is the one in the vector, where a field that is not there is zero.
fn same(ours: Option<&Value>, go: &Json) -> bool {
    let zero = |go: &Json| match go {
        Json::Null => true,
        Json::Bool(value) => !value,
        Json::Number(value) => value.as_f64() == Some(0.0),
        Json::String(value) => value.is_empty(),
        Json::Array(list) => list.is_empty(),
        Json::Object(_) => false,
    };
    match (ours, go) {
        (None, Json::Object(fields)) => match fields.iter().next() {
            Some((key, value)) if key == "$bytes" => value.is_null() || value == "",
            Some((key, value)) if key == "$f64bits" => value == "0000000000000000",
            Some((key, value)) if key == "$sha256" => value.is_null(),
            // A struct whose fields are all zero, or an empty map.
            _ => fields.values().all(|field| same(None, field)),
        },
        (None, go) => zero(go),
        (Some(Value::Nil), go) => go.is_null(),
        (Some(Value::Bool(ours)), go) => go.as_bool() == Some(*ours),
        (Some(Value::Int(ours)), go) => go.as_i64() == Some(*ours),
        (Some(Value::Uint(ours)), go) => go.as_u64() == Some(*ours),
        (Some(Value::Float(ours)), Json::Object(special)) => special["$f64bits"]
            .as_str()
            .is_some_and(|bits| u64::from_str_radix(bits, 16) == Ok(ours.to_bits())),
        (Some(Value::Float(ours)), go) => go.as_f64() == Some(*ours),
        (Some(Value::String(ours)), Json::Object(special)) => special["$strbytes"]
            .as_str()
            .is_some_and(|text| STANDARD.decode(text).unwrap() == *ours),
        (Some(Value::String(ours)), go) => go.as_str().is_some_and(|go| go.as_bytes() == ours),
        (Some(Value::Bytes(ours)), Json::Object(special)) => match special.get("$bytes") {
            Some(bytes) => {
                bytes
                    .as_str()
                    .map(|text| STANDARD.decode(text).unwrap())
                    .unwrap_or_default()
                    == *ours
            }
            None => {
                let digest: String = Sha256::digest(ours)
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
                special["$sha256"] == digest && special["len"] == ours.len()
            }
        },
        (Some(Value::List(ours)), Json::Array(go)) => {
            ours.len() == go.len() && ours.iter().zip(go).all(|(ours, go)| same(Some(ours), go))
        }
        (Some(Value::List(ours)), Json::Null) => ours.is_empty(),
        (Some(Value::Map(ours)), Json::Object(go)) => {
            ours.len() == go.len()
                && ours.iter().all(|(key, ours)| match key {
                    Value::String(key) => go
                        .get(&String::from_utf8_lossy(key).into_owned())
                        .is_some_and(|go| same(Some(ours), go)),
                    _ => false,
                })
        }
        (Some(Value::Map(ours)), Json::Null) => ours.is_empty(),
        (Some(Value::Struct { fields, .. }), Json::Object(go)) => {
            let by_name: BTreeMap<_, _> = fields
                .iter()
                .map(|(name, value)| (name.as_str(), value))
                .collect();
            go.iter()
                .all(|(name, go)| same(by_name.get(name.as_str()).copied(), go))
        }
        (Some(Value::Interface { value, .. }), go) => same(Some(value), go),
        _ => false,
    }
}

fn list(value: &Json) -> Vec<Json> {
    match value {
        Json::Array(list) => list.clone(),
        one => vec![one.clone()],
    }
}

#[test]
fn what_go_encodes_we_decode() {
    let mut seen = 0;
    for vector in vectors("encode") {
        let name = vector["name"].as_str().unwrap();
        // Streams above 16 KiB are in the file by their digest alone: see `large_messages`.
        let Some(hex) = vector["hex"].as_str() else {
            continue;
        };
        let mut stream = Bytes::from(unhex(hex));
        let several = vector["go_type"].is_array();
        let expected = if several {
            list(&vector["value"])
        } else {
            vec![vector["value"].clone()]
        };
        let mut decoder = Decoder::new(Limits::default());
        for expected in &expected {
            let message = decoder
                .next(&mut stream)
                .unwrap_or_else(|error| panic!("{name}: {error}"))
                .unwrap_or_else(|| panic!("{name}: no value"));
            let value = message
                .value()
                .unwrap_or_else(|error| panic!("{name}: {error}: {message:?}"));
            assert!(
                same(Some(&value), expected),
                "{name}: {value:?} is not {expected}"
            );
        }
        assert!(stream.is_empty(), "{name}");
        seen += 1;
    }
    assert!(seen >= 70, "{seen} vectors");
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct CallRequest {
    function: String,
    args: Payload,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct CallResponse {
    result: Payload,
    error: String,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct InitRequest {
    config: BTreeMap<String, String>,
    host_api_id: u32,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Request {
    service_method: String,
    seq: u64,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename = "")]
struct Empty {}

fn vector(name: &str) -> Json {
    let all = vectors("encode").into_iter().chain(vectors("decode"));
    all.into_iter()
        .find(|vector| vector["name"] == name)
        .unwrap_or_else(|| panic!("no vector {name}"))
}

/// Our bytes are Go's bytes.
fn encodes<T: Serialize + serde::de::DeserializeOwned + 'static>(name: &str, values: &[T]) {
    let vector = vector(name);
    let (mut encoder, mut ours) = (Encoder::new(), Vec::new());
    values
        .iter()
        .for_each(|value| encoder.encode(value, &mut ours).unwrap());
    if let Some(hex) = vector["hex"].as_str() {
        assert_eq!(
            ours.iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>(),
            hex,
            "{name}"
        );
    } else {
        let digest: String = Sha256::digest(&ours)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            (vector["hex_sha256"].as_str(), vector["hex_len"].as_u64()),
            (Some(&*digest), Some(ours.len() as u64)),
            "{name}"
        );
    }
}

fn args(bytes: &[u8]) -> Payload {
    Payload(Bytes::copy_from_slice(bytes))
}

#[test]
fn we_encode_what_go_encodes() {
    let call = |function: &str, bytes: &[u8]| CallRequest {
        function: function.into(),
        args: args(bytes),
    };
    encodes("callreq_empty", &[CallRequest::default()]);
    encodes(
        "callreq_args_nil",
        &[call(
            vector("callreq_args_nil")["value"]["Function"]
                .as_str()
                .unwrap(),
            b"",
        )],
    );
    encodes(
        "callreq_args_null",
        &[call(
            vector("callreq_args_null")["value"]["Function"]
                .as_str()
                .unwrap(),
            b"null",
        )],
    );
    encodes("callresp_empty", &[CallResponse::default()]);
    let error = vector("callresp_error")["value"]["Error"]
        .as_str()
        .unwrap()
        .to_owned();
    encodes(
        "callresp_error",
        &[CallResponse {
            error,
            ..CallResponse::default()
        }],
    );
    let pattern = |len: usize| {
        (0..len)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect::<Vec<_>>()
    };
    for name in [
        "callreq_args_127",
        "callreq_args_128",
        "callreq_args_64k",
        "callreq_args_1mib",
    ] {
        let value = vector(name)["value"].clone();
        let len = match value["Args"]["len"].as_u64() {
            Some(len) => usize::try_from(len).unwrap(),
            None => STANDARD
                .decode(value["Args"]["$bytes"].as_str().unwrap())
                .unwrap()
                .len(),
        };
        encodes(
            name,
            &[call(value["Function"].as_str().unwrap(), &pattern(len))],
        );
    }
    encodes(
        "initreq_empty_config",
        &[InitRequest {
            host_api_id: u32::try_from(
                vector("initreq_empty_config")["value"]["HostAPIID"]
                    .as_u64()
                    .unwrap(),
            )
            .unwrap(),
            ..InitRequest::default()
        }],
    );
    let request = |seq| Request {
        service_method: "a".into(),
        seq,
    };
    encodes(
        "hdr_request_seq_edges",
        &[
            127,
            128,
            255,
            256,
            65535,
            65536,
            0xffff_ffff,
            1 << 32,
            u64::MAX,
        ]
        .map(request),
    );
    encodes("hdr_request_zero", &[Request::default()]);
    encodes("top_iface_nil", &[()]);
    encodes("top_empty_struct", &[Empty {}, Empty {}]);
    encodes(
        "top_bool",
        &vector("top_bool")["value"]
            .as_array()
            .unwrap()
            .iter()
            .map(|value| value.as_bool().unwrap())
            .collect::<Vec<_>>(),
    );
    encodes(
        "top_uint32",
        &vector("top_uint32")["value"]
            .as_array()
            .unwrap()
            .iter()
            .map(|value| u32::try_from(value.as_u64().unwrap()).unwrap())
            .collect::<Vec<_>>(),
    );
    encodes(
        "top_int",
        &vector("top_int")["value"]
            .as_array()
            .unwrap()
            .iter()
            .map(|value| value.as_i64().unwrap())
            .collect::<Vec<_>>(),
    );
}

/// The row of `decode` vectors: what Go's decoder makes of hostile and odd streams, we make too, or
/// say below why not.
#[test]
fn we_judge_streams_as_go_does() {
    // Go's own bugs, and limits where ours are tighter on purpose.
    let ours_is_better = [
        // Skipping a nil interface swallows what follows it in Go.
        "tol_unknown_iface_nil_in_slice",
        "bug_discard_nil_iface",
        "bug_discard_nil_iface_eof",
        // Names match without case here.
        "tol_case_mismatch",
        // Fresh values are decoded into here, so nothing stale can remain.
        "tol_stale_fields",
        // An unregistered concrete type is no obstacle for a decoder that needs no registry.
        "tol_iface_unregistered",
        "tol_iface_from_concrete",
        "tol_struct_into_iface",
        "tol_iface_into_struct",
        "tol_discard_iface_string",
        // Interfaces are looked through when they hold what is wanted.
        "tol_map_type_mismatch",
        // A type that no value uses need not be defined.
        "tol_split_inner_type_missing",
        "bad_field_type_undefined",
    ];
    let mut judged = 0;
    for vector in vectors("decode") {
        let name = vector["name"].as_str().unwrap();
        if ours_is_better.contains(&name) {
            continue;
        }
        let mut stream = Bytes::from(unhex(vector["hex"].as_str().unwrap()));
        let mut decoder = Decoder::new(Limits::default());
        let types = list(&vector["go_type"]);
        let results = list(&vector["result"]);
        for (go_type, result) in types.iter().zip(&results) {
            let go_ok = result["ok"] == true;
            let ours = decode_as(&mut decoder, &mut stream, go_type.as_str().unwrap());
            assert_eq!(ours.is_ok(), go_ok, "{name}: Go says {result}, we {ours:?}");
            judged += 1;
            if ours.is_err() {
                break;
            }
        }
    }
    assert!(judged >= 60, "{judged} judgements");
}

fn decode_as(decoder: &mut Decoder, stream: &mut Bytes, go_type: &str) -> Result<(), Error> {
    let message: Message = decoder.next(stream)?.ok_or(Error::UnexpectedEnd)?;
    match go_type {
        "grpc.CallRequest" => message.decode::<CallRequest>().map(drop),
        "grpc.CallResponse" => message.decode::<CallResponse>().map(drop),
        "grpc.InitRequest" => message.decode::<InitRequest>().map(drop),
        "main.Request" => message.decode::<Request>().map(drop),
        "plugin.GKRegistration" => message.value().map(drop),
        "struct {}" => message.decode::<Empty>().map(drop),
        "string" => message.decode::<String>().map(drop),
        "bool" => message.decode::<bool>().map(drop),
        "uint32" => message.decode::<u32>().map(drop),
        "[]string" => message.decode::<Vec<String>>().map(drop),
        "map[string]string" => message.decode::<BTreeMap<String, String>>().map(drop),
        "interface {}" => message.decode::<()>(),
        "(discard)" => message.decode::<()>(),
        other => panic!("no Rust type for {other}"),
    }
}
