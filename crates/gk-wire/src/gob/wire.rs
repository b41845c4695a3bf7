//! The types of one sender, by the ids that they have on the wire.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::RwLock;

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

/// Ids below this belong to gob itself.
pub(crate) const FIRST_USER: TypeId = 64;

/// The interface by which a Go type encodes itself. Go takes the first of them that a type has, and
/// refuses a value that was encoded by another one than the receiver's type has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Marshaler {
    /// `gob.GobEncoder` and `GobDecoder`: `time.Time`, `big.Int`, `big.Float`, `big.Rat`.
    Gob,
    /// `encoding.BinaryMarshaler` and `BinaryUnmarshaler`: `url.URL`, `netip.Addr`.
    Binary,
    /// `encoding.TextMarshaler`. Gob has a place for it; Go's encoder does not use it, so types
    /// that have only this one (`net.IP`, `slog.Level`) are sent as what they are made of.
    Text,
}

/// A type that a sender has defined.
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

/// A type that was defined.
#[derive(Debug)]
struct Defined {
    id: TypeId,
    wire: Arc<WireType>,
    /// The sender's name of a slice, an array or a map. No receiver depends on it, but values that
    /// are sent on keep it.
    name: Box<str>,
}

/// The types that one sender has defined, by their ids.
#[derive(Debug, Default)]
struct Table {
    types: Vec<Defined>,
    /// Length of all definitions, in bytes.
    bytes: usize,
}

/// The types that one sender has defined. Clones share them, those that are still to come included:
/// a definition never changes, so a value that is kept is not hurt by later ones.
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
    /// Returns `true` if its values are bytes to us: a `[]byte`, or what has encoded itself.
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
    pub(super) fn user(&self, id: TypeId) -> Option<Arc<WireType>> {
        let table = self.table.read();
        table.get(id).map(|defined| Arc::clone(&defined.wire))
    }

    /// The sender's name of a slice, an array or a map.
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

    pub(super) fn define(
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

    /// Returns `true` if values of this type can hold an interface, and with it further type
    /// definitions. A type of which a part is not defined can, and so can one that has too many
    /// parts to look at; later definitions do not change the answer.
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

    /// Returns `true` if a struct type has a field of exactly this Go name.
    pub(crate) fn has_field(&self, id: TypeId, go_name: &str) -> bool {
        match self.user(id).as_deref() {
            Some(WireType::Struct(user)) => user.fields.iter().any(|(name, _)| name == go_name),
            _ => false,
        }
    }
}

/// The type of an id that is gob's own.
pub(super) fn builtin(id: TypeId) -> Option<Kind> {
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
