//! What is fuzzed: every text that comes from outside. The target fails by panicking.

use gk_sign::{BinarySignature, KeyId, PackageSignature, PublicKey, SecretKey, TrustStore};

/// The public half of the key that made the seeds.
const SIGNER: &str = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29";

/// One text, taken for each kind in turn.
pub fn signature(data: &[u8]) {
    if let Ok(signature) = BinarySignature::parse(data) {
        let again = BinarySignature::parse(signature.to_hex().as_bytes());
        assert_eq!(again, Ok(signature));
    }
    if let Ok(signature) = PackageSignature::parse(data) {
        let signer = PublicKey::from_hex(SIGNER).expect("a key");
        // Whatever fits was read as a whole, so it keeps the rules.
        if let Ok(claims) = signature.verify(&signer) {
            assert!(claims.files().is_sorted_by(|a, b| a.path() < b.path()));
            assert!(
                claims
                    .file(claims.binary())
                    .is_some_and(|file| file.is_executable())
            );
            assert!(claims.file(claims.manifest()).is_some());
            for file in claims.files() {
                assert!(
                    !file
                        .path()
                        .split('/')
                        .any(|part| part.is_empty() || part == "..")
                );
            }
        }
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(key) = PublicKey::from_hex(text) {
        assert_eq!(key.to_hex(), text.to_lowercase());
    }
    if let Ok(key) = SecretKey::from_hex(text) {
        assert_eq!(*key.to_hex(), text.trim().to_lowercase());
    }
    let _ = text.parse::<KeyId>();
    let mut store = TrustStore::new();
    let _ = store.trust_list(text, "list");
    let _ = store.trust_lines(text, "lines");
    let _ = store.revoke_lines(text, "revocations");
}
