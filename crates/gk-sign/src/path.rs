//! Paths inside a package: what may be listed, and so what may be opened.

use crate::limits::{PATH_BYTES_MAX, PATH_PARTS_MAX};

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
    /// Not UTF-8, or with control characters or backslashes, which are no part of a name
    /// everywhere.
    #[error("the path has a control character, a backslash, or bytes that are not UTF-8")]
    Character,
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
    // Line separators would let a name look like two lines of the signature to a person.
    let bad = |c: char| c.is_control() || matches!(c, '\\' | '\u{2028}' | '\u{2029}' | '\u{feff}');
    if path.chars().any(bad) {
        return Err(PathError::Character);
    }
    Ok(())
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
        assert_eq!(
            check(&"a".repeat(PATH_BYTES_MAX + 1)),
            Err(PathError::TooLong)
        );
        let deep = vec!["d"; PATH_PARTS_MAX].join("/");
        assert_eq!(check(&deep), Ok(()));
        assert_eq!(check(&format!("{deep}/d")), Err(PathError::TooLong));
    }
}
