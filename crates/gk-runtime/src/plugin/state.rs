//! What is known of a plugin.

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
    /// What the next generation is started from; `None`: nothing can be.
    pub(super) package: Option<Package>,
    /// The files of the package that the newest generation was started from, as they were found; `None` once that says
    /// nothing any more.
    pub(super) tried: Option<Stamps>,
    /// The directory of that package, and the stamp of all that is in it.
    pub(super) tried_dir: Option<(PathBuf, u64)>,
    /// What kept the newest generation from starting may be different now: if it fails, it is started once more.
    pub(super) woken: bool,
    /// The policy changed while a generation started: whether that concerns its process is looked at once it is up.
    pub(super) other_limits: bool,
    /// What the newest generation was started from, if it came so far, and its number.
    pub(super) basis: Option<(u64, Arc<Files>)>,
    /// What is there depends on others that do not serve: what served before goes on, and starts again.
    pub(super) is_held_back: bool,
    pub(super) will: Will,
    /// The digest of the binary whose crashes are counted.
    pub(super) digest: Option<String>,
    /// Wakes the state machine, at that time.
    pub(super) timer: Option<(Instant, tokio::task::AbortHandle)>,
    /// What the generations that have not ended were started from.
    pub(super) started: BTreeMap<u64, Package>,
    /// What serves, or came up last, as it was verified.
    pub(super) good: Option<Package>,
    /// What came up before that, for the operator to go back to.
    pub(super) previous: Option<Package>,
    /// What it registered last: its routes stay its own while it is started again.
    pub(super) registration: Option<Arc<Registration>>,
    /// Whether it has come up, failed or been stopped since it is known.
    pub(super) has_settled: bool,
    /// Whether any generation of it has served.
    pub(super) has_served: bool,
    /// How a current generation failed last.
    pub(super) last_error: Option<Arc<str>>,
    /// Calls that wait for one.
    pub(super) waiters: Arc<Waiters>,
    /// Which file is no longer what runs, where nothing is done about it.
    pub(super) changed: Option<&'static str>,
    /// Ends the generation of that number.
    pub(super) stops: BTreeMap<u64, watch::Sender<Stop>>,
}
