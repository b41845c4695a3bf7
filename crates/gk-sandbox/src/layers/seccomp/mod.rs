//! The system call filter: the calls that a confined program may make, and their arguments.
//!
//! It is an allow-list ([`lists`], [`table`]), compiled to a search tree ([`compile`]). What it is
//! not: it sees numbers only, never what a pointer points to, so paths are the mounts' and
//! Landlock's business, and addresses of sockets the network namespace's.
//!
//! What a denied call answers:
//!
//! - a call of another architecture (int 0x80, x32) ends the process: nothing but an attack makes
//!   one, and its numbers mean other calls;
//! - a call that is known and not allowed answers `EPERM`; a socket's family `EAFNOSUPPORT` and
//!   its protocol `EPROTONOSUPPORT`, which programs expect and act upon;
//! - a call nobody has heard of yet answers `ENOSYS`, and so do those for which programs have a
//!   fall-back that they only take then: clone3 (whose flags a filter cannot see), io_uring, and
//!   System V IPC and message queues, whose memory belongs to no process, so that a watchdog
//!   without a memory cgroup would miss it.

mod compile;
mod lists;
mod table;
#[cfg(test)]
mod tests;

use std::io;

use libc::sock_filter;

use crate::sys::bpf;

/// Options of the filter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Filter {
    /// `true` if internet sockets (TCP and UDP) can be made, and the netlink socket that tells
    /// addresses and routes, without which Go's net package finds no interface. Never raw ones.
    pub(crate) network: bool,
    /// `true` if memory can be shared without a file. What is shared stays when nobody has it
    /// mapped, so that adding up what processes map misses it: a watchdog is evaded by that.
    pub(crate) shared_memory: bool,
}

/// The filter's program. Pure: worth keeping, as there are only four.
fn program(filter: Filter) -> Vec<sock_filter> {
    compile::compile(&table::ranges(filter))
}

/// All programs there are.
pub(crate) struct Filters(Vec<(Filter, Vec<sock_filter>)>);

impl Filters {
    pub(crate) fn compile() -> Self {
        let both = [false, true];
        let filters = both.into_iter().flat_map(|network| {
            both.map(|shared_memory| Filter {
                network,
                shared_memory,
            })
        });
        Self(filters.map(|filter| (filter, program(filter))).collect())
    }

    pub(crate) fn program(&self, filter: Filter) -> &[sock_filter] {
        let found = self.0.iter().find(|(of, _)| *of == filter);
        found.map_or(&[], |(_, program)| program)
    }
}

/// Installs a program for the calling thread and what it starts; the last layer, as it forbids
/// the calls that install the others.
///
/// # Errors
/// `EACCES` without no_new_privs; `EINVAL` or `ENOSYS` on a kernel without seccomp filters;
/// `EINVAL` too for an empty program; `ENOMEM`.
pub(crate) fn install(program: &[sock_filter]) -> io::Result<()> {
    bpf::install(program)
}
