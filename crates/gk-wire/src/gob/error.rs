//! Errors of encoding and decoding.

use std::fmt;

/// Why a value could not be encoded or decoded.
///
/// An error that [`poisons`](Error::poisons_stream) its stream means that the peer's framing or
/// type definitions can no longer be trusted; all others concern one value, and the stream goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The data ends inside a value.
    #[error("the message ends inside a value")]
    UnexpectedEnd,
    /// An unsigned integer with a byte count above eight.
    #[error("malformed unsigned integer (first byte {0:#04x})")]
    BadUint(u8),
    /// A message of length zero: Go's decoder reads it as the end of the stream.
    #[error("a message of length zero")]
    EmptyMessage,
    /// A message is longer than [`Limits::max_message_bytes`](super::Limits::max_message_bytes).
    #[error("a message of {length} bytes is over the limit of {limit}")]
    MessageTooLong {
        /// The length that the peer announced.
        length: u64,
        /// The limit in force.
        limit: usize,
    },
    /// A value spread over more messages than
    /// [`Limits::max_messages_per_value`](super::Limits::max_messages_per_value).
    #[error("a value is spread over more than {0} messages")]
    TooManyMessages(usize),
    /// A value refers to a type that was never defined.
    #[error("type id {0} was never defined")]
    UnknownType(i64),
    /// A type id was defined twice.
    #[error("type id {0} is defined twice")]
    DuplicateType(i64),
    /// A type definition that makes no sense.
    #[error("malformed type definition: {0}")]
    BadDefinition(&'static str),
    /// More type definitions than [`Limits::max_types`](super::Limits::max_types).
    #[error("more than {0} type definitions")]
    TooManyTypes(usize),
    /// Type definitions longer than [`Limits::max_type_bytes`](super::Limits::max_type_bytes)
    /// together.
    #[error("type definitions of more than {0} bytes")]
    TypesTooLong(usize),
    /// The sender's kind of value does not fit the receiver's.
    #[error("cannot decode {found} into {expected}")]
    Mismatch {
        /// The kind that the Rust type asks for.
        expected: &'static str,
        /// The kind that the peer sent.
        found: &'static str,
    },
    /// A struct whose fields share no name with the receiving struct.
    #[error("the sender's struct {sender:?} shares no field with {receiver:?}")]
    NoSharedField {
        /// Name of the sender's struct.
        sender: String,
        /// Name of the Rust struct.
        receiver: &'static str,
    },
    /// A field number beyond the sender's own definition.
    #[error("a field number is outside of its struct")]
    FieldOutOfRange,
    /// An error in a value that can hold interfaces, and with them type definitions: what follows
    /// it cannot be read.
    #[error("{0}, in a value behind which the stream cannot be read")]
    LostPlace(Box<Error>),
    /// No memory for a value that can bring type definitions along, without which the stream cannot
    /// be read.
    #[error("there is no memory for a value of {0} bytes, without which the stream cannot be read")]
    NoMemory(usize),
    /// A length or count larger than the data that could hold it.
    #[error("a length of {0} is larger than the message")]
    LengthOutOfRange(u64),
    /// Nesting deeper than [`Limits::max_depth`](super::Limits::max_depth).
    #[error("values are nested deeper than {0} levels")]
    TooDeep(usize),
    /// More elements than [`Limits::max_elements`](super::Limits::max_elements).
    #[error("more than {0} elements in one message")]
    TooManyElements(usize),
    /// A Rust type or value that gob has no form for.
    #[error("gob has no form for {0}")]
    Unsupported(&'static str),
    /// A message of the `Serialize` or `Deserialize` implementation.
    #[error("{0}")]
    Custom(String),
}

impl Error {
    /// Returns `true` if the stream the data came from can no longer be decoded.
    #[must_use]
    pub fn poisons_stream(&self) -> bool {
        matches!(
            self,
            Error::BadUint(_)
                | Error::EmptyMessage
                | Error::MessageTooLong { .. }
                | Error::TooManyMessages(_)
                | Error::DuplicateType(_)
                | Error::BadDefinition(_)
                | Error::TooManyTypes(_)
                | Error::TypesTooLong(_)
                | Error::LostPlace(_)
                | Error::NoMemory(_)
        )
    }
}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Error::Custom(message.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Error::Custom(format!(
            "field `{field}` is absent; gob omits zero values, so the struct needs #[serde(default)]"
        ))
    }
}

impl serde::ser::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Error::Custom(message.to_string())
    }
}
