//! The judgement on a ZIP file: end record, central directory, local headers, and where they lie.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::{Entry, OpenError, Problem};
use crate::format::{
    CENTRAL, CENTRAL_BYTES, DEFLATED, DESCRIPTOR, END, END_BYTES, FLAG_DESCRIPTOR, FLAG_UTF8,
    FLAGS_ENCRYPTED, FLAGS_KNOWN, Facts, LOCAL, LOCAL_BYTES, LOCATOR_64, MACOS, STORED, UNIX,
    u16_at, u32_at,
};
use crate::limits::{ARCHIVE_BYTES_MAX, CENTRAL_DIRECTORY_BYTES_MAX, DIRECTORIES_MAX, FILES_MAX};
use crate::path::{Content, ContentError};

/// The most that deflate makes of one byte.
const DEFLATE_RATIO_MAX: u64 = 1032;
const MODE_TYPE: u32 = 0o170_000;
const MODE_FILE: u32 = 0o100_000;
const MODE_DIRECTORY: u32 = 0o040_000;

/// Extra fields that would change what an entry is: ZIP64's sizes, another name in UTF-8,
/// encryption.
const EXTRA_REFUSED: [u16; 3] = [0x0001, 0x7075, 0x9901];

/// A record of the central directory.
struct Record {
    entry: Entry,
    directory: bool,
    offset: u64,
    /// The name as it is written: a directory's ends with a slash.
    name: Vec<u8>,
}

/// Reads the records of an archive.
pub(super) struct Reader<'a> {
    pub(super) file: &'a File,
    pub(super) path: &'a Path,
}

impl Reader<'_> {
    fn refuse(&self, entry: Option<&[u8]>, problem: Problem) -> OpenError {
        OpenError::Refused {
            archive: self.path.to_owned(),
            entry: entry.map(|name| String::from_utf8_lossy(name).into_owned()),
            problem,
        }
    }

    fn read_at(&self, at: u64, length: usize) -> Result<Vec<u8>, OpenError> {
        let mut bytes = vec![0; length];
        let read = self.file.read_exact_at(&mut bytes, at);
        match read {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.refuse(None, Problem::Damaged("a record is cut off")))
            }
            Err(source) => Err(OpenError::Read {
                archive: self.path.to_owned(),
                source,
            }),
        }
    }

    /// Files and directories of an archive of this length, if it may be unpacked.
    pub(super) fn judge(&self, length: u64) -> Result<(Vec<Entry>, Vec<String>), OpenError> {
        let whole = |problem| self.refuse(None, problem);
        if length > ARCHIVE_BYTES_MAX {
            return Err(whole(Problem::TooLarge));
        }
        let end_at = length
            .checked_sub(END_BYTES as u64)
            .ok_or_else(|| whole(Problem::NoEnd))?;
        let end = self.read_at(end_at, END_BYTES)?;
        if u32_at(&end, 0) != END || u16_at(&end, 20) != 0 {
            return Err(whole(Problem::NoEnd));
        }
        let count = usize::from(u16_at(&end, 10));
        let size = u64::from(u32_at(&end, 12));
        let offset = u64::from(u32_at(&end, 16));
        if count == usize::from(u16::MAX) || [size, offset].contains(&u64::from(u32::MAX)) {
            return Err(whole(Problem::Zip64));
        }
        if let Some(at) = end_at.checked_sub(20)
            && u32_at(&self.read_at(at, 4)?, 0) == LOCATOR_64
        {
            return Err(whole(Problem::Zip64));
        }
        if u32_at(&end, 4) != 0 || u16_at(&end, 8) != u16_at(&end, 10) {
            return Err(whole(Problem::Damaged("it is part of several files")));
        }
        if offset + size != end_at || size > CENTRAL_DIRECTORY_BYTES_MAX {
            return Err(whole(Problem::Damaged(
                "its directory is not where it says",
            )));
        }
        if count > FILES_MAX + DIRECTORIES_MAX {
            return Err(whole(ContentError::TooManyFiles.into()));
        }
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        let bytes = self.read_at(offset, length)?;
        let mut records = self.records(&bytes, count)?;
        let mut content = Content::default();
        for record in &records {
            let entry = &record.entry;
            let admitted = match record.directory {
                true => content.directory(&entry.path),
                false => content.file(&entry.path, entry.size()),
            };
            admitted.map_err(|error| whole(error.into()))?;
        }
        content.finish().map_err(|error| whole(error.into()))?;
        self.places(&mut records, offset)?;
        let (directories, mut files): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|record| record.directory);
        files.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
        let mut directories: Vec<_> = directories.into_iter().map(|it| it.entry.path).collect();
        directories.sort();
        if directories
            .windows(2)
            .any(|pair| pair.first() == pair.last())
        {
            return Err(whole(Problem::Damaged("a directory is listed twice")));
        }
        Ok((files.into_iter().map(|it| it.entry).collect(), directories))
    }

    /// The records of the central directory, each judged for itself.
    fn records(&self, bytes: &[u8], count: usize) -> Result<Vec<Record>, OpenError> {
        let cut = || self.refuse(None, Problem::Damaged("its directory is cut off"));
        let mut records = Vec::with_capacity(count);
        let mut rest = bytes;
        for _ in 0..count {
            let head = rest.get(..CENTRAL_BYTES).ok_or_else(cut)?;
            if u32_at(head, 0) != CENTRAL {
                return Err(cut());
            }
            let lengths = [28, 30, 32].map(|at| usize::from(u16_at(head, at)));
            let [name_length, extra_length, comment_length] = lengths;
            let name_end = CENTRAL_BYTES + name_length;
            let extra_end = name_end + extra_length;
            let name = rest.get(CENTRAL_BYTES..name_end).ok_or_else(cut)?;
            let extra = rest.get(name_end..extra_end).ok_or_else(cut)?;
            let next = rest.get(extra_end + comment_length..).ok_or_else(cut)?;
            records.push(
                self.record(head, name, extra)
                    .map_err(|problem| self.refuse(Some(name), problem))?,
            );
            rest = next;
        }
        match rest.is_empty() {
            true => Ok(records),
            false => Err(self.refuse(None, Problem::Damaged("its directory has more entries"))),
        }
    }

    fn record(&self, head: &[u8], name: &[u8], extra: &[u8]) -> Result<Record, Problem> {
        let facts = Facts::read(head, 8);
        let offset = u32_at(head, 42);
        if facts.flags & FLAGS_ENCRYPTED != 0 {
            return Err(Problem::Encrypted);
        }
        if facts.flags & !FLAGS_KNOWN != 0 {
            return Err(Problem::Feature);
        }
        if [facts.compressed, facts.size, offset].contains(&u32::MAX) {
            return Err(Problem::Zip64);
        }
        if u16_at(head, 34) != 0 {
            return Err(Problem::Damaged("it is part of several files"));
        }
        extra_fields(extra)?;
        let text = std::str::from_utf8(name).map_err(|_| Problem::Name)?;
        if !text.is_ascii() && facts.flags & FLAG_UTF8 == 0 {
            return Err(Problem::Name);
        }
        let mode = u32_at(head, 38) >> 16;
        let (path, directory) = match text.strip_suffix('/') {
            Some(path) => (path, true),
            None => (text, false),
        };
        match mode & MODE_TYPE {
            0 => {}
            MODE_FILE if !directory => {}
            MODE_DIRECTORY if directory => {}
            0o120_000 => return Err(Problem::Link),
            _ => return Err(Problem::Special),
        }
        // The MS-DOS bit for directories.
        if !directory && u32_at(head, 38) & 0x10 != 0 {
            return Err(Problem::Special);
        }
        if facts.method != STORED && facts.method != DEFLATED {
            return Err(Problem::Method(facts.method));
        }
        let (compressed, size) = (u64::from(facts.compressed), u64::from(facts.size));
        let possible = match facts.method {
            STORED => compressed == size,
            _ => size <= compressed * DEFLATE_RATIO_MAX,
        };
        if !possible || (directory && (size != 0 || facts.method != STORED)) {
            return Err(Problem::Ratio);
        }
        let unix = matches!(u16_at(head, 4) >> 8, UNIX | MACOS);
        Ok(Record {
            entry: Entry {
                path: path.to_owned(),
                executable: unix && mode & 0o111 != 0,
                facts,
                data: 0,
            },
            directory,
            offset: u64::from(offset),
            name: name.to_owned(),
        })
    }

    /// Holds each local header against its record, and the entries against each other: they lie
    /// side by side from the file's first byte to the central directory.
    fn places(&self, records: &mut [Record], directory: u64) -> Result<(), OpenError> {
        records.sort_by_key(|record| record.offset);
        let mut end = 0;
        for record in records {
            let name = record.name.clone();
            let refuse = |problem| self.refuse(Some(&name), problem);
            if record.offset < end {
                return Err(refuse(Problem::Overlap));
            }
            if record.offset > end {
                return Err(refuse(Problem::Gap));
            }
            let head = self.read_at(record.offset, LOCAL_BYTES)?;
            let lengths = [26, 28].map(|at| u16_at(&head, at));
            let names = self.read_at(
                record.offset + LOCAL_BYTES as u64,
                usize::from(lengths[0]) + usize::from(lengths[1]),
            )?;
            let (local_name, extra) = names.split_at(usize::from(lengths[0]));
            extra_fields(extra).map_err(refuse)?;
            let facts = record.entry.facts;
            let local = Facts::read(&head, 6);
            let described = facts.flags & FLAG_DESCRIPTOR != 0;
            let fits = |local: u32, central: u32| local == central || (described && local == 0);
            if u32_at(&head, 0) != LOCAL
                || local_name != record.name
                || local.flags != facts.flags
                || local.method != facts.method
                || !fits(local.crc, facts.crc)
                || !fits(local.compressed, facts.compressed)
                || !fits(local.size, facts.size)
            {
                return Err(refuse(Problem::Headers));
            }
            let data = record.offset + (LOCAL_BYTES + names.len()) as u64;
            record.entry.data = data;
            end = data + u64::from(facts.compressed);
            if described {
                end += self.descriptor(end, &facts).map_err(|error| match error {
                    OpenError::Refused { problem, .. } => refuse(problem),
                    error => error,
                })?;
            }
            if end > directory {
                return Err(refuse(Problem::Overlap));
            }
        }
        match end == directory {
            true => Ok(()),
            false => Err(self.refuse(None, Problem::Gap)),
        }
    }

    /// The length of the data descriptor at this place, which must say what the central directory
    /// says. Its signature is optional.
    fn descriptor(&self, at: u64, facts: &Facts) -> Result<u64, OpenError> {
        let bytes = self.read_at(at, 16)?;
        let is = |at| {
            u32_at(&bytes, at) == facts.crc
                && u32_at(&bytes, at + 4) == facts.compressed
                && u32_at(&bytes, at + 8) == facts.size
        };
        match u32_at(&bytes, 0) == DESCRIPTOR && is(4) {
            true => Ok(16),
            false if is(0) => Ok(12),
            false => Err(self.refuse(None, Problem::Headers)),
        }
    }
}

/// Extra fields are lists of number, length and data; those that change an entry's meaning are
/// refused.
fn extra_fields(mut bytes: &[u8]) -> Result<(), Problem> {
    while !bytes.is_empty() {
        let damaged = Problem::Damaged("an extra field is cut off");
        if bytes.len() < 4 {
            return Err(damaged);
        }
        let id = u16_at(bytes, 0);
        if id == 0x0001 {
            return Err(Problem::Zip64);
        }
        if EXTRA_REFUSED.contains(&id) {
            return Err(Problem::Feature);
        }
        let length = usize::from(u16_at(bytes, 2));
        bytes = bytes.get(4 + length..).ok_or(damaged)?;
    }
    Ok(())
}
