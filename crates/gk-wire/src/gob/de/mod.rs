//! The serde `Deserializer` over one gob value.

mod access;

use std::rc::Rc;

use bytes::Bytes;
use serde::de::value::StringDeserializer;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, Visitor};
use smallvec::SmallVec;

use access::{Elements, Fields, Plan};

use super::passing::{self, Passing};
use super::reader::{KnownPlan, Part, Reader};
use super::wire::{self, Kind, StructType, TypeId, WireType};
use super::{Error, names, num, walk};

/// Payloads from this size on share the buffer they came in.
const SHARE_MIN_BYTES: usize = 2 * 1024;

/// A value of type `id` at the reader's cursor.
#[derive(Debug)]
pub(crate) struct Value<'a, 'de> {
    reader: &'a mut Reader<'de>,
    id: TypeId,
    depth: usize,
}

impl<'a, 'de> Value<'a, 'de> {
    pub(crate) fn new(reader: &'a mut Reader<'de>, id: TypeId) -> Self {
        Value {
            reader,
            id,
            depth: 0,
        }
    }

    fn kind(&self) -> Result<Kind, Error> {
        self.reader.kind(self.id)
    }

    fn mismatch<T>(&self, expected: &'static str) -> Result<T, Error> {
        Err(Error::Mismatch {
            expected,
            found: self.kind()?.describe(),
        })
    }

    /// Goes on with the value and its kind, behind all interfaces that it is in; none of them may
    /// be nil.
    fn resolved<R>(
        self,
        expected: &'static str,
        then: impl FnOnce(Value<'_, 'de>, Kind) -> Result<R, Error>,
    ) -> Result<R, Error> {
        match self.kind()? {
            Kind::Interface => self.concrete(|value| match value {
                Some(value) => value.resolved(expected, then),
                None => Err(Error::Mismatch {
                    expected,
                    found: "nil interface",
                }),
            }),
            kind => then(self, kind),
        }
    }

    /// Goes on with the concrete value of an interface, if it holds one.
    fn concrete<R>(
        self,
        then: impl FnOnce(Option<Value<'_, 'de>>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let depth = self.reader.deeper(self.depth)?;
        let Some((_, id, end)) = self.reader.interface()? else {
            return then(None);
        };
        let value = then(Some(Value {
            reader: &mut *self.reader,
            id,
            depth,
        }))?;
        self.reader.at = self.reader.at.max(end);
        Ok(value)
    }

    fn seq<V: Visitor<'de>>(self, elem: TypeId, visitor: V) -> Result<V::Value, Error> {
        let left = self.reader.count(1)?;
        let depth = self.reader.deeper(self.depth)?;
        let mut elements = Elements {
            reader: self.reader,
            key: elem,
            elem,
            left,
            depth,
        };
        let value = visitor.visit_seq(&mut elements)?;
        elements.skip_rest()?;
        Ok(value)
    }

    fn map<V: Visitor<'de>>(
        self,
        key: TypeId,
        elem: TypeId,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let left = self.reader.count(2)?;
        let depth = self.reader.deeper(self.depth)?;
        visitor.visit_map(Elements {
            reader: self.reader,
            key,
            elem,
            left,
            depth,
        })
    }

    fn fields<V: Visitor<'de>>(
        self,
        user: &StructType,
        target: Option<(&'static str, &'static [&'static str])>,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let known = |(_, fields): &(&str, &'static [&'static str])| {
            let mut plans = self.reader.plans.iter();
            let same =
                |plan: &&KnownPlan| plan.sender == self.id && std::ptr::eq(plan.receiver, *fields);
            plans
                .find(same)
                .map(|plan| Plan::Shared(Rc::clone(&plan.fields)))
        };
        let plan = match (target, target.as_ref().and_then(known)) {
            (None, _) => None,
            (Some(_), Some(plan)) => Some(plan),
            (Some((receiver, fields)), None) => {
                let plan: SmallVec<[_; 16]> = user
                    .fields
                    .iter()
                    .map(|(go, _)| fields.iter().copied().find(|rust| names::same(go, rust)))
                    .collect();
                if !plan.is_empty() && !fields.is_empty() && plan.iter().all(Option::is_none) {
                    return Err(Error::NoSharedField {
                        sender: user.name.clone(),
                        receiver,
                    });
                }
                Some(match self.depth {
                    // A plan for the top is used once; one for an element is used for the whole
                    // list.
                    0 => Plan::Own(plan),
                    _ => {
                        let shared: Rc<[_]> = plan.as_slice().into();
                        self.reader.plans.push(KnownPlan {
                            sender: self.id,
                            receiver: fields,
                            fields: Rc::clone(&shared),
                        });
                        Plan::Shared(shared)
                    }
                })
            }
        };
        let depth = self.reader.deeper(self.depth)?;
        let mut fields = Fields {
            reader: self.reader,
            user,
            plan,
            field: -1,
            next: 0,
            depth,
        };
        let value = visitor.visit_map(&mut fields)?;
        // A visitor may stop early; what follows this value must still be found.
        while fields.advance()?.is_some() {
            fields.skip_value()?;
        }
        Ok(value)
    }

    fn text<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let bytes = self.reader.bytes()?;
        match std::str::from_utf8(bytes) {
            Ok(text) => visitor.visit_borrowed_str(text),
            // A Go string need not be UTF-8.
            Err(_) => visitor.visit_string(String::from_utf8_lossy(bytes).into_owned()),
        }
    }

    /// The content of an interface as it came, to be decoded later.
    fn held(self) -> Result<Option<(String, Part)>, Error> {
        if self.id != wire::INTERFACE {
            return self.mismatch("interface");
        }
        let depth = self.reader.deeper(self.depth)?;
        let Some((name, id, end)) = self.reader.interface()? else {
            return Ok(None);
        };
        let start = self.reader.at;
        walk::skip(self.reader, id, depth)?;
        // Sent on, it would leave what follows without its place.
        if self.reader.is_cut {
            return Err(Error::UnexpectedEnd);
        }
        self.reader.at = self.reader.at.max(end);
        let name = String::from_utf8_lossy(name).into_owned();
        let part = self.reader.part(start..self.reader.at, id);
        Ok(Some((name, part)))
    }

    fn shared(self) -> Result<Bytes, Error> {
        let range = self.reader.range()?;
        match self.reader.source.get(range.clone()) {
            // A small piece would keep the whole read buffer alive.
            Some(small) if small.len() < SHARE_MIN_BYTES => Ok(Bytes::copy_from_slice(small)),
            _ => Ok(self.reader.source.slice(range)),
        }
    }
}

macro_rules! number {
    ($($method:ident $kind:ident $visit:ident $expected:literal),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.resolved($expected, |value, kind| match kind {
                Kind::$kind => visitor.$visit(number!(@read $kind value)),
                _ => value.mismatch($expected),
            })
        }
    )*};
    (@read Int $value:ident) => { $value.reader.int()? };
    (@read Uint $value:ident) => { $value.reader.uint()? };
    (@read Float $value:ident) => { num::float_from_bits($value.reader.uint()?) };
    (@read Bool $value:ident) => { $value.reader.uint()? != 0 };
}

impl<'de> Deserializer<'de> for Value<'_, 'de> {
    type Error = Error;

    number! {
        deserialize_bool Bool visit_bool "bool",
        deserialize_i8 Int visit_i64 "int",
        deserialize_i16 Int visit_i64 "int",
        deserialize_i32 Int visit_i64 "int",
        deserialize_i64 Int visit_i64 "int",
        deserialize_u8 Uint visit_u64 "uint",
        deserialize_u16 Uint visit_u64 "uint",
        deserialize_u32 Uint visit_u64 "uint",
        deserialize_u64 Uint visit_u64 "uint",
        deserialize_f64 Float visit_f64 "float",
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.resolved("float", |value, kind| match kind {
            Kind::Float => {
                let value = num::float_from_bits(value.reader.uint()?);
                if value.is_finite() && value.abs() > f64::from(f32::MAX) {
                    return Err(Error::Mismatch {
                        expected: "float32",
                        found: "a larger float",
                    });
                }
                visitor.visit_f64(value)
            }
            _ => value.mismatch("float"),
        })
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.resolved("rune", |value, kind| match kind {
            // A Go rune is an int32.
            Kind::Int => {
                let value = value.reader.int()?;
                let rune = u32::try_from(value).ok().and_then(char::from_u32);
                visitor.visit_char(rune.ok_or(Error::Mismatch {
                    expected: "rune",
                    found: "int out of range",
                })?)
            }
            _ => value.mismatch("rune"),
        })
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.resolved("string", |value, kind| match kind {
            Kind::String => value.text(visitor),
            _ => value.mismatch("string"),
        })
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.resolved("[]byte", |value, kind| match kind {
            kind if kind.is_bytes() => visitor.visit_borrowed_bytes(value.reader.bytes()?),
            _ => value.mismatch("[]byte"),
        })
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match name {
            passing::PAYLOAD => {}
            passing::INTERFACE => {
                match self.held()? {
                    Some((name, part)) => passing::leave(Passing::Received(name, part)),
                    None => drop(passing::collect()),
                }
                return visitor.visit_unit();
            }
            passing::MARSHALED => {
                // The type that was left matters to an encoder alone.
                passing::collect();
                return self.deserialize_bytes(visitor);
            }
            _ => return visitor.visit_newtype_struct(self),
        }
        self.resolved("[]byte", |value, kind| match kind {
            kind if kind.is_bytes() => {
                passing::leave(Passing::Bytes(value.shared()?));
                visitor.visit_unit()
            }
            _ => value.mismatch("[]byte"),
        })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.id == wire::INTERFACE {
            // The receiver may ask for the interface itself.
            let start = self.reader.at;
            if self.reader.bytes()?.is_empty() {
                return visitor.visit_none();
            }
            self.reader.at = start;
        }
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let (id, depth) = (self.id, self.depth);
        walk::skip(self.reader, id, depth)?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.resolved("slice", |value, kind| match kind {
            Kind::Bytes => {
                let bytes = value.reader.bytes()?;
                visitor.visit_seq(serde::de::value::SeqDeserializer::new(
                    bytes.iter().copied(),
                ))
            }
            Kind::User(user) => match *user {
                WireType::Slice(elem) | WireType::Array(elem, _) => value.seq(elem, visitor),
                _ => value.mismatch("slice"),
            },
            _ => value.mismatch("slice"),
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.resolved("map", |value, kind| match kind {
            Kind::User(user) => match &*user {
                WireType::Map(key, elem) => value.map(*key, *elem, visitor),
                WireType::Struct(user) => value.fields(user, None, visitor),
                _ => value.mismatch("map"),
            },
            _ => value.mismatch("map"),
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.resolved("struct", |value, kind| match kind {
            Kind::User(user) => match &*user {
                WireType::Struct(user) => value.fields(user, Some((name, fields)), visitor),
                _ => value.mismatch("struct"),
            },
            _ => value.mismatch("struct"),
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        struct Name<'de>(std::borrow::Cow<'de, str>);
        impl<'de> EnumAccess<'de> for Name<'de> {
            type Error = Error;
            type Variant = <StringDeserializer<Error> as EnumAccess<'de>>::Variant;

            fn variant_seed<S: DeserializeSeed<'de>>(
                self,
                seed: S,
            ) -> Result<(S::Value, Self::Variant), Error> {
                let name: StringDeserializer<Error> = self.0.into_owned().into_deserializer();
                name.variant_seed(seed)
            }
        }
        self.resolved("string (of an enum)", |value, kind| match kind {
            Kind::String => {
                visitor.visit_enum(Name(String::from_utf8_lossy(value.reader.bytes()?)))
            }
            _ => value.mismatch("string (of an enum)"),
        })
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.kind()? {
            Kind::Bool => self.deserialize_bool(visitor),
            Kind::Int => self.deserialize_i64(visitor),
            Kind::Uint => self.deserialize_u64(visitor),
            Kind::Float => self.deserialize_f64(visitor),
            Kind::Bytes => self.deserialize_bytes(visitor),
            Kind::String => self.deserialize_str(visitor),
            Kind::Complex => {
                let parts = [self.reader.uint()?, self.reader.uint()?].map(num::float_from_bits);
                visitor.visit_seq(serde::de::value::SeqDeserializer::new(parts.into_iter()))
            }
            Kind::Interface => self.concrete(|value| match value {
                Some(value) => visitor.visit_some(value),
                None => visitor.visit_none(),
            }),
            Kind::User(user) => match &*user {
                WireType::Struct(user) => self.fields(user, None, visitor),
                WireType::Slice(elem) | WireType::Array(elem, _) => self.seq(*elem, visitor),
                WireType::Map(key, elem) => self.map(*key, *elem, visitor),
                WireType::Marshaled(..) => self.deserialize_bytes(visitor),
            },
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}
