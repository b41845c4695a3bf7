//! `gk install`: a package is looked at by the host, shown, and installed.

use std::fs;
use std::path::Path;

use clap::Args;
use gk_api::{HostInfo, Operation};

use super::apply::{Options, install};
use super::fetch;
use super::index::IndexArgs;
use super::offered::{Purpose, of_index};
use crate::client::{ConnectArgs, Host};
use crate::failure::{Exit, Failure};
use crate::terminal::Terminal;
use crate::trust::selection::selected;

/// Install a plugin, or replace what is installed.
#[derive(Debug, Args)]
pub(crate) struct InstallArgs {
    /// A package (FILE.zip), a plugin's directory, an URL, or NAME or NAME@VERSION of an index.
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<String>,
    /// Only say what the package is, what it asks for, and what would change.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    index: IndexArgs,
    #[command(flatten)]
    options: Options,
}

pub(crate) fn run(
    args: &InstallArgs,
    connect: &ConnectArgs,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let host = Host::new(connect)?;
    crate::operate::for_each(terminal, &args.sources, |source| {
        let path = Path::new(source);
        if path.is_dir() {
            return of_directory(path, args, &host, terminal);
        }
        if fetch::is_url(source) {
            let bytes = fetch::read(source, gk_package::limits::ARCHIVE_BYTES_MAX, terminal)?;
            return install(bytes, args.dry_run, &host, &args.options, terminal);
        }
        if path.exists() || source.ends_with(".zip") || source.contains('/') {
            let bytes = fs::read(path).map_err(|error| Failure::file("read", path, &error))?;
            return install(bytes, args.dry_run, &host, &args.options, terminal);
        }
        let (name, version) = match source.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (source, None),
        };
        let index = args.index.load(terminal).map_err(|failure| {
            // A user without an index has most likely mistyped a path.
            match failure.exit() {
                Exit::Usage => Failure::new(
                    Exit::NotFound,
                    format!("there is no file or directory {source}, and no index of plugins to look it up in"),
                    "check the path, or name an index with --index or GK_INDEX",
                ),
                _ => failure,
            }
        })?;
        let entry = index.get(name)?;
        let info: HostInfo = host.get(Operation::HostInfo, &[], &[])?;
        let chosen = entry.choose(version, &info.version)?;
        let purpose = match args.dry_run {
            true => Purpose::Look,
            false => Purpose::Install,
        };
        of_index(
            &index,
            entry,
            &chosen,
            purpose,
            &host,
            &args.options,
            terminal,
        )
    })
}

/// Makes the package of a directory, and installs that.
fn of_directory(
    directory: &Path,
    args: &InstallArgs,
    host: &Host,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Failed,
            format!("{}: {error}", directory.display()),
            "gk validate and gk package --list show what is in it",
        )
    };
    let selection = selected(directory)?;
    let temp = tempfile::tempdir().map_err(|error| failed(&error))?;
    let path = temp.path().join("package.zip");
    gk_package::pack(&selection, &path).map_err(|error| failed(&error))?;
    let bytes = fs::read(&path).map_err(|error| Failure::file("read", &path, &error))?;
    install(bytes, args.dry_run, host, &args.options, terminal)
}
