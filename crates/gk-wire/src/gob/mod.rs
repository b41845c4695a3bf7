//! Go's `encoding/gob`, through serde.
//!
//! A stream is a row of messages: type definitions, each sent once, and values. An [`Encoder`] and a
//! [`Decoder`] each hold the types of one direction of one stream; neither reads or writes anything by
//! itself, and neither trusts a length before it has looked at what is there.
//!
//! Rust and Go meet like this:
//!
//! | Rust | Go | |
//! |---|---|---|
//! | `bool`, `i8`…`i64`, `u8`…`u64`, `f32`, `f64`, `String` | the same kinds | widths are checked when decoding |
//! | [`Payload`], `bytes::Bytes`, `Vec<u8>` | `[]byte`, `json.RawMessage` | a `Payload` is not copied |
//! | `struct` | `struct` | fields match when case and underscores are ignored: `menu_items` is `MenuItems` |
//! | `Vec`, tuple or array, map | slice, array, map | |
//! | `Option<T>`, `Box<T>` | pointer, value | |
//! | `()` | `interface{}` holding nil | |
//!
//! Gob leaves zero values out of structs, so a struct that is decoded needs `#[serde(default)]`. Go
//! strings need not be UTF-8; where they are not, a `String` gets U+FFFD and a [`Value`] the bytes.

mod de;
mod decode;
mod encode;
mod error;
mod names;
pub(crate) mod num;
mod payload;
mod schema;
pub(crate) mod ser;
mod value;
pub(crate) mod wire;

pub use decode::{Decoder, Message, message_length};
pub use encode::Encoder;
pub use error::Error;
pub use payload::Payload;
#[cfg(feature = "tokio")]
pub(crate) use ser::Sink;
pub use value::Value;
pub use wire::{MAX_DEFINITION_BYTES, MAX_FIELDS};

/// What a peer's gob stream may take. All limits hold before anything is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest message in bytes; 64 MiB by default (Go's own limit is 8 GiB).
    pub max_message_bytes: usize,
    /// Elements of all slices and maps of one message together; 262 144 by default. `[]byte` does not count.
    pub max_elements: usize,
    /// Nesting of values; 64 by default.
    pub max_depth: usize,
    /// Type definitions of one stream; 1024 by default.
    pub max_types: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_message_bytes: 64 << 20,
            max_elements: 1 << 18,
            max_depth: 64,
            max_types: 1024,
        }
    }
}
