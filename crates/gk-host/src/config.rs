//! Configuration, by precedence: flag, environment (`GK_…`), file, default.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use figment::Figment;
use figment::providers::{Format, Serialized, Toml};
use gk_manifest::{GoDuration, PluginName};
use gk_runtime::PROTECTED_KEYS;
use gk_runtime::limits::{RESCAN_INTERVAL_MAX, RESCAN_INTERVAL_MIN};
use serde::{Deserialize, Serialize};

use crate::front::{
    CorsSection, ForwardedHeader, Front, LimitsSection, Listen, SOCKET_MODE_DEFAULT, TlsSection,
};
use crate::sandbox::{SandboxLevel, SandboxSection};
use crate::sections::{
    AppSection, ClusterSection, HealthSection, Hidden, HttpSection, JobsSection, MailSection,
};
use crate::signatures::SignaturesSection;
use crate::sources::{Variables, explain, located, process_variable, variable};

/// Flags of `gk-host serve`. Each is also a variable (`GK_PLUGINS_DIR`, …) and a key of the file.
#[derive(Debug, Default, Clone, Args, Serialize)]
pub(crate) struct ServeArgs {
    /// Directory that holds one directory per plugin [default: plugins]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) plugins_dir: Option<PathBuf>,

    /// Directory for the host's data: database, admin token, the plugins' work directories
    /// [default: data]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Addresses to listen on, with commas between: 127.0.0.1:8080, localhost:8080, :8080,
    /// unix:/path; port 0 takes a free one [default: what systemd hands over, else 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) listen: Option<Listen>,

    /// Addresses that only report the host's health, out of clients' reach [default: none]
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health_listen: Option<Listen>,

    /// Form of the log on stderr [default: text]
    #[arg(long, value_name = "FORM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_format: Option<LogFormat>,

    /// Log filter: a level, or directives as `info,gk_runtime=debug` [default: info]
    #[arg(long, value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log: Option<String>,

    /// Maximum time until a plugin prints its handshake, as `90s` or `1m30s`; 0 is no limit
    /// [default: 60s]
    #[arg(long, value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) start_timeout: Option<GoDuration>,

    /// The plugins' database: sqlite:PATH, postgres://… or mysql://… [default: a SQLite file in the
    /// data directory]
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) database_url: Option<Hidden>,

    /// A Redis server for the plugins' cache, redis://… [default: in memory]
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache_url: Option<Hidden>,

    /// Grants plugins without a stored policy all they declare; for development
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trust_declared_permissions: Option<bool>,

    /// Strictness of the plugins' sandbox [default: best-effort]
    #[arg(long, value_name = "LEVEL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sandbox_level: Option<SandboxLevel>,

    /// TOML file with the same names as the flags, with _ for -; GK_CONFIG names it, too
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) config: Option<PathBuf>,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object on each line.
    Json,
}

/// Configuration of `gk-host serve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) plugins_dir: PathBuf,
    /// The directory was named by a flag, a variable or the file, so it must exist.
    #[serde(skip)]
    pub(crate) plugins_dir_is_given: bool,
    pub(crate) data_dir: PathBuf,
    /// Addresses to listen on; see [`Front`].
    listen: Option<Listen>,
    health_listen: Option<Listen>,
    /// Path of the socket for users of this machine who need no token; `off` disables it.
    pub(crate) admin_socket: Option<String>,
    socket_mode: String,
    trusted_proxies: Vec<String>,
    forwarded_header: ForwardedHeader,
    tls: Option<TlsSection>,
    cors: CorsSection,
    limits: LimitsSection,
    pub(crate) log_format: LogFormat,
    pub(crate) log: String,
    start_timeout: GoDuration,
    /// Restart plugins when their files change.
    hot_reload: bool,
    /// Interval between full scans of the plugins directory, which do not depend on change
    /// notifications.
    rescan_interval: GoDuration,
    /// URL of the plugins' database.
    pub(crate) database_url: Option<Hidden>,
    /// Databases that a plugin selects with `@name:`.
    pub(crate) databases: BTreeMap<String, Hidden>,
    /// URL of a Redis server; without it the cache is in memory.
    pub(crate) cache_url: Option<Hidden>,
    /// Grants plugins without a stored policy what they declare.
    pub(crate) trust_declared_permissions: bool,
    /// File with the keys that secrets are encrypted with.
    pub(crate) secure_keys_file: Option<PathBuf>,
    /// Strictness of the plugins' sandbox.
    pub(crate) sandbox_level: SandboxLevel,
    /// Details of the sandbox.
    pub(crate) sandbox: SandboxSection,
    /// Keys that are trusted to sign plugins, and the rule for other plugins.
    pub(crate) signatures: SignaturesSection,
    /// Interval, timeout and number of the health probes.
    pub(crate) health: HealthSection,
    /// Settings that the Init of a plugin gets in addition to its variables, by the plugin's name.
    pub(crate) plugin_config: BTreeMap<PluginName, BTreeMap<String, String>>,
    /// Settings of outgoing HTTP.
    pub(crate) http: HttpSection,
    /// Settings of outgoing mail; without them plugins cannot send any.
    pub(crate) mail: Option<MailSection>,
    /// Time zone of schedules, and how many jobs run at once.
    pub(crate) jobs: JobsSection,
    /// State that this host shares with others.
    pub(crate) cluster: ClusterSection,
    /// Time between the signal that stops the host and the end of listening.
    drain_delay: Option<GoDuration>,
    /// Application settings that plugins may read.
    pub(crate) app: AppSection,
    /// Further settings that plugins may read.
    pub(crate) settings: BTreeMap<String, String>,
}

/// The variables that are configuration; other `GK_…` ones are not.
const VARIABLES: &[&str] = &[
    "plugins_dir",
    "data_dir",
    "listen",
    "health_listen",
    "admin_socket",
    "log_format",
    "log",
    "start_timeout",
    "hot_reload",
    "rescan_interval",
    "database_url",
    "cache_url",
    "trust_declared_permissions",
    "secure_keys_file",
    "sandbox_level",
    "drain_delay",
    "cluster.database_url",
    "cluster.redis_url",
    "cluster.files_url",
    "cluster.name",
    "cluster.lost_after",
];

/// Variables that are read elsewhere.
const OTHER_VARIABLES: &[&str] = &[
    "GK_CONFIG",
    "GK_ADMIN_TOKEN",
    "GK_MAIL_PASSWORD",
    // Of the command `gk`, which may be used from the same shell.
    "GK_URL",
    "GK_TOKEN",
    "GK_CONTEXT",
];

/// The local socket, in the data directory.
const ADMIN_SOCKET: &str = "admin.sock";

/// Returns `Some` for a variable that looks like one of the host's and is not; inside, the name
/// that was probably meant.
fn unknown_variable(name: &str) -> Option<Option<String>> {
    name.strip_prefix("GK_")?;
    let known = VARIABLES.iter().map(|key| variable(key));
    if known.clone().any(|known| known == name) || OTHER_VARIABLES.contains(&name) {
        return None;
    }
    let known = known.chain(OTHER_VARIABLES.iter().map(|&name| name.to_owned()));
    let closest = known
        .map(|known| (strsim::damerau_levenshtein(&known, name), known))
        .min();
    // A third of the letters may be wrong.
    let close = closest.filter(|(distance, known)| distance * 3 <= known.len() - "GK_".len());
    Some(close.map(|(_, known)| known))
}

/// Upstream's variable for [`Config::hot_reload`].
const HOT_RELOAD_VARIABLE: &str = "GOATFLOW_PLUGIN_HOT_RELOAD";

/// A century, which stands for no timeout: timers cannot represent much longer ones.
const NO_TIMEOUT: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Default of `drain_delay` for one of several hosts: balancers look every few seconds.
const DRAIN_DELAY_CLUSTER: Duration = Duration::from_secs(5);

/// Maximum of `drain_delay`.
const DRAIN_DELAY_MAX: Duration = Duration::from_secs(600);

/// Default of the maximum time until a plugin's handshake.
const START_TIMEOUT_DEFAULT: &str = "60s";

/// Default of the interval between full scans of the plugins directory.
const RESCAN_INTERVAL_DEFAULT: &str = "30s";

impl Default for Config {
    fn default() -> Self {
        Config {
            plugins_dir: "plugins".into(),
            plugins_dir_is_given: false,
            data_dir: "data".into(),
            listen: None,
            health_listen: None,
            admin_socket: None,
            socket_mode: SOCKET_MODE_DEFAULT.into(),
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
            tls: None,
            cors: CorsSection::default(),
            limits: LimitsSection::default(),
            log_format: LogFormat::Text,
            log: "info".into(),
            start_timeout: START_TIMEOUT_DEFAULT.parse().unwrap_or_default(),
            hot_reload: true,
            rescan_interval: RESCAN_INTERVAL_DEFAULT.parse().unwrap_or_default(),
            database_url: None,
            databases: BTreeMap::new(),
            cache_url: None,
            trust_declared_permissions: false,
            secure_keys_file: None,
            sandbox_level: SandboxLevel::default(),
            sandbox: SandboxSection::default(),
            signatures: SignaturesSection::default(),
            health: HealthSection::default(),
            plugin_config: BTreeMap::new(),
            http: HttpSection::default(),
            mail: None,
            jobs: JobsSection::default(),
            cluster: ClusterSection::default(),
            drain_delay: None,
            app: AppSection::default(),
            settings: BTreeMap::new(),
        }
    }
}

impl Config {
    /// Returns the part of the configuration that concerns listening.
    pub(crate) fn front(&self) -> Front {
        Front {
            listen: self.listen.clone(),
            health_listen: self.health_listen.clone(),
            socket_mode: self.socket_mode.clone(),
            trusted_proxies: self.trusted_proxies.clone(),
            forwarded_header: self.forwarded_header,
            tls: self.tls.clone(),
            cors: self.cors.clone(),
            limits: self.limits.clone(),
        }
    }

    /// Path of the socket for users of this machine who need no token: the host's own user, and
    /// root.
    pub(crate) fn admin_socket(&self) -> Option<PathBuf> {
        match self.admin_socket.as_deref() {
            Some("off") => None,
            Some(path) => Some(PathBuf::from(path)),
            None => Some(self.data_dir.join(ADMIN_SOCKET)),
        }
    }

    /// Returns true if plugins restart when their files change. Upstream's variable takes
    /// precedence over the key.
    pub(crate) fn hot_reload(&self) -> bool {
        match std::env::var(HOT_RELOAD_VARIABLE) {
            Ok(text) => !matches!(&*text.to_ascii_lowercase(), "false" | "0" | "no" | "off"),
            Err(_) => self.hot_reload,
        }
    }

    /// Interval between full scans of the plugins directory. [`Config::load`] checks its range.
    pub(crate) fn rescan_interval(&self) -> Duration {
        self.rescan_interval.to_std().unwrap_or_default()
    }

    /// Time for which the host still serves while it says that it is not ready, so that balancers
    /// learn of it before it stops listening. 0 unless it is set, or the host is one of several.
    pub(crate) fn drain_delay(&self) -> Duration {
        let default = match self.cluster.is_set() {
            true => DRAIN_DELAY_CLUSTER,
            false => Duration::ZERO,
        };
        let set = self.drain_delay.map(|delay| delay.to_std());
        set.map_or(default, |delay| delay.unwrap_or(Duration::MAX))
    }

    /// Maximum time until a plugin's handshake; 0 in the configuration stands for no limit.
    pub(crate) fn start_timeout(&self) -> Duration {
        let timeout = self.start_timeout.to_std().unwrap_or_default();
        match timeout.is_zero() {
            true => NO_TIMEOUT,
            false => timeout,
        }
    }

    /// Warns of each `GK_…` variable that is not read, as it may be mistyped.
    pub(crate) fn warn_of_unknown_variables(
        &self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) {
        for (name, _) in variables {
            if let Some(meant) = unknown_variable(&name.to_string_lossy()) {
                let name = name.display();
                match meant {
                    Some(meant) => {
                        tracing::warn!("{name} is set, but nothing reads it; did you mean {meant}?")
                    }
                    None => tracing::warn!("{name} is set, but nothing reads it"),
                }
            }
        }
    }

    /// Returns the names of the keys in which another configuration differs.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let values = |config: &Self| match serde_json::to_value(config) {
            Ok(serde_json::Value::Object(values)) => values,
            _ => serde_json::Map::new(),
        };
        let (own, others) = (values(self), values(other));
        let differs =
            |(key, value): &(&String, &serde_json::Value)| others.get(*key) != Some(value);
        own.iter()
            .filter(differs)
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Merges all sources. An error names the source it is in.
    pub(crate) fn load(args: &ServeArgs) -> Result<Self> {
        let file = args
            .config
            .clone()
            .or_else(|| process_variable("GK_CONFIG").map(PathBuf::from));
        Self::merge(args, file.as_deref(), std::env::vars_os().collect())
    }

    fn merge(
        args: &ServeArgs,
        file: Option<&Path>,
        environment: Vec<(OsString, OsString)>,
    ) -> Result<Self> {
        let mut given = Figment::new();
        if let Some(file) = file {
            if !file.is_file() {
                bail!(
                    "the configuration file {} does not exist or is no file",
                    file.display()
                );
            }
            let values = Toml::file_exact(file);
            // A syntax error does not say by itself which file it is in.
            figment::Provider::data(&values).with_context(|| {
                format!("the configuration file {} is not valid", file.display())
            })?;
            given = given.merge(values);
        }
        let given = given
            .merge(Variables {
                keys: VARIABLES,
                environment,
            })
            .merge(Serialized::globals(args));
        let merged = Figment::from(Serialized::defaults(Config::default())).merge(&given);
        const INVALID: &str = "the configuration is not valid";
        let mut config: Config = merged.extract().map_err(explain).context(INVALID)?;
        config.plugins_dir_is_given = given.contains("plugins_dir");
        config
            .check()
            .map_err(|error| located(&error, &merged))
            .context(INVALID)?;
        Ok(config)
    }

    /// Checks the values beyond their types. An error begins with its key.
    fn check(&self) -> Result<()> {
        if self.start_timeout.to_std().is_none() {
            bail!(
                "start_timeout is {}; it must not be negative; 0 is no limit",
                self.start_timeout
            );
        }
        self.health.check()?;
        self.jobs.check(&self.app.timezone)?;
        self.cluster.check()?;
        if self.drain_delay() > DRAIN_DELAY_MAX {
            bail!(
                "drain_delay is {:?}; it must be 0s to {DRAIN_DELAY_MAX:?}",
                self.drain_delay()
            );
        }
        for (plugin, values) in &self.plugin_config {
            if let Some(key) = PROTECTED_KEYS.iter().find(|key| values.contains_key(**key)) {
                bail!("plugin_config.{plugin} has {key:?}, which only the host sets");
            }
        }
        if !(RESCAN_INTERVAL_MIN..=RESCAN_INTERVAL_MAX).contains(&self.rescan_interval()) {
            bail!(
                "rescan_interval is {}; it must be 1s to 1h",
                self.rescan_interval
            );
        }
        self.front().check()?;
        self.sandbox.check()?;
        crate::sections::check(self.databases.keys(), &self.http, self.mail.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use gk_runtime::limits::RESCAN_INTERVAL;

    use super::*;

    /// Merges without any environment variable.
    fn merged(args: &ServeArgs, file: Option<&Path>) -> Result<Config> {
        Config::merge(args, file, Vec::new())
    }

    /// A value of a variable is text, also where it looks like a number.
    #[test]
    fn variables_are_taken_as_they_are() {
        let with = |name: &str, value: &str| {
            Config::merge(&none(), None, vec![(name.into(), value.into())])
        };
        assert_eq!(
            with("GK_DATA_DIR", "2024").unwrap().data_dir,
            Path::new("2024")
        );
        let config = with("GK_LISTEN", "127.0.0.1:1,[::1]:2").unwrap();
        assert_eq!(listen(&config), "127.0.0.1:1 [::1]:2");
        assert!(
            with("GK_TRUST_DECLARED_PERMISSIONS", "true")
                .unwrap()
                .trust_declared_permissions
        );
        for name in ["GK_SECURE_KEYS_FILE", "GK_LISTEN", "GK_START_TIMEOUT"] {
            let empty = with(name, "").unwrap();
            assert!(
                merged(&none(), None)
                    .unwrap()
                    .differences(&empty)
                    .is_empty()
            );
        }
        for (name, value, why) in [
            ("GK_LISTEN", "8081", "no address to listen on"),
            ("GK_START_TIMEOUT", "5", "unit"),
            ("GK_START_TIMEOUT", "-1s", "must not be negative"),
            ("GK_TRUST_DECLARED_PERMISSIONS", "yes", "boolean"),
        ] {
            let error = format!("{:#}", with(name, value).unwrap_err());
            assert!(error.contains(name) && error.contains(why), "{error}");
        }
    }

    fn none() -> ServeArgs {
        ServeArgs::default()
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_flag_beats_the_file_and_the_file_the_default() {
        assert_eq!(merged(&none(), None).unwrap(), Config::default());
        let file = file(
            "listen = \"127.0.0.1:1\"\ndata_dir = \"/d\"\nlog_format = \"json\"\nstart_timeout = \"1m30s\"\nrescan_interval = \"1h\"\n",
        );
        let config = merged(&none(), Some(file.path())).unwrap();
        assert_eq!(Config::default().start_timeout(), Duration::from_secs(60));
        assert_eq!(config.start_timeout(), Duration::from_secs(90));
        assert_eq!(Config::default().rescan_interval(), RESCAN_INTERVAL);
        assert_eq!(config.rescan_interval(), RESCAN_INTERVAL_MAX);
        assert_eq!(
            (listen(&config), &*config.data_dir, config.log_format),
            ("127.0.0.1:1".into(), Path::new("/d"), LogFormat::Json)
        );
        let args = ServeArgs {
            listen: Some("127.0.0.1:2".parse().unwrap()),
            ..none()
        };
        let config = merged(&args, Some(file.path())).unwrap();
        assert_eq!(
            (listen(&config), &*config.data_dir),
            ("127.0.0.1:2".into(), Path::new("/d"))
        );
    }

    fn listen(config: &Config) -> String {
        let addresses = config.listen.as_ref().unwrap().0.iter();
        addresses
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn several_addresses_are_a_list_or_have_commas() {
        for text in [
            "listen = \"localhost:1, [::1]:2,unix:/x\"\n",
            "listen = [\"localhost:1\", \"[::1]:2\", \"unix:/x\"]\n",
        ] {
            let config = merged(&none(), Some(file(text).path())).unwrap();
            assert_eq!(listen(&config), "localhost:1 [::1]:2 unix:/x");
        }
        let args = ServeArgs {
            listen: Some(":1,unix:/x".parse().unwrap()),
            ..none()
        };
        let config = merged(&args, None).unwrap();
        assert_eq!(listen(&config), ":1 unix:/x");
    }

    #[test]
    fn a_variable_that_nothing_reads_is_noticed() {
        assert_eq!(unknown_variable("GK_LISTEN"), None);
        assert_eq!(unknown_variable("GK_ADMIN_TOKEN"), None);
        assert_eq!(unknown_variable("PATH"), None);
        for (name, meant) in [
            ("GK_LISTN", Some("GK_LISTEN")),
            ("GK_PLUGIN_DIR", Some("GK_PLUGINS_DIR")),
            ("GK_ADMIN_TOKN", Some("GK_ADMIN_TOKEN")),
            ("GK_COLOUR_SCHEME", None),
        ] {
            let found = unknown_variable(name);
            assert_eq!(found, Some(meant.map(str::to_owned)), "{name}");
        }
    }

    #[test]
    fn a_plugins_directory_that_was_named_must_exist() {
        let given = |args: &ServeArgs, file: Option<&Path>| {
            merged(args, file).unwrap().plugins_dir_is_given
        };
        assert!(!given(&none(), None));
        let file = file("plugins_dir = \"p\"\n");
        assert!(given(&none(), Some(file.path())));
        let args = ServeArgs {
            plugins_dir: Some("plugins".into()),
            ..none()
        };
        assert!(given(&args, None));
    }

    #[test]
    fn errors_say_what_and_where() {
        for (text, what) in [
            ("lissten = 1\n", "lissten"),
            ("listen = \"nowhere\"\n", "listen"),
            ("listen = \n", "TOML"),
            ("start_timeout = \"soon\"\n", "start_timeout"),
            ("start_timeout = \"-1s\"\n", "must not be negative"),
            ("[health]\nmisses = 0\n", "health.misses"),
            ("[health]\ntimeout = \"40s\"\n", "health.timeout"),
            (
                "[plugin_config.goat]\nwork_dir = \"/\"\n",
                "plugin_config.goat",
            ),
            ("rescan_interval = \"999ms\"\n", "rescan_interval"),
            ("rescan_interval = \"1h1s\"\n", "1s to 1h"),
            ("[signatures]\nrequired = \"yes\"\n", "required"),
            ("[signatures]\nrequire = true\n", "require"),
            ("[tls]\ncertificate = \"x\"\n", "key"),
            ("[cors]\norigin = \"x\"\n", "origin"),
            ("[cors]\norigins = [\"x\"]\n", "cors.origins"),
            ("[limits]\nmemory = 1\n", "memory"),
            ("[limits]\nmemory_mb = 1\n", "memory_mb"),
            ("trusted_proxies = [\"all\"]\n", "trusted_proxies"),
            ("socket_mode = \"rw\"\n", "socket_mode"),
            ("[limits]\nmemory_mb = \"x\"\n", "limits.memory_mb"),
            ("[sandbox]\nprocesses = 1\n", "sandbox.processes"),
            ("[databases]\n\"Bad Name\" = \"sqlite:x\"\n", "Bad Name"),
            ("[http]\nallow_networks = [\"x\"]\n", "allow_networks"),
            ("[mail]\nhost = \"h\"\nfrom = \"nonsense\"\n", "mail: from"),
            (
                "[mail]\nhost = \"h\"\nfrom = \"a@b.c\"\ntimeout = \"0s\"\n",
                "mail.timeout",
            ),
            (
                "[mail]\nhost = \"h\"\nfrom = \"a@b.c\"\nuser = \"u\"\n",
                "mail.password",
            ),
        ] {
            let file = file(text);
            let error = format!("{:#}", merged(&none(), Some(file.path())).unwrap_err());
            assert!(error.contains(what), "{text}: {error}");
            let place = file.path().to_str().unwrap();
            assert!(error.contains(place), "{text}: {error}");
            assert!(!error.contains("default."), "{text}: {error}");
        }
        let missing = merged(&none(), Some(Path::new("/nowhere.toml"))).unwrap_err();
        assert!(missing.to_string().contains("/nowhere.toml"));
    }
}
