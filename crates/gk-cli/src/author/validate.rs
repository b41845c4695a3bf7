//! `gk validate`: what is wrong with a plugin, where, and what to do about it.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use gk_manifest::{Manifest, ManifestError, Severity, limits::MANIFEST_BYTES_MAX};
use gk_package::{Archive, MANIFEST};
use serde::Serialize;

use super::finding::{Finding, Start, counted, show};
use super::program::{HEAD_BYTES, Kind, here};
use super::project::inside;
use super::scaffold::crate_name;
use crate::failure::{Exit, Failure};
use crate::terminal::{Format, Terminal};

#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// The plugin's directory, its plugin.yaml, or a package (.zip).
    #[arg(default_value = ".", value_name = "DIR|FILE")]
    path: PathBuf,
    /// Print JSON in the form of `terraform validate -json`; the same as -o json.
    #[arg(long)]
    json: bool,
    /// Take warnings for errors.
    #[arg(long)]
    strict: bool,
}

/// The result for programs.
#[derive(Debug, Serialize)]
struct Report {
    valid: bool,
    error_count: usize,
    warning_count: usize,
    diagnostics: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    severity: &'static str,
    summary: String,
    detail: String,
    range: Place,
}

#[derive(Debug, Serialize)]
struct Place {
    filename: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<Start>,
}

impl ValidateArgs {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let subject = Subject::open(&self.path)?;
        let (name, mut findings) = subject.findings()?;
        if self.strict {
            for finding in &mut findings {
                finding.severity = Severity::Error;
            }
        }
        let errors = findings
            .iter()
            .filter(|it| it.severity == Severity::Error)
            .count();
        let warnings = findings.len() - errors;
        let report = Report {
            valid: errors == 0,
            error_count: errors,
            warning_count: warnings,
            diagnostics: findings.iter().map(entry).collect(),
        };
        let name = name.unwrap_or_default();
        if self.json || matches!(terminal.format(), Format::Json | Format::Yaml) {
            match self.json {
                true => terminal.json(&report)?,
                false => terminal.document(&report, &name, String::new)?,
            }
        } else {
            for finding in &findings {
                show(finding, subject.source_of(&finding.file), terminal);
            }
            if errors == 0 {
                let text = format!(
                    "the plugin {name} is valid{}\n",
                    counted(&[(warnings, "warning")], ", with ")
                );
                terminal.document(&report, &name, || text)?;
            }
        }
        match errors {
            0 => Ok(()),
            _ if self.json
                || terminal.format() == Format::Json
                || terminal.format() == Format::Yaml =>
            {
                Err(Failure::reported(Exit::Failed))
            }
            _ => Err(Failure::new(
                Exit::Failed,
                format!(
                    "{} is not valid: {}",
                    self.path.display(),
                    counted(&[(errors, "error"), (warnings, "warning")], "")
                ),
                "correct what is said above; the plugin author guide has all keys of plugin.yaml",
            )),
        }
    }
}

fn entry(finding: &Finding) -> Entry {
    Entry {
        severity: match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        summary: finding.summary(),
        detail: finding.remedy.clone(),
        range: Place {
            filename: finding.file.display().to_string(),
            start: finding.start,
        },
    }
}

/// Files that are validated.
enum Subject {
    Directory {
        directory: PathBuf,
        manifest: PathBuf,
        text: Vec<u8>,
    },
    Package {
        archive: Archive,
        text: Vec<u8>,
    },
}

impl Subject {
    fn open(path: &Path) -> Result<Self, Failure> {
        let metadata = fs::metadata(path).map_err(|error| Failure::file("read", path, &error))?;
        let is_zip = path.extension().is_some_and(|extension| extension == "zip");
        if metadata.is_file() && is_zip {
            let archive = Archive::open(path).map_err(|error| refused(&error))?;
            // Reads one byte more than a manifest may have: its parser reports the excess better.
            let text = archive.read(MANIFEST, MANIFEST_BYTES_MAX as u64 + 1);
            let text = text.map_err(|error| refused(&error))?;
            return Ok(Subject::Package { archive, text });
        }
        let (directory, manifest) = match metadata.is_dir() {
            true => (path.to_owned(), path.join(MANIFEST)),
            false => {
                let parent = path.parent().filter(|parent| *parent != Path::new(""));
                (parent.unwrap_or(Path::new(".")).to_owned(), path.to_owned())
            }
        };
        let manifest = inside(Path::new(""), manifest);
        let mut text = Vec::new();
        let mut read = || -> io::Result<()> {
            if !manifest.metadata()?.is_file() {
                return Err(io::Error::other("it is not a regular file"));
            }
            let file = File::open(&manifest)?;
            file.take(MANIFEST_BYTES_MAX as u64 + 1)
                .read_to_end(&mut text)?;
            Ok(())
        };
        let read = read();
        read.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::new(
                Exit::NotFound,
                format!("there is no {}", manifest.display()),
                "name the plugin's directory, or make one with: gk init NAME --type grpc",
            ),
            _ => Failure::file("read", &manifest, &error),
        })?;
        Ok(Subject::Directory {
            directory,
            manifest,
            text,
        })
    }

    fn manifest(&self) -> (PathBuf, &[u8]) {
        match self {
            Subject::Directory { manifest, text, .. } => (manifest.clone(), text),
            Subject::Package { archive, text } => (archive.path().join(MANIFEST), text),
        }
    }

    /// The text of the file, if it is the manifest.
    fn source_of(&self, file: &Path) -> Option<&str> {
        let (manifest, text) = self.manifest();
        std::str::from_utf8(text).ok().filter(|_| file == manifest)
    }

    /// The plugin's name, if it has one, and all findings.
    fn findings(&self) -> Result<(Option<String>, Vec<Finding>), Failure> {
        let (file, text) = self.manifest();
        // The name's default is that of the directory, which `.` does not say.
        let named = match self {
            Subject::Directory { directory, .. } => {
                let real = directory.canonicalize();
                real.map_err(|error| Failure::file("read", directory, &error))?
                    .join(MANIFEST)
            }
            Subject::Package { .. } => file.clone(),
        };
        let (manifest, diagnostics) = match Manifest::parse(&named, text) {
            Ok((manifest, warnings)) => (Some(manifest), warnings),
            Err(ManifestError::Invalid { diagnostics }) => (None, diagnostics),
            Err(ManifestError::NotNative { runtime, .. }) => {
                let message = format!("runtime {runtime:?} is not that of a native plugin");
                let remedy = "this host runs native plugins: write `runtime: grpc`".to_owned();
                return Ok((
                    None,
                    vec![Finding::new(Severity::Error, &file, message, remedy)],
                ));
            }
            Err(error) => {
                return Err(Failure::new(
                    Exit::Failed,
                    error.to_string(),
                    "check the file",
                ));
            }
        };
        let mut findings: Vec<_> = diagnostics.iter().map(Finding::from).collect();
        for finding in &mut findings {
            finding.file.clone_from(&file);
        }
        if let Some(manifest) = &manifest {
            self.binary(manifest, &mut findings);
            if let Subject::Directory { directory, .. } = self {
                names(directory, &named, manifest, &mut findings);
            }
        }
        Ok((manifest.map(|manifest| manifest.name.to_string()), findings))
    }

    /// Checks that the program is there, executable, and for this machine.
    fn binary(&self, manifest: &Manifest, findings: &mut Vec<Finding>) {
        let path = manifest.binary.to_string_lossy();
        let (file, found) = match self {
            Subject::Directory { directory, .. } => {
                let file = inside(directory, &manifest.binary);
                let found = head_of(&file);
                (file, found)
            }
            Subject::Package { archive, .. } => {
                let file = archive.path().join(&manifest.binary);
                let found = archive.entry(&path).map(|entry| {
                    let content = archive.read(&path, entry.size());
                    let mut head = content.map_err(io::Error::other)?;
                    head.truncate(HEAD_BYTES);
                    Ok((entry.is_executable(), head))
                });
                (
                    file,
                    found.unwrap_or_else(|| Err(io::ErrorKind::NotFound.into())),
                )
            }
        };
        let mut add = |severity, message: String, remedy: &str| {
            findings.push(Finding::new(severity, &file, message, remedy.to_owned()));
        };
        match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match self {
                Subject::Directory { .. } => add(
                    Severity::Warning,
                    "the plugin's program is not there yet".to_owned(),
                    "build it with `gk build`, or correct `binary` in plugin.yaml",
                ),
                Subject::Package { .. } => add(
                    Severity::Error,
                    "the plugin's program is not in the package".to_owned(),
                    "build it, check .gkignore, and make the package again with `gk package`",
                ),
            },
            Err(error) => add(
                Severity::Error,
                format!("the plugin's program cannot be read: {error}"),
                "check the file",
            ),
            Ok((executable, head)) => {
                let kind = Kind::of(&head);
                if kind == Kind::Other {
                    add(
                        Severity::Error,
                        "the plugin's program is no program".to_owned(),
                        "build it again with `gk build`",
                    );
                } else if !kind.runs_here() {
                    let message =
                        format!("the plugin's program is {kind}; this machine is {}", here());
                    add(
                        Severity::Warning,
                        message,
                        "to run it here, build it here; for others: gk build --target OS/ARCH",
                    );
                }
                if !executable {
                    add(
                        Severity::Error,
                        "the plugin's program is not executable".to_owned(),
                        "chmod +x it, or build it with `gk build`",
                    );
                }
            }
        }
    }
}

/// Reads the permission to execute, and the first bytes.
fn head_of(file: &Path) -> io::Result<(bool, Vec<u8>)> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut head = Vec::new();
    File::open(file)?
        .take(HEAD_BYTES as u64)
        .read_to_end(&mut head)?;
    Ok((metadata.permissions().mode() & 0o111 != 0, head))
}

/// The directory, the Go module and the crate are called as the plugin is, or somebody will look
/// for the wrong one.
fn names(directory: &Path, named: &Path, manifest: &Manifest, findings: &mut Vec<Finding>) {
    let name = manifest.name.as_str();
    let mut add = |file: &Path, message: String, remedy: String| {
        findings.push(Finding::new(Severity::Warning, file, message, remedy));
    };
    let called = named.parent().and_then(Path::file_name).unwrap_or_default();
    if called != name {
        let message = format!(
            "the directory is called {:?}, and the plugin {name:?}",
            called.to_string_lossy()
        );
        add(
            directory,
            message,
            format!("rename the directory to {name}, or correct `name` in plugin.yaml"),
        );
    }
    let go = inside(directory, "go.mod");
    let module = fs::read_to_string(&go).unwrap_or_default();
    let module = module
        .lines()
        .find_map(|line| line.trim().strip_prefix("module "));
    // A module's last part may be a major version.
    let last = module.and_then(|module| {
        let mut parts = module.trim().trim_matches('"').rsplit('/');
        let last = parts.next()?;
        let version = last
            .strip_prefix('v')
            .is_some_and(|digits| digits.parse::<u32>().is_ok());
        if version {
            parts.next().or(Some(last))
        } else {
            Some(last)
        }
    });
    if let Some(last) = last.filter(|last| *last != name) {
        let message = format!("the Go module is called {last:?}, and the plugin {name:?}");
        add(
            &go,
            message,
            format!("let the module's path end in {name}, or correct `name` in plugin.yaml"),
        );
    }
    let cargo = inside(directory, "Cargo.toml");
    let package = fs::read_to_string(&cargo)
        .ok()
        .and_then(|text| text.parse::<toml::Table>().ok());
    let package = package
        .as_ref()
        .and_then(|table| table.get("package")?.get("name")?.as_str());
    if let Some(package) =
        package.filter(|package| *package != name && *package != crate_name(name))
    {
        let message = format!("the crate is called {package:?}, and the plugin {name:?}");
        add(
            &cargo,
            message,
            format!(
                "rename the crate to {}, or correct `name` in plugin.yaml",
                crate_name(name)
            ),
        );
    }
}

fn refused(error: &gk_package::OpenError) -> Failure {
    let exit = match error {
        gk_package::OpenError::Missing { .. } => Exit::NotFound,
        _ => Exit::Failed,
    };
    Failure::new(
        exit,
        error.to_string(),
        "make the package with `gk package`",
    )
}
