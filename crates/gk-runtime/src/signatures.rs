//! Verification between a plugin's files and its start: the operator's trust settings, and one pass
//! in which the bytes that are judged are pinned.
//!
//! Every start of an installed package goes through [`verify`], also that of a plugin that ran
//! before, so changes on the disk and revocations take effect. Versions that ran are not
//! remembered: an older signed package starts. A version that came up before and is pinned is
//! judged again by [`verify_again`], without its files.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use gk_manifest::{Diagnostic, Manifest, PluginName};
use gk_sign::{
    Cache, Claims, Digest, KeyId, Policy, Request, Requirement, State, TrustError, TrustStore,
    VerifiedArtifact,
};
use parking_lot::Mutex;

use crate::discover::Discovered;
use crate::error::PluginError;
use crate::files::{Files, MANIFEST_NAME, Stamp};
use crate::limits::{LINKED_ENTRIES_MAX, LINKED_MAX, WARNED_VERSIONS_MAX};

/// Trust settings of the operator: the trusted keys, and the rule for plugins without a trusted
/// signature.
#[derive(Debug, Clone)]
pub struct Signatures {
    trust: TrustStore,
    requirement: Requirement,
    version_1: bool,
    revocations: Option<PathBuf>,
}

impl Default for Signatures {
    /// Trusts no key; all plugins run unless they were tampered with.
    fn default() -> Self {
        Self::new(TrustStore::new(), Requirement::Warn)
    }
}

impl Signatures {
    /// Trusts these keys. Version 1 signatures are accepted.
    pub fn new(trust: TrustStore, requirement: Requirement) -> Self {
        Self {
            trust,
            requirement,
            version_1: true,
            revocations: None,
        }
    }

    /// Treats a version 1 signature as none.
    #[must_use]
    pub fn without_version_1(mut self) -> Self {
        self.version_1 = false;
        self
    }

    /// Also revokes the keys and digests listed in a file. The file is read on every start of a
    /// plugin, so additions take effect at once. While it cannot be used, no plugin starts.
    ///
    /// # Errors
    /// The file cannot be used now.
    pub fn with_revocations(mut self, file: impl Into<PathBuf>) -> Result<Self, TrustError> {
        self.revocations = Some(file.into());
        self.policy()?;
        Ok(self)
    }

    /// Returns true if a plugin must be signed by a trusted key.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.requirement == Requirement::Enforce
    }

    /// Returns the number of trusted keys, without those that are revoked.
    ///
    /// # Errors
    /// The list of revocations cannot be used.
    pub fn trusted_keys(&self) -> Result<usize, TrustError> {
        let trust = self.trust()?;
        let keys = trust.keys().iter();
        Ok(keys.filter(|key| !trust.is_key_revoked(key.id())).count())
    }

    /// Returns the trust store as of now, with the revocations.
    fn trust(&self) -> Result<TrustStore, TrustError> {
        let mut trust = self.trust.clone();
        if let Some(file) = &self.revocations {
            trust.revoke_file(file)?;
        }
        Ok(trust)
    }

    /// Checks that the list of revocations can be used.
    ///
    /// # Errors
    /// The list of revocations cannot be used.
    pub(crate) fn check(&self) -> Result<(), TrustError> {
        self.trust().map(drop)
    }

    /// Returns the stamp of the file of revocations, which changes when the file does.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        self.revocations.as_deref().and_then(Stamp::of)
    }

    /// Returns the policy as of now.
    fn policy(&self) -> Result<Policy, TrustError> {
        let policy = Policy::new(self.trust()?, self.requirement);
        Ok(if self.version_1 {
            policy
        } else {
            policy.without_version_1()
        })
    }
}

/// State of a plugin's signature at its last start, or attempt to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignatureState {
    /// Verdict; as text `valid`, `valid-v1`, `unsigned`, `untrusted key`, `tampered` or `revoked`.
    pub state: State,
    /// Key that signed, or that the signature names, if known.
    pub key: Option<KeyId>,
}

/// A plugin that may start: its pinned binary, and the manifest that goes with it.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) artifact: Arc<VerifiedArtifact>,
    pub(crate) manifest: Arc<Manifest>,
    /// Warnings about the manifest.
    pub(crate) warnings: Vec<Diagnostic>,
    /// The directory that was judged, without links: another may be at the discovered path by now.
    pub(crate) dir: PathBuf,
    /// Path at which the binary was found; for its name and for messages.
    pub(crate) program: PathBuf,
    /// Files that the process is started from, for later comparison.
    pub(crate) files: Arc<Files>,
    /// Targets of the package's links, which the plugin may see as well.
    pub(crate) linked: Vec<PathBuf>,
}

impl Verified {
    pub(crate) fn signature(&self) -> SignatureState {
        let doubted = self.artifact.warning().and_then(gk_sign::Refusal::key);
        SignatureState {
            state: self.artifact.state(),
            key: self.artifact.key().or(doubted),
        }
    }
}

/// Judges a plugin as it is now. Blocks while its package is read.
pub(crate) fn verify(
    signatures: &Signatures,
    cache: &Cache,
    found: &Discovered,
) -> Result<Verified, PluginError> {
    let policy = signatures.policy().map_err(PluginError::Revocations)?;
    // The operator may have linked the directory. Links inside of it must stay in the plugins
    // directory, or in the package where that is elsewhere.
    let dir = found.dir.canonicalize();
    let dir = dir.map_err(|source| PluginError::Files {
        dir: found.dir.clone(),
        source,
    })?;
    let binary = package_path(&found.manifest.binary);
    let program = dir.join(&binary);
    let within = match dir.starts_with(&found.plugins_dir) {
        true => &found.plugins_dir,
        false => &dir,
    };
    let request = Request::new(&dir, &*binary)
        .named(found.name.as_str())
        .within(within);
    let artifact = gk_sign::verify(&request, &policy, cache)?;
    let file = dir.join(MANIFEST_NAME);
    let (manifest, warnings) = match (artifact.claims(), artifact.manifest()) {
        (Some(claims), Some(bytes)) => {
            let (manifest, warnings) =
                Manifest::parse(&file, bytes).map_err(|source| PluginError::Manifest {
                    source: Box::new(source),
                })?;
            compare(&file, &manifest, claims, &found.name)?;
            (Arc::new(manifest), warnings)
        }
        // The signature does not cover the manifest, so the discovered one is used.
        _ => (Arc::clone(&found.manifest), found.warnings.clone()),
    };
    let linked = linked(&artifact, found, &dir);
    Ok(Verified {
        linked,
        // By the path at which it was found: a link in it may lead elsewhere later.
        files: Arc::new(Files::new(
            &found.dir,
            &found.dir.join(&binary),
            *artifact.digest(),
            Arc::clone(&manifest),
        )),
        program,
        dir,
        artifact: Arc::new(artifact),
        manifest,
        warnings,
    })
}

/// Checks that an artifact which was verified before may still run. Blocks while the revocations
/// are read.
pub(crate) fn verify_again(
    signatures: &Signatures,
    verified: &Verified,
) -> Result<(), PluginError> {
    let trust = signatures.trust().map_err(PluginError::Revocations)?;
    let distrusted = |reason: String| Err(PluginError::Distrusted { reason });
    let artifact = &verified.artifact;
    if trust.is_digest_revoked(artifact.digest()) {
        return distrusted(format!("its binary {} is revoked", artifact.digest()));
    }
    let (key, named) = (artifact.key(), verified.signature().key);
    if let Some(key) = named.filter(|key| trust.is_key_revoked(*key)) {
        return distrusted(format!("the key {key} that signed it is revoked"));
    }
    if signatures.requirement != Requirement::Enforce {
        return Ok(());
    }
    let is_signed = match artifact.state() {
        State::Valid => true,
        State::ValidV1 => signatures.version_1,
        _ => false,
    };
    let is_known = |key: KeyId| trust.keys().iter().any(|known| known.id() == key);
    match key.filter(|_| is_signed) {
        Some(key) if is_known(key) => Ok(()),
        Some(key) => distrusted(format!("the key {key} that signed it is no longer trusted")),
        None => distrusted("signatures are required by now, and it has none".to_owned()),
    }
}

/// Returns the targets of a package's links that the plugin may see: neither another plugin's
/// package, nor a directory that contains its own.
fn linked(artifact: &VerifiedArtifact, found: &Discovered, dir: &Path) -> Vec<PathBuf> {
    let mut targets = artifact.link_targets();
    if targets.is_empty() {
        return targets;
    }
    let others = packages_of_others(found);
    targets.retain(|target| {
        let overlaps = |other: &PathBuf| target.starts_with(other) || other.starts_with(target);
        let ancestors = target.ancestors();
        let in_anothers = ancestors
            .take_while(|ancestor| *ancestor != found.plugins_dir)
            .any(|ancestor| is_anothers(ancestor, found));
        !dir.starts_with(target)
            && !others.iter().any(overlaps)
            && !in_anothers
            && !holds_anothers(target, found)
    });
    if targets.len() > LINKED_MAX {
        tracing::warn!(plugin = %found.name, "links of its package lead to more than {LINKED_MAX} places; it sees the first ones only");
        targets.truncate(LINKED_MAX);
    }
    targets
}

/// The packages of other plugins: where the entries of the plugins directory really are.
fn packages_of_others(found: &Discovered) -> Vec<PathBuf> {
    let entries = found.plugins_dir.read_dir().into_iter().flatten().flatten();
    entries
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        .filter_map(|entry| entry.path().canonicalize().ok())
        .filter(|package| is_anothers(package, found))
        .collect()
}

/// Returns true if a directory is the package of another plugin: it has a manifest, and not one of
/// this plugin.
fn is_anothers(directory: &Path, found: &Discovered) -> bool {
    let manifest = directory.join(MANIFEST_NAME);
    manifest.symlink_metadata().is_ok()
        && Manifest::load(manifest).map_or(true, |(other, _)| other.name != found.name)
}

/// Returns true if another plugin's package is somewhere below a directory, such as an old release.
/// A directory with more than [`LINKED_ENTRIES_MAX`] entries counts as such.
fn holds_anothers(directory: &Path, found: &Discovered) -> bool {
    let mut seen = 0;
    let mut queue = vec![directory.to_owned()];
    while let Some(directory) = queue.pop() {
        if is_anothers(&directory, found) {
            return true;
        }
        for entry in directory.read_dir().into_iter().flatten().flatten() {
            seen += 1;
            if seen > LINKED_ENTRIES_MAX {
                return true;
            }
            // No link: what it leads to is not shown with the directory.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                queue.push(entry.path());
            }
        }
    }
    false
}

/// Checks that the signed manifest agrees with its signature, and belongs to the plugin that was
/// discovered.
fn compare(
    file: &Path,
    manifest: &Manifest,
    claims: &Claims,
    name: &PluginName,
) -> Result<(), PluginError> {
    let binary = package_path(&manifest.binary);
    let pairs = [
        ("name", name.as_str(), manifest.name.as_str()),
        ("name", claims.name(), manifest.name.as_str()),
        ("version", claims.version(), &*manifest.version),
        ("binary", claims.binary(), &*binary),
        ("manifest", claims.manifest(), MANIFEST_NAME),
    ];
    match pairs.iter().find(|(_, signed, read)| signed != read) {
        None => Ok(()),
        Some((what, signed, read)) => Err(PluginError::Claims {
            file: file.to_owned(),
            what,
            signed: (*signed).to_owned(),
            read: (*read).to_owned(),
        }),
    }
}

/// The path of a file in its package, as signatures have it. Manifests let a `./` through.
fn package_path(path: &Path) -> String {
    let parts = path.components().filter_map(|part| match part {
        Component::CurDir => None,
        part => Some(part.as_os_str().to_string_lossy()),
    });
    parts.collect::<Vec<_>>().join("/")
}

/// The versions of plugins that the operator was warned of: once each, not on every restart.
#[derive(Debug, Default)]
pub(crate) struct Warned(Mutex<BTreeSet<(PluginName, String, Digest)>>);

impl Warned {
    /// Returns true the first time for a version.
    pub(crate) fn first(&self, verified: &Verified) -> bool {
        let version = (
            verified.manifest.name.clone(),
            verified.manifest.version.clone(),
            *verified.artifact.digest(),
        );
        let mut warned = self.0.lock();
        if warned.len() >= WARNED_VERSIONS_MAX {
            // Warning twice is better than never.
            warned.clear();
        }
        warned.insert(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Tree;
    use std::os::unix::fs::PermissionsExt;

    fn package(root: &Path, binary: &str) -> Discovered {
        let dir = root.join("goat");
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join(MANIFEST_NAME);
        std::fs::write(&file, "version: 1.0.0\nruntime: grpc\nbinary: ./goat\n").unwrap();
        std::fs::write(dir.join("goat"), binary).unwrap();
        std::fs::set_permissions(dir.join("goat"), PermissionsExt::from_mode(0o755)).unwrap();
        let (manifest, warnings) = Manifest::load(&file).unwrap();
        Discovered {
            name: manifest.name.clone(),
            plugins_dir: root.canonicalize().unwrap(),
            stamps: Files::stamps(&dir, &dir.join(binary)),
            tree: Tree::new(&dir),
            dir,
            manifest: Arc::new(manifest),
            warnings,
        }
    }

    #[test]
    fn a_version_is_warned_of_once() {
        let root = tempfile::tempdir().unwrap();
        let (signatures, cache) = (Signatures::default(), Cache::new());
        let warned = Warned::default();
        let first = |found: &Discovered| {
            let verified = verify(&signatures, &cache, found).unwrap();
            assert_eq!(verified.signature().state, State::Unsigned);
            warned.first(&verified)
        };
        let found = package(root.path(), "one");
        assert!(first(&found));
        assert!(!first(&found));
        // The same name and version, and another binary.
        let found = package(root.path(), "two");
        assert!(first(&found));
        assert!(!first(&found));
        for number in 0..WARNED_VERSIONS_MAX {
            let version = (found.name.clone(), number.to_string(), Digest::of(b""));
            warned.0.lock().insert(version);
        }
        assert!(first(&found), "what is full is emptied");
        assert_eq!(warned.0.lock().len(), 1);
    }

    #[test]
    fn links_lead_to_packages_and_stay_in_the_plugins_directory() {
        let root = tempfile::tempdir().unwrap();
        let mut found = package(root.path(), "one");
        let link = root.path().join("link");
        std::os::unix::fs::symlink(&found.dir, &link).unwrap();
        found.dir = link;
        let (signatures, cache) = (Signatures::default(), Cache::new());
        let verified = verify(&signatures, &cache, &found).unwrap();
        assert!(verified.program.ends_with("goat/goat"));
        // The plugin must be shown the directory that was judged, and not the link's later target.
        assert_eq!(
            verified.dir,
            root.path().canonicalize().unwrap().join("goat")
        );
        assert_eq!(verified.linked, Vec::<PathBuf>::new());
        // In the package, links stay in the plugins directory.
        let store = root.path().canonicalize().unwrap().join(".store");
        std::fs::create_dir(&store).unwrap();
        std::fs::rename(found.dir.join("goat"), store.join("goat")).unwrap();
        std::os::unix::fs::symlink("../.store/goat", found.dir.join("goat")).unwrap();
        let verified = verify(&signatures, &cache, &found).unwrap();
        assert_eq!(verified.linked, [store.join("goat")]);
        // Another plugin's files are not shown, nor all of them.
        let other = root.path().join("other");
        std::fs::create_dir(&other).unwrap();
        let manifest = "version: 1.0.0\nruntime: grpc\n";
        std::fs::write(other.join(MANIFEST_NAME), manifest).unwrap();
        for (target, name) in [("../other/plugin.yaml", "theirs"), ("..", "all")] {
            std::os::unix::fs::symlink(target, found.dir.join(name)).unwrap();
        }
        let verified = verify(&signatures, &cache, &found).unwrap();
        assert_eq!(verified.linked, [store.join("goat")]);
        // Another plugin's files stay hidden also if releases are switched by a link, and so does
        // any directory that contains them.
        let release = store.join("victim");
        std::fs::create_dir(&release).unwrap();
        std::fs::write(release.join(MANIFEST_NAME), manifest).unwrap();
        std::fs::write(release.join("secret.key"), "secret").unwrap();
        std::os::unix::fs::symlink(".store/victim", root.path().join("victim")).unwrap();
        let old = store.join("old/victim");
        std::fs::create_dir_all(&old).unwrap();
        std::fs::write(old.join(MANIFEST_NAME), manifest).unwrap();
        for (target, name) in [
            ("../.store/victim", "a"),
            ("../.store/victim/secret.key", "b"),
            ("../.store", "c"),
            ("../.store/old", "d"),
            ("../.store/old/victim/plugin.yaml", "e"),
        ] {
            std::os::unix::fs::symlink(target, found.dir.join(name)).unwrap();
        }
        let verified = verify(&signatures, &cache, &found).unwrap();
        assert_eq!(verified.linked, [store.join("goat")]);
        std::fs::remove_file(found.dir.join("goat")).unwrap();
        std::os::unix::fs::symlink("/bin/true", found.dir.join("goat")).unwrap();
        let error = verify(&signatures, &cache, &found).unwrap_err();
        let error = crate::error::chain(&error);
        assert!(error.contains("leads out of"), "{error}");
    }
}
