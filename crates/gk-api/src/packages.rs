//! Installing and removing plugins.

use gk_manifest::Permission;
use serde::{Deserialize, Serialize};

use crate::control::Outcome;

/// What came of a package, or what would come of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct InstallReport {
    /// The plugin's name, as its plugin.yaml has it.
    pub name: String,
    /// The version in the package.
    pub version: String,
    /// The version that was installed before; null if there was none.
    pub installed_version: Option<String>,
    /// The package's SHA-256, in hexadecimal digits.
    pub digest: String,
    /// What was done, or would be.
    pub step: InstallStep,
    /// What its signature is worth to this host.
    pub signature: PackageSignature,
    /// What it asks for.
    pub requested: Vec<Permission>,
    /// Of this, what its policy does not grant at this moment.
    pub not_granted: Vec<Permission>,
    /// How its files differ from those that are installed.
    pub changes: Changes,
    /// What is to be said of its manifest.
    pub warnings: Vec<String>,
    /// What came of starting it; null of a dry run.
    pub outcome: Option<Outcome>,
    /// Where it was installed.
    pub directory: String,
}

/// What is done with a package.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum InstallStep {
    /// Nothing yet.
    #[default]
    None,
    /// It is not installed, and would be.
    WouldInstall,
    /// Another version, or other files, are installed, and would be replaced.
    WouldReplace,
    /// The same files are installed.
    Same,
    /// It was installed.
    Installed,
    /// It has replaced what was installed.
    Replaced,
    /// It did not come up, and what was there before is there again.
    RolledBack,
}

/// What a package's signature is worth.
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
    /// What is to be said of it.
    pub warning: Option<String>,
}

/// How files differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Changes {
    /// Files that are new, changed or gone, at most 100 of them.
    pub files: Vec<FileChange>,
    /// How many there are.
    pub count: usize,
}

/// A file that differs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct FileChange {
    /// Its path in the package.
    pub path: String,
    /// `added`, `changed` or `removed`.
    pub change: String,
}

/// What came of removing a plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct UninstallReport {
    /// The plugin.
    pub name: String,
    /// The version that was removed.
    pub version: String,
    /// What was removed beside its package.
    pub removed: Vec<String>,
    /// What was kept.
    pub kept: Vec<String>,
    /// In upstream's word.
    pub message: String,
}
