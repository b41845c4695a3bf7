//! `cargo xtask bench`: all systems side by side, interleaved in one run, because absolute figures move from
//! run to run and only ratios within one mean anything.

#![expect(clippy::print_stdout, reason = "the table is what this command is for")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::chart;
use crate::command::{cargo, command, output, root, run as run_command, say};
use crate::go::Go;

/// The systems, the one that the others are compared with first.
pub(crate) const SYSTEMS: [&str; 5] = ["go", "gk-go", "gk-rust", "goplugin", "raw"];

const PAYLOADS: [usize; 4] = [64, 1024, 64 * 1024, 1024 * 1024];
const CALLERS: [usize; 3] = [1, 16, 64];

/// Processes whose memory is measured together.
const MANY: usize = 50;

/// One figure of one system: the medians over the rounds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Row {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) calls_per_s: f64,
}

/// System, payload, callers.
pub(crate) type Key = (&'static str, usize, usize);
pub(crate) type Rows = BTreeMap<Key, Row>;

/// A ratio to the Go host that the project promises.
struct Promise {
    system: &'static str,
    payload: usize,
    callers: usize,
    what: fn(&Row) -> f64,
    name: &'static str,
    at_most: Option<f64>,
    at_least: Option<f64>,
}

fn p50(row: &Row) -> f64 {
    row.p50_us
}

fn rate(row: &Row) -> f64 {
    row.calls_per_s
}

const fn at_most(system: &'static str, payload: usize, limit: f64) -> Promise {
    Promise {
        system,
        payload,
        callers: 1,
        what: p50,
        name: "p50",
        at_most: Some(limit),
        at_least: None,
    }
}

const fn at_least(system: &'static str, payload: usize, callers: usize, limit: f64) -> Promise {
    Promise {
        system,
        payload,
        callers,
        what: rate,
        name: "calls/s",
        at_most: None,
        at_least: Some(limit),
    }
}

const PROMISES: &[Promise] = &[
    at_most("gk-go", 64, 0.75),
    at_most("gk-go", 64 * 1024, 0.5),
    at_least("gk-go", 64, 64, 1.5),
    at_most("gk-rust", 64, 0.6),
    at_least("gk-rust", 64, 64, 3.0),
    at_least("gk-rust", 1024 * 1024, 1, 3.0),
];

pub(crate) fn run(quick: bool, check: bool) -> Result<()> {
    let programs = build()?;
    let (seconds, rounds) = if quick { (0.2, 3) } else { (1.0, 5) };
    let (rows, spawn_ms) = calls(&programs, seconds, rounds)?;
    let callbacks = callbacks(&programs, quick)?;
    let rss = memory(&programs)?;
    print_table(&rows, &spawn_ms, &rss);
    write(&rows, &spawn_ms, &rss)?;
    let kept = promises(&rows, &rss) & callbacks.print();
    if check && !kept {
        bail!("a promised ratio is not met");
    }
    Ok(())
}

/// Everything that is measured, built.
struct Programs {
    directory: PathBuf,
    release: PathBuf,
}

fn build() -> Result<Programs> {
    let directory = root().join("target/bench");
    fs::create_dir_all(&directory)?;
    say("building the Go programs");
    let go = Go::find()?;
    let reference = root().join("tests/plugins");
    go.build(
        &root().join("plugins/hello-go"),
        ".",
        &directory.join("hello-go"),
    )?;
    go.build(&reference, "./gobench", &directory.join("gobench"))?;
    go.build(&reference, "./gen3", &directory.join("gen3"))?;
    say("building the Rust programs");
    run_command(cargo().args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "gk-bench",
        "--package",
        "gk-host",
        "--package",
        "hello-rust",
    ]))?;
    Ok(Programs {
        directory,
        release: root().join("target/release"),
    })
}

/// A directory with plugins as hosts expect it: one per name, each a copy of a binary.
fn plugins_dir(programs: &Programs, name: &str, plugins: &[(String, PathBuf)]) -> Result<PathBuf> {
    let directory = programs.directory.join(name);
    // From an earlier run, perhaps with other plugins.
    let _ = fs::remove_dir_all(&directory);
    for (plugin, binary) in plugins {
        let place = directory.join(plugin);
        fs::create_dir_all(&place)?;
        fs::copy(binary, place.join(plugin))
            .with_context(|| format!("cannot copy {}", binary.display()))?;
        fs::set_permissions(place.join(plugin), fs::Permissions::from_mode(0o755))?;
        fs::write(
            place.join("plugin.yaml"),
            format!("name: {plugin}\nversion: \"1.0.0\"\nruntime: grpc\n"),
        )?;
    }
    Ok(directory)
}

/// A measured system that waits for lines.
struct System {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl System {
    fn start(program: &Path, arguments: &[&std::ffi::OsStr]) -> Result<Self> {
        let mut child = command(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("no stdout")?;
        Ok(System {
            child,
            stdin,
            stdout: BufReader::new(stdout),
        })
    }

    fn ask(&mut self, payload: usize, callers: usize, seconds: f64) -> Result<Value> {
        let stdin = self.stdin.as_mut().context("no stdin")?;
        writeln!(stdin, "{payload} {callers} {seconds}")?;
        let mut line = String::new();
        ensure!(
            self.stdout.read_line(&mut line)? > 0,
            "a measured program ended: {:?}",
            self.child.try_wait()
        );
        serde_json::from_str(&line).with_context(|| format!("not JSON: {line}"))
    }
}

impl Drop for System {
    fn drop(&mut self) {
        // It ends with its input.
        self.stdin = None;
        let _ = self.child.wait();
    }
}

fn calls(
    programs: &Programs,
    seconds: f64,
    rounds: usize,
) -> Result<(Rows, BTreeMap<&'static str, f64>)> {
    let hello_go = programs.directory.join("hello-go");
    let go_dir = plugins_dir(
        programs,
        "plugins-go",
        &[("hello-go".into(), hello_go.clone())],
    )?;
    let rust = programs.release.join("hello-rust");
    let rust_dir = plugins_dir(programs, "plugins-rust", &[("hello-rust".into(), rust)])?;
    let (bench, gobench) = (
        programs.release.join("gk-bench"),
        programs.directory.join("gobench"),
    );
    let start = |system: &str| match system {
        "go" => System::start(
            &gobench,
            &["-stdin".as_ref(), "-plugin".as_ref(), hello_go.as_ref()],
        ),
        "gk-go" => System::start(&bench, &["host".as_ref(), go_dir.as_ref()]),
        "gk-rust" => System::start(&bench, &["host".as_ref(), rust_dir.as_ref()]),
        "goplugin" => System::start(&bench, &["goplugin".as_ref(), hello_go.as_ref()]),
        _ => System::start(&bench, &["raw".as_ref()]),
    };
    let mut samples: BTreeMap<Key, Vec<Row>> = BTreeMap::new();
    let mut spawns: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for round in 1..=rounds {
        // New processes in each round, so that a lucky or unlucky start does not count for all.
        let mut running = Vec::new();
        for name in SYSTEMS {
            running.push((name, start(name)?));
        }
        for payload in PAYLOADS {
            for callers in CALLERS {
                say(format!(
                    "round {round} of {rounds}: {payload} bytes, {callers} callers"
                ));
                for (name, system) in &mut running {
                    let line = system
                        .ask(payload, callers, seconds)
                        .with_context(|| format!("measuring {name}"))?;
                    let figure = |key: &str| {
                        line[key]
                            .as_f64()
                            .with_context(|| format!("no {key} in {line}"))
                    };
                    samples
                        .entry((name, payload, callers))
                        .or_default()
                        .push(Row {
                            p50_us: figure("p50_us")?,
                            p99_us: figure("p99_us")?,
                            calls_per_s: figure("calls_per_s")?,
                        });
                    if payload == PAYLOADS[0] && callers == CALLERS[0] && *name != "raw" {
                        spawns.entry(name).or_default().push(figure("spawn_ms")?);
                    }
                }
            }
        }
    }
    let rows = samples.into_iter().map(|(key, rows)| {
        let of = |what: fn(&Row) -> f64| median(rows.iter().map(what).collect());
        (
            key,
            Row {
                p50_us: of(p50),
                p99_us: of(|row| row.p99_us),
                calls_per_s: of(rate),
            },
        )
    });
    Ok((
        rows.collect(),
        spawns
            .into_iter()
            .map(|(name, all)| (name, median(all)))
            .collect(),
    ))
}

/// What a plugin's requests to the host API take, in microseconds.
struct Callbacks {
    call: f64,
    cache_get: f64,
    db_query: f64,
    in_process_query: f64,
}

fn callbacks(programs: &Programs, quick: bool) -> Result<Callbacks> {
    say("a plugin's requests to the host API");
    let (rounds, count) = if quick { ("3", "3000") } else { ("9", "10000") };
    let line = output(
        command(programs.release.join("gk-bench"))
            .args(["callback", "--rounds", rounds, "--count", count])
            .stderr(Stdio::null()),
    )?;
    let line: Value = serde_json::from_str(line.lines().last().context("no output")?)?;
    let figure = |key: &str| {
        line[key]
            .as_f64()
            .with_context(|| format!("no {key} in {line}"))
    };
    Ok(Callbacks {
        call: figure("call_us")?,
        cache_get: figure("cache_get_us")?,
        db_query: figure("db_query_us")?,
        in_process_query: figure("in_process_query_us")?,
    })
}

impl Callbacks {
    /// Prints them beside what was promised, and says whether that was kept.
    fn print(&self) -> bool {
        println!();
        println!("a plugin's requests to the host API, medians with a Rust plugin:");
        println!("  plain call                 {:8.1} us", self.call);
        println!("  cache_get                  {:8.1} us", self.cache_get);
        println!("  db_query, one row, SQLite  {:8.1} us", self.db_query);
        println!(
            "  the same query in process  {:8.1} us",
            self.in_process_query
        );
        let ratio = self.cache_get / self.call;
        let limit = 2.0 * self.in_process_query + self.call;
        let (cache, query) = (ratio <= 1.2, self.db_query <= limit);
        let word = |kept: bool| if kept { "ok  " } else { "FAIL" };
        println!(
            "  {} cache_get to a call: {ratio:.2} (at most 1.2)",
            word(cache)
        );
        println!(
            "  {} db_query: {:.1} us (at most {limit:.1}, twice the query in process and a call)",
            word(query),
            self.db_query
        );
        cache && query
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

type Memory = BTreeMap<&'static str, BTreeMap<usize, u64>>;

/// Resident memory of the hosts with one and with many plugins; of ours, the real `gk-host serve`.
fn memory(programs: &Programs) -> Result<Memory> {
    // The host's memory does not depend on the plugin; ours wants one name each, which gen3 takes from its file.
    let (hello_go, gen3) = (
        programs.directory.join("hello-go"),
        programs.directory.join("gen3"),
    );
    let mut memory = Memory::new();
    for count in [1, MANY] {
        say(format!("memory with {count} plugins"));
        let last_line = |text: String| -> Result<u64> {
            let line: Value = serde_json::from_str(text.lines().last().context("no output")?)?;
            line["rss_kb"].as_u64().context("no rss_kb")
        };
        let instances = count.to_string();
        let go = output(
            command(programs.directory.join("gobench"))
                .arg("-plugin")
                .arg(&hello_go)
                .args(["-instances", &instances, "-calls", "0"]),
        )?;
        memory
            .entry("go")
            .or_default()
            .insert(count, last_line(go)?);
        let goplugin = output(
            command(programs.release.join("gk-bench"))
                .arg("goplugin")
                .arg(&hello_go)
                .args(["--instances", &instances])
                .stderr(Stdio::null()),
        )?;
        memory
            .entry("goplugin")
            .or_default()
            .insert(count, last_line(goplugin)?);
        let named: Vec<_> = (0..count)
            .map(|number| (format!("p{number:02}"), gen3.clone()))
            .collect();
        let directory = plugins_dir(programs, "plugins-memory", &named)?;
        memory
            .entry("gk-go")
            .or_default()
            .insert(count, host_rss(programs, &directory, count)?);
        if count == 1 {
            let rust = [("hello-rust".to_owned(), programs.release.join("hello-rust"))];
            let directory = plugins_dir(programs, "plugins-memory", &rust)?;
            memory
                .entry("gk-rust")
                .or_default()
                .insert(count, host_rss(programs, &directory, count)?);
        }
    }
    Ok(memory)
}

fn host_rss(programs: &Programs, plugins_dir: &Path, count: usize) -> Result<u64> {
    let data = programs.directory.join("data");
    let _ = fs::remove_dir_all(&data);
    let mut host = command(programs.release.join("gk-host"))
        .args(["serve", "--listen", "127.0.0.1:0", "--plugins-dir"])
        .arg(plugins_dir)
        .arg("--data-dir")
        .arg(&data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stdout = host.stdout.take().context("no stdout")?;
    let expected = format!("{count} plugins running");
    let up = BufReader::new(stdout)
        .lines()
        .map_while(Result::ok)
        .find(|line| line.contains("plugins running"));
    let status = fs::read_to_string(format!("/proc/{}/status", host.id()))?;
    // The host ends its plugins; SIGTERM by the shell's own means, so that xtask needs no unsafe code.
    run_command(command("kill").arg(host.id().to_string()))?;
    host.wait()?;
    ensure!(
        up.as_deref()
            .is_some_and(|line| line.starts_with(&expected)),
        "the host did not come up: {up:?}"
    );
    let rss = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    Ok(rss.trim().trim_end_matches("kB").trim().parse()?)
}

fn print_table(rows: &Rows, spawn_ms: &BTreeMap<&'static str, f64>, rss: &Memory) {
    println!(
        "{:>9} {:>7}  {:<9} {:>11} {:>7} {:>11} {:>12} {:>7}",
        "payload", "callers", "system", "p50 µs", "/go", "p99 µs", "calls/s", "/go"
    );
    for payload in PAYLOADS {
        for callers in CALLERS {
            let go = rows
                .get(&("go", payload, callers))
                .copied()
                .unwrap_or_default();
            for system in SYSTEMS {
                let row = rows
                    .get(&(system, payload, callers))
                    .copied()
                    .unwrap_or_default();
                println!(
                    "{payload:>9} {callers:>7}  {system:<9} {:>11.1} {:>7.2} {:>11.1} {:>12.0} {:>7.2}",
                    row.p50_us,
                    row.p50_us / go.p50_us,
                    row.p99_us,
                    row.calls_per_s,
                    row.calls_per_s / go.calls_per_s,
                );
            }
        }
    }
    println!("\nstart of a plugin, process to initialised:");
    for (system, ms) in spawn_ms {
        println!("  {system:<9} {ms:>8.1} ms");
    }
    println!("\nresident memory of the host:");
    for (system, counts) in rss {
        for (count, kb) in counts {
            println!("  {system:<9} {count:>3} plugins {kb:>8} KiB");
        }
    }
}

fn write(rows: &Rows, spawn_ms: &BTreeMap<&'static str, f64>, rss: &Memory) -> Result<()> {
    let lines: Vec<_> = rows
        .iter()
        .map(|((system, payload, callers), row)| {
            json!({
                "system": system, "payload_bytes": payload, "callers": callers,
                "p50_us": row.p50_us, "p99_us": row.p99_us, "calls_per_s": row.calls_per_s,
            })
        })
        .collect();
    let memory: BTreeMap<_, BTreeMap<_, _>> = rss
        .iter()
        .map(|(system, counts)| {
            (
                system,
                counts
                    .iter()
                    .map(|(count, kb)| (count.to_string(), kb))
                    .collect(),
            )
        })
        .collect();
    let document = json!({ "rows": lines, "spawn_ms": spawn_ms, "host_rss_kb": memory });
    let json = root().join("target/bench/calls.json");
    fs::write(&json, serde_json::to_string_pretty(&document)?)?;
    let assets = root().join("docs/assets");
    fs::create_dir_all(&assets)?;
    fs::write(assets.join("calls.svg"), chart::draw(rows))?;
    say("written: target/bench/calls.json, docs/assets/calls.svg");
    Ok(())
}

fn promises(rows: &Rows, rss: &Memory) -> bool {
    println!("\npromised, as ratios to the Go host of this run:");
    let mut kept = true;
    let mut say_kept = |name: String, value: f64, limit: String, ok: bool| {
        kept &= ok;
        println!(
            "  {} {name}: {value:.2} ({limit})",
            if ok { "ok  " } else { "FAIL" }
        );
    };
    for promise in PROMISES {
        let of = |system| {
            rows.get(&(system, promise.payload, promise.callers))
                .map(promise.what)
                .unwrap_or_default()
        };
        let ratio = of(promise.system) / of("go");
        let name = format!(
            "{} {} at {} bytes, {} callers",
            promise.system, promise.name, promise.payload, promise.callers
        );
        match (promise.at_most, promise.at_least) {
            (Some(limit), _) => say_kept(name, ratio, format!("at most {limit}"), ratio <= limit),
            (_, Some(limit)) => say_kept(name, ratio, format!("at least {limit}"), ratio >= limit),
            _ => {}
        }
    }
    for payload in PAYLOADS {
        for callers in CALLERS {
            let of = |system, what: fn(&Row) -> f64| {
                rows.get(&(system, payload, callers))
                    .map(what)
                    .unwrap_or_default()
            };
            let ratio = of("gk-go", rate) / of("goplugin", rate);
            let name = format!("gk-go calls/s to goplugin's at {payload} bytes, {callers} callers");
            say_kept(name, ratio, "above 1".into(), ratio > 1.0);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "far less than 2^52")]
    let megabytes = rss
        .get("gk-go")
        .and_then(|counts| counts.get(&1))
        .map(|kb| *kb as f64 / 1024.0)
        .unwrap_or(f64::MAX);
    say_kept(
        "gk-host with one plugin, MiB".into(),
        megabytes,
        "at most 12".into(),
        megabytes <= 12.0,
    );
    kept
}
