//! The system calls behind a start: one file per system, one face to the rest of the crate.

mod prepared;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(crate) mod process;
#[cfg(target_os = "linux")]
pub(crate) use linux::{enter_spawner_thread, peer, session, start, start_keeper, wait_id};

#[cfg(target_os = "linux")]
pub(crate) mod bpf;
#[cfg(target_os = "linux")]
pub(crate) mod landlock;
#[cfg(target_os = "linux")]
pub(crate) mod privileges;
#[cfg(target_os = "linux")]
pub(crate) mod text;
#[cfg(all(test, target_os = "linux"))]
pub(crate) mod trial;

#[cfg(not(target_os = "linux"))]
mod fallback;
#[cfg(not(target_os = "linux"))]
pub(crate) use fallback::{enter_spawner_thread, start, wait_id};

#[cfg(target_os = "linux")]
pub(crate) use prepared::Image;
pub(crate) use prepared::{Failure, Prepared, Started, Step};
