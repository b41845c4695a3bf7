//! Reads the fields of a manifest.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use super::fields::Fields;
use super::yaml::ScalarKind;
use super::{
    Manifest, ManifestError, NATIVE_RUNTIME, OTHER_RUNTIMES, PluginKind, ReloadSpec,
    ReloadStrategy, sidecar,
};
use crate::dependency::Dependency;
use crate::diagnostic::quoted;
use crate::duration::GoDuration;
use crate::limits;
use crate::name::PluginName;
use crate::resources::{Permission, ResourceRequest};
use crate::validate::{Report, index};

/// Reads the top level. `None` when an error was reported that leaves no manifest.
pub(super) fn read_manifest(
    mut fields: Fields<'_>,
    file: &Path,
) -> Result<Option<Manifest>, ManifestError> {
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
