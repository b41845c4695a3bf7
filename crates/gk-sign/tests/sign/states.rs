//! Every state, where signatures are required and where not, and what people read.

use std::fs;

use gk_sign::{Policy, Problem, Requirement, SecretKey, State, TrustStore, VerifyError};

use crate::package::{BINARY, MANIFEST, Package, bytes, chmod, refused, trusting};

#[test]
fn valid() {
    let package = Package::new();
    let claims = package.sign_v2();
    let artifact = package.verify().unwrap();
    assert_eq!(artifact.state(), State::Valid);
    assert_eq!(artifact.key(), Some(package.key.public().id()));
    assert_eq!(artifact.claims(), Some(&claims));
    assert_eq!(artifact.manifest(), Some(MANIFEST));
    assert_eq!(bytes(&artifact), BINARY);
    assert!(artifact.warning().is_none());
    let said = (claims.name(), claims.version(), claims.date_text());
    assert_eq!(said, ("hello", "1.0.0", "2026-11-18T11:06:40Z".to_owned()));
    let paths: Vec<_> = claims.files().iter().map(|file| file.path()).collect();
    let expected = [
        "assets/img/a goat.svg",
        "assets/style.css",
        "hello",
        "plugin.yaml",
    ];
    assert_eq!(paths, expected);
    assert_eq!(artifact.read("assets/img/a goat.svg").unwrap(), b"<svg/>");
    // Signing again replaces the signature, and leaves nothing else behind.
    package.sign_v2();
    assert_eq!(package.verify().unwrap().state(), State::Valid);
}

#[test]
fn valid_v1() {
    let package = Package::new();
    package.sign_v1();
    let artifact = package.verify().unwrap();
    assert_eq!(artifact.state(), State::ValidV1);
    assert_eq!(artifact.key(), Some(package.key.public().id()));
    assert!(artifact.claims().is_none() && artifact.manifest().is_none());
    let covered = artifact.read("plugin.yaml").unwrap_err();
    assert!(
        matches!(covered, VerifyError::NotCovered { .. }),
        "{covered}"
    );
    // An editor's line break, and a tool's upper case.
    let sig = package.path("hello.sig");
    let hex = fs::read_to_string(&sig).unwrap();
    fs::write(&sig, hex.to_uppercase() + "\n").unwrap();
    package.verify().unwrap();
    let strict = package.policy(Requirement::Enforce).without_version_1();
    let refusal = refused(package.verify_with(&strict));
    assert!(matches!(refusal.problem(), Problem::Version1), "{refusal}");
    let lax = package.policy(Requirement::Warn).without_version_1();
    assert!(package.verify_with(&lax).unwrap().warning().is_some());
    // With a plugin.sig over both, that one counts.
    package.sign_v2();
    assert_eq!(package.verify_with(&strict).unwrap().state(), State::Valid);
}

#[test]
fn unsigned() {
    let package = Package::new();
    let refusal = package.refusal();
    assert_eq!(refusal.state(), State::Unsigned);
    let text = refusal.to_string();
    assert!(
        text.contains("/hello/hello: there is no signature; "),
        "{text}"
    );
    let artifact = package
        .verify_with(&package.policy(Requirement::Warn))
        .unwrap();
    assert_eq!(artifact.state(), State::Unsigned);
    assert_eq!(bytes(&artifact), BINARY);
    assert_eq!(artifact.warning().unwrap().to_string(), text);
}

#[test]
fn untrusted_key() {
    let package = Package::new();
    let other = SecretKey::generate().unwrap().public();
    let stranger = |requirement| Policy::new(trusting(std::slice::from_ref(&other)), requirement);
    package.sign_v1();
    let refusal = refused(package.verify_with(&stranger(Requirement::Enforce)));
    assert_eq!(refusal.state(), State::UntrustedKey);
    assert!(
        refusal.to_string().contains("none of the 1 trusted keys"),
        "{refusal}"
    );
    let nobody = Policy::new(TrustStore::new(), Requirement::Enforce);
    let refusal = refused(package.verify_with(&nobody));
    assert_eq!(refusal.state(), State::UntrustedKey);
    assert!(
        refusal.to_string().contains("GOATFLOW_TRUSTED_KEYS"),
        "{refusal}"
    );
    package.sign_v2();
    let refusal = refused(package.verify_with(&stranger(Requirement::Enforce)));
    assert_eq!(refusal.state(), State::UntrustedKey);
    let id = package.key.public().id();
    assert_eq!(refusal.key(), Some(id));
    let text = refusal.to_string();
    assert!(
        text.contains("plugin.sig: ") && text.contains(&id.to_string()),
        "{text}"
    );
    let artifact = package.verify_with(&stranger(Requirement::Warn)).unwrap();
    assert_eq!(artifact.state(), State::UntrustedKey);
    // What a stranger says counts for nothing.
    assert!(artifact.claims().is_none() && artifact.manifest().is_none());
    assert!(artifact.key().is_none() && artifact.warning().is_some());
}

#[test]
fn revoked() {
    let package = Package::new();
    let key = package.key.public();
    let asset = gk_sign::Digest::of(b"p { color: red }");
    let binary = gk_sign::Digest::of(BINARY);
    let revoking = |line: String, requirement| {
        let mut trust = trusting(std::slice::from_ref(&key));
        trust.revoke_lines(&line, "revocations").unwrap();
        refused(package.verify_with(&Policy::new(trust, requirement)))
    };
    for requirement in [Requirement::Enforce, Requirement::Warn] {
        // Unsigned: only its digest can be revoked.
        for signature in ["none", "v1", "v2"] {
            match signature {
                "v1" => package.sign_v1(),
                "v2" => drop(package.sign_v2()),
                _ => {}
            }
            let refusal = revoking(format!("digest {binary}"), requirement);
            assert_eq!(refusal.state(), State::Revoked, "{signature}");
            assert_eq!(refusal.file(), package.path("hello"));
            if signature == "none" {
                continue;
            }
            let refusal = revoking(format!("key {}", key.id()), requirement);
            assert_eq!(refusal.state(), State::Revoked, "{signature}");
            assert_eq!(refusal.key(), Some(key.id()));
        }
        let refusal = revoking(format!("digest {asset}"), requirement);
        assert_eq!(refusal.file(), package.path("assets/style.css"));
        for signature in ["hello.sig", "plugin.sig"] {
            fs::remove_file(package.path(signature)).unwrap();
        }
    }
}

/// Every start is judged by the trust of that moment, and a cached binary is not taken out of that.
#[test]
fn a_restart_is_judged_anew() {
    let package = Package::new();
    package.sign_v2();
    let first = package.verify().unwrap();
    assert_eq!(package.cache.len(), 1);
    let second = package.verify().unwrap();
    // The same memory file, since the file on disk has the same digest.
    assert_eq!(first.exec_path(), second.exec_path());
    let nobody = Policy::new(TrustStore::new(), Requirement::Enforce);
    assert_eq!(
        refused(package.verify_with(&nobody)).state(),
        State::UntrustedKey
    );
    fs::remove_file(package.path("plugin.sig")).unwrap();
    assert_eq!(package.refusal().state(), State::Unsigned);
    // A new version of the same size is another memory file, and the old one is as it was.
    fs::write(package.path("hello"), BINARY.to_ascii_uppercase()).unwrap();
    package.sign_v2();
    let third = package.verify().unwrap();
    assert_ne!(first.exec_path(), third.exec_path());
    assert_eq!(bytes(&first), BINARY);
    assert_eq!(bytes(&third), BINARY.to_ascii_uppercase());
    assert_eq!(package.cache.len(), 2);
    // A revoked one leaves the cache.
    let mut trust = trusting(&[package.key.public()]);
    trust.revoke_digest(*third.digest()).unwrap();
    refused(package.verify_with(&Policy::new(trust, Requirement::Enforce)));
    assert_eq!(package.cache.len(), 1);
}

/// What is refused takes no room: a stranger's files cannot push good ones out.
#[test]
fn what_is_refused_is_not_cached() {
    let package = Package::new();
    package.refusal();
    package.sign_v1();
    fs::write(package.path("hello"), "changed").unwrap();
    package.refusal();
    assert!(package.cache.is_empty());
}

#[test]
fn a_binary_without_its_x_bit() {
    let package = Package::new();
    package.sign_v1();
    chmod(&package.path("hello"), 0o644);
    let error = package.verify().unwrap_err();
    assert!(error.to_string().contains("chmod +x"), "{error}");
    let error = gk_sign::sign_package(&package.key, &package.to_sign()).unwrap_err();
    assert!(matches!(error, gk_sign::SignError::Package(_)), "{error}");
    assert!(!package.path("plugin.sig").exists());
}

#[test]
fn limits_of_files() {
    let package = Package::new();
    let grow = |path: &str, size: u64| {
        let file = fs::OpenOptions::new().append(true).open(package.path(path));
        file.unwrap().set_len(size).unwrap();
    };
    // A sparse file: nothing of it is read.
    grow("hello", gk_sign::limits::FILE_BYTES_MAX + 1);
    let error = package.verify_with(&package.policy(Requirement::Warn));
    assert!(matches!(error, Err(VerifyError::File(_))), "{error:?}");
    grow("hello", 10);
    fs::write(package.path("hello.sig"), " ".repeat(1025)).unwrap();
    assert_eq!(package.refusal().state(), State::Tampered);
    grow("plugin.yaml", gk_sign::limits::MANIFEST_BYTES_MAX);
    fs::remove_file(package.path("hello.sig")).unwrap();
    package.sign_v2();
    package.verify().unwrap();
    grow("plugin.yaml", gk_sign::limits::MANIFEST_BYTES_MAX + 1);
    gk_sign::sign_package(&package.key, &package.to_sign()).unwrap_err();
}
