//! Installs and removes packages. A package is judged and verified before any file of an installed
//! plugin is touched, put in place by one rename, and taken back if the plugin does not come up.
//!
//! The process is the supervisor's concern: this module puts files in place and asks for a reload.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gk_manifest::limits::MANIFEST_BYTES_MAX;
use gk_manifest::{Diagnostic, Manifest, PluginName};
use gk_package::Archive;
use gk_sign::Digest;

use crate::control::Outcome;
use crate::discover::Discovered;
use crate::error::{ControlError, PluginError};
use crate::files::{Files, MANIFEST_NAME, Tree};
use crate::kept::KeptFile;
use crate::runtime::Runtime;
use crate::signatures::{SignatureState, verify};
use crate::staging::{FileChange, InstallError, Staging, compare, failed, put, sync, without};

/// A verified package that can be installed, and the changes it would make.
#[derive(Debug)]
pub struct Judged {
    staging: Staging,
    /// Manifest of the package.
    pub manifest: Arc<Manifest>,
    /// Warnings about the manifest.
    pub warnings: Vec<Diagnostic>,
    /// Digest of the package's file.
    pub digest: Digest,
    /// Trust of this host in the package's signature.
    pub signature: SignatureState,
    /// Date of the signature, as the signer wrote it.
    pub signed_at: Option<SystemTime>,
    /// Warning about the signature.
    pub signature_warning: Option<String>,
    /// Directory that the package is installed to.
    pub directory: PathBuf,
    /// The version that is installed.
    pub installed_version: Option<String>,
    /// A version of the plugin is installed.
    pub is_installed: bool,
    /// Differences between its files and the installed ones, by path.
    pub changes: BTreeMap<String, FileChange>,
}

/// Result of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Outcome of the plugin's start.
    pub outcome: Outcome,
    /// The version before was put back.
    pub is_rolled_back: bool,
}

/// Files that were removed with a plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uninstalled {
    /// The version that was installed.
    pub version: String,
    /// The directories and files that were removed.
    pub removed: Vec<PathBuf>,
    /// Another directory with a plugin of the same name, which takes its place.
    pub replaced_by: Option<PathBuf>,
}

/// Keeps the rest of the version before, if there is any, so that an error loses no file.
fn unfinished(staging: Staging, error: InstallError) -> InstallError {
    match staging.has_old() {
        true => staging.kept(error),
        false => error,
    }
}

impl Runtime {
    /// A place for a package that comes in.
    ///
    /// # Errors
    /// The plugins directory cannot be written to.
    pub fn stage(&self) -> Result<Staging, InstallError> {
        Staging::new(&self.inner.registry.config.plugins_dir)
    }

    /// Judges the package in a [`Staging`]: checks its file, manifest and signature, and unpacks it
    /// there. Blocks.
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

    /// Checks the file, and unpacks it.
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

    /// Verifies the unpacked files, and compares them with the installed ones.
    fn verify(
        &self,
        staging: Staging,
        (digest, found): (Digest, Discovered),
    ) -> Result<Judged, InstallError> {
        let (name, unpacked) = (found.name.clone(), staging.unpacked());
        let signatures = self.inner.registry.signatures.load();
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

    /// Returns the directory of a plugin, existing or not: a child of the plugins directory itself.
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
        // The directory may be the only copy of its content.
        match Manifest::load(directory.join(MANIFEST_NAME)) {
            Ok((other, _)) if other.name != *name => occupied("holds another plugin; rename it"),
            Err(_) if snapshot.get(name.as_str()).is_none() && !is_empty(&directory) => {
                occupied("is there and holds no plugin; move it away, or remove it")
            }
            _ => Ok(directory),
        }
    }

    /// Puts a package in place and starts it. A package that does not come up within `wait` is
    /// taken back and the version before is put back, unless `keep_failed`.
    ///
    /// # Errors
    /// [`InstallError`]. No file was changed then, except with [`InstallError::Kept`].
    pub async fn install(
        &self,
        judged: Judged,
        wait: Duration,
        keep_failed: bool,
    ) -> Result<Installed, InstallError> {
        let name = judged.manifest.name.clone();
        let _permit = self.inner.installing.enter(&name)?;
        let (directory, staged) = (judged.directory.clone(), judged.staging.unpacked());
        // The directory may have changed since the package was judged.
        let plugins_dir = judged.staging.plugins_dir.clone();
        if self.directory_of(&name, &plugins_dir)? != directory {
            return Err(InstallError::Busy { plugin: name });
        }
        judged.staging.replaces(&directory)?;
        let is_replaced = match put(&staged, &directory) {
            Ok(is_replaced) => is_replaced,
            Err(error) => return Err(unfinished(judged.staging, error)),
        };
        let outcome = match self.reload(name.as_str(), false, wait).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed {
                error: error.to_string(),
            },
        };
        // A plugin that is not to run counts as installed.
        let is_up = matches!(outcome, Outcome::Serving(_) | Outcome::Stopped);
        if is_up || keep_failed {
            judged.staging.settled();
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
        let taken_back = match is_replaced {
            true => put(&staged, &directory).map(drop),
            false => {
                fs::rename(&directory, &staged).map_err(failed("cannot take back", &directory))
            }
        };
        if let Err(error) = taken_back {
            return Err(unfinished(judged.staging, error));
        }
        // The reload finds the version before, which runs or is started. A new plugin has none.
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

    /// Removes a plugin's package and stops the plugin; with `data` also removes its work directory
    /// and its stored state. Returns once no process of it runs, at most after `wait`.
    ///
    /// # Errors
    /// [`InstallError`]. No file was removed then.
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
        let _permit = self.inner.installing.enter(&name)?;
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
            let config = &self.inner.registry.config;
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

    /// Waits until a plugin whose package is gone has ended and is forgotten. Returns the directory
    /// of another package of that name if one was found.
    async fn until_forgotten(&self, name: &PluginName, wait: Duration) -> Option<PathBuf> {
        let looking = async {
            let mut changed = self.changed();
            loop {
                changed.mark_unchanged();
                // The reload fails once the plugin is forgotten.
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

/// Interval of the check whether a plugin has ended, in the absence of notifications.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

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

/// Maps the reason why a package is not verified: a refused signature is told apart from an
/// unusable package.
fn unverified(error: &PluginError, staging: &Staging) -> InstallError {
    let text = without(&crate::error::chain(error), staging);
    match error {
        PluginError::Unverified(gk_sign::VerifyError::Refused(_))
        | PluginError::Claims { .. }
        | PluginError::Revocations(_) => InstallError::Signature(text),
        _ => InstallError::Unusable(text),
    }
}
