//! The admin API of the GoatKit host: the types of its requests and answers, and the one table of
//! its endpoints; and the one table of its metrics ([`METRICS`]).
//!
//! The host's router, its OpenAPI document (feature `openapi`), the table in its documentation and
//! every client are made from [`ENDPOINTS`]. This crate knows no HTTP library: methods and statuses
//! are names and numbers here.
//!
//! ```
//! use gk_api::{Operation, Plugin};
//!
//! assert_eq!(Operation::RestartPlugin.path(&["hello-go"]), "/api/v1/plugins/hello-go/restart");
//!
//! let answer = r#"{"name":"hello-go","version":"1.0.0","state":"running","loaded":true,"enabled":true}"#;
//! let plugin: Plugin = serde_json::from_str(answer)?;
//! assert_eq!(plugin.state, "running");
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! # Compatibility
//!
//! A client ignores members that it does not know, and reads a missing one as its default, so that
//! clients and hosts of different versions work together. A host refuses unknown members of
//! requests: they are mistakes.

#![forbid(unsafe_code)]

mod access;
mod audit;
mod control;
mod endpoints;
mod host;
mod job;
mod logs;
mod metrics;
#[cfg(feature = "openapi")]
pub mod openapi;
mod packages;
mod plugin;
mod policy;
mod tokens;

pub use access::Access;
pub use audit::{Actor, AuditEntry, AuditPage, Change};
pub use control::{Health, HealthOfAll, Outcome, OutcomeWord};
pub use endpoints::{Content, ENDPOINTS, Endpoint, Method, Operation, Parameter, ParameterKind};
pub use host::{Check, CheckState, Doctor, Figures, HostInfo, HostedPlugin, SharingHost, Stats};
pub use job::{Job, JobRun, JobRunPage};
pub use logs::{LogEntry, LogPage};
pub use metrics::{METRICS, Metric, MetricKind};
pub use packages::{
    Changes, FileChange, InstallReport, InstallStep, PackageSignature, UninstallReport,
};
pub use plugin::{
    Candidate, Plugin, PluginDetail, PluginInside, RefusedRoute, Sandbox, SandboxLayer, Timeouts,
};
pub use policy::{LimitDiff, PolicyDiff, PolicyOrigin, PolicyView, Usage};
pub use tokens::{NewToken, NewTokenAnswer, Role, RoleError, Token};

/// Body of every answer that reports a failure.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct ErrorBody {
    /// Description of the failure: the problem, its place, and the next step.
    pub error: String,
}
