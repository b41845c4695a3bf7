//! Jobs that plugins have registered.

use std::time::Instant;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use bytes::Bytes;
use gk_api::{Change, Job, JobRun};
use serde_json::{Value, json};

use super::Answer;
use crate::auth::Middleware;
use crate::bodies::HeldBody;
use crate::envelope::{Incoming, call_context};
use crate::extract::Path;
use crate::gateway::Gateway;
use crate::problem::Problem;
use crate::tokens::Identity;

/// Lists all jobs of running plugins.
pub(crate) async fn list(State(gateway): State<Gateway>, request: Request) -> Answer {
    gateway.require(&request, Middleware::Agent)?;
    let snapshot = gateway.inner.runtime.snapshot();
    let mut jobs = Vec::new();
    for status in &snapshot.plugins {
        let registered = status.registration.as_deref();
        for job in registered.map(|r| r.jobs.as_slice()).unwrap_or_default() {
            jobs.push(Job {
                plugin: status.name.to_string(),
                job: job.id.clone(),
                handler: job.handler.clone(),
                schedule: job.schedule.clone(),
                description: job.description.clone(),
                enabled: job.enabled,
            });
        }
    }
    Ok(Json(jobs).into_response())
}

/// Runs a job now.
pub(crate) async fn run(
    State(gateway): State<Gateway>,
    Path((plugin, id)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let caller = gateway.require(&request, Middleware::Admin)?;
    let snapshot = gateway.inner.runtime.snapshot();
    let status = snapshot
        .get(&plugin)
        .ok_or_else(|| Problem::no_plugin(&plugin))?;
    let registered = status.registration.as_deref();
    let registered = registered.ok_or_else(|| Problem::not_running(&plugin))?;
    let job = registered.jobs.iter().find(|job| job.id == id);
    let job = job.ok_or_else(|| {
        Problem::not_found(format!(
            "plugin \"{plugin}\" has no job {id:?}; GET /api/v1/jobs lists all"
        ))
    })?;
    let (parts, _) = request.into_parts();
    let ongoing = gateway
        .begin(&parts, Change::RunJob, &plugin, json!({ "job": id }))
        .await?;
    let user = caller.as_ref().map(Identity::user);
    let mut incoming = Incoming::direct(parts, HeldBody::empty(), user);
    incoming.skip_org = registered.skip_org_injection;
    let (_, incoming) = gateway.arguments().direct(incoming).await?;
    let context = call_context(incoming.caller.as_ref(), &incoming.parts);
    // Arguments of a job (contract §3.10, with the job's id and attempt), without values from the
    // request.
    let args = json!({ "_job": id, "_attempt": 1 });
    let started = Instant::now();
    let result = gateway
        .call(
            status.target().as_ref(),
            &status.name,
            &job.handler,
            Bytes::from(args.to_string()),
            context,
        )
        .await;
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let result = match result {
        Ok(result) => result,
        Err(error) => {
            let problem = Problem::from_call(&error, incoming.caller.as_ref());
            return ongoing.failed(problem).await;
        }
    };
    ongoing
        .end(json!({ "duration_ms": duration_ms }), None)
        .await;
    let run = JobRun {
        plugin,
        job: id,
        duration_ms,
        result: serde_json::from_slice(&result).unwrap_or(Value::Null),
    };
    Ok(Json(run).into_response())
}
