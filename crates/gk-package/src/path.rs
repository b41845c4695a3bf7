//! Paths inside a package, and which of them can be in one package together.

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization as _;

use crate::MANIFEST;
use crate::limits::{
    DIRECTORIES_MAX, FILE_BYTES_MAX, FILES_MAX, PACKAGE_BYTES_MAX, PATH_BYTES_MAX, PATH_PARTS_MAX,
};

/// A path is none that a package may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Longer than [`PATH_BYTES_MAX`] bytes or [`PATH_PARTS_MAX`] parts.
    #[error("the path has more than {PATH_BYTES_MAX} bytes or {PATH_PARTS_MAX} parts")]
    TooLong,
    /// Absolute, empty, or with an empty part, `.` or `..`.
    #[error("the path is not relative and plain (no leading or double `/`, no `.` or `..`)")]
    NotPlain,
    /// Not UTF-8, or with a control character or a backslash.
    #[error("the path has a control character, a backslash, or bytes that are not UTF-8")]
    Character,
}

/// Files that cannot be one package.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// A path that no package may have.
    #[error("{path:?}: {source}; rename the file")]
    Path {
        /// Path of the file in the package.
        path: String,
        /// Description of the problem.
        source: PathError,
    },
    /// The package has more files than a package may have.
    #[error(
        "there are more than {FILES_MAX} files; leave out what the plugin does not need (.gkignore)"
    )]
    TooManyFiles,
    /// The package has more directories than a package may have.
    #[error(
        "there are more than {DIRECTORIES_MAX} directories; leave out what the plugin does not need (.gkignore)"
    )]
    TooManyDirectories,
    /// A file is larger than a package may have.
    #[error("{path:?} has {size} bytes, and a file of a package has at most {FILE_BYTES_MAX}")]
    FileTooLarge {
        /// The file.
        path: String,
        /// Size of the file, in bytes.
        size: u64,
    },
    /// All files together are too large.
    #[error(
        "all files together have more than {PACKAGE_BYTES_MAX} bytes; leave out what the plugin does not need"
    )]
    TooLarge,
    /// A path occurs twice.
    #[error("{path:?} is there twice; make the package again")]
    Duplicate {
        /// Path that occurs twice.
        path: String,
    },
    /// Two paths that are one on a file system that ignores case or the form of letters.
    #[error("{path:?} and {other:?} are the same file on some systems; rename one of them")]
    Alike {
        /// The second path.
        path: String,
        /// The first one.
        other: String,
    },
    /// A path that is a file, and a directory of another one.
    #[error("{path:?} is a file and also the directory of another file; rename one of them")]
    FileAndDirectory {
        /// Path of the file in the package.
        path: String,
    },
    /// No `plugin.yaml` at the top.
    #[error(
        "there is no {MANIFEST} at the top; a package is the content of the plugin's directory, not the directory"
    )]
    NoManifest,
    /// A `plugin.yaml` that is not at the top. Which of several counts differs from host to host.
    #[error(
        "{path:?} is a second {MANIFEST}, or not at the top; a package has one, at the top: rename or leave out the other"
    )]
    OtherManifest {
        /// The other one.
        path: String,
    },
}

/// Checks that `path` is relative, plain, and no longer than allowed.
pub(crate) fn check(path: &str) -> Result<(), PathError> {
    if path.len() > PATH_BYTES_MAX {
        return Err(PathError::TooLong);
    }
    let mut parts = 0;
    for part in path.split('/') {
        parts += 1;
        if part.is_empty() || part == "." || part == ".." {
            return Err(PathError::NotPlain);
        }
    }
    if parts > PATH_PARTS_MAX {
        return Err(PathError::TooLong);
    }
    let bad = |c: char| c.is_control() || matches!(c, '\\' | '\u{2028}' | '\u{2029}' | '\u{feff}');
    if path.chars().any(bad) {
        return Err(PathError::Character);
    }
    Ok(())
}

/// The files of one package, admitted one by one.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// By the folded path: the path as it is written, and whether it is a file.
    known: HashMap<String, (String, bool)>,
    files: usize,
    directories: usize,
    bytes: u64,
    manifest: bool,
    other_manifest: Option<String>,
}

impl Content {
    /// Admits a file.
    pub(crate) fn file(&mut self, path: &str, size: u64) -> Result<(), ContentError> {
        checked(path)?;
        self.parents(path)?;
        if size > FILE_BYTES_MAX {
            return Err(ContentError::FileTooLarge {
                path: path.to_owned(),
                size,
            });
        }
        // Both sizes are small enough that the sum fits.
        self.bytes += size;
        if self.bytes > PACKAGE_BYTES_MAX {
            return Err(ContentError::TooLarge);
        }
        let base = path.rsplit('/').next().unwrap_or(path);
        if path == MANIFEST {
            self.manifest = true;
        } else if fold(base) == MANIFEST {
            self.other_manifest.get_or_insert_with(|| path.to_owned());
        }
        self.files += 1;
        if self.files > FILES_MAX {
            return Err(ContentError::TooManyFiles);
        }
        match self.known.insert(fold(path), (path.to_owned(), true)) {
            None => Ok(()),
            Some((other, is_file)) => Err(clash(path, other, !is_file)),
        }
    }

    /// Admits a directory that is listed as such.
    pub(crate) fn directory(&mut self, path: &str) -> Result<(), ContentError> {
        checked(path)?;
        self.parents(path)?;
        self.one_directory(path)
    }

    fn parents(&mut self, path: &str) -> Result<(), ContentError> {
        for (at, _) in path.match_indices('/') {
            self.one_directory(&path[..at])?;
        }
        Ok(())
    }

    fn one_directory(&mut self, path: &str) -> Result<(), ContentError> {
        match self.known.get(&fold(path)) {
            None => {
                self.directories += 1;
                if self.directories > DIRECTORIES_MAX {
                    return Err(ContentError::TooManyDirectories);
                }
                self.known.insert(fold(path), (path.to_owned(), false));
                Ok(())
            }
            Some((other, false)) if other == path => Ok(()),
            Some((other, is_file)) => Err(clash(path, other.clone(), *is_file)),
        }
    }

    /// All files are in: there must be one manifest.
    pub(crate) fn finish(self) -> Result<(), ContentError> {
        match self.other_manifest {
            Some(path) => Err(ContentError::OtherManifest { path }),
            None if self.manifest => Ok(()),
            None => Err(ContentError::NoManifest),
        }
    }
}

fn checked(path: &str) -> Result<(), ContentError> {
    check(path).map_err(|source| ContentError::Path {
        path: path.to_owned(),
        source,
    })
}

fn clash(path: &str, other: String, kinds_differ: bool) -> ContentError {
    let path = path.to_owned();
    if path != other {
        ContentError::Alike { path, other }
    } else if kinds_differ {
        ContentError::FileAndDirectory { path }
    } else {
        ContentError::Duplicate { path }
    }
}

/// What file systems that ignore case and Unicode's forms take for the same name.
fn fold(path: &str) -> String {
    path.nfd().flat_map(char::to_lowercase).nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_paths() {
        for path in ["a", "a b/ü.txt", "..."] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
        for path in ["", "/a", "a/", "a//b", ".", "..", "a/../b", "./a"] {
            assert_eq!(check(path), Err(PathError::NotPlain), "{path}");
        }
        for path in ["a\nb", "a\0", "a\\b", "a\u{85}b", "a\u{2028}b"] {
            assert_eq!(check(path), Err(PathError::Character), "{path:?}");
        }
        assert_eq!(check(&"a".repeat(PATH_BYTES_MAX)), Ok(()));
        let long = "a".repeat(PATH_BYTES_MAX + 1);
        assert_eq!(check(&long), Err(PathError::TooLong));
        let deep = vec!["d"; PATH_PARTS_MAX].join("/");
        assert_eq!(check(&deep), Ok(()));
        assert_eq!(check(&format!("{deep}/d")), Err(PathError::TooLong));
    }

    /// What admitting these files, in this order, comes to.
    fn content(paths: &[&str]) -> Result<(), ContentError> {
        let mut content = Content::default();
        for path in paths {
            content.file(path, 1)?;
        }
        content.finish()
    }

    #[test]
    fn files_that_cannot_be_together() {
        assert_eq!(content(&["plugin.yaml", "a/b", "a/c", "b"]), Ok(()));
        for (paths, expected) in [
            (&["a", "a"][..], "there twice"),
            (&["a", "A"], "the same file on some systems"),
            (&["d/a", "D/b"], "the same file on some systems"),
            (&["stra\u{df}e", "STRA\u{df}E"], "the same file"),
            (&["\u{e9}", "e\u{301}"], "the same file on some systems"),
            (&["\u{c9}", "e\u{301}"], "the same file on some systems"),
            (&["a", "a/b"], "also the directory"),
            (&["a/b", "a"], "also the directory"),
            (&["a"], "no plugin.yaml at the top"),
            (&["my-plugin/plugin.yaml"], "not at the top"),
            (&["plugin.yaml", "x/plugin.yaml"], "not at the top"),
            (&["plugin.yaml", "x/Plugin.YAML"], "not at the top"),
        ] {
            let error = content(paths).unwrap_err().to_string();
            assert!(error.contains(expected), "{paths:?}: {error}");
        }
    }

    #[test]
    fn limits() {
        let mut content = Content::default();
        for number in 0..FILES_MAX {
            content.file(&format!("f{number}"), 0).unwrap();
        }
        assert_eq!(content.file("one", 0), Err(ContentError::TooManyFiles));
        let mut content = Content::default();
        for number in 0..DIRECTORIES_MAX {
            content.directory(&format!("d{number}")).unwrap();
        }
        let error = content.file("one/two", 0).unwrap_err();
        assert_eq!(error, ContentError::TooManyDirectories);
        let mut content = Content::default();
        for number in 0..5 {
            content.file(&format!("f{number}"), FILE_BYTES_MAX).unwrap();
        }
        assert_eq!(content.file("one", 1), Err(ContentError::TooLarge));
        let error = Content::default().file("f", FILE_BYTES_MAX + 1);
        assert!(matches!(error, Err(ContentError::FileTooLarge { .. })));
    }
}
