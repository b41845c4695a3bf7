//! See `targets::rpc`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::rpc(data));
