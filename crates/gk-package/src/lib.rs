//! Packages of GoatKit plugins as ZIP files: which files of a directory belong to its package
//! ([`Selection`]), making the file ([`pack()`]), and unpacking one that somebody else made
//! ([`unpack()`], [`Archive`]).
//!
//! This crate reads and writes files. It knows nothing of what is in `plugin.yaml`, of signatures
//! or of hosts; it imports no other crate of the workspace, has no `unsafe` and needs no async
//! runtime.
//!
//! # What is written
//!
//! [`pack()`] is reproducible: the same files give the same bytes, whatever the directory's path,
//! the user, the umask, the files' times, the order of the directory, or the locale. The bytes
//! depend on these alone:
//!
//! - the files' paths, contents and x bits; entries are sorted by the bytes of their paths;
//! - this crate's way to write the format: no directories, no extra fields, no comments, no data descriptors, the time
//!   1980-01-01 00:00, modes 0644 and 0755, a file stored where deflating does not make it smaller;
//! - the version of `miniz_oxide` in Cargo.lock, whose level 9 deflates; none of its features changes what it writes. The
//!   crate is used directly: flate2 could be switched to another implementation by a feature of any
//!   other crate in the build.
//!
//! A test holds a package's bytes fixed, so that an update of `miniz_oxide` that changes them is
//! seen.
//!
//! # What is taken
//!
//! [`Archive::open`] judges the whole file before anything of it is written: the end record, the
//! central directory, and each local header. It takes less than the format allows. Refused are:
//!
//! - more files or bytes than [`limits`] has, and declared sizes that deflate cannot reach;
//! - paths that are absolute, or have `..`, empty parts, backslashes, control characters, or bytes that are not UTF-8;
//! - links and special files, encrypted entries, methods other than stored and deflated;
//! - two entries with one path, also where only case or Unicode's form differs, and a file that is the directory of
//!   another one;
//! - no `plugin.yaml` at the top, or a second one anywhere. GoatFlow's host takes the first entry of that name in any
//!   directory, so another file would count there than here. A package whose files are all in one
//!   directory is refused for the same reason: its files would be in other places than those that
//!   were signed;
//! - entries that overlap or leave a gap, bytes before the first or after the last, comments of the file;
//! - ZIP64, which no package within the limits needs;
//! - a local header or a data descriptor that says something else than the central directory.
//!
//! While a file is unpacked, not one byte more than declared is written; its length, its checksum,
//! and the end of its compressed data must be as declared.
//!
//! The format is read here and not by the crate `zip`, so that there is one reading of a file: what
//! is judged is what is unpacked. The tests hold this reading and that of `zip` against each other.
#![forbid(unsafe_code)]

mod archive;
mod format;
pub mod limits;
mod pack;
mod path;
mod select;
mod unpack;

pub use archive::{Archive, Entry, OpenError, Problem};
pub use pack::{PackError, Packed, pack};
pub use path::{ContentError, PathError};
pub use select::{SelectError, SelectedFile, Selection};
pub use unpack::{UnpackError, read_file, unpack};

/// The manifest's path in a package.
pub const MANIFEST: &str = "plugin.yaml";
/// The path of the signature of a whole package.
pub const SIGNATURE: &str = "plugin.sig";
/// The file that names what does not belong to a package.
pub const IGNORE_FILE: &str = ".gkignore";
