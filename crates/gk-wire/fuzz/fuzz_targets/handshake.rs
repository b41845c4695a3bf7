//! See `targets::handshake`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::handshake(data));
