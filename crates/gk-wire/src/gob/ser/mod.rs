//! The serde `Serializer` that writes one value along its [`Schema`].

mod byte;
mod compound;

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use serde::ser::{self, Serialize, Serializer};

use super::passing::{self, Passing};
use super::schema::{Node, NodeId, Schema};
use super::types::{Known, Out};
use super::{Error, num};
use compound::{Compound, Fields};

/// Payloads from this size on are sent from where they are; smaller ones are copied, which is
/// cheaper than a further piece of a vectored write.
pub(crate) const SPLICE_MIN_BYTES: usize = 8 * 1024;

/// `true` if a zero value was written, which a struct leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IsZero(bool);

impl IsZero {
    pub(crate) const NO: IsZero = IsZero(false);
}

/// Go takes no longer name of an interface's type, in bytes.
const NAME_BYTES_MAX: usize = 1024;

/// A value in an interface that is being written.
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

/// Writes a value that stands by itself: a struct as it is, everything else as the only field of
/// nothing.
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

/// A value that is not what its type's `Deserialize` has asked for.
fn other_shape(found: &'static str) -> Error {
    Error::Mismatch {
        expected: "the shape that Deserialize asked for",
        found,
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
            _ => Err(other_shape(found)),
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

    /// The name, the definitions that are new to the receiver, the type, and the value behind its
    /// length.
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

macro_rules! numbers {
    ($($method:ident $type:ident $write:ident),*) => {$(
        fn $method(self, value: $type) -> Result<IsZero, Error> {
            self.$write(value.into())
        }
    )*};
}

macro_rules! no_enum {
    ($($method:ident $(<$generic:ident>)? ($($type:ty),*) -> $ok:ty;)*) => {$(
        fn $method $(<$generic: ?Sized + Serialize>)? (self, $(_: $type),*) -> Result<$ok, Error> {
            Err(Error::Unsupported("an enum"))
        }
    )*};
}

type Name = &'static str;
type Never = ser::Impossible<IsZero, Error>;

impl<'a> Serializer for Writer<'a> {
    type Ok = IsZero;
    type Error = Error;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Compound<'a>;
    type SerializeTupleStruct = Compound<'a>;
    type SerializeTupleVariant = Never;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = Never;

    fn serialize_bool(self, value: bool) -> Result<IsZero, Error> {
        self.expect(|node| matches!(node, Node::Bool), "bool")?;
        self.out.sink.written.push(u8::from(value));
        Ok(IsZero(!value))
    }

    numbers! {
        serialize_i8 i8 signed,
        serialize_i16 i16 signed,
        serialize_i32 i32 signed,
        serialize_i64 i64 signed,
        serialize_u8 u8 unsigned,
        serialize_u16 u16 unsigned,
        serialize_u32 u32 unsigned,
        serialize_u64 u64 unsigned,
        serialize_f32 f32 serialize_f64
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
        // A pointer is invisible on the wire; what it points to is left out when it is zero, but
        // for structs and maps, which `IsZero` already says.
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

    fn serialize_seq(mut self, len: Option<usize>) -> Result<Compound<'a>, Error> {
        let elem = match self.node() {
            Some(Node::Slice(elem)) => Some(*elem),
            Some(Node::Bytes) => None,
            _ => return Err(other_shape("slice")),
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
            _ => return Err(other_shape("array")),
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

    fn serialize_map(mut self, len: Option<usize>) -> Result<Compound<'a>, Error> {
        let Some(Node::Map(key, elem)) = self.node() else {
            return Err(other_shape("map"));
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
            _ => Err(other_shape("struct")),
        }
    }

    no_enum! {
        serialize_unit_variant(Name, u32, Name) -> IsZero;
        serialize_newtype_variant<T>(Name, u32, Name, &T) -> IsZero;
        serialize_tuple_variant(Name, u32, Name, usize) -> Never;
        serialize_struct_variant(Name, u32, Name, usize) -> Never;
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}
