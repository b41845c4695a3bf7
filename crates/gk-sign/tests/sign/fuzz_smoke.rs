//! The fuzz target without a fuzzer.

#[path = "../../fuzz/src/targets.rs"]
#[allow(unreachable_pub, reason = "the fuzzer builds it as a library")]
mod targets;

#[test]
fn signature() {
    let smoke = gk_testkit::Smoke {
        name: "signature",
        manifest_dir: env!("CARGO_MANIFEST_DIR"),
        mutations: 300,
        words: &[b"\n", b"\r", b" ", b":", b"/", b".", b"..", b"\0", b"\xff"],
        more: Vec::new(),
    };
    smoke.run(targets::signature);
}
