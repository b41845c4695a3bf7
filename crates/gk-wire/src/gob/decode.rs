//! From messages to values.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use smallvec::SmallVec;

use super::wire::{Reader, Registry, TypeId};
use super::{Error, Limits, Value, de, num, value, wire};

/// Most messages that one value may be spread over; each is walked again from the start.
const MAX_JOINS: usize = 16;

/// Types that are remembered to be plain; a stream of calls has a handful.
const PLAIN_MAX: usize = 64;

/// The length of the message that starts `data`, and where its content begins; `None` if `data` ends
/// inside the length.
///
/// # Errors
///
/// If the length is malformed, zero, or over the limit.
pub fn message_length(data: &[u8], limits: &Limits) -> Result<Option<(usize, usize)>, Error> {
    let Some((length, start)) = num::take_uint(data)? else {
        return Ok(None);
    };
    if length == 0 {
        return Err(Error::EmptyMessage);
    }
    match usize::try_from(length) {
        Ok(bytes) if bytes <= limits.max_message_bytes => Ok(Some((bytes, start))),
        _ => Err(Error::MessageTooLong {
            length,
            limit: limits.max_message_bytes,
        }),
    }
}

/// The receiving end of one direction of a gob stream: keeps the types that the sender defines.
#[derive(Debug, Default)]
pub struct Decoder {
    types: Registry,
    limits: Limits,
    /// A value that goes on in the next message: what is there of it, and where its messages join.
    unfinished: Option<(BytesMut, Vec<usize>)>,
    /// Types whose values cannot hold an interface, as far as somebody asked; until the next definition.
    plain: SmallVec<[TypeId; 8]>,
}

impl Decoder {
    /// A decoder at the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Decoder {
            types: Registry::default(),
            limits,
            unfinished: None,
            plain: SmallVec::new(),
        }
    }

    /// Whether a value of this type can bring further definitions along.
    fn may_define(&mut self, types: &Registry, id: TypeId) -> bool {
        if self.plain.contains(&id) {
            return false;
        }
        let may = types.may_define(id);
        if !may && self.plain.len() < PLAIN_MAX {
            self.plain.push(id);
        }
        may
    }

    /// Takes the content of one message, without its length. A definition is kept and gives `None`; a
    /// value is given back.
    ///
    /// # Errors
    ///
    /// If the message is malformed; see [`Error::poisons_stream`].
    pub fn message(&mut self, content: Bytes) -> Result<Option<Message>, Error> {
        let (content, joins) = match self.unfinished.take() {
            None => (content, Vec::new()),
            Some((mut start, mut joins)) => {
                let length = start.len() + content.len();
                if length > self.limits.max_message_bytes || joins.len() >= MAX_JOINS {
                    return Err(Error::MessageTooLong {
                        length: length as u64,
                        limit: self.limits.max_message_bytes,
                    });
                }
                joins.push(start.len());
                start.extend_from_slice(&content);
                (start.freeze(), joins)
            }
        };
        let mut reader = Reader::absorbing(&content, &joins, self.types.clone(), self.limits);
        let id = reader.int()?;
        if id < 0 {
            // The reader's copy of the registry must be the only one while it changes.
            self.types = Registry::default();
            self.plain.clear();
            let defined = reader.definition(id);
            let rest = reader.remaining();
            self.types = reader.types;
            defined?;
            return if rest == 0 {
                Ok(None)
            } else {
                Err(Error::BadDefinition("something follows it"))
            };
        }
        reader.singleton(id)?;
        let start = reader.at;
        if self.may_define(&reader.types, id) {
            self.plain.clear();
            let walked = reader.skip(id, 0);
            if reader.wants_more {
                self.unfinished = Some((BytesMut::from(&content[..]), joins));
                return Ok(None);
            }
            walked?;
        }
        self.types = reader.types;
        let joins = joins.into_iter().map(|join| join - start).collect();
        let (types, limits) = (self.types.clone(), self.limits);
        Ok(Some(Message {
            content: content.slice(start..),
            joins,
            id,
            types,
            limits,
        }))
    }

    /// Splits the next message off `stream` and takes it; `None` when `stream` holds no whole message.
    ///
    /// # Errors
    ///
    /// As [`message_length`] and [`Decoder::message`]; the message in question is taken off all the same.
    pub fn next(&mut self, stream: &mut Bytes) -> Result<Option<Message>, Error> {
        while let Some((length, start)) = message_length(stream, &self.limits)? {
            if stream.len() - start < length {
                return Ok(None);
            }
            let mut content = stream.split_to(start + length);
            bytes::Buf::advance(&mut content, start);
            if let Some(value) = self.message(content)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }
}

/// One value as it came, with the types it is made of. Cheap to clone; decoding it twice is possible.
#[derive(Debug, Clone)]
pub struct Message {
    pub(crate) content: Bytes,
    joins: Vec<usize>,
    pub(crate) id: TypeId,
    pub(crate) types: Registry,
    limits: Limits,
}

impl Message {
    /// Decodes the value.
    ///
    /// # Errors
    ///
    /// If the sender's type does not fit `T`, or the value is malformed.
    pub fn decode<'de, T: Deserialize<'de>>(&'de self) -> Result<T, Error> {
        let mut reader = self.reader();
        T::deserialize(de::Value::new(&mut reader, self.id))
    }

    /// The value as a tree, without a Rust type for it.
    ///
    /// # Errors
    ///
    /// If the value is malformed.
    pub fn value(&self) -> Result<Value, Error> {
        value::read(&mut self.reader(), self.id, 0)
    }

    /// Whether this is a struct that was declared with a field of exactly this Go name, be it set or not.
    #[must_use]
    pub fn has_field(&self, go_name: &str) -> bool {
        self.types.has_field(self.id, go_name)
    }

    /// Whether this is a `[]byte`.
    #[must_use]
    pub fn is_bytes(&self) -> bool {
        self.id == wire::BYTES
    }

    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader::new(&self.content, &self.joins, self.types.clone(), self.limits)
    }
}
