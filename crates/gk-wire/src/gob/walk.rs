//! Walks over a value without decoding it. A walk can stop at the end of a message and go on with the
//! next one, so the time for a value is linear in its bytes, however many messages it is spread over.

use std::sync::Arc;

use smallvec::SmallVec;

use super::Error;
use super::reader::Reader;
use super::wire::{Kind, TypeId, WireType};

/// The position of a walk: the values that it is inside of, outermost first.
#[derive(Debug)]
pub(crate) struct Walk {
    open: SmallVec<[Open; 4]>,
    /// The nesting of the value that the walk began with.
    depth: usize,
}

/// A value that is not at its end.
#[derive(Debug)]
enum Open {
    /// A struct, and the number of its last field.
    Fields(Arc<WireType>, i64),
    /// A slice, an array or a map. The next value is a key if `key` is there and `at_key` is set.
    Elements {
        key: Option<TypeId>,
        elem: TypeId,
        left: usize,
        at_key: bool,
    },
    /// An interface, of which the definitions, the concrete type and the value are still to come.
    Interface,
    /// An interface whose value has been entered. It ends here, or later.
    Until(usize),
}

impl Walk {
    /// Begins with a value of type `id` at the reader's cursor, nested this deep.
    pub(crate) fn begin(reader: &mut Reader<'_>, id: TypeId, depth: usize) -> Result<Self, Error> {
        let mut walk = Walk {
            open: SmallVec::new(),
            depth,
        };
        walk.enter(reader, id)?;
        Ok(walk)
    }

    /// Goes on to the end of the value; `false` if the rest of it is in a further message.
    pub(crate) fn run(&mut self, reader: &mut Reader<'_>) -> Result<bool, Error> {
        while let Some(open) = self.open.last_mut() {
            let next = match open {
                Open::Fields(user, field) => match reader.next_field(field)? {
                    Some(number) => Some(field_type(user, number)?),
                    None => None,
                },
                Open::Elements { left: 0, .. } => None,
                Open::Elements {
                    key: Some(key),
                    at_key: at_key @ true,
                    ..
                } => {
                    *at_key = false;
                    Some(*key)
                }
                Open::Elements {
                    elem, left, at_key, ..
                } => {
                    *at_key = true;
                    *left -= 1;
                    Some(*elem)
                }
                Open::Interface => match reader.concrete()? {
                    Some((id, end)) => {
                        *open = Open::Until(end);
                        Some(id)
                    }
                    None => return Ok(false),
                },
                Open::Until(end) => {
                    reader.at = reader.at.max(*end);
                    None
                }
            };
            match next {
                Some(id) => self.enter(reader, id)?,
                None => _ = self.open.pop(),
            }
        }
        Ok(true)
    }

    fn enter(&mut self, reader: &mut Reader<'_>, id: TypeId) -> Result<(), Error> {
        reader.deeper(self.depth + self.open.len())?;
        match reader.kind(id)? {
            Kind::Bool | Kind::Int | Kind::Uint | Kind::Float => _ = reader.uint()?,
            Kind::Complex => {
                reader.uint()?;
                reader.uint()?;
            }
            Kind::Bytes | Kind::String => _ = reader.range()?,
            Kind::Interface => {
                if !reader.range()?.is_empty() {
                    self.open.push(Open::Interface);
                }
            }
            Kind::User(user) => match *user {
                WireType::Struct(_) => self.open.push(Open::Fields(user, -1)),
                WireType::Slice(elem) | WireType::Array(elem, _) => {
                    let left = reader.count(1)?;
                    self.open.push(Open::Elements {
                        key: None,
                        elem,
                        left,
                        at_key: false,
                    });
                }
                WireType::Map(key, elem) => {
                    let left = reader.count(2)?;
                    self.open.push(Open::Elements {
                        key: Some(key),
                        elem,
                        left,
                        at_key: true,
                    });
                }
                WireType::Marshaled(..) => _ = reader.range()?,
            },
        }
        Ok(())
    }
}

/// Passes over a value of type `id` at the reader's cursor.
pub(crate) fn skip(reader: &mut Reader<'_>, id: TypeId, depth: usize) -> Result<(), Error> {
    match Walk::begin(reader, id, depth)?.run(reader)? {
        true => Ok(()),
        false => Err(Error::UnexpectedEnd),
    }
}

fn field_type(user: &WireType, number: usize) -> Result<TypeId, Error> {
    let WireType::Struct(user) = user else {
        return Err(Error::FieldOutOfRange);
    };
    let field = user.fields.get(number).ok_or(Error::FieldOutOfRange)?;
    Ok(field.1)
}
