//! State of a runtime.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use gk_manifest::{PluginName, ResourceRequest};
use parking_lot::Mutex;

use crate::discover::Problem;
use crate::environment::PluginVariables;
use crate::files::Stamp;
use crate::manifests::Manifests;
use crate::plugin::Plugin;
use crate::registry::Registry;
use crate::staging::Installing;
use crate::watch::Changes;

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) registry: Arc<Registry>,
    pub(crate) plugins: Mutex<BTreeMap<PluginName, Arc<Plugin>>>,
    /// Held while the plugins directory is looked through.
    pub(crate) looked: Mutex<Looked>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) installing: Installing,
    pub(crate) stopping: AtomicBool,
    /// At least one plugin depends on another.
    pub(crate) linked: AtomicBool,
}

/// Results of earlier scans of the plugins directory.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// Plugins that are no longer in the directory, and since when.
    pub(crate) gone: BTreeMap<PluginName, Instant>,
    /// Problems that were already reported, of directories that hold no plugin.
    pub(crate) problems: Vec<Problem>,
    pub(crate) left_alone: Vec<String>,
    pub(crate) manifests: Manifests,
    /// Resource requests of the installed plugins, as last reported to the host API.
    pub(crate) installed: Option<BTreeMap<PluginName, ResourceRequest>>,
    /// Stamp of the file of revocations.
    pub(crate) revocations: Option<Stamp>,
    /// Variables by plugin, and the names that the assignment follows from.
    pub(crate) variables: Option<(BTreeSet<PluginName>, BTreeSet<String>, Arc<PluginVariables>)>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Wakes the follower, which then finds the runtime gone and ends.
        self.changes.mark();
    }
}
