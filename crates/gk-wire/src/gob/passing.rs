//! A side channel between types of this module and gob's serializer or deserializer, for values that
//! serde's data model has no form for. One side leaves a value here, and calls serde with a newtype of
//! a reserved name; the other side collects the value within that call.

use std::cell::RefCell;

use bytes::Bytes;

use super::reader::Part;
use super::wire::Marshaler;

/// The newtype by which a payload is known.
pub(crate) const PAYLOAD: &str = "$gk_wire::gob::Payload";

/// The newtype by which an interface is known.
pub(crate) const INTERFACE: &str = "$gk_wire::gob::Interface";

/// The newtype by which a value that encodes itself is known.
pub(crate) const MARSHALED: &str = "$gk_wire::gob::Marshaled";

/// A value that is handed over.
#[derive(Debug)]
pub(crate) enum Passing {
    /// A payload's bytes, either way.
    Bytes(Bytes),
    /// The content of a received interface, and the name of its type.
    Received(String, Part),
    /// A value that has encoded itself.
    Marshaled { bytes: Vec<u8>, is_zero: bool },
    /// The type of such a value, ahead of decoding one.
    MarshaledType(Marshaler, &'static str),
}

thread_local! {
    static PLACE: RefCell<Option<Passing>> = const { RefCell::new(None) };
}

pub(crate) fn leave(passing: Passing) {
    PLACE.with_borrow_mut(|place| *place = Some(passing));
}

pub(crate) fn collect() -> Option<Passing> {
    PLACE.with_borrow_mut(Option::take)
}
