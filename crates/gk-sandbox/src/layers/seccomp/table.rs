//! Which system call gets which decision: the [`lists`](super::lists), and those whose arguments
//! decide.

use libc::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER,
    CLONE_NEWUTS, CLONE_PARENT, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS,
    c_int, c_long,
};

use super::Filter;
use super::lists::{ABSENT, ALLOWED, ALLOWED_HERE, DENIED, DENIED_HERE};

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

/// The decision on a call.
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
        // A process may change its own limits only, not those of another process of the same user.
        (
            libc::SYS_prlimit64,
            Decision::equal(0, vec![0], allow(), deny()),
        ),
        (libc::SYS_socket, socket(filter)),
        (
            libc::SYS_socketpair,
            Decision::equal(0, as_values(&[libc::AF_UNIX]), allow(), no_family()),
        ),
        (libc::SYS_mmap, mmap(filter)),
    ]
}

/// `mmap(address, length, protection, flags, …)`.
fn mmap(filter: Filter) -> Decision {
    let allow = Decision::Give(Verdict::Allow);
    if filter.shared_memory {
        return allow;
    }
    let anonymous = |shared: c_int| as_bits(libc::MAP_ANONYMOUS | shared);
    Decision::Equal {
        argument: 3,
        mask: as_bits(libc::MAP_ANONYMOUS | libc::MAP_TYPE),
        values: vec![
            anonymous(libc::MAP_SHARED),
            anonymous(libc::MAP_SHARED_VALIDATE),
        ],
        yes: Box::new(Decision::Give(EPERM)),
        no: Box::new(allow),
    }
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

/// Uses of prctl by which a program changes only itself: names, timers, questions. Missing on purpose, among
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
