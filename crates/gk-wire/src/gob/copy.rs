//! Writing a received value again, for another receiver. A value's bytes do not depend on the
//! stream but in one place: an interface has the number of its concrete type in it, and each stream
//! has numbers of its own.

use super::reader::Reader;
use super::ser::{self, IsZero};
use super::types::Out;
use super::wire::{Kind, TypeId, WireType};
use super::{Error, num, walk};

/// Writes what stands behind an interface's name: its type and its value, which is at the reader's
/// cursor.
pub(crate) fn interface(
    reader: &mut Reader<'_>,
    id: TypeId,
    out: &mut Out<'_>,
) -> Result<(), Error> {
    let known = out.types.received(&reader.types, id, out.sink)?;
    ser::write_within(&known, out, |writer| {
        let mut from = reader.at;
        let mut out = writer.out;
        value(reader, id, 0, &mut out, &mut from)?;
        raw(reader, &mut out, from)?;
        Ok(IsZero::NO)
    })
}

/// Writes what was walked over since `from`.
fn raw(reader: &Reader<'_>, out: &mut Out<'_>, from: usize) -> Result<(), Error> {
    let bytes = reader.source.get(from..reader.at);
    let bytes = bytes.ok_or(Error::UnexpectedEnd)?;
    out.sink.written.extend_from_slice(bytes);
    Ok(())
}

/// Walks over a value, and writes all of it up to the end of its last interface; `from` is where
/// the rest begins.
fn value(
    reader: &mut Reader<'_>,
    id: TypeId,
    depth: usize,
    out: &mut Out<'_>,
    from: &mut usize,
) -> Result<(), Error> {
    let depth = reader.deeper(depth)?;
    match reader.kind(id)? {
        Kind::Interface => {
            let start = reader.at;
            let Some((name, id, end)) = reader.interface()? else {
                return Ok(());
            };
            let value = reader.at;
            // Up to the interface, and its name.
            reader.at = start;
            raw(reader, out, *from)?;
            num::put_uint(&mut out.sink.written, name.len() as u64);
            out.sink.written.extend_from_slice(name);
            reader.at = value;
            interface(reader, id, out)?;
            reader.at = reader.at.max(end);
            *from = reader.at;
            Ok(())
        }
        Kind::User(user) => match &*user {
            WireType::Struct(user) => {
                let mut field = -1;
                while let Some(number) = reader.next_field(&mut field)? {
                    let (_, id) = user.fields.get(number).ok_or(Error::FieldOutOfRange)?;
                    value(reader, *id, depth, out, from)?;
                }
                Ok(())
            }
            WireType::Slice(elem) | WireType::Array(elem, _) => {
                for _ in 0..reader.count(1)? {
                    value(reader, *elem, depth, out, from)?;
                }
                Ok(())
            }
            WireType::Map(key, elem) => {
                for _ in 0..reader.count(2)? {
                    value(reader, *key, depth, out, from)?;
                    value(reader, *elem, depth, out, from)?;
                }
                Ok(())
            }
            WireType::Marshaled(..) => walk::skip(reader, id, depth - 1),
        },
        // As deep as it was.
        _ => walk::skip(reader, id, depth - 1),
    }
}
