//! A package for tests: binary, manifest, assets.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use gk_sign::{
    Cache, Claims, PackageToSign, Policy, PublicKey, Refusal, Request, Requirement, SecretKey,
    TrustStore, VerifiedArtifact, VerifyError, sign_binary, sign_package,
};

pub(crate) const MANIFEST: &[u8] = b"name: hello\nversion: \"1.0.0\"\nruntime: grpc\n";
pub(crate) const BINARY: &[u8] = b"#!/bin/sh\necho hello\n";

pub(crate) struct Package {
    temp: tempfile::TempDir,
    pub(crate) key: SecretKey,
    pub(crate) cache: Cache,
}

impl Package {
    pub(crate) fn new() -> Self {
        let package = Self {
            temp: tempfile::tempdir().unwrap(),
            key: SecretKey::generate().unwrap(),
            cache: Cache::new(),
        };
        // A directory below the temporary one, so that the tests can put a link in its place.
        fs::create_dir_all(package.path("assets/img")).unwrap();
        fs::write(package.path("plugin.yaml"), MANIFEST).unwrap();
        fs::write(package.path("hello"), BINARY).unwrap();
        fs::write(package.path("assets/style.css"), "p { color: red }").unwrap();
        fs::write(package.path("assets/img/a goat.svg"), "<svg/>").unwrap();
        chmod(&package.path("hello"), 0o755);
        package
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.temp.path().join("hello")
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    pub(crate) fn to_sign(&self) -> PackageToSign {
        PackageToSign {
            directory: self.root(),
            name: "hello".into(),
            version: "1.0.0".into(),
            manifest: "plugin.yaml".into(),
            binary: "hello".into(),
            date: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_000_000_999),
        }
    }

    pub(crate) fn sign_v2(&self) -> Claims {
        sign_package(&self.key, &self.to_sign()).unwrap()
    }

    pub(crate) fn sign_v1(&self) {
        sign_binary(&self.key, &self.path("hello")).unwrap();
    }

    pub(crate) fn policy(&self, requirement: Requirement) -> Policy {
        Policy::new(trusting(&[self.key.public()]), requirement)
    }

    pub(crate) fn request(&self) -> Request {
        self.request_at(&self.root())
    }

    pub(crate) fn request_at(&self, root: &Path) -> Request {
        Request::new(root, "hello").named("hello")
    }

    pub(crate) fn verify_with(&self, policy: &Policy) -> Result<VerifiedArtifact, VerifyError> {
        gk_sign::verify(&self.request(), policy, &self.cache)
    }

    pub(crate) fn verify(&self) -> Result<VerifiedArtifact, VerifyError> {
        self.verify_with(&self.policy(Requirement::Enforce))
    }

    /// The refusal there has to be, where signatures are required.
    pub(crate) fn refusal(&self) -> Refusal {
        refused(self.verify())
    }
}

pub(crate) fn trusting(keys: &[PublicKey]) -> TrustStore {
    let mut trust = TrustStore::new();
    for key in keys {
        trust.trust(key.clone()).unwrap();
    }
    trust
}

pub(crate) fn refused(result: Result<VerifiedArtifact, VerifyError>) -> Refusal {
    match result.unwrap_err() {
        VerifyError::Refused(refusal) => *refusal,
        error => panic!("{error:?}"),
    }
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The bytes behind the artifact's descriptor.
pub(crate) fn bytes(artifact: &VerifiedArtifact) -> Vec<u8> {
    use std::os::unix::fs::FileExt as _;
    let file = fs::File::from(artifact.as_fd().try_clone_to_owned().unwrap());
    let mut bytes = vec![0; usize::try_from(artifact.size()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(file.read_at(&mut [0], artifact.size()).unwrap(), 0);
    bytes
}
