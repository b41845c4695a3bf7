//! State that all plugins of a runtime share.

use std::sync::Arc;

use arc_swap::ArcSwap;
use gk_hostapi::HostApi;
use gk_manifest::PluginName;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use crate::backend::Backend;
use crate::config::{PluginSettings, RuntimeConfig};
use crate::discover::Problem;
use crate::limits::PARALLEL_STARTS;
use crate::signatures::{Signatures, Warned};
use crate::snapshot::{PluginStatus, Snapshot};

/// State that the plugins of a runtime, and the tasks of their generations, share.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) config: RuntimeConfig,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) host_api: Arc<dyn HostApi>,
    pub(crate) starts: Arc<Semaphore>,
    /// Keys that are trusted to sign plugins now.
    pub(crate) signatures: ArcSwap<Signatures>,
    /// Settings that plugins are configured with now.
    pub(crate) settings: ArcSwap<PluginSettings>,
    pub(crate) pinned: gk_sign::Cache,
    pub(crate) warned: Warned,
    snapshot: ArcSwap<Snapshot>,
    changed: watch::Sender<u64>,
    /// Held while a snapshot is replaced, so that no concurrent change is lost.
    writing: Mutex<()>,
    /// Tasks of generations that have not ended.
    alive: watch::Sender<usize>,
}

/// Guard that counts the task of a generation until it is dropped.
#[derive(Debug)]
pub(crate) struct Alive(watch::Sender<usize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.send_modify(|alive| *alive -= 1);
    }
}

impl Registry {
    pub(crate) fn new(
        config: RuntimeConfig,
        backend: Arc<dyn Backend>,
        host_api: Arc<dyn HostApi>,
    ) -> Self {
        let snapshot = Snapshot::default();
        Self {
            signatures: ArcSwap::from_pointee(config.signatures.clone()),
            settings: ArcSwap::from_pointee(config.settings.clone()),
            config,
            backend,
            host_api,
            starts: Arc::new(Semaphore::new(PARALLEL_STARTS)),
            pinned: gk_sign::Cache::new(),
            warned: Warned::default(),
            changed: watch::Sender::new(snapshot.version),
            snapshot: ArcSwap::from_pointee(snapshot),
            writing: Mutex::new(()),
            alive: watch::Sender::new(0),
        }
    }

    /// Counts the task of a generation.
    pub(crate) fn alive(&self) -> Alive {
        self.alive.send_modify(|alive| *alive += 1);
        Alive(self.alive.clone())
    }

    /// Waits until no task of a generation is left.
    pub(crate) async fn idle(&self) {
        let mut alive = self.alive.subscribe();
        // The sender is `self`'s.
        let _ = alive.wait_for(|alive| *alive == 0).await;
    }

    /// All plugins at this moment.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Like [`Self::snapshot`], without a reference count: for short reads, as on the path of every
    /// call.
    pub(crate) fn peek(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Returns a receiver that changes with every new snapshot.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Replaces a plugin's status and says that something changed.
    pub(crate) fn publish(&self, status: PluginStatus) {
        self.replace(|snapshot| snapshot.with(status));
    }

    /// Forgets a plugin.
    pub(crate) fn forget(&self, name: &PluginName) {
        self.replace(|snapshot| snapshot.without(name));
    }

    /// Replaces the problems of directories whose plugin has no known name.
    pub(crate) fn publish_problems(&self, problems: Vec<Problem>) {
        self.replace(|snapshot| snapshot.with_problems(problems));
    }

    fn replace(&self, change: impl FnOnce(&Snapshot) -> Snapshot) {
        let version = {
            let _writing = self.writing.lock();
            let next = change(&self.snapshot.load());
            let version = next.version;
            self.snapshot.store(Arc::new(next));
            version
        };
        self.changed
            .send_modify(|known| *known = version.max(*known));
    }
}
