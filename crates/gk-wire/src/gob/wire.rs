//! Type definitions as they travel: the sender's types, and walking over values by them.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use super::num;
use super::{Error, Limits};

/// A type id: the sender's, process-global there and arbitrary here.
pub(crate) type TypeId = i64;

pub(crate) const BOOL: TypeId = 1;
pub(crate) const INT: TypeId = 2;
pub(crate) const UINT: TypeId = 3;
pub(crate) const FLOAT: TypeId = 4;
pub(crate) const BYTES: TypeId = 5;
pub(crate) const STRING: TypeId = 6;
pub(crate) const COMPLEX: TypeId = 7;
pub(crate) const INTERFACE: TypeId = 8;
/// Longest type definition that is taken, in bytes. Definitions are kept for the life of a stream.
pub const MAX_DEFINITION_BYTES: usize = 64 * 1024;

/// Most fields of one struct definition.
pub const MAX_FIELDS: usize = 1024;

/// Ids below this belong to gob itself.
pub(crate) const FIRST_USER: TypeId = 64;

/// The interface by which a Go type encodes itself. Go takes the first of them that a type has, and refuses a value that
/// was encoded by another one than the receiver's type has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Marshaler {
    /// `gob.GobEncoder` and `GobDecoder`: `time.Time`, `big.Int`, `big.Float`, `big.Rat`.
    Gob,
    /// `encoding.BinaryMarshaler` and `BinaryUnmarshaler`: `url.URL`, `netip.Addr`.
    Binary,
    /// `encoding.TextMarshaler`. Gob has a place for it; Go's encoder does not use it, so types that have only this one
    /// (`net.IP`, `slog.Level`) are sent as what they are made of.
    Text,
}

/// What a type id stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WireType {
    Struct(StructType),
    Slice(TypeId),
    Array(TypeId, u64),
    Map(TypeId, TypeId),
    /// A type that encodes itself: bytes to us.
    Marshaled(Marshaler, String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StructType {
    pub(crate) name: String,
    pub(crate) fields: Vec<(String, TypeId)>,
}

/// What stands before an interface's value: registered name, type, and where the value ends.
pub(crate) type InterfaceHead<'de> = (&'de [u8], TypeId, usize);

/// A type that was defined.
#[derive(Debug)]
struct Defined {
    id: TypeId,
    wire: Arc<WireType>,
    /// What the sender calls a slice, an array or a map. No receiver depends on it; others are told it.
    name: Box<str>,
}

/// The types that one sender has defined, by their ids.
#[derive(Debug, Default)]
struct Table {
    types: Vec<Defined>,
    /// How long the definitions were.
    bytes: usize,
}

/// The types that one sender has defined. Clones share them, those that are still to come included: a definition never
/// changes, so a value that is kept is not hurt by later ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry {
    table: Arc<RwLock<Table>>,
}

/// A type, looked up.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Bool,
    Int,
    Uint,
    Float,
    Bytes,
    String,
    Complex,
    Interface,
    User(Arc<WireType>),
}

impl Kind {
    /// Whether its values are bytes to us: a `[]byte`, or what has encoded itself.
    pub(crate) fn is_bytes(&self) -> bool {
        match self {
            Kind::Bytes => true,
            Kind::User(user) => matches!(**user, WireType::Marshaled(..)),
            _ => false,
        }
    }

    /// The kind in Go's words, for messages.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Kind::Bool => "bool",
            Kind::Int => "int",
            Kind::Uint => "uint",
            Kind::Float => "float",
            Kind::Bytes => "[]byte",
            Kind::String => "string",
            Kind::Complex => "complex",
            Kind::Interface => "interface",
            Kind::User(user) => match &**user {
                WireType::Struct(_) => "struct",
                WireType::Slice(_) => "slice",
                WireType::Array(..) => "array",
                WireType::Map(..) => "map",
                WireType::Marshaled(..) => "self-encoded value",
            },
        }
    }
}

/// References that are followed to find out whether a type holds an interface; beyond, it may.
const REFERENCES_MAX: usize = 10_000;

impl Table {
    fn place(&self, id: TypeId) -> Result<usize, usize> {
        self.types.binary_search_by_key(&id, |defined| defined.id)
    }

    fn get(&self, id: TypeId) -> Option<&Defined> {
        self.place(id).ok().and_then(|place| self.types.get(place))
    }
}

impl Registry {
    fn user(&self, id: TypeId) -> Option<Arc<WireType>> {
        let table = self.table.read();
        table.get(id).map(|defined| Arc::clone(&defined.wire))
    }

    /// What the sender calls a slice, an array or a map.
    pub(crate) fn name(&self, id: TypeId) -> String {
        let table = self.table.read();
        let name = table.get(id).map(|defined| defined.name.to_string());
        name.unwrap_or_default()
    }

    pub(crate) fn kind(&self, id: TypeId) -> Result<Kind, Error> {
        match builtin(id) {
            Some(kind) => Ok(kind),
            None => self.user(id).map(Kind::User).ok_or(Error::UnknownType(id)),
        }
    }

    fn define(
        &self,
        id: TypeId,
        (wire, name): (WireType, String),
        bytes: usize,
        limits: &Limits,
    ) -> Result<(), Error> {
        if id < FIRST_USER {
            return Err(Error::DuplicateType(id));
        }
        let mut table = self.table.write();
        if table.types.len() >= limits.max_types {
            return Err(Error::TooManyTypes(limits.max_types));
        }
        table.bytes = table.bytes.saturating_add(bytes);
        if table.bytes > limits.max_type_bytes {
            return Err(Error::TypesTooLong(limits.max_type_bytes));
        }
        match table.place(id) {
            Ok(_) => Err(Error::DuplicateType(id)),
            Err(place) => {
                let defined = Defined {
                    id,
                    wire: Arc::new(wire),
                    name: name.into(),
                };
                table.types.insert(place, defined);
                Ok(())
            }
        }
    }

    /// Whether values of this type can hold an interface, and with it further type definitions. A type of which a part is
    /// not defined can, and so can one that has too many parts to look at; later definitions do not change the answer.
    pub(crate) fn may_define(&self, id: TypeId) -> bool {
        let table = self.table.read();
        let mut seen = HashSet::new();
        let (mut open, mut left) = (vec![id], REFERENCES_MAX);
        while let Some(id) = open.pop() {
            if id == INTERFACE {
                return true;
            }
            if builtin(id).is_some() || !seen.insert(id) {
                continue;
            }
            let before = open.len();
            match table.get(id).map(|defined| &*defined.wire) {
                Some(WireType::Struct(user)) => open.extend(user.fields.iter().map(|(_, id)| *id)),
                Some(WireType::Slice(elem) | WireType::Array(elem, _)) => open.push(*elem),
                Some(WireType::Map(key, elem)) => open.extend([*key, *elem]),
                Some(WireType::Marshaled(..)) => {}
                None => return true,
            }
            match left.checked_sub(open.len() - before) {
                Some(rest) => left = rest,
                None => return true,
            }
        }
        false
    }

    /// Whether a struct type has a field of exactly this Go name.
    pub(crate) fn has_field(&self, id: TypeId, go_name: &str) -> bool {
        match self.user(id).as_deref() {
            Some(WireType::Struct(user)) => user.fields.iter().any(|(name, _)| name == go_name),
            _ => false,
        }
    }
}

/// What gob's own ids stand for.
fn builtin(id: TypeId) -> Option<Kind> {
    Some(match id {
        BOOL => Kind::Bool,
        INT => Kind::Int,
        UINT => Kind::Uint,
        FLOAT => Kind::Float,
        BYTES => Kind::Bytes,
        STRING => Kind::String,
        COMPLEX => Kind::Complex,
        INTERFACE => Kind::Interface,
        _ => return None,
    })
}

/// A plan that was made before in the same message: names are matched once, however many values there are.
#[derive(Debug)]
pub(crate) struct KnownPlan {
    pub(super) sender: TypeId,
    pub(super) receiver: *const [&'static str],
    pub(super) fields: Rc<[Option<&'static str>]>,
}

/// One value as it came, with the types it is made of.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) content: Bytes,
    /// Where in it a further message of the value begins.
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

/// Where a reader stands.
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
    /// Where in `source` a further message of the same value begins.
    joins: &'de [usize],
    /// Whether definitions inside the value are new; else they are known and passed over.
    absorbing: bool,
    /// Whether the message ended before a struct in it did.
    pub(crate) is_cut: bool,
    /// Types that were looked up last, by the end of their ids: a list has many values of one.
    recent: RefCell<[Option<LookedUp>; RECENT_TYPES]>,
    /// How structs of this message are matched with Rust's.
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

    /// Where it stands, for [`Reader::resume`].
    pub(crate) fn place(&self) -> Place {
        Place {
            at: self.at,
            elements_left: self.elements_left,
        }
    }

    /// What a type id stands for.
    pub(crate) fn kind(&self, id: TypeId) -> Result<Kind, Error> {
        if let Some(kind) = builtin(id) {
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
    fn length(&mut self) -> Result<usize, Error> {
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

    /// A count of elements: all of a message together stay under the limit, and where the whole value is there, every
    /// element takes at least this many bytes.
    pub(crate) fn count(&mut self, bytes_per_element: usize) -> Result<usize, Error> {
        // Elements may be in messages that are still to come. Nothing is allocated for them by a first walk.
        self.count_of(match self.absorbing {
            true => 0,
            false => bytes_per_element,
        })
    }

    fn count_of(&mut self, bytes_per_element: usize) -> Result<usize, Error> {
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

    /// The head of an interface value: `None` for nil, else the registered name of its concrete type,
    /// its id, and where its value ends. The cursor is then at the concrete value.
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

    /// What stands between an interface's name and its value: definitions, then the id of the concrete type and the
    /// length. `None` if the value goes on in the next message.
    pub(crate) fn concrete(&mut self) -> Result<Option<(TypeId, usize)>, Error> {
        let id = loop {
            let id = self.int()?;
            if id >= 0 {
                break id;
            }
            self.definition(id)?;
            // Go flushes a definition together with what stands before it, so the value goes on in the
            // next message; inside of another interface, a further length stands in between.
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

    /// Reads the definition that follows a negative id.
    pub(crate) fn definition(&mut self, negative_id: TypeId) -> Result<(), Error> {
        let id = negative_id
            .checked_neg()
            .ok_or(Error::BadDefinition("type id out of range"))?;
        let (limits, start) = (self.limits, self.at);
        let was_cut = std::mem::take(&mut self.is_cut);
        let wire = self.wire_type().map_err(|error| match error {
            Error::UnexpectedEnd | Error::LengthOutOfRange(_) => {
                Error::BadDefinition("it is cut short")
            }
            other => other,
        })?;
        if std::mem::replace(&mut self.is_cut, was_cut) {
            return Err(Error::BadDefinition("it is cut short"));
        }
        if self.at - start > MAX_DEFINITION_BYTES {
            return Err(Error::BadDefinition("it is longer than 64 KiB"));
        }
        if !self.absorbing && self.types.user(id).is_some() {
            return Ok(());
        }
        self.types.define(id, wire, self.at - start, &limits)
    }

    /// A type, and its name if that is not part of it.
    fn wire_type(&mut self) -> Result<(WireType, String), Error> {
        let (mut field, mut wire) = (-1, None);
        while let Some(number) = self.next_field(&mut field)? {
            let (mut inner, mut name, mut ids) = (-1, String::new(), [0_i64; 2]);
            let mut fields = Vec::new();
            while let Some(part) = self.next_field(&mut inner)? {
                match (number, part) {
                    (_, 0) => name = self.common_type()?,
                    (2, 1) => fields = self.field_types()?,
                    (0, 1) | (1, 1) | (3, 1) => ids[0] = self.int()?,
                    (0, 2) | (3, 2) => ids[1] = self.int()?,
                    _ => return Err(Error::BadDefinition("unknown part")),
                }
            }
            let marshaled = |marshaler, name| (WireType::Marshaled(marshaler, name), String::new());
            wire = Some(match number {
                0 => {
                    let length = u64::try_from(ids[1]);
                    let length = length.map_err(|_| Error::BadDefinition("array length"))?;
                    (WireType::Array(ids[0], length), name)
                }
                1 => (WireType::Slice(ids[0]), name),
                2 => (WireType::Struct(StructType { name, fields }), String::new()),
                3 => (WireType::Map(ids[0], ids[1]), name),
                4 => marshaled(Marshaler::Gob, name),
                5 => marshaled(Marshaler::Binary, name),
                6 => marshaled(Marshaler::Text, name),
                _ => return Err(Error::BadDefinition("unknown kind of type")),
            });
        }
        wire.ok_or(Error::BadDefinition("it defines nothing"))
    }

    /// `CommonType`: the name; the id in it only repeats the definition's own.
    fn common_type(&mut self) -> Result<String, Error> {
        let (mut field, mut name) = (-1, String::new());
        while let Some(number) = self.next_field(&mut field)? {
            match number {
                0 => name = String::from_utf8_lossy(self.bytes()?).into_owned(),
                1 => _ = self.int()?,
                _ => return Err(Error::BadDefinition("unknown part of CommonType")),
            }
        }
        Ok(name)
    }

    fn field_types(&mut self) -> Result<Vec<(String, TypeId)>, Error> {
        // A definition is in one message.
        let count = self.count_of(1)?;
        if count > MAX_FIELDS {
            return Err(Error::BadDefinition("it has more than 1024 fields"));
        }
        let mut fields = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            let (mut field, mut name, mut id) = (-1, String::new(), 0);
            while let Some(number) = self.next_field(&mut field)? {
                match number {
                    0 => name = String::from_utf8_lossy(self.bytes()?).into_owned(),
                    1 => id = self.int()?,
                    _ => return Err(Error::BadDefinition("unknown part of a field")),
                }
            }
            fields.push((name, id));
        }
        Ok(fields)
    }

    pub(crate) fn deeper(&self, depth: usize) -> Result<usize, Error> {
        if depth >= self.limits.max_depth {
            Err(Error::TooDeep(self.limits.max_depth))
        } else {
            Ok(depth + 1)
        }
    }
}
