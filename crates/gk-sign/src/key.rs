//! Keys: reading, checking, naming them, and making signatures with them.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use zeroize::{Zeroize as _, Zeroizing};

use crate::digest::{Digest, HexError, decode, encode};

/// The name of a key: the first 16 bytes of the SHA-256 of its 32 public bytes, as 32 hexadecimal
/// digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 16]);

/// An ed25519 public key that is fit for use. Its text is 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    key: VerifyingKey,
    id: KeyId,
}

/// An ed25519 private key, wiped from memory when it is dropped.
pub struct SecretKey(SigningKey);

/// A text is not a usable key. No part of the text is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not the 64 digits of a public key.
    #[error(
        "this is not a public key (64 hexadecimal digits); a private key has 128 and must not be given here"
    )]
    Public(#[source] HexError),
    /// Not the 128 digits of a private key.
    #[error("this is not a private key (128 hexadecimal digits: seed, then public key)")]
    Secret(#[source] HexError),
    /// The bytes are no point of the curve, or not in their one canonical form.
    #[error("this is not an ed25519 public key; copy it again from where it was made")]
    NotAPoint,
    /// A point of small order: anybody can make signatures that seem to fit such a key.
    #[error(
        "this public key is of small order, for which signatures can be forged; never trust it"
    )]
    Weak,
    /// The second half of a private key is not the public key of its first half.
    #[error("the private key's two halves do not belong together; copy it again")]
    Halves,
    /// The system gave no random numbers.
    #[error("the system gave no random numbers to make a key from")]
    Random,
}

/// A signature does not fit message and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not fit")]
#[non_exhaustive]
pub struct BadSignature;

impl PublicKey {
    /// Reads 64 hexadecimal digits.
    ///
    /// # Errors
    /// A text that is no such key, or a key of small order.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        decode(text.as_bytes(), &mut bytes).map_err(KeyError::Public)?;
        Self::from_bytes(&bytes)
    }

    /// Takes the 32 bytes.
    ///
    /// # Errors
    /// [`KeyError::NotAPoint`] and [`KeyError::Weak`].
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotAPoint)?;
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        // A second notation of the same key would have another id, which revocation would miss.
        if key.to_edwards().compress().as_bytes() != bytes {
            return Err(KeyError::NotAPoint);
        }
        Ok(Self {
            id: KeyId::of(&key),
            key,
        })
    }

    /// The key's name.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// 64 lower-case digits.
    pub fn to_hex(&self) -> String {
        encode(self.key.as_bytes())
    }

    /// Strict verification: no points of small order, no second form of a signature.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), BadSignature> {
        self.key
            .verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature))
            .map_err(|_| BadSignature)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.to_hex())
    }
}

impl SecretKey {
    /// A new key.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|_| KeyError::Random)?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Reads 128 hexadecimal digits: the seed, then the public key. White space around them is
    /// ignored.
    ///
    /// # Errors
    /// A text that is no such key, or whose halves do not belong together.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; 64]);
        decode(text.trim().as_bytes(), &mut *bytes).map_err(KeyError::Secret)?;
        SigningKey::from_keypair_bytes(&bytes)
            .map(Self)
            .map_err(|_| KeyError::Halves)
    }

    /// 128 lower-case digits, for the file that only the signer reads; wiped when dropped.
    pub fn to_hex(&self) -> Zeroizing<String> {
        let mut bytes = self.0.to_keypair_bytes();
        let text = Zeroizing::new(encode(&bytes));
        bytes.zeroize();
        text
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        let key = self.0.verifying_key();
        PublicKey {
            id: KeyId::of(&key),
            key,
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public().id())
    }
}

impl KeyId {
    fn of(key: &VerifyingKey) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&Digest::of(key.as_bytes()).as_bytes()[..16]);
        Self(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl FromStr for KeyId {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        let mut id = [0; 16];
        decode(text.as_bytes(), &mut id)?;
        Ok(Self(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_their_text() {
        let key = SecretKey::generate().unwrap();
        let again = SecretKey::from_hex(&format!(" {}\n", *key.to_hex())).unwrap();
        assert_eq!(again.public(), key.public());
        let public = PublicKey::from_hex(&key.public().to_hex().to_uppercase()).unwrap();
        assert_eq!(public, key.public());
        assert_eq!(public.id().to_string().parse(), Ok(public.id()));
        public.verify(b"message", &key.sign(b"message")).unwrap();
        assert_eq!(
            public.verify(b"massage", &key.sign(b"message")),
            Err(BadSignature)
        );
    }

    #[test]
    fn wrong_lengths_are_errors_and_never_panics() {
        let digits = "ab".repeat(200);
        for length in 0..digits.len() {
            if length != 64 {
                let error = PublicKey::from_hex(&digits[..length]).unwrap_err();
                assert!(matches!(error, KeyError::Public(_)), "{length}: {error}");
            }
            if length != 128 {
                let error = SecretKey::from_hex(&digits[..length]).unwrap_err();
                assert!(matches!(error, KeyError::Secret(_)), "{length}: {error}");
            }
        }
        let mixed = SecretKey::from_hex(&digits[..128]).unwrap_err();
        assert_eq!(mixed, KeyError::Halves);
    }

    /// For the identity as a key, R = identity and s = 0 is a signature of everything by the
    /// textbook's equation.
    #[test]
    fn a_key_of_small_order_is_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        let mut forged = [0; 64];
        forged[0] = 1;
        let lenient = VerifyingKey::from_bytes(&identity).unwrap();
        let signature = ed25519_dalek::Signature::from_bytes(&forged);
        use ed25519_dalek::Verifier as _;
        lenient.verify(b"anything", &signature).unwrap();
        assert_eq!(PublicKey::from_bytes(&identity), Err(KeyError::Weak));
        // The eight points of small order, by one of the other encodings.
        let order_eight = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a";
        assert_eq!(PublicKey::from_hex(order_eight), Err(KeyError::Weak));
        // No point at all.
        let mut nothing = [0; 32];
        nothing[0] = 2;
        assert_eq!(PublicKey::from_bytes(&nothing), Err(KeyError::NotAPoint));
    }

    /// y = 3 and y = p + 3 are one point; with both notations a revoked key could come back under a
    /// new id.
    #[test]
    fn a_key_has_one_notation() {
        let mut refused = 0;
        for low in 0xed_u8..=0xff {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (low, 0x7f);
            if VerifyingKey::from_bytes(&bytes).is_ok() {
                refused += 1;
                PublicKey::from_bytes(&bytes).unwrap_err();
            }
        }
        assert!(refused >= 5, "{refused}");
    }

    #[test]
    fn a_private_key_is_not_shown() {
        let key = SecretKey::generate().unwrap();
        let shown = format!("{key:?}");
        assert!(!shown.contains(&key.to_hex()[..16]), "{shown}");
        // A private key given as a public one is not repeated by the error either.
        let error = PublicKey::from_hex(&key.to_hex()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(&key.to_hex()[..16]));
    }

    /// Adding the group's order to s gives a second signature of the same message to a lenient
    /// verifier.
    #[test]
    fn a_signature_has_one_form() {
        const ORDER: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9,
            0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let key = SecretKey::generate().unwrap();
        let mut signature = key.sign(b"message");
        let mut carry = 0;
        for (byte, add) in signature[32..].iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            *byte = sum.to_le_bytes()[0];
            carry = sum >> 8;
        }
        assert_eq!(
            key.public().verify(b"message", &signature),
            Err(BadSignature)
        );
    }
}
