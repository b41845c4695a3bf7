//! The serde `Serializer` that writes one value along its [`Schema`].

use bytes::Bytes;
use serde::ser::{self, Serialize, Serializer};

use super::schema::{Node, NodeId, Schema, StructNode};
use super::{Error, num, payload};

/// Payloads from this size on are sent from where they are; smaller ones are copied, which is cheaper
/// than a further piece of a vectored write.
pub(crate) const SPLICE_MIN_BYTES: usize = 8 * 1024;

/// Bytes being encoded: what was written, and the shared pieces that belong in between.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    pub(crate) written: Vec<u8>,
    /// (position in `written` ahead of which the piece belongs, piece), in order.
    pub(crate) spliced: Vec<(usize, Bytes)>,
}

impl Sink {
    #[cfg(feature = "tokio")]
    pub(crate) fn clear(&mut self) {
        self.written.clear();
        self.spliced.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.written.len()
            + self
                .spliced
                .iter()
                .map(|(_, piece)| piece.len())
                .sum::<usize>()
    }

    /// The pieces in the order in which they are sent.
    pub(crate) fn for_each(&mut self, mut small: impl FnMut(&[u8]), mut large: impl FnMut(Bytes)) {
        let mut at = 0;
        for (position, piece) in self.spliced.drain(..) {
            small(&self.written[at..position]);
            at = position;
            large(piece);
        }
        small(&self.written[at..]);
    }
}

/// Whether what was written is the type's zero value, which a struct leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IsZero(bool);

pub(crate) struct Writer<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) node: NodeId,
    pub(crate) sink: &'a mut Sink,
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
        num::put_int(&mut self.sink.written, value);
        Ok(IsZero(value == 0))
    }

    fn unsigned(self, value: u64) -> Result<IsZero, Error> {
        self.expect(|node| matches!(node, Node::Uint | Node::Byte), "uint")?;
        num::put_uint(&mut self.sink.written, value);
        Ok(IsZero(value == 0))
    }

    fn text(self, value: &[u8]) -> Result<IsZero, Error> {
        num::put_uint(&mut self.sink.written, value.len() as u64);
        self.sink.written.extend_from_slice(value);
        Ok(IsZero(value.is_empty()))
    }

    fn count(&mut self, len: Option<usize>) -> Result<usize, Error> {
        let len = len.ok_or(Error::Unsupported("a sequence of unknown length"))?;
        num::put_uint(&mut self.sink.written, len as u64);
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
        self.sink.written.push(u8::from(value));
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
        num::put_uint(&mut self.sink.written, num::float_bits(value));
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
        self.expect(|node| matches!(node, Node::Nil), "nil")?;
        num::put_uint(&mut self.sink.written, 0);
        Ok(IsZero(true))
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<IsZero, Error> {
        num::put_uint(&mut self.sink.written, 0);
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
        if name == payload::MAGIC
            && let Some(bytes) = payload::collect()
        {
            self.expect(|node| matches!(node, Node::Bytes), "[]byte")?;
            if bytes.len() < SPLICE_MIN_BYTES {
                return self.text(&bytes);
            }
            num::put_uint(&mut self.sink.written, bytes.len() as u64);
            self.sink.spliced.push((self.sink.written.len(), bytes));
            return Ok(IsZero(false));
        }
        value.serialize(self)
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
            sink: self.sink,
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
            sink: self.sink,
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
            sink: self.sink,
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
                sink: self.sink,
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
    sink: &'a mut Sink,
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
                self.sink.written.push(byte);
                Ok(())
            }
        }
    }

    fn write<T: ?Sized + Serialize>(&mut self, node: NodeId, value: &T) -> Result<(), Error> {
        let before = self.sink.len();
        value.serialize(Writer {
            schema: self.schema,
            node,
            sink: &mut *self.sink,
        })?;
        if self.sink.len() == before {
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
    sink: &'a mut Sink,
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
        let (written, spliced) = (self.sink.written.len(), self.sink.spliced.len());
        let number = i64::try_from(place).map_err(|_| Error::FieldOutOfRange)?;
        num::put_uint(&mut self.sink.written, (number - self.sent).unsigned_abs());
        let zero = value.serialize(Writer {
            schema: self.schema,
            node: field.node,
            sink: &mut *self.sink,
        })?;
        if zero.0 {
            self.sink.written.truncate(written);
            self.sink.spliced.truncate(spliced);
        } else {
            self.sent = number;
        }
        Ok(())
    }

    fn skip_field(&mut self, _: &'static str) -> Result<(), Error> {
        Ok(())
    }

    fn end(self) -> Result<IsZero, Error> {
        self.sink.written.push(0);
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
