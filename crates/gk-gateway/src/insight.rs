//! What only the program around the gateway knows.

use std::collections::BTreeMap;
use std::time::SystemTime;

use async_trait::async_trait;
use gk_api::{Check, Figures};

/// What is measured of plugins, by name.
pub type Seen = BTreeMap<String, Figures>;

/// What the program around the gateway knows of itself.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct About {
    /// When it was started.
    pub started_at: Option<SystemTime>,
    /// The directory that it looks for plugins in.
    pub plugins_dir: String,
    /// The directory that it keeps its own data in.
    pub data_dir: String,
    /// Whether plugins start anew when their files change.
    pub hot_reload: bool,
    /// Whether plugins must be signed by a trusted key.
    pub signatures_required: bool,
    /// `best-effort`, `required` or `off`.
    pub sandbox_level: String,
}

/// What only the program around the gateway can tell: it has put the host together.
#[async_trait]
pub trait Insight: Send + Sync + 'static {
    /// What it is at this moment.
    fn about(&self) -> About;
    /// What is measured of its plugins. It may look at all processes of the machine, and so block.
    fn figures(&self) -> Seen;
    /// Looks at everything that the host is made of.
    async fn doctor(&self) -> Vec<Check>;
}
