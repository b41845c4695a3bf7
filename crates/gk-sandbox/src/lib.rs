//! Starts plugin processes: a [`SandboxSpec`] in, a [`Child`] out.
//!
//! This crate is the only place of the workspace that starts processes and the only one with
//! `unsafe` (module `sys`). It knows nothing of plugins, permissions or protocols: the runtime
//! turns a policy into a [`SandboxSpec`].
//!
//! What every child gets, on Linux:
//!
//! - exactly the environment of its spec, a new session (so a process group of its own and no
//!   controlling terminal), default signal dispositions and an empty signal mask;
//! - `/dev/null` as stdin, a pipe each as stdout and stderr, and *no other* descriptor of the
//!   host, whether or not it was opened close-on-exec;
//! - SIGKILL as its parent-death signal, so it does not outlive a host that was itself killed.
//!
//! On other Unix systems a child is started without the parent-death signal and without the
//! guarantee about descriptors; a warning says so at the first start.
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

mod child;
mod error;
#[cfg(target_os = "linux")]
#[allow(
    dead_code,
    unused_imports,
    reason = "layers that the start of a process does not put on yet"
)]
mod layers;
pub mod socket;
mod spawner;
mod spec;
#[allow(
    unsafe_code,
    reason = "the one module that makes raw system calls; every block has a SAFETY note"
)]
mod sys;

pub use child::{Child, ExitStatus};
pub use error::SpawnError;
pub use spawner::Spawner;
pub use spec::SandboxSpec;
