//! The layers of the sandbox that a process puts on itself, or that lie around it from outside.
//!
//! Each does one thing and says whether it could; what is applied, in which order and what is to
//! be done where one is missing is the caller's business. They overlap on purpose: what one is
//! there for, another hinders.
//!
//! | Layer | Stops |
//! |---|---|
//! | [`seccomp`] | system calls a confined program has no business with: mounts, namespaces, looking into other processes, kernel interfaces with a history, foreign socket families |
//! | [`landlock`] | files outside the lists, execution of what it wrote, TCP, abstract sockets and signals beyond the sandbox |
//! | [`privileges`] | capabilities, setuid programs, memory turned executable, inherited descriptors, descriptor bombs |
//! | [`cgroup`] | memory and fork bombs, processor hogs; ends whole trees of processes |
//! | [`rss`] | measures memory where there is no memory cgroup, for a watchdog |
//!
//! None of them hides anything (other processes, mounts, the network): that is what the
//! namespaces are for.

pub(crate) mod cgroup;
pub(crate) mod landlock;
pub(crate) mod privileges;
pub(crate) mod rss;
pub(crate) mod seccomp;
