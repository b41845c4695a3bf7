//! State of one generation of a plugin at one moment.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use gk_hostapi::PluginLimits;
use gk_manifest::{Diagnostic, Manifest, Registration};
use gk_sandbox::Report;

use crate::calls::Instance;
use crate::signatures::{SignatureState, Verified};
use crate::timeouts::Timeouts;

/// State of a generation as its task last reported it.
#[derive(Debug, Clone)]
pub(crate) struct GenerationStatus {
    /// Number of the process among those of the plugin, from 1; 0 if there never was one.
    pub(crate) generation: u64,
    /// The directory of its package, absolute.
    pub(crate) dir: PathBuf,
    pub(crate) state: GenerationState,
    /// Registration of the plugin; `None` before it has registered.
    pub(crate) registration: Option<Arc<Registration>>,
    /// Manifest of the package; `None` if it is not valid.
    pub(crate) manifest: Option<Arc<Manifest>>,
    pub(crate) signature: Option<SignatureState>,
    pub(crate) warnings: Arc<[Diagnostic]>,
    pub(crate) pid: Option<u32>,
    pub(crate) started_at: Option<SystemTime>,
    pub(crate) running_since: Option<SystemTime>,
    pub(crate) sandbox: Option<Arc<Report>>,
    pub(crate) timeouts: Timeouts,
    /// Verified package that the generation was started from; `None` before the check.
    pub(crate) verified: Option<Arc<Verified>>,
    /// Limits of the policy for its process, as of its start.
    pub(crate) limits: Option<PluginLimits>,
    /// Handle for calls, while the generation serves.
    pub(crate) instance: Option<Arc<Instance>>,
}

/// Phase of a generation's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GenerationState {
    /// On its way up: verified, launched, registered, initialised.
    Starting,
    /// Initialised: calls may enter.
    Up,
    /// On its way down: no new calls enter, running ones are finished.
    Draining,
    /// Ended as requested; the process is gone.
    Stopped,
    /// Failed; the process, if there was one, is gone.
    Failed { error: String, failure: Failure },
}

/// Kind of failure that ended a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Another start does not help; another package, policy or trust may.
    Refused,
    /// The process ended, hung, or could not be started, and may come up the next time.
    Crashed,
    /// The process was ended because it exceeded its memory limit.
    OutOfMemory,
}

impl GenerationState {
    /// Returns true if the process is gone.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self, Self::Stopped | Self::Failed { .. })
    }
}

impl GenerationStatus {
    /// Status of a package without a process.
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
