//! Each attack is made by a forked child without the layer, where it succeeds, and by one with
//! it, where it does not.

use std::fs::{self, OpenOptions};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, test_kill_process};

use super::*;
use crate::layers::privileges;
use crate::sys::trial::{Ended, become_nobody, ends_well, in_child};

struct Directories {
    temp: tempfile::TempDir,
    read: Vec<PathBuf>,
    execute: Vec<PathBuf>,
    write: Vec<PathBuf>,
}

impl Directories {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        for name in ["read", "write", "outside"] {
            fs::create_dir(temp.path().join(name)).unwrap();
            fs::write(temp.path().join(name).join("file"), "text").unwrap();
        }
        let programs = ["/bin", "/usr", "/lib", "/lib64", "/does/not/exist"];
        Self {
            read: ["/proc", "/etc", "/dev/urandom"]
                .map(PathBuf::from)
                .into_iter()
                .chain([temp.path().join("read")])
                .collect(),
            execute: programs.map(PathBuf::from).to_vec(),
            write: vec![temp.path().join("write"), "/dev/null".into()],
            temp,
        }
    }

    fn access(&self, network: bool) -> Access<'_> {
        Access {
            read: &self.read,
            execute: &self.execute,
            read_only: &[],
            write: &self.write,
            network,
        }
    }

    fn confine(&self, network: bool) {
        privileges::no_new_privs().unwrap();
        let outcome = restrict(&self.access(network));
        assert!(
            matches!(outcome, Outcome::Enforced { abi: 6.. }),
            "the test needs a kernel since 6.12 with Landlock: {outcome:?}"
        );
    }

    fn path(&self, path: &str) -> PathBuf {
        self.temp.path().join(path)
    }
}

/// `attack` says whether it succeeded; it does without the layer and does not with it.
fn only_the_layer_stops(what: &str, dirs: &Directories, attack: impl Fn() -> bool) {
    ends_well(|| assert!(attack(), "{what}: fails without the layer"));
    ends_well(|| {
        dirs.confine(false);
        assert!(!attack(), "{what}: succeeds");
    });
}

fn runs(program: &Path) -> bool {
    #[allow(clippy::disallowed_methods, reason = "the exec is what is tested")]
    let status = std::process::Command::new(program).status();
    status.is_ok_and(|status| status.success())
}

#[test]
fn files_outside_the_lists_are_out_of_reach() {
    let dirs = Directories::new();
    let file = dirs.path("outside/file");
    only_the_layer_stops("read", &dirs, || fs::read(&file).is_ok());
    only_the_layer_stops("list", &dirs, || fs::read_dir(dirs.path("outside")).is_ok());
    only_the_layer_stops("truncate", &dirs, || {
        rustix::fs::open(&file, OFlags::WRONLY | OFlags::TRUNC, Mode::empty()).is_ok()
    });
    only_the_layer_stops("append", &dirs, || {
        OpenOptions::new().append(true).open(&file).is_ok()
    });
    let new = dirs.path("outside/new");
    only_the_layer_stops("create", &dirs, || {
        fs::write(&new, "")
            .and_then(|()| fs::remove_file(&new))
            .is_ok()
    });
    let read_only = dirs.path("read/file");
    only_the_layer_stops("write where reading is allowed", &dirs, || {
        fs::write(&read_only, "x").is_ok()
    });
    only_the_layer_stops("its own memory through /proc", &dirs, || {
        OpenOptions::new()
            .write(true)
            .open("/proc/self/mem")
            .is_ok()
    });
    let moved = dirs.path("write/moved");
    only_the_layer_stops("link from outside into the write list", &dirs, || {
        fs::hard_link(&file, &moved)
            .and_then(|()| fs::remove_file(&moved))
            .is_ok()
    });
}

#[test]
fn what_the_lists_allow_works() {
    let dirs = Directories::new();
    ends_well(|| {
        dirs.confine(false);
        assert_eq!(fs::read_to_string(dirs.path("read/file")).unwrap(), "text");
        let sub = dirs.path("write/sub");
        fs::create_dir(&sub).unwrap();
        fs::write(sub.join("a"), "a").unwrap();
        fs::rename(sub.join("a"), dirs.path("write/b")).unwrap();
        fs::remove_file(dirs.path("write/b")).unwrap();
        std::os::unix::fs::symlink("x", sub.join("link")).unwrap();
        let _socket = UnixListener::bind(sub.join("socket")).unwrap();
        fs::remove_dir_all(&sub).unwrap();
        fs::write("/dev/null", "gone").unwrap();
        assert!(runs(Path::new("/bin/true")));
    });
}

#[test]
fn a_dropped_program_does_not_run_and_no_device_is_made() {
    let dirs = Directories::new();
    let dropped = dirs.path("write/program");
    only_the_layer_stops("execute", &dirs, || {
        fs::copy("/bin/true", &dropped).unwrap();
        fs::set_permissions(&dropped, fs::Permissions::from_mode(0o755)).unwrap();
        runs(&dropped)
    });
    // The file system's own node for the null device.
    let device = dirs.path("write/device");
    only_the_layer_stops("mknod", &dirs, || {
        let kind = FileType::CharacterDevice;
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &device,
            kind,
            Mode::RUSR,
            rustix::fs::makedev(1, 3),
        )
        .and_then(|()| rustix::fs::unlink(&device))
        .is_ok()
    });
}

#[test]
fn a_device_that_may_be_read_takes_no_commands() {
    /// RNDGETENTCNT, which anybody may ask.
    const ENTROPY: libc::c_long = 0x8004_5200;
    let dirs = Directories::new();
    only_the_layer_stops("ioctl", &dirs, || {
        let device = fs::File::open("/dev/urandom").unwrap();
        let mut bits = [0_i32];
        let arguments = [
            libc::c_long::from(std::os::fd::AsRawFd::as_raw_fd(&device)),
            ENTROPY,
            bits.as_mut_ptr() as libc::c_long,
        ];
        crate::sys::trial::call(libc::SYS_ioctl, &arguments).is_ok()
    });
}

#[test]
fn tcp_is_denied_unless_allowed() {
    let dirs = Directories::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    only_the_layer_stops("connect", &dirs, || TcpStream::connect(address).is_ok());
    only_the_layer_stops("bind", &dirs, || {
        TcpListener::bind(("127.0.0.1", 0)).is_ok()
    });
    ends_well(|| {
        dirs.confine(true);
        TcpStream::connect(address).unwrap();
        TcpListener::bind(("127.0.0.1", 0)).unwrap();
    });
}

#[test]
fn abstract_sockets_of_outside_are_out_of_reach() {
    let dirs = Directories::new();
    let name = format!("gk-landlock-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    only_the_layer_stops("abstract socket", &dirs, || {
        UnixStream::connect_addr(&address).is_ok()
    });
    // Also where it has the network.
    ends_well(|| {
        dirs.confine(true);
        assert!(UnixStream::connect_addr(&address).is_err());
    });
}

#[test]
fn processes_outside_get_no_signal() {
    let dirs = Directories::new();
    let test = Pid::from_raw(i32::try_from(std::process::id()).unwrap()).unwrap();
    only_the_layer_stops("signal", &dirs, || test_kill_process(test).is_ok());
    // Its own children do.
    ends_well(|| {
        dirs.confine(false);
        assert_eq!(
            in_child(|| std::process::abort()),
            Ended::Signaled(libc::SIGABRT)
        );
        let child = crate::sys::trial::beside(|| {
            loop {
                std::thread::park();
            }
        });
        rustix::process::kill_process(child.pid, rustix::process::Signal::KILL).unwrap();
        assert_eq!(child.ended(), Ended::Signaled(libc::SIGKILL));
    });
}

#[test]
fn without_no_new_privs_an_unprivileged_process_is_told() {
    let dirs = Directories::new();
    ends_well(|| {
        become_nobody();
        let outcome = restrict(&dirs.access(false));
        let expected = Outcome::Absent {
            step: "landlock_restrict_self",
            errno: libc::EPERM,
        };
        assert_eq!(outcome, expected);
    });
}

/// A ruleset of an older ABI is valid on a newer kernel: what an old kernel would enforce.
#[test]
fn older_kernels_give_what_they_know_and_say_what_is_missing() {
    let dirs = Directories::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let tcp = listener.local_addr().unwrap();
    for abi in 1..=7 {
        ends_well(|| {
            privileges::no_new_privs().unwrap();
            let outcome = restrict_with(&dirs.access(false), abi).unwrap();
            let expected = Missing {
                refer: abi < 2,
                truncate: abi < 3,
                tcp: abi < 4,
                device_ioctl: abi < 5,
                scopes: abi < 6,
            };
            if abi < 6 {
                assert_eq!(
                    outcome,
                    Outcome::Degraded {
                        abi,
                        missing: expected
                    }
                );
            } else {
                assert_eq!(outcome, Outcome::Enforced { abi });
            }
            assert!(fs::read(dirs.path("outside/file")).is_err());
            assert_eq!(TcpStream::connect(tcp).is_ok(), abi < 4);
            let outside = dirs.path("outside/file");
            let truncated = std::ffi::CString::new(outside.to_str().unwrap()).unwrap();
            let answer = crate::sys::trial::call(
                libc::SYS_truncate,
                &[truncated.as_ptr() as libc::c_long, 4],
            );
            assert_eq!(answer.is_ok(), abi < 3);
        });
    }
    let missing = Missing {
        truncate: true,
        tcp: true,
        ..Missing::default()
    };
    assert_eq!(missing.to_string(), "truncating files outside, TCP");
}
