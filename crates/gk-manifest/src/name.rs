//! The name of a plugin: registry key, and part of paths, environment names and URLs, hence the
//! narrow rule.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::diagnostic::quoted;
use crate::limits::NAME_BYTES_MAX;

/// A valid plugin name: `^[a-z0-9][a-z0-9_-]{0,62}$`.
///
/// Such a name is safe as a file name, in a URL and in a log line; there is no way to hold an
/// invalid one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PluginName(String);

/// Why a text is not a plugin name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is no text at all.
    #[error("the name is empty")]
    Empty,
    /// More than [`NAME_BYTES_MAX`] bytes.
    #[error("{name} is {length} bytes long; a plugin name has at most {NAME_BYTES_MAX}")]
    TooLong {
        /// The name, quoted and shortened.
        name: String,
        /// Length of the name in bytes.
        length: usize,
    },
    /// The first character is none of `a-z0-9`.
    #[error(
        "{name} starts with {character:?}; a plugin name starts with a lower-case letter or a digit"
    )]
    BadStart {
        /// The name, quoted and shortened.
        name: String,
        /// First character that a name cannot have.
        character: char,
    },
    /// A later character is none of `a-z0-9_-`.
    #[error(
        "{name} contains {character:?}; a plugin name has only lower-case letters, digits, `-` and `_`"
    )]
    BadCharacter {
        /// The name, quoted and shortened.
        name: String,
        /// The first such character.
        character: char,
    },
}

impl PluginName {
    /// The rule in words, for remedies.
    pub const RULE: &'static str = "use lower-case letters, digits, `-` and `_`, starting with a letter or digit, at most 63 characters, such as `my-plugin`";

    /// Checks `name` against the rule.
    ///
    /// # Errors
    /// [`NameError`] says which part of the rule is broken.
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        let first = name.chars().next().ok_or(NameError::Empty)?;
        if !matches!(first, 'a'..='z' | '0'..='9') {
            return Err(NameError::BadStart {
                name: quoted(&name),
                character: first,
            });
        }
        if let Some(character) = name
            .chars()
            .find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '_' | '-'))
        {
            return Err(NameError::BadCharacter {
                name: quoted(&name),
                character,
            });
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong {
                name: quoted(&name),
                length: name.len(),
            });
        }
        Ok(Self(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A valid name close to `text`, to propose to its author: lower case, everything else turned
    /// into `-`.
    pub fn suggest(text: &str) -> Option<Self> {
        let mut name = String::new();
        for character in text.chars().flat_map(char::to_lowercase) {
            match character {
                'a'..='z' | '0'..='9' => name.push(character),
                '_' if !name.is_empty() => name.push('_'),
                _ if !name.is_empty() && !name.ends_with('-') => name.push('-'),
                _ => {}
            }
            if name.len() == NAME_BYTES_MAX {
                break;
            }
        }
        Self::new(name.trim_end_matches('-')).ok()
    }
}

impl AsRef<str> for PluginName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for PluginName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for PluginName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl TryFrom<String> for PluginName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl From<PluginName> for String {
    fn from(name: PluginName) -> Self {
        name.0
    }
}

impl PartialEq<str> for PluginName {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for PluginName {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_rule() {
        for name in ["a", "0", "my-plugin", "a_b-c", "9lives", &"x".repeat(63)] {
            assert_eq!(PluginName::new(name).map(String::from), Ok(name.to_owned()));
        }
        for name in [
            "",
            "-a",
            "_a",
            "A",
            "aB",
            "a b",
            "a/b",
            "..",
            "a.b",
            "ä",
            "a\0",
            "a\n",
            &"x".repeat(64),
        ] {
            assert!(PluginName::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn serde_checks_the_rule() {
        assert!(serde_json::from_str::<PluginName>("\"../x\"").is_err());
        let name: PluginName = serde_json::from_str("\"x1\"").unwrap();
        assert_eq!(serde_json::to_string(&name).unwrap(), "\"x1\"");
    }

    #[test]
    fn suggestions_are_readable() {
        for (text, expected) in [
            ("My Plugin", "my-plugin"),
            ("../evil", "evil"),
            ("Größe", "gr-e"),
            ("A_b", "a_b"),
        ] {
            assert_eq!(PluginName::suggest(text).unwrap(), expected);
        }
        assert_eq!(PluginName::suggest("…"), None);
    }

    proptest! {
        #[test]
        fn everything_the_rule_allows(name in "[a-z0-9][a-z0-9_-]{0,62}") {
            prop_assert_eq!(PluginName::new(name.clone()).map(String::from), Ok(name));
        }

        #[test]
        fn nothing_else(name in ".{0,70}") {
            let bytes = name.as_bytes();
            let word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
            let rule = (1..=63).contains(&bytes.len())
                && word(&bytes[0])
                && bytes.iter().all(|b| word(b) || *b == b'-' || *b == b'_');
            prop_assert_eq!(PluginName::new(name).is_ok(), rule);
        }

        #[test]
        fn suggestions_are_valid(text in any::<String>()) {
            // PluginName has no other constructor than the checked one: to get here without a panic
            // is the test.
            let _ = PluginName::suggest(&text);
        }
    }
}
