//! Jobs of plugins, and their runs.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use gk_api::{Change, Job, JobRun, JobRunPage};
use gk_jobs::{JobError, JobKey, JobView, Jobs, Run, RunId, RunState};
use gk_manifest::{GoDuration, JobOverrides, PluginName};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Answer;
use crate::auth::Middleware;
use crate::extract::{Path, Query};
use crate::gateway::Gateway;
use crate::problem::Problem;

/// Default number of runs in an answer.
const PAGE_DEFAULT: usize = 20;

/// Maximum number of runs in an answer.
const PAGE_MAX: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    limit: Option<usize>,
    before: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WaitQuery {
    /// Time to wait for the end of the run.
    wait: Option<GoDuration>,
}

/// Lists all jobs of running plugins.
pub(crate) async fn list(State(gateway): State<Gateway>, request: Request) -> Answer {
    gateway.require(&request, Middleware::Agent)?;
    let jobs = match &gateway.inner.jobs {
        Some(jobs) => jobs.list().await.map_err(problem)?,
        None => Vec::new(),
    };
    let jobs: Vec<_> = jobs.iter().map(shown).collect();
    Ok(Json(jobs).into_response())
}

/// Lists runs of a job, newest first.
pub(crate) async fn runs(
    State(gateway): State<Gateway>,
    Path(path): Path<(String, String)>,
    Query(wanted): Query<Wanted>,
    request: Request,
) -> Answer {
    gateway.require(&request, Middleware::Agent)?;
    let (jobs, job) = gateway.job(&path).await?;
    let limit = wanted.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!(
            "limit is {limit}; it must be 1 to {PAGE_MAX}"
        )));
    }
    let before = wanted.before.map(RunId);
    let runs = jobs.runs(&job.key, before, limit + 1).await;
    let runs = runs.map_err(problem)?;
    let next = runs.get(limit).and(runs.get(limit - 1));
    let page = JobRunPage {
        next: next.map(|run| run.id.0),
        runs: runs.iter().take(limit).map(run_shown).collect(),
    };
    Ok(Json(page).into_response())
}

/// Runs a job now.
pub(crate) async fn run(
    State(gateway): State<Gateway>,
    Path(path): Path<(String, String)>,
    Query(query): Query<WaitQuery>,
    request: Request,
) -> Answer {
    gateway.require(&request, Middleware::Admin)?;
    let (jobs, job) = gateway.running_job(&path).await?;
    let (parts, _) = request.into_parts();
    let before = json!({ "job": job.key.job });
    let change = gateway.begin(&parts, Change::RunJob, &path.0, before);
    let ongoing = change.await?;
    let run = match jobs.request(&job.key).await {
        Ok(run) => run,
        Err(error) => return ongoing.failed(problem(error)).await,
    };
    let ended = match query.wait.map(super::control::wait) {
        None => jobs.ended(run).await,
        Some(limit) => match tokio::time::timeout(limit, jobs.ended(run)).await {
            Ok(ended) => ended,
            Err(_) => jobs.find(run).await,
        },
    };
    let ended = match ended {
        Ok(Some(ended)) => ended,
        Ok(None) => {
            let problem = Problem::internal("the run is not kept any more");
            return ongoing.failed(problem).await;
        }
        Err(error) => return ongoing.failed(problem(error)).await,
    };
    let status = match ended.state {
        RunState::Succeeded => StatusCode::OK,
        RunState::Waiting | RunState::Running => StatusCode::ACCEPTED,
        RunState::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        RunState::Dropped => StatusCode::SERVICE_UNAVAILABLE,
        RunState::Failed | RunState::Lost | RunState::Replaced => StatusCode::BAD_GATEWAY,
    };
    if status.is_success() {
        let shown = run_shown(&ended);
        let after =
            json!({ "run": shown.id, "state": shown.state, "duration_ms": shown.duration_ms });
        ongoing.end(after, None).await;
        return Ok((status, Json(shown)).into_response());
    }
    let error = ended.error.as_deref().unwrap_or_default();
    let text = format!("run {} of job {}: {error}", ended.id, ended.key);
    ongoing.failed(Problem::new(status, text)).await
}

/// Suspends a job.
pub(crate) async fn suspend(
    State(gateway): State<Gateway>,
    Path(path): Path<(String, String)>,
    request: Request,
) -> Answer {
    set_suspended(&gateway, path, request, true).await
}

/// Resumes a job.
pub(crate) async fn resume(
    State(gateway): State<Gateway>,
    Path(path): Path<(String, String)>,
    request: Request,
) -> Answer {
    set_suspended(&gateway, path, request, false).await
}

async fn set_suspended(
    gateway: &Gateway,
    path: (String, String),
    request: Request,
    suspended: bool,
) -> Answer {
    gateway.require(&request, Middleware::Admin)?;
    let (jobs, job) = gateway.job(&path).await?;
    let (parts, _) = request.into_parts();
    let change = match suspended {
        true => Change::SuspendJob,
        false => Change::ResumeJob,
    };
    let before = json!({ "job": job.key.job, "suspended": job.state.suspended });
    let ongoing = gateway.begin(&parts, change, &path.0, before).await?;
    let done = jobs.suspend(&job.key, suspended).await;
    let after = json!({ "suspended": suspended });
    gateway.changed(&path, ongoing, done, after).await
}

/// Sets the settings that take precedence over the plugin's.
pub(crate) async fn set(
    State(gateway): State<Gateway>,
    Path(path): Path<(String, String)>,
    request: Request,
) -> Answer {
    gateway.require(&request, Middleware::Admin)?;
    let (jobs, job) = gateway.running_job(&path).await?;
    let (parts, body) = gateway.read(request).await?;
    // Without this step an empty list would be taken for no settings.
    let overrides = serde_json::from_slice::<serde_json::Map<_, _>>(&body)
        .and_then(|settings| serde_json::from_value::<JobOverrides>(Value::Object(settings)));
    let overrides = overrides
        .map_err(|error| Problem::bad_request(format!("the settings cannot be read: {error}")))?;
    let before = json!({ "job": job.key.job, "overrides": job.state.overrides });
    let change = gateway.begin(&parts, Change::SetJob, &path.0, before);
    let ongoing = change.await?;
    let done = jobs.set(&job.key, &overrides).await;
    let after = json!({ "overrides": overrides });
    gateway.changed(&path, ongoing, done, after).await
}

impl Gateway {
    /// Finds a job that the host knows. Its plugin need not run.
    async fn job(&self, (plugin, job): &(String, String)) -> Result<(Jobs, JobView), Problem> {
        let none = || {
            Problem::not_found(format!(
                "plugin \"{plugin}\" has no job {job:?}; GET /api/v1/jobs lists all"
            ))
        };
        let jobs = self.inner.jobs.clone().ok_or_else(none)?;
        let name = PluginName::new(plugin.as_str()).map_err(|_| Problem::no_plugin(plugin))?;
        let key = JobKey::new(name, job.as_str());
        match jobs.kept(&key).await {
            Ok(found) => Ok((jobs, found)),
            Err(JobError::Unknown(_)) if self.inner.runtime.snapshot().get(plugin).is_none() => {
                Err(Problem::no_plugin(plugin))
            }
            Err(JobError::Unknown(_)) => Err(none()),
            Err(error) => Err(problem(error)),
        }
    }

    /// As [`job`](Self::job), of a plugin that runs.
    async fn running_job(&self, path: &(String, String)) -> Result<(Jobs, JobView), Problem> {
        let found = self.job(path).await?;
        let snapshot = self.inner.runtime.snapshot();
        match snapshot
            .get(&path.0)
            .is_some_and(|status| status.is_running())
        {
            true => Ok(found),
            false => Err(Problem::not_running(&path.0)),
        }
    }

    /// Answers a change of a job with the job.
    async fn changed(
        &self,
        path: &(String, String),
        ongoing: super::change::Ongoing,
        done: Result<(), JobError>,
        after: Value,
    ) -> Answer {
        if let Err(error) = done {
            return ongoing.failed(problem(error)).await;
        }
        ongoing.end(after, None).await;
        let (_, job) = self.job(path).await?;
        Ok(Json(shown(&job)).into_response())
    }
}

fn problem(error: JobError) -> Problem {
    let status = match &error {
        JobError::Unknown(_) => StatusCode::NOT_FOUND,
        JobError::Busy { .. } => StatusCode::CONFLICT,
        JobError::Settings(_) => StatusCode::BAD_REQUEST,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    Problem::new(status, error.to_string())
}

fn shown(job: &JobView) -> Job {
    let timeout = job.spec.timeout().unwrap_or(gk_jobs::TIMEOUT_DEFAULT);
    let timeout = GoDuration::try_from(timeout).unwrap_or_default();
    Job {
        plugin: job.key.plugin.to_string(),
        job: job.key.job.to_string(),
        handler: job.spec.handler.clone(),
        schedule: job.spec.schedule.clone(),
        time_zone: job.spec.time_zone.clone(),
        description: job.spec.description.clone(),
        enabled: job.spec.enabled,
        suspended: job.state.suspended,
        concurrency: job.spec.concurrency(),
        timeout: timeout.to_string(),
        retries: u32::try_from(job.spec.retries).unwrap_or_default(),
        overrides: job.state.overrides.clone(),
        next_start: job.next.map(|next| next.to_string()),
        missed: job.state.missed,
        skipped: job.state.skipped,
        last_run: job.newest.as_ref().map(run_shown),
    }
}

fn run_shown(run: &Run) -> JobRun {
    let ended = run.ended_at.zip(run.started_at);
    let duration = ended.map(|(ended, started)| ended.duration_since(started).as_millis());
    let result = run.result.as_deref();
    JobRun {
        id: run.id.0,
        plugin: run.key.plugin.to_string(),
        job: run.key.job.to_string(),
        trigger: run.trigger.as_str().to_owned(),
        tick: run.tick.to_string(),
        state: run.state.as_str().to_owned(),
        attempt: run.attempt,
        start_at: run.start_at.to_string(),
        started_at: run.started_at.map(|moment| moment.to_string()),
        ended_at: run.ended_at.map(|moment| moment.to_string()),
        duration_ms: duration.and_then(|millis| u64::try_from(millis).ok()),
        host: run.host.clone(),
        generation: run.generation,
        result: result
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or(Value::Null),
        error: run.error.clone(),
    }
}
