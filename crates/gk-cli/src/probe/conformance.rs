//! `gk test`: whether a plugin keeps to the contract. First its process is spoken with directly;
//! then a host of its own starts it, as it will be started, and everything that it offers is asked
//! for.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use gk_manifest::Manifest;

use super::checks::Direct;
use super::on_host::on_a_host;
use super::process::Starter;
use super::report::{Report, Verdict};
use super::standalone;
use crate::failure::{Exit, Failure};
use crate::terminal::{Format, Terminal};

/// Check whether a plugin keeps to the contract.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// The plugin's directory, with plugin.yaml and the binary.
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Also write the findings as JUnit's XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Only what needs no host.
    #[arg(long)]
    no_host: bool,
    /// How long each step with the process may take.
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    timeout: gk_manifest::GoDuration,
    /// Fail for warnings, too.
    #[arg(long)]
    strict: bool,
}

pub(crate) fn run(args: &TestArgs, terminal: &Terminal) -> Result<(), Failure> {
    let file = args.dir.join("plugin.yaml");
    let (manifest, warnings) = Manifest::load(&file).map_err(|error| {
        Failure::new(
            Exit::Failed,
            error.to_string(),
            "gk validate shows each place",
        )
    })?;
    let subject = standalone::subject(&args.dir)?;
    let mut report = Report::new(manifest.name.to_string());
    let verdict = if warnings.is_empty() {
        Verdict::Passed
    } else {
        Verdict::Warning
    };
    let detail: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    report.add(
        terminal,
        "plugin.yaml",
        verdict,
        detail.join("; "),
        Duration::ZERO,
    );
    let starter = Starter::plain()?;
    let runtime = crate::client::runtime()?;
    let direct = Direct {
        starter: &starter,
        subject: &subject,
        manifest: &manifest,
        terminal,
        timeout: args.timeout.to_std().unwrap_or_default(),
    };
    let registration = runtime.block_on(direct.run(&mut report));
    drop(runtime);
    match (args.no_host, registration.is_some()) {
        (true, _) => report.add(
            terminal,
            "on a host",
            Verdict::NotReached,
            "--no-host",
            Duration::ZERO,
        ),
        (false, false) => report.add(
            terminal,
            "on a host",
            Verdict::NotReached,
            "",
            Duration::ZERO,
        ),
        (false, true) => on_a_host(&args.dir, &manifest, &mut report, terminal)?,
    }
    if let Some(path) = &args.junit {
        report.write_junit(path)?;
    }
    let (passed, failed, warnings) = (report.passed, report.failed, report.warnings);
    match terminal.format() {
        Format::Table | Format::Wide => terminal.line(format_args!(
            "{passed} passed, {failed} failed, {warnings} warnings"
        ))?,
        _ => terminal.document(&report, &report.plugin, String::new)?,
    }
    match failed > 0 || (args.strict && warnings > 0) {
        false => Ok(()),
        true => Err(Failure::new(
            Exit::Failed,
            format!("{} does not keep to the contract", report.plugin),
            "each line above says what to do; docs/plugin-author-guide.md has the contract",
        )),
    }
}
