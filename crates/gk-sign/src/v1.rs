//! Version 1, upstream's format: `<binary>.sig`, a signature over the SHA-256 of the binary and
//! nothing else.

use crate::digest::{Digest, HexError, decode, encode};
use crate::key::{BadSignature, PublicKey, SecretKey};

/// The content of `<binary>.sig`: 128 hexadecimal digits of an ed25519 signature over the 32 bytes
/// of the binary's SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BinarySignature([u8; 64]);

impl BinarySignature {
    /// Signs a binary by its digest.
    pub fn sign(key: &SecretKey, binary: &Digest) -> Self {
        Self(key.sign(binary.as_bytes()))
    }

    /// Reads 128 digits of either case; white space after them is ignored.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(text: &[u8]) -> Result<Self, HexError> {
        let mut signature = [0; 64];
        decode(text.trim_ascii_end(), &mut signature)?;
        Ok(Self(signature))
    }

    /// 128 lower-case digits without a line break, as every version of upstream reads them.
    pub fn to_hex(&self) -> String {
        encode(&self.0)
    }

    /// Whether `key` made this over the binary with this digest.
    ///
    /// # Errors
    /// It did not.
    pub fn verify(&self, key: &PublicKey, binary: &Digest) -> Result<(), BadSignature> {
        key.verify(binary.as_bytes(), &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn white_space_at_the_end_is_all_that_is_forgiven() {
        let key = SecretKey::generate().unwrap();
        let signature = BinarySignature::sign(&key, &Digest::of(b"binary"));
        let hex = signature.to_hex();
        for text in [hex.clone(), hex.to_uppercase(), format!("{hex}\r\n \t\n")] {
            assert_eq!(BinarySignature::parse(text.as_bytes()), Ok(signature));
        }
        for text in [
            format!(" {hex}"),
            format!("{hex}0"),
            hex[1..].to_owned(),
            format!("{hex}\n{hex}"),
            String::new(),
        ] {
            BinarySignature::parse(text.as_bytes()).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(text in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = BinarySignature::parse(&text);
        }

        #[test]
        fn a_signature_survives_its_text(bytes in prop::array::uniform32(any::<u8>())) {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&bytes);
            let signature = BinarySignature(signature);
            prop_assert_eq!(BinarySignature::parse(signature.to_hex().as_bytes()), Ok(signature));
        }
    }
}
