//! The connection without I/O: broker, deadlines, flow control and cuts, on virtual time and in
//! memory.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod broker;
mod calls;
mod cuts;
mod deadlines;
mod end;
mod flow;
