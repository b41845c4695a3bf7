//! The fuzz target without a fuzzer.
