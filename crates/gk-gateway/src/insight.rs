//! Information that only the program around the gateway has.

use std::collections::BTreeMap;
use std::time::SystemTime;

use async_trait::async_trait;
use gk_api::{Check, Figures};

/// Measured figures of plugins, by name.
pub type Seen = BTreeMap<String, Figures>;

/// Facts about the program around the gateway.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct About {
    /// Name of the host.
    pub name: String,
    /// Time of its start.
    pub started_at: Option<SystemTime>,
    /// Directory of the plugins.
    pub plugins_dir: String,
    /// Directory of its own data.
    pub data_dir: String,
    /// Plugins restart when their files change.
    pub hot_reload: bool,
    /// Plugins must be signed by a trusted key.
    pub signatures_required: bool,
    /// Strictness of the sandbox: `best-effort`, `required` or `off`.
    pub sandbox_level: String,
}

/// Source of information that only the program around the gateway has, as it assembled the host.
#[async_trait]
pub trait Insight: Send + Sync + 'static {
    /// Returns the facts about the program at this moment.
    fn about(&self) -> About;
    /// Returns the measured figures of the plugins. May look at all processes of the machine, and
    /// so block.
    fn figures(&self) -> Seen;
    /// Checks all parts of the host.
    async fn doctor(&self) -> Vec<Check>;
}
