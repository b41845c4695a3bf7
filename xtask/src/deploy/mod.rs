//! `cargo xtask deploy`: what is in deploy/, put to use as far as one machine goes.
//!
//! Units are read by systemd, the image is built and run, and so on: a file that only looks right
//! fails here. What can be seen from the text alone is in the tests of these modules.

mod balancer;
mod compose;
mod container;
mod image;
mod kubernetes;
mod local;
mod settings;
mod units;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::{command, root, run as run_command, say};
use crate::{e2e, install};

/// A part of deploy/ that is checked by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Units, user and directories of systemd.
    Units,
    /// The file of Compose, and the configuration beside it.
    Compose,
    /// The configuration in the manifests.
    Kubernetes,
    /// HAProxy in front of two hosts.
    Balancer,
    /// The container image.
    Image,
}

const PARTS: &[Part] = &[
    Part::Units,
    Part::Compose,
    Part::Kubernetes,
    Part::Balancer,
    Part::Image,
];

/// Options of the command.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Take the programs that are in target/debug.
    #[arg(long)]
    no_build: bool,
    /// Check this part alone.
    #[arg(long, value_name = "PART")]
    only: Option<Part>,
}

/// The programs that the checks start, as they were built for the tests.
struct Programs {
    host: PathBuf,
    gk: PathBuf,
    plugin: PathBuf,
}

impl Programs {
    /// Those in target/debug.
    fn built() -> Result<Self> {
        let find = |name: &str| {
            let path = root().join("target/debug").join(name);
            ensure!(
                path.is_file(),
                "{} is not there; cargo xtask deploy without --no-build builds it",
                path.display()
            );
            Ok(path)
        };
        Ok(Self {
            host: find("gk-host")?,
            gk: find("gk")?,
            plugin: find("hello-rust")?,
        })
    }
}

/// Builds what is needed, and checks.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !options.no_build {
        run_command(&mut e2e::build())?;
    }
    let programs = Programs::built()?;
    match options.only {
        Some(part) => part.check(&programs),
        None => check_all(&programs),
    }
}

/// Checks everything with the programs that are there.
pub(crate) fn check() -> Result<()> {
    check_all(&Programs::built()?)
}

fn check_all(programs: &Programs) -> Result<()> {
    PARTS.iter().try_for_each(|part| part.check(programs))
}

impl Part {
    fn check(self, programs: &Programs) -> Result<()> {
        say(format!("deploy: {self:?}"));
        match self {
            Self::Units => units::check(programs),
            Self::Compose => compose::check(programs),
            Self::Kubernetes => kubernetes::check(programs),
            Self::Balancer => balancer::check(programs),
            Self::Image => {
                let storage = image::Storage::new()?;
                image::build(&storage, programs)?;
                image::describes_itself(&storage)?;
                container::check(&storage, programs)
            }
        }
    }
}

/// A program that only root may run to some purpose.
fn as_root(program: &str) -> Result<Command> {
    let prefix = install::privileges().with_context(|| {
        format!("{program} takes root, or sudo without a password, to check deploy/ with")
    })?;
    let mut words = prefix.iter().copied().chain([program]);
    let mut as_root = command(words.next().unwrap_or(program));
    as_root.args(words);
    Ok(as_root)
}
