//! From values to messages.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::sink::Sink;
use super::types::{Mark, Out, Types};
use super::{Error, ser, wire};

/// The sending end of one direction of a gob stream: knows which types it has defined already.
#[derive(Debug)]
pub struct Encoder {
    types: Types,
}

impl Default for Encoder {
    fn default() -> Self {
        Encoder::starting_at(wire::FIRST_USER)
    }
}

impl Encoder {
    /// An encoder at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An encoder whose first type gets this id, at least 64, where lower ones are taken by others.
    #[must_use]
    pub fn starting_at(first_id: i64) -> Self {
        Encoder {
            types: Types::starting_at(first_id),
        }
    }

    /// Appends `value`, behind the definitions that its type still needs.
    ///
    /// # Errors
    ///
    /// If gob has no form for `T`, or `T` writes another shape than it reads. Nothing is appended
    /// then.
    pub fn encode<T: Serialize + DeserializeOwned + 'static>(
        &mut self,
        value: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let mut sink = Sink::default();
        self.encode_to(value, &mut sink)?;
        out.reserve(sink.len());
        let out = std::cell::RefCell::new(out);
        sink.for_each(
            |small| out.borrow_mut().extend_from_slice(small),
            |large| out.borrow_mut().extend_from_slice(&large),
        );
        Ok(())
    }

    pub(crate) fn encode_to<T: Serialize + DeserializeOwned + 'static>(
        &mut self,
        value: &T,
        sink: &mut Sink,
    ) -> Result<(), Error> {
        let mut attempt = Attempt {
            written: sink.written.len(),
            spliced: sink.spliced.len(),
            mark: Some(self.types.begin()),
            types: &mut self.types,
            sink,
        };
        let Attempt { types, sink, .. } = &mut attempt;
        sink.framed(|sink| {
            let known = types.of::<T>(sink)?;
            known.put_id(sink);
            ser::write(&known, &mut Out { sink, types }, |writer| {
                value.serialize(writer)
            })
        })?;
        attempt.mark = None;
        Ok(())
    }
}

/// A value that is being encoded. If that fails, or panics, nothing of it remains: neither bytes
/// nor types that the receiver is believed to know.
struct Attempt<'a> {
    types: &'a mut Types,
    sink: &'a mut Sink,
    written: usize,
    spliced: usize,
    /// The types that were known before; `None` once the value is encoded.
    mark: Option<Mark>,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(mark) = self.mark.take() {
            self.sink.written.truncate(self.written);
            self.sink.spliced.truncate(self.spliced);
            self.types.roll_back(mark);
        }
    }
}
