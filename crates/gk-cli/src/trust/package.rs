//! `gk package`: the ZIP file that is handed out.

use std::path::{Path, PathBuf};

use clap::Args;
use gk_package::{MANIFEST, pack};
use serde::Serialize;

use super::staging::Staged;
use super::verify::{judge, trust_own};
use crate::author::Project;
use crate::failure::{Exit, Failure};
use crate::terminal::{DIM, Rows, Terminal, styled};

#[derive(Debug, Args)]
pub(crate) struct PackageArgs {
    /// The plugin's directory.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The file to make; DIR/dist/NAME-VERSION.zip without this. The marketplace downloads
    /// NAME.zip.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Only list what belongs to the package.
    #[arg(long, conflicts_with = "out")]
    list: bool,
}

/// A file of the package.
#[derive(Debug, Serialize)]
struct Listed {
    path: String,
    size: u64,
    executable: bool,
}

impl Rows for Vec<Listed> {
    fn headings(_: bool) -> Vec<&'static str> {
        vec!["FILE", "SIZE", "EXECUTABLE"]
    }

    fn rows(&self, _: bool) -> Vec<(String, Vec<String>)> {
        let row = |file: &Listed| {
            let executable = if file.executable { "yes" } else { "no" };
            let cells = vec![
                file.path.clone(),
                file.size.to_string(),
                executable.to_owned(),
            ];
            (file.path.clone(), cells)
        };
        self.iter().map(row).collect()
    }
}

/// The package that was made.
#[derive(Debug, Serialize)]
struct Packed {
    name: String,
    version: String,
    path: PathBuf,
    size: u64,
    sha256: String,
    signature: &'static str,
    files: Vec<Listed>,
}

impl PackageArgs {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let project = Project::open(&self.dir, terminal)?;
        if self.list {
            let selection = gk_package::Selection::of(&project.directory).map_err(|error| {
                Failure::new(
                    Exit::Failed,
                    error.to_string(),
                    "correct that, and list again",
                )
            })?;
            let files: Vec<_> = selection.files().iter().map(listed).collect();
            return terminal.data(&files);
        }
        let (name, version) = (
            project.manifest.name.to_string(),
            project.manifest.version.clone(),
        );
        let out = match self.out {
            Some(out) => out,
            None if version.is_empty() => {
                return Err(Failure::new(
                    Exit::Failed,
                    format!(
                        "{} has no version, which is part of the package's name",
                        project.path(MANIFEST).display()
                    ),
                    "add a line: version: \"1.0.0\"",
                ));
            }
            None => project.path(&format!("dist/{name}-{version}.zip")),
        };
        let staged = Staged::of(&project)?;
        let verdict = judge(&project, &staged, trust_own()?)?;
        let reason = verdict.reason.as_deref().unwrap_or_default();
        if verdict.is_refused() {
            terminal.warn(format_args!(
                "{}: {reason}; no host runs this package: run `gk sign`",
                verdict.state
            ));
        } else if verdict.state == "unsigned" {
            terminal.warn(
                "the package is not signed; hosts that require signatures refuse it: run `gk sign`",
            );
        } else if !verdict.is_valid() {
            terminal.warn(format_args!(
                "{reason}: whether the signature fits could not be checked with your own keys"
            ));
        }
        if let Some(parent) = out.parent().filter(|parent| *parent != Path::new("")) {
            std::fs::create_dir_all(parent)
                .map_err(|error| Failure::file("write", parent, &error))?;
        }
        let packed = pack(&staged.selection, &out).map_err(|error| {
            Failure::new(
                Exit::Failed,
                staged.originals(&project, &error.to_string()),
                "correct that, and package again",
            )
        })?;
        let made = Packed {
            path: out,
            size: packed.size,
            sha256: packed
                .sha256
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            signature: verdict.state,
            files: staged.selection.files().iter().map(listed).collect(),
            name,
            version,
        };
        terminal.document(&made, &made.name, || {
            let mut text = format!(
                "package: {}\nsize:    {} bytes\nSHA-256: {}\nsigned:  {}\nfiles:\n",
                made.path.display(),
                made.size,
                made.sha256,
                made.signature
            );
            for file in &made.files {
                let size = styled(DIM, format_args!("{} bytes", file.size));
                text.push_str(&format!("  {}  {size}\n", file.path));
            }
            text
        })?;
        terminal.detail(format_args!(
            "for the marketplace, which downloads NAME.zip: gk package --out dist/{}.zip",
            made.name
        ));
        Ok(())
    }
}

fn listed(file: &gk_package::SelectedFile) -> Listed {
    Listed {
        path: file.path.clone(),
        size: file.size,
        executable: file.executable,
    }
}
