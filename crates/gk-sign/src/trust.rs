//! Whom the operator trusts, whom no longer, and whether unsigned plugins may run.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::key::{KeyError, KeyId, PublicKey};
use crate::limits::{KEYS_MAX, LIST_BYTES_MAX, REVOKED_MAX};

/// Environment variable with trusted public keys, separated by commas.
pub const TRUSTED_KEYS: &str = "GOATFLOW_TRUSTED_KEYS";
/// Environment variable with the path of a file of trusted public keys; read if [`TRUSTED_KEYS`] is
/// not set.
pub const TRUSTED_KEYS_FILE: &str = "GOATFLOW_TRUSTED_KEYS_FILE";
/// Environment variable that makes signatures a must.
pub const REQUIRE_SIGNATURES: &str = "GOATFLOW_REQUIRE_SIGNATURES";

/// Treatment of a plugin without a signature of a trusted key. Tampered and revoked plugins never
/// run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The plugin is refused.
    Enforce,
    /// The plugin runs, and the caller warns with
    /// [`VerifiedArtifact::warning`](crate::VerifiedArtifact::warning).
    Warn,
}

/// Trusted keys, revoked keys, revoked digests. Empty at first: then nobody is trusted.
#[derive(Clone, Debug, Default)]
pub struct TrustStore {
    keys: Vec<PublicKey>,
    revoked_keys: BTreeSet<KeyId>,
    revoked_digests: BTreeSet<Digest>,
}

/// The operator's settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// An entry is no usable public key.
    #[error("{place}: not a key that can be trusted")]
    Key {
        /// Variable, or file and line, or `entry n`.
        place: String,
        /// Description of the problem.
        #[source]
        source: KeyError,
    },
    /// A line of a list of revocations is none.
    #[error(
        "{place}: not a revocation; write `key` and a key id, or `digest` and a SHA-256, in hexadecimal"
    )]
    Revocation {
        /// File and line.
        place: String,
    },
    /// Too many entries.
    #[error("{place}: more than {max} entries; remove what is no longer needed")]
    TooMany {
        /// Place of the first entry that is too many.
        place: String,
        /// Maximum number of entries.
        max: usize,
    },
    /// A variable is not Unicode, or not one of its values.
    #[error("{name} has a value that cannot be used; {remedy}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// Correct form.
        remedy: &'static str,
    },
    /// A list cannot be read.
    #[error("the list {path} cannot be read", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A list is larger than [`LIST_BYTES_MAX`].
    #[error("the list {path} has more than {LIST_BYTES_MAX} bytes; is it the right file?", path = .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

/// State of a key in the store.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Standing<'a> {
    Trusted(&'a PublicKey),
    Revoked,
    Unknown,
}

impl Requirement {
    /// From the value of [`REQUIRE_SIGNATURES`]: `1` enforces; unset, empty or `0` warns.
    ///
    /// # Errors
    /// Any other value: somebody who writes `true` does not mean a warning.
    pub fn from_value(value: Option<&OsStr>) -> Result<Self, TrustError> {
        match value.map(OsStr::to_str) {
            Some(Some("1")) => Ok(Self::Enforce),
            None | Some(Some("" | "0")) => Ok(Self::Warn),
            Some(_) => Err(TrustError::Variable {
                name: REQUIRE_SIGNATURES,
                remedy: "write 1 to refuse plugins without a trusted signature, or 0",
            }),
        }
    }

    /// From the environment.
    ///
    /// # Errors
    /// As [`Requirement::from_value`].
    pub fn from_env() -> Result<Self, TrustError> {
        Self::from_value(std::env::var_os(REQUIRE_SIGNATURES).as_deref())
    }
}

impl TrustStore {
    /// A store that trusts nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// From the environment: [`TRUSTED_KEYS`], else [`TRUSTED_KEYS_FILE`], else nobody.
    ///
    /// # Errors
    /// One entry that cannot be used makes the whole an error: a key that is silently left out
    /// looks later like a tampered plugin.
    pub fn from_env() -> Result<Self, TrustError> {
        Self::from_variables(|name| std::env::var_os(name))
    }

    /// As [`TrustStore::from_env`], from other variables than the process's own.
    ///
    /// # Errors
    /// As [`TrustStore::from_env`].
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, TrustError> {
        let mut store = Self::new();
        if let Some(keys) = variable(TRUSTED_KEYS).filter(|value| !value.is_empty()) {
            let keys = keys.to_str().ok_or(TrustError::Variable {
                name: TRUSTED_KEYS,
                remedy: "write public keys of 64 hexadecimal digits, separated by commas",
            })?;
            store.trust_list(keys, TRUSTED_KEYS)?;
        } else if let Some(path) = variable(TRUSTED_KEYS_FILE).filter(|value| !value.is_empty()) {
            store.trust_file(Path::new(&path))?;
        }
        Ok(store)
    }

    /// Trusts `key`.
    ///
    /// # Errors
    /// [`TrustError::TooMany`] beyond [`KEYS_MAX`].
    pub fn trust(&mut self, key: PublicKey) -> Result<(), TrustError> {
        self.trust_at(key, || "trusted keys".into())
    }

    /// Trusts keys that are separated by commas. `origin` is for errors.
    ///
    /// # Errors
    /// The first entry that cannot be used.
    pub fn trust_list(&mut self, text: &str, origin: &str) -> Result<(), TrustError> {
        for (number, entry) in text.split(',').map(str::trim).enumerate() {
            if !entry.is_empty() {
                self.trust_text(entry, || format!("{origin}, entry {}", number + 1))?;
            }
        }
        Ok(())
    }

    /// Trusts keys, one a line; `#` starts a comment. `origin` is for errors.
    ///
    /// # Errors
    /// The first line that cannot be used.
    pub fn trust_lines(&mut self, text: &str, origin: &str) -> Result<(), TrustError> {
        for (place, line) in lines(text, origin) {
            self.trust_text(line, place)?;
        }
        Ok(())
    }

    /// Trusts the keys of a file as [`TrustStore::trust_lines`] reads them.
    ///
    /// # Errors
    /// A file that cannot be read, or is too large, and the first line that cannot be used.
    pub fn trust_file(&mut self, path: &Path) -> Result<(), TrustError> {
        self.trust_lines(&read_list(path)?, &path.display().to_string())
    }

    /// Revokes a key: what it signed is refused, also where the key is trusted as well.
    ///
    /// # Errors
    /// [`TrustError::TooMany`] beyond [`REVOKED_MAX`].
    pub fn revoke_key(&mut self, key: KeyId) -> Result<(), TrustError> {
        if !self.is_key_revoked(key) {
            let count = self.revoked_keys.len() + 1;
            check_count(count, REVOKED_MAX, || "revoked keys".into())?;
            self.revoked_keys.insert(key);
        }
        Ok(())
    }

    /// Revokes a file, whoever signed it: a plugin that has it is refused.
    ///
    /// # Errors
    /// [`TrustError::TooMany`] beyond [`REVOKED_MAX`].
    pub fn revoke_digest(&mut self, digest: Digest) -> Result<(), TrustError> {
        if !self.is_digest_revoked(&digest) {
            let count = self.revoked_digests.len() + 1;
            check_count(count, REVOKED_MAX, || "revoked digests".into())?;
            self.revoked_digests.insert(digest);
        }
        Ok(())
    }

    /// Revokes what each line names: `key <key id>` or `digest <SHA-256>`; `#` starts a comment.
    ///
    /// # Errors
    /// The first line that cannot be used.
    pub fn revoke_lines(&mut self, text: &str, origin: &str) -> Result<(), TrustError> {
        for (place, line) in lines(text, origin) {
            let (kind, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let value = value.trim();
            match kind {
                "key" if let Ok(key) = value.parse() => self.revoke_key(key)?,
                "digest" if let Ok(digest) = value.parse() => self.revoke_digest(digest)?,
                _ => return Err(TrustError::Revocation { place: place() }),
            }
        }
        Ok(())
    }

    /// Revokes what a file names, as [`TrustStore::revoke_lines`] reads it.
    ///
    /// # Errors
    /// A file that cannot be read, or is too large, and the first line that cannot be used.
    pub fn revoke_file(&mut self, path: &Path) -> Result<(), TrustError> {
        self.revoke_lines(&read_list(path)?, &path.display().to_string())
    }

    /// Every key that was trusted, revoked ones included.
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// Returns `true` if this key is revoked.
    pub fn is_key_revoked(&self, key: KeyId) -> bool {
        self.revoked_keys.contains(&key)
    }

    /// Returns `true` if a file with this digest is revoked.
    pub fn is_digest_revoked(&self, digest: &Digest) -> bool {
        self.revoked_digests.contains(digest)
    }

    pub(crate) fn standing(&self, id: KeyId) -> Standing<'_> {
        if self.is_key_revoked(id) {
            return Standing::Revoked;
        }
        self.keys
            .iter()
            .find(|key| key.id() == id)
            .map_or(Standing::Unknown, Standing::Trusted)
    }

    fn trust_text(&mut self, text: &str, place: impl Fn() -> String) -> Result<(), TrustError> {
        let key = PublicKey::from_hex(text).map_err(|source| TrustError::Key {
            place: place(),
            source,
        })?;
        self.trust_at(key, place)
    }

    fn trust_at(&mut self, key: PublicKey, place: impl Fn() -> String) -> Result<(), TrustError> {
        if !self.keys.contains(&key) {
            check_count(self.keys.len() + 1, KEYS_MAX, place)?;
            self.keys.push(key);
        }
        Ok(())
    }
}

fn check_count(count: usize, max: usize, place: impl Fn() -> String) -> Result<(), TrustError> {
    if count > max {
        return Err(TrustError::TooMany {
            place: place(),
            max,
        });
    }
    Ok(())
}

/// Lines with something in them, each with what says where it stands.
fn lines<'a>(
    text: &'a str,
    origin: &'a str,
) -> impl Iterator<Item = (impl Fn() -> String + 'a, &'a str)> {
    text.lines().enumerate().filter_map(move |(number, line)| {
        let line = line.split('#').next().unwrap_or_default().trim();
        let place = move || format!("{origin}, line {}", number + 1);
        (!line.is_empty()).then_some((place, line))
    })
}

fn read_list(path: &Path) -> Result<String, TrustError> {
    let read = |source| TrustError::Read {
        path: path.into(),
        source,
    };
    let file = File::open(path).map_err(read)?;
    let mut text = String::new();
    file.take(LIST_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(read)?;
    if text.len() as u64 > LIST_BYTES_MAX {
        return Err(TrustError::TooLarge { path: path.into() });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SecretKey;

    fn key() -> PublicKey {
        SecretKey::generate().unwrap().public()
    }

    #[test]
    fn keys_come_from_the_environment_or_its_file() {
        let (a, b) = (key(), key());
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("keys");
        let text = format!("# ours\n\n  {}  # until spring\r\n", b.to_hex());
        std::fs::write(&path, text).unwrap();
        let list = format!("{}, {},", a.to_hex(), a.to_hex().to_uppercase());
        let store = |keys: Option<&str>, file: bool| {
            TrustStore::from_variables(|name| match name {
                TRUSTED_KEYS => keys.map(Into::into),
                TRUSTED_KEYS_FILE => file.then(|| path.clone().into()),
                _ => panic!("{name} is read"),
            })
        };
        assert_eq!(store(Some(&list), true).unwrap().keys(), [a]);
        assert_eq!(store(Some(""), true).unwrap().keys(), [b]);
        assert_eq!(store(None, false).unwrap().keys(), []);
        let error = store(Some("abc"), true).unwrap_err();
        assert_eq!(
            error.to_string(),
            "GOATFLOW_TRUSTED_KEYS, entry 1: not a key that can be trusted"
        );
        std::fs::write(&path, "\nzz\n").unwrap();
        let error = store(None, true).unwrap_err().to_string();
        assert!(
            error.ends_with("keys, line 2: not a key that can be trusted"),
            "{error}"
        );
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(store(None, true), Err(TrustError::Read { .. })));
    }

    #[test]
    fn only_one_and_zero_are_answers() {
        let value = |text: &str| Requirement::from_value(Some(OsStr::new(text)));
        assert_eq!(value("1").unwrap(), Requirement::Enforce);
        assert_eq!(value("0").unwrap(), Requirement::Warn);
        assert_eq!(Requirement::from_value(None).unwrap(), Requirement::Warn);
        for text in ["true", "yes", " 1", "on"] {
            value(text).unwrap_err();
        }
    }

    #[test]
    fn revocation_beats_trust() {
        let a = key();
        let mut store = TrustStore::new();
        store.trust(a.clone()).unwrap();
        assert_eq!(store.standing(a.id()), Standing::Trusted(&a));
        let digest = Digest::of(b"evil");
        let text = format!("key {}\ndigest\t{digest} # leaked\n", a.id());
        store.revoke_lines(&text, "revoked").unwrap();
        assert_eq!(store.standing(a.id()), Standing::Revoked);
        assert!(store.is_digest_revoked(&digest));
        for line in ["key", "key abc", "digest 12", "evil", &a.to_hex()] {
            let error = store
                .revoke_lines(&format!("# \n{line}"), "revoked")
                .unwrap_err();
            assert!(
                error.to_string().starts_with("revoked, line 2: "),
                "{error}"
            );
        }
    }

    #[test]
    fn the_lists_are_bounded() {
        let mut store = TrustStore::new();
        for _ in 0..KEYS_MAX {
            store.trust(key()).unwrap();
        }
        // One that is there already takes no room.
        store.trust(store.keys()[0].clone()).unwrap();
        assert!(matches!(
            store.trust(key()),
            Err(TrustError::TooMany { .. })
        ));
        for number in 0..REVOKED_MAX {
            store
                .revoke_digest(Digest::of(&number.to_le_bytes()))
                .unwrap();
        }
        store.revoke_digest(Digest::of(b"x")).unwrap_err();
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("keys");
        let max = usize::try_from(LIST_BYTES_MAX).unwrap();
        std::fs::write(&path, "#".repeat(max)).unwrap();
        TrustStore::new().trust_file(&path).unwrap();
        std::fs::write(&path, "#".repeat(max + 1)).unwrap();
        let error = TrustStore::new().trust_file(&path).unwrap_err();
        assert!(matches!(error, TrustError::TooLarge { .. }), "{error}");
    }
}
