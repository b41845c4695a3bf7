//! Keys of files, and how they look on disk.

use gk_hostapi::HostError;

/// Longest key, in bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 512;
/// Longest part of a key between two slashes, in bytes of UTF-8.
pub const SEGMENT_BYTES_MAX: usize = 128;
/// Most parts of a key.
pub const SEGMENTS_MAX: usize = 32;

/// The ending of a key's last part on disk. It keeps files and directories apart: there can be a
/// file `a` and a file `a/b`, and nothing a plugin names can meet what the host names.
const FILE: &str = ".f";
/// The ending of every other part.
const DIRECTORY: &str = ".d";

/// A valid key: parts between single slashes, none of them empty, `.` or `..`, none beginning with
/// a dot, no control characters and no backslash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileKey {
    /// Names of directories on disk.
    pub(super) directories: Vec<String>,
    /// Name of the file on disk.
    pub(super) file: String,
}

impl FileKey {
    pub(super) fn parse(key: &str) -> Result<Self, HostError> {
        let invalid = |why: &str| {
            let shown: String = key.chars().take(80).collect();
            HostError::invalid(format!("invalid file key: {shown:?}: {why}"))
        };
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(invalid("it must have 1 to 512 bytes"));
        }
        if key.contains(|c: char| c.is_control() || c == '\\') {
            return Err(invalid("it holds a control character or a backslash"));
        }
        let mut segments: Vec<&str> = key.split('/').collect();
        if segments.len() > SEGMENTS_MAX {
            return Err(invalid("it has more than 32 parts"));
        }
        for segment in &segments {
            match segment.len() {
                0 => {
                    return Err(invalid(
                        "it begins or ends with a slash, or has two in a row",
                    ));
                }
                1..=SEGMENT_BYTES_MAX => {}
                _ => return Err(invalid("a part between slashes has more than 128 bytes")),
            }
            if segment.starts_with('.') {
                return Err(invalid("a part begins with a dot"));
            }
        }
        let file = segments.pop().unwrap_or_default();
        Ok(Self {
            directories: segments
                .iter()
                .map(|segment| format!("{segment}{DIRECTORY}"))
                .collect(),
            file: format!("{file}{FILE}"),
        })
    }

    /// The path on disk, below the plugin's directory.
    pub(super) fn path(&self) -> String {
        let mut path = self.directories.join("/");
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(&self.file);
        path
    }
}

/// The meaning of an entry of a directory on disk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum OnDisk<'a> {
    File(&'a str),
    Directory(&'a str),
    /// A file that was being written when the host ended.
    Unfinished,
    /// A name that is none of this host's.
    Foreign,
}

/// The beginning of the names of files that are being written. No key begins with a dot.
pub(super) const UNFINISHED: &str = ".new-";

pub(super) fn on_disk(name: &str) -> OnDisk<'_> {
    if name.starts_with(UNFINISHED) {
        OnDisk::Unfinished
    } else if name.starts_with('.') {
        OnDisk::Foreign
    } else if let Some(segment) = name.strip_suffix(FILE) {
        OnDisk::File(segment)
    } else if let Some(segment) = name.strip_suffix(DIRECTORY) {
        OnDisk::Directory(segment)
    } else {
        OnDisk::Foreign
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_lead_elsewhere_are_refused() {
        for key in [
            "",
            "/",
            "/etc/passwd",
            "a/",
            "a//b",
            ".",
            "..",
            "../x",
            "a/../b",
            "a/./b",
            "a/..",
            ".hidden",
            "a/.hidden",
            "a\0b",
            "a\nb",
            "a\\b",
            "..\\x",
            "a\u{7f}",
            "...",
        ] {
            assert!(FileKey::parse(key).is_err(), "{key:?}");
        }
        for key in [
            "a",
            "a/b",
            "ä/ö.txt",
            "x.meta.json",
            "a..b",
            "a b",
            "-rf",
            "con",
            "%2e%2e/x",
        ] {
            assert!(FileKey::parse(key).is_ok(), "{key:?}");
        }
    }

    #[test]
    fn no_two_keys_meet_on_disk() {
        let path = |key| FileKey::parse(key).unwrap().path();
        assert_eq!(path("a"), "a.f");
        assert_eq!(path("a/b"), "a.d/b.f");
        assert_eq!(path("a.d/b"), "a.d.d/b.f");
        assert_eq!(path("a.f"), "a.f.f");
        assert_eq!(on_disk("a.f.f"), OnDisk::File("a.f"));
        assert_eq!(on_disk("a.f.d"), OnDisk::Directory("a.f"));
        assert_eq!(on_disk(".new-1.f"), OnDisk::Unfinished);
        assert_eq!(on_disk("lost+found"), OnDisk::Foreign);
    }

    #[test]
    fn the_limits_hold_at_the_limit() {
        let part = "p".repeat(SEGMENT_BYTES_MAX);
        assert!(FileKey::parse(&part).is_ok());
        assert!(FileKey::parse(&format!("{part}p")).is_err());
        let long = format!(
            "{part}/{part}/{part}/{}",
            "p".repeat(KEY_BYTES_MAX - 3 * 129)
        );
        assert_eq!(long.len(), KEY_BYTES_MAX);
        assert!(FileKey::parse(&long).is_ok());
        assert!(FileKey::parse(&format!("{long}p")).is_err());
        let deep = vec!["p"; SEGMENTS_MAX].join("/");
        assert!(FileKey::parse(&deep).is_ok());
        assert!(FileKey::parse(&format!("{deep}/p")).is_err());
    }
}
