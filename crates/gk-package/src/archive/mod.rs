//! Reading a ZIP file that somebody else made: everything is judged before anything is used.

mod error;
mod judge;

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

pub(crate) use self::error::ExtractError;
pub use self::error::{OpenError, Problem};
use self::judge::Reader;
use crate::format::{Facts, STORED};

const CHUNK_BYTES: usize = 64 * 1024;

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
    /// Path in the package.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Declared size, in bytes; reading and unpacking hold the file to it.
    pub fn size(&self) -> u64 {
        u64::from(self.facts.size)
    }

    /// Returns `true` if it has an x bit. Archives that were not made on Unix have none.
    pub fn is_executable(&self) -> bool {
        self.executable
    }
}

impl Archive {
    /// Opens a ZIP file and judges it; the [crate's documentation](crate#what-is-taken) says by
    /// which rules. No data are unpacked.
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
                        // Output may be left although all input is in; once there is none, the next
                        // chunk's turn.
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
