//! Which files of a directory belong to its package.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::limits::{FILE_BYTES_MAX, IGNORE_BYTES_MAX, PATH_PARTS_MAX};
use crate::path::{Content, ContentError, PathError};
use crate::{IGNORE_FILE, MANIFEST, SIGNATURE};

/// The files that belong to a package, by the order of the bytes of their paths.
#[derive(Clone, Debug)]
pub struct Selection {
    root: PathBuf,
    files: Vec<SelectedFile>,
}

/// A file of a [`Selection`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectedFile {
    /// Path in the package, with `/`.
    pub path: String,
    /// Size in bytes when the file was selected.
    pub size: u64,
    /// `true` if it has an x bit.
    pub executable: bool,
}

/// The files of a directory are no package.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// A file or directory cannot be read.
    #[error("{path} cannot be read: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A file cannot be copied.
    #[error("{path} cannot be written: {source}", path = .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A symbolic link. What it leads to may not be there where the package is unpacked.
    #[error(
        "{path} is a symbolic link, which a package cannot have; put the file itself there, or name it in {IGNORE_FILE}",
        path = .path.display()
    )]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// A socket, a FIFO, a device.
    #[error("{path} is not a regular file; remove it, or name it in {IGNORE_FILE}", path = .path.display())]
    Special {
        /// The file.
        path: PathBuf,
    },
    /// A name that is not UTF-8.
    #[error("{path} has a name that is not UTF-8; rename it, or remove it", path = .path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// `.gkignore` cannot be used.
    #[error("{path}: {problem}; the syntax is that of .gitignore", path = .path.display())]
    Ignore {
        /// The file.
        path: PathBuf,
        /// Description of the problem.
        problem: String,
    },
    /// A file became larger than it may be while it was read.
    #[error("{path} has more than {FILE_BYTES_MAX} bytes", path = .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The files cannot be one package.
    #[error("{root}: {source}", root = .root.display())]
    Content {
        /// The directory.
        root: PathBuf,
        /// Why not.
        #[source]
        source: ContentError,
    },
}

impl Selection {
    /// The files of `directory` that belong to its package.
    ///
    /// All regular files do, but for
    ///
    /// - files and directories whose name starts with a dot,
    /// - files and directories named `node_modules` or `target`,
    /// - `*.zip` and `*.zip.sig` at the top and in `dist`, which is where packages are put,
    /// - what `.gkignore` in `directory` names, in the syntax of .gitignore.
    ///
    /// `plugin.yaml` and `plugin.sig` at the top always do, whatever `.gkignore` says.
    ///
    /// # Errors
    /// A selected file that is a link or no regular file; files that [`ContentError`] refuses,
    /// among them a directory without plugin.yaml; a directory or `.gkignore` that cannot be read.
    pub fn of(directory: &Path) -> Result<Self, SelectError> {
        let ignored = ignored(directory)?;
        let mut walk = Walk {
            root: directory,
            ignored: &ignored,
            files: Vec::new(),
        };
        walk.directory("", 0)?;
        let mut files = walk.files;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let selection = Selection {
            root: directory.to_owned(),
            files,
        };
        selection.check().map_err(|source| SelectError::Content {
            root: directory.to_owned(),
            source,
        })?;
        Ok(selection)
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The files, by the order of the bytes of their paths.
    pub fn files(&self) -> &[SelectedFile] {
        &self.files
    }

    /// Returns `true` if the file with this path is selected.
    pub fn has(&self, path: &str) -> bool {
        let compare = |file: &SelectedFile| file.path.as_str().cmp(path);
        self.files.binary_search_by(compare).is_ok()
    }

    /// Copies the files into `directory`, which exists and is empty, with the modes they have in a
    /// package (0644, and 0755 with an x bit). The answer is the selection of the copies: what is
    /// judged, signed or packed from it no longer changes with the originals.
    ///
    /// # Errors
    /// A file that cannot be read or written, or that is no longer a regular file.
    pub fn copy_to(&self, directory: &Path) -> Result<Selection, SelectError> {
        let mut files = Vec::new();
        for file in &self.files {
            let bytes = self.read(file)?;
            let path = directory.join(&file.path);
            let write = || -> io::Result<()> {
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent)?;
                }
                let mut copy = File::create_new(&path)?;
                copy.write_all(&bytes)?;
                let mode = if file.executable { 0o755 } else { 0o644 };
                copy.set_permissions(fs::Permissions::from_mode(mode))
            };
            write().map_err(|source| SelectError::Write {
                path: path.clone(),
                source,
            })?;
            files.push(SelectedFile {
                size: bytes.len() as u64,
                ..file.clone()
            });
        }
        Ok(Selection {
            root: directory.to_owned(),
            files,
        })
    }

    /// The bytes of a selected file.
    pub(crate) fn read(&self, file: &SelectedFile) -> Result<Vec<u8>, SelectError> {
        let path = self.root.join(&file.path);
        let unread = |source| SelectError::Read {
            path: path.clone(),
            source,
        };
        // The file may have become a link or a FIFO since it was selected.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let mut options = File::options();
        options
            .read(true)
            .custom_flags(i32::try_from(flags.bits()).unwrap_or_default());
        let open = options.open(&path).map_err(unread)?;
        if !open.metadata().map_err(unread)?.is_file() {
            return Err(SelectError::Special { path });
        }
        let mut bytes = Vec::new();
        open.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(unread)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(SelectError::TooLarge { path });
        }
        Ok(bytes)
    }

    /// Checks that the files can be one package.
    pub(crate) fn check(&self) -> Result<(), ContentError> {
        let mut content = Content::default();
        for file in &self.files {
            content.file(&file.path, file.size)?;
        }
        content.finish()
    }
}

/// The rules of `.gkignore`; none without the file.
fn ignored(directory: &Path) -> Result<Gitignore, SelectError> {
    let path = directory.join(IGNORE_FILE);
    let problem = |problem: String| SelectError::Ignore {
        path: path.clone(),
        problem,
    };
    let unread = |source| SelectError::Read {
        path: path.clone(),
        source,
    };
    let mut text = String::new();
    match File::open(&path) {
        Ok(file) => {
            file.take(IGNORE_BYTES_MAX + 1)
                .read_to_string(&mut text)
                .map_err(unread)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unread(error)),
    }
    if text.len() as u64 > IGNORE_BYTES_MAX {
        return Err(problem(format!("has more than {IGNORE_BYTES_MAX} bytes")));
    }
    // Rules are relative to the package, wherever it is.
    let mut builder = GitignoreBuilder::new("");
    for (number, line) in text.lines().enumerate() {
        builder
            .add_line(None, line)
            .map_err(|error| problem(format!("line {}: {error}", number + 1)))?;
    }
    builder.build().map_err(|error| problem(error.to_string()))
}

struct Walk<'a> {
    root: &'a Path,
    ignored: &'a Gitignore,
    files: Vec<SelectedFile>,
}

impl Walk<'_> {
    /// Takes what is in a directory; `inside` is its path in the package.
    fn directory(&mut self, inside: &str, depth: usize) -> Result<(), SelectError> {
        let directory = self.root.join(inside);
        let unread = |path: &Path| {
            let path = path.to_owned();
            move |source| SelectError::Read { path, source }
        };
        for entry in fs::read_dir(&directory).map_err(unread(&directory))? {
            let entry = entry.map_err(unread(&directory))?;
            let full = entry.path();
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if name == "node_modules" || name == "target" {
                continue;
            }
            let kind = entry.file_type().map_err(unread(&full))?;
            let Some(name) = name.to_str() else {
                return Err(SelectError::Name { path: full });
            };
            let path = match inside {
                "" => name.to_owned(),
                inside => format!("{inside}/{name}"),
            };
            let always = path == MANIFEST || path == SIGNATURE;
            let made = ["", "dist"].contains(&inside)
                && (name.ends_with(".zip") || name.ends_with(".zip.sig"))
                && kind.is_file();
            if made || (!always && self.ignored.matched(&path, kind.is_dir()).is_ignore()) {
                continue;
            }
            if kind.is_dir() {
                if depth >= PATH_PARTS_MAX {
                    let source = ContentError::Path {
                        path,
                        source: PathError::TooLong,
                    };
                    let root = self.root.to_owned();
                    return Err(SelectError::Content { root, source });
                }
                self.directory(&path, depth + 1)?;
            } else if kind.is_file() {
                let metadata = entry.metadata().map_err(unread(&full))?;
                self.files.push(SelectedFile {
                    path,
                    size: metadata.len(),
                    executable: metadata.permissions().mode() & 0o111 != 0,
                });
            } else if kind.is_symlink() {
                return Err(SelectError::Link { path: full });
            } else {
                return Err(SelectError::Special { path: full });
            }
        }
        Ok(())
    }
}
