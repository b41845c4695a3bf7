//! A cursor over one message, and values that are kept as they came.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::wire::{self, Kind, Registry, TypeId, WireType};
use super::{Error, Limits, num};

/// The head of an interface's value: registered name, type, and the value's end.
pub(crate) type InterfaceHead<'de> = (&'de [u8], TypeId, usize);

/// A plan that was made before in the same message: names are matched once, however many values
/// there are.
#[derive(Debug)]
pub(crate) struct KnownPlan {
    pub(super) sender: TypeId,
    pub(super) receiver: *const [&'static str],
    pub(super) fields: Rc<[Option<&'static str>]>,
}

/// A value as it came, with the types it is made of.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) content: Bytes,
    /// Offsets at which further messages of the value begin.
    pub(crate) joins: Vec<usize>,
    pub(crate) id: TypeId,
    pub(crate) types: Registry,
    pub(crate) limits: Limits,
}

impl Part {
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader::new(&self.content, &self.joins, self.types.clone(), self.limits)
    }
}

/// A type, and its id.
type LookedUp = (TypeId, Arc<WireType>);

/// Types that a reader remembers.
const RECENT_TYPES: usize = 8;

/// A part of a message that is less than this fraction of it is copied when it is kept.
const SHARE_FRACTION: usize = 4;

/// The position of a reader.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    at: usize,
    elements_left: usize,
}

/// A cursor over one message, with the means to look up its types and to count its elements.
#[derive(Debug)]
pub(crate) struct Reader<'de> {
    pub(crate) source: &'de Bytes,
    pub(crate) at: usize,
    pub(crate) end: usize,
    pub(crate) types: Registry,
    pub(crate) limits: Limits,
    elements_left: usize,
    /// Offsets in `source` at which further messages of the same value begin.
    joins: &'de [usize],
    /// `true` if definitions inside the value are new; else they are known and passed over.
    pub(super) absorbing: bool,
    /// `true` if the message ended before a struct in it did.
    pub(crate) is_cut: bool,
    /// Types that were looked up last, by the end of their ids: a list has many values of one.
    recent: RefCell<[Option<LookedUp>; RECENT_TYPES]>,
    /// Matches of the message's structs with Rust's.
    pub(crate) plans: Vec<KnownPlan>,
}

impl<'de> Reader<'de> {
    /// Reads a value whose definitions are known.
    pub(crate) fn new(
        source: &'de Bytes,
        joins: &'de [usize],
        types: Registry,
        limits: Limits,
    ) -> Self {
        Reader {
            source,
            at: 0,
            end: source.len(),
            types,
            limits,
            elements_left: limits.max_elements,
            joins,
            absorbing: false,
            is_cut: false,
            recent: RefCell::default(),
            plans: Vec::new(),
        }
    }

    /// Reads a value for the first time: its definitions are kept.
    pub(crate) fn absorbing(
        source: &'de Bytes,
        joins: &'de [usize],
        types: Registry,
        limits: Limits,
    ) -> Self {
        Reader {
            absorbing: true,
            ..Reader::new(source, joins, types, limits)
        }
    }

    /// Goes on where another reader of the same value stopped.
    pub(crate) fn resume(&mut self, place: Place) {
        self.at = place.at;
        self.elements_left = place.elements_left;
    }

    /// The position, for [`Reader::resume`].
    pub(crate) fn place(&self) -> Place {
        Place {
            at: self.at,
            elements_left: self.elements_left,
        }
    }

    /// The type of an id.
    pub(crate) fn kind(&self, id: TypeId) -> Result<Kind, Error> {
        if let Some(kind) = wire::builtin(id) {
            return Ok(kind);
        }
        let mut recent = self.recent.borrow_mut();
        let place = usize::try_from(id).unwrap_or_default() % RECENT_TYPES;
        if let Some(Some((known, user))) = recent.get(place)
            && *known == id
        {
            return Ok(Kind::User(Arc::clone(user)));
        }
        let user = self.types.user(id).ok_or(Error::UnknownType(id))?;
        if let Some(slot) = recent.get_mut(place) {
            *slot = Some((id, Arc::clone(&user)));
        }
        Ok(Kind::User(user))
    }

    /// A value inside of this message. A large one shares the message's bytes.
    pub(crate) fn part(&self, range: std::ops::Range<usize>, id: TypeId) -> Part {
        let after = |at: usize| self.joins.partition_point(|join| *join < at);
        let joins = self.joins.get(after(range.start)..after(range.end));
        let joins = joins.unwrap_or_default().iter();
        let joins = joins.map(|join| join - range.start).collect();
        // A small piece would keep the whole message alive.
        let is_small = range.len() < self.source.len() / SHARE_FRACTION;
        let content = match self.source.get(range.clone()).filter(|_| is_small) {
            Some(small) => Bytes::copy_from_slice(small),
            None => self.source.slice(range),
        };
        Part {
            content,
            joins,
            id,
            types: self.types.clone(),
            limits: self.limits,
        }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.end - self.at
    }

    pub(crate) fn uint(&mut self) -> Result<u64, Error> {
        let data = self.source.get(self.at..self.end).unwrap_or_default();
        let (value, length) = num::take_uint(data)?.ok_or(Error::UnexpectedEnd)?;
        self.at += length;
        Ok(value)
    }

    pub(crate) fn int(&mut self) -> Result<i64, Error> {
        Ok(num::unzigzag(self.uint()?))
    }

    /// A length that the rest of the message can hold.
    pub(super) fn length(&mut self) -> Result<usize, Error> {
        let length = self.uint()?;
        usize::try_from(length)
            .ok()
            .filter(|length| *length <= self.remaining())
            .ok_or(Error::LengthOutOfRange(length))
    }

    pub(crate) fn range(&mut self) -> Result<std::ops::Range<usize>, Error> {
        let length = self.length()?;
        let start = self.at;
        self.at += length;
        Ok(start..self.at)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'de [u8], Error> {
        let range = self.range()?;
        self.source.get(range).ok_or(Error::UnexpectedEnd)
    }

    /// A count of elements: all of a message together stay under the limit, and where the whole
    /// value is there, every element takes at least this many bytes.
    pub(crate) fn count(&mut self, bytes_per_element: usize) -> Result<usize, Error> {
        // Elements may be in messages that are still to come. Nothing is allocated for them by a
        // first walk.
        self.count_of(match self.absorbing {
            true => 0,
            false => bytes_per_element,
        })
    }

    pub(super) fn count_of(&mut self, bytes_per_element: usize) -> Result<usize, Error> {
        let count = self.uint()?;
        let count = usize::try_from(count)
            .ok()
            .filter(|count| {
                count
                    .checked_mul(bytes_per_element)
                    .is_some_and(|bytes| bytes <= self.remaining())
            })
            .ok_or(Error::LengthOutOfRange(count))?;
        self.elements_left = self
            .elements_left
            .checked_sub(count)
            .ok_or(Error::TooManyElements(self.limits.max_elements))?;
        Ok(count)
    }

    /// The number of the next field of a struct after `field` (−1 at its start), if there is one. A
    /// message that ends without the terminator ends its structs too.
    pub(crate) fn next_field(&mut self, field: &mut i64) -> Result<Option<usize>, Error> {
        if self.remaining() == 0 {
            self.is_cut = true;
            return Ok(None);
        }
        let delta = self.uint()?;
        if delta == 0 {
            return Ok(None);
        }
        let next = i64::try_from(delta)
            .ok()
            .and_then(|delta| field.checked_add(delta))
            .ok_or(Error::FieldOutOfRange)?;
        *field = next;
        usize::try_from(next)
            .map(Some)
            .map_err(|_| Error::FieldOutOfRange)
    }

    /// The head of an interface value: `None` for nil, else the registered name of its concrete
    /// type, its id, and where its value ends. The cursor is then at the concrete value.
    pub(crate) fn interface(&mut self) -> Result<Option<InterfaceHead<'de>>, Error> {
        let name = self.bytes()?;
        if name.is_empty() {
            return Ok(None);
        }
        match self.concrete()? {
            Some((id, end)) => Ok(Some((name, id, end))),
            None => Err(Error::UnexpectedEnd),
        }
    }

    /// Reads up to the value of an interface, behind its name: definitions, the concrete type's id,
    /// and the length. `None` if the value goes on in the next message.
    pub(crate) fn concrete(&mut self) -> Result<Option<(TypeId, usize)>, Error> {
        let id = loop {
            let id = self.int()?;
            if id >= 0 {
                break id;
            }
            self.definition(id)?;
            // Go flushes a definition together with what stands before it, so the value goes on in
            // the next message; inside of another interface, a further length stands in between.
            if self.remaining() == 0 {
                return Ok(None);
            }
            if self.joins.binary_search(&self.at).is_err() {
                self.uint()?;
            }
        };
        let length = self.length()?;
        let end = self.at + length;
        self.singleton(id)?;
        Ok(Some((id, end)))
    }

    /// Takes the zero byte that stands before a top-level value which is not a struct.
    pub(crate) fn singleton(&mut self, id: TypeId) -> Result<(), Error> {
        if matches!(self.kind(id)?, Kind::User(user) if matches!(*user, WireType::Struct(_))) {
            return Ok(());
        }
        match self.uint()? {
            0 => Ok(()),
            _ => Err(Error::Mismatch {
                expected: "a top-level value",
                found: "a field number",
            }),
        }
    }

    pub(crate) fn deeper(&self, depth: usize) -> Result<usize, Error> {
        if depth >= self.limits.max_depth {
            Err(Error::TooDeep(self.limits.max_depth))
        } else {
            Ok(depth + 1)
        }
    }
}
