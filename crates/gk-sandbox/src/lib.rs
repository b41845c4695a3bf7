//! Starts processes, confined: a [`SandboxSpec`] in, a [`Child`] out, with a [`Report`] that says
//! for each layer whether it is enforced, degraded or absent, and why.
//!
//! This crate is the only place of the workspace that starts processes and the only one with
//! `unsafe` (module `sys`). It knows no permissions and no protocols: its user turns
//! a policy into a [`SandboxSpec`].
//!
//! What every child gets, on Linux:
//!
//! - exactly the environment of its spec, a new session (so no controlling terminal), default
//!   signal dispositions and an empty signal mask;
//! - `/dev/null` as stdin, a pipe each as stdout and stderr, and *no other* descriptor of the
//!   host, whether or not it was opened close-on-exec;
//! - SIGKILL as its parent-death signal, so it does not outlive a host that was itself killed.
//!
//! With a [`Confinement`] it gets the [`Layer`]s: namespaces, a root of its own, a user of its
//! own, Landlock, seccomp, control groups and the rest, each attempted and reported. It needs a
//! *keeper*, which is the host's own program once more: call [`run_if_keeper`] first thing in
//! `main`, and make the spawner with [`Spawner::with_keeper`]. Everything that a confined process
//! starts ends with it, and nothing of it stays when the host is killed.
//!
//! A confined start takes some 3 ms more than a plain one, and needs Linux 5.12 for its mounts,
//! 5.13 for Landlock (6.12 for all of it), 6.3 for the layers `mdwe` and `memfd_noexec`. Older
//! kernels do without, and the report says so. x86-64 and AArch64 are supported.
//!
//! On other Unix systems a child is started without the parent-death signal and without the
//! guarantee about descriptors; a warning says so at the first start. A confinement has no effect
//! there, unless its level is [`Strictness::Required`], which is refused. Systems that are not Unix have
//! neither the sockets nor the descriptors that this is about; it does not compile there.
//!
//! # Examples
//!
//! ```
//! use std::io::Read;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let spawner = gk_sandbox::Spawner::new()?;
//! let mut spec = gk_sandbox::SandboxSpec::new("/bin/sh", "/");
//! spec.args = vec!["-c".into(), "echo $GREETING".into()];
//! spec.env.insert("GREETING".into(), "hello".into());
//! let mut child = spawner.spawn(spec)?;
//! let mut said = String::new();
//! std::fs::File::from(child.stdout.try_clone()?).read_to_string(&mut said)?;
//! assert_eq!(said, "hello\n");
//! assert!(child.reap()?.success());
//! # Ok(())
//! # }
//! ```
//!
//! Confined, as in `examples/confine.rs`, which runs any program:
//!
//! ```no_run
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     gk_sandbox::run_if_keeper();
//!     let spawner = gk_sandbox::Spawner::with_keeper(gk_sandbox::KeeperProgram::this()?)?;
//!     let mut spec = gk_sandbox::SandboxSpec::new("/opt/tool/tool", "/tmp/tool");
//!     let mut confinement = gk_sandbox::Confinement::new("tool", "/tmp/tool");
//!     confinement.read_only.push("/opt/tool".into());
//!     confinement.level = gk_sandbox::Strictness::Required;
//!     spec.confinement = Some(confinement);
//!     let child = spawner.spawn(spec)?;
//!     assert!(child.report().is_complete());
//!     Ok(())
//! }
//! ```
//!
//! The work directory (`/tmp/tool`) has to exist. Inside, a program sees what `read_only` names,
//! its work directory and a `/tmp` of its own; a dynamic one also the system's libraries, but none
//! of the system's other programs. Without root, [`Layer::Identity`] is degraded always, so that
//! `Required` is refused unless `without` has it.
//!
//! # Limits and errors
//!
//! [`Resources`] are what a sandbox may use. A start fails with a [`SpawnError`], which names the
//! path or the layer and what to do; a layer that is missing at [`Strictness::BestEffort`] is no error
//! but an entry of the [`Report`] with its [remedy](LayerReport::remedy). More memory than allowed
//! ends as [`ExitStatus::MemoryLimit`].

#[cfg(not(unix))]
compile_error!(
    "gk-sandbox is for Unix systems: its processes are spoken to by pipes and Unix sockets"
);

#[cfg(target_os = "linux")]
mod bytes;
mod child;
#[cfg(target_os = "linux")]
mod elf;
mod error;
#[cfg_attr(not(target_os = "linux"), path = "keeper/fallback.rs")]
mod keeper;
#[cfg(target_os = "linux")]
mod layers;
mod process;
mod remove;
mod report;
pub mod socket;
mod spawner;
mod spec;
#[allow(
    unsafe_code,
    reason = "the one module that makes raw system calls; every block has a SAFETY note"
)]
mod sys;

/// Lets go of memory that this process has and does not need: for the end of a start, or of a time
/// of load.
///
/// That is the program's own text, and with glibc what was freed and is not given back yet. Most of
/// what a start executes is never executed again, and the kernel maps it in pieces of 64 KiB around
/// what is touched. What is executed afterwards is mapped anew from the system's cache of the file,
/// at the cost of one minor fault for each such piece.
///
/// Here because it takes calls that Rust calls unsafe. Does nothing elsewhere than on Linux.
///
/// # Errors
/// When `/proc` is not there, or the kernel refuses. The text stays in memory then.
pub fn release_memory() -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    sys::text::release()?;
    Ok(())
}

pub use child::Child;
pub use error::{InterpreterProblem, SpawnError};
pub use keeper::{KeeperProgram, run_if_keeper};
pub use process::ExitStatus;
pub use remove::remove_tree;
pub use report::{Layer, LayerReport, LayerSet, Report, State, UnknownLayer};
pub use spawner::Spawner;
pub use spec::{Confinement, Identity, Program, Resources, SandboxSpec, Strictness};
