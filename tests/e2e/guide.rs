//! docs/getting-started.md: its commands, as they stand there, do what it says.
//!
//! Blocks that begin with ```` ```sh ```` are run in their order, by one shell, in an empty directory of a person's own. A
//! ```` ```text ```` block after one of them is what it prints, on stdout and stderr. In it `…` stands for any text within a
//! line, and a line with `…` alone for any number of lines. The guide's port is [`GUIDE_PORT`]; the test puts a free one in
//! its place, for the shell as for the host.

use std::fmt::Write;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::person::Person;

const GUIDE: &str = include_str!("../../docs/getting-started.md");

/// Where the guide's host listens: the default.
const GUIDE_PORT: &str = "8080";

/// How long all of it may take: it builds a plugin in Rust with all its dependencies.
const GUIDE_DEADLINE: Duration = Duration::from_secs(1200);

/// What ends with the shell, however that ends, and what makes a command that fails known.
const PROLOGUE: &str = r#"set -euo pipefail
trap 'echo "failed: $BASH_COMMAND" >&2' ERR
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
"#;

/// Commands of the guide, and what they print, if it says so.
#[derive(Debug, PartialEq)]
struct Block {
    /// The line of its fence.
    line: usize,
    commands: String,
    printed: Option<String>,
}

/// The guide's blocks of commands.
fn blocks(guide: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = guide.lines().enumerate();
    while let Some((number, fence)) = lines.next() {
        let Some(language) = fence.strip_prefix("```") else {
            continue;
        };
        let mut text = String::new();
        for (_, line) in lines.by_ref().take_while(|(_, line)| *line != "```") {
            let _ = writeln!(text, "{line}");
        }
        match language {
            "sh" => blocks.push(Block {
                line: number + 1,
                commands: text,
                printed: None,
            }),
            "text" => {
                let before = blocks.last_mut();
                let before = before.filter(|block| block.printed.is_none());
                let before = before.expect("a text block stands after the commands that print it");
                before.printed = Some(text);
            }
            _ => {}
        }
    }
    blocks
}

/// Whether a line is as expected; `…` in that stands for any text.
fn fits_line(expected: &str, line: &str) -> bool {
    match expected.split_once('…') {
        None => expected == line,
        Some((start, rest)) => line.strip_prefix(start).is_some_and(|line| {
            let ends = (0..=line.len()).filter(|at| line.is_char_boundary(*at));
            ends.into_iter().any(|at| fits_line(rest, &line[at..]))
        }),
    }
}

/// Whether lines are as expected; a line `…` in those stands for any number of them.
fn fits(expected: &[&str], lines: &[&str]) -> bool {
    match (expected.split_first(), lines.split_first()) {
        (None, _) => lines.is_empty(),
        (Some((&"…", rest)), _) => (0..=lines.len()).any(|at| fits(rest, &lines[at..])),
        (Some(_), None) => false,
        (Some((first, rest)), Some((line, lines))) => fits_line(first, line) && fits(rest, lines),
    }
}

/// A free port, which nobody else gets for as long as the socket is there: it is bound and does not listen, and whoever
/// names the port can bind to it, too, and listen.
fn reserve_port() -> (OwnedFd, String) {
    let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
    sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = SocketAddrV4::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap();
    (socket, address.port().to_string())
}

/// Waits for the end of a shell that leads a process group; one that takes too long is ended with the group.
fn end_of(mut shell: Child) -> ExitStatus {
    let pid = Pid::from_child(&shell);
    let ended = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    let started = Instant::now();
    let mut fds = [rustix::event::PollFd::new(
        &ended,
        rustix::event::PollFlags::IN,
    )];
    while started.elapsed() < GUIDE_DEADLINE {
        let left = GUIDE_DEADLINE.saturating_sub(started.elapsed());
        let left = rustix::event::Timespec::try_from(left).unwrap();
        match rustix::event::poll(&mut fds, Some(&left)) {
            Ok(1..) => return shell.wait().unwrap(),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("{error}"),
        }
    }
    kill_process_group(pid, Signal::KILL).unwrap();
    shell.wait().unwrap()
}

#[test]
fn the_guide_can_be_followed() {
    let person = Person::new();
    fs::create_dir(person.path("start")).unwrap();
    let (_reserved, port) = reserve_port();
    let here = |text: &str| text.replace(GUIDE_PORT, &port);
    let blocks = blocks(GUIDE);
    assert!(blocks.len() > 5, "{blocks:?}");

    // Each block has a file for what it prints.
    let output = |number: usize| person.path(&format!("output-{number}"));
    let mut script = PROLOGUE.to_owned();
    for (number, block) in blocks.iter().enumerate() {
        let file = output(number);
        let commands = here(&block.commands);
        let _ = writeln!(script, "exec >{file:?} 2>&1\n{commands}");
    }
    fs::write(person.path("script"), script).unwrap();
    let script = person.path("script");
    let mut command = person.command("start", &["bash", script.to_str().unwrap()]);
    command
        .env("GK_LISTEN", format!("127.0.0.1:{port}"))
        .stdout(File::create(person.path("stdout")).unwrap())
        .stderr(File::create(person.path("stderr")).unwrap())
        .process_group(0);
    let status = end_of(command.spawn().unwrap());

    let log = || {
        let log = fs::read_to_string(person.path("start/host.log"));
        log.unwrap_or_else(|error| format!("no log of the host: {error}"))
    };
    for (number, block) in blocks.iter().enumerate() {
        let place = format!("docs/getting-started.md:{}", block.line);
        let Ok(printed) = fs::read_to_string(output(number)) else {
            panic!("{place} was not reached: {status}");
        };
        let is_last = !output(number + 1).exists();
        assert!(
            !is_last || status.success(),
            "{place}: {status}\n{printed}\n{}",
            log()
        );
        if let Some(expected) = &block.printed {
            let expected = here(expected);
            let (wanted, lines): (Vec<_>, Vec<_>) =
                (expected.lines().collect(), printed.lines().collect());
            assert!(
                fits(&wanted, &lines),
                "{place} prints something else\n--- the guide\n{expected}\n--- what it printed\n{printed}\n{}",
                log()
            );
        }
    }
}

#[test]
fn blocks_and_what_they_print() {
    let text = "# A\n```sh\na\nb\n```\n\n```text\nc\n```\n```go\nd\n```\n```sh\ne\n```\n";
    let block = |line, commands: &str, printed: Option<&str>| Block {
        line,
        commands: commands.to_owned(),
        printed: printed.map(str::to_owned),
    };
    assert_eq!(
        blocks(text),
        [block(2, "a\nb\n", Some("c\n")), block(13, "e\n", None)]
    );
    for (expected, printed, is_fit) in [
        ("a", "a", true),
        ("a", "b", false),
        ("a", "a\nb", false),
        ("a\nb", "a", false),
        ("a…c", "abc", true),
        ("a…c", "abd", false),
        ("a…c", "a\nc", false),
        ("…", "", true),
        ("a\n…\nd", "a\nb\nc\nd", true),
        ("a\n…\nd", "a\nd", true),
        ("a\n…", "b", false),
    ] {
        let (wanted, lines): (Vec<_>, Vec<_>) =
            (expected.lines().collect(), printed.lines().collect());
        assert_eq!(fits(&wanted, &lines), is_fit, "{expected:?} {printed:?}");
    }
}
