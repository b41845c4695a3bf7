//! The fuzz targets without a fuzzer: every seed, and mutations of it that are the same each time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[path = "../../fuzz/src/targets.rs"]
#[allow(unreachable_pub, reason = "the fuzzer builds it as a library")]
mod targets;

/// Mutations of each seed.
const MUTATIONS: u32 = 300;

/// xorshift64*: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let next = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        usize::try_from(next >> 33).unwrap() % bound.max(1)
    }

    fn mutate(&mut self, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len() + 1);
            match self.below(6) {
                0 => bytes.insert(at, b"\n\r :/.\0\xff"[self.below(8)]),
                1 => bytes.truncate(at),
                2 => drop(bytes.drain(at..(at + self.below(9)).min(bytes.len()))),
                3 => {
                    let again = bytes[at..(at + self.below(90)).min(bytes.len())].to_vec();
                    bytes.splice(at..at, again);
                }
                4 => bytes.extend_from_slice(&other[self.below(other.len() + 1)..]),
                _ => {
                    if let Some(place) = bytes.get_mut(at) {
                        *place ^= 1 << self.below(8);
                    }
                }
            }
        }
        bytes
    }
}

#[test]
fn signature() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/signature");
    let entries = fs_entries(&directory);
    let seeds: Vec<Vec<u8>> = entries
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    assert!(seeds.len() >= 10, "{} seeds", seeds.len());
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let check = |input: &[u8]| {
        if catch_unwind(AssertUnwindSafe(|| targets::signature(input))).is_err() {
            panic!("fails with {:?}", String::from_utf8_lossy(input));
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

fn fs_entries(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
