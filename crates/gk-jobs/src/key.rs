//! Names of jobs.

use std::fmt;
use std::sync::Arc;

use gk_manifest::PluginName;

/// A job: its plugin, and its id in the plugin.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobKey {
    /// The plugin.
    pub plugin: PluginName,
    /// The job's id.
    pub job: Arc<str>,
}

impl JobKey {
    /// Names a job of a plugin.
    pub fn new(plugin: PluginName, job: impl Into<Arc<str>>) -> Self {
        let job = job.into();
        Self { plugin, job }
    }

    /// Returns a number from 0 to 1 that belongs to the name, by FNV-1a: the same in every build and
    /// on every host.
    pub(crate) fn fraction(&self) -> f64 {
        const BASIS: u32 = 0x811c_9dc5;
        const PRIME: u32 = 0x0100_0193;
        let bytes = self
            .plugin
            .as_str()
            .bytes()
            .chain([0])
            .chain(self.job.bytes());
        let hash = bytes.fold(BASIS, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(PRIME)
        });
        // The finaliser of MurmurHash3: FNV alone puts names that differ at their end side by side.
        let hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
        let hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
        f64::from(hash ^ (hash >> 16)) / f64::from(u32::MAX)
    }
}

/// The plugin and the job, with a slash between them.
impl fmt::Display for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.plugin, self.job)
    }
}
