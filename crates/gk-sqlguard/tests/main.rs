//! The fuzz target without a fuzzer, on the statements of the tables, too.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "../fuzz/src/targets.rs"]
#[allow(unreachable_pub, reason = "the fuzzer builds it as a library")]
mod targets;

/// Signs that readers of SQL disagree about.
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

#[test]
fn guard() {
    let words: Vec<&[u8]> = WORDS.iter().map(|word| word.as_bytes()).collect();
    let tables = [
        include_str!("cases/shared.sql"),
        include_str!("cases/sqlite.sql"),
        include_str!("cases/postgres.sql"),
        include_str!("cases/mysql.sql"),
    ];
    let statements = tables.iter().flat_map(|table| table.lines());
    let smoke = gk_testkit::Smoke {
        name: "guard",
        manifest_dir: env!("CARGO_MANIFEST_DIR"),
        mutations: 12,
        words: &words,
        more: statements
            .filter_map(|line| line.get(2..))
            .map(|statement| statement.as_bytes().to_vec())
            .collect(),
    };
    // What is no UTF-8 does not get as far as the guard.
    smoke.run(|input| targets::guard(String::from_utf8_lossy(input).as_bytes()));
}
