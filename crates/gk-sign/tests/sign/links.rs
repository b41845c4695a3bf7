//! Packages whose files are links: as Kubernetes mounts configuration, and as releases are
//! switched.

use std::fs;
use std::os::unix::fs::symlink;

use gk_sign::{Cache, Policy, Request, Requirement, State, VerifiedArtifact, VerifyError, verify};

use crate::package::{Package, refused};

/// Moves what is in the package into `..2026_11/` and puts links in its place.
fn as_kubernetes_mounts(package: &Package) {
    let names: Vec<_> = fs::read_dir(package.root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    fs::create_dir(package.path("..2026_11")).unwrap();
    symlink("..2026_11", package.path("..data")).unwrap();
    for name in names {
        fs::rename(
            package.path(&name),
            package.path(&format!("..2026_11/{name}")),
        )
        .unwrap();
        symlink(format!("..data/{name}"), package.path(&name)).unwrap();
    }
}

fn verified(package: &Package) -> Result<VerifiedArtifact, VerifyError> {
    let root = package.root().canonicalize().unwrap();
    let within = root.parent().unwrap().to_owned();
    let policy: Policy = package.policy(Requirement::Enforce);
    let request: Request = package.request_at(&root).within(within);
    verify(&request, &policy, &Cache::new())
}

#[test]
fn a_mounted_package_keeps_its_signature() {
    let package = Package::new();
    package.sign_v2();
    as_kubernetes_mounts(&package);
    assert_eq!(verified(&package).unwrap().state(), State::Valid);
    // Without the boundary no link is followed, as before.
    assert!(package.verify().is_err());
    // Each file there is counts: one that is not signed is one too many, also behind the links.
    fs::write(package.path("..2026_11/more"), "").unwrap();
    let refusal = refused(verified(&package));
    assert_eq!(refusal.state(), State::Tampered);
    assert!(refusal.file().ends_with("more"), "{refusal}");
}

#[test]
fn a_link_that_leads_out_is_refused_whatever_is_signed() {
    let package = Package::new();
    let claims = package.sign_v2();
    let outside = tempfile::tempdir().unwrap();
    let other = claims
        .files()
        .iter()
        .find(|file| file.path() != claims.binary())
        .unwrap();
    // The very bytes that are signed, at a place that somebody else may write to.
    let elsewhere = outside.path().join("file");
    fs::copy(package.path(other.path()), &elsewhere).unwrap();
    fs::remove_file(package.path(other.path())).unwrap();
    symlink(&elsewhere, package.path(other.path())).unwrap();
    let refusal = refused(verified(&package));
    assert_eq!(refusal.state(), State::Tampered);
    let problem = format!("{:?}", refusal.problem());
    assert!(problem.contains("LeadsOut"), "{problem}");
}
