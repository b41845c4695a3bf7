//! The cost of gob: a call, a payload of 1 MiB, and a struct with slices and maps of structs, on a
//! stream whose types are defined already and on a new one.

use std::collections::BTreeMap;
use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gk_wire::gob::{Decoder, Encoder, Limits, Payload};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The argument of a call.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Call {
    function: String,
    args: Payload,
    call_token: String,
}

/// A plugin's registration: many small structs.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Registration {
    name: String,
    version: String,
    permissions: Vec<String>,
    routes: Vec<Route>,
    texts: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Route {
    method: String,
    path: String,
    handler: String,
    middleware: Vec<String>,
    timeout_ms: i64,
    public: bool,
}

fn call(bytes: usize) -> Call {
    Call {
        function: "greet".to_owned(),
        args: Payload(Bytes::from(vec![b'x'; bytes])),
        call_token: "0123456789abcdef".to_owned(),
    }
}

fn registration() -> Registration {
    let texts = |language: &str| {
        let key = |number: i32| (format!("key.{number}"), format!("text {number} {language}"));
        (0..50).map(key).collect()
    };
    Registration {
        name: "shop".to_owned(),
        version: "1.2.3".to_owned(),
        permissions: ["db", "cache", "http", "files"].map(str::to_owned).into(),
        routes: (0..40)
            .map(|number| Route {
                method: "GET".to_owned(),
                path: format!("/api/shop/items/{number}/:id"),
                handler: format!("item_{number}"),
                middleware: vec!["auth".to_owned(), "rate".to_owned()],
                timeout_ms: 1000 + i64::from(number),
                public: number % 2 == 0,
            })
            .collect(),
        texts: ["de", "en"]
            .map(|language| (language.to_owned(), texts(language)))
            .into(),
    }
}

fn both_ways<T: Serialize + DeserializeOwned + 'static>(
    criterion: &mut Criterion,
    name: &str,
    value: &T,
) {
    let mut encoder = Encoder::new();
    let mut out = Vec::new();
    encoder.encode(value, &mut out).expect("it has a form");
    let first = Bytes::from(out.clone());
    out.clear();
    encoder.encode(value, &mut out).expect("it has a form");
    let next = Bytes::from(out.clone());

    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(next.len() as u64));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            out.clear();
            encoder.encode(black_box(value), &mut out)
        });
    });
    group.bench_function("encode on a new stream", |bencher| {
        bencher.iter(|| {
            out.clear();
            Encoder::new().encode(black_box(value), &mut out)
        });
    });
    let mut decoder = Decoder::new(Limits::default());
    decoder.next(&mut first.clone()).expect("our own encoding");
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            let message = decoder.next(&mut black_box(next.clone()));
            let message = message.expect("our own encoding").expect("a whole message");
            message.decode::<T>()
        });
    });
    group.bench_function("decode on a new stream", |bencher| {
        bencher.iter(|| {
            let mut decoder = Decoder::new(Limits::default());
            let message = decoder.next(&mut black_box(first.clone()));
            let message = message.expect("our own encoding").expect("a whole message");
            message.decode::<T>()
        });
    });
    group.finish();
}

fn gob(criterion: &mut Criterion) {
    both_ways(criterion, "gob/call of 64 bytes", &call(64));
    both_ways(criterion, "gob/call of 1 MiB", &call(1 << 20));
    both_ways(criterion, "gob/registration", &registration());
}

criterion_group!(benches, gob);
criterion_main!(benches);
