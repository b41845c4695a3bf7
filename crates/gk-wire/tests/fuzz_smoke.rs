//! The fuzz targets without a fuzzer.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "../fuzz/src/targets.rs"]
#[allow(unreachable_pub, reason = "the fuzzer builds it as a library")]
mod targets;

/// The edges of lengths, flags and kinds.
const BYTES: &[&[u8]] = &[
    &[0],
    &[1],
    &[2],
    &[4],
    &[0x7f],
    &[0x80],
    &[0xf8],
    &[0xfc],
    &[0xff],
    b"|",
    b"\n",
];

fn run(name: &str, target: fn(&[u8])) {
    let smoke = gk_testkit::Smoke {
        name,
        manifest_dir: env!("CARGO_MANIFEST_DIR"),
        mutations: 150,
        words: BYTES,
        more: Vec::new(),
    };
    smoke.run(target);
}

#[test]
fn gob() {
    run("gob", targets::gob);
}

#[test]
fn yamux() {
    run("yamux", targets::yamux);
}

#[test]
fn rpc() {
    run("rpc", targets::rpc);
}

#[test]
fn handshake() {
    run("handshake", targets::handshake);
}

#[test]
fn connection() {
    run("connection", targets::connection);
}
