//! Parser of the keys of a result that shape its answer.

use std::fmt;

use bytes::Bytes;
use gk_runtime::MemoryBudget;
use memchr::memmem;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Unsent;
use crate::bodies::{Full, Growing};
use crate::envelope::Key;

/// Members of an object that shape its answer, unparsed.
#[derive(Debug, Default)]
pub(super) struct Top<'a> {
    pub(super) error: Option<&'a RawValue>,
    pub(super) status: Option<&'a RawValue>,
    pub(super) redirect: Option<&'a RawValue>,
    pub(super) binary: Option<&'a RawValue>,
    pub(super) content_type: Option<&'a RawValue>,
    pub(super) data: Option<&'a RawValue>,
    pub(super) html: Option<&'a RawValue>,
    pub(super) raw: Option<&'a RawValue>,
    pub(super) title: Option<&'a RawValue>,
    /// `_status`.
    pub(super) own_status: Option<&'a RawValue>,
    /// `_headers`.
    pub(super) headers: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Top<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Top<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Top<'de>, A::Error> {
                let mut top = Top::default();
                while let Some(Key(name)) = map.next_key()? {
                    let place = match &*name {
                        "error" => &mut top.error,
                        "status" => &mut top.status,
                        "redirect" => &mut top.redirect,
                        "_binary" => &mut top.binary,
                        "content_type" => &mut top.content_type,
                        "data" => &mut top.data,
                        "html" => &mut top.html,
                        "raw" => &mut top.raw,
                        "title" => &mut top.title,
                        "_status" => &mut top.own_status,
                        "_headers" => &mut top.headers,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *place = Some(map.next_value()?);
                }
                Ok(top)
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

/// Returns true if an object may have one of these keys, so that other large results are not
/// parsed.
pub(super) fn may_be_shaped(result: &[u8]) -> bool {
    const KEYS: [&[u8]; 6] = [
        b"error",
        b"redirect",
        b"_binary",
        b"html",
        b"_status",
        b"_headers",
    ];
    // Escapes may hide a key.
    let holds = |key: &[u8]| memmem::find(result, key).is_some();
    result.trim_ascii_start().first() == Some(&b'{')
        && (holds(b"\\u") || KEYS.iter().any(|key| holds(key)))
}

/// Returns the content of a string, counted until dropped; `None` for anything else.
pub(super) fn text(
    json: Option<&RawValue>,
    memory: &MemoryBudget,
) -> Result<Option<Bytes>, Unsent> {
    let Some(json) = json.map(RawValue::get).filter(|json| json.starts_with('"')) else {
        return Ok(None);
    };
    let reservation = memory.reserve(json.len())?;
    let text: Result<String, _> = serde_json::from_str(json);
    Ok(text.ok().map(|text| reservation.attach(text)))
}

/// Returns an object without `_status` and `_headers`, its other members unchanged.
pub(super) fn without_own(result: &[u8], memory: &MemoryBudget) -> Result<Bytes, Unsent> {
    struct Copier(Growing);

    impl Copier {
        fn push(&mut self, part: &[u8]) -> Result<(), Full> {
            self.0.push(part)
        }
    }

    impl<'de> Visitor<'de> for Copier {
        type Value = Result<Growing, Full>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(
            mut self,
            mut map: A,
        ) -> Result<Result<Growing, Full>, A::Error> {
            let mut outcome = self.push(b"{");
            let mut first = true;
            while let Some(Key(name)) = map.next_key()? {
                let value: &RawValue = map.next_value()?;
                if matches!(&*name, "_status" | "_headers") || outcome.is_err() {
                    continue;
                }
                let name = serde_json::to_string(&name).unwrap_or_default();
                let separator: &[u8] = if first { b"" } else { b"," };
                first = false;
                for part in [separator, name.as_bytes(), b":", value.get().as_bytes()] {
                    outcome = outcome.and_then(|()| self.push(part));
                }
            }
            outcome = outcome.and_then(|()| self.push(b"}"));
            Ok(outcome.map(|()| self.0))
        }
    }

    // Escapes may make a name longer than it was.
    let limit = result.len().saturating_mul(6);
    let copied = Growing::new(memory, limit).map_err(|_| Unsent::Memory)?;
    let mut json = serde_json::Deserializer::from_slice(result);
    let copied = serde::Deserializer::deserialize_map(&mut json, Copier(copied));
    match copied.map_err(|error| error.to_string())? {
        Ok(copied) => Ok(copied.freeze()),
        Err(_) => Err(Unsent::Memory),
    }
}
