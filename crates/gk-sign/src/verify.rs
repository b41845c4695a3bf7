//! Verification: one pass over the package, in which every byte that is judged is a byte that is
//! kept.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::Pinned;
use crate::artifact::VerifiedArtifact;
use crate::cache::Cache;
use crate::digest::Digest;
use crate::key::KeyId;
use crate::limits::{
    BINARY_SIGNATURE_BYTES_MAX, FILE_BYTES_MAX, MANIFEST_BYTES_MAX, PACKAGE_SIGNATURE_BYTES_MAX,
};
use crate::package::{FileError, Listed, Opened, Package, Stamp};
use crate::refusal::{Problem, Refusal, State, VerifyError};
use crate::trust::{Requirement, Standing, TrustStore};
use crate::v1::BinarySignature;
use crate::v2::{Claims, PACKAGE_SIGNATURE, PackageSignature, SignedFile};

/// Which plugin to verify.
#[derive(Clone, Debug)]
pub struct Request {
    directory: PathBuf,
    binary: String,
    name: Option<String>,
    within: Option<PathBuf>,
}

impl Request {
    /// The package in `directory`, which is not a link, with the binary at the path `binary` inside
    /// of it.
    pub fn new(directory: impl Into<PathBuf>, binary: impl Into<String>) -> Self {
        Self {
            directory: directory.into(),
            binary: binary.into(),
            name: None,
            within: None,
        }
    }

    /// Follows links in the package as long as they stay in `directory`, which the package is in.
    /// Both must be absolute and without links themselves. Without this no link is followed.
    ///
    /// A file that is reached by several paths counts as signed if one of them is: what Kubernetes
    /// mounts has each file a second time in a directory of its own.
    #[must_use]
    pub fn within(mut self, directory: impl Into<PathBuf>) -> Self {
        self.within = Some(directory.into());
        self
    }

    /// The name the plugin is loaded as; a package that is signed under another one is refused.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

/// The operator's will, as of now.
#[derive(Clone, Debug)]
pub struct Policy {
    trust: TrustStore,
    requirement: Requirement,
    version_1: bool,
}

impl Policy {
    /// Trusts whom `trust` names. Version 1 signatures are accepted, as upstream does.
    pub fn new(trust: TrustStore, requirement: Requirement) -> Self {
        Self {
            trust,
            requirement,
            version_1: true,
        }
    }

    /// Distrusts packages with only a version 1 signature, as if they had no signature. As long as
    /// it is accepted, somebody who can write into a package can take its `plugin.sig` away and
    /// leave an old signed binary with another manifest.
    #[must_use]
    pub fn without_version_1(mut self) -> Self {
        self.version_1 = false;
        self
    }
}

/// Judges a plugin and pins its binary.
///
/// To be called before *every* start: the signature is read, and trust and revocation are judged,
/// anew each time. A package with a `plugin.sig` is judged by that alone; a broken one is never
/// passed over for a `<binary>.sig`. Blocks for as long as reading and hashing the package takes.
///
/// # Errors
/// [`VerifyError::Refused`] says which file, which key, and what to do. Tampered and revoked
/// packages are refused also where signatures are not required.
pub fn verify(
    request: &Request,
    policy: &Policy,
    cache: &Cache,
) -> Result<VerifiedArtifact, VerifyError> {
    let package = Package::open(&request.directory, request.within.as_deref())?;
    let job = Job {
        request,
        policy,
        cache,
        package,
    };
    let signature = job
        .package
        .read(PACKAGE_SIGNATURE, PACKAGE_SIGNATURE_BYTES_MAX);
    let verdict = match job.about_package(None, signature)? {
        Some(text) => job.version_2(&text)?,
        None => job.version_1()?,
    };
    let digest = verdict.pinned.digest();
    if policy.trust.is_digest_revoked(digest) {
        cache.remove(digest);
        let problem = Problem::RevokedFile(*digest);
        return Err(job.refuse(&request.binary, verdict.key, problem));
    }
    let warning = match verdict.doubt {
        Some(refusal) if policy.requirement == Requirement::Enforce => return Err(refusal.into()),
        doubt => doubt,
    };
    cache.insert(&verdict.pinned, verdict.stamp);
    Ok(VerifiedArtifact {
        pinned: verdict.pinned,
        package: job.package,
        state: verdict.state,
        key: verdict.key,
        claims: verdict.claims,
        manifest: verdict.manifest,
        warning,
    })
}

struct Job<'a> {
    request: &'a Request,
    policy: &'a Policy,
    cache: &'a Cache,
    package: Package,
}

/// The bytes of a file, and what will tell that it has been written since.
type PinnedFile = (Arc<Pinned>, Option<Stamp>);

/// State of the signature.
struct Verdict {
    pinned: Arc<Pinned>,
    /// The stamp of the file that was pinned; `None` if later changes could go unseen.
    stamp: Option<Stamp>,
    state: State,
    key: Option<KeyId>,
    claims: Option<Claims>,
    manifest: Option<Vec<u8>>,
    /// Why it does not run where signatures are required.
    doubt: Option<Refusal>,
}

impl Job<'_> {
    /// A package with a `plugin.sig`.
    fn version_2(&self, text: &[u8]) -> Result<Verdict, VerifyError> {
        let signature = PackageSignature::parse(text)
            .map_err(|error| self.refuse(PACKAGE_SIGNATURE, None, Problem::Format(error)))?;
        let id = signature.key();
        let refuse = |file: &str, problem| self.refuse(file, Some(id), problem);
        let key = match self.policy.trust.standing(id) {
            Standing::Trusted(key) => key,
            Standing::Revoked => return Err(refuse(PACKAGE_SIGNATURE, Problem::RevokedKey)),
            Standing::Unknown => {
                let doubt = self.refusal(PACKAGE_SIGNATURE, Some(id), Problem::UntrustedKey);
                return self.doubted(doubt);
            }
        };
        let claims = signature
            .verify(key)
            .map_err(|_| refuse(PACKAGE_SIGNATURE, Problem::Signature))?;
        if let Some(name) = &self.request.name
            && *name != claims.name
        {
            let signed = claims.name.clone();
            return Err(refuse(PACKAGE_SIGNATURE, Problem::Name { signed }));
        }
        if self.request.binary != claims.binary {
            let signed = claims.binary.clone();
            return Err(refuse(PACKAGE_SIGNATURE, Problem::Binary { signed }));
        }
        for file in &claims.files {
            if self.policy.trust.is_digest_revoked(&file.digest) {
                self.cache.remove(&file.digest);
                return Err(refuse(&file.path, Problem::RevokedFile(file.digest)));
            }
        }
        self.compare_lists(&claims)?;
        let (mut pinned, mut stamp, mut manifest) = (None, None, None);
        for file in &claims.files {
            let opened = self.about_package(Some(id), self.package.file(&file.path))?;
            if opened.executable != file.executable {
                let signed = file.executable;
                return Err(refuse(&file.path, Problem::Executable { signed }));
            }
            if opened.size != file.size {
                return Err(refuse(&file.path, Problem::Content));
            }
            let digest = if file.path == claims.binary {
                let binary = self.pin(&file.path, &opened)?;
                stamp = opened.stamp_now();
                *pinned.insert(binary).digest()
            } else if file.path == claims.manifest {
                let read = self
                    .package
                    .read_opened(&file.path, &opened, MANIFEST_BYTES_MAX);
                Digest::of(manifest.insert(self.about_package(Some(id), read)?))
            } else {
                self.hash(file, &opened)?
                    .ok_or_else(|| refuse(&file.path, Problem::Content))?
            };
            if digest != file.digest {
                return Err(refuse(&file.path, Problem::Content));
            }
        }
        Ok(Verdict {
            // The claims list their binary, or there were none.
            pinned: pinned.ok_or_else(|| refuse(&claims.binary, Problem::Missing))?,
            stamp,
            state: State::Valid,
            key: Some(id),
            claims: Some(claims),
            manifest,
            doubt: None,
        })
    }

    /// A package without one.
    fn version_1(&self) -> Result<Verdict, VerifyError> {
        let binary = &self.request.binary;
        let name = format!("{binary}.sig");
        let text = self.package.read(&name, BINARY_SIGNATURE_BYTES_MAX);
        let Some(text) = self.about_package(None, text)? else {
            return self.doubted(self.refusal(binary, None, Problem::Unsigned));
        };
        let signature = BinarySignature::parse(&text)
            .map_err(|error| self.refuse(&name, None, Problem::Hex(error)))?;
        let (pinned, stamp) = self.pin_executable()?;
        let trust = &self.policy.trust;
        let mut signers = trust.keys().iter();
        let signer = signers.find(|key| signature.verify(key, pinned.digest()).is_ok());
        let Some(signer) = signer.map(|key| key.id()) else {
            let trusted = trust.keys().iter();
            let trusted = trusted
                .filter(|key| !trust.is_key_revoked(key.id()))
                .count();
            let doubt = self.refusal(&name, None, Problem::NoKeyFits { trusted });
            return Ok(Verdict::doubted((pinned, stamp), doubt));
        };
        if trust.is_key_revoked(signer) {
            return Err(self.refuse(&name, Some(signer), Problem::RevokedKey));
        }
        let doubt =
            (!self.policy.version_1).then(|| self.refusal(&name, Some(signer), Problem::Version1));
        Ok(Verdict {
            pinned,
            stamp,
            state: State::ValidV1,
            key: Some(signer),
            claims: None,
            manifest: None,
            doubt,
        })
    }

    /// The verdict on a binary without a trusted signature: the binary is pinned, the doubt
    /// recorded.
    fn doubted(&self, doubt: Refusal) -> Result<Verdict, VerifyError> {
        // Even a binary that will be refused is pinned: its digest may be revoked, which comes
        // first.
        Ok(Verdict::doubted(self.pin_executable()?, doubt))
    }

    /// Every signed file is there, and no other.
    fn compare_lists(&self, claims: &Claims) -> Result<(), VerifyError> {
        let key = Some(claims.key);
        let found = self.about_package(key, self.package.list(PACKAGE_SIGNATURE))?;
        let is_signed = |listed: &&Listed| claims.file(&listed.path).is_some();
        let signed: HashSet<_> = found
            .iter()
            .filter(is_signed)
            .map(|listed| listed.inode)
            .collect();
        let extra = found
            .iter()
            .find(|listed| !is_signed(listed) && !signed.contains(&listed.inode));
        if let Some(extra) = extra {
            return Err(self.refuse(&extra.path, key, Problem::Extra));
        }
        let there = |file: &SignedFile| {
            let path = |listed: &Listed| listed.path.cmp(&file.path);
            found.binary_search_by(path).is_ok()
        };
        match claims.files.iter().find(|file| !there(file)) {
            Some(missing) => Err(self.refuse(&missing.path, key, Problem::Missing)),
            None => Ok(()),
        }
    }

    fn hash(&self, file: &SignedFile, opened: &Opened) -> Result<Option<Digest>, VerifyError> {
        let hashed = Digest::of_file(&opened.file, file.size);
        let hashed = hashed.map_err(|source| FileError::Read {
            path: self.package.full(&file.path),
            source,
        })?;
        Ok(hashed.map(|(digest, _)| digest))
    }

    fn pin_executable(&self) -> Result<PinnedFile, VerifyError> {
        let binary = &self.request.binary;
        let opened = self.package.file(binary)?;
        if !opened.executable {
            return Err(VerifyError::NotExecutable {
                path: self.package.full(binary),
            });
        }
        Ok((self.pin(binary, &opened)?, opened.stamp_now()))
    }

    /// The cached bytes that are those of this file, else a copy of it.
    fn pin(&self, path: &str, opened: &Opened) -> Result<Arc<Pinned>, VerifyError> {
        let too_large = || FileError::TooLarge {
            path: self.package.full(path),
            max: FILE_BYTES_MAX,
        };
        let failed = |source| VerifyError::Pin {
            path: self.package.full(path),
            source,
        };
        if opened.size > FILE_BYTES_MAX {
            return Err(too_large().into());
        }
        let found = self.cache.find(opened);
        if let Some(pinned) = found.map_err(failed)? {
            return Ok(pinned);
        }
        let pinned = Pinned::new(&opened.file, FILE_BYTES_MAX).map_err(failed)?;
        Ok(Arc::new(pinned.ok_or_else(too_large)?))
    }

    /// An error that the package causes is refused as tampering; an error of the system stays
    /// itself.
    fn about_package<T>(
        &self,
        key: Option<KeyId>,
        result: Result<T, FileError>,
    ) -> Result<T, VerifyError> {
        result.map_err(|error| {
            if !error.is_about_package() {
                return error.into();
            }
            let refusal = Refusal {
                state: State::Tampered,
                file: error.path().to_owned(),
                key,
                problem: match error {
                    FileError::Missing { .. } => Problem::Missing,
                    error => Problem::File(error),
                },
            };
            refusal.into()
        })
    }

    fn refuse(&self, file: &str, key: Option<KeyId>, problem: Problem) -> VerifyError {
        self.refusal(file, key, problem).into()
    }

    fn refusal(&self, file: &str, key: Option<KeyId>, problem: Problem) -> Refusal {
        let state = match problem {
            Problem::Unsigned => State::Unsigned,
            Problem::UntrustedKey | Problem::NoKeyFits { .. } => State::UntrustedKey,
            Problem::Version1 => State::ValidV1,
            Problem::RevokedKey | Problem::RevokedFile(_) => State::Revoked,
            _ => State::Tampered,
        };
        Refusal {
            state,
            file: self.package.full(file),
            key,
            problem,
        }
    }
}

impl Verdict {
    fn doubted((pinned, stamp): PinnedFile, doubt: Refusal) -> Self {
        Self {
            pinned,
            stamp,
            state: doubt.state,
            key: None,
            claims: None,
            manifest: None,
            doubt: Some(doubt),
        }
    }
}
