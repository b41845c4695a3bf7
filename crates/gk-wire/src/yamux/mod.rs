//! yamux as go-plugin needs it: several streams over one connection, each with its own window.
//!
//! [`Session`] is a state machine over frame *headers*. Payload never passes through it: the reader of
//! the socket hands it a header, and gets an [`Event`] with the number of payload bytes that follow.
//! The session has no socket and no clock. Frames to send are in its [`OutQueue`].

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
