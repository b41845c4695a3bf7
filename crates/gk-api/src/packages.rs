//! Installing and removing plugins.

use gk_manifest::Permission;
use serde::{Deserialize, Serialize};

use crate::control::Outcome;

/// Report on a package: the result of an installation, or what an installation would do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct InstallReport {
    /// The plugin's name, as its plugin.yaml has it.
    pub name: String,
    /// The version in the package.
    pub version: String,
    /// Version that was installed before; null for a new plugin.
    pub installed_version: Option<String>,
    /// The package's SHA-256, in hexadecimal digits.
    pub digest: String,
    /// Step that was taken, or would be.
    pub step: InstallStep,
    /// Signature of the package, and its worth to this host.
    pub signature: PackageSignature,
    /// Permissions that the package asks for.
    pub requested: Vec<Permission>,
    /// Of this, what its policy does not grant at this moment.
    pub not_granted: Vec<Permission>,
    /// Differences between the package's files and the installed ones.
    pub changes: Changes,
    /// Warnings about the manifest.
    pub warnings: Vec<String>,
    /// Outcome of the start; null of a dry run.
    pub outcome: Option<Outcome>,
    /// Directory of the installed plugin.
    pub directory: String,
}

/// Step of an installation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum InstallStep {
    /// No step: the package was only judged.
    #[default]
    None,
    /// The plugin is not installed, and would be.
    WouldInstall,
    /// Another version, or other files, are installed, and would be replaced.
    WouldReplace,
    /// The same files are installed.
    Same,
    /// The plugin was installed.
    Installed,
    /// The package has replaced the installed one.
    Replaced,
    /// The package did not come up, and the one that was there before is there again.
    RolledBack,
}

/// Worth of a package's signature.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct PackageSignature {
    /// `valid`, `valid-v1`, `unsigned` or `untrusted key`; a package that is `tampered` or
    /// `revoked` is refused.
    pub state: String,
    /// The id of the key that signed it.
    pub key: Option<String>,
    /// The date that the signer wrote, RFC 3339.
    pub date: Option<String>,
    /// A warning about the signature.
    pub warning: Option<String>,
}

/// Differences between two sets of files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Changes {
    /// Files that are new, changed or gone, at most 100 of them.
    pub files: Vec<FileChange>,
    /// Number of all differences.
    pub count: usize,
}

/// A file that differs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct FileChange {
    /// Path of the file in the package.
    pub path: String,
    /// `added`, `changed` or `removed`.
    pub change: String,
}

/// Report on the removal of a plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct UninstallReport {
    /// The plugin.
    pub name: String,
    /// The version that was removed.
    pub version: String,
    /// Data that was removed beside the package.
    pub removed: Vec<String>,
    /// Data that was kept.
    pub kept: Vec<String>,
    /// In upstream's word.
    pub message: String,
}
