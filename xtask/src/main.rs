//! The project's own commands: `cargo xtask <command>`. One module per command.
#![forbid(unsafe_code)]

mod bench;
mod cgroup;
mod chart;
mod check;
mod command;
mod deploy;
mod dist;
mod docs;
mod e2e;
mod features;
mod figures;
mod go;
mod golden;
mod install;
mod layers;
mod licences;
#[cfg(test)]
mod links;
mod modules;
mod monitoring;
mod package;
mod plugins;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use install::{Install, Need};

#[derive(Parser)]
#[command(
    name = "xtask",
    about = "The project's own commands",
    disable_version_flag = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the sample plugins and the host, start it with them, and print a line to try.
    Run {
        /// Address to listen on.
        #[arg(long, default_value = "127.0.0.1:8080")]
        listen: std::net::SocketAddr,
        /// Where the host keeps its data, from the repository's root.
        #[arg(long, default_value = "target/data")]
        data_dir: PathBuf,
        #[command(flatten)]
        install: Install,
    },
    /// Measure calls, a route, starts and many plugins: our host beside a Go host, the crate
    /// goplugin, a bare socket.
    Bench {
        /// Shorter and fewer rounds; done within three minutes after the builds.
        #[arg(long)]
        quick: bool,
        /// Fail if a figure that the project promises is not met.
        #[arg(long)]
        check: bool,
    },
    /// Run everything: formatting, lints, all tests, documentation, layers, licences, golden
    /// vectors. What the machine lacks is installed first, where this user may.
    Test {
        #[command(flatten)]
        install: Install,
    },
    /// Check who may import whom: the floors and nevers of docs/architecture.md.
    Layers,
    /// Build each crate alone with no, each and all of its features, and check the fuzz targets and
    /// other systems.
    Features {
        /// Leave out the other systems, and the single features of crates with many.
        #[arg(long)]
        quick: bool,
    },
    /// Count files, functions, comments, names, circles and packages.
    Figures {
        /// Fail if a limit is exceeded.
        #[arg(long)]
        check: bool,
    },
    /// Build the sample plugins, each into a directory of its own with its plugin.yaml.
    BuildPlugins {
        /// Where the plugin directories go.
        #[arg(long, default_value = "target/plugins")]
        out: PathBuf,
    },
    /// Build the host and real plugins, and run the whole-system tests.
    TestE2e {
        /// For the test program: a filter, `--nocapture`, …
        #[arg(last = true)]
        arguments: Vec<std::ffi::OsString>,
        #[command(flatten)]
        install: Install,
    },
    /// Check licences, sources and bans of all dependencies against deny.toml.
    Licences,
    /// Check the crates that are meant for others, and publish them up to the upload.
    Package {
        /// Build each package from its own files, too, and all that they need; takes four minutes
        /// and more.
        #[arg(long)]
        verify: bool,
    },
    /// Build the release archive in target/dist: programs, unit, completions, man pages, licences,
    /// SBOM, sums.
    Dist(dist::Dist),
    /// Put to use what is in deploy/: units, image, balancer, manifests. Takes root.
    Deploy {
        #[command(flatten)]
        options: deploy::Options,
        #[command(flatten)]
        install: Install,
    },
    /// Write what of the documentation is made of the code: docs/cli.md, and the endpoints and
    /// metrics in docs/operations.md.
    Docs {
        /// Write nothing; fail if something is not up to date.
        #[arg(long)]
        check: bool,
    },
    /// Check that the dashboard and the alerts in deploy name only metrics and labels that the host
    /// has, and that Prometheus takes the alerts.
    Monitoring {
        #[command(flatten)]
        install: Install,
    },
    /// Vet and test the Go modules: the SDK, its sample and the reference programs.
    TestGo,
    /// Compare the golden gob vectors with what the Go at hand encodes.
    Golden {
        /// Compare only; vectors are never rewritten by this command.
        #[arg(long, required = true)]
        check: bool,
    },
}

fn main() -> ExitCode {
    // What is built and made for tests is read by other users, too: plugins have users of their
    // own.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    match dispatch(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<check::Failed>() => ExitCode::FAILURE,
        Err(error) => {
            command::say(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<()> {
    match command {
        Command::Run {
            listen,
            data_dir,
            install,
        } => install
            .ensure(Need::Build)
            .and_then(|()| run::run(listen, &data_dir)),
        Command::Bench { quick, check } => bench::run(quick, check),
        Command::Test { install } => {
            install.ensure(Need::Deploy)?;
            cgroup::enter();
            check::run()
        }
        Command::Licences => licences::run(),
        Command::Package { verify } => package::check(verify),
        Command::Layers => layers::run(),
        Command::Features { quick } => features::run(quick),
        Command::Figures { check } => figures::run(check),
        Command::BuildPlugins { out } => plugins::build(&command::root().join(out)),
        Command::TestE2e { arguments, install } => {
            install.ensure(Need::Test)?;
            cgroup::enter();
            command::run(&mut e2e::prepare(&arguments)?)
        }
        Command::Dist(dist) => dist::run(&dist),
        Command::Deploy { options, install } => {
            install.ensure(Need::Deploy)?;
            deploy::run(&options)
        }
        Command::Docs { check } => docs::run(check),
        Command::Monitoring { install } => {
            install.ensure(Need::Test)?;
            monitoring::run()
        }
        Command::TestGo => plugins::test_go(),
        Command::Golden { check: _ } => golden::check(),
    }
}
