//! Against the kernel's cgroups, as root: real processes, real limits. Each attack is made once
//! without a cgroup, too.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use super::group::set;
use super::*;
use crate::sys::trial::{Beside, Ended, become_nobody, beside, call, ends_well};

const MIB: usize = 1 << 20;
const DEADLINE: Duration = Duration::from_secs(120);

const LIMITS: Resources = Resources {
    memory_bytes: 32 << 20,
    processes: 48,
    cpu_millis: None,
};

/// Hosts sweep up each other's remains, also those on which a test has its eye.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn label(test: &str) -> String {
    format!("test-{test}-{}", std::process::id())
}

fn open(label: &str) -> Cgroups {
    let cgroups = Cgroups::open(label);
    for (which, state) in cgroups.states() {
        assert!(
            matches!(state, GroupState::V1 | GroupState::V2),
            "the test needs root and a writable cgroup file system with the {which} controller: {state:?}"
        );
    }
    cgroups
}

/// Where the directories of a host are, all that exist.
fn directories(label: &str) -> Vec<PathBuf> {
    let own = find::Own::read().unwrap();
    let mut bases: Vec<PathBuf> = ALL
        .iter()
        .filter_map(|which| own.with_controller(which.controller()))
        .chain(own.unified())
        .collect();
    bases.sort();
    bases.dedup();
    bases
        .into_iter()
        .map(|base| base.join(format!("goatkit-{label}")))
        .filter(|path| path.exists())
        .collect()
}

fn limited(cgroups: &Cgroups, name: &str, limits: &Resources) -> Group {
    let mut group = cgroups.create(name);
    cgroups.limit(&mut group, limits);
    group
}

fn end(group: &Group) {
    while !group.kill().unwrap() {
        std::thread::yield_now();
    }
}

/// Ends the group and sees that nothing of it remains.
fn finish(mut group: Group) {
    end(&group);
    assert!(group.wait_empty(DEADLINE).unwrap());
    group.remove().unwrap();
}

/// A child that does `body` when it has been put into the group, if into one.
fn inside(group: Option<&Group>, body: impl FnOnce()) -> Ended {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let child = beside(move || {
        theirs.read_exact(&mut [0]).unwrap();
        body();
    });
    if let Some(group) = group {
        group.enter(child.pid.as_raw_pid()).unwrap();
    }
    ours.write_all(b"!").unwrap();
    child.ended()
}

#[test]
fn more_memory_than_allowed_ends_the_process() {
    let _one = one_at_a_time();
    let label = label("memory");
    let cgroups = open(&label);
    let group = limited(&cgroups, "memory", &LIMITS);
    let counter = group.oom_counter().unwrap();
    let private = || drop(std::hint::black_box(vec![1_u8; 128 * MIB]));
    let shared = || {
        let length = libc::c_long::try_from(128 * MIB).unwrap();
        // Read and write; MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE.
        call(libc::SYS_mmap, &[0, length, 3, 0x8021, -1, 0]).unwrap();
        // Populating stops quietly at the limit; the bytes beyond do not.
        private();
    };
    for attack in [&private as &dyn Fn(), &shared] {
        assert_eq!(inside(None, attack), Ended::Well);
        let before = oom_kills(&counter).unwrap();
        assert_eq!(inside(Some(&group), attack), Ended::Signaled(libc::SIGKILL));
        assert!(oom_kills(&counter).unwrap() > before);
    }
    // Nor is swap a way out, where the kernel accounts for it.
    let limit = LIMITS.memory_bytes.to_string();
    for dir in &group.dirs {
        if let Ok(with_swap) = files::read(&dir.dir, "memory.memsw.limit_in_bytes") {
            assert_eq!(with_swap.trim(), limit);
        }
    }
    // What fits is no matter.
    let fits = || drop(std::hint::black_box(vec![1_u8; 4 * MIB]));
    assert_eq!(inside(Some(&group), fits), Ended::Well);
    finish(group);
}

#[test]
fn more_processes_than_allowed_are_refused() {
    let _one = one_at_a_time();
    let label = label("pids");
    let cgroups = open(&label);
    let limits = Resources {
        memory_bytes: 1 << 30,
        ..LIMITS
    };
    let group = limited(&cgroups, "pids", &limits);
    let attack = || {
        for _ in 0..100 {
            let thread = std::thread::Builder::new().stack_size(64 * 1024).spawn(|| {
                loop {
                    std::thread::park();
                }
            });
            if let Err(error) = thread {
                panic!("{:?}", error.raw_os_error());
            }
        }
    };
    assert_eq!(inside(None, attack), Ended::Well);
    let refused = format!("{:?}", Some(libc::EAGAIN));
    assert_eq!(inside(Some(&group), attack), Ended::Panicked(refused));
    finish(group);
}

#[test]
fn a_processor_hog_is_throttled() {
    let _one = one_at_a_time();
    let label = label("cpu");
    let cgroups = open(&label);
    let limits = Resources {
        cpu_millis: Some(100),
        ..LIMITS
    };
    let group = limited(&cgroups, "cpu", &limits);
    let child = beside(|| {
        loop {
            std::hint::spin_loop();
        }
    });
    group.enter(child.pid.as_raw_pid()).unwrap();
    let dir = group
        .dirs
        .iter()
        .find(|dir| {
            files::open_file(&dir.dir, "cpu.stat").is_ok_and(|stat| {
                files::read_from_start(stat)
                    .unwrap()
                    .contains("nr_throttled")
            })
        })
        .unwrap();
    // The kernel counts the periods in which the hog was stopped; there is no event for it.
    let end = Instant::now() + DEADLINE;
    while files::counter(&files::read(&dir.dir, "cpu.stat").unwrap(), "nr_throttled") == Some(0) {
        assert!(Instant::now() < end, "never throttled");
        std::thread::yield_now();
    }
    finish(group);
    drop(child);
}

/// Forks until it cannot, and its children do likewise; from the first byte on that it reads, and
/// it writes one for each.
fn fork_bomb() -> (Beside, UnixStream) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(DEADLINE)).unwrap();
    let bomb = beside(move || {
        theirs.read_exact(&mut [0]).unwrap();
        loop {
            // A child without the parent-death signal of the helpers'.
            let signal = libc::c_long::from(libc::SIGCHLD);
            let _ = call(libc::SYS_clone, &[signal, 0, 0, 0, 0]);
            let _ = theirs.write(b"!");
        }
    });
    (bomb, ours)
}

#[test]
fn a_fork_bomb_is_ended_as_a_whole() {
    let _one = one_at_a_time();
    let label = label("kill");
    let cgroups = open(&label);
    for with_v2 in [true, false] {
        let name = format!("kill-{with_v2}");
        let mut group = limited(&cgroups, &name, &LIMITS);
        if with_v2 {
            assert!(group.v2_dir().is_some(), "the test needs cgroup2");
            assert!(group.populated_fd().is_some());
        }
        let unused: Vec<GroupDir> = if with_v2 {
            Vec::new()
        } else {
            group
                .dirs
                .extract_if(.., |dir| dir.tree.version == Version::Two)
                .collect()
        };
        if group.dirs.is_empty() {
            // A machine whose controllers are all of version 2: without it the bomb would have no
            // limit.
            group.dirs.extend(unused);
            group.remove().unwrap();
            continue;
        }
        let (bomb, mut stream) = fork_bomb();
        group.enter(bomb.pid.as_raw_pid()).unwrap();
        stream.write_all(b"!").unwrap();
        stream.read_exact(&mut [0; 64]).unwrap();
        // The end of the first process ends nothing, and while there are any, nothing is removed.
        kill_process(bomb.pid, Signal::KILL).unwrap();
        assert_eq!(bomb.ended(), Ended::Signaled(libc::SIGKILL));
        assert!(!group.is_empty().unwrap());
        assert_eq!(
            group.remove().unwrap_err().raw_os_error(),
            Some(libc::EBUSY)
        );

        end(&group);
        assert!(group.wait_empty(DEADLINE).unwrap());
        assert!(group.is_empty().unwrap());
        group.dirs.extend(unused);
        group.remove().unwrap();
        // Again is no error.
        group.remove().unwrap();
    }
    assert!(!directories(&label).is_empty());
    drop(cgroups);
    assert_eq!(directories(&label), Vec::<PathBuf>::new());
}

/// The populated event comes when the last process ends.
#[test]
fn the_last_process_is_an_event() {
    let _one = one_at_a_time();
    let label = label("event");
    let cgroups = open(&label);
    let group = limited(&cgroups, "event", &LIMITS);
    let events = group.populated_fd().expect("the test needs cgroup2");
    assert!(group.is_empty().unwrap());
    let child = beside(|| {
        loop {
            std::thread::park();
        }
    });
    group.enter(child.pid.as_raw_pid()).unwrap();
    assert!(!group.is_empty().unwrap());
    assert!(!group.wait_empty(Duration::ZERO).unwrap());
    // Consumes the event of the first process.
    files::read_from_start(&events).unwrap();
    kill_process(child.pid, Signal::KILL).unwrap();
    let mut poll = [rustix::event::PollFd::new(
        &events,
        rustix::event::PollFlags::PRI,
    )];
    let timeout = rustix::event::Timespec::try_from(DEADLINE).unwrap();
    assert_eq!(rustix::event::poll(&mut poll, Some(&timeout)).unwrap(), 1);
    drop(child);
    finish(group);
}

#[test]
fn what_a_killed_host_left_is_swept_up_and_a_live_one_is_left_alone() {
    let _one = one_at_a_time();
    let (dead, live, label) = (label("dead"), label("live"), label("sweeper"));
    let alive = open(&live);
    let living = beside(|| {
        loop {
            std::thread::park();
        }
    });
    let mut living_group = limited(&alive, "a", &LIMITS);
    living_group.enter(living.pid.as_raw_pid()).unwrap();

    let (stdin, _held) = UnixStream::pair().unwrap();
    let (mut said, says) = UnixStream::pair().unwrap();
    let host = beside(|| {
        let cgroups = open(&dead);
        let group = limited(&cgroups, "orphan", &LIMITS);
        #[allow(
            clippy::disallowed_methods,
            reason = "an orphan that outlives its host is what is tested"
        )]
        let orphan = std::process::Command::new("/bin/cat")
            .stdin(std::os::fd::OwnedFd::from(stdin))
            .process_group(0)
            .spawn()
            .unwrap();
        let pid = i32::try_from(orphan.id()).unwrap();
        group.enter(pid).unwrap();
        (&says).write_all(&pid.to_ne_bytes()).unwrap();
        // As the host is killed: without a destructor.
        std::process::abort();
    });
    assert_eq!(host.ended(), Ended::Signaled(libc::SIGABRT));
    let mut pid = [0; 4];
    said.read_exact(&mut pid).unwrap();
    let orphan = rustix::process::Pid::from_raw(i32::from_ne_bytes(pid)).unwrap();
    // It lives, and nothing but a sweep will change that.
    rustix::process::test_kill_process(orphan).unwrap();
    let left = directories(&dead);
    assert!(!left.is_empty() && left.iter().all(|dir| dir.join("sandbox-orphan").exists()));
    let pidfd = rustix::process::pidfd_open(orphan, rustix::process::PidfdFlags::empty()).unwrap();

    let _cgroups = open(&label);
    let mut ended = [rustix::event::PollFd::new(
        &pidfd,
        rustix::event::PollFlags::IN,
    )];
    let timeout = rustix::event::Timespec::try_from(DEADLINE).unwrap();
    assert_eq!(rustix::event::poll(&mut ended, Some(&timeout)).unwrap(), 1);
    assert_eq!(directories(&dead), Vec::<PathBuf>::new());

    assert!(!living_group.is_empty().unwrap());
    assert!(!directories(&live).is_empty());
    drop(living);
    assert!(living_group.wait_empty(DEADLINE).unwrap());
    living_group.remove().unwrap();
}

#[test]
fn two_hosts_have_two_labels() {
    let _one = one_at_a_time();
    let label = label("twice");
    let _first = open(&label);
    let second = Cgroups::open(&label);
    for (which, state) in second.states() {
        let GroupState::Absent { errno, .. } = state else {
            panic!("{which}: {state:?}");
        };
        assert_eq!(errno, libc::EWOULDBLOCK);
        assert!(crate::report::remedy(crate::Layer::Memory, Some(errno)).contains("label"));
    }
    drop(second);
    assert!(!directories(&label).is_empty());
}

#[test]
fn names_lead_nowhere_else() {
    let _one = one_at_a_time();
    let label = label("names");
    let cgroups = open(&label);
    let too_long = "n".repeat(NAME_BYTES_MAX + 1);
    for name in ["", "../x", "a/b", "a b", "ä", too_long.as_str()] {
        let absent =
            |state| matches!(state, GroupState::Absent { errno, .. } if errno == libc::EINVAL);
        let group = limited(&cgroups, name, &LIMITS);
        assert!(group.dirs.is_empty());
        assert!(group.states().iter().all(|(_, state)| absent(*state)));
        assert!(
            Cgroups::open(name)
                .states()
                .iter()
                .all(|(_, state)| absent(*state))
        );
    }
    let longest = "n".repeat(NAME_BYTES_MAX);
    for name in ["..", "memory.max", longest.as_str()] {
        let mut group = limited(&cgroups, name, &LIMITS);
        assert_eq!(group.states(), cgroups.states());
        group.remove().unwrap();
    }
    // The name of a sandbox that is gone can be used again; of one that is not, it cannot.
    let gone = limited(&cgroups, "again", &LIMITS);
    drop(gone);
    let group = limited(&cgroups, "again", &LIMITS);
    assert_eq!(group.states(), cgroups.states());
    let child = beside(|| {
        loop {
            std::thread::park();
        }
    });
    group.enter(child.pid.as_raw_pid()).unwrap();
    let second = limited(&cgroups, "again", &LIMITS);
    let busy = |state| matches!(state, GroupState::Absent { errno, .. } if errno == libc::EBUSY);
    assert!(second.states().iter().all(|(_, state)| busy(*state)));
    drop(child);
    finish(group);
}

#[test]
fn an_unprivileged_user_without_delegation_is_told() {
    ends_well(|| {
        become_nobody();
        let cgroups = Cgroups::open(&label("nobody"));
        for (which, state) in cgroups.states() {
            let GroupState::Absent { errno, why } = state else {
                panic!("{which}: {state:?}");
            };
            assert!(
                [libc::EACCES, libc::EROFS].contains(&errno),
                "{why}: {errno}"
            );
        }
        let mut group = limited(&cgroups, "any", &LIMITS);
        assert_eq!(group.states(), cgroups.states());
        assert!(group.v2_dir().is_none() && group.oom_counter().is_none());
        let unsupported = group.kill().unwrap_err();
        assert_eq!(unsupported.kind(), io::ErrorKind::Unsupported);
        group.remove().unwrap();
    });
}

/// A user to whom a cgroup of version 2 was given can at least end what he started.
#[test]
fn an_unprivileged_user_with_delegation_can_kill() {
    let _one = one_at_a_time();
    let own = find::Own::read().unwrap().unified();
    let own = own.expect("the test needs cgroup2");
    // Not by a host's name: it is not locked.
    let given = own.join(format!("gk-given-{}", std::process::id()));
    std::fs::create_dir(&given).unwrap();
    for name in ["", "cgroup.procs", "cgroup.subtree_control"] {
        std::os::unix::fs::chown(given.join(name), Some(65534), Some(65534)).unwrap();
    }
    let label = label("given");
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let host = beside(move || {
        theirs.read_exact(&mut [0]).unwrap();
        become_nobody();
        let cgroups = Cgroups::open(&label);
        let mut group = limited(&cgroups, "mine", &LIMITS);
        assert!(group.v2_dir().is_some());
        let child = beside(|| {
            loop {
                std::thread::park();
            }
        });
        group.enter(child.pid.as_raw_pid()).unwrap();
        assert!(!group.is_empty().unwrap());
        end(&group);
        assert!(group.wait_empty(DEADLINE).unwrap());
        assert_eq!(child.ended(), Ended::Signaled(libc::SIGKILL));
        group.remove().unwrap();
    });
    std::fs::write(
        given.join("cgroup.procs"),
        host.pid.as_raw_pid().to_string(),
    )
    .unwrap();
    ours.write_all(b"!").unwrap();
    let ended = host.ended();
    // Nothing is left in it: neither the host's directory nor the sandbox's.
    std::fs::remove_dir(&given).unwrap();
    assert_eq!(ended, Ended::Well);
}

/// This machine may have no controller in version 2; what is written there is checked against
/// files that take it.
#[test]
fn version_2_is_written_as_it_reads() {
    let temp = tempfile::tempdir().unwrap();
    let dir = tree::open_base(temp.path()).unwrap();
    let path = |name: &str| temp.path().join(name);
    let is = |name: &str| std::fs::read_to_string(path(name)).unwrap();
    for name in [
        "memory.max",
        "memory.swap.max",
        "memory.oom.group",
        "pids.max",
        "cpu.max",
    ] {
        std::fs::write(path(name), "").unwrap();
    }
    let limits = Resources {
        memory_bytes: 64 << 20,
        processes: 32,
        cpu_millis: Some(1500),
    };
    for which in ALL {
        set(&dir, Version::Two, which, &limits).unwrap();
    }
    assert_eq!(is("memory.max"), "67108864");
    assert_eq!(is("memory.swap.max"), "0");
    assert_eq!(is("memory.oom.group"), "1");
    assert_eq!(is("pids.max"), "32");
    assert_eq!(is("cpu.max"), "150000 100000");
    // A limit that cannot be set is told, not passed over.
    std::fs::remove_file(path("memory.max")).unwrap();
    let absence = set(&dir, Version::Two, Which::Memory, &limits).unwrap_err();
    assert_eq!(absence.errno, libc::ENOENT);

    std::fs::write(path("cgroup.controllers"), "cpuset cpu memory\n").unwrap();
    std::fs::write(path("cgroup.subtree_control"), "cpu\n").unwrap();
    assert!(give(dir.as_fd(), "cpu").is_ok());
    assert_eq!(is("cgroup.subtree_control"), "cpu\n");
    assert_eq!(give(dir.as_fd(), "pids").unwrap_err().errno, libc::ENOENT);
    assert!(give(dir.as_fd(), "memory").is_ok());
    assert!(is("cgroup.subtree_control").starts_with("+memory"));

    std::fs::write(
        path("memory.events"),
        "low 0\nmax 9\noom 4\noom_kill 3\noom_group_kill 1\n",
    )
    .unwrap();
    let events = files::open_file(&dir, "memory.events").unwrap();
    assert_eq!(oom_kills(&events).unwrap(), 3);
    assert_eq!(oom_kills(&events).unwrap(), 3);
}
