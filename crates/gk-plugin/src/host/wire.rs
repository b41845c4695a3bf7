//! Shapes of results that several methods share (contract, section 6).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// Bytes as JSON holds them.
pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Bytes out of JSON; `null` is none, which Go makes of an empty slice.
pub(crate) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    match Option::<String>::deserialize(deserializer)? {
        None => Ok(Bytes::new()),
        Some(text) => STANDARD
            .decode(text)
            .map(Bytes::from)
            .map_err(D::Error::custom),
    }
}

/// A list; `null` is an empty one, as Go writes it.
pub(crate) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Result of `cache_get` and `kv_get`.
#[derive(Deserialize)]
pub(crate) struct Found {
    #[serde(default, deserialize_with = "bytes")]
    value: Bytes,
    found: bool,
    /// Of `kv_get`; 0 from a host that has none.
    #[serde(default)]
    version: u64,
}

impl Found {
    pub(crate) fn versioned(self) -> Option<(Bytes, u64)> {
        self.found.then_some((self.value, self.version))
    }

    pub(crate) fn value(self) -> Option<Bytes> {
        self.found.then_some(self.value)
    }
}

/// Result of `config_get` and its kin: an object, or the bare text that hosts give to old plugins.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Text {
    Object { value: String },
    Bare(String),
}

impl Text {
    pub(crate) fn value(self) -> String {
        match self {
            Self::Object { value } | Self::Bare(value) => value,
        }
    }
}
