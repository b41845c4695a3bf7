//! Endpoints: jobs of plugins.

use super::{Content, Endpoint, Method, Operation, Parameter, ParameterKind};
use crate::Access;

const NO_JOB: (u16, &str) = (404, "There is no such plugin or job.");
const NOT_RUNNING: (u16, &str) = (503, "The plugin does not run.");

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        operation: Operation::ListJobs,
        method: Method::Get,
        path: "/api/v1/jobs",
        access: Access::Agent,
        group: "Jobs",
        summary: "The jobs of running plugins, each with its next start and its newest run",
        query: &[],
        request: None,
        status: 200,
        answer: Content::Jobs,
        others: &[],
    },
    Endpoint {
        operation: Operation::ListRuns,
        method: Method::Get,
        path: "/api/v1/plugins/{plugin}/jobs/{job}/runs",
        access: Access::Agent,
        group: "Jobs",
        summary: "The last runs of a job, newest first",
        query: &[
            Parameter {
                name: "limit",
                kind: ParameterKind::Integer,
                about: "Number of runs, 1 to 100; 20 without it.",
            },
            Parameter {
                name: "before",
                kind: ParameterKind::Integer,
                about: "Only runs with a smaller number.",
            },
        ],
        request: None,
        status: 200,
        answer: Content::JobRuns,
        others: &[NO_JOB],
    },
    Endpoint {
        operation: Operation::RunJob,
        method: Method::Post,
        path: "/api/v1/plugins/{plugin}/jobs/{job}/run",
        access: Access::Admin,
        group: "Jobs",
        summary: "Runs a job now, and answers when the run has ended",
        query: &[Parameter {
            name: "wait",
            kind: ParameterKind::Duration,
            about: "How long to wait for the end; without it as long as it takes, its repetitions included.",
        }],
        request: None,
        status: 200,
        answer: Content::JobRun,
        others: &[
            (
                202,
                "The run has not ended within the wait; the answer is its state.",
            ),
            NO_JOB,
            (
                409,
                "An earlier run has not ended, and the job does not run twice at a time.",
            ),
            (502, "The run failed."),
            (
                503,
                "The plugin does not run any more, or the store of the jobs fails.",
            ),
            (504, "The job did not end in time."),
        ],
    },
    Endpoint {
        operation: Operation::SuspendJob,
        method: Method::Post,
        path: "/api/v1/plugins/{plugin}/jobs/{job}/suspend",
        access: Access::Admin,
        group: "Jobs",
        summary: "Suspends a job: it does not run by its schedule until it is resumed, and what waits is dropped",
        query: &[],
        request: None,
        status: 200,
        answer: Content::Job,
        others: &[NO_JOB],
    },
    Endpoint {
        operation: Operation::ResumeJob,
        method: Method::Post,
        path: "/api/v1/plugins/{plugin}/jobs/{job}/resume",
        access: Access::Admin,
        group: "Jobs",
        summary: "Resumes a job; ticks of the time between do not run",
        query: &[],
        request: None,
        status: 200,
        answer: Content::Job,
        others: &[NO_JOB],
    },
    Endpoint {
        operation: Operation::SetJob,
        method: Method::Put,
        path: "/api/v1/plugins/{plugin}/jobs/{job}/settings",
        access: Access::Admin,
        group: "Jobs",
        summary: "Sets the settings of a job that take precedence over the plugin's; {} leaves all to the plugin",
        query: &[],
        request: Some(Content::JobOverrides),
        status: 200,
        answer: Content::Job,
        others: &[(400, "A setting is wrong."), NO_JOB, NOT_RUNNING],
    },
];
