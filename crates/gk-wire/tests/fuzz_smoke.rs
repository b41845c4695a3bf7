//! The fuzz targets without a fuzzer: every seed, and mutations of it that are the same each time.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[path = "../fuzz/src/targets.rs"]
#[allow(unreachable_pub, reason = "the fuzzer builds it as a library")]
mod targets;

/// Mutations of each seed.
const MUTATIONS: u32 = 150;

/// xorshift64*: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound.max(1)
    }

    fn byte(&mut self) -> u8 {
        // Edges are worth more than the rest.
        match self.below(3) {
            0 => [0, 1, 2, 0x7f, 0x80, 0xf8, 0xfc, 0xff][self.below(8)],
            _ => u8::try_from(self.below(256)).unwrap(),
        }
    }

    fn mutate(&mut self, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            match self.below(7) {
                0 => bytes.insert(at, self.byte()),
                1 => bytes.truncate(at),
                2 => drop(bytes.drain(at..(at + self.below(9)).min(bytes.len()))),
                3 => {
                    let again = bytes[at..(at + self.below(40)).min(bytes.len())].to_vec();
                    bytes.splice(at..at, again);
                }
                4 => bytes.extend_from_slice(&other[self.below(other.len() + 1)..]),
                _ => {
                    let byte = self.byte();
                    if let Some(place) = bytes.get_mut(at) {
                        *place = byte;
                    }
                }
            }
        }
        bytes
    }
}

fn run(name: &str, target: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(name);
    let mut paths: Vec<_> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let seeds: Vec<Vec<u8>> = paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    assert!(seeds.len() >= 15, "{} seeds of {name}", seeds.len());
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let check = |input: &[u8]| {
        if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
            let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
            panic!("{name} fails with {hex}");
        }
    };
    for seed in &seeds {
        check(seed);
        for _ in 0..MUTATIONS {
            let other = &seeds[random.below(seeds.len())];
            let input = random.mutate(seed, other);
            check(&input);
        }
    }
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
