//! Go's `net/rpc` on gob: a header and a body each way, without sockets.
//!
//! Requests carry a sequence number, replies come in any order. One [`Assembler`] per direction
//! finds the messages in the byte stream; the headers are read and written by hand, since they are
//! on the path of every call.

mod assemble;
mod header;

use serde::{Deserialize, Serialize};

pub use assemble::{Assembler, Content};
pub use header::{
    FIRST_BODY_ID, HeaderEncoder, MAX_METHOD_BYTES, RequestHeader, ResponseHeader, ServiceMethod,
};

/// Go's `struct{}`: the body of an error reply, and of replies that say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename = "")]
pub struct Empty {}
