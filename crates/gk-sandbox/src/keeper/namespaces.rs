//! The namespaces a first process is created in, and what to do where some cannot be had.

use std::io;

use super::message::Plan;
use crate::report::{Layer, LayerReport};
use crate::sys::process::{self, Forked};

/// Those it can be created in, and the layers they are. The user namespace first: where that is
/// missing, an unprivileged process gets none of the others, and its remedy is theirs.
/// Not among them is the mount namespace, which would have the mounts of that moment: see `inside`.
const KINDS: [(Layer, i32); 5] = [
    (Layer::User, libc::CLONE_NEWUSER),
    (Layer::Pid, libc::CLONE_NEWPID),
    (Layer::Network, libc::CLONE_NEWNET),
    (Layer::Ipc, libc::CLONE_NEWIPC),
    (Layer::Uts, libc::CLONE_NEWUTS),
];

/// The namespaces that a process got, of those it was to have.
#[derive(Debug, Clone, Default)]
pub(super) struct Namespaces {
    /// `CLONE_NEW…`.
    pub(super) flags: i32,
    /// Namespaces that the kernel refused, with the errno.
    refused: Vec<(i32, i32)>,
}

impl Namespaces {
    pub(super) fn complete(&self) -> bool {
        self.refused.is_empty()
    }

    /// The state of the layers that these namespaces are.
    pub(super) fn layers(&self, plan: &Plan, privileged: bool) -> Vec<LayerReport> {
        let wanted = wanted(plan, privileged);
        KINDS
            .into_iter()
            .filter_map(|(layer, flag)| {
                let refused = self.refused.iter().find(|(refused, _)| *refused == flag);
                if let Some((_, errno)) = refused {
                    Some(LayerReport::absent(layer, "no namespace", Some(*errno)))
                } else if wanted & flag != 0 {
                    Some(LayerReport::enforced(layer, ""))
                } else if layer == Layer::User && plan.wants(layer) {
                    // A privileged process enters its user namespace later.
                    None
                } else {
                    Some(LayerReport::off(layer))
                }
            })
            .collect()
    }
}

/// The namespaces that a plan wants its first process to be created in.
///
/// Unprivileged, all of them need a user namespace, made together with them. A privileged process
/// comes into its user namespace last, so that the others, and the mounts, are not its own.
pub(super) fn wanted(plan: &Plan, privileged: bool) -> i32 {
    KINDS
        .into_iter()
        .filter(|(layer, _)| {
            let shared = match layer {
                Layer::Network => plan.network,
                Layer::User => privileged,
                _ => false,
            };
            plan.wants(*layer) && !shared
        })
        .fold(0, |flags, (_, flag)| flags | flag)
}

/// Forks the first process of a sandbox into as many of the wanted namespaces as can be had.
///
/// # Errors
/// A condition that may pass, such as too little memory, is no reason to go without a namespace.
pub(super) fn fork(wanted: i32) -> io::Result<(Forked, Namespaces)> {
    let mut got = Namespaces {
        flags: wanted,
        refused: Vec::new(),
    };
    for narrow in [without_refused, without_any] {
        match process::fork(got.flags, true) {
            Ok(forked) => return Ok((forked, got)),
            Err(error) if got.flags != 0 && lasts(&error) => {
                narrow(&mut got, &error, &process::fork_and_end)?;
            }
            Err(error) => return Err(error),
        }
    }
    process::fork(got.flags, true).map(|forked| (forked, got))
}

/// Returns `true` if the error lasts: the kernel, or its configuration, gives no such namespace.
fn lasts(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EPERM
                | libc::EACCES
                | libc::EINVAL
                | libc::ENOSYS
                | libc::ENOSPC
                | libc::EUSERS
                | libc::EOPNOTSUPP
        )
    )
}

/// Tries namespaces; an error says why they cannot be had.
type Try<'a> = &'a dyn Fn(i32) -> io::Result<()>;

/// Leaves out the kinds that cannot be had: each is tried by a process that ends at once.
fn without_refused(got: &mut Namespaces, _: &io::Error, can_be_had: Try<'_>) -> io::Result<()> {
    let user = got.flags & libc::CLONE_NEWUSER;
    for (_, flag) in KINDS {
        if got.flags & flag == 0 {
            continue;
        }
        match can_be_had(flag | user) {
            Ok(()) => {}
            Err(error) if !lasts(&error) => return Err(error),
            // An unprivileged process gets no other namespace without this one.
            Err(error) if flag == user => return without_any(got, &error, can_be_had),
            Err(error) => got.refuse(flag, &error),
        }
    }
    Ok(())
}

fn without_any(got: &mut Namespaces, error: &io::Error, _: Try<'_>) -> io::Result<()> {
    for (_, flag) in KINDS {
        if got.flags & flag != 0 {
            got.refuse(flag, error);
        }
    }
    Ok(())
}

impl Namespaces {
    fn refuse(&mut self, flag: i32, error: &io::Error) {
        self.flags &= !flag;
        self.refused
            .push((flag, error.raw_os_error().unwrap_or_default()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(errno: i32) -> io::Error {
        io::Error::from_raw_os_error(errno)
    }

    /// A machine that does not give network namespaces runs out of processes for a moment: that
    /// must not cost the process namespace.
    #[test]
    fn what_may_pass_is_no_reason_to_go_without() {
        let all = KINDS.iter().fold(0, |flags, (_, flag)| flags | flag);
        for errno in [libc::EAGAIN, libc::ENOMEM, libc::EMFILE] {
            let mut got = Namespaces {
                flags: all,
                refused: Vec::new(),
            };
            let outcome = without_refused(&mut got, &error(libc::ENOSPC), &|flags| {
                if flags & libc::CLONE_NEWNET != 0 {
                    Err(error(libc::ENOSPC))
                } else if flags & libc::CLONE_NEWPID != 0 {
                    Err(error(errno))
                } else {
                    Ok(())
                }
            });
            assert_eq!(outcome.unwrap_err().raw_os_error(), Some(errno));
            assert_ne!(got.flags & libc::CLONE_NEWPID, 0);
        }
    }
}
