//! Real processes, started, watched, killed. Nothing here sleeps: each wait is for an event and
//! has a deadline.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use gk_sandbox::{Child, ExitStatus, InterpreterProblem, SandboxSpec, SpawnError, Spawner};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, Mode, OFlags};

const DEADLINE: Duration = Duration::from_secs(120);

fn sh(script: &str) -> SandboxSpec {
    let mut spec = SandboxSpec::new("/bin/sh", "/");
    spec.args = vec!["-c".into(), script.into()];
    spec.env = BTreeMap::from([("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())]);
    spec
}

/// Reads until `enough` says so or the writers are gone; fails at the deadline.
fn read_while(fd: &OwnedFd, enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let end = Instant::now() + DEADLINE;
    let mut all = Vec::new();
    let mut file = std::fs::File::from(fd.try_clone().unwrap());
    while !enough(&all) {
        let left = end
            .checked_duration_since(Instant::now())
            .unwrap_or_else(|| {
                panic!(
                    "no end within {DEADLINE:?}; so far {:?}",
                    String::from_utf8_lossy(&all)
                )
            });
        wait_readable(fd, left);
        let mut chunk = [0; 4096];
        match file.read(&mut chunk).unwrap() {
            0 => break,
            count => all.extend_from_slice(&chunk[..count]),
        }
    }
    all
}

fn wait_readable(fd: impl AsFd, left: Duration) {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let timeout = Timespec::try_from(left).unwrap();
    assert_eq!(
        rustix::event::poll(&mut fds, Some(&timeout)).unwrap(),
        1,
        "nothing within {left:?}"
    );
}

fn output(child: &Child) -> String {
    String::from_utf8(read_while(&child.stdout, |_| false)).unwrap()
}

fn wait_ended(child: &Child) -> ExitStatus {
    wait_readable(child.pidfd(), DEADLINE);
    child.status().unwrap().expect("the pidfd said it ended")
}

#[test]
fn the_environment_is_exactly_the_given_one() {
    let spawner = Spawner::new().unwrap();
    let mut spec = SandboxSpec::new("/usr/bin/env", "/");
    spec.env = BTreeMap::from([("A".into(), "1".into()), ("B".into(), "two = 2".into())]);
    let mut child = spawner.spawn(spec).unwrap();
    assert_eq!(output(&child), "A=1\nB=two = 2\n");
    assert!(child.reap().unwrap().success());
}

#[test]
fn arguments_directory_stdin_and_group_are_as_promised() {
    let dir = tempfile::tempdir().unwrap();
    let spawner = Spawner::new().unwrap();
    let mut spec = sh(
        r#"pwd -P; cat; echo "$1"; ps -o pgid=,sid= -p $$ 2>/dev/null || cut -d' ' -f5,6 /proc/$$/stat"#,
    );
    spec.args.extend(["name".into(), "an argument".into()]);
    spec.working_dir = dir.path().into();
    let child = spawner.spawn(spec).unwrap();
    let said = output(&child);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines[0],
        dir.path().canonicalize().unwrap().to_str().unwrap()
    );
    assert_eq!(lines[1], "an argument");
    let ids: Vec<u32> = lines[2]
        .split_whitespace()
        .map(|id| id.parse().unwrap())
        .collect();
    assert_eq!(ids, [child.pid(), child.pid()]);
}

#[test]
fn no_descriptor_of_the_host_leaks() {
    let dir = tempfile::tempdir().unwrap();
    let spawner = Spawner::new().unwrap();
    // dup() clears close-on-exec: without the sweep this one would be inherited.
    let secret = std::fs::File::create(dir.path().join("secret")).unwrap();
    let _leaky = rustix::io::dup(&secret).unwrap();
    let mut spec = SandboxSpec::new("/bin/ls", "/");
    spec.args = vec!["-l".into(), "/proc/self/fd".into()];
    let child = spawner.spawn(spec).unwrap();
    let said = output(&child);
    let links: Vec<&str> = said
        .lines()
        .filter_map(|line| line.split_once(" -> ").map(|(_, to)| to))
        .collect();
    // Its own three, and the directory it is listing.
    assert_eq!(links.len(), 4, "{said}");
    assert_eq!(links[0], "/dev/null");
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn signals_are_reset() {
    let spawner = Spawner::new().unwrap();
    let mut spec = SandboxSpec::new("/bin/grep", "/");
    spec.args = vec![
        "-E".into(),
        "^Sig(Blk|Ign)".into(),
        "/proc/self/status".into(),
    ];
    let said = output(&spawner.spawn(spec).unwrap());
    assert_eq!(said.lines().count(), 2);
    for line in said.lines() {
        let mask = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
        assert_eq!(mask, 0, "{line}");
    }
}

#[test]
fn the_status_is_seen_before_the_reaping_and_stays() {
    let spawner = Spawner::new().unwrap();
    let mut child = spawner.spawn(sh("exit 7")).unwrap();
    assert_eq!(wait_ended(&child), ExitStatus::Exited { code: 7 });
    assert_eq!(child.wait().unwrap(), ExitStatus::Exited { code: 7 });
    child.kill_group().unwrap();
    assert_eq!(child.reap().unwrap(), ExitStatus::Exited { code: 7 });
    assert_eq!(child.reap().unwrap(), ExitStatus::Exited { code: 7 });
    child.kill_group().unwrap();
}

#[test]
fn a_group_kill_takes_the_grandchildren() {
    let spawner = Spawner::new().unwrap();
    let mut child = spawner
        .spawn(sh("sleep 1000 & sleep 1000 & echo up; exec sleep 1000"))
        .unwrap();
    assert_eq!(
        read_while(&child.stdout, |all| all.ends_with(b"up\n")),
        b"up\n"
    );
    assert_eq!(child.status().unwrap(), None);
    child.kill_group().unwrap();
    assert_eq!(
        wait_ended(&child),
        ExitStatus::Signaled {
            signal: 9,
            core_dumped: false
        }
    );
    // The grandchildren hold the pipe's other end: end of file means that they are gone.
    assert_eq!(output(&child), "");
    child.reap().unwrap();
}

#[test]
fn a_group_kill_takes_the_orphans_of_an_ended_leader() {
    let spawner = Spawner::new().unwrap();
    let mut child = spawner.spawn(sh("sleep 1000 & exit 0")).unwrap();
    wait_ended(&child);
    child.kill_group().unwrap();
    assert_eq!(output(&child), "");
    assert!(child.reap().unwrap().success());
}

#[test]
fn dropping_a_child_ends_its_group() {
    let spawner = Spawner::new().unwrap();
    let child = spawner.spawn(sh("sleep 1000 & exec sleep 1000")).unwrap();
    let (stdout, _stderr) = child.clone_pipes().unwrap();
    drop(child);
    assert_eq!(read_while(&stdout, |_| false), b"");
}

#[test]
fn one_thread_starts_very_many_and_none_is_signalled() {
    let spawner = std::sync::Arc::new(Spawner::new().unwrap());
    let first = spawner.spawn(sh("read line; exec sleep 1000")).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert!(
                        spawner
                            .spawn(SandboxSpec::new("/bin/true", "/"))
                            .unwrap()
                            .reap()
                            .unwrap()
                            .success()
                    );
                }
            });
        }
    });
    // The threads that asked are gone; a child must not care.
    assert_eq!(first.status().unwrap(), None);
}

#[test]
fn dropping_the_spawner_ends_its_children() {
    let spawner = Spawner::new().unwrap();
    let child = spawner.spawn(sh("exec sleep 1000")).unwrap();
    drop(spawner);
    assert_eq!(
        wait_ended(&child),
        ExitStatus::Signaled {
            signal: 9,
            core_dumped: false
        }
    );
}

#[test]
fn failures_say_what_is_wrong() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str, mode: u32| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path
    };
    let spawner = Spawner::new().unwrap();
    let failure = |program: &Path| spawner.spawn(SandboxSpec::new(program, "/")).unwrap_err();

    assert!(matches!(
        failure(&dir.path().join("absent")),
        SpawnError::Missing { .. }
    ));
    assert!(matches!(failure(dir.path()), SpawnError::NotAFile { .. }));
    assert!(matches!(
        failure(&file("plain", "#!/bin/sh\n", 0o644)),
        SpawnError::NotExecutable { .. }
    ));
    assert!(matches!(
        failure(&file("text", "just text\n", 0o755)),
        SpawnError::ExecFormat { .. }
    ));
    let not_a_program = file("not-a-program", "#!/no/such\n", 0o755);
    let by_it = format!("#!{}\n", not_a_program.display());
    // A program whose loader is another name of the same length.
    let mut dynamic = std::fs::read("/bin/cat").unwrap();
    let at = dynamic
        .windows(5)
        .position(|part| part == b"/ld-l")
        .unwrap();
    dynamic[at..at + 5].copy_from_slice(b"/no-l");
    let odd = dir.path().join("dynamic");
    std::fs::write(&odd, dynamic).unwrap();
    std::fs::set_permissions(&odd, PermissionsExt::from_mode(0o755)).unwrap();
    for (program, names, expected) in [
        (
            file("script", "#!/no/such/interpreter -x\n", 0o755),
            "/no/such/interpreter -x",
            InterpreterProblem::Missing,
        ),
        (
            file("windows", "#!/bin/sh\r\necho\r\n", 0o755),
            "/bin/sh",
            InterpreterProblem::CarriageReturn,
        ),
        (
            file("chained", &by_it, 0o755),
            "not-a-program",
            InterpreterProblem::Unusable,
        ),
        (odd, "/no-l", InterpreterProblem::Missing),
    ] {
        let error = failure(&program);
        let SpawnError::BadInterpreter {
            interpreter,
            problem,
            ..
        } = &error
        else {
            panic!("{}: {error}", program.display());
        };
        assert!(interpreter.contains(names), "{error}");
        assert_eq!(*problem, expected, "{error}");
    }

    let good = file("good", "#!/bin/sh\n", 0o755);
    let writer = std::fs::File::options().append(true).open(&good).unwrap();
    let busy = failure(&good);
    assert!(matches!(busy, SpawnError::TextBusy { .. }), "{busy}");
    drop(writer);

    let mut nowhere = sh("true");
    nowhere.working_dir = dir.path().join("absent");
    assert!(matches!(
        spawner.spawn(nowhere),
        Err(SpawnError::WorkingDir { .. })
    ));
    let mut nul = sh("true");
    nul.args.push("a\0b".into());
    assert!(matches!(
        spawner.spawn(nul),
        Err(SpawnError::NulByte {
            what: "an argument"
        })
    ));
    let mut name = sh("true");
    name.env.insert(OsString::from("A=B"), "c".into());
    assert!(matches!(
        spawner.spawn(name),
        Err(SpawnError::EnvName { .. })
    ));
    // None of this hurt the spawner.
    assert!(
        spawner
            .spawn(sh("exit 0"))
            .unwrap()
            .reap()
            .unwrap()
            .success()
    );
}

/// The host that is killed: started by `nothing_survives_a_killed_host`, through a copy of this
/// test binary.
#[test]
#[ignore = "a helper process of nothing_survives_a_killed_host"]
fn helper_host() {
    let fifo =
        std::env::var("GK_SANDBOX_TEST_FIFO").expect("set by nothing_survives_a_killed_host");
    let spawner = Spawner::new().unwrap();
    let child = spawner
        .spawn(sh(&format!(
            "exec 3>'{fifo}'; echo up >&3; exec sleep 1000"
        )))
        .unwrap();
    child.wait().unwrap();
}

#[test]
fn nothing_survives_a_killed_host() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    let reader = rustix::fs::open(
        &fifo,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .unwrap();

    #[expect(
        clippy::disallowed_methods,
        reason = "the host under test must be a plain process"
    )]
    let mut host = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "helper_host", "--ignored"])
        .env("GK_SANDBOX_TEST_FIFO", &fifo)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(read_while(&reader, |all| all.ends_with(b"up\n")), b"up\n");
    host.kill().unwrap();
    host.wait().unwrap();
    // The plugin holds the writing end: end of file means that it is gone.
    assert_eq!(read_while(&reader, |_| false), b"");
}
