//! A JSON value inside a registration: a value in JSON, the JSON's bytes in gob (Go's
//! `json.RawMessage`).

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Any JSON value; `null` when absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct JsonValue(pub Value);

impl<'de> Deserialize<'de> for JsonValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value, or its bytes")
            }

            fn visit_bytes<E: de::Error>(self, json: &[u8]) -> Result<Value, E> {
                if json.is_empty() {
                    return Ok(Value::Null);
                }
                serde_json::from_slice(json).map_err(E::custom)
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
                deserializer.deserialize_any(self)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Value, A::Error> {
                Value::deserialize(SeqAccessDeserializer::new(seq))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
                Value::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(Any).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use serde::de::value::{BytesDeserializer, Error};
    use serde_json::json;

    use super::*;

    #[test]
    fn values_and_bytes() {
        for value in [
            json!(null),
            json!({"a": [1, -2, 1.5, true, "x", null]}),
            json!([]),
            json!("t"),
            json!(7),
        ] {
            let text = value.to_string();
            assert_eq!(serde_json::from_str::<JsonValue>(&text).unwrap().0, value);
            let bytes = BytesDeserializer::<Error>::new(text.as_bytes());
            assert_eq!(JsonValue::deserialize(bytes).unwrap().0, value);
        }
        assert!(JsonValue::deserialize(BytesDeserializer::<Error>::new(b"{")).is_err());
        assert_eq!(
            JsonValue::deserialize(BytesDeserializer::<Error>::new(b"")).unwrap(),
            JsonValue::default()
        );
    }
}
