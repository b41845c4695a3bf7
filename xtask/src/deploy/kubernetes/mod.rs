//! The manifests of Kubernetes: the hosts' configuration is checked by a host, all else by the tests
//! of this module.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{Programs, settings};
use crate::command::root;

const CONFIGURATION: &str = "deploy/kubernetes/config.yaml";

/// Key of the configuration in its ConfigMap.
const KEY: &str = "host.toml";

/// The part of a ConfigMap that is looked at.
#[derive(Deserialize)]
struct ConfigMap {
    data: BTreeMap<String, String>,
}

/// Lets a host read its configuration.
pub(super) fn check(programs: &Programs) -> Result<()> {
    settings::is_taken(CONFIGURATION, &programs.host, &configuration()?)
}

fn configuration() -> Result<String> {
    let text = fs::read_to_string(root().join(CONFIGURATION)).context(CONFIGURATION)?;
    let mut map: ConfigMap = serde_saphyr::from_str(&text).context(CONFIGURATION)?;
    let found = map.data.remove(KEY);
    found.with_context(|| format!("{CONFIGURATION} has no {KEY}"))
}
