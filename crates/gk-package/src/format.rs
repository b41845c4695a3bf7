//! The records of a ZIP file, as APPNOTE.TXT 6.3.10 has them (sections 4.3.7, 4.3.12, 4.3.16).
//! Numbers are little-endian.

pub(crate) const LOCAL: u32 = 0x0403_4b50;
pub(crate) const CENTRAL: u32 = 0x0201_4b50;
pub(crate) const END: u32 = 0x0605_4b50;
pub(crate) const DESCRIPTOR: u32 = 0x0807_4b50;
/// The signature of ZIP64's locator, 20 bytes before the end record.
pub(crate) const LOCATOR_64: u32 = 0x0706_4b50;

pub(crate) const LOCAL_BYTES: usize = 30;
pub(crate) const CENTRAL_BYTES: usize = 46;
pub(crate) const END_BYTES: usize = 22;

pub(crate) const STORED: u16 = 0;
pub(crate) const DEFLATED: u16 = 8;

/// Encrypted, in one of three ways.
pub(crate) const FLAGS_ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
/// Sizes and checksum come after the data.
pub(crate) const FLAG_DESCRIPTOR: u16 = 1 << 3;
/// The name is UTF-8.
pub(crate) const FLAG_UTF8: u16 = 1 << 11;
/// The flags above, and the two that tell the effort of the compressor.
pub(crate) const FLAGS_KNOWN: u16 = FLAG_DESCRIPTOR | FLAG_UTF8 | 1 << 1 | 1 << 2;

/// The upper byte of "version made by": Unix, and with it modes in the external attributes.
pub(crate) const UNIX: u16 = 3;
/// The same of macOS.
pub(crate) const MACOS: u16 = 19;
/// Version 2.0 of the format: directories and deflate.
const VERSION: u16 = 20;
/// 1980-01-01 00:00, the first moment that the format can say.
const TIME: u16 = 0;
const DATE: u16 = 1 << 5 | 1;

/// Fields that both headers of an entry have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) flags: u16,
    pub(crate) method: u16,
    pub(crate) crc: u32,
    pub(crate) compressed: u32,
    pub(crate) size: u32,
}

/// The number at this place; the caller has checked that it is there.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..at + 2)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u16::from_le_bytes)
}

/// As [`u16_at`].
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

impl Facts {
    /// Reads the 20 bytes that both headers have: flags, method, time, date, checksum, sizes.
    pub(crate) fn read(bytes: &[u8], at: usize) -> Self {
        Facts {
            flags: u16_at(bytes, at),
            method: u16_at(bytes, at + 2),
            crc: u32_at(bytes, at + 8),
            compressed: u32_at(bytes, at + 12),
            size: u32_at(bytes, at + 16),
        }
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        for number in [VERSION, self.flags, self.method, TIME, DATE] {
            bytes.extend(number.to_le_bytes());
        }
        for number in [self.crc, self.compressed, self.size] {
            bytes.extend(number.to_le_bytes());
        }
    }
}

/// A local header. Paths are checked and so have at most 512 bytes.
pub(crate) fn local(path: &str, facts: &Facts) -> Vec<u8> {
    let mut bytes = LOCAL.to_le_bytes().to_vec();
    facts.write(&mut bytes);
    bytes.extend(length(path));
    bytes.extend([0; 2]);
    bytes.extend(path.as_bytes());
    bytes
}

/// A record of the central directory.
pub(crate) fn central(path: &str, facts: &Facts, executable: bool, offset: u32) -> Vec<u8> {
    let mut bytes = CENTRAL.to_le_bytes().to_vec();
    bytes.extend((UNIX << 8 | VERSION).to_le_bytes());
    facts.write(&mut bytes);
    bytes.extend(length(path));
    // Extra fields, comment, disk, internal attributes: none.
    bytes.extend([0; 8]);
    let mode: u32 = if executable { 0o100_755 } else { 0o100_644 };
    bytes.extend((mode << 16).to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes.extend(path.as_bytes());
    bytes
}

/// The end record.
pub(crate) fn end(entries: u16, size: u32, offset: u32) -> Vec<u8> {
    let mut bytes = END.to_le_bytes().to_vec();
    bytes.extend([0; 4]);
    bytes.extend(entries.to_le_bytes());
    bytes.extend(entries.to_le_bytes());
    bytes.extend(size.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes.extend([0; 2]);
    bytes
}

fn length(path: &str) -> [u8; 2] {
    u16::try_from(path.len()).unwrap_or(u16::MAX).to_le_bytes()
}
