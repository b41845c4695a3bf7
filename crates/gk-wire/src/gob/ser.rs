//! The serde `Serializer` that writes one value along its [`Schema`].

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use serde::ser::{self, Serialize, Serializer};

use super::passing::{self, Passing};
use super::schema::{Node, NodeId, Schema, StructNode};
use super::types::{Known, Out};
use super::{Error, num};

/// Payloads from this size on are sent from where they are; smaller ones are copied, which is cheaper
/// than a further piece of a vectored write.
pub(crate) const SPLICE_MIN_BYTES: usize = 8 * 1024;

/// Whether what was written is the type's zero value, which a struct leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IsZero(bool);

impl IsZero {
    pub(crate) const NO: IsZero = IsZero(false);
}

/// Go takes no longer name of an interface's type, in bytes.
const NAME_BYTES_MAX: usize = 1024;

/// What an interface holds, to those who write it.
pub(crate) trait Dynamic {
    /// The name of the concrete type.
    fn name(&self) -> &str;

    /// Writes what stands behind the name, by [`write_within`].
    fn write(&self, out: &mut Out<'_>) -> Result<(), Error>;
}

thread_local! {
    /// As `passing`: what an interface holds that calls its serializer.
    static DYNAMIC: RefCell<Option<Arc<dyn Dynamic>>> = const { RefCell::new(None) };
}

/// Calls a serializer with what an interface holds; nothing if it is nil.
pub(crate) fn serialize_dynamic<S: Serializer, T: ?Sized + Serialize>(
    held: Option<Arc<dyn Dynamic>>,
    serializer: S,
    for_others: &T,
) -> Result<S::Ok, S::Error> {
    DYNAMIC.with_borrow_mut(|place| *place = held);
    let done = serializer.serialize_newtype_struct(passing::INTERFACE, for_others);
    DYNAMIC.with_borrow_mut(Option::take);
    done
}

/// Writes what stands behind an interface's name: the type, and the value behind its length.
pub(crate) fn write_within(
    known: &Known,
    out: &mut Out<'_>,
    value: impl FnOnce(Writer<'_>) -> Result<IsZero, Error>,
) -> Result<(), Error> {
    known.put_id(out.sink);
    let types = &mut *out.types;
    out.sink
        .framed(|sink| write(known, &mut Out { sink, types }, value))
}

/// Writes a value that stands by itself: a struct as it is, everything else as the only field of nothing.
pub(crate) fn write(
    known: &Known,
    out: &mut Out<'_>,
    value: impl FnOnce(Writer<'_>) -> Result<IsZero, Error>,
) -> Result<(), Error> {
    let root = known.schema.root;
    if !matches!(known.schema.nodes.get(root), Some(Node::Struct(_))) {
        out.sink.written.push(0);
    }
    let value_starts = out.sink.len();
    value(Writer {
        schema: &known.schema,
        node: root,
        out: out.again(),
    })?;
    // A `None` writes nothing; there is no message without a value.
    match out.sink.len() == value_starts {
        true => Err(Error::Unsupported(
            "a nil pointer at the top or in an interface",
        )),
        false => Ok(()),
    }
}

pub(crate) struct Writer<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) node: NodeId,
    pub(crate) out: Out<'a>,
}

impl<'a> Writer<'a> {
    fn node(&self) -> Option<&'a Node> {
        self.schema.nodes.get(self.node)
    }

    fn expect(&self, fits: impl Fn(&Node) -> bool, found: &'static str) -> Result<(), Error> {
        match self.node() {
            Some(node) if fits(node) => Ok(()),
            _ => Err(Error::Mismatch {
                expected: "the shape that Deserialize asked for",
                found,
            }),
        }
    }

    fn signed(self, value: i64) -> Result<IsZero, Error> {
        self.expect(|node| matches!(node, Node::Int), "int")?;
        num::put_int(&mut self.out.sink.written, value);
        Ok(IsZero(value == 0))
    }

    fn unsigned(self, value: u64) -> Result<IsZero, Error> {
        self.expect(|node| matches!(node, Node::Uint | Node::Byte), "uint")?;
        num::put_uint(&mut self.out.sink.written, value);
        Ok(IsZero(value == 0))
    }

    fn text(self, value: &[u8]) -> Result<IsZero, Error> {
        num::put_uint(&mut self.out.sink.written, value.len() as u64);
        self.out.sink.written.extend_from_slice(value);
        Ok(IsZero(value.is_empty()))
    }

    fn payload(self, bytes: Bytes) -> Result<IsZero, Error> {
        self.expect(|node| matches!(node, Node::Bytes), "[]byte")?;
        if bytes.len() < SPLICE_MIN_BYTES {
            return self.text(&bytes);
        }
        let sink = self.out.sink;
        num::put_uint(&mut sink.written, bytes.len() as u64);
        sink.spliced.push((sink.written.len(), bytes));
        Ok(IsZero(false))
    }

    /// The name, the definitions that are new to the receiver, the type, and the value behind its length.
    fn interface(self, held: Option<Arc<dyn Dynamic>>) -> Result<IsZero, Error> {
        self.expect(|node| matches!(node, Node::Interface), "interface")?;
        let mut out = self.out;
        let name = held.as_ref().map(|held| held.name()).unwrap_or_default();
        if held.is_some() && !(1..=NAME_BYTES_MAX).contains(&name.len()) {
            return Err(Error::Unsupported(
                "an interface whose type has no name, or one of more than 1024 bytes",
            ));
        }
        num::put_uint(&mut out.sink.written, name.len() as u64);
        out.sink.written.extend_from_slice(name.as_bytes());
        match held {
            Some(held) => held.write(&mut out).map(|()| IsZero(false)),
            None => Ok(IsZero(true)),
        }
    }

    fn count(&mut self, len: Option<usize>) -> Result<usize, Error> {
        let len = len.ok_or(Error::Unsupported("a sequence of unknown length"))?;
        num::put_uint(&mut self.out.sink.written, len as u64);
        Ok(len)
    }
}

impl<'a> Serializer for Writer<'a> {
    type Ok = IsZero;
    type Error = Error;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Compound<'a>;
    type SerializeTupleStruct = Compound<'a>;
    type SerializeTupleVariant = ser::Impossible<IsZero, Error>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = ser::Impossible<IsZero, Error>;

    fn serialize_bool(self, value: bool) -> Result<IsZero, Error> {
        self.expect(|node| matches!(node, Node::Bool), "bool")?;
        self.out.sink.written.push(u8::from(value));
        Ok(IsZero(!value))
    }

    fn serialize_i8(self, value: i8) -> Result<IsZero, Error> {
        self.signed(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<IsZero, Error> {
        self.signed(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<IsZero, Error> {
        self.signed(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<IsZero, Error> {
        self.signed(value)
    }

    fn serialize_u8(self, value: u8) -> Result<IsZero, Error> {
        self.unsigned(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<IsZero, Error> {
        self.unsigned(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<IsZero, Error> {
        self.unsigned(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<IsZero, Error> {
        self.unsigned(value)
    }

    fn serialize_f32(self, value: f32) -> Result<IsZero, Error> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<IsZero, Error> {
        self.expect(|node| matches!(node, Node::Float), "float")?;
        num::put_uint(&mut self.out.sink.written, num::float_bits(value));
        Ok(IsZero(value.to_bits() == 0))
    }

    fn serialize_char(self, value: char) -> Result<IsZero, Error> {
        self.signed(i64::from(u32::from(value)))
    }

    fn serialize_str(self, value: &str) -> Result<IsZero, Error> {
        self.expect(|node| matches!(node, Node::String), "string")?;
        self.text(value.as_bytes())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<IsZero, Error> {
        self.expect(|node| matches!(node, Node::Bytes), "[]byte")?;
        self.text(value)
    }

    fn serialize_none(self) -> Result<IsZero, Error> {
        Ok(IsZero(true))
    }

    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Result<IsZero, Error> {
        // A pointer is invisible on the wire; what it points to is left out when it is zero, but for
        // structs and maps, which `IsZero` already says.
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<IsZero, Error> {
        self.expect(|node| matches!(node, Node::Interface), "nil")?;
        num::put_uint(&mut self.out.sink.written, 0);
        Ok(IsZero(true))
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<IsZero, Error> {
        num::put_uint(&mut self.out.sink.written, 0);
        Ok(IsZero(false))
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
    ) -> Result<IsZero, Error> {
        Err(Error::Unsupported("an enum"))
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<IsZero, Error> {
        match name {
            passing::PAYLOAD => match passing::collect() {
                Some(Passing::Bytes(bytes)) => self.payload(bytes),
                _ => value.serialize(self),
            },
            passing::MARSHALED => match passing::collect() {
                Some(Passing::Marshaled { bytes, is_zero }) => {
                    self.expect(
                        |node| matches!(node, Node::Marshaled(..)),
                        "self-encoded value",
                    )?;
                    self.text(&bytes)?;
                    Ok(IsZero(is_zero))
                }
                _ => value.serialize(self),
            },
            passing::INTERFACE => self.interface(DYNAMIC.with_borrow_mut(Option::take)),
            _ => value.serialize(self),
        }
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<IsZero, Error> {
        Err(Error::Unsupported("an enum"))
    }

    fn serialize_seq(mut self, len: Option<usize>) -> Result<Compound<'a>, Error> {
        let elem = match self.node() {
            Some(Node::Slice(elem)) => Some(*elem),
            Some(Node::Bytes) => None,
            _ => {
                return Err(Error::Mismatch {
                    expected: "the shape that Deserialize asked for",
                    found: "slice",
                });
            }
        };
        let left = self.count(len)?;
        Ok(Compound {
            schema: self.schema,
            out: self.out,
            key: 0,
            elem,
            left,
            zero: left == 0,
        })
    }

    fn serialize_tuple(mut self, len: usize) -> Result<Compound<'a>, Error> {
        let elem = match self.node() {
            Some(Node::Array(elem, length)) if *length == len => Some(*elem),
            _ => {
                return Err(Error::Mismatch {
                    expected: "the shape that Deserialize asked for",
                    found: "array",
                });
            }
        };
        let left = self.count(Some(len))?;
        Ok(Compound {
            schema: self.schema,
            out: self.out,
            key: 0,
            elem,
            left,
            zero: false,
        })
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Compound<'a>, Error> {
        self.serialize_tuple(len)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        Err(Error::Unsupported("an enum"))
    }

    fn serialize_map(mut self, len: Option<usize>) -> Result<Compound<'a>, Error> {
        let Some(Node::Map(key, elem)) = self.node() else {
            return Err(Error::Mismatch {
                expected: "the shape that Deserialize asked for",
                found: "map",
            });
        };
        let left = self.count(len)?;
        // A map that is there is sent, also when it is empty.
        Ok(Compound {
            schema: self.schema,
            out: self.out,
            key: *key,
            elem: Some(*elem),
            left,
            zero: false,
        })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields<'a>, Error> {
        match self.node() {
            Some(Node::Struct(node)) => Ok(Fields {
                schema: self.schema,
                out: self.out,
                node,
                sent: -1,
                next: 0,
            }),
            _ => Err(Error::Mismatch {
                expected: "the shape that Deserialize asked for",
                found: "struct",
            }),
        }
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        Err(Error::Unsupported("an enum"))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// A slice, array or map being written.
pub(crate) struct Compound<'a> {
    schema: &'a Schema,
    out: Out<'a>,
    key: NodeId,
    /// `None` for the bytes of a `[]byte`.
    elem: Option<NodeId>,
    left: usize,
    zero: bool,
}

impl Compound<'_> {
    fn element<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Error> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or(Error::Unsupported("more elements than were announced"))?;
        match self.elem {
            Some(node) => self.write(node, value),
            None => {
                let byte = value.serialize(OneByte)?;
                self.out.sink.written.push(byte);
                Ok(())
            }
        }
    }

    fn write<T: ?Sized + Serialize>(&mut self, node: NodeId, value: &T) -> Result<(), Error> {
        let before = self.out.sink.len();
        value.serialize(Writer {
            schema: self.schema,
            node,
            out: self.out.again(),
        })?;
        if self.out.sink.len() == before {
            return Err(Error::Unsupported("a nil element of a slice or map"));
        }
        Ok(())
    }

    fn done(self) -> Result<IsZero, Error> {
        if self.left > 0 {
            return Err(Error::Unsupported("fewer elements than were announced"));
        }
        Ok(IsZero(self.zero))
    }
}

impl ser::SerializeSeq for Compound<'_> {
    type Ok = IsZero;
    type Error = Error;

    fn serialize_element<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Error> {
        self.element(value)
    }

    fn end(self) -> Result<IsZero, Error> {
        self.done()
    }
}

impl ser::SerializeTuple for Compound<'_> {
    type Ok = IsZero;
    type Error = Error;

    fn serialize_element<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Error> {
        self.element(value)
    }

    fn end(self) -> Result<IsZero, Error> {
        self.done()
    }
}

impl ser::SerializeTupleStruct for Compound<'_> {
    type Ok = IsZero;
    type Error = Error;

    fn serialize_field<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Error> {
        self.element(value)
    }

    fn end(self) -> Result<IsZero, Error> {
        self.done()
    }
}

impl ser::SerializeMap for Compound<'_> {
    type Ok = IsZero;
    type Error = Error;

    fn serialize_key<T: ?Sized + Serialize>(&mut self, key: &T) -> Result<(), Error> {
        self.write(self.key, key)
    }

    fn serialize_value<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Error> {
        self.element(value)
    }

    fn end(self) -> Result<IsZero, Error> {
        self.done()
    }
}

/// A struct being written.
pub(crate) struct Fields<'a> {
    schema: &'a Schema,
    out: Out<'a>,
    node: &'a StructNode,
    sent: i64,
    next: usize,
}

impl ser::SerializeStruct for Fields<'_> {
    type Ok = IsZero;
    type Error = Error;

    fn serialize_field<T: ?Sized + Serialize>(
        &mut self,
        rust: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let place = self
            .node
            .fields
            .get(self.next..)
            .and_then(|rest| rest.iter().position(|field| field.rust == rust));
        let place = self.next
            + place.ok_or(Error::Unsupported(
                "a field that Deserialize does not know, or knows in another order",
            ))?;
        let field = self.node.fields.get(place).ok_or(Error::FieldOutOfRange)?;
        self.next = place + 1;
        let (written, spliced) = (self.out.sink.written.len(), self.out.sink.spliced.len());
        let number = i64::try_from(place).map_err(|_| Error::FieldOutOfRange)?;
        num::put_uint(
            &mut self.out.sink.written,
            (number - self.sent).unsigned_abs(),
        );
        let zero = value.serialize(Writer {
            schema: self.schema,
            node: field.node,
            out: self.out.again(),
        })?;
        if zero.0 {
            self.out.sink.written.truncate(written);
            self.out.sink.spliced.truncate(spliced);
        } else {
            self.sent = number;
        }
        Ok(())
    }

    fn skip_field(&mut self, _: &'static str) -> Result<(), Error> {
        Ok(())
    }

    fn end(self) -> Result<IsZero, Error> {
        self.out.sink.written.push(0);
        Ok(IsZero(false))
    }
}

/// Takes the `u8` of a `Vec<u8>` that serde walks element by element.
struct OneByte;

macro_rules! not_a_byte {
    ($($method:ident($($type:ty),*)),* $(,)?) => {$(
        fn $method(self, $(_: $type),*) -> Result<u8, Error> {
            Err(Error::Mismatch { expected: "byte", found: "another element" })
        }
    )*};
}

impl Serializer for OneByte {
    type Ok = u8;
    type Error = Error;
    type SerializeSeq = ser::Impossible<u8, Error>;
    type SerializeTuple = ser::Impossible<u8, Error>;
    type SerializeTupleStruct = ser::Impossible<u8, Error>;
    type SerializeTupleVariant = ser::Impossible<u8, Error>;
    type SerializeMap = ser::Impossible<u8, Error>;
    type SerializeStruct = ser::Impossible<u8, Error>;
    type SerializeStructVariant = ser::Impossible<u8, Error>;

    fn serialize_u8(self, value: u8) -> Result<u8, Error> {
        Ok(value)
    }

    not_a_byte! {
        serialize_bool(bool), serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64),
        serialize_u16(u16), serialize_u32(u32), serialize_u64(u64), serialize_f32(f32), serialize_f64(f64),
        serialize_char(char), serialize_str(&str), serialize_bytes(&[u8]), serialize_none(), serialize_unit(),
        serialize_unit_struct(&'static str), serialize_unit_variant(&'static str, u32, &'static str),
    }

    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Result<u8, Error> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<u8, Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<u8, Error> {
        Err(Error::Unsupported("an enum"))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Error> {
        Err(Error::Unsupported("a nested byte"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Error> {
        Err(Error::Unsupported("a nested byte"))
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Error> {
        Err(Error::Unsupported("a nested byte"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        Err(Error::Unsupported("a nested byte"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Error> {
        Err(Error::Unsupported("a nested byte"))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Error> {
        Err(Error::Unsupported("a nested byte"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        Err(Error::Unsupported("a nested byte"))
    }
}
