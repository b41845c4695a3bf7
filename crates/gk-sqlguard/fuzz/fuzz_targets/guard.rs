//! See `targets::guard`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::guard(data));
