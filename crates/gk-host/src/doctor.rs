//! `gk-host doctor`: creates a sandbox as plugins get it, and prints the state of its layers.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use gk_runtime::{Layer, Report, State};

use crate::config::{Config, ServeArgs};
use crate::sandbox::SandboxLevel;

/// The flags of `gk-host doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// TOML file of the host, for its section sandbox; GK_CONFIG names it, too
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,

    /// Prints the report as JSON
    #[arg(long)]
    json: bool,
}

/// Prints the report. Succeeds if every layer that is asked for is enforced.
pub(crate) fn run(args: &DoctorArgs) -> Result<ExitCode> {
    let serve = ServeArgs {
        config: args.config.clone(),
        ..ServeArgs::default()
    };
    let config = Config::load(&serve)?;
    // The report is useful also where the sandbox is switched off.
    let level = match config.sandbox_level {
        SandboxLevel::Off => SandboxLevel::Off,
        // `Required` would end at the first missing layer.
        SandboxLevel::Required | SandboxLevel::BestEffort => SandboxLevel::BestEffort,
    };
    let sandbox = config
        .sandbox
        .to_config(SandboxLevel::BestEffort)?
        .context("there is no sandbox to look at")?;
    let report = sandbox
        .probe()
        .context("no sandbox can be made at all on this machine")?;
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &with_remedies(&report)?)?;
        writeln!(out)?;
    } else {
        print(&mut out, &report)?;
        if level == SandboxLevel::Off {
            writeln!(
                out,
                "\nThe configuration switches the sandbox off: none of this is in force."
            )?;
        }
    }
    Ok(if report.is_complete() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Returns the report, with the remedy for each missing layer in its entry; `null` for the others.
fn with_remedies(report: &Report) -> Result<serde_json::Value> {
    let mut json = serde_json::to_value(report)?;
    if let Some(entries) = json["layers"].as_array_mut() {
        for (entry, layer) in entries.iter_mut().zip(&report.layers) {
            entry["remedy"] = layer.remedy().into();
        }
    }
    Ok(json)
}

fn print(out: &mut impl Write, report: &Report) -> Result<()> {
    writeln!(out, "The sandbox of plugins on this machine:\n")?;
    for entry in &report.layers {
        let mark = match entry.state {
            State::Enforced => "ok",
            State::Off => "off",
            _ => entry.state.as_str(),
        };
        write!(out, "{mark:>9}  {:18} ", entry.layer.name())?;
        match entry.state {
            State::Off if entry.layer == Layer::Cpu => {
                writeln!(out, "No limit is set; cpu_millis in [sandbox] sets one.")?;
            }
            State::Enforced | State::Off if entry.detail.is_empty() => {
                writeln!(out, "{}", entry.layer.purpose())?;
            }
            _ => {
                write!(out, "{}", entry.detail)?;
                if let Some(errno) = entry.errno {
                    write!(out, " ({})", std::io::Error::from_raw_os_error(errno))?;
                }
                writeln!(out)?;
            }
        }
        if let Some(remedy) = entry.remedy() {
            writeln!(out, "{:30} to get it: {remedy}", "")?;
        }
    }
    let missing = report.missing().count();
    if missing == 0 {
        writeln!(out, "\nEvery layer holds.")?;
    } else {
        writeln!(
            out,
            "\n{missing} of {} layers do not hold in full; plugins start all the same, unless \
             sandbox_level is \"required\".",
            report.layers.len()
        )?;
    }
    Ok(())
}
