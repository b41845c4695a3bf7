//! Reading a ZIP file that somebody else made: everything is judged before anything is used.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

use crate::format::{
    CENTRAL, CENTRAL_BYTES, DEFLATED, DESCRIPTOR, END, END_BYTES, FLAG_DESCRIPTOR, FLAG_UTF8,
    FLAGS_ENCRYPTED, FLAGS_KNOWN, Facts, LOCAL, LOCAL_BYTES, LOCATOR_64, MACOS, STORED, UNIX,
    u16_at, u32_at,
};
use crate::limits::{ARCHIVE_BYTES_MAX, CENTRAL_DIRECTORY_BYTES_MAX, DIRECTORIES_MAX, FILES_MAX};
use crate::path::{Content, ContentError};

/// The most that deflate makes of one byte.
const DEFLATE_RATIO_MAX: u64 = 1032;
const CHUNK_BYTES: usize = 64 * 1024;

const MODE_TYPE: u32 = 0o170_000;
const MODE_FILE: u32 = 0o100_000;
const MODE_DIRECTORY: u32 = 0o040_000;

/// Extra fields that would change what an entry is: ZIP64's sizes, another name in UTF-8, encryption.
const EXTRA_REFUSED: [u16; 3] = [0x0001, 0x7075, 0x9901];

/// A ZIP file that may be unpacked: its directory and all its headers were judged.
#[derive(Debug)]
pub struct Archive {
    file: File,
    path: PathBuf,
    entries: Vec<Entry>,
    directories: Vec<String>,
}

/// A file in an [`Archive`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    path: String,
    executable: bool,
    facts: Facts,
    data: u64,
}

impl Entry {
    /// Its path in the package.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its size as it is declared; reading and unpacking hold it to that.
    pub fn size(&self) -> u64 {
        u64::from(self.facts.size)
    }

    /// Whether it has an x bit. Archives that were not made on Unix have none.
    pub fn is_executable(&self) -> bool {
        self.executable
    }
}

/// What is wrong with a ZIP file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// No end record where it has to be.
    #[error(
        "this is not a ZIP file, or it is cut off, or it has a comment at its end; get or make it again"
    )]
    NoEnd,
    /// Larger than any package.
    #[error("the file has more than {ARCHIVE_BYTES_MAX} bytes; a package is smaller")]
    TooLarge,
    /// A ZIP64 record.
    #[error("it is in the ZIP64 form, which no package needs; make it without (`gk package` does)")]
    Zip64,
    /// A record that is not as the format has it.
    #[error("the file is damaged: {0}; get or make it again")]
    Damaged(&'static str),
    /// A name that is not UTF-8, or does not say that it is.
    #[error(
        "a name that is not UTF-8, or does not say that it is; make the package with `gk package`"
    )]
    Name,
    /// A symbolic link.
    #[error("it is a symbolic link, which a package cannot have; put the file itself there")]
    Link,
    /// A device, a FIFO, a socket.
    #[error("it is not a regular file; remove it from the package")]
    Special,
    /// An encrypted entry.
    #[error("it is encrypted; make the package without a password")]
    Encrypted,
    /// A compression method other than stored and deflated.
    #[error(
        "it is compressed by method {0}; only stored and deflated are read: make the package with `gk package`"
    )]
    Method(u16),
    /// An unknown flag, or an extra field that changes what the entry is.
    #[error(
        "it has a feature of the format that packages do not use; make the package with `gk package`"
    )]
    Feature,
    /// Two entries share bytes.
    #[error("entries overlap, as in a file that unpacks to much more than it is; do not use it")]
    Overlap,
    /// Bytes that belong to no entry.
    #[error("there are bytes that belong to no entry; make the package with `gk package`")]
    Gap,
    /// The local header, or the data descriptor, differs from the central directory.
    #[error("its two headers say different things; do not use the file, or make it again")]
    Headers,
    /// A size that the compressed data cannot have.
    #[error("its declared size cannot be true; do not use the file, or make it again")]
    Ratio,
    /// The data are longer or shorter than declared.
    #[error("its data do not have the declared length; do not use the file, or get it again")]
    Length,
    /// The checksum differs.
    #[error("its checksum is wrong; get the file again")]
    Checksum,
    /// The files cannot be one package.
    #[error(transparent)]
    Content(#[from] ContentError),
}

/// A ZIP file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It cannot be read.
    #[error("{archive} cannot be read: {source}", archive = .archive.display())]
    Read {
        /// The ZIP file.
        archive: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It is no package that is taken.
    #[error("{archive}{at}: {problem}", archive = .archive.display(), at = at(.entry))]
    Refused {
        /// The ZIP file.
        archive: PathBuf,
        /// The entry it is about; none for the whole file.
        entry: Option<String>,
        /// What is wrong.
        problem: Problem,
    },
    /// The file that was asked for is not in it.
    #[error("{archive} has no {entry}", archive = .archive.display())]
    Missing {
        /// The ZIP file.
        archive: PathBuf,
        /// The path.
        entry: String,
    },
    /// The file that was asked for is larger than the caller takes.
    #[error("{archive}: {entry} has more than {max} bytes", archive = .archive.display())]
    TooLarge {
        /// The ZIP file.
        archive: PathBuf,
        /// The path.
        entry: String,
        /// How many bytes were wanted at most.
        max: u64,
    },
}

fn at(entry: &Option<String>) -> String {
    entry
        .as_ref()
        .map_or_else(String::new, |entry| format!(": {entry:?}"))
}

impl OpenError {
    /// What is wrong with the file, if it was refused.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused { problem, .. } => Some(problem),
            _ => None,
        }
    }
}

/// A record of the central directory.
struct Record {
    entry: Entry,
    directory: bool,
    offset: u64,
    /// The name as it is written: a directory's ends with a slash.
    name: Vec<u8>,
}

impl Archive {
    /// Opens a ZIP file and judges it; the [crate's documentation](crate#what-is-taken) says by which rules. No data
    /// are unpacked.
    ///
    /// # Errors
    /// [`OpenError::Read`] and [`OpenError::Refused`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let unread = |source| OpenError::Read {
            archive: path.to_owned(),
            source,
        };
        // A FIFO would block the open.
        let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
        let file = File::options()
            .read(true)
            .custom_flags(nonblocking)
            .open(path)
            .map_err(unread)?;
        let metadata = file.metadata().map_err(unread)?;
        if !metadata.is_file() {
            return Err(unread(io::Error::other("it is not a regular file")));
        }
        let reader = Reader { file: &file, path };
        let (entries, directories) = reader.judge(metadata.len())?;
        Ok(Archive {
            path: path.to_owned(),
            entries,
            directories,
            file,
        })
    }

    /// The ZIP file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files, by the order of the bytes of their paths.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The file with this path.
    pub fn entry(&self, path: &str) -> Option<&Entry> {
        let compare = |entry: &Entry| entry.path.as_str().cmp(path);
        let found = self.entries.binary_search_by(compare).ok()?;
        self.entries.get(found)
    }

    /// Directories that are listed as such; most have no entry of their own.
    pub(crate) fn directories(&self) -> &[String] {
        &self.directories
    }

    /// The content of one file, of at most `max` bytes.
    ///
    /// # Errors
    /// No such file, one that is larger, or one whose data are not as declared.
    pub fn read(&self, path: &str, max: u64) -> Result<Vec<u8>, OpenError> {
        let entry = self.entry(path).ok_or_else(|| OpenError::Missing {
            archive: self.path.clone(),
            entry: path.to_owned(),
        })?;
        if entry.size() > max {
            return Err(OpenError::TooLarge {
                archive: self.path.clone(),
                entry: path.to_owned(),
                max,
            });
        }
        let mut bytes = Vec::new();
        self.extract(entry, &mut |chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        })
        .map_err(|error| match error {
            ExtractError::Open(error) => error,
            // The closure never fails.
            ExtractError::Sink(source) => OpenError::Read {
                archive: self.path.clone(),
                source,
            },
        })?;
        Ok(bytes)
    }

    /// Hands out the content of a file, chunk by chunk, and never more than is declared.
    pub(crate) fn extract(
        &self,
        entry: &Entry,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ExtractError> {
        let refuse = |problem| OpenError::Refused {
            archive: self.path.clone(),
            entry: Some(entry.path.clone()),
            problem,
        };
        let mut left = entry.size();
        let mut crc = crc32fast::Hasher::new();
        let mut output = |chunk: &[u8]| -> Result<(), ExtractError> {
            left = left
                .checked_sub(chunk.len() as u64)
                .ok_or_else(|| refuse(Problem::Length))?;
            crc.update(chunk);
            sink(chunk).map_err(ExtractError::Sink)
        };
        let mut input = Input {
            file: &self.file,
            at: entry.data,
            left: u64::from(entry.facts.compressed),
        };
        let mut buffer = vec![0; CHUNK_BYTES];
        let unread = |source| OpenError::Read {
            archive: self.path.clone(),
            source,
        };
        if entry.facts.method == STORED {
            loop {
                let chunk = input.read(&mut buffer).map_err(unread)?;
                if chunk.is_empty() {
                    break;
                }
                output(chunk)?;
            }
        } else {
            let mut state = InflateState::new_boxed(DataFormat::Raw);
            let mut inflated = vec![0; CHUNK_BYTES];
            'chunks: loop {
                let mut chunk = input.read(&mut buffer).map_err(unread)?;
                if chunk.is_empty() {
                    return Err(refuse(Problem::Length).into());
                }
                loop {
                    let result = inflate(&mut state, chunk, &mut inflated, MZFlush::None);
                    chunk = chunk.get(result.bytes_consumed..).unwrap_or_default();
                    output(inflated.get(..result.bytes_written).unwrap_or_default())?;
                    match result.status {
                        Ok(MZStatus::StreamEnd) => {
                            if !chunk.is_empty() || input.left > 0 {
                                return Err(refuse(Problem::Length).into());
                            }
                            break 'chunks;
                        }
                        // Output may be left although all input is in; once there is none, the next chunk's turn.
                        Ok(_) if result.bytes_consumed > 0 || result.bytes_written > 0 => {}
                        Ok(_) | Err(MZError::Buf) if chunk.is_empty() => break,
                        _ => {
                            return Err(refuse(Problem::Damaged("compressed data")).into());
                        }
                    }
                }
            }
        }
        if left > 0 {
            return Err(refuse(Problem::Length).into());
        }
        if crc.finalize() != entry.facts.crc {
            return Err(refuse(Problem::Checksum).into());
        }
        Ok(())
    }
}

/// Why a file was not handed out.
#[derive(Debug)]
pub(crate) enum ExtractError {
    /// The archive's fault.
    Open(OpenError),
    /// What the receiver said.
    Sink(io::Error),
}

impl From<OpenError> for ExtractError {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

/// The compressed data of one entry.
struct Input<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Input<'_> {
    fn read<'b>(&mut self, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
        let length = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let Some(chunk) = buffer.get_mut(..length) else {
            return Ok(&[]);
        };
        self.file.read_exact_at(chunk, self.at)?;
        self.at += chunk.len() as u64;
        self.left -= chunk.len() as u64;
        Ok(chunk)
    }
}

struct Reader<'a> {
    file: &'a File,
    path: &'a Path,
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

    fn judge(&self, length: u64) -> Result<(Vec<Entry>, Vec<String>), OpenError> {
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

    /// Holds each local header against its record, and the entries against each other: they lie side by side from the
    /// file's first byte to the central directory.
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

    /// The length of the data descriptor at this place, which must say what the central directory says. Its signature
    /// is optional.
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

/// Extra fields are lists of number, length and data; those that change an entry's meaning are refused.
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
