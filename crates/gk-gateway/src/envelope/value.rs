//! Values of the arguments that a plugin gets: borrowed from the request, without a copy.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeStruct, Serializer};
use serde_json::value::RawValue;

use super::KEYS_MAX;

/// A value of an argument.
#[derive(Debug)]
pub(super) enum Value<'a> {
    /// JSON from the client.
    Raw(&'a RawValue),
    Text(Cow<'a, str>),
    Texts(Vec<Cow<'a, str>>),
    /// Bytes, as a string of standard base64.
    Base64(&'a [u8]),
    Number(i64),
    Bool(bool),
    Files(Vec<File>),
}

/// A file of a form. Its bytes are a part of the body.
#[derive(Debug)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) filename: String,
    pub(super) content_type: String,
    pub(super) data: Bytes,
}

impl Serialize for File {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut file = serializer.serialize_struct("File", 5)?;
        file.serialize_field("name", &self.name)?;
        file.serialize_field("filename", &self.filename)?;
        file.serialize_field("content_type", &self.content_type)?;
        file.serialize_field("size", &self.data.len())?;
        file.serialize_field("data", &Encoded(&self.data))?;
        file.end()
    }
}

/// Bytes as a string of standard base64.
struct Encoded<'a>(&'a [u8]);

impl Serialize for Encoded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &STANDARD))
    }
}

impl<'a> Value<'a> {
    /// Returns UTF-8 as a string, and anything else as base64.
    pub(super) fn text_or_base64(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.into()),
            Err(_) => Value::Base64(bytes),
        }
    }

    /// Returns a single text as a string, several as an array.
    pub(super) fn of_texts(mut texts: Vec<Cow<'a, str>>) -> Self {
        match texts.len() {
            1 => texts.pop().map_or(Value::Texts(texts), Value::Text),
            _ => Value::Texts(texts),
        }
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Raw(value) => value.serialize(serializer),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Texts(texts) => texts.serialize(serializer),
            Value::Base64(bytes) => Encoded(bytes).serialize(serializer),
            Value::Number(number) => serializer.serialize_i64(*number),
            Value::Bool(is) => serializer.serialize_bool(*is),
            Value::Files(files) => files.serialize(serializer),
        }
    }
}

/// Members of a JSON object, at most [`KEYS_MAX`]; deeper levels are not parsed.
#[derive(Debug)]
pub(super) struct Members<'a>(pub(super) BTreeMap<Cow<'a, str>, &'a RawValue>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = BTreeMap::new();
                while let Some(Key(name)) = map.next_key()? {
                    members.insert(name, map.next_value()?);
                    if members.len() > KEYS_MAX {
                        let text = format!("the object has more than {KEYS_MAX} keys");
                        return Err(de::Error::custom(text));
                    }
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

/// A key; borrowed unless it has escapes.
#[derive(Debug)]
pub(crate) struct Key<'a>(pub(crate) Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Reader)
    }
}
