//! `plugin.yaml`: what the host reads before it starts a plugin.
//!
//! | Key | Type | Default |
//! |---|---|---|
//! | `name` | text | the directory's name |
//! | `version` | text, semantic version | none (a warning) |
//! | `runtime` | `grpc` | none: must be there |
//! | `binary` | relative path | the name |
//! | `description`, `author`, `license`, `homepage`, `icon` | text | empty |
//! | `type` | `plugin` or `theme` | `plugin` |
//! | `wasm` | text | none; of other runtimes, not used here |
//! | `resources` | mapping, see [`ResourceRequest`] | nothing asked for |
//! | `dependencies` | list of plugins, see [`Dependency`] | none |
//! | `reload` | mapping, see [`ReloadSpec`] | rolling |
//! | `sidecars` | list, see [`SidecarSpec`] | none |

mod fields;
mod read;
mod sidecar;
mod yaml;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::fields::Fields;
use self::read::read_manifest;
pub use self::sidecar::{HealthcheckSpec, SidecarSpec};
use crate::dependency::Dependency;
use crate::diagnostic::Diagnostic;
use crate::duration::GoDuration;
use crate::limits;
use crate::name::PluginName;
use crate::resources::ResourceRequest;
use crate::validate::Report;

/// The runtime of native plugins. The name is historical: they speak net/rpc.
const NATIVE_RUNTIME: &str = "grpc";
/// Runtimes of plugins that are not separate processes.
const OTHER_RUNTIMES: [&str; 3] = ["wasm", "template", "theme"];

/// A valid manifest of a native plugin.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Manifest {
    /// The plugin's name; its registration must carry the same.
    pub name: PluginName,
    /// Semantic version; empty when not given.
    pub version: String,
    /// The executable, relative to the plugin's directory, free of `..`.
    ///
    /// Upstream takes absolute paths as they are. Here they are refused: a plugin directory is what
    /// is installed, signed, watched and removed, and a manifest that could name `/bin/sh` would
    /// start what nobody installed.
    pub binary: PathBuf,
    /// Purpose of the plugin.
    pub description: String,
    /// Author of the plugin.
    pub author: String,
    /// Licence of the plugin.
    pub license: String,
    /// Home page of the plugin.
    pub homepage: String,
    /// Inline SVG, a FontAwesome class or a bundled path.
    pub icon: String,
    /// Kind of the package: plugin or theme.
    pub kind: PluginKind,
    /// Limits and permissions asked for.
    pub resources: ResourceRequest,
    /// Plugins that must run before this one, each once.
    pub dependencies: Vec<Dependency>,
    /// Order in which a new version takes over.
    pub reload: ReloadSpec,
    /// Containers the plugin would like to have beside it.
    pub sidecars: Vec<SidecarSpec>,
}

/// Kind of a package (`type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PluginKind {
    /// Code that a host runs.
    #[default]
    Plugin,
    /// Style sheets and templates.
    Theme,
}

/// Take-over by a new version of a plugin (`reload`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadSpec {
    /// The order of start and end.
    pub strategy: ReloadStrategy,
    wait: Option<GoDuration>,
}

impl ReloadSpec {
    /// Maximum time that calls wait while no generation of the plugin serves; `None` leaves it to
    /// the host. At most [`RELOAD_WAIT_MAX`](limits::RELOAD_WAIT_MAX).
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        self.wait.and_then(GoDuration::to_std)
    }
}

/// The order in which a new version starts and the old one ends (`reload.strategy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReloadStrategy {
    /// The new one comes up beside the old one, which then ends. No call is lost.
    #[default]
    Rolling,
    /// The old one ends before the new one starts: for plugins of which two cannot run at the same
    /// time.
    Recreate,
}

/// Why there is no manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The file could not be read.
    #[error("{}: cannot be read", file.display())]
    Read {
        /// Path of the file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The manifest is of a plugin that does not run as a process (`wasm`, `template`, `theme`):
    /// not an error of its author. The host skips it.
    #[error("{}: runtime {runtime:?} is not a native plugin, skipped", file.display())]
    NotNative {
        /// Path of the file.
        file: PathBuf,
        /// The runtime it names.
        runtime: String,
    },
    /// The manifest is wrong. The text lists every error, one a line.
    #[error("{}", errors(diagnostics))]
    Invalid {
        /// Errors and warnings, in the order of the file; at least one error.
        diagnostics: Vec<Diagnostic>,
    },
}

impl ManifestError {
    /// Returns `true` if the file merely belongs to another kind of plugin.
    pub fn is_not_native(&self) -> bool {
        matches!(self, Self::NotNative { .. })
    }

    /// The findings; empty unless the manifest is invalid.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            Self::Invalid { diagnostics } => diagnostics,
            _ => &[],
        }
    }
}

fn errors(diagnostics: &[Diagnostic]) -> String {
    let lines: Vec<_> = diagnostics
        .iter()
        .filter(|d| d.is_error())
        .map(Diagnostic::to_string)
        .collect();
    lines.join("\n")
}

impl Manifest {
    /// Reads and parses the manifest file at `path`. The second value are warnings.
    ///
    /// # Errors
    /// [`ManifestError::Read`] when the file cannot be read (also when it is no regular file, such
    /// as a FIFO, which would block), [`ManifestError::NotNative`] for other runtimes,
    /// [`ManifestError::Invalid`] for the rest.
    pub fn load(path: impl AsRef<Path>) -> Result<(Self, Vec<Diagnostic>), ManifestError> {
        let path = path.as_ref();
        let read = || -> io::Result<Vec<u8>> {
            if !path.metadata()?.is_file() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "not a regular file",
                ));
            }
            let mut bytes = Vec::new();
            // Reads one byte more than allowed, so that `parse` sees that the file is too long.
            File::open(path)?
                .take(limits::MANIFEST_BYTES_MAX as u64 + 1)
                .read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|source| ManifestError::Read {
            file: path.to_owned(),
            source,
        })?;
        Self::parse(path, &bytes)
    }

    /// Parses a manifest. `file` is for messages, and its directory's name is the default of
    /// `name`.
    ///
    /// # Errors
    /// As [`Manifest::load`], without the reading.
    pub fn parse(
        file: impl AsRef<Path>,
        bytes: &[u8],
    ) -> Result<(Self, Vec<Diagnostic>), ManifestError> {
        let file = file.as_ref();
        let whole = |message: String, remedy: &str| ManifestError::Invalid {
            diagnostics: vec![Diagnostic::whole_file(file, message, remedy)],
        };
        if bytes.len() > limits::MANIFEST_BYTES_MAX {
            let message = format!("larger than {} KiB", limits::MANIFEST_BYTES_MAX / 1024);
            return Err(whole(
                message,
                "a manifest has a few kilobytes: move assets into files of their own",
            ));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = &bytes[..error.valid_up_to()];
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            whole(
                format!("not UTF-8 text: the first wrong byte is in line {line}"),
                "save the file as UTF-8",
            )
        })?;
        let root = yaml::parse(text).map_err(|error| {
            let mut diagnostic = Diagnostic::whole_file(file, error.message, error.remedy);
            diagnostic.line = error.place.map(|place| place.line);
            diagnostic.column = error.place.map(|place| place.column);
            ManifestError::Invalid {
                diagnostics: vec![diagnostic],
            }
        })?;
        if matches!(root.value, yaml::Value::Null) {
            return Err(whole(
                "the file is empty".into(),
                "write at least `name`, `version` and `runtime: grpc`",
            ));
        }
        let mut report = Report::for_file(file.to_owned());
        let manifest = read_manifest(Fields::new(&mut report, "", root), file)?;
        let diagnostics = report.finish();
        match manifest {
            Some(manifest) if !diagnostics.iter().any(Diagnostic::is_error) => {
                Ok((manifest, diagnostics))
            }
            _ => Err(ManifestError::Invalid { diagnostics }),
        }
    }
}

#[cfg(test)]
mod tests;
