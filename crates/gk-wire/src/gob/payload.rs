//! Byte strings that pass through serde without being copied.
//!
//! serde hands a serializer a borrowed slice, which the serializer must copy if it wants to keep
//! it. A [`Payload`] announces itself by the name of its newtype and leaves its reference-counted
//! bytes in a thread-local place (`passing`) for the duration of that one call; gob's own
//! serializer and deserializer look there, every other format sees plain bytes.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use super::passing::{self, Passing};

/// A Go `[]byte` that is shared instead of copied: the encoder sends the very buffer it was given,
/// and a decoded payload is a slice of the buffer that was read from the socket.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Payload(pub Bytes);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Payload(bytes)
    }
}

impl From<Payload> for Bytes {
    fn from(payload: Payload) -> Self {
        payload.0
    }
}

pub(super) struct Raw<'a>(pub(super) &'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        passing::leave(Passing::Bytes(self.0.clone()));
        let done = serializer.serialize_newtype_struct(passing::PAYLOAD, &Raw(&self.0));
        passing::collect();
        done
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shared;

        impl<'de> Visitor<'de> for Shared {
            type Value = Payload;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<Payload, D::Error> {
                deserializer.deserialize_byte_buf(self)
            }

            fn visit_unit<E>(self) -> Result<Payload, E> {
                match passing::collect() {
                    Some(Passing::Bytes(bytes)) => Ok(Payload(bytes)),
                    _ => Ok(Payload::default()),
                }
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Payload, E> {
                Ok(Payload(Bytes::copy_from_slice(bytes)))
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Payload, E> {
                Ok(Payload(bytes.into()))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> Result<Payload, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element::<u8>()? {
                    bytes.push(byte);
                }
                Ok(Payload(bytes.into()))
            }
        }

        deserializer.deserialize_newtype_struct(passing::PAYLOAD, Shared)
    }
}
