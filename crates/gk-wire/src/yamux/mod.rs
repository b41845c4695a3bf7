//! yamux as go-plugin needs it: several streams over one connection, each with its own window.
//!
//! [`Session`] is a state machine over frame *headers*. Payload never passes through it: whoever
//! reads the socket asks it what a header means, and then moves as many payload bytes as it said.
//! It has no socket and no clock, and what it wants to send stands in its [`OutQueue`].

mod error;
mod event;
mod frame;
mod limits;
mod out;
mod session;
mod stream;

pub use error::SessionError;
pub use event::Event;
pub use frame::{Flags, Header, Kind};
pub use limits::Limits;
pub use out::{Batch, OutQueue};
pub use session::{Role, Session};
