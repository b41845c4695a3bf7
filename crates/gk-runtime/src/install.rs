//! Packages on their way in and out: judged and verified before anything of an installed plugin is touched, put in place
//! by one rename, and taken back if the plugin does not come up.
//!
//! Everything happens on the file system of the plugins directory, in a directory of it that begins with a dot, which
//! no look at the plugins sees. What becomes of the process is the supervisor's: this module puts files in place and
//! asks for a reload.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gk_manifest::limits::MANIFEST_BYTES_MAX;
use gk_manifest::{Diagnostic, Manifest, PluginName};
use gk_package::{Archive, OpenError, UnpackError};
use gk_sign::Digest;
use parking_lot::Mutex;
use rustix::fs::{CWD, FlockOperation, RenameFlags};
use tempfile::TempDir;

use crate::control::Outcome;
use crate::discover::Discovered;
use crate::error::{ControlError, PluginError};
use crate::files::{Files, MANIFEST_NAME, Tree};
use crate::kept::KeptFile;
use crate::runtime::Runtime;
use crate::signatures::{SignatureState, verify};

/// How the names of directories begin in which packages are on their way.
const STAGING_PREFIX: &str = ".gk-staging-";

/// Bytes that are compared at a time.
const COMPARE_BYTES: usize = 64 * 1024;

/// Why a package was not installed, or a plugin not removed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The package cannot be used.
    #[error("{0}")]
    Package(#[from] OpenError),
    /// It could not be unpacked.
    #[error("{0}")]
    Unpack(#[from] UnpackError),
    /// Its plugin.yaml is not one.
    #[error("its plugin.yaml is not one: {0}")]
    Manifest(#[from] Box<gk_manifest::ManifestError>),
    /// Its signature does not let it be installed.
    #[error("{0}")]
    Signature(String),
    /// It is no package of a plugin that this host can run.
    #[error("{0}")]
    Unusable(String),
    /// Another change of the same plugin is under way.
    #[error(
        "plugin \"{plugin}\" is being installed or removed at this moment; try again when that is done"
    )]
    Busy {
        /// The plugin.
        plugin: PluginName,
    },
    /// Its place holds something else.
    #[error("{path} {what}", path = .path.display())]
    Occupied {
        /// The place.
        path: PathBuf,
        /// What is there, and what to do.
        what: &'static str,
    },
    /// There is no such plugin.
    #[error("{0}")]
    Control(#[from] ControlError),
    /// The system refused something.
    #[error("{what} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl InstallError {
    /// Whether the disk is full, or the quota used up.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let source = match self {
            InstallError::Io { source, .. } => source,
            InstallError::Unpack(
                UnpackError::Directory { source, .. } | UnpackError::Write { source, .. },
            ) => source,
            _ => return false,
        };
        matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.to_owned();
    move |source| InstallError::Io { what, path, source }
}

/// The plugins that are being installed or removed.
#[derive(Debug, Default)]
pub(crate) struct Installing(Mutex<BTreeSet<PluginName>>);

/// The only change of a plugin's package, until it is dropped.
#[derive(Debug)]
struct Turn<'a>(&'a Installing, PluginName);

impl Installing {
    fn enter(&self, plugin: &PluginName) -> Result<Turn<'_>, InstallError> {
        match self.0.lock().insert(plugin.clone()) {
            true => Ok(Turn(self, plugin.clone())),
            false => Err(InstallError::Busy {
                plugin: plugin.clone(),
            }),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.0.lock().remove(&self.1);
    }
}

/// A place in the plugins directory that no look at the plugins sees. It is removed with what is in it.
#[derive(Debug)]
pub struct Staging {
    dir: TempDir,
    plugins_dir: PathBuf,
    _lock: File,
}

impl Staging {
    /// Where the package's file belongs.
    #[must_use]
    pub fn archive(&self) -> PathBuf {
        self.dir.path().join("package.zip")
    }

    fn unpacked(&self) -> PathBuf {
        self.dir.path().join("new")
    }
}

/// Removes what installations have left behind that were cut off, as by the end of a host. What another host of the same
/// plugins directory is installing is locked.
pub(crate) fn clear_staging(plugins_dir: &Path) {
    let entries = plugins_dir.read_dir().into_iter().flatten().flatten();
    for entry in entries {
        let (name, path) = (entry.file_name(), entry.path());
        let is_staging = name
            .as_encoded_bytes()
            .starts_with(STAGING_PREFIX.as_bytes());
        if !is_staging || lock(&path).is_err() {
            continue;
        }
        match fs::remove_dir_all(&path) {
            Ok(()) => {
                tracing::info!(path = %path.display(), "left behind by an installation that was cut off; removed");
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "left behind by an installation that was cut off, and cannot be removed");
            }
        }
    }
}

/// Locks a directory for as long as what is returned lives.
fn lock(directory: &Path) -> io::Result<File> {
    let file = File::open(directory)?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// How a file of a package differs from the installed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileChange {
    /// It is new.
    Added,
    /// It is another one, or has its x bit changed.
    Changed,
    /// It is there no more.
    Removed,
}

/// A package that can be installed: what it is, and what would change.
#[derive(Debug)]
pub struct Judged {
    staging: Staging,
    /// Its manifest.
    pub manifest: Arc<Manifest>,
    /// What is to be said of it.
    pub warnings: Vec<Diagnostic>,
    /// Of the package's file.
    pub digest: Digest,
    /// What its signature is worth to this host.
    pub signature: SignatureState,
    /// The date that the signer wrote.
    pub signed_at: Option<SystemTime>,
    /// What is to be said of the signature.
    pub signature_warning: Option<String>,
    /// Where it is to be.
    pub directory: PathBuf,
    /// The version that is installed.
    pub installed_version: Option<String>,
    /// Whether there is something installed.
    pub is_installed: bool,
    /// How its files differ from those that are installed, by path.
    pub changes: BTreeMap<String, FileChange>,
}

/// What came of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// What became of the plugin.
    pub outcome: Outcome,
    /// Whether what was there before is there again.
    pub is_rolled_back: bool,
}

/// What was removed of a plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uninstalled {
    /// The version that was installed.
    pub version: String,
    /// The directories and files that were removed.
    pub removed: Vec<PathBuf>,
    /// Another directory with a plugin of the same name, which takes its place.
    pub replaced_by: Option<PathBuf>,
}

impl Runtime {
    /// A place for a package that comes in.
    ///
    /// # Errors
    /// The plugins directory cannot be written to.
    pub fn stage(&self) -> Result<Staging, InstallError> {
        let plugins_dir = &self.inner.hub.config.plugins_dir;
        let wrong = "cannot make a directory in";
        let plugins_dir = plugins_dir
            .canonicalize()
            .map_err(failed("cannot use", plugins_dir))?;
        let dir = tempfile::Builder::new()
            .prefix(STAGING_PREFIX)
            .permissions(PermissionsExt::from_mode(0o700))
            .tempdir_in(&plugins_dir)
            .map_err(failed(wrong, &plugins_dir))?;
        let lock = lock(dir.path()).map_err(failed("cannot lock", dir.path()))?;
        Ok(Staging {
            dir,
            plugins_dir,
            _lock: lock,
        })
    }

    /// Judges the package in a [`Staging`]: its file, its manifest, its signature; and unpacks it there. Blocks.
    ///
    /// # Errors
    /// [`InstallError`].
    pub fn judge(&self, staging: Staging) -> Result<Judged, InstallError> {
        let found = self.unpack(&staging).map_err(|error| match error {
            error if error.is_full() => error,
            InstallError::Package(_) | InstallError::Unpack(_) => {
                InstallError::Unusable(without(&crate::error::chain(&error), &staging))
            }
            other => other,
        })?;
        self.verify(staging, found)
    }

    /// Judges the file, and unpacks it.
    fn unpack(&self, staging: &Staging) -> Result<(Digest, Discovered), InstallError> {
        let archive = Archive::open(&staging.archive())?;
        let digest = Digest::of_file(
            &File::open(staging.archive()).map_err(failed("cannot read", &staging.archive()))?,
            u64::MAX,
        );
        let digest = digest.map_err(failed("cannot read", &staging.archive()))?;
        let (digest, _) = digest.ok_or_else(|| InstallError::Unusable("it is too large".into()))?;
        let text = archive.read(MANIFEST_NAME, MANIFEST_BYTES_MAX as u64)?;
        let (manifest, warnings) = Manifest::parse(MANIFEST_NAME, &text).map_err(Box::new)?;
        let (name, binary) = (manifest.name.clone(), manifest.binary.clone());
        let binary = binary.strip_prefix("./").unwrap_or(&binary);
        let binary_text = binary.to_string_lossy();
        if archive.entry(&binary_text).is_none() {
            return Err(InstallError::Unusable(format!(
                "it has no file {binary_text}, which its plugin.yaml names as the binary; build it, and make the package again"
            )));
        }
        let unpacked = staging.unpacked();
        let made = fs::create_dir(&unpacked)
            .and_then(|()| fs::set_permissions(&unpacked, PermissionsExt::from_mode(0o755)));
        made.map_err(failed("cannot make", &unpacked))?;
        archive.unpack(&unpacked, &[&binary_text])?;
        let found = Discovered {
            name: name.clone(),
            plugins_dir: staging.plugins_dir.clone(),
            stamps: Files::stamps(&unpacked, &unpacked.join(binary)),
            tree: Tree::new(&unpacked),
            dir: unpacked.clone(),
            manifest: Arc::new(manifest),
            warnings,
        };
        Ok((digest, found))
    }

    /// Judges what was unpacked, and holds it against what is installed.
    fn verify(
        &self,
        staging: Staging,
        (digest, found): (Digest, Discovered),
    ) -> Result<Judged, InstallError> {
        let (name, unpacked) = (found.name.clone(), staging.unpacked());
        let signatures = self.inner.hub.signatures.load();
        let verified = verify(&signatures, &gk_sign::Cache::new(), &found);
        let verified = verified.map_err(|error| unverified(&error, &staging))?;
        let directory = self.directory_of(&name, &staging.plugins_dir)?;
        let installed = installed(&directory);
        let changes = match directory.is_dir() {
            true => compare(&directory, &unpacked).map_err(failed("cannot read", &directory))?,
            false => BTreeMap::new(),
        };
        let warning = verified.artifact.warning().map(ToString::to_string);
        Ok(Judged {
            signature: verified.signature(),
            signed_at: verified.artifact.claims().map(gk_sign::Claims::date),
            signature_warning: warning.map(|text| without(&text, &staging)),
            manifest: verified.manifest,
            warnings: verified.warnings,
            digest,
            installed_version: installed,
            is_installed: directory.is_dir(),
            changes,
            directory,
            staging,
        })
    }

    /// Where a plugin is, or is to be: a directory of the plugins directory itself.
    fn directory_of(&self, name: &PluginName, plugins_dir: &Path) -> Result<PathBuf, InstallError> {
        let snapshot = self.snapshot();
        let known = snapshot.get(name.as_str());
        let known = known.map(|status| status.dir.clone());
        let directory = known
            .filter(|dir| dir.parent() == Some(plugins_dir) && dir.symlink_metadata().is_ok())
            .unwrap_or_else(|| plugins_dir.join(name.as_str()));
        let occupied = |what| {
            Err(InstallError::Occupied {
                path: directory.clone(),
                what,
            })
        };
        let Ok(metadata) = directory.symlink_metadata() else {
            return Ok(directory);
        };
        if metadata.is_symlink() {
            return occupied(
                "is a link to the plugin's directory, which is not replaced; put the new files where it leads, or remove the link",
            );
        }
        if !metadata.is_dir() {
            return occupied("is a file; move it away");
        }
        // Whoever put it there may have nothing else of it.
        match Manifest::load(directory.join(MANIFEST_NAME)) {
            Ok((other, _)) if other.name != *name => occupied("holds another plugin; rename it"),
            Err(_) if snapshot.get(name.as_str()).is_none() && !is_empty(&directory) => {
                occupied("is there and holds no plugin; move it away, or remove it")
            }
            _ => Ok(directory),
        }
    }

    /// Puts a package in place and starts it. One that does not come up within `wait` is taken back, and what was there
    /// before is there again, unless `keep_failed`.
    ///
    /// # Errors
    /// [`InstallError`]; nothing was changed then.
    pub async fn install(
        &self,
        judged: Judged,
        wait: Duration,
        keep_failed: bool,
    ) -> Result<Installed, InstallError> {
        let name = judged.manifest.name.clone();
        let _turn = self.inner.installing.enter(&name)?;
        let (directory, staged) = (judged.directory.clone(), judged.staging.unpacked());
        // What it was judged against may be something else by now.
        let plugins_dir = judged.staging.plugins_dir.clone();
        if self.directory_of(&name, &plugins_dir)? != directory {
            return Err(InstallError::Busy { plugin: name });
        }
        let is_replaced = put(&staged, &directory)?;
        let outcome = match self.reload(name.as_str(), false, wait).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed {
                error: error.to_string(),
            },
        };
        // One that is not to run was installed all the same.
        let is_up = matches!(outcome, Outcome::Serving(_) | Outcome::Stopped);
        if is_up || keep_failed {
            return Ok(Installed {
                outcome,
                is_rolled_back: false,
            });
        }
        let outcome = match outcome {
            Outcome::Starting => Outcome::Failed {
                error: format!(
                    "plugin \"{name}\" did not come up within {wait:?}; give it more time with wait, or look at its log"
                ),
            },
            other => other,
        };
        match is_replaced {
            true => drop(put(&staged, &directory)?),
            false => {
                fs::rename(&directory, &staged).map_err(failed("cannot take back", &directory))?
            }
        }
        // What is there again is what ran, or is started; of a new plugin nothing is.
        let again = self.reload(name.as_str(), false, wait).await;
        if let (true, Err(error)) = (is_replaced, again) {
            tracing::error!(plugin = %name, %error, "the version before is in place again, and is not looked at");
        }
        if !is_replaced {
            self.until_forgotten(&name, wait).await;
        }
        Ok(Installed {
            outcome,
            is_rolled_back: true,
        })
    }

    /// Removes a plugin's package and stops it; with `data` also its work directory and what is kept of its state.
    /// Returns once nothing of it runs, at most after `wait`.
    ///
    /// # Errors
    /// [`InstallError`]; nothing was removed then.
    pub async fn uninstall(
        &self,
        plugin: &str,
        data: bool,
        wait: Duration,
    ) -> Result<Uninstalled, InstallError> {
        let unknown = || ControlError::Unknown {
            plugin: crate::log::cut(plugin, 128).to_owned(),
        };
        let snapshot = self.snapshot();
        let status = snapshot.get(plugin).ok_or_else(unknown)?;
        let (name, directory) = (status.name.clone(), status.dir.clone());
        let _turn = self.inner.installing.enter(&name)?;
        let version = installed(&directory).unwrap_or_default();
        let staging = self.stage()?;
        let is_link = directory
            .symlink_metadata()
            .is_ok_and(|metadata| metadata.is_symlink());
        let mut uninstalled = Uninstalled {
            version,
            ..Uninstalled::default()
        };
        match directory.parent() == Some(&*staging.plugins_dir) {
            _ if directory.symlink_metadata().is_err() => {}
            true if is_link => {
                // The operator's own directory, somewhere else, stays.
                fs::remove_file(&directory).map_err(failed("cannot remove", &directory))?;
                uninstalled.removed.push(directory);
            }
            true => {
                let away = staging.dir.path().join("old");
                fs::rename(&directory, &away).map_err(failed("cannot remove", &directory))?;
                uninstalled.removed.push(directory);
            }
            false => {
                return Err(InstallError::Occupied {
                    path: directory,
                    what: "is not in the plugins directory; remove it yourself",
                });
            }
        }
        sync(&staging.plugins_dir);
        uninstalled.replaced_by = self.until_forgotten(&name, wait).await;
        drop(staging);
        if data && uninstalled.replaced_by.is_none() {
            let config = &self.inner.hub.config;
            let work = config.data_dir.join("plugins").join(name.as_str());
            match fs::remove_dir_all(&work) {
                Ok(()) => uninstalled.removed.push(work),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(path = %work.display(), %error, "the work directory of a plugin that was removed stays");
                }
            }
            let kept = KeptFile::new(&config.data_dir, &name);
            if kept.path().exists() {
                match kept.store(&crate::kept::Kept::default()) {
                    Ok(()) => uninstalled.removed.push(kept.path().to_owned()),
                    Err(error) => {
                        tracing::warn!(path = %kept.path().display(), %error, "the state of a plugin that was removed stays");
                    }
                }
            }
        }
        Ok(uninstalled)
    }

    /// Looks until a plugin whose package is gone has ended and is forgotten, or another package of that name was found,
    /// whose directory is returned.
    async fn until_forgotten(&self, name: &PluginName, wait: Duration) -> Option<PathBuf> {
        let looking = async {
            let mut changed = self.changed();
            loop {
                changed.mark_unchanged();
                // It says which of the two it is.
                if self
                    .reload(name.as_str(), false, Duration::ZERO)
                    .await
                    .is_err()
                {
                    return None;
                }
                if let Some(status) = self.snapshot().get(name.as_str())
                    && status.dir.join(MANIFEST_NAME).exists()
                {
                    return Some(status.dir.clone());
                }
                let _ = tokio::time::timeout(LOOK_INTERVAL, changed.changed()).await;
            }
        };
        tokio::time::timeout(wait, looking).await.unwrap_or(None)
    }
}

/// How often it is looked whether a plugin has ended, if nothing tells.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Puts `staged` at `directory`, in one step; what was there is at `staged` then. Says whether there was something.
fn put(staged: &Path, directory: &Path) -> Result<bool, InstallError> {
    let wrong = "cannot put the package to";
    let rename = |flags| rustix::fs::renameat_with(CWD, staged, CWD, directory, flags);
    let is_there = directory.symlink_metadata().is_ok();
    let put = match is_there {
        true => rename(RenameFlags::EXCHANGE),
        false => rename(RenameFlags::NOREPLACE),
    };
    match put {
        Ok(()) => {}
        // Not every file system can exchange two directories: for a moment neither is there.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            let aside = staged.with_extension("aside");
            if is_there {
                fs::rename(directory, &aside).map_err(failed(wrong, directory))?;
            }
            if let Err(error) = fs::rename(staged, directory) {
                if is_there {
                    fs::rename(&aside, directory).map_err(failed("cannot put back", directory))?;
                }
                return Err(failed(wrong, directory)(error));
            }
            if is_there {
                fs::rename(&aside, staged).map_err(failed(wrong, staged))?;
            }
        }
        Err(error) => return Err(failed(wrong, directory)(error.into())),
    }
    if let Some(parent) = directory.parent() {
        sync(parent);
    }
    Ok(is_there)
}

/// Makes the entries of a directory durable, where the file system can.
fn sync(directory: &Path) {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    if let Err(error) = synced {
        tracing::debug!(path = %directory.display(), %error, "a directory cannot be synced");
    }
}

/// The version of what is installed.
fn installed(directory: &Path) -> Option<String> {
    let manifest = Manifest::load(directory.join(MANIFEST_NAME)).ok();
    manifest.map(|(manifest, _)| manifest.version)
}

fn is_empty(directory: &Path) -> bool {
    directory
        .read_dir()
        .is_ok_and(|mut entries| entries.next().is_none())
}

/// Why a package is not verified: a signature's refusal is told apart from what cannot be used.
fn unverified(error: &PluginError, staging: &Staging) -> InstallError {
    let text = without(&crate::error::chain(error), staging);
    match error {
        PluginError::Unverified(gk_sign::VerifyError::Refused(_))
        | PluginError::Claims { .. }
        | PluginError::Revocations(_) => InstallError::Signature(text),
        _ => InstallError::Unusable(text),
    }
}

/// A text without the directory in which a package is on its way, which says nothing to anybody.
fn without(text: &str, staging: &Staging) -> String {
    let unpacked = staging.unpacked().display().to_string();
    let archive = staging.archive().display().to_string();
    text.replace(&format!("{unpacked}/"), "")
        .replace(&unpacked, "the package")
        .replace(&archive, "the package")
}

/// How the files of two directories differ. Links and special files count as changed.
fn compare(before: &Path, after: &Path) -> io::Result<BTreeMap<String, FileChange>> {
    let (old, new) = (files(before)?, files(after)?);
    let mut changes = BTreeMap::new();
    for path in old.keys().filter(|path| !new.contains_key(*path)) {
        changes.insert(path.clone(), FileChange::Removed);
    }
    for (path, file) in &new {
        let change = match old.get(path) {
            None => FileChange::Added,
            Some(known)
                if known == file
                    && same(&before.join(path), &after.join(path)).unwrap_or(false) =>
            {
                continue;
            }
            Some(_) => FileChange::Changed,
        };
        changes.insert(path.clone(), change);
    }
    Ok(changes)
}

/// All that is in a directory: whether it is a plain file, its size, and whether it has an x bit.
fn files(root: &Path) -> io::Result<BTreeMap<String, (bool, u64, bool)>> {
    let mut found = BTreeMap::new();
    let mut queue = vec![PathBuf::new()];
    while let Some(directory) = queue.pop() {
        for entry in fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            let path = directory.join(entry.file_name());
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                queue.push(path);
                continue;
            }
            let file = (
                metadata.is_file(),
                metadata.size(),
                metadata.mode() & 0o111 != 0,
            );
            found.insert(path.to_string_lossy().into_owned(), file);
        }
    }
    Ok(found)
}

/// Whether two files have the same content.
fn same(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (mut left, mut right) = (vec![0; COMPARE_BYTES], vec![0; COMPARE_BYTES]);
    loop {
        let read = one.read(&mut left)?;
        if read == 0 {
            return Ok(other.read(&mut right)? == 0);
        }
        let (Some(left), Some(right)) = (left.get(..read), right.get_mut(..read)) else {
            return Ok(false);
        };
        match other.read_exact(right) {
            Ok(()) if left == right => {}
            _ => return Ok(false),
        }
    }
}
