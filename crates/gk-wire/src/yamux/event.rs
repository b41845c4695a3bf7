//! What a header means.

/// What a header means for whoever reads the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Nothing to do.
    None,
    /// `length` payload bytes follow, for `stream` if it is known here, else to be thrown away. With
    /// `opened` the stream is new; after the payload, `fin` and `reset` take effect.
    Data {
        /// The stream.
        stream: u32,
        /// Bytes of payload behind the header.
        length: u32,
        /// Whether the stream exists here.
        known: bool,
        /// Whether this frame opened it.
        opened: bool,
        /// Whether the peer sends nothing more on it.
        fin: bool,
        /// Whether it is gone.
        reset: bool,
    },
    /// A stream changed without payload.
    Stream {
        /// The stream.
        stream: u32,
        /// Whether this frame opened it.
        opened: bool,
        /// Whether the peer sends nothing more on it.
        fin: bool,
        /// Whether it is gone.
        reset: bool,
        /// Whether more can be sent on it than before.
        writable: bool,
    },
}
