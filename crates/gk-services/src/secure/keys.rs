//! The keys that secrets are encrypted with, and the encryption itself.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use gk_hostapi::HostError;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::SealedSecret;

/// Bytes of a key.
pub const ENCRYPTION_KEY_BYTES: usize = 32;
/// Most keys at once: the one that encrypts, and former ones.
pub const ENCRYPTION_KEYS_MAX: usize = 16;
/// Longest file of keys, in bytes.
const KEY_FILE_BYTES_MAX: u64 = 16 * 1024;
/// Bytes of a nonce; so many that random ones never repeat.
const NONCE_BYTES: usize = 24;

/// Keys of secrets, at least one. The first encrypts, all decrypt.
#[derive(Clone)]
pub struct SecureKeys {
    keys: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    id: String,
    cipher: XChaCha20Poly1305,
}

/// Why a secret cannot be read.
pub(super) enum OpenError {
    /// The key it was encrypted with is not here.
    NoKey,
    /// The secret was changed, moved, or encrypted with another key of the same id.
    Broken,
}

impl SecureKeys {
    /// Parses keys: 64 hexadecimal digits each, separated by commas or white space, the one that
    /// encrypts first. What follows a `#` up to the end of the line is left out.
    ///
    /// # Errors
    /// Invalid: no key, too many, or something else than keys. The text repeats nothing of them.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let mut keys = Vec::new();
        let lines = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default());
        for hex in lines.flat_map(|line| line.split([',', ' ', '\t'])) {
            if hex.is_empty() {
                continue;
            }
            if keys.len() == ENCRYPTION_KEYS_MAX {
                return Err(HostError::invalid(format!(
                    "there are more than {ENCRYPTION_KEYS_MAX} encryption keys"
                )));
            }
            let key = Key::parse(hex).ok_or_else(|| {
                HostError::invalid(format!(
                    "encryption key {} is not {} hexadecimal digits; `openssl rand -hex \
                     {ENCRYPTION_KEY_BYTES}` makes one",
                    keys.len() + 1,
                    2 * ENCRYPTION_KEY_BYTES
                ))
            })?;
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(HostError::invalid("there is no encryption key"));
        }
        Ok(Self { keys })
    }

    /// Reads keys from a file that nobody but its owner may read. Blocks.
    ///
    /// # Errors
    /// As [`parse`](Self::parse); invalid also: the file's mode. Unavailable: it cannot be read.
    pub fn from_file(path: &Path) -> Result<Self, HostError> {
        let unreadable = |error: std::io::Error| {
            HostError::unavailable(format!(
                "the file of encryption keys cannot be read: {error}"
            ))
        };
        let metadata = path.metadata().map_err(unreadable)?;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(HostError::invalid(
                "the file of encryption keys can be read by others; chmod 600 it",
            ));
        }
        if metadata.len() > KEY_FILE_BYTES_MAX {
            return Err(HostError::invalid(format!(
                "the file of encryption keys has more than {KEY_FILE_BYTES_MAX} bytes"
            )));
        }
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(unreadable)?);
        Self::parse(&text)
    }

    /// The id of the key that encrypts: the beginning of its hash. It tells keys apart and nothing
    /// about them.
    #[must_use]
    pub fn current_id(&self) -> &str {
        self.keys.first().map_or("", |key| &key.id)
    }

    /// Returns whether there is a key of that id.
    pub(super) fn has(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id == id)
    }

    /// Encrypts with the first key. The place is part of what is authenticated: a secret that is
    /// moved to another plugin or key does not decrypt.
    pub(super) fn seal(
        &self,
        plugin: &str,
        name: &str,
        secret: &[u8],
    ) -> Result<SealedSecret, HostError> {
        let failed = || HostError::unavailable("the secret cannot be encrypted");
        let key = self.keys.first().ok_or_else(failed)?;
        let mut nonce = vec![0; NONCE_BYTES];
        getrandom::fill(&mut nonce)
            .map_err(|_| HostError::unavailable("the system gives no random bytes"))?;
        let place = associated_data(plugin, name, &key.id);
        let payload = Payload {
            msg: secret,
            aad: &place,
        };
        let sealed = key
            .cipher
            .encrypt(XNonce::from_slice(&nonce), payload)
            .map_err(|_| failed())?;
        Ok(SealedSecret {
            key_id: key.id.clone(),
            nonce,
            sealed,
        })
    }

    pub(super) fn open(
        &self,
        plugin: &str,
        name: &str,
        sealed: &SealedSecret,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let key = self.keys.iter().find(|key| key.id == sealed.key_id);
        let key = key.ok_or(OpenError::NoKey)?;
        if sealed.nonce.len() != NONCE_BYTES {
            return Err(OpenError::Broken);
        }
        let place = associated_data(plugin, name, &key.id);
        let payload = Payload {
            msg: &sealed.sealed,
            aad: &place,
        };
        key.cipher
            .decrypt(XNonce::from_slice(&sealed.nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| OpenError::Broken)
    }
}

impl fmt::Debug for SecureKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.keys.iter().map(|key| &key.id))
            .finish()
    }
}

impl Key {
    fn parse(hex: &str) -> Option<Self> {
        let digits = hex.as_bytes();
        if digits.len() != 2 * ENCRYPTION_KEY_BYTES {
            return None;
        }
        let mut bytes = Zeroizing::new([0_u8; ENCRYPTION_KEY_BYTES]);
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(*pair.get(at)?).to_digit(16);
            *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
        }
        let mut hash = Sha256::new();
        hash.update(b"goatkit secure config key id\0");
        hash.update(*bytes);
        let id = hash.finalize();
        Some(Self {
            id: id
                .iter()
                .take(8)
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            cipher: XChaCha20Poly1305::new((&*bytes).into()),
        })
    }
}

/// The associated data of a secret's encryption: its place, each part with its length before it.
fn associated_data(plugin: &str, name: &str, key_id: &str) -> Vec<u8> {
    let mut data = b"goatkit secure config 1\0".to_vec();
    for part in [plugin, name, key_id] {
        data.extend_from_slice(&(part.len() as u64).to_be_bytes());
        data.extend_from_slice(part.as_bytes());
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";
    const B: &str = "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn keys_are_parsed_and_never_shown() {
        let keys = SecureKeys::parse(&format!("{B} # the new one\n\n{A}\n")).unwrap();
        assert_eq!(keys.keys.len(), 2);
        assert_eq!(
            keys.current_id(),
            SecureKeys::parse(B).unwrap().current_id()
        );
        assert_eq!(
            SecureKeys::parse(&format!("{B},{A}")).unwrap().keys.len(),
            2
        );
        let lower = SecureKeys::parse(&A.to_lowercase()).unwrap();
        assert_eq!(
            lower.current_id(),
            SecureKeys::parse(A).unwrap().current_id()
        );
        assert!(!format!("{keys:?}").contains(&B[..8]), "{keys:?}");
        let many = vec![A; ENCRYPTION_KEYS_MAX + 1].join("\n");
        for bad in [
            "",
            "# nothing",
            &A[1..],
            &format!("{A}0"),
            &A.replace('0', "g"),
            &many,
        ] {
            let error = SecureKeys::parse(bad).unwrap_err().to_string();
            assert!(!error.contains("2233"), "{error}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), A).unwrap();
        let mode = |mode| std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(file.path(), mode(0o640)).unwrap();
        let error = SecureKeys::from_file(file.path()).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
        std::fs::set_permissions(file.path(), mode(0o600)).unwrap();
        SecureKeys::from_file(file.path()).unwrap();
    }

    #[test]
    fn a_secret_opens_where_it_was_sealed_and_nowhere_else() {
        let keys = SecureKeys::parse(A).unwrap();
        let mut sealed = keys.seal("p", "k", b"secret").unwrap();
        let opens = |plugin, name, sealed: &SealedSecret| {
            keys.open(plugin, name, sealed)
                .is_ok_and(|s| **s == *b"secret")
        };
        assert!(opens("p", "k", &sealed));
        assert!(!opens("q", "k", &sealed));
        assert!(!opens("p", "l", &sealed));
        assert!(!opens("pk", "", &sealed));
        sealed.sealed[0] ^= 1;
        assert!(!opens("p", "k", &sealed));
        sealed.sealed[0] ^= 1;
        sealed.nonce[0] ^= 1;
        assert!(!opens("p", "k", &sealed));
        sealed.nonce.pop();
        assert!(!opens("p", "k", &sealed));
    }

    #[test]
    fn the_same_secret_never_looks_the_same() {
        let keys = SecureKeys::parse(A).unwrap();
        let one = keys.seal("p", "k", b"secret").unwrap();
        let two = keys.seal("p", "k", b"secret").unwrap();
        assert_ne!(one.nonce, two.nonce);
        assert_ne!(one.sealed, two.sealed);
    }
}
