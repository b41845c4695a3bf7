//! Package that a generation is started from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{PluginSettings, RuntimeConfig};
use crate::discover::Discovered;
use crate::environment::{self, PluginVariables};
use crate::signatures::Verified;

/// Inputs of a generation's start.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub(crate) found: Discovered,
    pub(crate) work_dir: PathBuf,
    pub(crate) variables: Arc<PluginVariables>,
    /// Artifact that was verified before and is started again, regardless of the present files.
    pub(crate) pinned: Option<Arc<Verified>>,
}

impl Package {
    pub(crate) fn init_config(
        &self,
        config: &RuntimeConfig,
        dir: &Path,
        settings: &PluginSettings,
    ) -> BTreeMap<String, String> {
        environment::init_config(
            &self.found.name,
            &config.host_version,
            dir,
            &self.work_dir,
            &self.variables,
            settings.get(&self.found.name),
        )
    }
}
