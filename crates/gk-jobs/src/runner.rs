//! What jobs need of the program around them: plugins to call, and a clock.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use gk_manifest::{PluginName, Registration};
use jiff::Timestamp;

use crate::key::JobKey;

/// A call of a job's function.
#[derive(Debug, Clone)]
pub struct RunCall {
    /// The job.
    pub key: JobKey,
    /// The function.
    pub handler: String,
    /// Its arguments, a JSON object.
    pub args: Bytes,
    /// Time limit.
    pub timeout: Duration,
}

/// Answer of a job's function.
#[derive(Debug, Clone)]
pub struct RunAnswer {
    /// Generation of the plugin that was called, if one was.
    pub generation: Option<u64>,
    /// The result, or why there is none.
    pub outcome: Result<Bytes, RunFailure>,
}

/// Reason why a function gave no result. The text is for operators.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunFailure {
    /// The function returned an error, or could not be called.
    #[error("{0}")]
    Failed(String),
    /// The function did not answer in time.
    #[error("{0}")]
    TimedOut(String),
    /// No part of the call reached the plugin, and it is worth another try in a moment.
    #[error("{0}")]
    NotSent(String),
    /// The plugin is not there, or must not be called. Trying again is no use.
    #[error("{0}")]
    Gone(String),
}

/// Whether a plugin runs.
#[derive(Debug, Clone)]
pub enum Presence {
    /// The plugin runs, and has declared these jobs.
    Running(Arc<Registration>),
    /// The plugin is starting, or will be started again. Its runs wait.
    Coming,
}

/// Compares registrations by identity.
impl PartialEq for Presence {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Running(own), Self::Running(other)) => Arc::ptr_eq(own, other),
            (Self::Coming, Self::Coming) => true,
            _ => false,
        }
    }
}

/// The plugins.
#[async_trait]
pub trait Runner: fmt::Debug + Send + Sync + 'static {
    /// Returns the plugins that there are at this moment. Runs of others that wait are dropped.
    fn present(&self) -> BTreeMap<PluginName, Presence>;

    /// Calls a function, and waits for its answer. A dropped future gives the call up.
    async fn run(&self, call: RunCall) -> RunAnswer;
}

/// The time of day.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the present moment.
    fn now(&self) -> Timestamp;
}

/// The clock of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
