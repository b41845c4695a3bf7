//! Environment of a plugin process, and the configuration of its Init.
//!
//! Variables of the host's environment do not pass unless they are named here (contract §8.2,
//! §3.4).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

use gk_manifest::PluginName;
use gk_wire::handshake::env::UNIX_SOCKET_DIR;

use crate::config::PROTECTED_KEYS;

/// Prefix of the variables that are meant for plugins.
const VARIABLE_PREFIX: &str = "GOATFLOW_PLUGIN_";
/// Search path for programs in a plugin process.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Share of its memory limit that a Go program is told to keep its heap below, in percent. The rest
/// is for memory that Go does not count, such as the program itself, stacks of C code and files in
/// its temporary directory.
const GO_MEMORY_PERCENT: u64 = 80;

/// Inputs of a plugin process's environment.
#[derive(Debug, Clone)]
pub(crate) struct ProcessEnvironment<'a> {
    pub(crate) temp_dir: &'a Path,
    pub(crate) socket_dir: &'a Path,
    /// The plugin may use the network, by itself or through the host API.
    pub(crate) network: bool,
    pub(crate) timezone: Option<OsString>,
    /// The limit of its memory in bytes, if there is one.
    pub(crate) memory_bytes: Option<u64>,
    /// The limit of its processor time in thousandths of a processor, if there is one.
    pub(crate) cpu_millis: Option<u32>,
}

/// The complete environment of a plugin process.
pub(crate) fn process(of: ProcessEnvironment<'_>) -> BTreeMap<OsString, OsString> {
    let ProcessEnvironment {
        temp_dir,
        socket_dir,
        network,
        timezone,
        memory_bytes,
        cpu_millis,
    } = of;
    let mut env: BTreeMap<OsString, OsString> = gk_protocol::handshake_config()
        .environment()
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    env.insert("PATH".into(), PATH.into());
    env.insert("HOME".into(), temp_dir.into());
    env.insert("TMPDIR".into(), temp_dir.into());
    env.insert(UNIX_SOCKET_DIR.into(), socket_dir.into());
    if let Some(timezone) = timezone {
        env.insert("TZ".into(), timezone);
    }
    if !network {
        env.insert("GOATFLOW_NO_NETWORK".into(), "1".into());
    }
    // Go's garbage collector lets the heap double by default, which ends a program at half of its
    // limit. Go before 1.25 starts a thread for each processor of the machine, regardless of the
    // program's quota.
    if let Some(bytes) = memory_bytes {
        let heap = bytes / 100 * GO_MEMORY_PERCENT;
        env.insert("GOMEMLIMIT".into(), heap.to_string().into());
    }
    if let Some(millis) = cpu_millis {
        let processors = millis.div_ceil(1000).max(1);
        env.insert("GOMAXPROCS".into(), processors.to_string().into());
    }
    env
}

/// Returns the configuration that Init passes to `plugin`: the host's own keys, the operator's
/// settings for the plugin, and the plugin's own variables.
pub(crate) fn init_config(
    plugin: &PluginName,
    host_version: &str,
    plugin_dir: &Path,
    work_dir: &Path,
    variables: &PluginVariables,
    settings: Option<&BTreeMap<String, String>>,
) -> BTreeMap<String, String> {
    let mut config = variables.of(plugin).cloned().unwrap_or_default();
    config.extend(settings.cloned().unwrap_or_default());
    config.insert("host_version".into(), host_version.into());
    config.insert("plugin_name".into(), plugin.to_string());
    config.insert(
        "plugin_dir".into(),
        plugin_dir.to_string_lossy().into_owned(),
    );
    config.insert("work_dir".into(), work_dir.to_string_lossy().into_owned());
    config
}

/// The `GOATFLOW_PLUGIN_<NAME>_<KEY>` variables of the host's environment, each assigned to the
/// one plugin it is meant for.
///
/// `<NAME>` is the plugin's name in upper case with `_` for `-`. Where several plugins' names fit
/// (`foo` and `foo-bar` both fit `…_FOO_BAR_KEY`), the longest has it; where two names read the
/// same (`foo-bar` and `foo_bar`), neither has it, because it may be a secret. A plugin that cannot be
/// loaded keeps its variables from the others all the same.
#[derive(Debug, Default, Clone)]
pub(crate) struct PluginVariables {
    by_plugin: BTreeMap<PluginName, BTreeMap<String, String>>,
}

impl PluginVariables {
    /// Assigns `variables` to `plugins`, all that were discovered. `others` are names that other
    /// entries of the plugins directory have or may have, such as a plugin whose manifest is
    /// broken: a variable for one of these must not fall to a plugin whose name is a prefix of that
    /// name.
    pub(crate) fn assign(
        plugins: &BTreeSet<PluginName>,
        others: &BTreeSet<String>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        let mut names: BTreeMap<String, Vec<&PluginName>> = BTreeMap::new();
        for plugin in plugins {
            let form = env_form(plugin.as_str());
            names.entry(form).or_default().push(plugin);
        }
        for other in others {
            names.entry(env_form(other)).or_default();
        }
        let mut assigned = Self::default();
        for (variable, value) in variables {
            let Some(variable) = variable.to_str() else {
                continue;
            };
            let Some(rest) = variable.strip_prefix(VARIABLE_PREFIX) else {
                continue;
            };
            let fitting = names.iter().filter_map(|(name, owners)| {
                Some((owners, rest.strip_prefix(name.as_str())?.strip_prefix('_')?))
            });
            // The longest name leaves the shortest key.
            let Some((owners, key)) = fitting.min_by_key(|(_, key)| key.len()) else {
                continue;
            };
            let key = key.to_ascii_lowercase();
            let owner = match owners.as_slice() {
                [owner] => owner,
                [] => {
                    tracing::warn!(
                        variable,
                        "no plugin gets this variable: it is meant for one that is not loaded"
                    );
                    continue;
                }
                _ => {
                    tracing::warn!(
                        variable,
                        "no plugin gets this variable, because the names of several read the same in it; rename one of them"
                    );
                    continue;
                }
            };
            if key.is_empty() || PROTECTED_KEYS.contains(&key.as_str()) {
                tracing::warn!(plugin = %owner, variable, "ignored: only the host sets this key");
                continue;
            }
            let Ok(value) = value.into_string() else {
                tracing::warn!(plugin = %owner, variable, "ignored: its value is not UTF-8");
                continue;
            };
            assigned
                .by_plugin
                .entry((*owner).clone())
                .or_default()
                .insert(key, value);
        }
        assigned
    }

    fn of(&self, plugin: &PluginName) -> Option<&BTreeMap<String, String>> {
        self.by_plugin.get(plugin)
    }
}

fn env_form(plugin: &str) -> String {
    plugin.to_ascii_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<PluginName> {
        names
            .iter()
            .map(|name| PluginName::new(*name).unwrap())
            .collect()
    }

    fn assign(plugins: &[&str], variables: &[(&str, &str)]) -> PluginVariables {
        assign_beside(plugins, &[], variables)
    }

    fn assign_beside(
        plugins: &[&str],
        others: &[&str],
        variables: &[(&str, &str)],
    ) -> PluginVariables {
        PluginVariables::assign(
            &names(plugins),
            &others.iter().map(|&other| other.to_owned()).collect(),
            variables
                .iter()
                .map(|(name, value)| (name.into(), value.into())),
        )
    }

    fn config(plugin: &str, variables: &PluginVariables) -> BTreeMap<String, String> {
        init_config(
            &PluginName::new(plugin).unwrap(),
            "1.2.3",
            Path::new("/p"),
            Path::new("/w"),
            variables,
            None,
        )
    }

    #[test]
    fn the_environment_is_the_contracts() {
        let of = ProcessEnvironment {
            temp_dir: Path::new("/tmp/t"),
            socket_dir: Path::new("/tmp/s"),
            network: false,
            timezone: Some("UTC".into()),
            memory_bytes: Some(96 << 20),
            cpu_millis: Some(1500),
        };
        let env = process(of.clone());
        let shown: Vec<String> = env
            .iter()
            .map(|(name, value)| format!("{}={}", name.display(), value.display()))
            .collect();
        assert_eq!(
            shown,
            [
                "GOATFLOW_NO_NETWORK=1",
                "GOATKIT_PLUGIN=goatkit-v1",
                "GOMAXPROCS=2",
                "GOMEMLIMIT=80530560",
                "HOME=/tmp/t",
                "PATH=/usr/local/bin:/usr/bin:/bin",
                "PLUGIN_MAX_PORT=25000",
                "PLUGIN_MIN_PORT=10000",
                "PLUGIN_PROTOCOL_VERSIONS=1",
                "PLUGIN_UNIX_SOCKET_DIR=/tmp/s",
                "TMPDIR=/tmp/t",
                "TZ=UTC",
            ]
        );
        let env = process(ProcessEnvironment {
            network: true,
            timezone: None,
            memory_bytes: None,
            cpu_millis: None,
            ..of
        });
        for name in ["GOATFLOW_NO_NETWORK", "TZ", "GOMEMLIMIT", "GOMAXPROCS"] {
            assert!(!env.contains_key(&OsString::from(name)), "{name}");
        }
    }

    #[test]
    fn a_variable_reaches_the_plugin_with_the_longest_fitting_name() {
        let variables = assign(
            &["foo", "foo-bar"],
            &[
                ("GOATFLOW_PLUGIN_FOO_KEY", "1"),
                ("GOATFLOW_PLUGIN_FOO_BAR_KEY", "2"),
                ("GOATFLOW_PLUGIN_FOOD_KEY", "3"),
                ("OTHER", "4"),
                ("GOATFLOW_PLUGIN_FOO", "5"),
            ],
        );
        let foo = config("foo", &variables);
        assert_eq!(foo["key"], "1");
        assert_eq!(foo.len(), 5);
        let foo_bar = config("foo-bar", &variables);
        assert_eq!(foo_bar["key"], "2");
        assert_eq!(foo_bar.len(), 5);
    }

    /// `probe-x` is there, but its manifest is broken: `probe` must not read its key.
    #[test]
    fn what_is_meant_for_a_plugin_that_is_not_loaded_goes_to_nobody() {
        let variables = assign_beside(
            &["probe"],
            &["probe-x", "Probe Y"],
            &[
                ("GOATFLOW_PLUGIN_PROBE_X_KEY", "k"),
                ("GOATFLOW_PLUGIN_PROBE_Z", "own"),
            ],
        );
        let probe = config("probe", &variables);
        assert!(!probe.values().any(|value| value == "k"), "{probe:?}");
        assert_eq!(probe["z"], "own");
    }

    #[test]
    fn names_that_read_the_same_get_nothing() {
        let variables = assign(
            &["foo-bar", "foo_bar", "foo"],
            &[("GOATFLOW_PLUGIN_FOO_BAR_KEY", "secret")],
        );
        for plugin in ["foo-bar", "foo_bar", "foo"] {
            assert_eq!(config(plugin, &variables).len(), 4, "{plugin}");
        }
    }

    #[test]
    fn the_hosts_own_keys_cannot_be_set() {
        let variables = assign(
            &["p"],
            &[
                ("GOATFLOW_PLUGIN_P_WORK_DIR", "/etc"),
                ("GOATFLOW_PLUGIN_P_PLUGIN_NAME", "q"),
                ("GOATFLOW_PLUGIN_P_HOST_VERSION", "9"),
                ("GOATFLOW_PLUGIN_P_PLUGIN_DIR", "/"),
                ("GOATFLOW_PLUGIN_P_", "x"),
            ],
        );
        let config = config("p", &variables);
        let shown: Vec<(&str, &str)> = config
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                ("host_version", "1.2.3"),
                ("plugin_dir", "/p"),
                ("plugin_name", "p"),
                ("work_dir", "/w")
            ]
        );
    }
}
