//! Helpers of tests that several crates share.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// A fuzz target that is run without a fuzzer: on every seed, and on mutations of it that are the
/// same each time.
#[derive(Debug)]
pub struct Smoke<'a> {
    /// Name of the target, and of its directory in the crate's `fuzz/seeds`.
    pub name: &'a str,
    /// Directory of the crate: `env!("CARGO_MANIFEST_DIR")`.
    pub manifest_dir: &'a str,
    /// Number of mutations of each seed.
    pub mutations: u32,
    /// Byte strings that mutations insert.
    pub words: &'a [&'a [u8]],
    /// Seeds beside those in the directory.
    pub more: Vec<Vec<u8>>,
}

impl Smoke<'_> {
    /// Runs the target.
    ///
    /// # Panics
    /// With the input that makes the target panic, or when there are fewer than ten seeds.
    pub fn run(self, target: impl Fn(&[u8])) {
        let directory = Path::new(self.manifest_dir)
            .join("fuzz/seeds")
            .join(self.name);
        let mut paths: Vec<_> = std::fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        assert!(paths.len() >= 10, "{} seeds of {}", paths.len(), self.name);
        let mut seeds: Vec<Vec<u8>> = paths
            .iter()
            .map(|path| std::fs::read(path).unwrap())
            .collect();
        seeds.extend(self.more);
        let check = |input: &[u8]| {
            if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
                panic!("{} fails with b\"{}\"", self.name, input.escape_ascii());
            }
        };
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for seed in &seeds {
            check(seed);
            for _ in 0..self.mutations {
                let other = &seeds[random.below(seeds.len())];
                check(&random.mutate(seed, other, self.words));
            }
        }
    }
}

/// xorshift64*: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        usize::try_from(number >> 33).unwrap() % bound.max(1)
    }

    fn mutate(&mut self, seed: &[u8], other: &[u8], words: &[&[u8]]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            match self.below(8) {
                0 | 1 => {
                    let word = words[self.below(words.len())];
                    bytes.splice(at..at, word.iter().copied());
                }
                2 => bytes.truncate(at),
                3 => drop(bytes.drain(at..(at + self.below(9)).min(bytes.len()))),
                4 => {
                    let again = bytes[at..(at + self.below(90)).min(bytes.len())].to_vec();
                    bytes.splice(at..at, again);
                }
                5 => bytes.extend_from_slice(&other[self.below(other.len() + 1)..]),
                6 => {
                    if let Some(place) = bytes.get_mut(at) {
                        *place ^= 1 << self.below(8);
                    }
                }
                // Over what is there, so that lengths stay right.
                _ => {
                    let word = words[self.below(words.len())];
                    for (place, byte) in bytes.iter_mut().skip(at).zip(word) {
                        *place = *byte;
                    }
                }
            }
        }
        bytes
    }
}
