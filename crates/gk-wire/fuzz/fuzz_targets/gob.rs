//! See `targets::gob`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::gob(data));
