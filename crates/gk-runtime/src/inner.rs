//! What a runtime is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use gk_manifest::{PluginName, ResourceRequest};
use parking_lot::Mutex;

use crate::discover::Problem;
use crate::environment::PluginVariables;
use crate::files::Stamp;
use crate::hub::Hub;
use crate::manifests::Manifests;
use crate::plugin::Plugin;
use crate::staging::Installing;
use crate::watch::Changes;

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) hub: Arc<Hub>,
    pub(crate) plugins: Mutex<BTreeMap<PluginName, Arc<Plugin>>>,
    /// Held while the plugins directory is looked through.
    pub(crate) looked: Mutex<Looked>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) installing: Installing,
    pub(crate) stopping: AtomicBool,
    /// Whether any plugin depends on another.
    pub(crate) linked: AtomicBool,
}

/// What earlier looks at the plugins directory found.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// Plugins that are no longer there, and since when.
    pub(crate) gone: BTreeMap<PluginName, Instant>,
    /// What was told about directories that hold no plugin.
    pub(crate) problems: Vec<Problem>,
    pub(crate) left_alone: Vec<String>,
    pub(crate) manifests: Manifests,
    /// What the host API knows of what is installed.
    pub(crate) installed: Option<BTreeMap<PluginName, ResourceRequest>>,
    /// The file of revocations.
    pub(crate) revocations: Option<Stamp>,
    /// Which variables are whose, and the names that this follows from.
    pub(crate) variables: Option<(BTreeSet<PluginName>, BTreeSet<String>, Arc<PluginVariables>)>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Wakes who follows, to find nothing to follow.
        self.changes.mark();
    }
}
