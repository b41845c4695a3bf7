//! The fuzz target without a fuzzer.

#[path = "../../fuzz/src/targets.rs"]
#[allow(unreachable_pub, reason = "the fuzzer builds it as a library")]
mod targets;

#[test]
fn archive() {
    let smoke = gk_testkit::Smoke {
        name: "archive",
        manifest_dir: env!("CARGO_MANIFEST_DIR"),
        mutations: 100,
        words: &[
            b"PK\x01\x02",
            b"PK\x03\x04",
            b"PK\x05\x06",
            b"PK\x07\x08",
            b"PK\x06\x07",
            b"\0\0",
            b"\xff\xff",
            b"\xff\xff\xff\xff",
            b"../",
            b"/",
            b"plugin.yaml",
            b"\x08\0",
        ],
        more: Vec::new(),
    };
    smoke.run(targets::archive);
}
