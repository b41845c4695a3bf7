//! The meaning of a header that was received.

/// The meaning of a header for the reader of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The header needs no action.
    None,
    /// `length` payload bytes follow, for `stream` if it is known here, else to be thrown away.
    /// With `opened` the stream is new; after the payload, `fin` and `reset` take effect.
    Data {
        /// Id of the stream.
        stream: u32,
        /// Bytes of payload behind the header.
        length: u32,
        /// `true` if the stream exists here.
        known: bool,
        /// `true` if this frame opened it.
        opened: bool,
        /// `true` if the peer sends nothing more on it.
        fin: bool,
        /// `true` if it was reset.
        reset: bool,
    },
    /// A stream changed without payload.
    Stream {
        /// Id of the stream.
        stream: u32,
        /// `true` if this frame opened it.
        opened: bool,
        /// `true` if the peer sends nothing more on it.
        fin: bool,
        /// `true` if it was reset.
        reset: bool,
        /// `true` if its send window has grown.
        writable: bool,
    },
}
