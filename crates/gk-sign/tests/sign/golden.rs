//! Signatures made by Go's crypto/ed25519 (`tests/plugins/signer`, which `cargo xtask golden
//! --check` runs again).

use gk_sign::{BinarySignature, Digest, PublicKey, SecretKey};

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

#[test]
fn what_go_signed_verifies_and_is_signed_the_same() {
    let vectors = include_str!("../data/v1.jsonl");
    let mut checked = 0;
    for line in vectors.lines() {
        let vector: serde_json::Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| vector[name].as_str().unwrap().to_owned();
        let digest = Digest::of(&unhex(&field("binary")));
        assert_eq!(digest.to_string(), field("digest"));
        let public = PublicKey::from_hex(&field("public")).unwrap();
        assert_eq!(public.id().to_string(), field("key_id"));
        let signature = BinarySignature::parse(field("signature").as_bytes()).unwrap();
        signature.verify(&public, &digest).unwrap();
        signature
            .verify(&public, &Digest::of(b"another"))
            .unwrap_err();
        let secret = SecretKey::from_hex(&field("private")).unwrap();
        assert_eq!(*secret.to_hex(), field("private"));
        assert_eq!(secret.public(), public);
        assert_eq!(
            BinarySignature::sign(&secret, &digest).to_hex(),
            field("signature")
        );
        checked += 1;
    }
    assert_eq!(checked, 3);
}
