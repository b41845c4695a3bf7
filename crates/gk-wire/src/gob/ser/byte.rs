//! A byte of a `Vec<u8>` that serde walks element by element.

use serde::ser::{Impossible, Serialize, Serializer};

use crate::gob::Error;

/// Takes a `u8` and nothing else.
pub(super) struct OneByte;

macro_rules! no_byte {
    ($($method:ident $(<$generic:ident>)? ($($type:ty),*) -> $ok:ty;)*) => {$(
        fn $method $(<$generic: ?Sized + Serialize>)? (self, $(_: $type),*) -> Result<$ok, Error> {
            Err(Error::Mismatch { expected: "byte", found: "another element" })
        }
    )*};
}

type Name = &'static str;
type Never = Impossible<u8, Error>;

impl Serializer for OneByte {
    type Ok = u8;
    type Error = Error;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    fn serialize_u8(self, value: u8) -> Result<u8, Error> {
        Ok(value)
    }

    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Result<u8, Error> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _: Name,
        value: &T,
    ) -> Result<u8, Error> {
        value.serialize(self)
    }

    no_byte! {
        serialize_bool(bool) -> u8;
        serialize_i8(i8) -> u8;
        serialize_i16(i16) -> u8;
        serialize_i32(i32) -> u8;
        serialize_i64(i64) -> u8;
        serialize_u16(u16) -> u8;
        serialize_u32(u32) -> u8;
        serialize_u64(u64) -> u8;
        serialize_f32(f32) -> u8;
        serialize_f64(f64) -> u8;
        serialize_char(char) -> u8;
        serialize_str(&str) -> u8;
        serialize_bytes(&[u8]) -> u8;
        serialize_none() -> u8;
        serialize_unit() -> u8;
        serialize_unit_struct(Name) -> u8;
        serialize_unit_variant(Name, u32, Name) -> u8;
        serialize_newtype_variant<T>(Name, u32, Name, &T) -> u8;
        serialize_seq(Option<usize>) -> Never;
        serialize_tuple(usize) -> Never;
        serialize_tuple_struct(Name, usize) -> Never;
        serialize_tuple_variant(Name, u32, Name, usize) -> Never;
        serialize_map(Option<usize>) -> Never;
        serialize_struct(Name, usize) -> Never;
        serialize_struct_variant(Name, u32, Name, usize) -> Never;
    }
}
