//! The first process of a sandbox, as its keeper has it: created ahead of the plan it gets.
//!
//! Creating it takes long: a process that moves into a control group of version 1 waits for a grace
//! period of the kernel's RCU, several milliseconds. So one is kept ready for the next start.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::process::Pid;

use super::channel;
use super::inside::{self, Assignment, Inherited};
use super::message::{FailedStep, Failure};
use super::namespaces::{self, Namespaces};
use crate::layers::cgroup::{Cgroups, Group};
use crate::layers::seccomp::Filters;
use crate::sys::process::Forked;

/// A first process that waits for its plan: a child of the host's, in its namespaces and control
/// groups.
pub(super) struct First {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    /// The keeper's end. The process ends when this is closed.
    pub(super) sync: OwnedFd,
    pub(super) group: Group,
    /// Whether the process could be moved into its control groups.
    pub(super) entered: io::Result<()>,
    /// The namespaces that were asked for (`CLONE_NEW…`).
    pub(super) wanted: i32,
    pub(super) namespaces: Namespaces,
}

impl First {
    /// Creates a first process.
    pub(super) fn create(
        wanted: i32,
        name: &str,
        cgroups: &Cgroups,
        filters: &Arc<Filters>,
    ) -> Result<Self, Failure> {
        let broken = |what: &str, error: io::Error| Failure {
            step: FailedStep::Process,
            what: what.to_owned(),
            errno: error.raw_os_error().unwrap_or(0),
        };
        let (sync, there) = channel::pair().map_err(|error| broken("open a channel", error))?;
        let locks = cgroups
            .locks()
            .map(|lock| rustix::io::fcntl_dupfd_cloexec(lock, 3))
            .collect::<Result<_, _>>()
            .map_err(|errno| broken("keep a descriptor", errno.into()))?;
        let inherited = Inherited {
            sync: there,
            locks,
            filters: Arc::clone(filters),
        };
        let forked = namespaces::fork(wanted).map_err(|error| broken("create a process", error))?;
        let (pid, pidfd, namespaces) = match forked {
            (Forked::Child, _) => inside::first_process(inherited),
            (Forked::Parent { pid, pidfd }, namespaces) => (pid, pidfd, namespaces),
        };
        drop(inherited);
        let group = cgroups.create(name);
        let entered = group.enter(pid.as_raw_pid());
        Ok(Self {
            pid,
            pidfd,
            sync,
            group,
            entered,
            wanted,
            namespaces,
        })
    }

    /// Sends the plan, with the descriptors of the start.
    pub(super) fn assign(
        &self,
        assignment: &Assignment,
        descriptors: &[OwnedFd],
    ) -> io::Result<()> {
        let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        channel::send(&self.sync, assignment, &borrowed)
    }
}
