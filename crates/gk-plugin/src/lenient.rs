//! Arguments as a function's type wants them: what comes from a path, a query or a form is text.
//!
//! JSON that fits is read as it is. What does not is read once more with strings taken for what is
//! asked for: numbers, truth values, one value for a list, nothing for an option. A type whose
//! fields cannot be seen from outside (`#[serde(flatten)]`, untagged enums) is tried with the texts
//! that look like numbers or truth values turned into those, as few of them as it takes.

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Map, Value};

/// Texts of one call that are tried in all combinations for types that hide their fields.
const TRIED_TEXTS_MAX: usize = 8;

/// Arguments larger than this, in bytes, are not tried in combinations.
const TRIED_BYTES_MAX: usize = 64 * 1024;

/// Reads arguments. The error is that of JSON as it is, unless the texts were the matter.
pub(crate) fn from_slice<T: DeserializeOwned>(args: &[u8]) -> Result<T, Error> {
    let strict = match serde_json::from_slice(args) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let Ok(value) = serde_json::from_slice::<Value>(args) else {
        return Err(strict);
    };
    let read = |value: &Value, empty_is_none| {
        T::deserialize(Lenient {
            value,
            empty_is_none,
        })
    };
    let first = match read(&value, false) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    if let Ok(value) = read(&value, true) {
        return Ok(value);
    }
    match value {
        Value::Object(object) if args.len() <= TRIED_BYTES_MAX => {
            combined(object, |value| read(value, true).ok()).ok_or(first)
        }
        _ => Err(first),
    }
}

/// Tries the object with some of its texts turned into what they look like, few before many.
fn combined<T>(object: Map<String, Value>, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
    let texts: Vec<(String, Value)> = object
        .iter()
        .filter(|(name, _)| !name.starts_with('_'))
        .filter_map(|(name, value)| Some((name.clone(), looks_like(value)?)))
        .take(TRIED_TEXTS_MAX)
        .collect();
    let mut choices: Vec<u32> = (1..1 << texts.len()).collect();
    choices.sort_by_key(|choice| choice.count_ones());
    choices.into_iter().find_map(|choice| {
        let mut object = object.clone();
        for (bit, (name, value)) in texts.iter().enumerate() {
            if choice & (1 << bit) != 0 {
                object.insert(name.clone(), value.clone());
            }
        }
        read(&Value::Object(object))
    })
}

/// The number or truth value that a text, or a list of them, could be.
fn looks_like(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => integer(text)
            .map(Value::from)
            .or_else(|| text.parse::<u64>().ok().map(Value::from))
            .or_else(|| float(text).map(Value::from))
            .or_else(|| boolean(text).map(Value::from)),
        Value::Array(items) if !items.is_empty() => {
            let items: Option<Vec<_>> = items.iter().map(looks_like).collect();
            items.map(Value::Array)
        }
        _ => None,
    }
}

fn integer(text: &str) -> Option<i64> {
    text.trim().parse().ok()
}

fn float(text: &str) -> Option<f64> {
    let number: f64 = text.trim().parse().ok()?;
    number.is_finite().then_some(number)
}

fn boolean(text: &str) -> Option<bool> {
    match &*text.trim().to_ascii_lowercase() {
        "true" | "1" | "on" | "yes" => Some(true),
        "false" | "0" | "off" | "no" => Some(false),
        _ => None,
    }
}

/// A value that is read as what is asked for.
#[derive(Clone, Copy)]
struct Lenient<'de> {
    value: &'de Value,
    /// `true` if an empty text is an option's nothing. It is some text where that is what is asked
    /// for, so this is tried second.
    empty_is_none: bool,
}

impl<'de> Lenient<'de> {
    fn with(self, value: &'de Value) -> Self {
        Lenient { value, ..self }
    }

    fn text(self) -> Option<&'de str> {
        self.value.as_str()
    }
}

/// Asks for a number: of a text, if it is one.
macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.text().and_then(|text| text.trim().parse::<$type>().ok()) {
                Some(number) => visitor.$visit(number),
                None => self.value.$method(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Lenient<'de> {
    type Error = Error;

    numbers! {
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_i128 visit_i128 i128,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_u128 visit_u128 u128,
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.text().and_then(float) {
            Some(number) => visitor.visit_f64(number),
            None => self.value.deserialize_f64(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.text().and_then(boolean) {
            Some(is) => visitor.visit_bool(is),
            None => self.value.deserialize_bool(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let empty = self.empty_is_none && self.text() == Some("");
        match self.value.is_null() || empty {
            true => visitor.visit_none(),
            false => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            // Of several values of one name there may be one.
            Value::String(_) => visitor.visit_seq(Items {
                items: std::slice::from_ref(self.value).iter(),
                of: self,
            }),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.text() {
            Some(text) => {
                let variant: StrDeserializer<'_, Error> = text.into_deserializer();
                visitor.visit_enum(variant)
            }
            None => self.value.deserialize_enum(name, variants, visitor),
        }
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Array(items) => visitor.visit_seq(Items {
                items: items.iter(),
                of: self,
            }),
            Value::Object(members) => visitor.visit_map(Members {
                members: members.iter(),
                value: None,
                of: self,
            }),
            other => other.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier
        ignored_any
    }
}

struct Items<'de> {
    items: std::slice::Iter<'de, Value>,
    of: Lenient<'de>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Error;

    fn next_element_seed<T: serde::de::DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let item = self.items.next();
        item.map(|item| seed.deserialize(self.of.with(item)))
            .transpose()
    }
}

struct Members<'de> {
    members: serde_json::map::Iter<'de>,
    value: Option<&'de Value>,
    of: Lenient<'de>,
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = Error;

    fn next_key_seed<K: serde::de::DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((name, value)) = self.members.next() else {
            return Ok(None);
        };
        self.value = Some(value);
        seed.deserialize(serde::de::value::BorrowedStrDeserializer::new(name))
            .map(Some)
    }

    fn next_value_seed<V: serde::de::DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, Error> {
        // serde asks for a value after each key.
        let value = self.value.take().unwrap_or(&Value::Null);
        seed.deserialize(self.of.with(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn read<T: DeserializeOwned>(args: Value) -> Result<T, String> {
        from_slice(args.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Order {
        Up,
        Down,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Id(u32);

    #[derive(Debug, PartialEq, Deserialize)]
    struct All {
        id: i64,
        small: Id,
        ratio: f32,
        on: bool,
        order: Order,
        maybe: Option<u8>,
        #[serde(default)]
        absent: Option<i64>,
        list: Vec<i32>,
        one: Vec<bool>,
        text: String,
        note: Option<String>,
        letter: char,
        #[serde(default)]
        nested: BTreeMap<String, u64>,
    }

    #[test]
    fn texts_become_what_the_type_wants() {
        let args = json!({
            "id": "-7", "small": "4294967295", "ratio": "1.5", "on": "on", "order": "down",
            "maybe": "", "list": ["1", "2"], "one": "false", "text": "12", "note": "", "letter": "x",
            "nested": { "a": "1" }, "_method": "GET",
        });
        let all: All = read(args).unwrap();
        assert_eq!((all.id, all.small, all.ratio), (-7, Id(u32::MAX), 1.5));
        assert_eq!((all.on, all.order, all.maybe), (true, Order::Down, None));
        assert_eq!((all.list, all.one), (vec![1, 2], vec![false]));
        assert_eq!((&*all.text, all.letter), ("12", 'x'));
        assert_eq!((all.nested["a"], all.absent), (1, None));
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(i64),
            Text(String),
        }
        let text: BTreeMap<String, Either> = read(json!({ "a": "1", "b": 1 })).unwrap();
        assert_eq!(text["a"], Either::Text("1".into()));
        assert_eq!(text["b"], Either::Number(1));
        let note: BTreeMap<String, Option<String>> = read(json!({ "a": "" })).unwrap();
        assert_eq!(note["a"], Some(String::new()));
    }

    #[test]
    fn what_is_none_is_said() {
        #[derive(Debug, Deserialize)]
        struct ById {
            #[expect(dead_code, reason = "only its reading is of interest")]
            id: i64,
        }
        for (value, why) in [
            (json!("x"), "expected i64"),
            (json!(""), "expected i64"),
            (json!("1.5"), "expected i64"),
            (json!("99999999999999999999"), "expected i64"),
            (json!(null), "expected i64"),
        ] {
            let error = read::<ById>(json!({ "id": value })).unwrap_err();
            assert!(error.contains(why), "{value}: {error}");
        }
        assert!(
            read::<ById>(json!({}))
                .unwrap_err()
                .contains("missing field")
        );
        for number in ["NaN", "inf", "1e999"] {
            read::<f64>(json!(number)).unwrap_err();
        }
        read::<bool>(json!("maybe")).unwrap_err();
        read::<u8>(json!("-1")).unwrap_err();
        read::<u8>(json!("256")).unwrap_err();
    }

    #[test]
    fn fields_that_are_hidden_are_found_too() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Page {
            limit: u32,
            after: Option<i64>,
        }
        #[derive(Debug, PartialEq, Deserialize)]
        struct List {
            #[serde(flatten)]
            page: Page,
            name: String,
            #[serde(flatten)]
            rest: BTreeMap<String, Value>,
        }
        let args = json!({ "limit": "10", "after": "3", "name": "007", "zip": "01234" });
        let list: List = read(args).unwrap();
        assert_eq!((list.page.limit, list.page.after), (10, Some(3)));
        assert_eq!((&*list.name, &list.rest["zip"]), ("007", &json!("01234")));
        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(tag = "kind")]
        enum Shape {
            Circle { radius: f64 },
        }
        let shape: Shape = read(json!({ "kind": "Circle", "radius": "2" })).unwrap();
        assert_eq!(shape, Shape::Circle { radius: 2.0 });
    }
}
