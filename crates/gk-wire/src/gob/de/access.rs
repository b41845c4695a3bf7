//! The elements of slices, arrays and maps, and the fields of structs.

use std::rc::Rc;

use serde::de::value::{BorrowedStrDeserializer, StringDeserializer};
use serde::de::{DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess};
use smallvec::SmallVec;

use super::Value;
use crate::gob::reader::Reader;
use crate::gob::wire::{StructType, TypeId};
use crate::gob::{Error, walk};

/// The receiver's field for each of the sender's.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one, on the stack, is what every call takes"
)]
pub(super) enum Plan {
    Own(SmallVec<[Option<&'static str>; 16]>),
    Shared(Rc<[Option<&'static str>]>),
}

impl Plan {
    fn fields(&self) -> &[Option<&'static str>] {
        match self {
            Plan::Own(fields) => fields,
            Plan::Shared(fields) => fields,
        }
    }
}

/// The elements of a slice, an array or a map.
pub(super) struct Elements<'a, 'de> {
    pub(super) reader: &'a mut Reader<'de>,
    pub(super) key: TypeId,
    pub(super) elem: TypeId,
    pub(super) left: usize,
    pub(super) depth: usize,
}

impl<'de> Elements<'_, 'de> {
    fn value(&mut self, id: TypeId) -> Value<'_, 'de> {
        Value {
            reader: &mut *self.reader,
            id,
            depth: self.depth,
        }
    }

    /// Begins the next element with its key, or with its only value.
    fn next<S: DeserializeSeed<'de>>(
        &mut self,
        id: TypeId,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(self.value(id)).map(Some)
    }

    pub(super) fn skip_rest(&mut self) -> Result<(), Error> {
        for _ in 0..std::mem::take(&mut self.left) {
            walk::skip(self.reader, self.elem, self.depth)?;
        }
        Ok(())
    }
}

impl<'de> SeqAccess<'de> for &mut Elements<'_, 'de> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        self.next(self.elem, seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for Elements<'_, 'de> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        self.next(self.key, seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self.value(self.elem))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The fields of a struct: by the receiver's names where it has declared them, else by the
/// sender's.
pub(super) struct Fields<'a, 'de> {
    pub(super) reader: &'a mut Reader<'de>,
    pub(super) user: &'a StructType,
    pub(super) plan: Option<Plan>,
    pub(super) field: i64,
    pub(super) next: usize,
    pub(super) depth: usize,
}

impl Fields<'_, '_> {
    pub(super) fn advance(&mut self) -> Result<Option<usize>, Error> {
        if self.next == usize::MAX {
            return Ok(None);
        }
        match self.reader.next_field(&mut self.field)? {
            None => {
                self.next = usize::MAX;
                Ok(None)
            }
            Some(number) if number < self.user.fields.len() => {
                self.next = number;
                Ok(Some(number))
            }
            Some(_) => Err(Error::FieldOutOfRange),
        }
    }

    fn value_type(&self) -> Result<TypeId, Error> {
        self.user
            .fields
            .get(self.next)
            .map(|(_, id)| *id)
            .ok_or(Error::FieldOutOfRange)
    }

    pub(super) fn skip_value(&mut self) -> Result<(), Error> {
        let id = self.value_type()?;
        walk::skip(self.reader, id, self.depth)
    }
}

impl<'de> MapAccess<'de> for &mut Fields<'_, 'de> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        while let Some(number) = self.advance()? {
            match &self.plan {
                None => {
                    let name: StringDeserializer<Error> = self
                        .user
                        .fields
                        .get(number)
                        .map(|(name, _)| name.clone())
                        .unwrap_or_default()
                        .into_deserializer();
                    return seed.deserialize(name).map(Some);
                }
                Some(plan) => {
                    if let Some(name) = plan.fields().get(number).copied().flatten() {
                        return seed
                            .deserialize(BorrowedStrDeserializer::new(name))
                            .map(Some);
                    }
                    self.skip_value()?;
                }
            }
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let id = self.value_type()?;
        seed.deserialize(Value {
            reader: &mut *self.reader,
            id,
            depth: self.depth,
        })
    }
}
