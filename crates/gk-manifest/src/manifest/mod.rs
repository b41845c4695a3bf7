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
mod sidecar;
mod yaml;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use self::fields::Fields;
pub use self::sidecar::{HealthcheckSpec, SidecarSpec};
use self::yaml::ScalarKind;
use crate::dependency::Dependency;
use crate::diagnostic::{Diagnostic, quoted};
use crate::duration::GoDuration;
use crate::limits;
use crate::name::PluginName;
use crate::resources::{Permission, ResourceRequest};
use crate::validate::{Report, index};

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
    /// Upstream takes absolute paths as they are. Here they are refused: a plugin directory is what is installed,
    /// signed, watched and removed, and a manifest that could name `/bin/sh` would start what nobody installed.
    pub binary: PathBuf,
    /// What the plugin does.
    pub description: String,
    /// Who wrote it.
    pub author: String,
    /// Its licence.
    pub license: String,
    /// Its home page.
    pub homepage: String,
    /// Inline SVG, a FontAwesome class or a bundled path.
    pub icon: String,
    /// Whether it is a plugin or a theme.
    pub kind: PluginKind,
    /// Limits and permissions asked for.
    pub resources: ResourceRequest,
    /// Plugins that must run before this one, each once.
    pub dependencies: Vec<Dependency>,
    /// How a new version of it takes over.
    pub reload: ReloadSpec,
    /// Containers the plugin would like to have beside it.
    pub sidecars: Vec<SidecarSpec>,
}

/// What a manifest describes (`type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PluginKind {
    /// A plugin.
    #[default]
    Plugin,
    /// A theme.
    Theme,
}

/// How a new version of a plugin takes over (`reload`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadSpec {
    /// The order of start and end.
    pub strategy: ReloadStrategy,
    wait: Option<GoDuration>,
}

impl ReloadSpec {
    /// How long calls wait while nothing of the plugin serves; `None` leaves it to the host. At most
    /// [`RELOAD_WAIT_MAX`](limits::RELOAD_WAIT_MAX).
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
    /// The old one ends before the new one starts: for plugins of which two cannot run at the same time.
    Recreate,
}

/// Why there is no manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The file could not be read.
    #[error("{}: cannot be read", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The manifest is of a plugin that does not run as a process (`wasm`, `template`, `theme`): not an error of its
    /// author. The host skips it.
    #[error("{}: runtime {runtime:?} is not a native plugin, skipped", file.display())]
    NotNative {
        /// The file.
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
    /// Whether the file merely belongs to another kind of plugin.
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
    /// [`ManifestError::Read`] when the file cannot be read (also when it is no regular file, such as a FIFO, which
    /// would block), [`ManifestError::NotNative`] for other runtimes, [`ManifestError::Invalid`] for the rest.
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
            // One byte more than allowed, so that `parse` sees that it is too much.
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

    /// Parses a manifest. `file` is for messages, and its directory's name is the default of `name`.
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

/// Reads the top level. `None` when an error was reported that leaves no manifest.
fn read_manifest(mut fields: Fields<'_>, file: &Path) -> Result<Option<Manifest>, ManifestError> {
    let runtime = fields.text("runtime");
    if runtime.is_empty() && fields.has("wasm") {
        return Err(ManifestError::NotNative {
            file: file.to_owned(),
            runtime: "wasm".into(),
        });
    }
    if runtime.is_empty() {
        fields.report().error(
            "runtime",
            "is missing",
            "write `runtime: grpc` for a native plugin",
        );
    } else if OTHER_RUNTIMES.contains(&runtime.as_str()) {
        return Err(ManifestError::NotNative {
            file: file.to_owned(),
            runtime,
        });
    } else if runtime != NATIVE_RUNTIME {
        let message = format!("there is no runtime {}", quoted(&runtime));
        fields.report().error(
            "runtime",
            message,
            "write `runtime: grpc`, which is the name of all native plugins",
        );
    }
    let name = read_name(&mut fields, file);
    let version = match fields.scalar("version") {
        Some((version, kind)) => {
            if kind != ScalarKind::Text && !version.is_empty() {
                let remedy = format!("quote it: `version: \"{version}\"`");
                fields.report().warning(
                    "version",
                    "is written as a number, which other tools change",
                    remedy,
                );
            }
            version
        }
        None => String::new(),
    };
    fields.report().version("version", &version);
    let mut line = |key, max| {
        let value = fields.text(key);
        fields.report().line(key, &value, max);
        value
    };
    let author = line("author", limits::LINE_BYTES_MAX);
    let license = line("license", limits::LINE_BYTES_MAX);
    let homepage = line("homepage", limits::PATH_BYTES_MAX);
    line("wasm", limits::PATH_BYTES_MAX);
    let description = fields.text("description");
    fields
        .report()
        .text("description", &description, limits::TEXT_BYTES_MAX);
    let icon = fields.text("icon");
    fields.report().text("icon", &icon, limits::ICON_BYTES_MAX);
    let kind = read_kind(&mut fields);
    let binary_text = fields.text("binary");
    let binary = read_binary(&mut fields, &binary_text, name.as_ref());
    let resources = fields
        .nested("resources", read_resources)
        .unwrap_or_default();
    resources.check(fields.report(), "resources");
    let dependencies = read_dependencies(&mut fields, name.as_ref());
    let reload = fields.nested("reload", read_reload).unwrap_or_default();
    let sidecars = fields.list(
        "sidecars",
        limits::LIST_ENTRIES_MAX,
        |report, field, node| Some(sidecar::read(Fields::new(report, field, node), field)),
    );
    fields.finish();
    Ok(name.zip(binary).map(|(name, binary)| Manifest {
        name,
        version,
        binary,
        description,
        author,
        license,
        homepage,
        icon,
        kind,
        resources,
        dependencies,
        reload,
        sidecars,
    }))
}

fn read_name(fields: &mut Fields<'_>, file: &Path) -> Option<PluginName> {
    let text = fields.text("name");
    if !text.is_empty() {
        return checked_name(fields.report(), "name", &text);
    }
    let directory = file
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    let name = directory.and_then(|directory| PluginName::new(directory).ok());
    if name.is_none() {
        let message = match directory {
            Some(directory) => format!(
                "is missing, and the directory's name {} is not a plugin name",
                quoted(directory)
            ),
            None => "is missing".to_owned(),
        };
        fields
            .report()
            .error("name", message, "write `name: my-plugin`");
    }
    name
}

fn checked_name(report: &mut Report, field: &str, text: &str) -> Option<PluginName> {
    match PluginName::new(text) {
        Ok(name) => Some(name),
        Err(error) => {
            let remedy = match PluginName::suggest(text) {
                Some(name) => format!("write `{name}`, for instance: {}", PluginName::RULE),
                None => PluginName::RULE.to_owned(),
            };
            report.error(field, error.to_string(), remedy);
            None
        }
    }
}

fn read_kind(fields: &mut Fields<'_>) -> PluginKind {
    match fields.text("type").as_str() {
        "" | "plugin" => PluginKind::Plugin,
        "theme" => PluginKind::Theme,
        other => {
            let message = format!("{} is neither `plugin` nor `theme`", quoted(other));
            fields
                .report()
                .error("type", message, "write `plugin`, or leave it out");
            PluginKind::Plugin
        }
    }
}

fn read_binary(fields: &mut Fields<'_>, text: &str, name: Option<&PluginName>) -> Option<PathBuf> {
    const REMEDY: &str =
        "put the executable into the plugin's directory and write its path relative to it";
    if text.is_empty() {
        return name.map(|name| PathBuf::from(name.as_str()));
    }
    let report = fields.report();
    let shown = quoted(text);
    let mut path = PathBuf::new();
    for component in Path::new(text).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir => {
                report.error(
                    "binary",
                    format!("{shown} leaves the plugin's directory with `..`"),
                    REMEDY,
                );
                return None;
            }
            Component::RootDir | Component::Prefix(_) => {
                report.error("binary", format!("{shown} is an absolute path"), REMEDY);
                return None;
            }
        }
    }
    if path.as_os_str().is_empty() || text.ends_with('/') {
        report.error("binary", format!("{shown} names a directory"), REMEDY);
        return None;
    }
    report.line("binary", text, limits::PATH_BYTES_MAX);
    Some(path)
}

fn read_resources(mut fields: Fields<'_>) -> ResourceRequest {
    let request = ResourceRequest {
        memory_mb: fields.integer("memory_mb"),
        call_timeout: fields.text("call_timeout"),
        init_timeout: fields.text("init_timeout"),
        shutdown_timeout: fields.text("shutdown_timeout"),
        max_file_storage_bytes: fields.integer("max_file_storage_bytes"),
        permissions: fields.list(
            "permissions",
            limits::LIST_ENTRIES_MAX,
            |report, field, node| {
                let mut fields = Fields::new(report, field, node);
                let permission = Permission {
                    kind_name: fields.text("type"),
                    access: fields.text("access"),
                    scope: fields.texts("scope", limits::SCOPE_ENTRIES_MAX),
                };
                fields.finish_strict();
                Some(permission)
            },
        ),
    };
    fields.finish_strict();
    request
}

fn read_dependencies(fields: &mut Fields<'_>, own: Option<&PluginName>) -> Vec<Dependency> {
    let texts = fields.texts("dependencies", limits::LIST_ENTRIES_MAX);
    let mut seen = HashSet::new();
    let mut dependencies = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let field = index("dependencies", number);
        let dependency = match Dependency::parse(text) {
            Ok(dependency) => dependency,
            Err(error) => {
                fields.report().error(&field, error, Dependency::SYNTAX);
                continue;
            }
        };
        if own == Some(&dependency.name) {
            fields
                .report()
                .error(&field, "the plugin depends on itself", "remove the entry");
        } else if seen.insert(dependency.name.clone()) {
            dependencies.push(dependency);
        } else {
            fields.report().warning(
                &field,
                format!("{} is listed twice", dependency.name),
                "remove one of the two",
            );
        }
    }
    dependencies
}

fn read_reload(mut fields: Fields<'_>) -> ReloadSpec {
    let strategy = match fields.text("strategy").as_str() {
        "" | "rolling" => ReloadStrategy::Rolling,
        "recreate" => ReloadStrategy::Recreate,
        other => {
            let message = format!("{} is neither `rolling` nor `recreate`", quoted(other));
            let field = fields.path("strategy");
            fields.report().error(
                &field,
                message,
                "write `recreate` for a plugin of which two cannot run at the same time, else leave it out",
            );
            ReloadStrategy::Rolling
        }
    };
    let text = fields.text("wait");
    let field = fields.path("wait");
    let parsed = (!text.is_empty()).then(|| text.parse::<GoDuration>());
    let wait = match parsed.transpose() {
        Ok(wait) => wait,
        Err(error) => {
            fields
                .report()
                .error(&field, error.to_string(), GoDuration::SYNTAX);
            None
        }
    };
    if let Some(wait) = wait
        && wait
            .to_std()
            .is_none_or(|wait| wait > limits::RELOAD_WAIT_MAX)
    {
        let message = format!("is not between 0s and {:?}", limits::RELOAD_WAIT_MAX);
        fields
            .report()
            .error(&field, message, "write a shorter time");
    }
    fields.finish_strict();
    ReloadSpec { strategy, wait }
}

#[cfg(test)]
mod tests;
