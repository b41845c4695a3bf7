//! Types that encode themselves: in Go those with the methods of `gob.GobEncoder` or
//! `encoding.BinaryMarshaler`.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::Error;
use super::passing::{self, Passing};
use super::payload::Raw;
use super::wire::Marshaler;

/// A Rust type that stands for a Go type which encodes itself. In a message it is wrapped:
/// `Marshaled<Url>`.
///
/// ```
/// use gk_wire::gob::{Error, Marshal, Marshaled, Marshaler};
///
/// /// Go's `*url.URL`.
/// #[derive(Default)]
/// struct Url(String);
///
/// impl Marshal for Url {
///     const MARSHALER: Marshaler = Marshaler::Binary;
///     const GO_NAME: &'static str = "URL";
///
///     fn marshal(&self) -> Result<Vec<u8>, Error> {
///         Ok(self.0.clone().into_bytes())
///     }
///
///     fn unmarshal(bytes: &[u8]) -> Result<Self, Error> {
///         Ok(Url(String::from_utf8_lossy(bytes).into_owned()))
///     }
/// }
///
/// #[derive(serde::Serialize, serde::Deserialize, Default)]
/// #[serde(default)]
/// struct Link {
///     target: Option<Marshaled<Url>>,
/// }
/// ```
pub trait Marshal: Default {
    /// The interface by which the Go type encodes itself.
    const MARSHALER: Marshaler;

    /// The Go type's name without its package, for the definition; no receiver depends on it.
    const GO_NAME: &'static str;

    /// The bytes that the Go type's method would give.
    ///
    /// # Errors
    ///
    /// If the value has no encoding.
    fn marshal(&self) -> Result<Vec<u8>, Error>;

    /// The value of these bytes.
    ///
    /// # Errors
    ///
    /// If the bytes are no encoding of a value.
    fn unmarshal(bytes: &[u8]) -> Result<Self, Error>;

    /// Returns `true` if this is Go's zero value, which a struct leaves out. The default
    /// implementation returns `false`.
    fn is_zero(&self) -> bool {
        false
    }
}

/// A value that encodes itself; see [`Marshal`]. Other formats than gob see its bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Marshaled<T>(pub T);

impl<T> From<T> for Marshaled<T> {
    fn from(value: T) -> Self {
        Marshaled(value)
    }
}

impl<T: Marshal> Serialize for Marshaled<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = self.0.marshal().map_err(serde::ser::Error::custom)?;
        let is_zero = self.0.is_zero();
        passing::leave(Passing::Marshaled {
            bytes: bytes.clone(),
            is_zero,
        });
        let done = serializer.serialize_newtype_struct(passing::MARSHALED, &Raw(&bytes));
        passing::collect();
        done
    }
}

impl<'de, T: Marshal> Deserialize<'de> for Marshaled<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Encoded<T>(std::marker::PhantomData<T>);

        impl<'de, T: Marshal> Visitor<'de> for Encoded<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an encoded {}", T::GO_NAME)
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<T, D::Error> {
                deserializer.deserialize_bytes(self)
            }

            /// Only the type is asked for.
            fn visit_unit<E>(self) -> Result<T, E> {
                Ok(T::default())
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<T, E> {
                T::unmarshal(bytes).map_err(E::custom)
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element::<u8>()? {
                    bytes.push(byte);
                }
                self.visit_bytes(&bytes)
            }
        }

        passing::leave(Passing::MarshaledType(T::MARSHALER, T::GO_NAME));
        let value = deserializer
            .deserialize_newtype_struct(passing::MARSHALED, Encoded(std::marker::PhantomData));
        passing::collect();
        value.map(Marshaled)
    }
}

/// Go's `time.Time` as it travels: a moment with an offset from UTC. Its monotonic clock reading
/// and the name of its time zone do not travel. In a message it stands as it is, without
/// [`Marshaled`].
///
/// [`Time::default`] is Go's zero time, the first of January of the year 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Time {
    /// Seconds since 1970-01-01 00:00 UTC.
    pub unix_seconds: i64,
    /// Nanoseconds beyond them, less than 1,000,000,000.
    pub nanoseconds: u32,
    /// Seconds that local time is ahead of UTC; `None` where Go's location is UTC itself. Less than
    /// 2^15 minutes either way. Go reads back another offset than it wrote where that is negative
    /// and not in whole minutes; this type does not.
    pub offset: Option<i32>,
}

/// Seconds from the year 1, with which Go counts, to 1970.
const YEAR_ONE_TO_UNIX: i64 = 62_135_596_800;

/// Go's mark for UTC itself, in minutes.
const UTC: i16 = -1;

impl Default for Time {
    fn default() -> Self {
        Time {
            unix_seconds: -YEAR_ONE_TO_UNIX,
            nanoseconds: 0,
            offset: None,
        }
    }
}

impl From<Duration> for Time {
    /// The moment so long after 1970-01-01 00:00 UTC, in UTC:
    /// `SystemTime::duration_since(UNIX_EPOCH)` gives it.
    fn from(since: Duration) -> Self {
        Time {
            unix_seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: since.subsec_nanos(),
            offset: None,
        }
    }
}

impl TryFrom<Time> for Duration {
    type Error = Error;

    /// Time since 1970-01-01 00:00 UTC: added to `SystemTime::UNIX_EPOCH` it gives the moment.
    ///
    /// # Errors
    ///
    /// If the moment is before 1970.
    fn try_from(time: Time) -> Result<Self, Error> {
        let seconds = u64::try_from(time.unix_seconds)
            .map_err(|_| Error::Unsupported("a time before 1970 as a duration since then"))?;
        Ok(Duration::new(seconds, time.nanoseconds))
    }
}

impl Marshal for Time {
    const MARSHALER: Marshaler = Marshaler::Gob;
    const GO_NAME: &'static str = "Time";

    fn marshal(&self) -> Result<Vec<u8>, Error> {
        let seconds = self.unix_seconds.checked_add(YEAR_ONE_TO_UNIX);
        let (Some(seconds), 0..1_000_000_000) = (seconds, self.nanoseconds) else {
            return Err(Error::Unsupported("a time out of range"));
        };
        let out_of_range = Error::Unsupported("an offset of a time out of range");
        let (minutes, rest) = match self.offset {
            None => (UTC, 0),
            Some(offset) => {
                let minutes = i16::try_from(offset / 60).map_err(|_| out_of_range.clone())?;
                let rest = i8::try_from(offset % 60).map_err(|_| out_of_range.clone())?;
                match minutes {
                    // Go cannot send such a time either.
                    UTC => return Err(out_of_range),
                    minutes => (minutes, rest),
                }
            }
        };
        let mut bytes = vec![if rest == 0 { 1 } else { 2 }];
        bytes.extend(seconds.to_be_bytes());
        bytes.extend(self.nanoseconds.to_be_bytes());
        bytes.extend(minutes.to_be_bytes());
        if rest != 0 {
            bytes.extend(rest.to_be_bytes());
        }
        Ok(bytes)
    }

    fn unmarshal(bytes: &[u8]) -> Result<Self, Error> {
        let malformed = || Error::Custom("a time that is not as Go encodes one".to_owned());
        let (version, rest) = bytes.split_first().ok_or_else(malformed)?;
        let (seconds, rest) = rest.split_first_chunk().ok_or_else(malformed)?;
        let (nanoseconds, rest) = rest.split_first_chunk().ok_or_else(malformed)?;
        let (minutes, rest) = rest.split_first_chunk().ok_or_else(malformed)?;
        let offset_seconds = match (version, rest) {
            (1, []) => 0,
            (2, [seconds]) => i32::from(seconds.cast_signed()),
            _ => return Err(malformed()),
        };
        let nanoseconds = u32::from_be_bytes(*nanoseconds);
        let seconds = i64::from_be_bytes(*seconds).checked_sub(YEAR_ONE_TO_UNIX);
        let (Some(unix_seconds), 0..1_000_000_000) = (seconds, nanoseconds) else {
            return Err(malformed());
        };
        let offset = match i16::from_be_bytes(*minutes) {
            UTC => None,
            minutes => Some(i32::from(minutes) * 60 + offset_seconds),
        };
        Ok(Time {
            unix_seconds,
            nanoseconds,
            offset,
        })
    }

    fn is_zero(&self) -> bool {
        *self == Time::default()
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Marshaled(*self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Marshaled::deserialize(deserializer).map(|Marshaled(time)| time)
    }
}
