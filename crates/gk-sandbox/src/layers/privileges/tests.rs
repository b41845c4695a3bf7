//! Each in a forked child, with what it prevents done once before.

use std::fs;
use std::os::fd::AsRawFd;

use libc::c_long;
use rustix::process::{Resource, getrlimit};

use super::*;
use crate::sys::trial::{become_nobody, call, ends_well};

fn status(field: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    field_of(&status, field)
}

fn field_of(status: &str, field: &str) -> String {
    status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .unwrap_or_else(|| panic!("no {field} in {status}"))
        .trim()
        .to_owned()
}

const NO_CAPABILITY: &str = "0000000000000000";

#[test]
fn root_without_capabilities_stays_without_them() {
    ends_well(|| {
        assert_ne!(status("CapEff"), NO_CAPABILITY, "the test needs root");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        std::os::unix::fs::chown(&file, Some(1), None).unwrap();

        drop_capabilities().unwrap();

        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status(set), NO_CAPABILITY, "{set}");
        }
        assert!(std::os::unix::fs::chown(&file, Some(2), None).is_err());
        // NOROOT: user id 0 gets nothing by executing a program, even without no_new_privs.
        #[allow(clippy::disallowed_methods, reason = "the exec is what is tested")]
        let said = std::process::Command::new("/bin/cat")
            .arg("/proc/self/status")
            .output()
            .unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        assert_eq!(field_of(&said, "CapPrm"), NO_CAPABILITY);
        assert_eq!(field_of(&said, "CapEff"), NO_CAPABILITY);
        // NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE, each with its lock, and KEEP_CAPS's.
        const GET_SECUREBITS: c_long = 27;
        assert_eq!(call(libc::SYS_prctl, &[GET_SECUREBITS]), Ok(0xef));
        assert!(sys::set_securebits(0).is_err());
    });
}

/// Without CAP_SETPCAP there is less to do, and nothing to complain about.
#[test]
fn an_unprivileged_process_can_drop_too() {
    ends_well(|| {
        become_nobody();
        drop_capabilities().unwrap();
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(status(set), NO_CAPABILITY, "{set}");
        }
        assert_ne!(status("CapBnd"), NO_CAPABILITY);
        // As it is for a process that kept the bounding set, this is what closes the gap.
        no_new_privs().unwrap();
        assert_eq!(status("NoNewPrivs"), "1");
    });
}

/// A setuid program would make nobody root again.
#[test]
fn setuid_programs_give_nothing() {
    // Where setuid counts: on many machines /tmp is mounted so that it does not.
    let places = [std::env::temp_dir(), "/var/tmp".into(), "/".into()];
    let counts = |place: &std::path::PathBuf| {
        let mount = rustix::fs::statvfs(place).unwrap();
        !mount.f_flag.contains(rustix::fs::StatVfsMountFlags::NOSUID)
    };
    let place = places.iter().find(|place| counts(place));
    let dir = tempfile::tempdir_in(place.expect("a directory that is not mounted nosuid")).unwrap();
    let setuid_id = dir.path().join("id");
    fs::copy("/usr/bin/id", &setuid_id).unwrap();
    for path in [dir.path(), setuid_id.as_path()] {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o4755)).unwrap();
    }
    let effective_id = || {
        #[allow(clippy::disallowed_methods, reason = "the exec is what is tested")]
        let output = std::process::Command::new(&setuid_id).arg("-u").output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    ends_well(|| {
        become_nobody();
        assert_eq!(effective_id(), "0\n");
    });
    ends_well(|| {
        become_nobody();
        no_new_privs().unwrap();
        assert_eq!(effective_id(), "65534\n");
    });
}

#[test]
fn written_memory_does_not_become_executable() {
    const PAGE: c_long = 4096;
    const READ_WRITE: c_long = 3;
    const READ_EXECUTE: c_long = 5;
    const ALL: c_long = 7;
    const PRIVATE_ANONYMOUS: c_long = 0x22;
    let map = |protection| {
        call(
            libc::SYS_mmap,
            &[0, PAGE, protection, PRIVATE_ANONYMOUS, -1, 0],
        )
    };
    let executable = |at| call(libc::SYS_mprotect, &[at, PAGE, READ_EXECUTE]);
    ends_well(|| {
        executable(map(READ_WRITE).unwrap()).unwrap();
        map(ALL).unwrap();
    });
    ends_well(|| {
        mdwe().expect("the test needs a kernel since 6.3");
        let memory = map(READ_WRITE).unwrap();
        assert_eq!(executable(memory), Err(libc::EACCES));
        assert_eq!(map(ALL), Err(libc::EACCES));
        // And so in what it starts.
        ends_well(|| assert_eq!(map(ALL), Err(libc::EACCES)));
    });
}

#[test]
fn descriptors_are_closed_by_the_exec_whatever_their_flags() {
    ends_well(|| {
        let kept = fs::File::open("/").unwrap();
        let leak = rustix::io::dup(&kept).unwrap();
        let number = c_long::from(leak.as_raw_fd());
        const F_GETFD: c_long = 1;
        assert_eq!(call(libc::SYS_fcntl, &[number, F_GETFD]), Ok(0));
        close_descriptors().unwrap();
        assert_eq!(call(libc::SYS_fcntl, &[number, F_GETFD]), Ok(1));
    });
}

#[test]
fn an_undumpable_process_is_nobodys_to_look_into() {
    ends_well(|| {
        become_nobody();
        // Its identity changed, so it is undumpable already; an exec would undo that.
        const DUMPABLE: c_long = 4;
        call(libc::SYS_prctl, &[DUMPABLE, 1]).unwrap();
        fs::read("/proc/self/environ").unwrap();
        let pid = std::process::id();
        let attack = move || fs::read(format!("/proc/{pid}/environ")).is_ok();
        ends_well(|| assert!(attack()));
        undumpable().unwrap();
        ends_well(|| assert!(!attack()));
    });
}

#[test]
fn limits_are_set_and_never_raised() {
    ends_well(|| {
        become_nobody();
        let limits = ProcessLimits {
            open_files: 64,
            processes: 7,
            file_bytes: 4096,
            data_bytes: Some(64 << 20),
            locked_bytes: 0,
            message_queue_bytes: 0,
            pending_signals: 11,
        };
        let stack = getrlimit(Resource::Stack);
        set_limits(&limits).unwrap();
        for (resource, expected) in [
            (Resource::Core, 0),
            (Resource::Nice, 0),
            (Resource::Rtprio, 0),
            (Resource::Nofile, 64),
            (Resource::Nproc, 7),
            (Resource::Fsize, 4096),
            (Resource::Data, 64 << 20),
            (Resource::Memlock, 0),
            (Resource::Msgqueue, 0),
            (Resource::Sigpending, 11),
        ] {
            let found = getrlimit(resource);
            assert_eq!(found.current, Some(expected), "{resource:?}");
            assert_eq!(found.maximum, Some(expected), "{resource:?}");
        }
        assert_eq!(getrlimit(Resource::Stack), stack);

        // A descriptor bomb ends at the limit.
        let mut open = Vec::new();
        let refused = loop {
            match rustix::fs::open("/", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()) {
                Ok(fd) => open.push(fd),
                Err(errno) => break errno,
            }
            assert!(open.len() <= 64);
        };
        assert_eq!(refused, rustix::io::Errno::MFILE);
        drop(open);

        // A second call with more does not raise: it would be refused if it tried.
        set_limits(&ProcessLimits::default()).unwrap();
        assert_eq!(getrlimit(Resource::Nofile).maximum, Some(64));
        assert_eq!(getrlimit(Resource::Data).maximum, Some(64 << 20));
    });
}
