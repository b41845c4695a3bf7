//! `gk jobs`: what plugins do by themselves.

use clap::{Args, Subcommand};
use clap_complete::ArgValueCompleter;
use gk_api::{Job, JobRun, JobRunPage, Operation};
use gk_manifest::{Concurrency, GoDuration, JobOverrides};
use serde_json::json;

use super::{complete_plugins, or_dash};
use crate::client::{Body, ConnectArgs, Host};
use crate::failure::{Exit, Failure};
use crate::terminal::{Rows, Terminal};

/// List, run, suspend and change the jobs of plugins.
#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// List the jobs of running plugins.
    #[command(alias = "ls")]
    List,
    /// List the last runs of a job.
    Runs(Runs),
    /// Run a job now, and wait for it.
    Run(Run),
    /// Suspend a job: it does not run by its schedule until it is resumed.
    Suspend(Named),
    /// Resume a job; ticks of the time between do not run.
    Resume(Named),
    /// Change the settings of a job; what is not given stays as it is.
    Set(Set),
}

/// A job of a plugin.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The plugin.
    #[arg(value_name = "PLUGIN", add = ArgValueCompleter::new(complete_plugins))]
    plugin: String,
    /// The job's id.
    #[arg(value_name = "JOB")]
    job: String,
}

impl Named {
    fn path(&self) -> [&str; 2] {
        [&self.plugin, &self.job]
    }
}

#[derive(Debug, Args)]
pub(crate) struct Runs {
    #[command(flatten)]
    job: Named,
    /// Number of runs.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u8).range(1..=100))]
    limit: u8,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    job: Named,
    /// Do not wait for the end of the run.
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    #[command(flatten)]
    job: Named,
    /// Leave all to the plugin first.
    #[arg(long)]
    reset: bool,
    /// Whether the job runs by its schedule.
    #[arg(long, value_name = "true|false")]
    enabled: Option<bool>,
    /// Five fields of cron, or a descriptor such as @daily.
    #[arg(long, value_name = "CRON")]
    schedule: Option<String>,
    /// Time zone of the schedule, such as Europe/Berlin.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// What happens when the job is due while an earlier run goes on: forbid, allow or replace.
    #[arg(long, value_name = "WORD", value_parser = concurrency)]
    concurrency: Option<Concurrency>,
    /// How late a run may start, such as 10m.
    #[arg(long, value_name = "DURATION")]
    starting_deadline: Option<GoDuration>,
    /// Maximum delay of a start, such as 30s.
    #[arg(long, value_name = "DURATION")]
    jitter: Option<GoDuration>,
    /// Time limit of a run, such as 5m.
    #[arg(long, value_name = "DURATION")]
    timeout: Option<GoDuration>,
    /// Number of repetitions of a run that failed.
    #[arg(long, value_name = "N")]
    retries: Option<i64>,
    /// Wait before the first repetition, such as 10s; each further wait is twice as long.
    #[arg(long, value_name = "DURATION")]
    backoff: Option<GoDuration>,
}

fn concurrency(word: &str) -> Result<Concurrency, String> {
    let found = Concurrency::ALL
        .into_iter()
        .find(|value| value.as_str() == word);
    found.ok_or_else(|| "write forbid, allow or replace".to_owned())
}

impl Set {
    /// Returns the settings with those that are given in place of what there is.
    fn on(&self, before: JobOverrides) -> JobOverrides {
        let before = match self.reset {
            true => JobOverrides::default(),
            false => before,
        };
        JobOverrides {
            enabled: self.enabled.or(before.enabled),
            schedule: self.schedule.clone().or(before.schedule),
            time_zone: self.time_zone.clone().or(before.time_zone),
            concurrency: self.concurrency.or(before.concurrency),
            starting_deadline: self.starting_deadline.or(before.starting_deadline),
            jitter: self.jitter.or(before.jitter),
            timeout: self.timeout.or(before.timeout),
            retries: self.retries.or(before.retries),
            backoff: self.backoff.or(before.backoff),
        }
    }
}

impl Rows for Vec<Job> {
    fn headings(wide: bool) -> Vec<&'static str> {
        let mut headings = vec!["PLUGIN", "JOB", "SCHEDULE", "NEXT", "LAST"];
        if wide {
            headings.extend([
                "HANDLER",
                "CONCURRENCY",
                "TIMEOUT",
                "MISSED",
                "SKIPPED",
                "DESCRIPTION",
            ]);
        }
        headings
    }

    fn rows(&self, wide: bool) -> Vec<(String, Vec<String>)> {
        let rows = self.iter().map(|job| {
            let next = match &job.next_start {
                _ if job.suspended => "suspended".to_owned(),
                _ if !job.enabled => "disabled".to_owned(),
                next => or_dash(next.clone().unwrap_or_default()),
            };
            let last = job.last_run.as_ref().map(|run| run.state.clone());
            let schedule = match job.time_zone.as_str() {
                "" => job.schedule.clone(),
                zone => format!("{} {zone}", job.schedule),
            };
            let mut cells = vec![
                job.plugin.clone(),
                job.job.clone(),
                or_dash(schedule),
                next,
                or_dash(last.unwrap_or_default()),
            ];
            if wide {
                cells.extend([
                    job.handler.clone(),
                    job.concurrency.to_string(),
                    job.timeout.clone(),
                    job.missed.to_string(),
                    job.skipped.to_string(),
                    job.description.clone(),
                ]);
            }
            (format!("{}/{}", job.plugin, job.job), cells)
        });
        rows.collect()
    }
}

impl Rows for Vec<JobRun> {
    fn headings(wide: bool) -> Vec<&'static str> {
        let mut headings = vec!["RUN", "TICK", "STATE", "ATTEMPT", "MS"];
        if wide {
            headings.extend(["TRIGGER", "HOST", "GENERATION"]);
        }
        headings.push("ERROR");
        headings
    }

    fn rows(&self, wide: bool) -> Vec<(String, Vec<String>)> {
        let number =
            |number: Option<u64>| or_dash(number.map(|n| n.to_string()).unwrap_or_default());
        let rows = self.iter().map(|run| {
            let mut cells = vec![
                run.id.to_string(),
                run.tick.clone(),
                run.state.clone(),
                run.attempt.to_string(),
                number(run.duration_ms),
            ];
            if wide {
                cells.extend([
                    run.trigger.clone(),
                    or_dash(run.host.clone().unwrap_or_default()),
                    number(run.generation),
                ]);
            }
            cells.push(or_dash(run.error.clone().unwrap_or_default()));
            (run.id.to_string(), cells)
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
        JobsCommand::Runs(args) => {
            let limit = args.limit.to_string();
            let page: JobRunPage =
                host.get(Operation::ListRuns, &args.job.path(), &[("limit", limit)])?;
            if page.runs.is_empty() {
                terminal.say(format_args!("{} has not run yet.", args.job.job));
            }
            terminal.data(&page.runs)
        }
        JobsCommand::Run(args) => start(&host, args, terminal),
        JobsCommand::Suspend(job) => {
            change(&host, Operation::SuspendJob, job, Body::Nothing, terminal)
        }
        JobsCommand::Resume(job) => {
            change(&host, Operation::ResumeJob, job, Body::Nothing, terminal)
        }
        JobsCommand::Set(args) => {
            let jobs: Vec<Job> = host.get(Operation::ListJobs, &[], &[])?;
            let [plugin, id] = args.job.path();
            let known = jobs
                .into_iter()
                .find(|job| job.plugin == plugin && job.job == id);
            // Settings that are not known would be lost.
            let before = known.ok_or_else(|| {
                Failure::new(
                    Exit::NotFound,
                    format!("no plugin that runs has a job {plugin}/{id}"),
                    "gk jobs list shows those that there are",
                )
            })?;
            let before = before.overrides;
            let body = Body::Json(json!(args.on(before)));
            change(&host, Operation::SetJob, &args.job, body, terminal)
        }
    }
}

fn start(host: &Host, args: &Run, terminal: &Terminal) -> Result<(), Failure> {
    let wait = args.no_wait.then(|| ("wait", "0s".to_owned()));
    let (path, query) = (args.job.path(), wait.as_slice());
    let run: JobRun = host.send(Operation::RunJob, &path, query, Body::Nothing)?;
    match run.duration_ms {
        Some(took) => terminal.say(format_args!("{} of {} took {took} ms", run.job, run.plugin)),
        None => terminal.say(format_args!(
            "Run {} of {} is {}; gk jobs runs {} {} shows what comes of it",
            run.id, run.job, run.state, run.plugin, run.job
        )),
    }
    terminal.document(&run, &run.job, || format!("{}\n", run.result))
}

/// Changes a job, and shows it as it is then.
fn change(
    host: &Host,
    operation: Operation,
    job: &Named,
    body: Body,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let job: Job = host.send(operation, &job.path(), &[], body)?;
    terminal.data(&vec![job])
}
