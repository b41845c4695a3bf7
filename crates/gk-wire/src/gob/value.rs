//! A gob value as a tree, without a Rust type for it.

use super::Error;
use super::num;
use super::reader::Reader;
use super::wire::{Kind, TypeId, WireType};

/// Any gob value, lossless: strings keep bytes that are not UTF-8.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// An `interface{}` holding nil.
    Nil,
    /// A bool.
    Bool(bool),
    /// A signed integer of any width.
    Int(i64),
    /// An unsigned integer of any width.
    Uint(u64),
    /// A float of either width.
    Float(f64),
    /// A complex number: real part, imaginary part.
    Complex(f64, f64),
    /// A string, which need not be UTF-8.
    String(Vec<u8>),
    /// A `[]byte`, or a value with an encoding of its own.
    Bytes(Vec<u8>),
    /// A slice or an array.
    List(Vec<Value>),
    /// A map, in the order it was sent.
    Map(Vec<(Value, Value)>),
    /// A struct: the fields that were sent; the others are zero.
    Struct {
        /// The sender's name for the type.
        name: String,
        /// Name and value of each field that was sent.
        fields: Vec<(String, Value)>,
    },
    /// An `interface{}` holding a value.
    Interface {
        /// The name under which the sender registered the concrete type.
        name: String,
        /// The value that it holds.
        value: Box<Value>,
    },
}

pub(crate) fn read(reader: &mut Reader<'_>, id: TypeId, depth: usize) -> Result<Value, Error> {
    let depth = reader.deeper(depth)?;
    Ok(match reader.kind(id)? {
        Kind::Bool => Value::Bool(reader.uint()? != 0),
        Kind::Int => Value::Int(reader.int()?),
        Kind::Uint => Value::Uint(reader.uint()?),
        Kind::Float => Value::Float(num::float_from_bits(reader.uint()?)),
        Kind::Complex => {
            let real = num::float_from_bits(reader.uint()?);
            Value::Complex(real, num::float_from_bits(reader.uint()?))
        }
        Kind::Bytes => Value::Bytes(reader.bytes()?.to_vec()),
        Kind::String => Value::String(reader.bytes()?.to_vec()),
        Kind::Interface => match reader.interface()? {
            None => Value::Nil,
            Some((name, id, end)) => {
                let name = String::from_utf8_lossy(name).into_owned();
                let value = Box::new(read(reader, id, depth)?);
                reader.at = reader.at.max(end);
                Value::Interface { name, value }
            }
        },
        Kind::User(user) => match &*user {
            WireType::Struct(user) => {
                let (mut field, mut fields) = (-1, Vec::new());
                while let Some(number) = reader.next_field(&mut field)? {
                    let (name, id) = user.fields.get(number).ok_or(Error::FieldOutOfRange)?;
                    fields.push((name.clone(), read(reader, *id, depth)?));
                }
                Value::Struct {
                    name: user.name.clone(),
                    fields,
                }
            }
            WireType::Slice(elem) | WireType::Array(elem, _) => {
                let count = reader.count(1)?;
                let mut list = Vec::new();
                for _ in 0..count {
                    list.push(read(reader, *elem, depth)?);
                }
                Value::List(list)
            }
            WireType::Map(key, elem) => {
                let count = reader.count(2)?;
                let mut map = Vec::new();
                for _ in 0..count {
                    let key = read(reader, *key, depth)?;
                    map.push((key, read(reader, *elem, depth)?));
                }
                Value::Map(map)
            }
            WireType::Marshaled(..) => Value::Bytes(reader.bytes()?.to_vec()),
        },
    })
}
