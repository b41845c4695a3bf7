//! `gk jobs`: what plugins do by themselves.

use clap::{Args, Subcommand};
use clap_complete::ArgValueCompleter;
use gk_api::{Job, JobRun, Operation};

use super::{complete_plugins, or_dash};
use crate::client::{Body, ConnectArgs, Host};
use crate::failure::Failure;
use crate::terminal::{Rows, Terminal};

/// List the jobs of plugins, and run them.
#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// List the jobs that plugins have registered.
    #[command(alias = "ls")]
    List,
    /// Run a job now, and wait for it.
    Run(Run),
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The plugin.
    #[arg(value_name = "PLUGIN", add = ArgValueCompleter::new(complete_plugins))]
    plugin: String,
    /// The job's id.
    #[arg(value_name = "JOB")]
    job: String,
}

impl Rows for Vec<Job> {
    fn headings(wide: bool) -> Vec<&'static str> {
        let mut headings = vec!["PLUGIN", "JOB", "SCHEDULE", "ENABLED"];
        if wide {
            headings.push("HANDLER");
        }
        headings.push("DESCRIPTION");
        headings
    }

    fn rows(&self, wide: bool) -> Vec<(String, Vec<String>)> {
        let rows = self.iter().map(|job| {
            let enabled = if job.enabled { "yes" } else { "no" };
            let mut cells = vec![
                job.plugin.clone(),
                job.job.clone(),
                or_dash(job.schedule.clone()),
                enabled.to_owned(),
            ];
            if wide {
                cells.push(job.handler.clone());
            }
            cells.push(job.description.clone());
            (format!("{}/{}", job.plugin, job.job), cells)
        });
        rows.collect()
    }
}

pub(crate) fn run(
    command: &JobsCommand,
    connect: &ConnectArgs,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let host = Host::new(connect)?;
    match command {
        JobsCommand::List => {
            let jobs: Vec<Job> = host.get(Operation::ListJobs, &[], &[])?;
            if jobs.is_empty() {
                terminal.say("No plugin that runs has registered a job.");
            }
            terminal.data(&jobs)
        }
        JobsCommand::Run(args) => {
            let path = [args.plugin.as_str(), args.job.as_str()];
            let run: JobRun = host.send(Operation::RunJob, &path, &[], Body::Nothing)?;
            terminal.say(format_args!(
                "{} of {} took {} ms",
                run.job, run.plugin, run.duration_ms
            ));
            terminal.document(&run, &run.job, || format!("{}\n", run.result))
        }
    }
}
