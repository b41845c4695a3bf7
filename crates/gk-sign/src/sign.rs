//! Signing files: what a plugin's author does.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use rustix::fs::{AtFlags, Mode, OFlags};

use crate::digest::{Digest, encode};
use crate::key::SecretKey;
use crate::limits::FILE_BYTES_MAX;
use crate::package::{FileError, Listed, Package};
use crate::v1::BinarySignature;
use crate::v2::{Claims, FormatProblem, PACKAGE_SIGNATURE, SignedFile};

/// Claims to sign of a package, besides its files.
#[derive(Clone, Debug)]
pub struct PackageToSign {
    /// The package's directory.
    pub directory: PathBuf,
    /// The plugin's name: `^[a-z0-9][a-z0-9_-]{0,62}$`, the one in its manifest.
    pub name: String,
    /// The plugin's version, the one in its manifest: 1 to 128 printable ASCII characters without
    /// spaces.
    pub version: String,
    /// The manifest's path in the package, `plugin.yaml` as a rule.
    pub manifest: String,
    /// The binary's path in the package.
    pub binary: String,
    /// The date to sign with; fractions of a second are dropped.
    pub date: SystemTime,
}

/// Something was not signed. What signature there was is left as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// A file that cannot be signed.
    #[error("the files cannot be signed")]
    File(#[from] FileError),
    /// Something that no signature can say.
    #[error("the package cannot be signed")]
    Package(#[from] FormatProblem),
    /// The signature could not be written.
    #[error("the signature {path} cannot be written", path = .path.display())]
    Write {
        /// The signature file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// Signs every file of a package as it is now, and writes `plugin.sig` into it, replacing one that
/// is there.
///
/// # Errors
/// A package with links, special files, more than the [limits](crate::limits), or without manifest
/// or executable binary.
pub fn sign_package(key: &SecretKey, what: &PackageToSign) -> Result<Claims, SignError> {
    let package = Package::open(&what.directory, None)?;
    let mut files = Vec::new();
    for Listed { path, .. } in package.list(PACKAGE_SIGNATURE)? {
        files.push(hash(&package, path)?);
    }
    let date = Timestamp::try_from(what.date)
        .and_then(|date| Timestamp::from_second(date.as_second()))
        .map_err(|_| FormatProblem::Value("date"))?;
    let mut claims = Claims {
        name: what.name.clone(),
        version: what.version.clone(),
        date,
        key: key.public().id(),
        manifest: what.manifest.clone(),
        binary: what.binary.clone(),
        files,
    };
    let text = claims.sign(key)?;
    write(&package, PACKAGE_SIGNATURE, &text)?;
    Ok(claims)
}

/// Signs one binary in version 1, and writes `<binary>.sig` beside it, replacing one that is there.
/// For packages that hosts read which know no other version; a `plugin.sig` is made after it, since
/// it covers this file, too.
///
/// # Errors
/// No regular file, or one that is too large.
pub fn sign_binary(key: &SecretKey, binary: &Path) -> Result<BinarySignature, SignError> {
    let directory = binary.parent().filter(|parent| *parent != Path::new(""));
    let package = Package::open(directory.unwrap_or(Path::new(".")), None)?;
    let name = binary.file_name().ok_or_else(|| FileError::NotAFile {
        path: binary.into(),
    })?;
    let name = name.to_str().ok_or_else(|| FileError::Name {
        path: binary.into(),
        source: crate::PathError::Character,
    })?;
    let file = hash(&package, name.to_owned())?;
    let signature = BinarySignature::sign(key, &file.digest);
    write(&package, &format!("{name}.sig"), &signature.to_hex())?;
    Ok(signature)
}

fn hash(package: &Package, path: String) -> Result<SignedFile, FileError> {
    let opened = package.file(&path)?;
    let hashed = Digest::of_file(&opened.file, FILE_BYTES_MAX);
    let hashed = hashed.map_err(|source| FileError::Read {
        path: package.full(&path),
        source,
    })?;
    let (digest, size) = hashed.ok_or_else(|| FileError::TooLarge {
        path: package.full(&path),
        max: FILE_BYTES_MAX,
    })?;
    Ok(SignedFile {
        path,
        size,
        executable: opened.executable,
        digest,
    })
}

/// Writes a new file in the package's root and renames it, so that no reader sees half of it.
fn write(package: &Package, name: &str, text: &str) -> Result<(), SignError> {
    let replace = || -> io::Result<()> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|_| io::Error::other("the system gave no random numbers"))?;
        let temporary = format!(".{name}.{}", encode(&random));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        let root = package.root();
        let mut file = File::from(rustix::fs::openat(root, &*temporary, flags, mode)?);
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| Ok(rustix::fs::renameat(root, &*temporary, root, name)?));
        if written.is_err() {
            // Nothing more can be done about it than to say what went wrong first.
            let _ = rustix::fs::unlinkat(root, &*temporary, AtFlags::empty());
        }
        written
    };
    replace().map_err(|source| SignError::Write {
        path: package.full(name),
        source,
    })
}
