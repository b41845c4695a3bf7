//! The 12-byte header: version 0, type, flags, stream, length; big-endian.

use super::SessionError;

/// The type of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// `length` bytes of payload follow.
    Data = 0x0,
    /// The receiver of this frame may send `length` bytes more.
    WindowUpdate = 0x1,
    /// Asks for, or with ACK is, an echo of `length`.
    Ping = 0x2,
    /// No further streams; `length` is the reason, 0 is a normal end.
    GoAway = 0x3,
}

/// The flags of a frame; unknown bits are ignored, as Go does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u16);

impl Flags {
    /// No flag.
    pub const NONE: Flags = Flags(0x0);
    /// Opens a stream, or asks for a pong.
    pub const SYN: Flags = Flags(0x1);
    /// Accepts a stream, or is a pong.
    pub const ACK: Flags = Flags(0x2);
    /// The sender sends nothing more on this stream.
    pub const FIN: Flags = Flags(0x4);
    /// The stream is reset.
    pub const RST: Flags = Flags(0x8);

    /// Returns `true` if all bits of `flags` are set.
    #[must_use]
    pub fn has(self, flags: Flags) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The frame's type.
    pub kind: Kind,
    /// The frame's flags.
    pub flags: Flags,
    /// The frame's stream; 0 for the session itself.
    pub stream: u32,
    /// Payload bytes, window bytes, ping value or reason, by kind.
    pub length: u32,
}

impl Header {
    /// Bytes of a header.
    pub const LEN: usize = 12;

    /// The header's bytes.
    #[must_use]
    pub fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[1] = self.kind as u8;
        bytes[2..4].copy_from_slice(&self.flags.0.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.stream.to_be_bytes());
        bytes[8..].copy_from_slice(&self.length.to_be_bytes());
        bytes
    }

    /// Reads a header.
    ///
    /// # Errors
    ///
    /// If version or type are unknown: the peer does not speak yamux.
    pub fn decode(bytes: &[u8; Self::LEN]) -> Result<Self, SessionError> {
        let [version, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = *bytes;
        if version != 0 {
            return Err(SessionError::Version(version));
        }
        let kind = match kind {
            0x0 => Kind::Data,
            0x1 => Kind::WindowUpdate,
            0x2 => Kind::Ping,
            0x3 => Kind::GoAway,
            other => return Err(SessionError::Type(other)),
        };
        Ok(Header {
            kind,
            flags: Flags(u16::from_be_bytes([f0, f1])),
            stream: u32::from_be_bytes([s0, s1, s2, s3]),
            length: u32::from_be_bytes([l0, l1, l2, l3]),
        })
    }
}
