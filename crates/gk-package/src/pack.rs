//! Making a package.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::archive::{Archive, OpenError};
use crate::format::{self, DEFLATED, FLAG_UTF8, Facts, STORED};
use crate::path::{Content, ContentError};
use crate::select::{SelectError, Selection};

/// Compression level of deflate. The bytes of a package depend on it.
const LEVEL: u8 = 9;

/// A package that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The ZIP file's size in bytes.
    pub size: u64,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
}

/// No package was made; what was there under its name is left as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// A file that cannot be read.
    #[error(transparent)]
    File(#[from] SelectError),
    /// The files cannot be one package.
    #[error("{root}: {source}", root = .root.display())]
    Content {
        /// The directory.
        root: PathBuf,
        /// Why not.
        #[source]
        source: ContentError,
    },
    /// The package cannot be written.
    #[error("{path} cannot be written: {source}", path = .path.display())]
    Write {
        /// The ZIP file, or its directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The package that was made would not be taken: a fault of this crate, or of the disk.
    #[error("the package that was made cannot be unpacked: {0}")]
    Unusable(#[source] OpenError),
}

/// Packs the selected files into the ZIP file `out`, whose directory exists.
///
/// The file is written beside `out` under a name that starts with a dot, judged as
/// [`Archive::open`] judges, and then renamed. The same files give the same bytes; the [crate's
/// documentation](crate#what-is-written) says what they depend on. One file after the other is held
/// in memory.
///
/// # Errors
/// A file that cannot be read or has become too large, files that cannot be one package, a disk
/// that is full.
pub fn pack(selection: &Selection, out: &Path) -> Result<Packed, PackError> {
    let directory = match out.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let unwritten = |source| PackError::Write {
        path: out.to_owned(),
        source,
    };
    let mut temporary = tempfile::Builder::new()
        .prefix(".gk-package-")
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(directory)
        .map_err(unwritten)?;
    let mut writer = Writer {
        file: temporary.as_file_mut(),
        hash: Sha256::new(),
        size: 0,
    };
    let mut content = Content::default();
    let mut central = Vec::new();
    let mut entries: u16 = 0;
    for file in selection.files() {
        let bytes = selection.read(file)?;
        let admitted = content.file(&file.path, bytes.len() as u64);
        admitted.map_err(|source| unfit(selection, source))?;
        let offset = writer.offset().map_err(unwritten)?;
        let deflated = miniz_oxide::deflate::compress_to_vec(&bytes, LEVEL);
        let (method, data) = match deflated.len() < bytes.len() {
            true => (DEFLATED, &deflated),
            false => (STORED, &bytes),
        };
        let facts = Facts {
            flags: if file.path.is_ascii() { 0 } else { FLAG_UTF8 },
            method,
            crc: crc32fast::hash(&bytes),
            compressed: number(data.len() as u64).map_err(unwritten)?,
            size: number(bytes.len() as u64).map_err(unwritten)?,
        };
        let header = format::local(&file.path, &facts);
        writer.write(&header).map_err(unwritten)?;
        writer.write(data).map_err(unwritten)?;
        let executable = file.executable;
        central.extend(format::central(&file.path, &facts, executable, offset));
        entries += 1;
    }
    content
        .finish()
        .map_err(|source| unfit(selection, source))?;
    let offset = writer.offset().map_err(unwritten)?;
    let size = number(central.len() as u64).map_err(unwritten)?;
    writer.write(&central).map_err(unwritten)?;
    let end = format::end(entries, size, offset);
    writer.write(&end).map_err(unwritten)?;
    let packed = Packed {
        size: writer.size,
        sha256: writer.hash.finalize().into(),
    };
    temporary.as_file().sync_all().map_err(unwritten)?;
    Archive::open(temporary.path()).map_err(PackError::Unusable)?;
    temporary
        .persist(out)
        .map_err(|error| unwritten(error.error))?;
    Ok(packed)
}

fn unfit(selection: &Selection, source: ContentError) -> PackError {
    PackError::Content {
        root: selection.root().to_owned(),
        source,
    }
}

/// A file that is hashed as it is written.
struct Writer<'a> {
    file: &'a mut fs::File,
    hash: Sha256,
    size: u64,
}

impl Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    fn offset(&self) -> io::Result<u32> {
        number(self.size)
    }
}

/// The format's numbers have 32 bits; the limits keep everything far below.
fn number(value: u64) -> io::Result<u32> {
    u32::try_from(value).map_err(|_| io::Error::other("the package is too large"))
}
