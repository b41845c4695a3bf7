//! Type definitions as they travel: the sender's types, and walking over values by them.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

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

/// What a type id stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WireType {
    Struct(StructType),
    Slice(TypeId),
    Array(TypeId, u64),
    Map(TypeId, TypeId),
    /// A type with its own encoding (`GobEncoder`, `BinaryMarshaler`, `TextMarshaler`): bytes to us.
    Opaque,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StructType {
    pub(crate) name: String,
    pub(crate) fields: Vec<(String, TypeId)>,
}

/// What stands before an interface's value: registered name, type, and where the value ends.
pub(crate) type InterfaceHead<'de> = (&'de [u8], TypeId, usize);

/// The types that one sender has defined so far. Cheap to clone; definitions are rare.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry {
    types: Arc<Vec<(TypeId, Arc<WireType>)>>,
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
                WireType::Opaque => "self-encoded value",
            },
        }
    }
}

impl Registry {
    fn user(&self, id: TypeId) -> Option<&Arc<WireType>> {
        let index = self.types.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.types.get(index).map(|(_, user)| user)
    }

    pub(crate) fn kind(&self, id: TypeId) -> Result<Kind, Error> {
        Ok(match id {
            BOOL => Kind::Bool,
            INT => Kind::Int,
            UINT => Kind::Uint,
            FLOAT => Kind::Float,
            BYTES => Kind::Bytes,
            STRING => Kind::String,
            COMPLEX => Kind::Complex,
            INTERFACE => Kind::Interface,
            _ => Kind::User(Arc::clone(self.user(id).ok_or(Error::UnknownType(id))?)),
        })
    }

    fn define(&mut self, id: TypeId, wire: WireType, limits: &Limits) -> Result<(), Error> {
        if id < FIRST_USER {
            return Err(Error::DuplicateType(id));
        }
        if self.types.len() >= limits.max_types {
            return Err(Error::TooManyTypes(limits.max_types));
        }
        match self.types.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(_) => Err(Error::DuplicateType(id)),
            Err(place) => {
                Arc::make_mut(&mut self.types).insert(place, (id, Arc::new(wire)));
                Ok(())
            }
        }
    }

    /// Whether values of this type can hold an interface, and with it further type definitions.
    pub(crate) fn may_define(&self, id: TypeId) -> bool {
        let mut seen: SmallVec<[TypeId; 16]> = SmallVec::new();
        let mut open: SmallVec<[TypeId; 16]> = SmallVec::from_slice(&[id]);
        while let Some(id) = open.pop() {
            if id == INTERFACE {
                return true;
            }
            if id < FIRST_USER || seen.contains(&id) {
                continue;
            }
            seen.push(id);
            match self.user(id).map(|user| &**user) {
                Some(WireType::Struct(user)) => open.extend(user.fields.iter().map(|(_, id)| *id)),
                Some(WireType::Slice(elem) | WireType::Array(elem, _)) => open.push(*elem),
                Some(WireType::Map(key, elem)) => open.extend([*key, *elem]),
                Some(WireType::Opaque) | None => {}
            }
        }
        false
    }

    /// Whether a struct type has a field of exactly this Go name.
    pub(crate) fn has_field(&self, id: TypeId, go_name: &str) -> bool {
        match self.user(id).map(|user| &**user) {
            Some(WireType::Struct(user)) => user.fields.iter().any(|(name, _)| name == go_name),
            _ => false,
        }
    }
}

/// A plan that was made before in the same message: names are matched once, however many values there are.
#[derive(Debug)]
pub(crate) struct KnownPlan {
    pub(super) sender: TypeId,
    pub(super) receiver: *const [&'static str],
    pub(super) fields: Rc<[Option<&'static str>]>,
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
    /// How structs of this message are matched with Rust's.
    pub(crate) plans: Vec<KnownPlan>,
    /// Set when the value goes on in a message that is not here yet.
    pub(crate) wants_more: bool,
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
            plans: Vec::new(),
            wants_more: false,
        }
    }

    /// Reads a value for the first time.
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

    /// A count of elements: every element takes at least one byte, and all of a message together
    /// stay under the limit.
    pub(crate) fn count(&mut self, bytes_per_element: usize) -> Result<usize, Error> {
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
        let id = loop {
            let id = self.int()?;
            if id >= 0 {
                break id;
            }
            self.definition(id)?;
            // Go flushes a definition together with what stands before it, so the value goes on in the
            // next message; inside of another interface, a further length stands in between.
            if self.remaining() == 0 {
                self.wants_more = true;
                return Err(Error::UnexpectedEnd);
            }
            if !self.joins.contains(&self.at) {
                self.uint()?;
            }
        };
        let length = self.length()?;
        let end = self.at + length;
        self.singleton(id)?;
        Ok(Some((name, id, end)))
    }

    /// Takes the zero byte that stands before a top-level value which is not a struct.
    pub(crate) fn singleton(&mut self, id: TypeId) -> Result<(), Error> {
        if matches!(self.types.kind(id)?, Kind::User(user) if matches!(*user, WireType::Struct(_)))
        {
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
        let wire = self.wire_type().map_err(|error| match error {
            Error::UnexpectedEnd | Error::LengthOutOfRange(_) => {
                Error::BadDefinition("it is cut short")
            }
            other => other,
        })?;
        if self.at - start > MAX_DEFINITION_BYTES {
            return Err(Error::BadDefinition("it is longer than 64 KiB"));
        }
        if !self.absorbing && self.types.user(id).is_some() {
            return Ok(());
        }
        self.types.define(id, wire, &limits)
    }

    fn wire_type(&mut self) -> Result<WireType, Error> {
        let (mut field, mut wire) = (-1, None);
        while let Some(number) = self.next_field(&mut field)? {
            let (mut inner, mut common, mut ids) = (-1, None, [0_i64; 2]);
            let mut fields = Vec::new();
            while let Some(part) = self.next_field(&mut inner)? {
                match (number, part) {
                    (_, 0) => common = Some(self.common_type()?),
                    (2, 1) => fields = self.field_types()?,
                    (0, 1) | (1, 1) | (3, 1) => ids[0] = self.int()?,
                    (0, 2) | (3, 2) => ids[1] = self.int()?,
                    _ => return Err(Error::BadDefinition("unknown part")),
                }
            }
            let next = match number {
                0 => WireType::Array(
                    ids[0],
                    u64::try_from(ids[1]).map_err(|_| Error::BadDefinition("array length"))?,
                ),
                1 => WireType::Slice(ids[0]),
                2 => WireType::Struct(StructType {
                    name: common.unwrap_or_default(),
                    fields,
                }),
                3 => WireType::Map(ids[0], ids[1]),
                4..=6 => WireType::Opaque,
                _ => return Err(Error::BadDefinition("unknown kind of type")),
            };
            wire = Some(next);
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
        let count = self.count(1)?;
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

    /// Walks over a value without making anything of it.
    pub(crate) fn skip(&mut self, id: TypeId, depth: usize) -> Result<(), Error> {
        let depth = self.deeper(depth)?;
        match self.types.kind(id)? {
            Kind::Bool | Kind::Int | Kind::Uint | Kind::Float => _ = self.uint()?,
            Kind::Complex => {
                self.uint()?;
                self.uint()?;
            }
            Kind::Bytes | Kind::String => _ = self.range()?,
            Kind::Interface => {
                if let Some((_, id, end)) = self.interface()? {
                    self.skip(id, depth)?;
                    self.at = self.at.max(end);
                }
            }
            Kind::User(user) => match &*user {
                WireType::Struct(user) => {
                    let mut field = -1;
                    while let Some(number) = self.next_field(&mut field)? {
                        let (_, id) = user.fields.get(number).ok_or(Error::FieldOutOfRange)?;
                        self.skip(*id, depth)?;
                    }
                }
                WireType::Slice(elem) | WireType::Array(elem, _) => {
                    for _ in 0..self.count(1)? {
                        self.skip(*elem, depth)?;
                    }
                }
                WireType::Map(key, elem) => {
                    for _ in 0..self.count(2)? {
                        self.skip(*key, depth)?;
                        self.skip(*elem, depth)?;
                    }
                }
                WireType::Opaque => _ = self.range()?,
            },
        }
        Ok(())
    }

    pub(crate) fn deeper(&self, depth: usize) -> Result<usize, Error> {
        if depth >= self.limits.max_depth {
            Err(Error::TooDeep(self.limits.max_depth))
        } else {
            Ok(depth + 1)
        }
    }
}
