//! The list: which system call gets which decision.
//!
//! # How it was made
//!
//! The beginning was what services commonly need: systemd's set `@system-service`, 350 or so
//! names of all machines. Go's runtime and tokio make 45 of those calls each, and one could allow
//! these only; then the next version of a libc, or the next library of a plugin, would fail in
//! ways that nobody understands. So a call goes out for a reason, and there are these:
//!
//! - it administers the machine, or becomes somebody else (mounts, modules, clocks, `setuid`,
//!   and `sync`, which writes everybody's data out);
//! - it reaches into other processes (`ptrace`, `process_vm_*`, `pidfd_getfd`, `kcmp`,
//!   `move_pages`), or tells what others have in memory (`cachestat`);
//! - it makes new worlds (`unshare`, `setns`, `clone` with a namespace), in which the kernel
//!   shows its untried sides to a root of its own;
//! - it is a large interface with a history (`bpf`, `perf_event_open`, `userfaultfd`, `io_uring`,
//!   keyrings, `vmsplice`, `fanotify`, `modify_ldt`), which network services do without;
//! - what it makes belongs to no process, so that the end of the sandbox, limits per process and
//!   the watchdog miss it: System V memory, semaphores and messages, POSIX message queues. Android
//!   has none of these either, and answers `ENOSYS`, which libraries know.
//!
//! Eight calls are needed for one purpose and feared for another; their arguments decide
//! ([`Decision`]). Left in on purpose: `execve` (the mounts and Landlock say of what; a helper
//! program is no escape), `landlock_*` (a plugin may confine itself further), `capset` (it has
//! nothing to give), signals and `pidfd_open` (the pid namespace says to whom).
//!
//! # Changing it
//!
//! [`ALLOWED`], [`DENIED`] and [`ABSENT`] have every call that the kernel had when the lists were
//! written, but for those no machine implements; a call in none of them is newer, and answers like
//! the [`ABSENT`] ones. To add one, put it into a list, and see whether a flag of it needs a
//! decision of its own.

use libc::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER,
    CLONE_NEWUTS, CLONE_PARENT, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS,
    c_int, c_long,
};

use super::Filter;

#[cfg(target_arch = "x86_64")]
pub(super) const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
pub(super) const ARCH: u32 = 0xc000_00b7;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the system call filter knows x86_64 and aarch64; add the lists of this machine");

/// The numbers of x32, the third kind of calls that an x86_64 kernel may take: they have this
/// bit, and pass for the same architecture.
#[cfg(target_arch = "x86_64")]
const X32: std::ops::RangeInclusive<u32> = 0x4000_0000..=0x7fff_ffff;

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Allow,
    /// The call answers with this error.
    Errno(c_int),
    /// The process ends.
    Kill,
}

impl Verdict {
    /// As the kernel wants it.
    pub(super) fn value(self) -> u32 {
        match self {
            Verdict::Allow => SECCOMP_RET_ALLOW,
            Verdict::Errno(errno) => SECCOMP_RET_ERRNO | errno.unsigned_abs(),
            Verdict::Kill => SECCOMP_RET_KILL_PROCESS,
        }
    }
}

const EPERM: Verdict = Verdict::Errno(libc::EPERM);
const ENOSYS: Verdict = Verdict::Errno(libc::ENOSYS);

/// How a call is judged. Only the low 32 bits of an argument are looked at: so does the kernel,
/// with every argument that is compared here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Decision {
    Give(Verdict),
    /// Whether the argument, masked, is one of the values.
    Equal {
        argument: u32,
        mask: u32,
        values: Vec<u32>,
        yes: Box<Decision>,
        no: Box<Decision>,
    },
    /// Whether the argument has any bit of the mask.
    AnyBit {
        argument: u32,
        mask: u32,
        yes: Box<Decision>,
        no: Box<Decision>,
    },
}

impl Decision {
    fn equal(argument: u32, values: Vec<u32>, yes: Decision, no: Decision) -> Self {
        Decision::Equal {
            argument,
            mask: u32::MAX,
            values,
            yes: Box::new(yes),
            no: Box::new(no),
        }
    }

    fn bits(argument: u32, mask: u32, yes: Decision, no: Decision) -> Self {
        Decision::AnyBit {
            argument,
            mask,
            yes: Box::new(yes),
            no: Box::new(no),
        }
    }
}

/// All numbers from `first` to the next range's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Range {
    pub(super) first: u32,
    pub(super) decision: Decision,
}

/// Every number's decision, as ranges in order, the first of which begins at 0.
pub(super) fn ranges(filter: Filter) -> Vec<Range> {
    let mut calls = calls(filter);
    calls.sort_by_key(|(number, _)| *number);
    let mut ranges = vec![Range {
        first: 0,
        decision: Decision::Give(ENOSYS),
    }];
    let mut add = |first: u32, decision: Decision| match ranges.last_mut() {
        Some(last) if last.decision == decision => {}
        Some(last) if last.first == first => last.decision = decision,
        _ => ranges.push(Range { first, decision }),
    };
    for (number, decision) in calls {
        add(number, decision);
        add(number + 1, Decision::Give(ENOSYS));
    }
    #[cfg(target_arch = "x86_64")]
    {
        add(*X32.start(), Decision::Give(Verdict::Kill));
        add(*X32.end() + 1, Decision::Give(ENOSYS));
    }
    merged(ranges)
}

/// Neighbours with the same decision become one range.
fn merged(ranges: Vec<Range>) -> Vec<Range> {
    let mut merged: Vec<Range> = Vec::with_capacity(ranges.len());
    for range in ranges {
        if merged
            .last()
            .is_none_or(|last| last.decision != range.decision)
        {
            merged.push(range);
        }
    }
    merged
}

/// The calls of the lists, each once, in no order.
pub(super) fn calls(filter: Filter) -> Vec<(u32, Decision)> {
    let lists = [
        (ALLOWED, Verdict::Allow),
        (ALLOWED_HERE, Verdict::Allow),
        (DENIED, EPERM),
        (DENIED_HERE, EPERM),
        (ABSENT, ENOSYS),
    ];
    let mut calls = Vec::with_capacity(512);
    for (numbers, verdict) in lists {
        calls.extend(
            numbers
                .iter()
                .map(|number| (as_number(*number), Decision::Give(verdict))),
        );
    }
    calls.extend(
        filtered(filter)
            .into_iter()
            .map(|(number, decision)| (as_number(number), decision)),
    );
    calls
}

/// No call has a number that does not fit; one that did would be denied.
fn as_number(number: c_long) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX - 1)
}

fn as_bits(flag: c_int) -> u32 {
    u32::from_ne_bytes(flag.to_ne_bytes())
}

fn as_values(values: &[c_int]) -> Vec<u32> {
    values.iter().copied().map(as_bits).collect()
}

/// The calls whose arguments decide.
fn filtered(filter: Filter) -> Vec<(c_long, Decision)> {
    use Decision::Give;
    let allow = || Give(Verdict::Allow);
    let deny = || Give(EPERM);
    let no_family = || Give(Verdict::Errno(libc::EAFNOSUPPORT));

    // No namespace of its own, in which it would be root; and no children that pass for the
    // shim's, or for the host's.
    const CLONE_DENIED: &[c_int] = &[
        CLONE_NEWNS,
        CLONE_NEWCGROUP,
        CLONE_NEWUTS,
        CLONE_NEWIPC,
        CLONE_NEWUSER,
        CLONE_NEWPID,
        CLONE_NEWNET,
        CLONE_PARENT,
    ];
    let clone_denied = CLONE_DENIED
        .iter()
        .fold(0, |mask, flag| mask | as_bits(*flag));

    // Input for the host's terminal; the line discipline, whose modules have a history; the
    // console's output.
    let ioctl_denied = [libc::TIOCSTI, TIOCLINUX, libc::TIOCSETD, libc::TIOCCONS]
        .iter()
        .filter_map(|request| u32::try_from(*request).ok())
        .collect();

    vec![
        (
            libc::SYS_clone,
            Decision::bits(0, clone_denied, deny(), allow()),
        ),
        (
            libc::SYS_ioctl,
            Decision::equal(1, ioctl_denied, deny(), allow()),
        ),
        (
            libc::SYS_prctl,
            Decision::equal(0, as_values(PRCTL_ALLOWED), allow(), deny()),
        ),
        // A question, which glibc asks; any other value would be an answer.
        (
            libc::SYS_personality,
            Decision::equal(0, vec![u32::MAX], allow(), deny()),
        ),
        // The memory can never be executed, not even by way of /proc/self/fd.
        (
            libc::SYS_memfd_create,
            Decision::bits(1, MFD_NOEXEC_SEAL, allow(), deny()),
        ),
        // Its own limits only, not a neighbour's of the same user.
        (
            libc::SYS_prlimit64,
            Decision::equal(0, vec![0], allow(), deny()),
        ),
        (libc::SYS_socket, socket(filter)),
        (
            libc::SYS_socketpair,
            Decision::equal(0, as_values(&[libc::AF_UNIX]), allow(), no_family()),
        ),
    ]
}

/// `socket(family, type, protocol)`.
fn socket(filter: Filter) -> Decision {
    use Decision::Give;
    /// The kernel's SOCK_TYPE_MASK: above are SOCK_CLOEXEC and SOCK_NONBLOCK.
    const TYPE: u32 = 0xf;
    let allow = || Give(Verdict::Allow);
    let with_type = |types: &[c_int], yes: Decision| Decision::Equal {
        argument: 1,
        mask: TYPE,
        values: as_values(types),
        yes: Box::new(yes),
        no: Box::new(Give(EPERM)),
    };
    let with_protocol = |protocols: &[c_int]| {
        Decision::equal(
            2,
            as_values(protocols),
            allow(),
            Give(Verdict::Errno(libc::EPROTONOSUPPORT)),
        )
    };

    let foreign = Give(Verdict::Errno(libc::EAFNOSUPPORT));
    let more = if filter.network {
        // Neither raw sockets nor the protocols that few use and many holes were found in: SCTP,
        // DCCP, SMC, and (Go and others fall back to TCP) MPTCP.
        let internet = with_type(
            &[libc::SOCK_STREAM, libc::SOCK_DGRAM],
            with_protocol(&[0, libc::IPPROTO_TCP, libc::IPPROTO_UDP]),
        );
        let netlink = with_type(
            &[libc::SOCK_RAW, libc::SOCK_DGRAM],
            with_protocol(&[libc::NETLINK_ROUTE]),
        );
        Decision::equal(
            0,
            as_values(&[libc::AF_INET, libc::AF_INET6]),
            internet,
            Decision::equal(0, as_values(&[libc::AF_NETLINK]), netlink, foreign),
        )
    } else {
        foreign
    };
    Decision::equal(0, as_values(&[libc::AF_UNIX]), allow(), more)
}

const TIOCLINUX: libc::Ioctl = 0x541c;
const MFD_NOEXEC_SEAL: u32 = 0x8;

/// What a plugin may do to itself with prctl: names, timers, questions. Missing on purpose, among
/// others: PDEATHSIG (it would outlive the host), MM, SECCOMP, PTRACER, KEEPCAPS, SECUREBITS,
/// MEMORY_MERGE (tells what others have in memory), TSC, SCHED_CORE.
const PRCTL_ALLOWED: &[c_int] = &[
    libc::PR_GET_PDEATHSIG,
    libc::PR_GET_DUMPABLE,
    libc::PR_SET_DUMPABLE,
    libc::PR_GET_KEEPCAPS,
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_GET_SECCOMP,
    libc::PR_CAPBSET_READ,
    libc::PR_GET_SECUREBITS,
    libc::PR_SET_TIMERSLACK,
    libc::PR_GET_TIMERSLACK,
    libc::PR_SET_CHILD_SUBREAPER,
    libc::PR_GET_CHILD_SUBREAPER,
    libc::PR_SET_NO_NEW_PRIVS,
    libc::PR_GET_NO_NEW_PRIVS,
    libc::PR_SET_THP_DISABLE,
    libc::PR_GET_THP_DISABLE,
    // SVE_SET_VL, SVE_GET_VL, GET_SPECULATION_CTRL, PAC_RESET_KEYS, SET_ and
    // GET_TAGGED_ADDR_CTRL, SME_SET_VL, SME_GET_VL.
    50,
    51,
    52,
    54,
    55,
    56,
    63,
    64,
    // GET_MDWE, GET_AUXV, SET_VMA (names of mappings; Go's runtime sets them).
    66,
    0x4155_5856,
    0x5356_4d41,
];

/// Numbers that libc does not name everywhere; from 424 on they are the same on all machines.
mod number {
    use libc::c_long;

    pub(super) const CACHESTAT: c_long = 451;
    pub(super) const FCHMODAT2: c_long = 452;
    pub(super) const MAP_SHADOW_STACK: c_long = 453;
    pub(super) const FUTEX_WAKE: c_long = 454;
    pub(super) const FUTEX_WAIT: c_long = 455;
    pub(super) const FUTEX_REQUEUE: c_long = 456;
    pub(super) const STATMOUNT: c_long = 457;
    pub(super) const LISTMOUNT: c_long = 458;
    pub(super) const LSM_GET_SELF_ATTR: c_long = 459;
    pub(super) const LSM_SET_SELF_ATTR: c_long = 460;
    pub(super) const LSM_LIST_MODULES: c_long = 461;
    pub(super) const MSEAL: c_long = 462;
    pub(super) const SETXATTRAT: c_long = 463;
    pub(super) const GETXATTRAT: c_long = 464;
    pub(super) const LISTXATTRAT: c_long = 465;
    pub(super) const REMOVEXATTRAT: c_long = 466;
    pub(super) const OPEN_TREE_ATTR: c_long = 467;

    #[cfg(target_arch = "x86_64")]
    pub(super) const KEXEC_FILE_LOAD: c_long = 320;
    #[cfg(target_arch = "aarch64")]
    pub(super) const KEXEC_FILE_LOAD: c_long = 294;
}

const ALLOWED: &[c_long] = &[
    // Files that are open.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_lseek,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_syncfs,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_readahead,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_tee,
    libc::SYS_copy_file_range,
    libc::SYS_getdents64,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_pipe2,
    libc::SYS_io_setup,
    libc::SYS_io_destroy,
    libc::SYS_io_getevents,
    libc::SYS_io_submit,
    libc::SYS_io_cancel,
    // Files by path; the mounts and Landlock say which.
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_truncate,
    libc::SYS_fchmodat,
    number::FCHMODAT2,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_umask,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    number::GETXATTRAT,
    number::LISTXATTRAT,
    number::SETXATTRAT,
    number::REMOVEXATTRAT,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_rm_watch,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_pkey_mprotect,
    libc::SYS_pkey_alloc,
    libc::SYS_pkey_free,
    libc::SYS_madvise,
    libc::SYS_mincore,
    libc::SYS_msync,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_mlockall,
    libc::SYS_munlock,
    libc::SYS_munlockall,
    libc::SYS_membarrier,
    libc::SYS_mbind,
    libc::SYS_get_mempolicy,
    libc::SYS_set_mempolicy,
    libc::SYS_set_mempolicy_home_node,
    number::MSEAL,
    number::MAP_SHADOW_STACK,
    // Processes and threads of its own.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getpgid,
    libc::SYS_setpgid,
    libc::SYS_getsid,
    libc::SYS_setsid,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_restart_syscall,
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    number::FUTEX_WAKE,
    number::FUTEX_WAIT,
    number::FUTEX_REQUEUE,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_getrusage,
    libc::SYS_times,
    libc::SYS_getcpu,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_getattr,
    libc::SYS_sched_setattr,
    libc::SYS_sched_getparam,
    libc::SYS_sched_setparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_sched_rr_get_interval,
    libc::SYS_getpriority,
    libc::SYS_setpriority,
    libc::SYS_ioprio_get,
    libc::SYS_ioprio_set,
    // Who it is; it can become nobody else.
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_capget,
    libc::SYS_capset,
    // Landlock only ever takes away.
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
    // Signals; the pid namespace and Landlock say to whom.
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_signalfd4,
    // Waiting and time.
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_timer_create,
    libc::SYS_timer_settime,
    libc::SYS_timer_gettime,
    libc::SYS_timer_getoverrun,
    libc::SYS_timer_delete,
    libc::SYS_setitimer,
    libc::SYS_getitimer,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    // Sockets that exist; `socket` says which kinds can.
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
    // The machine, as far as it is no secret.
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrandom,
];

/// What newer machines left out, because something above does the same.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_creat,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_getdents,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_sync_file_range,
    libc::SYS_inotify_init,
    libc::SYS_eventfd,
    libc::SYS_signalfd,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_pause,
    libc::SYS_alarm,
    libc::SYS_time,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_getpgrp,
    libc::SYS_getrlimit,
    libc::SYS_setrlimit,
    libc::SYS_arch_prctl,
];

/// renameat, sync_file_range, getrlimit and setrlimit, which libc does not name here.
#[cfg(target_arch = "aarch64")]
const ALLOWED_HERE: &[c_long] = &[38, 84, 163, 164];

const DENIED: &[c_long] = &[
    // Mounts and roots.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    number::OPEN_TREE_ATTR,
    number::STATMOUNT,
    number::LISTMOUNT,
    // Files past their paths, devices, what everybody has in the page cache, every disk's cache.
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_mknodat,
    number::CACHESTAT,
    libc::SYS_sync,
    libc::SYS_vmsplice,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    libc::SYS_lookup_dcookie,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_nfsservctl,
    // Namespaces.
    libc::SYS_unshare,
    libc::SYS_setns,
    // Other processes' memory and descriptors.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    // Identities.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    // Large parts of the kernel that few programs use and attackers do.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_memfd_secret,
    libc::SYS_remap_file_pages,
    libc::SYS_seccomp,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    number::LSM_GET_SELF_ATTR,
    number::LSM_SET_SELF_ATTR,
    number::LSM_LIST_MODULES,
    // The machine.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    number::KEXEC_FILE_LOAD,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_vhangup,
];

#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[c_long] = &[
    libc::SYS_mknod,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS__sysctl,
];

#[cfg(target_arch = "aarch64")]
const DENIED_HERE: &[c_long] = &[];

/// Allowed they would be harmful, and `EPERM` would break programs: those fall back on `ENOSYS`,
/// or know systems that have no such call.
const ABSENT: &[c_long] = &[
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmdt,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_mq_timedsend,
    libc::SYS_mq_timedreceive,
    libc::SYS_mq_notify,
    libc::SYS_mq_getsetattr,
];
