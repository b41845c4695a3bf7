//! `cargo xtask test`: everything that has to hold, step by step. A step that fails does not hide
//! the next ones.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use gk_servers::{Mariadb, Postgres, Redis};

use crate::command::{cargo, root, say};
use crate::{
    deploy, docs, e2e, features, figures, golden, layers, licences, monitoring, package, plugins,
};

/// Numbers of tests of a step.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
}

/// Result of a step.
struct Outcome {
    name: &'static str,
    took: Duration,
    count: Count,
    error: Option<anyhow::Error>,
}

/// Runs all steps; an error names the ones that failed.
pub(crate) fn run() -> Result<()> {
    let mut outcomes = Vec::new();
    let mut step = |name, work: &mut dyn FnMut(&mut Count) -> Result<()>| {
        say(format!("── {name}"));
        let started = Instant::now();
        let mut count = Count::default();
        let error = work(&mut count).err();
        let took = started.elapsed();
        if let Some(error) = &error {
            say(format!("{name} failed: {error:#}"));
            // A step without tests of its own counts as one.
            count.failed = count.failed.max(1);
        } else if count == Count::default() {
            count.passed = 1;
        }
        outcomes.push(Outcome {
            name,
            took,
            count,
            error,
        });
    };
    step("fmt", &mut |_| {
        crate::command::run(cargo().args(["fmt", "--all", "--check"]))
    });
    step("layers", &mut |_| layers::run());
    step("licences", &mut |_| licences::run());
    step("clippy", &mut |_| {
        let arguments = ["clippy", "--workspace", "--all-targets", "--quiet", "--"];
        crate::command::run(cargo().args(arguments).args(["-D", "warnings"]))
    });
    step("figures", &mut |_| figures::run(true));
    step("features", &mut |_| features::run(true));
    step("build", &mut |_| crate::command::run(&mut e2e::build()));
    step("docs", &mut |_| docs::check());
    step("monitoring", &mut |_| monitoring::run());
    let mut servers = None;
    step("servers", &mut |_| {
        servers = Some(Servers::start()?);
        Ok(())
    });
    step("test", &mut |count| {
        // The whole-system tests have a step of their own; their selection of targets keeps the
        // features, and with them what was built, the same.
        let arguments = ["test", "--workspace", "--no-fail-fast", "--lib", "--bins"];
        let mut tests = cargo();
        tests.args(arguments).args(["--examples", "--target-dir"]);
        tests.arg(root().join("target"));
        for target in integration_tests()? {
            tests.args(["--test", &target]);
        }
        // Without them each test binary starts its own.
        tests.envs(servers.iter().flat_map(Servers::variables));
        counted(&mut tests, count, rust_result)
    });
    step("doctest", &mut |count| {
        let mut tests = cargo();
        tests.args(["test", "--workspace", "--no-fail-fast", "--doc"]);
        counted(
            tests.arg("--target-dir").arg(root().join("target")),
            count,
            rust_result,
        )
    });
    step("doc", &mut |_| {
        let mut doc = cargo();
        doc.args(["doc", "--workspace", "--no-deps", "--quiet"])
            .arg("--document-private-items")
            .env("RUSTDOCFLAGS", "-D warnings");
        crate::command::run(&mut doc)
    });
    step("package", &mut |_| package::check(false));
    step("deploy", &mut |_| deploy::check());
    step("golden", &mut |_| golden::check());
    step("test-go", &mut |count| {
        let mut first_error = Ok(());
        for mut tests in plugins::go_tests()? {
            let result = counted(&mut tests, count, go_result);
            first_error = first_error.and(result);
        }
        first_error
    });
    step("test-e2e", &mut |count| {
        counted(&mut e2e::prepare(&[])?, count, rust_result)
    });
    report(&outcomes)
}

/// The servers that tests share; they end when this is dropped.
struct Servers {
    postgres: Postgres,
    mariadb: Mariadb,
    redis: Redis,
}

impl Servers {
    fn start() -> Result<Self> {
        Ok(Self {
            postgres: Postgres::start()?,
            mariadb: Mariadb::start()?,
            redis: Redis::start()?,
        })
    }

    fn variables(&self) -> [(&'static str, String); 3] {
        [
            (gk_servers::POSTGRES_URL, self.postgres.url()),
            (gk_servers::MARIADB_URL, self.mariadb.url()),
            (gk_servers::REDIS_URL, self.redis.url()),
        ]
    }
}

fn report(outcomes: &[Outcome]) -> Result<()> {
    say("── all steps");
    let mut total = Count::default();
    for outcome in outcomes {
        let Count { passed, failed } = outcome.count;
        total.passed += passed;
        total.failed += failed;
        let verdict = if outcome.error.is_some() {
            "FAILED"
        } else {
            "ok"
        };
        say(format!(
            "{:<10} {verdict:<7} {:>6.1} s  {passed} passed, {failed} failed",
            outcome.name,
            outcome.took.as_secs_f64()
        ));
    }
    let failed: Vec<_> = outcomes
        .iter()
        .filter(|outcome| outcome.error.is_some())
        .map(|outcome| outcome.name)
        .collect();
    // Scripts read this line: it is the last one, and nothing else is on it.
    let summary = format!("{} passed, {} failed", total.passed, total.failed);
    if failed.is_empty() {
        eprintln!("{summary}");
        return Ok(());
    }
    say(format!("failed: {}", failed.join(", ")));
    eprintln!("{summary}");
    Err(Failed.into())
}

/// A step failed; the terminal has its output already.
#[derive(Debug)]
pub(crate) struct Failed;

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("some steps failed")
    }
}

impl std::error::Error for Failed {}

/// The integration tests of all packages but the whole-system ones.
fn integration_tests() -> Result<Vec<String>> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("cannot read the workspace's metadata")?;
    let mut names: Vec<_> = metadata
        .packages
        .iter()
        .flat_map(|package| &package.targets)
        .filter(|target| target.is_test() && target.name != "e2e")
        .map(|target| target.name.clone())
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// Runs a command whose output is shown and counted.
fn counted(
    command: &mut Command,
    count: &mut Count,
    parse: fn(&str) -> Option<Count>,
) -> Result<()> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let output = child.stdout.take().context("it has no stdout")?;
    count_lines(output, count, parse).context("cannot read its output")?;
    let status = child.wait()?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}

fn count_lines(
    output: impl Read,
    count: &mut Count,
    parse: fn(&str) -> Option<Count>,
) -> std::io::Result<()> {
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        eprintln!("{line}");
        if let Some(found) = parse(&line) {
            count.passed += found.passed;
            count.failed += found.failed;
        }
    }
    Ok(())
}

/// `test result: ok. 12 passed; 0 failed; …`
fn rust_result(line: &str) -> Option<Count> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut parts = numbers.split("; ");
    let mut number = |word: &str| parts.next()?.strip_suffix(word)?.trim().parse().ok();
    Some(Count {
        passed: number(" passed")?,
        failed: number(" failed")?,
    })
}

/// `--- PASS: TestName (0.00s)` of `go test -v`; subtests are indented and belong to theirs.
fn go_result(line: &str) -> Option<Count> {
    let (passed, failed) = if line.starts_with("--- PASS: ") {
        (1, 0)
    } else if line.starts_with("--- FAIL: ") {
        (0, 1)
    } else {
        return None;
    };
    Some(Count { passed, failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted() {
        let output = "running 3 tests\ntest a ... ok\ntest result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured\n\
                      test result: ok. 1 passed; 0 failed; 1 ignored\ntest result: nonsense\n";
        let mut count = Count::default();
        count_lines(output.as_bytes(), &mut count, rust_result).unwrap();
        assert_eq!(
            count,
            Count {
                passed: 13,
                failed: 3
            }
        );
        let output = "=== RUN TestA\n--- PASS: TestA (0.00s)\n    --- PASS: TestA/b (0.00s)\n--- FAIL: TestC (1.0s)\nFAIL\n";
        let mut count = Count::default();
        count_lines(output.as_bytes(), &mut count, go_result).unwrap();
        assert_eq!(
            count,
            Count {
                passed: 1,
                failed: 1
            }
        );
    }

    #[test]
    fn the_whole_system_tests_are_not_among_the_others() {
        let names = integration_tests().unwrap();
        assert!(names.contains(&"golden".to_owned()), "{names:?}");
        assert!(!names.contains(&"e2e".to_owned()), "{names:?}");
    }
}
