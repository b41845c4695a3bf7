//! Sandboxes for real: what a program in one sees and can do, how it ends, what is left. Nothing
//! here sleeps: each wait is for an event and has a deadline.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeSet;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use gk_sandbox::{
    Child, Confinement, ExitStatus, KeeperProgram, Layer, Program, SandboxSpec, SpawnError,
    Spawner, State, Strictness,
};
use rustix::event::{PollFd, PollFlags, Timespec};

const DEADLINE: Duration = Duration::from_secs(120);

/// Lives as long as the process: what it starts ends with it.
fn spawner() -> &'static Spawner {
    static SPAWNER: OnceLock<Spawner> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let keeper = KeeperProgram::at(env!("CARGO_BIN_EXE_gk-sandbox-keeper"));
        Spawner::with_keeper(keeper).unwrap()
    })
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A script, in a directory that every user may enter.
struct Script {
    dir: tempfile::TempDir,
}

impl Script {
    fn new(text: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let open = |mode| std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(dir.path(), open(0o755)).unwrap();
        let path = dir.path().join("script");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, open(0o755)).unwrap();
        Self { dir }
    }

    fn spec(&self) -> SandboxSpec {
        let mut spec = SandboxSpec::new(self.dir.path().join("script"), "/tmp");
        spec.env.insert("PATH".into(), "/usr/bin:/bin".into());
        spec.env.insert("HOME".into(), "/tmp/plugin".into());
        spec.confinement = Some(Confinement::new("test", "/tmp/plugin"));
        spec
    }
}

fn confinement(spec: &mut SandboxSpec) -> &mut Confinement {
    spec.confinement.as_mut().unwrap()
}

fn wait_readable(fd: impl AsFd) {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let timeout = Timespec::try_from(DEADLINE).unwrap();
    assert_eq!(
        rustix::event::poll(&mut fds, Some(&timeout)).unwrap(),
        1,
        "nothing within {DEADLINE:?}"
    );
}

/// All it prints until it ends, stderr first.
fn output(child: &mut Child) -> (String, ExitStatus) {
    let mut text = String::new();
    let (stdout, stderr) = child.clone_pipes().unwrap();
    wait_readable(child.pidfd());
    for fd in [stderr, stdout] {
        let mut file = std::fs::File::from(fd);
        let mut said = Vec::new();
        // Somebody who was left behind would hold it open.
        loop {
            wait_readable(&file);
            let mut chunk = [0; 4096];
            match file.read(&mut chunk).unwrap() {
                0 => break,
                count => said.extend_from_slice(&chunk[..count]),
            }
        }
        text.push_str(&String::from_utf8_lossy(&said));
    }
    (text, child.reap().unwrap())
}

fn run(text: &str, change: impl FnOnce(&mut Confinement)) -> (String, ExitStatus) {
    let script = Script::new(text);
    let mut spec = script.spec();
    change(confinement(&mut spec));
    output(&mut spawner().spawn(spec).unwrap())
}

fn first_line(fd: &OwnedFd) -> String {
    let mut line = Vec::new();
    let mut file = std::fs::File::from(fd.try_clone().unwrap());
    while line.last() != Some(&b'\n') {
        wait_readable(&file);
        let mut byte = [0];
        assert_eq!(
            file.read(&mut byte).unwrap(),
            1,
            "{:?}",
            String::from_utf8_lossy(&line)
        );
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

#[test]
fn this_machine_enforces_every_layer_but_those_that_need_root() {
    let report = spawner()
        .probe(&Confinement::new("probe", "/tmp/probe"))
        .unwrap();
    assert_eq!(report.layers.len(), Layer::ALL.len(), "{report:?}");
    let needs_root = [Layer::Identity, Layer::Memory, Layer::Processes];
    for entry in &report.layers {
        if entry.layer == Layer::Cpu {
            // Nobody asked for a limit.
            assert_eq!(entry.state, State::Off);
        } else if root() || !needs_root.contains(&entry.layer) {
            assert_eq!(entry.state, State::Enforced, "{entry:?}");
            assert_eq!(entry.remedy(), None);
        }
    }
}

#[test]
fn it_sees_a_world_of_its_own() {
    let (said, status) = run(
        "ls /; ls -A /tmp /proc/self/root/etc; ls /proc | grep -c '^[0-9]'; hostname; ls /sys/class/net; cat /proc/net/dev; touch /x; id -u",
        |_| {},
    );
    assert!(status.success() || said.contains("Read-only"), "{said}");
    for hidden in [
        "root",
        "home",
        "var",
        "sys",
        "shadow",
        "hostname:",
        "eth0",
        "lo:",
    ] {
        assert!(!said.lines().any(|line| line == hidden), "{hidden}: {said}");
    }
    assert!(
        said.lines().any(|line| line == "test"),
        "its host name: {said}"
    );
    assert!(said.contains("Read-only file system"), "{said}");
    assert!(!said.lines().any(|line| line == "0"), "it is root: {said}");
}

#[test]
fn what_is_named_is_there_and_no_more() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    for name in ["shown", "written", "hidden"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        std::fs::write(dir.path().join(name).join("file"), name).unwrap();
        let all = PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(dir.path().join(name), all).unwrap();
    }
    let at = dir.path().display();
    let text = format!(
        "cat {at}/shown/file; echo; echo no > {at}/shown/more; echo yes > {at}/written/more; \
         cat {at}/hidden/file; cp /usr/bin/true {at}/written/true; chmod +x {at}/written/true; {at}/written/true; echo $?"
    );
    let (said, _) = run(&text, |confinement| {
        confinement.read_only.push(dir.path().join("shown"));
        confinement.writable.push(dir.path().join("written"));
    });
    assert!(said.lines().any(|line| line == "shown"), "{said}");
    assert!(!dir.path().join("shown/more").exists(), "{said}");
    let written = std::fs::read_to_string(dir.path().join("written/more")).unwrap();
    assert_eq!(written, "yes\n", "{said}");
    assert!(said.contains("hidden/file: No such file"), "{said}");
    assert!(said.ends_with("126\n"), "it executed what it wrote: {said}");
}

#[test]
fn its_sockets_are_in_a_small_directory_of_its_own() {
    use gk_sandbox::socket::{ExpectedPeer, SocketError, connect};
    let outside = tempfile::tempdir().unwrap();
    let at = outside.path();
    // Without one of its own it would fill the host's disk.
    let script = Script::new(&format!(
        "cd {} || exit 9; mkdir d; ln -s /dev/null l; dd if=/dev/zero of=big bs=65536 count=2 2>/dev/null && exit 8; \
         i=0; while [ $i -lt 1000 ]; do ln -s . f$i || exit $i; i=$((i+1)); done",
        at.display()
    ));
    let mut spec = script.spec();
    confinement(&mut spec).socket_dir = Some(at.into());
    let mut child = spawner().spawn(spec).unwrap();
    let (said, status) = output(&mut child);
    assert!(said.contains("No space left"), "{said}");
    let made = |code| (10..64).contains(&code);
    assert!(
        matches!(status, ExitStatus::Exited { code } if made(code)),
        "{status}"
    );
    assert_eq!(at.read_dir().unwrap().count(), 0);
    // What is there is judged as it would be outside.
    let expected = ExpectedPeer {
        uid: 0,
        session: None,
    };
    let there = |name: &str| connect(&at.join(name), child.sockets(), expected).unwrap_err();
    for (name, is) in [("d", "a directory"), ("l", "a symbolic link")] {
        match there(name) {
            SocketError::NotASocket { found, .. } => assert_eq!(found, is),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(there("absent"), SocketError::Open { .. }));
    // Some programs make it in their temporary directory.
    let script = Script::new("cd /tmp/plugin || exit 9; mkdir d; ln -s /dev/null l");
    let mut other = spawner().spawn(script.spec()).unwrap();
    let (said, status) = output(&mut other);
    assert!(status.success(), "{said} {status}");
    let there = |name: &str| {
        let path = std::path::Path::new("/tmp/plugin").join(name);
        connect(&path, other.temp_dir(), expected).unwrap_err()
    };
    for (name, is) in [("d", "a directory"), ("l", "a symbolic link")] {
        match there(name) {
            SocketError::NotASocket { found, .. } => assert_eq!(found, is),
            other => panic!("{other:?}"),
        }
    }
    // A path without a name is not one outside instead.
    let nowhere = connect("/".as_ref(), child.sockets(), expected).unwrap_err();
    assert!(matches!(nowhere, SocketError::Open { .. }), "{nowhere}");
}

#[test]
fn paths_that_lie_in_one_another_are_refused() {
    // The inner one could be a link by the time of the next start.
    let outer = tempfile::tempdir().unwrap();
    let inner = outer.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    let script = Script::new("true");
    let mut spec = script.spec();
    confinement(&mut spec).writable = vec![outer.path().into(), inner.clone()];
    let refused = spawner().spawn(spec).unwrap_err();
    assert!(matches!(refused, SpawnError::Paths { .. }), "{refused:?}");
    let text = refused.to_string();
    for part in [outer.path(), inner.as_path()] {
        assert!(text.contains(part.to_str().unwrap()), "{text}");
    }
    assert!(text.ends_with("give it another place"), "{text}");
    // A temporary directory in what is shown is one, too.
    let mut spec = script.spec();
    let confinement = confinement(&mut spec);
    confinement.read_only.push(outer.path().into());
    confinement.temp_dir = outer.path().join("temp");
    let refused = spawner().spawn(spec).unwrap_err();
    assert!(matches!(refused, SpawnError::Paths { .. }), "{refused:?}");
}

#[test]
fn required_refuses_what_best_effort_starts() {
    let script = Script::new("true");
    let mut spec = script.spec();
    let confinement = confinement(&mut spec);
    confinement.level = Strictness::Required;
    let started = spawner().spawn(spec.clone());
    if root() {
        assert!(started.unwrap().report().is_complete());
    } else {
        let refused = started.unwrap_err();
        assert!(matches!(refused, SpawnError::Layer { .. }), "{refused}");
    }
}

/// Where the host may make no network namespace.
#[test]
#[ignore = "a helper process of a_kind_of_namespace_that_is_missing_costs_no_other"]
fn helper_without_network_namespaces() {
    let script = Script::new("true");
    let mut child = spawner().spawn(script.spec()).unwrap();
    let report = child.report();
    let state = |layer| report.get(layer).unwrap();
    assert_eq!(state(Layer::Network).state, State::Absent);
    assert_eq!(state(Layer::Network).errno, Some(libc_enospc()));
    for layer in [
        Layer::User,
        Layer::Mount,
        Layer::Pid,
        Layer::Ipc,
        Layer::Uts,
    ] {
        assert_eq!(state(layer).state, State::Enforced, "{report}");
    }
    assert!(child.reap().unwrap().success());
    let mut spec = script.spec();
    confinement(&mut spec).level = Strictness::Required;
    let refused = spawner().spawn(spec).unwrap_err();
    assert!(
        matches!(
            refused,
            SpawnError::Layer {
                layer: Layer::Network,
                ..
            }
        ),
        "{refused}"
    );
    // And it says what to do, also where there is no doctor to ask.
    let text = refused.to_string();
    assert!(text.contains("sysctl user.max_pid_namespaces"), "{text}");
}

fn libc_enospc() -> i32 {
    rustix::io::Errno::NOSPC.raw_os_error()
}

#[test]
fn a_kind_of_namespace_that_is_missing_costs_no_other() {
    let limited = "echo 0 > /proc/sys/user/max_net_namespaces && exec \"$0\" \"$@\"";
    #[expect(
        clippy::disallowed_methods,
        reason = "the host under test must be a plain process"
    )]
    let output = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c", limited])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "helper_without_network_namespaces", "--ignored"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_layer_that_is_not_wanted_is_off_and_the_others_hold() {
    let off: BTreeSet<Layer> = Layer::ALL.iter().copied().collect();
    for layer in off {
        let mut confinement = Confinement::new("without", "/tmp/without");
        confinement.without = confinement.without.with(layer);
        let report = spawner().probe(&confinement).unwrap();
        let entry = report.get(layer).unwrap();
        // Without a user namespace an unprivileged host has no other, either.
        let alone = !root() && layer == Layer::User;
        assert!(entry.state == State::Off || alone, "{entry:?}");
        for other in report.layers.iter().filter(|other| other.layer != layer) {
            // The kernel takes no filter of a process that could gain privileges.
            let follows = (layer, other.layer) == (Layer::NoNewPrivileges, Layer::Seccomp);
            if root() && !follows {
                assert!(other.remedy().is_none(), "without {layer}: {other:?}");
            }
        }
    }
}

#[test]
fn its_end_is_told_as_it_was() {
    for (text, ended) in [
        ("exit 7", ExitStatus::Exited { code: 7 }),
        (
            "kill -TERM $$",
            ExitStatus::Signaled {
                signal: 15,
                core_dumped: false,
            },
        ),
    ] {
        let (said, status) = run(text, |_| {});
        assert_eq!(status, ended, "{text}: {said}");
    }
}

#[test]
fn what_it_leaves_behind_ends_with_it() {
    let script = Script::new("setsid sh -c 'echo here; exec sleep 1000' & read line; exit 0");
    let mut spec = script.spec();
    // Also where only the first process can do it.
    for without in [None, Some(Layer::Pid)] {
        if let Some(layer) = without {
            let confinement = confinement(&mut spec);
            confinement.without = confinement.without.with(layer);
        }
        let mut child = spawner().spawn(spec.clone()).unwrap();
        // stdin is /dev/null, so the script ends at once; its child keeps stdout open until it
        // is killed.
        let (said, status) = output(&mut child);
        assert!(status.success(), "{status}");
        assert!(said.is_empty() || said == "here\n", "{said}");
    }
}

#[test]
fn killing_it_kills_all_of_it() {
    for without in [None, Some(Layer::Pid)] {
        let script = Script::new("sleep 1000 & setsid sleep 1000 & echo started; wait");
        let mut spec = script.spec();
        if let Some(layer) = without {
            let confinement = confinement(&mut spec);
            confinement.without = confinement.without.with(layer);
        }
        let spawner = spawner();
        let mut child = spawner.spawn(spec).unwrap();
        assert_eq!(first_line(&child.stdout), "started");
        child.kill_group().unwrap();
        // The pipe ends when the last process that has it does.
        let (_, status) = output(&mut child);
        assert!(
            matches!(status, ExitStatus::Signaled { signal: 9, .. }),
            "{without:?}: {status}"
        );
    }
}

#[test]
fn a_child_that_is_dropped_is_killed() {
    let script = Script::new("echo started; exec sleep 1000");
    let spawner = spawner();
    let child = spawner.spawn(script.spec()).unwrap();
    assert_eq!(first_line(&child.stdout), "started");
    let pidfd = child.pidfd().try_clone_to_owned().unwrap();
    drop(child);
    wait_readable(pidfd);
}

#[test]
fn more_memory_than_it_may_is_the_end_of_it_and_told() {
    // By a control group, where there is one, and by adding up, where there is none.
    for without in [None, Some(Layer::Memory)] {
        let script = Script::new("head -c 200000000 /dev/zero | tail > /dev/null; echo survived");
        let mut spec = script.spec();
        let confinement = confinement(&mut spec);
        confinement.resources.memory_bytes = 48 << 20;
        if let Some(layer) = without {
            confinement.without = confinement.without.with(layer);
        }
        let (said, status) = output(&mut spawner().spawn(spec).unwrap());
        match without {
            // With control groups of version 1 the shell survives what the kernel killed; what it
            // had was the memory.
            None if root() => assert!(
                said.contains("Killed") || matches!(status, ExitStatus::MemoryLimit { .. }),
                "{said} {status}"
            ),
            None => assert_eq!(
                status,
                ExitStatus::MemoryLimit { bytes: 48 << 20 },
                "{said}"
            ),
            // See that it is the layer that does it.
            Some(_) => assert!(
                said.contains("survived") && !said.contains("Killed"),
                "{said}"
            ),
        }
    }
}

#[test]
fn the_limit_of_memory_reads_as_it_should() {
    let status = ExitStatus::MemoryLimit { bytes: 64 << 20 };
    assert_eq!(status.to_string(), "killed: memory limit 64 MB");
}

#[test]
fn pinned_bytes_run_whatever_becomes_of_the_path() {
    let script = Script::new("echo first");
    let path = script.dir.path().join("script");
    let file: OwnedFd = std::fs::File::open(&path).unwrap().into();
    let mut spec = script.spec();
    spec.program = Program::Pinned {
        name: path.clone(),
        file: Arc::new(file),
    };
    // Another file is at the path by now; the open one has its bytes.
    let other = script.dir.path().join("other");
    std::fs::write(&other, "#!/bin/sh\necho second\n").unwrap();
    std::fs::rename(&other, &path).unwrap();
    for confined in [true, false] {
        if !confined {
            spec.confinement = None;
        }
        let (said, status) = output(&mut spawner().spawn(spec.clone()).unwrap());
        assert_eq!(said, "first\n", "confined: {confined}, {status}");
    }
    let mut binary = script.spec();
    binary.program = Program::Pinned {
        name: "/bin/echo".into(),
        file: Arc::new(std::fs::File::open("/bin/echo").unwrap().into()),
    };
    binary.args = vec!["pinned".into()];
    let (said, status) = output(&mut spawner().spawn(binary).unwrap());
    assert_eq!(said, "pinned\n", "{status}");
}

/// A package with a library of its own. The program runs from a memory file, where its loader finds
/// nothing beside it.
#[test]
#[expect(clippy::disallowed_methods, reason = "a compiler, not a plugin")]
fn a_pinned_binary_finds_the_libraries_beside_it() {
    use std::io::Write;
    let package = Script::new("true");
    let dir = package.dir.path();
    std::fs::create_dir(dir.join("lib")).unwrap();
    std::fs::write(
        dir.join("greet.c"),
        "#include <stdio.h>\nvoid greet(void) { puts(\"greeted\"); }\n",
    )
    .unwrap();
    std::fs::write(
        dir.join("main.c"),
        "void greet(void);\nint main(void) { greet(); return 0; }\n",
    )
    .unwrap();
    let compile = |arguments: &[&str]| {
        let mut cc = std::process::Command::new("cc");
        let built = cc.current_dir(dir).args(arguments).status();
        assert!(
            built
                .expect("a C compiler (Debian: gcc libc6-dev)")
                .success()
        );
    };
    compile(&["-shared", "-fPIC", "greet.c", "-o", "lib/libgreet.so"]);
    compile(&[
        "main.c",
        "-Llib",
        "-lgreet",
        "-Wl,-rpath,$ORIGIN/lib",
        "-o",
        "main",
    ]);
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let file = rustix::fs::memfd_create("main", flags).unwrap();
    let mut file = std::fs::File::from(file);
    file.write_all(&std::fs::read(dir.join("main")).unwrap())
        .unwrap();
    // Open for reading alone: what is open for writing is not executed.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let read_only: OwnedFd = std::fs::File::open(path).unwrap().into();
    drop(file);
    let mut spec = package.spec();
    spec.program = Program::Pinned {
        name: dir.join("main"),
        file: Arc::new(read_only),
    };
    confinement(&mut spec).read_only.push(dir.into());
    for confined in [true, false] {
        if !confined {
            spec.confinement = None;
        }
        let (said, status) = output(&mut spawner().spawn(spec.clone()).unwrap());
        assert_eq!(said, "greeted\n", "confined: {confined}, {status}");
    }
}

#[test]
fn mistakes_are_told_before_or_after_the_exec() {
    let spawner = spawner();
    let script = Script::new("true");
    let mut relative = script.spec();
    confinement(&mut relative).writable.push("here".into());
    assert!(matches!(
        spawner.spawn(relative),
        Err(SpawnError::RelativePath { .. })
    ));
    let mut named = script.spec();
    confinement(&mut named).name = "../x".into();
    assert!(matches!(
        spawner.spawn(named),
        Err(SpawnError::SandboxName { .. })
    ));
    let mut superuser = script.spec();
    confinement(&mut superuser).identity = gk_sandbox::Identity::new(0, 1);
    assert!(matches!(
        spawner.spawn(superuser),
        Err(SpawnError::RootIdentity)
    ));
    let mut nowhere = script.spec();
    nowhere.working_dir = "/no/such/directory".into();
    assert!(matches!(
        spawner.spawn(nowhere),
        Err(SpawnError::WorkingDir { .. })
    ));
    let mut missing = script.spec();
    missing.program = "/no/such/program".into();
    assert!(matches!(
        spawner.spawn(missing),
        Err(SpawnError::Missing { .. })
    ));
    let mut large = script.spec();
    large.args = vec!["x".repeat(200_000).into()];
    let refused = spawner.spawn(large).unwrap_err();
    assert!(
        format!("{refused:?}").contains("at most 131072"),
        "{refused:?}"
    );
    let plain = Spawner::new().unwrap();
    assert!(matches!(
        plain.spawn(script.spec()),
        Err(SpawnError::NoKeeper)
    ));
}
