//! Which keys of the configuration a plugin may read.

use gk_sqlguard::{Scope, pattern};

use crate::error::HostError;

/// The longest key of the configuration, and the longest pattern, in bytes.
pub const CONFIG_KEY_BYTES_MAX: usize = 256;

/// A key that holds one of these is a secret (contract §7.2), unless a scope names it.
const SECRET_PARTS: &[&str] = &[
    "database.",
    "db.",
    "mysql.",
    "postgres.",
    "mariadb.",
    "smtp.",
    "mail.",
    "email.",
    "secret",
    "password",
    "credential",
    "token",
    "key",
    "private",
    "auth",
    "session",
    "cookie",
    "ldap.",
    "oauth.",
    "saml.",
    "aws.",
    "gcp.",
    "azure.",
    "cloud.",
];

/// The keys a permission names. A pattern is a whole key; `*` stands for any run of characters;
/// case does not matter.
///
/// With [`Scope::Any`] every key is in the scope that is no secret. The pattern `*` alone is the
/// same: it names nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigScope {
    /// Lower case; any is everything but secrets.
    patterns: Scope<Vec<String>>,
}

impl ConfigScope {
    /// Parses the patterns of a permission.
    ///
    /// # Errors
    /// Invalid: a pattern that is empty or longer than [`CONFIG_KEY_BYTES_MAX`].
    pub fn parse(patterns: Scope<&[String]>) -> Result<Self, HostError> {
        let Scope::Only(patterns) = patterns else {
            return Ok(Self {
                patterns: Scope::Any,
            });
        };
        for pattern in patterns {
            if pattern.is_empty() || pattern.len() > CONFIG_KEY_BYTES_MAX {
                return Err(HostError::invalid(format!(
                    "a pattern of config keys has 1 to {CONFIG_KEY_BYTES_MAX} bytes, not {}",
                    pattern.len()
                )));
            }
        }
        let names_nothing = |pattern: &String| pattern.bytes().all(|b| b == b'*');
        let patterns = match patterns.iter().any(names_nothing) {
            true => Scope::Any,
            false => Scope::Only(patterns.iter().map(|text| text.to_lowercase()).collect()),
        };
        Ok(Self { patterns })
    }

    /// Returns whether a key is within the scope, whether it exists or not.
    #[must_use]
    pub fn allows(&self, key: &str) -> bool {
        let key = key.to_lowercase();
        match &self.patterns {
            Scope::Any => !SECRET_PARTS.iter().any(|part| key.contains(part)),
            Scope::Only(patterns) => patterns.iter().any(|one| pattern::matches(one, &key)),
        }
    }
}
