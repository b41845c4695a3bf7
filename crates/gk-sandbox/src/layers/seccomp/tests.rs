//! The program is interpreted for every number and compared with the lists; the calls that take
//! arguments are compared with what is written here once more, by hand; and then real children
//! try the forbidden calls.

use std::collections::HashMap;

use libc::{c_long, sock_filter};

use super::compile::compile;
use super::table::{self, ARCH, Decision, Range, Verdict};
use super::{Filter, install, program};
use crate::layers::privileges;
use crate::sys::trial::{Ended, call, ends_well, in_child};

const ISOLATED: Filter = Filter {
    network: false,
    shared_memory: true,
};
const CONNECTED: Filter = Filter {
    network: true,
    shared_memory: true,
};
const ADDED_UP: Filter = Filter {
    network: false,
    shared_memory: false,
};
const ALL: [Filter; 3] = [ISOLATED, CONNECTED, ADDED_UP];

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

fn errno(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno.unsigned_abs()
}

/// `struct seccomp_data`.
#[derive(Clone, Copy)]
struct Call {
    number: u32,
    arch: u32,
    arguments: [u64; 6],
}

fn to(number: c_long, arguments: &[u64]) -> Call {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    Call {
        number: u32::try_from(number).unwrap(),
        arch: ARCH,
        arguments: all,
    }
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        let mut data = Vec::new();
        data.extend(self.number.to_ne_bytes());
        data.extend(self.arch.to_ne_bytes());
        data.extend([0xee; 8]);
        for argument in self.arguments {
            data.extend(argument.to_ne_bytes());
        }
        let at = usize::try_from(offset).unwrap();
        u32::from_ne_bytes(data[at..at + 4].try_into().unwrap())
    }
}

/// What the kernel would do: only the instructions it takes from a seccomp program, only jumps
/// that stay inside. Also says how many instructions that took.
fn interpret(program: &[sock_filter], call: &Call) -> (u32, usize) {
    let mut accumulator = 0;
    let mut at = 0;
    for steps in 1.. {
        let sock_filter { code, jt, jf, k } = program[at];
        let jump = |yes: bool| usize::from(if yes { jt } else { jf });
        at += 1;
        match code {
            0x20 => accumulator = call.word(k),
            0x54 => accumulator &= k,
            0x05 => at += usize::try_from(k).unwrap(),
            0x15 => at += jump(accumulator == k),
            0x35 => at += jump(accumulator >= k),
            0x45 => at += jump(accumulator & k != 0),
            0x06 => return (k, steps),
            other => panic!("instruction {other:#x} at {}", at - 1),
        }
    }
    unreachable!()
}

fn verdict(filter: Filter, call: &Call) -> u32 {
    interpret(&program(filter), call).0
}

/// What a decision says, without the compiler.
fn judge(decision: &Decision, call: &Call) -> Verdict {
    let low = |argument: u32| {
        let value = call.arguments[usize::try_from(argument).unwrap()];
        u32::try_from(value & 0xffff_ffff).unwrap()
    };
    match decision {
        Decision::Give(verdict) => *verdict,
        Decision::Equal {
            argument,
            mask,
            values,
            yes,
            no,
        } => {
            let is = values.contains(&(low(*argument) & mask));
            judge(if is { yes } else { no }, call)
        }
        Decision::AnyBit {
            argument,
            mask,
            yes,
            no,
        } => judge(if low(*argument) & mask != 0 { yes } else { no }, call),
    }
}

#[test]
fn no_call_is_in_two_lists() {
    for filter in ALL {
        let mut seen = HashMap::new();
        for (number, decision) in table::calls(filter) {
            assert!(number < 1024, "{number}");
            let before = seen.insert(number, decision);
            assert!(before.is_none(), "{number} is listed twice");
        }
    }
}

#[test]
fn every_number_gets_what_the_lists_say() {
    // Values at which some test of an argument changes its mind, in each of three places.
    let interesting: Vec<u64> = [0, 1, 2, 3, 5, 8, 10, 16, 17, 0x5412, 0x541c, 0x5423, 0x541d]
        .into_iter()
        .chain((0..64).map(|bit| 1 << bit))
        .chain([0xffff_ffff, u64::MAX, 0x1_0000_0002, 0x80002, 0x80003])
        .collect();
    for filter in ALL {
        let program = program(filter);
        let decisions: HashMap<u32, Decision> = table::calls(filter).into_iter().collect();
        for number in (0..=600).chain([1023, 4095, 0x3fff_ffff, 0x8000_0000, u32::MAX]) {
            let unlisted = Decision::Give(Verdict::Errno(libc::ENOSYS));
            let decision = decisions.get(&number).unwrap_or(&unlisted);
            let check = |arguments: [u64; 6]| {
                let call = Call {
                    number,
                    arch: ARCH,
                    arguments,
                };
                let (answer, steps) = interpret(&program, &call);
                assert_eq!(
                    answer,
                    judge(decision, &call).value(),
                    "{number} {arguments:x?}"
                );
                // Arch, number, nine comparisons for 2^9 ranges, then the arguments'.
                assert!(steps < 70, "{number} takes {steps} instructions");
            };
            check([0; 6]);
            check([u64::MAX; 6]);
            if matches!(decision, Decision::Give(_)) {
                continue;
            }
            for flags in 0..64 {
                check([0, 0, 3, flags, 0, 0]);
                check([0, 0, 3, flags | 0x20022, 0, 0]);
            }
            for &first in &interesting {
                for &second in &interesting {
                    for third in [0, 1, 6, 17, 132, 262, u64::MAX] {
                        check([first, second, third, 0, 0, 0]);
                    }
                }
            }
        }
    }
}

#[test]
fn another_architecture_ends_the_process() {
    const I386: u32 = 0x4000_0003;
    for filter in ALL {
        for arch in [I386, 0xc000_003e, 0xc000_00b7, 0x4000_0028, 0, ARCH ^ 1] {
            let call = Call {
                number: 39,
                arch,
                arguments: [0; 6],
            };
            assert_eq!(verdict(filter, &call) == KILL, arch != ARCH, "{arch:#x}");
        }
        #[cfg(target_arch = "x86_64")]
        for number in [0, 39, 520, 0x3fff_ffff_u32] {
            // x32 passes for the same architecture.
            let call = to(c_long::from(number | 0x4000_0000), &[]);
            assert_eq!(verdict(filter, &call), KILL);
        }
    }
}

/// More ranges than there are: no branch reaches over more than 255 instructions, so targets are
/// repeated or jumped to. (The lists as they are do not need that.)
#[test]
fn a_large_program_reaches_everywhere() {
    let give = |errno| Decision::Give(Verdict::Errno(errno));
    let decision = |number: u32| match number % 5 {
        0 => Decision::Give(Verdict::Allow),
        1 => Decision::AnyBit {
            argument: 0,
            mask: 1,
            yes: Box::new(give(1)),
            no: Box::new(Decision::Give(Verdict::Kill)),
        },
        2 => Decision::Equal {
            argument: 1,
            mask: 0xf,
            values: vec![number % 16, 3],
            yes: Box::new(give(2)),
            no: Box::new(give(3)),
        },
        rest => give(i32::try_from(rest + number % 100).unwrap()),
    };
    let ranges: Vec<Range> = (0..600)
        .map(|number| Range {
            first: number * 3,
            decision: decision(number),
        })
        .collect();
    let program = compile(&ranges);
    assert!((1000..4096).contains(&program.len()), "{}", program.len());
    for number in 0..1800 {
        for arguments in [[0; 6], [1; 6], [3; 6], [7; 6]] {
            let call = Call {
                number,
                arch: ARCH,
                arguments,
            };
            let expected = judge(&decision(number / 3), &call).value();
            assert_eq!(interpret(&program, &call).0, expected, "{number}");
        }
    }
}

/// The kernel takes at most 4096 instructions, and each costs at installation.
#[test]
fn the_program_is_small() {
    for filter in ALL {
        let instructions = program(filter).len();
        assert!((100..600).contains(&instructions), "{instructions}");
    }
    let allowed = table::calls(CONNECTED)
        .iter()
        .filter(|(_, decision)| *decision != Decision::Give(Verdict::Errno(libc::EPERM)))
        .filter(|(_, decision)| *decision != Decision::Give(Verdict::Errno(libc::ENOSYS)))
        .count();
    assert!((200..300).contains(&allowed), "{allowed}");
}

/// Written by hand, from what the calls mean.
#[test]
fn arguments_decide() {
    const EPERM: i32 = libc::EPERM;
    const HIGH: u64 = 0xdead_0000_0000_0000;
    let both = |number, arguments: &[u64], expected| {
        for filter in ALL {
            assert_eq!(
                verdict(filter, &to(number, arguments)),
                expected,
                "{number} {arguments:x?} {filter:?}"
            );
        }
    };
    // What pthread_create of glibc and Go's runtime ask for, and Go's fork.
    for flags in [0x003d_0f00, 0x0005_0f00, 0x4100 | 17, 17, HIGH | 17] {
        both(libc::SYS_clone, &[flags], ALLOW);
    }
    // NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, PARENT.
    for flag in [
        0x2_0000,
        0x200_0000,
        0x400_0000,
        0x800_0000,
        0x1000_0000,
        0x2000_0000,
        0x4000_0000,
        0x8000,
    ] {
        both(libc::SYS_clone, &[flag | 17], errno(EPERM));
        both(libc::SYS_clone, &[HIGH | flag | 17], errno(EPERM));
    }
    both(libc::SYS_clone3, &[], errno(libc::ENOSYS));

    // TIOCSTI, TIOCLINUX, TIOCSETD, TIOCCONS; the kernel drops the high half (CVE-2023-1523).
    for request in [0x5412, 0x541c, 0x5423, 0x541d] {
        both(libc::SYS_ioctl, &[0, request], errno(EPERM));
        both(libc::SYS_ioctl, &[0, HIGH | request], errno(EPERM));
    }
    // FIONBIO, TCGETS.
    for request in [0x5421, 0x5401] {
        both(libc::SYS_ioctl, &[0x5412, request, 0x5412], ALLOW);
    }

    // SET_NAME, SET_NO_NEW_PRIVS, SET_VMA.
    for option in [15, 38, 0x5356_4d41] {
        both(libc::SYS_prctl, &[option], ALLOW);
    }
    // PDEATHSIG, KEEPCAPS, SECCOMP, SECUREBITS, MM, AMBIENT, PTRACER, one that does not exist.
    for option in [1, 8, 22, 28, 35, 47, 0x5961_6d61, 0xffff] {
        both(libc::SYS_prctl, &[option], errno(EPERM));
        both(libc::SYS_prctl, &[HIGH | option], errno(EPERM));
    }

    both(libc::SYS_personality, &[0xffff_ffff], ALLOW);
    both(libc::SYS_personality, &[u64::MAX], ALLOW);
    for persona in [0, 0x40000, 0x0040_0000, 8] {
        both(libc::SYS_personality, &[persona], errno(EPERM));
    }

    // Whatever the flags: CLOEXEC | NOEXEC_SEAL; CLOEXEC.
    both(libc::SYS_memfd_create, &[0, 0x9], errno(libc::ENOSYS));
    both(libc::SYS_memfd_create, &[0, 0x1], errno(libc::ENOSYS));

    both(libc::SYS_prlimit64, &[0, 7], ALLOW);
    both(libc::SYS_prlimit64, &[0x1_0000_0000, 7], ALLOW);
    both(libc::SYS_prlimit64, &[1, 7], errno(EPERM));
}

#[test]
fn families_decide() {
    const CLOEXEC: u64 = 0x80000;
    let is = |number, filter, arguments: &[u64], expected| {
        assert_eq!(
            verdict(filter, &to(number, arguments)),
            expected,
            "{arguments:x?} {filter:?}"
        );
    };
    let family = errno(libc::EAFNOSUPPORT);
    let (unix, inet, inet6, netlink) = (1, 2, 10, 16);
    let (stream, datagram, raw) = (1, 2, 3);
    for filter in ALL {
        is(
            libc::SYS_socket,
            filter,
            &[unix, stream | CLOEXEC, 0],
            ALLOW,
        );
        is(libc::SYS_socketpair, filter, &[unix, datagram, 0], ALLOW);
        is(libc::SYS_socketpair, filter, &[inet, stream, 0], family);
        // IPX, AX25, packet, RDS, CAN, TIPC, Bluetooth, ALG, NFC, vsock, QIPCRTR, SMC, XDP.
        for other in [4, 3, 17, 21, 29, 30, 31, 38, 39, 40, 42, 43, 44] {
            is(libc::SYS_socket, filter, &[other, raw, 0], family);
        }
        let answer = |allowed: u32| if filter.network { allowed } else { family };
        for internet in [inet, inet6] {
            for kind in [stream, datagram, stream | CLOEXEC | 0x800] {
                is(
                    libc::SYS_socket,
                    filter,
                    &[internet, kind, 0],
                    answer(ALLOW),
                );
            }
            is(
                libc::SYS_socket,
                filter,
                &[internet, stream, 6],
                answer(ALLOW),
            );
            is(
                libc::SYS_socket,
                filter,
                &[internet, datagram, 17],
                answer(ALLOW),
            );
            // Raw, packet, seqpacket.
            for kind in [raw, 10, 5, raw | CLOEXEC] {
                let refused = answer(errno(libc::EPERM));
                is(libc::SYS_socket, filter, &[internet, kind, 0], refused);
            }
            // ICMP, SCTP, MPTCP, SMC.
            for protocol in [1, 132, 262, 256] {
                let refused = answer(errno(libc::EPROTONOSUPPORT));
                is(
                    libc::SYS_socket,
                    filter,
                    &[internet, stream, protocol],
                    refused,
                );
            }
        }
        is(
            libc::SYS_socket,
            filter,
            &[netlink, raw | CLOEXEC, 0],
            answer(ALLOW),
        );
        // Netfilter, audit, uevents.
        for protocol in [12, 9, 15] {
            let refused = answer(errno(libc::EPROTONOSUPPORT));
            is(libc::SYS_socket, filter, &[netlink, raw, protocol], refused);
        }
    }
}

fn confine(filter: Filter) {
    privileges::no_new_privs().unwrap();
    install(&program(filter)).unwrap();
}

#[test]
fn it_needs_no_new_privs_unless_root_installs_it() {
    ends_well(|| {
        crate::sys::trial::become_nobody();
        let refused = install(&program(ISOLATED)).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EACCES));
        confine(ISOLATED);
        assert_eq!(call(libc::SYS_unshare, &[0]), Err(libc::EPERM));
    });
}

/// Each call is one that answers something else without the filter: success, or an error that
/// shows that the kernel looked at the arguments.
#[test]
fn forbidden_calls_are_refused_in_a_real_process() {
    const NOWHERE: c_long = -1;
    let empty = c"".as_ptr() as c_long;
    let root = c"/".as_ptr() as c_long;
    let name = c"gk-trial".as_ptr() as c_long;
    let attacks: &[(&str, c_long, &[c_long], i32)] = &[
        (
            "ptrace",
            libc::SYS_ptrace,
            &[0x4206, 1, 0, 0xff_ffff],
            libc::EPERM,
        ),
        (
            "process_vm_readv",
            libc::SYS_process_vm_readv,
            &[1, 0, 0, 0, 0, 1],
            libc::EPERM,
        ),
        (
            "pidfd_getfd",
            libc::SYS_pidfd_getfd,
            &[NOWHERE, 0, 0],
            libc::EPERM,
        ),
        ("mount", libc::SYS_mount, &[0, 0, 0, 0, 0], libc::EPERM),
        ("umount2", libc::SYS_umount2, &[empty, 0], libc::EPERM),
        ("fsopen", libc::SYS_fsopen, &[empty, 0], libc::EPERM),
        (
            "pivot_root",
            libc::SYS_pivot_root,
            &[empty, empty],
            libc::EPERM,
        ),
        ("chroot", libc::SYS_chroot, &[root], libc::EPERM),
        (
            "mknodat",
            libc::SYS_mknodat,
            &[-100, empty, 0o60644, 0x100],
            libc::EPERM,
        ),
        ("unshare", libc::SYS_unshare, &[0], libc::EPERM),
        (
            "clone",
            libc::SYS_clone,
            &[0x1000_0000 | 0x1_0000, 0, 0, 0, 0],
            libc::EPERM,
        ),
        ("clone3", libc::SYS_clone3, &[0, 0], libc::ENOSYS),
        ("setns", libc::SYS_setns, &[NOWHERE, 0], libc::EPERM),
        ("bpf", libc::SYS_bpf, &[NOWHERE, 0, 0], libc::EPERM),
        (
            "perf_event_open",
            libc::SYS_perf_event_open,
            &[0, 0, 0, 0, 0],
            libc::EPERM,
        ),
        (
            "userfaultfd",
            libc::SYS_userfaultfd,
            &[NOWHERE],
            libc::EPERM,
        ),
        (
            "io_uring_setup",
            libc::SYS_io_uring_setup,
            &[1, 0],
            libc::ENOSYS,
        ),
        ("keyctl", libc::SYS_keyctl, &[NOWHERE], libc::EPERM),
        (
            "open_by_handle_at",
            libc::SYS_open_by_handle_at,
            &[NOWHERE, 0, 0],
            libc::EPERM,
        ),
        (
            "finit_module",
            libc::SYS_finit_module,
            &[NOWHERE, empty, 0],
            libc::EPERM,
        ),
        ("reboot", libc::SYS_reboot, &[0, 0, 0], libc::EPERM),
        ("swapon", libc::SYS_swapon, &[empty, 0], libc::EPERM),
        (
            "clock_settime",
            libc::SYS_clock_settime,
            &[0, 0],
            libc::EPERM,
        ),
        (
            "sethostname",
            libc::SYS_sethostname,
            &[0, NOWHERE],
            libc::EPERM,
        ),
        ("setresuid", libc::SYS_setresuid, &[-1, -1, -1], libc::EPERM),
        ("personality", libc::SYS_personality, &[0], libc::EPERM),
        (
            "socket raw",
            libc::SYS_socket,
            &[2, 3, 1],
            libc::EAFNOSUPPORT,
        ),
        (
            "socket packet",
            libc::SYS_socket,
            &[17, 3, 0],
            libc::EAFNOSUPPORT,
        ),
        (
            "socket inet",
            libc::SYS_socket,
            &[2, 1, 0],
            libc::EAFNOSUPPORT,
        ),
        (
            "ioctl TIOCSTI",
            libc::SYS_ioctl,
            &[NOWHERE, 0x5412, 0],
            libc::EPERM,
        ),
        (
            "ioctl TIOCSTI, high bits",
            libc::SYS_ioctl,
            &[NOWHERE, (1 << 40) | 0x5412, 0],
            libc::EPERM,
        ),
        (
            "prctl PDEATHSIG",
            libc::SYS_prctl,
            &[1, 0, 0, 0, 0],
            libc::EPERM,
        ),
        (
            "memfd_create",
            libc::SYS_memfd_create,
            &[name, 9],
            libc::ENOSYS,
        ),
        ("shmget", libc::SYS_shmget, &[0, 0, 0], libc::ENOSYS),
        ("seccomp", libc::SYS_seccomp, &[99, 0, 0], libc::EPERM),
        (
            "prlimit64 of another",
            libc::SYS_prlimit64,
            &[1, 7, 0, 0],
            libc::EPERM,
        ),
    ];
    for (name, number, arguments, refused) in attacks {
        ends_well(|| {
            assert_ne!(
                call(*number, arguments),
                Err(*refused),
                "{name} is refused without the filter; the test needs root, and no other filter"
            );
        });
        ends_well(|| {
            confine(ISOLATED);
            assert_eq!(call(*number, arguments), Err(*refused), "{name}");
        });
    }
}

#[test]
fn calls_of_other_kinds_end_the_process() {
    let killed = Ended::Signaled(libc::SIGSYS);
    #[cfg(target_arch = "x86_64")]
    {
        let x32_getpid = || {
            let _ = call(0x4000_0000 + 39, &[]);
        };
        assert_eq!(in_child(x32_getpid), Ended::Well);
        assert_eq!(
            in_child(|| {
                confine(CONNECTED);
                x32_getpid();
            }),
            killed
        );
        // Without the filter it answers, or the kernel has no such gate and says so otherwise.
        let i386 = || {
            crate::sys::trial::call_i386_getpid();
        };
        assert_ne!(in_child(i386), killed);
        assert_eq!(
            in_child(|| {
                confine(CONNECTED);
                i386();
            }),
            killed
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (killed, in_child(|| ()), Ended::Well);
}

/// Memory that is shared without a file stays when it is unmapped, so adding up does not see it.
#[test]
fn memory_that_is_added_up_is_not_shared_without_a_file() {
    let map = |flags: i32, file: i32| {
        let arguments = [0, 4096, 3, flags.into(), file.into(), 0];
        call(libc::SYS_mmap, &arguments).map(|_| ())
    };
    for (filter, expected) in [(ISOLATED, Ok(())), (ADDED_UP, Err(libc::EPERM))] {
        ends_well(|| {
            let file = tempfile::tempfile().unwrap();
            file.set_len(4096).unwrap();
            confine(filter);
            assert_eq!(map(libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1), expected);
            let file = std::os::fd::AsRawFd::as_raw_fd(&file);
            assert_eq!(map(libc::MAP_SHARED, file), Ok(()));
            assert_eq!(map(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1), Ok(()));
            let stack = libc::MAP_STACK | libc::MAP_NORESERVE;
            assert_eq!(
                map(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | stack, -1),
                Ok(())
            );
        });
    }
}

/// What every program does goes on: threads, children, files, sockets.
#[test]
fn ordinary_work_goes_on() {
    for filter in ALL {
        ends_well(|| {
            let dir = tempfile::tempdir().unwrap();
            confine(filter);
            let sum: u32 = std::thread::spawn(|| (1..=4).sum()).join().unwrap();
            assert_eq!(sum, 10);
            let file = dir.path().join("file");
            std::fs::write(&file, "text").unwrap();
            assert_eq!(std::fs::read_to_string(&file).unwrap(), "text");
            std::fs::remove_file(&file).unwrap();
            let socket = dir.path().join("socket");
            let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
            let _client = std::os::unix::net::UnixStream::connect(&socket).unwrap();
            listener.accept().unwrap();
            #[allow(clippy::disallowed_methods, reason = "a plugin may start programs too")]
            let status = std::process::Command::new("/bin/true").status().unwrap();
            assert!(status.success());
            let tcp = std::net::TcpListener::bind(("127.0.0.1", 0));
            assert_eq!(tcp.is_ok(), filter.network, "{tcp:?}");
        });
    }
}
