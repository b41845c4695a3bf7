//! Namespaces, root and user of the first process.

use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::thread::{Gid, Uid};

use super::input::{KeeperRequest, Mapping};
use super::{Fatal, Setup, errno};
use crate::keeper::channel;
use crate::keeper::message::{Executable, FailedStep, Plan};
use crate::keeper::root::{self, NewRoot};
use crate::keeper::watch::Watched;
use crate::report::{Layer, LayerReport, State};
use crate::sys::process;

impl Setup {
    /// Forbids the execution of memory files in this process namespace. Only the real root may set
    /// the sysctl; the seccomp filter does the same without it.
    pub(super) fn forbid_executable_memfds(&mut self) -> Result<(), Fatal> {
        if !self.wants(Layer::MemfdNoexec) {
            return self.note(LayerReport::off(Layer::MemfdNoexec));
        }
        let by_filter = self.wants(Layer::Seccomp);
        let set = if self.was_created_in(libc::CLONE_NEWPID) {
            process::write_at_once("/proc/sys/vm/memfd_noexec", "2")
        } else {
            Err(io::Error::from_raw_os_error(libc::EPERM))
        };
        self.note(match set {
            Ok(()) => LayerReport::enforced(Layer::MemfdNoexec, "vm.memfd_noexec=2"),
            Err(_) if by_filter => {
                LayerReport::enforced(Layer::MemfdNoexec, "by the seccomp filter")
            }
            Err(error) => LayerReport::absent(
                Layer::MemfdNoexec,
                "vm.memfd_noexec cannot be set",
                errno(&error),
            ),
        })
    }

    /// A view of this namespace's processes, for the watchdog.
    pub(super) fn watched_processes(&self) -> Option<Watched> {
        if self.was_created_in(libc::CLONE_NEWPID)
            && let Ok(proc) = root::whole_proc()
        {
            return Some(Watched::All(proc));
        }
        let proc = rustix::fs::open(
            "/proc",
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .ok()?;
        // This /proc may be that of an outer process namespace, which has another number for this
        // process.
        let own = rustix::fs::readlinkat(&proc, "self", Vec::new()).ok()?;
        Some(Watched::Below(proc, own.to_str().ok()?.parse().ok()?))
    }

    /// Moves into a mount namespace of its own. Returns whether there is one.
    pub(super) fn mount_namespace(&mut self) -> Result<bool, Fatal> {
        if !self.wants(Layer::Mount) {
            self.note(LayerReport::off(Layer::Mount))?;
            return Ok(false);
        }
        let Err(error) = process::unshare(libc::CLONE_NEWNS) else {
            return Ok(true);
        };
        // A missing user namespace is the reason for a missing mount namespace, and its remedy is
        // the same.
        let user = self.layers.iter().find(|entry| entry.layer == Layer::User);
        let reason = user.filter(|entry| entry.state == State::Absent);
        let errno = reason.map_or(errno(&error), |entry| entry.errno);
        self.note(LayerReport::absent(Layer::Mount, "no namespace", errno))?;
        Ok(false)
    }

    /// Builds the root and moves into it.
    pub(super) fn enter_root(&mut self) -> Result<(), Fatal> {
        let plan = &self.input.plan;
        let script = match plan.executable {
            Executable::Script => self.input.program.as_ref().map(AsFd::as_fd),
            _ => None,
        };
        let owner = if self.input.privileged && !self.wants(Layer::Identity) {
            self.input.host
        } else {
            (plan.uid, plan.gid)
        };
        let entered = root::enter(plan, script, !self.adds_up_memory(), owner);
        let entry = match entered {
            Ok(NewRoot { proc, directories }) => {
                (self.own_root, self.directories) = (true, directories);
                LayerReport::enforced(Layer::Mount, if proc { "" } else { "without /proc" })
            }
            // Landlock would be led astray by the same paths, so there is no start without a root.
            Err(error) if error.refuse => {
                let step = match error.errno {
                    None => FailedStep::Paths,
                    Some(_) => FailedStep::Process,
                };
                return Err(Fatal::new(step, error.what, error.errno));
            }
            Err(error) => LayerReport::absent(
                Layer::Mount,
                format!("could not {}", error.what),
                error.errno,
            ),
        };
        self.note(entry)
    }

    /// Maps this process's own user and group, which an unprivileged process may do by itself.
    pub(super) fn map_own_user(&mut self) -> Result<(), Fatal> {
        if !self.was_created_in(libc::CLONE_NEWUSER) {
            return Ok(());
        }
        let (host_uid, host_gid) = self.input.host;
        let Plan { uid, gid, .. } = self.input.plan;
        let write = process::write_at_once;
        let mapped = write("/proc/self/setgroups", "deny")
            .and_then(|()| write("/proc/self/gid_map", &format!("{gid} {host_gid} 1")))
            .and_then(|()| write("/proc/self/uid_map", &format!("{uid} {host_uid} 1")));
        if let Err(error) = mapped {
            return self.note(LayerReport::degraded(
                Layer::User,
                "the user could not be mapped",
                errno(&error),
            ));
        }
        Ok(())
    }

    /// Replaces the host's name in a UTS namespace of its own.
    pub(super) fn set_host_name(&mut self) -> Result<(), Fatal> {
        if !self.was_created_in(libc::CLONE_NEWUTS) {
            return Ok(());
        }
        let named = rustix::system::sethostname(self.input.plan.name.as_bytes());
        self.note(match named {
            Ok(()) => LayerReport::enforced(Layer::Uts, ""),
            Err(errno) => LayerReport::degraded(
                Layer::Uts,
                "the host's name could not be replaced",
                Some(errno.raw_os_error()),
            ),
        })
    }

    /// Moves a privileged process into a user namespace. Returns whether the namespace needs a
    /// mapping.
    pub(super) fn user_namespace(&mut self) -> Result<bool, Fatal> {
        if !self.input.privileged || !self.wants(Layer::User) {
            return Ok(false);
        }
        match process::unshare(libc::CLONE_NEWUSER) {
            Ok(()) => Ok(true),
            Err(error) => {
                self.note(LayerReport::absent(
                    Layer::User,
                    "no user namespace",
                    errno(&error),
                ))?;
                Ok(false)
            }
        }
    }

    /// Has the keeper map the user namespace: no process may map users other than its own in a
    /// namespace that it is in.
    pub(super) fn mapped_by_keeper(&self) -> Result<Mapping, Fatal> {
        let gone =
            |error: Option<i32>| Fatal::new(FailedStep::Process, "speak to the keeper", error);
        channel::send(&self.input.sync, &KeeperRequest::Map, &[])
            .map_err(|error| gone(errno(&error)))?;
        match channel::receive::<Mapping>(&self.input.sync, true) {
            Ok(Some((mapping, _))) => Ok(mapping),
            Ok(None) => Err(gone(None)),
            Err(error) => Err(gone(errno(&error))),
        }
    }

    /// Hides the control groups above this process's own.
    pub(super) fn cgroup_namespace(&mut self) -> Result<(), Fatal> {
        if !self.wants(Layer::Cgroup) {
            return self.note(LayerReport::off(Layer::Cgroup));
        }
        let entry = match process::unshare(libc::CLONE_NEWCGROUP) {
            Ok(()) => LayerReport::enforced(Layer::Cgroup, ""),
            Err(error) => LayerReport::absent(Layer::Cgroup, "no cgroup namespace", errno(&error)),
        };
        self.note(entry)
    }

    /// Becomes the program's user.
    pub(super) fn become_user(&mut self, mapping: Option<Mapping>) -> Result<(), Fatal> {
        if self.input.privileged
            && let Some(mapping) = mapping
        {
            self.note(match mapping {
                Mapping::Asked => LayerReport::enforced(Layer::User, ""),
                Mapping::Host => LayerReport::enforced(Layer::User, "maps to the host's own user"),
                Mapping::None(errno) => {
                    LayerReport::degraded(Layer::User, "its user is not mapped", Some(errno))
                }
            })?;
        }
        if !self.wants(Layer::Identity) {
            return self.note(LayerReport::off(Layer::Identity));
        }
        let plan = &self.input.plan;
        if !self.input.privileged {
            let uid = self.input.host.0;
            return self.note(LayerReport::degraded(
                Layer::Identity,
                format!("the host's own user {uid}, as the host is not root"),
                Some(libc::EPERM),
            ));
        }
        let change = || -> Result<(), Errno> {
            let (uid, gid) = (Uid::from_raw(plan.uid), Gid::from_raw(plan.gid));
            // The user comes last: without it the right to change groups is gone.
            rustix::thread::set_thread_groups(&[])?;
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
            rustix::thread::set_thread_res_uid(uid, uid, uid)
        };
        let entry = match change() {
            Ok(()) if mapping == Some(Mapping::Host) => {
                LayerReport::degraded(Layer::Identity, "the host's own user outside", None)
            }
            Ok(()) => LayerReport::enforced(Layer::Identity, format!("user {}", plan.uid)),
            // The program would run as root, to whom the host's files belong.
            Err(errno) => {
                return Err(Fatal::new(
                    FailedStep::Process,
                    format!("become user {}", plan.uid),
                    Some(errno.raw_os_error()),
                ));
            }
        };
        self.note(entry)
    }
}
