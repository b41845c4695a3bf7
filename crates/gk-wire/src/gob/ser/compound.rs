//! Slices, arrays, maps and structs that are being written.

use serde::ser::{self, Serialize};

use super::byte::OneByte;
use super::{IsZero, Writer};
use crate::gob::schema::{NodeId, Schema, StructNode};
use crate::gob::types::Out;
use crate::gob::{Error, num};

/// A slice, array or map being written.
pub(crate) struct Compound<'a> {
    pub(super) schema: &'a Schema,
    pub(super) out: Out<'a>,
    pub(super) key: NodeId,
    /// `None` for the bytes of a `[]byte`.
    pub(super) elem: Option<NodeId>,
    pub(super) left: usize,
    pub(super) zero: bool,
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

macro_rules! elements {
    ($($of:ident $method:ident),*) => {$(
        impl ser::$of for Compound<'_> {
            type Ok = IsZero;
            type Error = Error;

            fn $method<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Error> {
                self.element(value)
            }

            fn end(self) -> Result<IsZero, Error> {
                self.done()
            }
        }
    )*};
}

elements! {
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field
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
    pub(super) schema: &'a Schema,
    pub(super) out: Out<'a>,
    pub(super) node: &'a StructNode,
    pub(super) sent: i64,
    pub(super) next: usize,
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
