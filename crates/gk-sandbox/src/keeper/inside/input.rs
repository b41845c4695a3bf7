//! Input of a sandbox's first process: at its creation, and later with its plan.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::keeper::channel;
use crate::keeper::message::Plan;
use crate::layers::seccomp::Filters;
use crate::report::LayerReport;
use crate::sys::process;

/// A message of the first process to the keeper. It is never empty, because an empty message would
/// pass for the end of the stream.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum KeeperRequest {
    /// Map my user and group: I am in a new user namespace.
    Map,
}

/// The keeper's answer: how the user namespace was mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mapping {
    /// To the user that was asked for.
    Asked,
    /// To the host's own user.
    Host,
    /// Not at all; the errno.
    None(i32),
}

/// Descriptors and filters that a first process has from its creation.
pub(crate) struct Inherited {
    pub(crate) sync: OwnedFd,
    /// The locks of the host's control groups, so that a keeper's death does not free them: the
    /// next keeper would take the sandboxes for a dead host's.
    pub(crate) locks: Vec<OwnedFd>,
    pub(crate) filters: Arc<Filters>,
}

/// The keeper's message to a first process that waits. These descriptors come with it, in this
/// order: control socket, lifeline, stdout, stderr, and the program if it is pinned.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Assignment {
    pub(crate) plan: Plan,
    /// The namespaces (`CLONE_NEW…`) this process was created in.
    pub(crate) namespaces: i32,
    /// The keeper's user and group.
    pub(crate) host: (u32, u32),
    /// `true` if the keeper is privileged, so that the user namespace comes last.
    pub(crate) privileged: bool,
    /// State of the layers that were decided by the creation and the control groups.
    pub(crate) layers: Vec<LayerReport>,
}

/// An [`Inherited`] and its [`Assignment`].
pub(super) struct SetupInput {
    pub(super) sync: OwnedFd,
    pub(super) locks: Vec<OwnedFd>,
    pub(super) filters: Arc<Filters>,
    pub(super) plan: Plan,
    pub(super) namespaces: i32,
    pub(super) host: (u32, u32),
    pub(super) privileged: bool,
    pub(super) layers: Vec<LayerReport>,
    pub(super) control: Arc<OwnedFd>,
    pub(super) lifeline: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) program: Option<OwnedFd>,
}

impl Inherited {
    /// Waits for the plan; `None` if there will be none.
    pub(super) fn wait(self) -> Option<SetupInput> {
        let Inherited {
            sync,
            locks,
            filters,
        } = self;
        let kept: Vec<_> = locks.iter().chain([&sync]).map(AsFd::as_fd).collect();
        // The keeper's descriptors were inherited, among them the lifelines of other sandboxes.
        process::close_all_but(&kept).ok()?;
        let _ = rustix::thread::set_name(c"gk-sandbox");
        let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        let (assignment, descriptors) = channel::receive::<Assignment>(&sync, true).ok()??;
        let Assignment {
            plan,
            namespaces,
            host,
            privileged,
            layers,
        } = assignment;
        let mut descriptors = descriptors.into_iter();
        Some(SetupInput {
            control: Arc::new(descriptors.next()?),
            lifeline: descriptors.next()?,
            stdout: descriptors.next()?,
            stderr: descriptors.next()?,
            program: descriptors.next(),
            sync,
            locks,
            filters,
            plan,
            namespaces,
            host,
            privileged,
            layers,
        })
    }
}
