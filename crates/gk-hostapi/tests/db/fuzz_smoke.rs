//! The fuzz target without a fuzzer: every seed and every statement of the tables, and mutations of
//! them that are the same each time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[path = "../../fuzz/src/targets.rs"]
#[allow(unreachable_pub, reason = "the fuzzer builds it as a library")]
mod targets;

/// Mutations of each seed.
const MUTATIONS: u32 = 12;

/// What mutations put in: signs that readers of SQL disagree about.
const WORDS: &[&str] = &[
    "'",
    "\"",
    "`",
    "(",
    ")",
    ",",
    ";",
    "--",
    "-- ",
    "/*",
    "*/",
    "/*!",
    "#",
    "\\",
    "$1",
    "$$",
    "?",
    "E'",
    "U&\"",
    "[",
    "]",
    "::",
    "@",
    " secret ",
    " FROM secret ",
    " UNION SELECT ",
    " WITH ",
    " AS ",
    "\n",
    "\0",
    "\u{a0}",
    " LATERAL ",
    " NOT ",
    " IN ",
    "1",
    "''",
];

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

    fn place(&mut self, text: &str) -> usize {
        let mut at = self.below(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }

    fn mutate(&mut self, seed: &str, other: &str) -> String {
        let mut text = seed.to_owned();
        for _ in 0..=self.below(3) {
            let (a, b) = (self.place(&text), self.place(&text));
            let (from, to) = (a.min(b), a.max(b));
            match self.below(6) {
                0 => text.truncate(to),
                1 => text.replace_range(from..to.min(from + 6).max(from), ""),
                2 => {
                    let again = text[from..to].to_owned();
                    text.insert_str(to, &again);
                }
                3 => {
                    let at = self.place(other);
                    text.push_str(&other[at..]);
                }
                _ => text.insert_str(from, WORDS[self.below(WORDS.len())]),
            }
        }
        text
    }
}

#[test]
fn guard() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/guard");
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 15, "{} seeds", paths.len());
    let mut seeds: Vec<String> = paths
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    for table in [
        include_str!("cases/shared.sql"),
        include_str!("cases/sqlite.sql"),
        include_str!("cases/postgres.sql"),
        include_str!("cases/mysql.sql"),
    ] {
        seeds.extend(
            table
                .lines()
                .filter_map(|line| line.get(2..))
                .map(str::to_owned),
        );
    }
    let check = |input: &str| {
        if catch_unwind(AssertUnwindSafe(|| targets::guard(input.as_bytes()))).is_err() {
            panic!("the guard fails with {input:?}");
        }
    };
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for seed in &seeds {
        check(seed);
        for _ in 0..MUTATIONS {
            let other = &seeds[random.below(seeds.len())];
            check(&random.mutate(seed, other));
        }
    }
}
