//! State of a plugin.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use gk_manifest::Registration;
use tokio::sync::watch;
use tokio::time::Instant;

use super::lifecycle::Lifecycle;
use super::will::Will;
use crate::files::{Files, Stamps};
use crate::generation::{Package, Stop};
use crate::snapshot::Waiters;

#[derive(Debug)]
pub(super) struct State {
    pub(super) lifecycle: Lifecycle,
    /// Package for the next generation; `None` if there is none to start.
    pub(super) package: Option<Package>,
    /// Stamps of the files that the newest generation was started from, as they were found; `None`
    /// once they are no longer valid for comparison.
    pub(super) tried: Option<Stamps>,
    /// Directory of that package, and the fingerprint of its content.
    pub(super) tried_dir: Option<(PathBuf, u64)>,
    /// A condition of the start changed meanwhile: if the newest generation fails, it is started
    /// once more.
    pub(super) woken: bool,
    /// The policy changed while a generation started: its limits are compared again once it is up.
    pub(super) other_limits: bool,
    /// Number and files of the newest generation, if these were verified.
    pub(super) basis: Option<(u64, Arc<Files>)>,
    /// The present package depends on plugins that do not serve: the version before goes on, and
    /// restarts.
    pub(super) is_held_back: bool,
    pub(super) will: Will,
    /// Digest of the binary whose crashes are counted.
    pub(super) digest: Option<String>,
    /// Time of the next wake-up of the state machine, and the task that waits for it.
    pub(super) timer: Option<(Instant, tokio::task::AbortHandle)>,
    /// Packages of the generations that have not ended.
    pub(super) started: BTreeMap<u64, Package>,
    /// Verified package that serves, or came up last.
    pub(super) good: Option<Package>,
    /// Verified package that came up before that, for the operator to go back to.
    pub(super) previous: Option<Package>,
    /// Last registration: its routes stay the plugin's own while that restarts.
    pub(super) registration: Option<Arc<Registration>>,
    /// The plugin has come up, failed or been stopped at least once.
    pub(super) has_settled: bool,
    /// At least one generation has served.
    pub(super) has_served: bool,
    /// Last error of a current generation.
    pub(super) last_error: Option<Arc<str>>,
    /// Calls that wait for a generation to come up.
    pub(super) waiters: Arc<Waiters>,
    /// Name of a file that differs from the running one, if changes are only reported.
    pub(super) changed: Option<&'static str>,
    /// Stop requests by number of the generation.
    pub(super) stops: BTreeMap<u64, watch::Sender<Stop>>,
}
