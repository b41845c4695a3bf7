//! The form of a file on disk: its metadata, then its data.
//!
//! Both in one file, so that they are written together and no key can collide with another's
//! metadata (row 72 of the contract).

use std::collections::BTreeMap;

use bytes::Bytes;
use gk_hostapi::HostError;

/// Most entries of a file's metadata.
pub const METADATA_ENTRIES_MAX: usize = 32;
/// Most bytes of a file's metadata, names and values together.
pub const METADATA_BYTES_MAX: usize = 8 * 1024;

/// The first bytes of every file. The number is the format's version.
const MAGIC: &[u8; 8] = b"GKFILE1\n";
/// Bytes before the metadata: the magic bytes, and the metadata's length.
const FIXED_BYTES: usize = MAGIC.len() + 4;
/// Longest metadata on disk: JSON writes a control character as six.
const ENCODED_METADATA_BYTES_MAX: usize = 6 * METADATA_BYTES_MAX + 8 * METADATA_ENTRIES_MAX + 64;
/// Most bytes on disk besides the data.
pub(super) const HEADER_BYTES_MAX: usize = FIXED_BYTES + ENCODED_METADATA_BYTES_MAX;

/// The header: all bytes before the data.
pub(super) fn header(metadata: &BTreeMap<String, String>) -> Result<Vec<u8>, HostError> {
    let bytes: usize = metadata
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if metadata.len() > METADATA_ENTRIES_MAX || bytes > METADATA_BYTES_MAX {
        return Err(HostError::limit(format!(
            "a file's metadata has at most {METADATA_ENTRIES_MAX} entries of \
             {METADATA_BYTES_MAX} bytes in all, not {} of {bytes}",
            metadata.len()
        )));
    }
    let json = serde_json::to_vec(metadata)
        .map_err(|_| HostError::invalid("the metadata cannot be written"))?;
    let length =
        u32::try_from(json.len()).map_err(|_| HostError::limit("the metadata is too long"))?;
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&length.to_be_bytes());
    header.extend_from_slice(&json);
    Ok(header)
}

/// How many bytes of the file stand before the data, by its first bytes.
pub(super) fn header_bytes(start: &[u8]) -> Option<usize> {
    let rest = start.strip_prefix(MAGIC)?;
    let length = u32::from_be_bytes(rest.first_chunk().copied()?);
    let length = usize::try_from(length).ok()?;
    (length <= ENCODED_METADATA_BYTES_MAX).then_some(FIXED_BYTES + length)
}

/// The metadata, from the bytes before the data.
pub(super) fn metadata(header: &[u8]) -> Option<BTreeMap<String, String>> {
    serde_json::from_slice(header.get(FIXED_BYTES..)?).ok()
}

/// Metadata and data of a whole file.
pub(super) fn parse(file: Vec<u8>) -> Option<(BTreeMap<String, String>, Bytes)> {
    let header = header_bytes(&file)?;
    let metadata = metadata(file.get(..header)?)?;
    Some((metadata, Bytes::from(file).slice(header..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(entries: &[(&str, String)]) -> BTreeMap<String, String> {
        entries
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect()
    }

    #[test]
    fn what_is_written_is_read() {
        for (metadata, data) in [
            (entries(&[]), &b""[..]),
            (
                entries(&[
                    ("content-type", "text/plain".to_owned()),
                    ("ü", "\0".to_owned()),
                ]),
                b"data",
            ),
            // Every byte of it escaped.
            (
                entries(&[("x", "\u{1}".repeat(METADATA_BYTES_MAX - 1))]),
                &[0, 255],
            ),
        ] {
            let mut file = header(&metadata).unwrap();
            assert!(file.len() <= HEADER_BYTES_MAX);
            file.extend_from_slice(data);
            let (read, rest) = parse(file).unwrap();
            assert_eq!((read, &*rest), (metadata, data));
        }
    }

    #[test]
    fn the_limits_hold_at_the_limit() {
        assert!(header(&entries(&[("x", "y".repeat(METADATA_BYTES_MAX))])).is_err());
        let many = |n: usize| (0..n).map(|n| (n.to_string(), String::new())).collect();
        assert!(header(&many(METADATA_ENTRIES_MAX)).is_ok());
        assert!(header(&many(METADATA_ENTRIES_MAX + 1)).is_err());
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let mut file = header(&entries(&[("a", "b".to_owned())])).unwrap();
        assert!(parse(file.clone()).is_some());
        for length in 0..file.len() {
            assert!(parse(file[..length].to_vec()).is_none(), "{length}");
        }
        file[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(parse(file).is_none());
    }
}
