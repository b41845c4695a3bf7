//! Every part that a signature covers, changed after signing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use gk_sign::{Problem, Request, Requirement, State, VerifyError};

use crate::package::{Package, chmod, refused};

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Signs, changes, and expects a refusal that names `file`; also where signatures are not required.
fn tampered(file: &str, change: impl Fn(&Package)) -> String {
    let package = Package::new();
    package.sign_v2();
    package.verify().unwrap();
    change(&package);
    let refusal = package.refusal();
    assert_eq!(refusal.state(), State::Tampered, "{refusal}");
    assert_eq!(refusal.file(), package.path(file), "{refusal}");
    assert_eq!(
        refused(package.verify_with(&package.policy(Requirement::Warn))).file(),
        refusal.file()
    );
    let text = refusal.to_string();
    assert!(text.contains("; ") && text.contains(file), "{text}");
    text
}

#[test]
fn a_flipped_bit_of_any_file() {
    for file in [
        "hello",
        "plugin.yaml",
        "assets/style.css",
        "assets/img/a goat.svg",
    ] {
        let text = tampered(file, |package| flip(&package.path(file)));
        assert!(text.contains("changed after signing"), "{text}");
    }
}

#[test]
fn longer_shorter_empty() {
    for content in ["", "#!/bin/sh\n", "#!/bin/sh\necho hello\n\n"] {
        tampered("hello", |package| {
            fs::write(package.path("hello"), content).unwrap()
        });
    }
}

#[test]
fn files_added_removed_renamed() {
    tampered("assets/more.js", |package| {
        fs::write(package.path("assets/more.js"), "alert(1)").unwrap();
    });
    // A second signature file deeper down is a file like any other.
    tampered("assets/plugin.sig", |package| {
        fs::write(package.path("assets/plugin.sig"), "").unwrap();
    });
    tampered("assets/style.css", |package| {
        fs::remove_file(package.path("assets/style.css")).unwrap();
    });
    tampered("assets/theme.css", |package| {
        fs::rename(
            package.path("assets/style.css"),
            package.path("assets/theme.css"),
        )
        .unwrap();
    });
    // Contents exchanged: the same set of names, and the same set of bytes.
    tampered("assets/img/a goat.svg", |package| {
        let (a, b) = (
            package.path("assets/style.css"),
            package.path("assets/img/a goat.svg"),
        );
        let spare = package.root().with_extension("spare");
        fs::rename(&a, &spare).unwrap();
        fs::rename(&b, &a).unwrap();
        fs::rename(&spare, &b).unwrap();
    });
}

#[test]
fn x_bits() {
    tampered("hello", |package| chmod(&package.path("hello"), 0o644));
    tampered("assets/style.css", |package| {
        chmod(&package.path("assets/style.css"), 0o755);
    });
    // Who may read it is no part of what is signed.
    let package = Package::new();
    package.sign_v2();
    chmod(&package.path("hello"), 0o500);
    package.verify().unwrap();
}

#[test]
fn links_swapped_in() {
    for file in ["hello", "plugin.yaml", "assets/style.css"] {
        tampered(file, |package| {
            // With the very bytes that were signed behind it.
            let outside = package.root().with_extension("outside");
            fs::rename(package.path(file), &outside).unwrap();
            symlink(&outside, package.path(file)).unwrap();
        });
    }
    tampered("assets", |package| {
        let outside = package.root().with_extension("outside");
        fs::rename(package.path("assets"), &outside).unwrap();
        symlink(&outside, package.path("assets")).unwrap();
    });
    tampered("plugin.sig", |package| {
        let outside = package.root().with_extension("outside");
        fs::rename(package.path("plugin.sig"), &outside).unwrap();
        symlink(&outside, package.path("plugin.sig")).unwrap();
    });
    let package = Package::new();
    package.sign_v2();
    let outside = package.root().with_extension("outside");
    fs::rename(package.root(), &outside).unwrap();
    symlink(&outside, package.root()).unwrap();
    let error = package.verify().unwrap_err();
    assert!(matches!(error, VerifyError::File(_)), "{error}");
}

#[test]
fn the_signature_file_itself() {
    // Another version of the plugin under the old signature, or the other way round.
    let text = tampered("plugin.sig", |package| {
        let path = package.path("plugin.sig");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("version: 1.0.0", "version: 9.0.0")).unwrap();
    });
    assert!(text.contains("signature file was changed"), "{text}");
    for damage in ["", "goatkit-plugin-signature 3\n", "\0"] {
        let text = tampered("plugin.sig", |package| {
            // A good signature of version 1 does not help: there is no way down.
            package.sign_v1();
            fs::write(package.path("plugin.sig"), damage).unwrap();
        });
        assert!(text.contains("damaged"), "{text}");
    }
}

#[test]
fn version_1_damaged_or_of_another_binary() {
    let package = Package::new();
    package.sign_v1();
    fs::write(package.path("hello.sig"), "abc").unwrap();
    assert_eq!(package.refusal().state(), State::Tampered);
    package.sign_v1();
    flip(&package.path("hello"));
    let refusal = package.refusal();
    assert_eq!(refusal.state(), State::UntrustedKey);
    assert!(
        refusal.to_string().contains("binary was changed"),
        "{refusal}"
    );
}

/// Version 1 lets a signed binary pass under another plugin's name and manifest; version 2 does
/// not.
#[test]
fn a_signed_plugin_in_anothers_place() {
    let package = Package::new();
    package.sign_v1();
    let policy = package.policy(Requirement::Enforce);
    let as_other = Request::new(package.root(), "hello").named("other");
    let passed = gk_sign::verify(&as_other, &policy, &package.cache).unwrap();
    assert_eq!(passed.state(), State::ValidV1);
    package.sign_v2();
    let refusal = refused(gk_sign::verify(&as_other, &policy, &package.cache));
    assert!(
        matches!(refusal.problem(), Problem::Name { .. }),
        "{refusal}"
    );
    // Nor does one signed file pass for the binary of the package.
    chmod(&package.path("assets/style.css"), 0o755);
    package.sign_v2();
    let other = Request::new(package.root(), "assets/style.css").named("hello");
    let refusal = refused(gk_sign::verify(&other, &policy, &package.cache));
    assert!(
        matches!(refusal.problem(), Problem::Binary { .. }),
        "{refusal}"
    );
}

/// What was verified stays what it was; what is read later is compared once more.
#[test]
fn changed_after_verification() {
    let package = Package::new();
    package.sign_v2();
    let artifact = package.verify().unwrap();
    for file in ["hello", "plugin.yaml", "assets/style.css"] {
        flip(&package.path(file));
    }
    assert_eq!(crate::package::bytes(&artifact), crate::package::BINARY);
    assert_eq!(artifact.manifest(), Some(crate::package::MANIFEST));
    let error = artifact.read("assets/style.css").unwrap_err();
    let refusal = error.refusal().unwrap();
    assert!(matches!(refusal.problem(), Problem::Content), "{refusal}");
    assert_eq!(artifact.read("assets/img/a goat.svg").unwrap(), b"<svg/>");
}
