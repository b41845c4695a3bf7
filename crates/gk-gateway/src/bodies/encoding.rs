//! Decoding of `Content-Encoding` in requests, within limits: a few bytes may expand to very many.

use std::io::Read;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use bytes::Bytes;
use gk_runtime::MemoryBudget;

use super::{Full, Growing};
use crate::problem::Problem;

/// Supported encodings, as `Accept-Encoding` of an answer names them.
const KNOWN: &str = "gzip, br, zstd";

/// Maximum window of zstd as a power of two: RFC 9659 lets a client of HTTP use 8 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Size of the pieces that are decompressed at a time, in bytes.
const PIECE_BYTES: usize = 32 * 1024;

/// Compression of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Gzip,
    Brotli,
    Zstd,
}

impl Encoding {
    /// Returns the encoding that a request's headers name; `None` without one.
    ///
    /// # Errors
    /// 415 for an unknown encoding, and for several.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut found = None;
        for value in headers.get_all(header::CONTENT_ENCODING) {
            for name in value.to_str().unwrap_or("?").split(',') {
                let name = name.trim();
                let encoding = match &*name.to_ascii_lowercase() {
                    "" | "identity" => continue,
                    "gzip" | "x-gzip" => Encoding::Gzip,
                    "br" => Encoding::Brotli,
                    "zstd" => Encoding::Zstd,
                    _ => return Err(unsupported("is not known")),
                };
                if found.replace(encoding).is_some() {
                    return Err(unsupported("names more than one encoding"));
                }
            }
        }
        Ok(found)
    }

    /// Memory of the decoder itself, in bytes.
    fn window_bytes(self) -> usize {
        match self {
            Encoding::Gzip => 64 * 1024,
            // The window of brotli is 16 MiB at most.
            Encoding::Brotli => 17 << 20,
            Encoding::Zstd => (1 << ZSTD_WINDOW_LOG_MAX) + (1 << 20),
        }
    }

    /// Decompresses a body.
    pub(super) fn decode(
        self,
        body: &[u8],
        limit: usize,
        memory: &MemoryBudget,
    ) -> Result<Bytes, Problem> {
        let full = |full: Full| full.problem(limit);
        let budget = |_| full(Full::Budget);
        let _window = memory.reserve(self.window_bytes()).map_err(budget)?;
        let mut reader: Box<dyn Read + '_> = match self {
            Encoding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(body)),
            Encoding::Brotli => Box::new(brotli_decompressor::Decompressor::new(body, PIECE_BYTES)),
            Encoding::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(body);
                let mut decoder = decoder.map_err(|error| self.wrong(&error))?;
                decoder
                    .window_log_max(ZSTD_WINDOW_LOG_MAX)
                    .map_err(|error| self.wrong(&error))?;
                Box::new(decoder)
            }
        };
        let mut decoded = Growing::new(memory, limit).map_err(full)?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = reader
                .read(&mut piece)
                .map_err(|error| self.wrong(&error))?;
            if read == 0 {
                return Ok(decoded.freeze());
            }
            decoded
                .push(piece.get(..read).unwrap_or_default())
                .map_err(full)?;
        }
    }

    fn wrong(self, error: &std::io::Error) -> Problem {
        let name = match self {
            Encoding::Gzip => "gzip",
            Encoding::Brotli => "br",
            Encoding::Zstd => "zstd",
        };
        Problem::bad_request(format!("the body is not valid {name}: {error}"))
    }
}

fn unsupported(why: &str) -> Problem {
    let text = format!("Content-Encoding {why}; {KNOWN} and none are taken, one at a time");
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text)
        .with_header(header::ACCEPT_ENCODING, HeaderValue::from_static(KNOWN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(data: &[u8], window_log: u32) -> Vec<u8> {
        let mut encoder = ::zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(window_log).unwrap();
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    /// Returns an uncompressed brotli stream of these bytes (RFC 7932, 9.2): a window of 16 bits,
    /// one block of 16 bits of length, an empty last one.
    fn brotli(data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(data.len() - 1).unwrap();
        assert!(length < 1 << 16);
        // From the lowest bit: window 0; not the last; four nibbles; the length; uncompressed.
        let head = (length << 4) | (1 << 20);
        let mut body = head.to_le_bytes()[..3].to_vec();
        body.extend_from_slice(data);
        body.push(0b11);
        body
    }

    fn decode(encoding: Encoding, body: &[u8], limit: usize) -> Result<Bytes, StatusCode> {
        let memory = MemoryBudget::new(256 << 20);
        let decoded = encoding.decode(body, limit, &memory);
        decoded.map_err(|problem| problem.status)
    }

    #[test]
    fn what_was_compressed_comes_back_up_to_the_limit() {
        let zeros = vec![0; 1 << 20];
        for (encoding, body) in [
            (Encoding::Gzip, gzip(&zeros)),
            (Encoding::Zstd, zstd(&zeros, 20)),
        ] {
            assert!(body.len() < 4096);
            assert_eq!(decode(encoding, &body, 1 << 20).unwrap(), zeros);
            let bomb = decode(encoding, &body, (1 << 20) - 1);
            assert_eq!(bomb, Err(StatusCode::PAYLOAD_TOO_LARGE));
            let cut = decode(encoding, &body[..body.len() / 2], 1 << 20);
            assert_eq!(cut, Err(StatusCode::BAD_REQUEST), "{encoding:?}");
            let none = decode(encoding, b"hello", 1 << 20);
            assert_eq!(none, Err(StatusCode::BAD_REQUEST), "{encoding:?}");
        }
    }

    #[test]
    fn brotli_is_known() {
        let data: Vec<u8> = (0..60_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let body = brotli(&data);
        assert_eq!(decode(Encoding::Brotli, &body, 60_000).unwrap(), data);
        let over = decode(Encoding::Brotli, &body, 59_999);
        assert_eq!(over, Err(StatusCode::PAYLOAD_TOO_LARGE));
        let cut = decode(Encoding::Brotli, &body[..100], 60_000);
        assert_eq!(cut, Err(StatusCode::BAD_REQUEST));
        // A window of 2^30 bytes, which only an extension has.
        let large = decode(Encoding::Brotli, &[0x11, 0x1e, 0x03], 60_000);
        assert_eq!(large, Err(StatusCode::BAD_REQUEST));
    }

    #[test]
    fn a_window_that_is_too_large_is_not_allocated() {
        let body = zstd(b"hello", 27);
        // A short frame says its length and needs no window; one of unknown length does.
        let mut encoder = ::zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.write_all(&vec![7; 1 << 20]).unwrap();
        let unknown = encoder.finish().unwrap();
        assert!(decode(Encoding::Zstd, &unknown, 4 << 20).is_err());
        let _ = decode(Encoding::Zstd, &body, 4 << 20);
        let small = MemoryBudget::new(1 << 20);
        let refused = Encoding::Brotli.decode(&brotli(b"hello"), 100, &small);
        assert_eq!(refused.unwrap_err().status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(small.used(), 0);
    }

    #[test]
    fn encodings_are_known_or_refused() {
        let of = |values: &[&'static str]| {
            let headers = values
                .iter()
                .map(|value| (header::CONTENT_ENCODING, HeaderValue::from_static(value)));
            Encoding::of(&headers.collect()).map_err(|problem| problem.status)
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["identity"]), Ok(None));
        assert_eq!(of(&["GZIP"]), Ok(Some(Encoding::Gzip)));
        assert_eq!(of(&["br"]), Ok(Some(Encoding::Brotli)));
        assert_eq!(of(&["zstd"]), Ok(Some(Encoding::Zstd)));
        let unknown = Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        for values in [&["deflate"][..], &["gzip, gzip"], &["gzip", "br"], &["x"]] {
            assert_eq!(of(values), unknown, "{values:?}");
        }
    }
}
