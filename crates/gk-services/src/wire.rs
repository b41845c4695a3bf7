//! Parts of arguments and results that several services have in common.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{BufMut, Bytes, BytesMut};
use gk_hostapi::{Granted, HostError, Shape, json};
use serde::{Deserialize, Deserializer};
use serde_json::json;

/// The result of a method that only says that the work is done.
pub(crate) const OK: Bytes = Bytes::from_static(br#"{"ok":true}"#);
/// The same, of methods that upstream lets answer in another way.
pub(crate) const STATUS_OK: Bytes = Bytes::from_static(br#"{"status":"ok"}"#);

/// Standard base64, as Go writes `[]byte`; `null` is empty.
#[derive(Debug, Default)]
pub(crate) struct Binary(pub(crate) Vec<u8>);

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: Option<Cow<'de, str>> = Option::deserialize(deserializer)?;
        match text {
            Some(text) => BASE64
                .decode(text.as_bytes())
                .map(Binary)
                .map_err(serde::de::Error::custom),
            None => Ok(Binary::default()),
        }
    }
}

impl From<Binary> for Bytes {
    fn from(binary: Binary) -> Self {
        Bytes::from(binary.0)
    }
}

/// Go marshals an empty map or slice as `null`.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// The arguments of methods that need a key alone.
#[derive(Deserialize)]
pub(crate) struct Key<'a> {
    #[serde(borrow)]
    pub(crate) key: Cow<'a, str>,
}

/// A key and its value.
#[derive(Deserialize)]
pub(crate) struct KeyValue<'a> {
    #[serde(borrow)]
    pub(crate) key: Cow<'a, str>,
    #[serde(default)]
    pub(crate) value: Binary,
    /// Seconds; 0 and negative numbers are the default.
    #[serde(default)]
    pub(crate) ttl: i64,
}

/// Which page of a list is asked for.
#[cfg(any(feature = "files", feature = "sqlite"))]
#[derive(Deserialize)]
pub(crate) struct Listing<'a> {
    #[serde(borrow, default)]
    pub(crate) prefix: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) after: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(crate) limit: usize,
}

/// `{"value": …, "found": …}`, straight into one buffer: the path of a cache hit.
pub(crate) fn found(value: Option<&Bytes>) -> Bytes {
    match value {
        Some(value) => found_with(value, r#"","found":true}"#),
        None => Bytes::from_static(br#"{"value":null,"found":false}"#),
    }
}

/// A value that was found, with what follows it.
pub(crate) fn found_with(value: &Bytes, tail: &str) -> Bytes {
    const HEAD: &[u8] = br#"{"value":""#;
    let encoded = base64::encoded_len(value.len(), true).unwrap_or_default();
    let mut json = BytesMut::with_capacity(HEAD.len() + encoded + tail.len());
    json.put_slice(HEAD);
    let start = json.len();
    json.put_bytes(b'=', encoded);
    // The slice is exactly as long as the encoding.
    let written = BASE64.encode_slice(value, &mut json[start..]);
    debug_assert_eq!(written.ok(), Some(encoded));
    json.put_slice(tail.as_bytes());
    json.freeze()
}

/// The error where the guard has let a request pass and a service finds no scope all the same.
pub(crate) fn not_granted() -> HostError {
    HostError::denied("access not granted")
}

/// A text in the shape that the caller's SDK decodes.
pub(crate) fn value_of(granted: &Granted<'_>, text: &str) -> Result<Bytes, HostError> {
    match granted.caller().shape {
        Shape::Object => json::write(&json!({ "value": text })),
        Shape::BareString => json::write(&text),
    }
}
