//! Type definitions as they travel.

use super::Error;
use super::reader::Reader;
use super::wire::{Marshaler, StructType, TypeId, WireType};

/// Longest type definition that is taken, in bytes. Definitions are kept for the life of a stream.
pub const MAX_DEFINITION_BYTES: usize = 64 * 1024;

/// Most fields of one struct definition.
pub const MAX_FIELDS: usize = 1024;

impl Reader<'_> {
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
}
