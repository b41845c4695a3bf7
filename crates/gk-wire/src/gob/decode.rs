//! From messages to values.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;

use super::reader::{Part, Place, Reader};
use super::walk::Walk;
use super::wire::{Registry, TypeId};
use super::{Error, Limits, Value, de, num, value, wire};

/// The length of the message that starts `data`, and where its content begins; `None` if `data`
/// ends inside the length.
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
    unfinished: Option<Unfinished>,
    /// `true` if values of a type can bring definitions along, for types of values that came;
    /// sorted.
    may_define: Vec<(TypeId, bool)>,
}

/// A value that goes on in the next message.
#[derive(Debug)]
struct Unfinished {
    /// The content of its messages so far.
    content: BytesMut,
    /// Offsets at which the messages join.
    joins: Vec<usize>,
    /// Offset at which the value begins.
    start: usize,
    id: TypeId,
    /// The walk over the value so far.
    walk: Walk,
    place: Place,
}

/// An error in a value that can bring definitions along: those behind it are not known, nor where
/// it ends.
fn lost(error: Error) -> Error {
    match error.poisons_stream() {
        true => error,
        false => Error::LostPlace(Box::new(error)),
    }
}

/// The content of a message that does not continue another one.
enum First {
    Definition,
    /// A value that cannot bring definitions along. It is checked when it is decoded.
    Plain(TypeId),
    /// A value that was walked over, as far as it has come.
    Walked {
        id: TypeId,
        start: usize,
        walk: Option<Walk>,
    },
}

impl Decoder {
    /// A decoder at the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Decoder {
            types: Registry::default(),
            limits,
            unfinished: None,
            may_define: Vec::new(),
        }
    }

    /// Returns `true` if a value of this type can bring further definitions along.
    fn may_define(&mut self, id: TypeId) -> bool {
        match self.may_define.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(place) => self.may_define.get(place).is_none_or(|(_, may)| *may),
            Err(place) => {
                let may = self.types.may_define(id);
                self.may_define.insert(place, (id, may));
                may
            }
        }
    }

    /// Bytes of a value that goes on in the next message.
    pub(crate) fn unfinished_bytes(&self) -> usize {
        let unfinished = self.unfinished.as_ref();
        unfinished.map_or(0, |unfinished| unfinished.content.len())
    }

    /// Returns `true` if nothing is lost if the next message, which begins like this, is not taken:
    /// it does not continue a value, and it brings no definitions.
    pub(crate) fn can_miss(&mut self, start: &[u8]) -> bool {
        if self.unfinished.is_some() {
            return false;
        }
        match num::take_uint(start) {
            Ok(Some((id, _))) => match num::unzigzag(id) {
                ..0 => false,
                id => !self.may_define(id),
            },
            _ => false,
        }
    }

    /// Takes the content of one message, without its length. A definition is kept and gives `None`,
    /// as does the start of a value that goes on in further messages; a whole value is given back.
    ///
    /// # Errors
    ///
    /// If the message is malformed; see [`Error::poisons_stream`].
    pub fn message(&mut self, content: Bytes) -> Result<Option<Message>, Error> {
        if let Some(unfinished) = self.unfinished.take() {
            return self.go_on(unfinished, &content);
        }
        let mut reader = Reader::absorbing(&content, &[], self.types.clone(), self.limits);
        let taken = self.first(&mut reader)?;
        let (place, start) = (reader.place(), reader.at);
        Ok(match taken {
            First::Definition => None,
            First::Plain(id) => Some(self.finished(content.slice(start..), Vec::new(), id)),
            First::Walked { id, start, walk } => match walk {
                None => Some(self.finished(content.slice(start..), Vec::new(), id)),
                Some(walk) => {
                    self.unfinished = Some(Unfinished {
                        content: BytesMut::from(&content[..]),
                        joins: Vec::new(),
                        start,
                        id,
                        walk,
                        place,
                    });
                    None
                }
            },
        })
    }

    /// Takes a message that does not continue another one.
    fn first(&mut self, reader: &mut Reader<'_>) -> Result<First, Error> {
        let id = reader.int()?;
        if id < 0 {
            reader.definition(id)?;
            return match reader.remaining() {
                0 => Ok(First::Definition),
                _ => Err(Error::BadDefinition("something follows it")),
            };
        }
        reader.singleton(id)?;
        if !self.may_define(id) {
            return Ok(First::Plain(id));
        }
        let start = reader.at;
        let mut walk = Walk::begin(reader, id, 0).map_err(lost)?;
        let is_whole = walk.run(reader).map_err(lost)?;
        let walk = (!is_whole).then_some(walk);
        Ok(First::Walked { id, start, walk })
    }

    /// Takes a message that continues a value.
    fn go_on(
        &mut self,
        mut unfinished: Unfinished,
        content: &[u8],
    ) -> Result<Option<Message>, Error> {
        let length = unfinished.content.len() + content.len();
        if length > self.limits.max_message_bytes {
            return Err(Error::MessageTooLong {
                length: length as u64,
                limit: self.limits.max_message_bytes,
            });
        }
        // The first one joins nothing.
        if unfinished.joins.len() + 1 >= self.limits.max_messages_per_value {
            return Err(Error::TooManyMessages(self.limits.max_messages_per_value));
        }
        unfinished.joins.push(unfinished.content.len());
        unfinished.content.extend_from_slice(content);
        let whole = std::mem::take(&mut unfinished.content).freeze();
        let types = self.types.clone();
        let mut reader = Reader::absorbing(&whole, &unfinished.joins, types, self.limits);
        reader.resume(unfinished.place);
        let walked = unfinished.walk.run(&mut reader);
        unfinished.place = reader.place();
        match walked.map_err(lost)? {
            true => {
                let (start, joins) = (unfinished.start, unfinished.joins);
                let joins = joins.into_iter().map(|join| join - start).collect();
                Ok(Some(self.finished(
                    whole.slice(start..),
                    joins,
                    unfinished.id,
                )))
            }
            false => {
                // The buffer has no other owner, so this copies nothing.
                unfinished.content = BytesMut::from(whole);
                self.unfinished = Some(unfinished);
                Ok(None)
            }
        }
    }

    fn finished(&self, content: Bytes, joins: Vec<usize>, id: TypeId) -> Message {
        Message(Part {
            content,
            joins,
            id,
            types: self.types.clone(),
            limits: self.limits,
        })
    }

    /// Splits the next message off `stream` and takes it; `None` when `stream` holds no whole
    /// message.
    ///
    /// # Errors
    ///
    /// As [`message_length`] and [`Decoder::message`]; the message in question is taken off all the
    /// same.
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

/// A value as it came, with the types it is made of. Clones are cheap, and a value can be decoded
/// many times.
#[derive(Debug, Clone)]
pub struct Message(pub(crate) Part);

impl Message {
    /// Decodes the value.
    ///
    /// # Errors
    ///
    /// If the sender's type does not fit `T`, or the value is malformed.
    pub fn decode<'de, T: Deserialize<'de>>(&'de self) -> Result<T, Error> {
        let mut reader = self.0.reader();
        T::deserialize(de::Value::new(&mut reader, self.0.id))
    }

    /// The value as a tree, without a Rust type for it.
    ///
    /// # Errors
    ///
    /// If the value is malformed.
    pub fn value(&self) -> Result<Value, Error> {
        value::read(&mut self.0.reader(), self.0.id, 0)
    }

    /// Returns `true` if this is a struct that was declared with a field of exactly this Go name,
    /// be it set or not.
    #[must_use]
    pub fn has_field(&self, go_name: &str) -> bool {
        self.0.types.has_field(self.0.id, go_name)
    }

    /// Returns `true` if this is a `[]byte`.
    #[must_use]
    pub fn is_bytes(&self) -> bool {
        self.0.id == wire::BYTES
    }
}
