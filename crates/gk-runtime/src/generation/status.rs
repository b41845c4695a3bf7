//! What is known of one generation of a plugin at one moment.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use gk_hostapi::PluginLimits;
use gk_manifest::{Diagnostic, Manifest, Registration};
use gk_sandbox::Report;

use crate::calls::Instance;
use crate::signatures::{SignatureState, Verified};
use crate::timeouts::Timeouts;

/// One generation as its task last reported it.
#[derive(Debug, Clone)]
pub(crate) struct GenerationStatus {
    /// Counts the processes of a plugin, from 1; 0 for what never got one.
    pub(crate) generation: u64,
    /// The directory of its package, absolute.
    pub(crate) dir: PathBuf,
    pub(crate) state: GenerationState,
    /// What it registered; `None` before that.
    pub(crate) registration: Option<Arc<Registration>>,
    /// Its manifest; `None` when that is not valid.
    pub(crate) manifest: Option<Arc<Manifest>>,
    pub(crate) signature: Option<SignatureState>,
    pub(crate) warnings: Arc<[Diagnostic]>,
    pub(crate) pid: Option<u32>,
    pub(crate) started_at: Option<SystemTime>,
    pub(crate) running_since: Option<SystemTime>,
    pub(crate) sandbox: Option<Arc<Report>>,
    pub(crate) timeouts: Timeouts,
    /// What it was started from, once that was verified.
    pub(crate) verified: Option<Arc<Verified>>,
    /// The policy's word on its process, as of its start.
    pub(crate) limits: Option<PluginLimits>,
    /// What the call path needs while it serves.
    pub(crate) instance: Option<Arc<Instance>>,
}

/// Where a generation is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GenerationState {
    /// On its way up: verified, launched, registered, initialised.
    Starting,
    /// Initialised: calls may enter.
    Up,
    /// On its way down: no new calls enter, running ones are finished.
    Draining,
    /// Its process is gone as it was meant to.
    Stopped,
    /// It failed, and its process, if it had one, is gone.
    Failed { error: String, failure: Failure },
}

/// What kind of failure ended a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Time does not mend it: another package, policy or trust may.
    Refused,
    /// It ended, hung, or could not be started: it may come up the next time.
    Crashed,
    /// It was ended because it used more memory than it may.
    OutOfMemory,
}

impl GenerationState {
    /// Whether its process is gone.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self, Self::Stopped | Self::Failed { .. })
    }
}

impl GenerationStatus {
    /// A package that is not started: there is nothing of it but this.
    pub(crate) fn not_started(dir: PathBuf, state: GenerationState) -> Self {
        Self {
            generation: 0,
            dir,
            state,
            registration: None,
            manifest: None,
            signature: None,
            warnings: Arc::new([]),
            pid: None,
            started_at: None,
            running_since: None,
            sandbox: None,
            timeouts: Timeouts::from_resources(&gk_manifest::ResourceRequest::default()),
            verified: None,
            limits: None,
            instance: None,
        }
    }
}
