//! `Request{ServiceMethod, Seq}` and `Response{ServiceMethod, Seq, Error}`.

use std::fmt;

use bytes::Bytes;

use crate::gob::wire::{Kind, WireType};
use crate::gob::{self, Message, num, walk};

/// Longest `Service.Method` that is taken, in bytes.
pub const MAX_METHOD_BYTES: usize = 256;

/// The type id under which headers are sent: the first of each stream, as Go's would be.
const HEADER_ID: i64 = 64;

/// The first type id that is left for bodies, whose encoder starts there.
pub const FIRST_BODY_ID: i64 = HEADER_ID + 1;

/// `Service.Method`, shared with the buffer it came in.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceMethod(Bytes);

impl ServiceMethod {
    /// The name as text; empty if it is not UTF-8, which no method's name is.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl From<&str> for ServiceMethod {
    fn from(name: &str) -> Self {
        ServiceMethod(Bytes::copy_from_slice(name.as_bytes()))
    }
}

impl fmt::Debug for ServiceMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for ServiceMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// First value of a request in net/rpc: which method, and which call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// The method that is called.
    pub service_method: ServiceMethod,
    /// Number of the call; 0 for the first of a stream.
    pub seq: u64,
}

/// The header of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHeader {
    /// Number of the call it answers.
    pub seq: u64,
    /// Why the call failed; empty if it did not.
    pub error: String,
}

/// The three fields of both headers, whichever of them the peer's struct has.
struct Fields {
    service_method: Bytes,
    seq: u64,
    error: Bytes,
}

fn fields(message: &Message) -> Result<Fields, gob::Error> {
    let mut reader = message.0.reader();
    let kind = reader.kind(message.0.id)?;
    let Kind::User(user) = &kind else {
        return Err(gob::Error::Mismatch {
            expected: "an RPC header",
            found: kind.describe(),
        });
    };
    let WireType::Struct(user) = &**user else {
        return Err(gob::Error::Mismatch {
            expected: "an RPC header",
            found: kind.describe(),
        });
    };
    let (mut fields, mut shared) = (
        Fields {
            service_method: Bytes::new(),
            seq: 0,
            error: Bytes::new(),
        },
        false,
    );
    for (name, id) in &user.fields {
        shared |= matches!(
            (name.as_str(), *id),
            ("ServiceMethod" | "Error", gob::wire::STRING) | ("Seq", gob::wire::UINT)
        );
    }
    if !shared {
        return Err(gob::Error::NoSharedField {
            sender: user.name.clone(),
            receiver: "RPC header",
        });
    }
    let mut at = -1;
    while let Some(number) = reader.next_field(&mut at)? {
        let (name, id) = user.fields.get(number).ok_or(gob::Error::FieldOutOfRange)?;
        match (name.as_str(), *id) {
            ("Seq", gob::wire::UINT) => fields.seq = reader.uint()?,
            ("ServiceMethod", gob::wire::STRING) => {
                fields.service_method = reader.source.slice(reader.range()?)
            }
            ("Error", gob::wire::STRING) => fields.error = reader.source.slice(reader.range()?),
            _ => walk::skip(&mut reader, *id, 0)?,
        }
    }
    Ok(fields)
}

impl RequestHeader {
    /// Reads a request's header.
    ///
    /// # Errors
    ///
    /// If the message is no such header. The stream cannot be read any further.
    pub fn from_message(message: &Message) -> Result<Self, gob::Error> {
        let fields = fields(message)?;
        if fields.service_method.len() > MAX_METHOD_BYTES {
            return Err(gob::Error::LengthOutOfRange(
                fields.service_method.len() as u64
            ));
        }
        Ok(RequestHeader {
            service_method: ServiceMethod(fields.service_method),
            seq: fields.seq,
        })
    }
}

impl ResponseHeader {
    /// Reads a reply's header.
    ///
    /// # Errors
    ///
    /// If the message is no such header. The stream cannot be read any further.
    pub fn from_message(message: &Message) -> Result<Self, gob::Error> {
        let fields = fields(message)?;
        Ok(ResponseHeader {
            seq: fields.seq,
            error: String::from_utf8_lossy(&fields.error).into_owned(),
        })
    }
}

/// Writes the headers of one direction of a stream; its type is defined ahead of the first.
#[derive(Debug, Default)]
pub struct HeaderEncoder {
    defined: bool,
    sent: bool,
}

/// The definitions of both headers, as Go's encoder writes them at the start of a stream.
const REQUEST_DEFINITION: &[u8] = b"\x2e\x7f\x03\x01\x01\x07Request\x01\xff\x80\x00\x01\x02\x01\x0dServiceMethod\x01\x0c\x00\x01\x03Seq\x01\x06\x00\x00\x00";
const RESPONSE_DEFINITION: &[u8] = b"\x39\x7f\x03\x01\x01\x08Response\x01\xff\x80\x00\x01\x03\x01\x0dServiceMethod\x01\x0c\x00\x01\x03Seq\x01\x06\x00\x01\x05Error\x01\x0c\x00\x00\x00";

/// A header that was encoded. Unless it is [`sent`](Self::sent), the next header is preceded by the
/// type's definition again.
#[derive(Debug)]
pub struct Unsent<'a>(&'a mut HeaderEncoder);

impl Unsent<'_> {
    /// Notes that the header was sent.
    pub fn sent(self) {
        self.0.sent = true;
    }
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        self.0.defined = self.0.sent;
    }
}

impl HeaderEncoder {
    fn define(&mut self, definition: &[u8], out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.defined, true) {
            out.extend_from_slice(definition);
        }
    }

    /// Appends a request's header.
    #[must_use = "without it the definition is sent again"]
    pub fn request(&mut self, service_method: &str, seq: u64, out: &mut Vec<u8>) -> Unsent<'_> {
        self.define(REQUEST_DEFINITION, out);
        value(service_method.as_bytes(), seq, "", out);
        Unsent(self)
    }

    /// Appends a reply's header.
    #[must_use = "without it the definition is sent again"]
    pub fn response(
        &mut self,
        service_method: &ServiceMethod,
        seq: u64,
        error: &str,
        out: &mut Vec<u8>,
    ) -> Unsent<'_> {
        self.define(RESPONSE_DEFINITION, out);
        value(&service_method.0, seq, error, out);
        Unsent(self)
    }
}

fn value(service_method: &[u8], seq: u64, error: &str, out: &mut Vec<u8>) {
    let text = |text: &[u8]| {
        if text.is_empty() {
            0
        } else {
            1 + num::uint_len(text.len() as u64) + text.len()
        }
    };
    let number = if seq == 0 { 0 } else { 1 + num::uint_len(seq) };
    // Type id, fields, terminator.
    let length = 2 + text(service_method) + number + text(error.as_bytes()) + 1;
    num::put_uint(out, length as u64);
    num::put_int(out, HEADER_ID);
    let mut delta = 1;
    let put_text = |text: &[u8], delta: &mut u8, out: &mut Vec<u8>| {
        if text.is_empty() {
            *delta += 1;
        } else {
            out.push(*delta);
            num::put_uint(out, text.len() as u64);
            out.extend_from_slice(text);
            *delta = 1;
        }
    };
    put_text(service_method, &mut delta, out);
    if seq == 0 {
        delta += 1;
    } else {
        out.push(delta);
        num::put_uint(out, seq);
        delta = 1;
    }
    put_text(error.as_bytes(), &mut delta, out);
    out.push(0);
}
