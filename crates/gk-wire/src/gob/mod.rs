//! Go's `encoding/gob`, through serde.
//!
//! A stream is a row of messages: type definitions, each sent once, and values. An [`Encoder`] and
//! a [`Decoder`] each hold the types of one direction of one stream; neither reads or writes
//! anything by itself, and neither trusts a length before it has looked at what is there.
//!
//! Rust and Go meet like this, in both directions. Go's own encoder and decoder check the table
//! (`tests/e2e/gob.rs`).
//!
//! | Rust | Go | |
//! |---|---|---|
//! | `bool` | `bool` | |
//! | `i8`, `i16`, `i32`, `i64` | `int8`, `int16`, `int32`, `int64`, `int`, `time.Duration` and other types of such a kind | gob has one integer: widths are checked when decoding |
//! | `u8`, `u16`, `u32`, `u64` | `uint8`, `uint16`, `uint32`, `uint64`, `uint`, `uintptr` | the same |
//! | `f32`, `f64` | `float32`, `float64` | the same |
//! | `String` | `string` | a Go string need not be UTF-8: what is not becomes U+FFFD |
//! | `char` | `rune` | |
//! | [`Payload`], `bytes::Bytes`, `Vec<u8>` | `[]byte`, `json.RawMessage` | a `Payload` is not copied |
//! | `Vec<T>` | `[]T` | an empty one is nil in Go |
//! | tuple, array | `[N]T` | |
//! | `HashMap`, `BTreeMap` | `map[K]V` | an empty one is empty in Go; `Option` around it tells nil from empty |
//! | `struct` | `struct` | fields match when case and underscores are ignored: `menu_items` is `MenuItems` |
//! | `Option<T>`, `Box<T>` | `*T` | nil is `None` |
//! | [`Interface`] | `interface{}` and every other interface | with the name of the concrete type |
//! | `()` | `interface{}` that holds nil | decoding passes over whatever is there |
//! | [`Time`] | `time.Time` | |
//! | [`Marshaled<T>`](Marshaled) | types with `GobEncode` or `MarshalBinary`: `*url.URL`, `big.Int` | [`Marshal`] says which; read only, `Payload` takes the bytes |
//! | [`Value`] | every type | a tree, for reading alone; the only form for `complex64` and `complex128` |
//!
//! An interface that holds a value also decodes into the type of that value itself, where its name
//! does not matter. Channels and functions have no form in gob, and enums of Rust none in Go. Go
//! leaves channels and functions out of structs; [`Encoder::encode`] refuses an enum.
//!
//! Gob leaves zero values out of structs, so a struct that is decoded needs `#[serde(default)]`.

mod copy;
mod de;
mod decode;
mod definition;
mod encode;
mod error;
mod interface;
mod marshaled;
mod names;
pub(crate) mod num;
mod passing;
mod payload;
mod reader;
mod schema;
mod ser;
mod sink;
mod trace;
mod types;
mod value;
pub(crate) mod walk;
pub(crate) mod wire;

pub use decode::{Decoder, Message, message_length};
pub use definition::{MAX_DEFINITION_BYTES, MAX_FIELDS};
pub use encode::Encoder;
pub use error::Error;
pub use interface::Interface;
pub use marshaled::{Marshal, Marshaled, Time};
pub use payload::Payload;
pub(crate) use sink::Sink;
pub use value::Value;
pub use wire::Marshaler;

/// Limits of a peer's gob stream. All of them are checked before anything is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest message in bytes; 64 MiB by default (Go's own limit is 8 GiB).
    pub max_message_bytes: usize,
    /// Elements of all slices and maps of one message together; 262 144 by default. `[]byte` does
    /// not count.
    pub max_elements: usize,
    /// Nesting of values; 64 by default.
    pub max_depth: usize,
    /// Type definitions of one stream; 4096 by default. They are kept as long as the stream.
    pub max_types: usize,
    /// Bytes of all type definitions of one stream together; 4 MiB by default.
    pub max_type_bytes: usize,
    /// Messages that one value may be spread over; 4096 by default. Go begins a further message
    /// behind each type definition inside of a value, so an interface value whose concrete type
    /// needs ten definitions takes eleven.
    pub max_messages_per_value: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_message_bytes: 64 << 20,
            max_elements: 1 << 18,
            max_depth: 64,
            max_types: 4096,
            max_type_bytes: 4 << 20,
            max_messages_per_value: 4096,
        }
    }
}
