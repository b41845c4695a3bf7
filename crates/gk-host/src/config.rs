//! Configuration: a flag beats the environment (`GK_…`), that beats the file, that beats the default.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};

/// The flags of `gk-host serve`. Each is also a variable (`GK_PLUGINS_DIR`, …) and a key of the file.
#[derive(Debug, Args, Serialize)]
pub(crate) struct ServeArgs {
    /// Directory that holds one directory per plugin [default: plugins]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) plugins_dir: Option<PathBuf>,

    /// Directory for the host's data: database, admin token, the plugins' work directories [default: data]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Address to listen on; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) listen: Option<SocketAddr>,

    /// Form of the log on stderr [default: text]
    #[arg(long, value_name = "FORM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_format: Option<LogFormat>,

    /// What is logged: a level, or directives as `info,gk_runtime=debug` [default: info]
    #[arg(long, value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log: Option<String>,

    /// TOML file with the same names as the flags, with _ for -; GK_CONFIG names it, too
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) config: Option<PathBuf>,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What `gk-host serve` runs with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) plugins_dir: PathBuf,
    pub(crate) data_dir: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) log_format: LogFormat,
    pub(crate) log: String,
}

/// The variables that are configuration; other `GK_…` ones are not.
const VARIABLES: &[&str] = &["plugins_dir", "data_dir", "listen", "log_format", "log"];

impl Default for Config {
    fn default() -> Self {
        Config {
            plugins_dir: "plugins".into(),
            data_dir: "data".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            log_format: LogFormat::Text,
            log: "info".into(),
        }
    }
}

impl Config {
    /// Puts all sources together. An error says which source it is in.
    pub(crate) fn load(args: &ServeArgs) -> Result<Self> {
        let file = args
            .config
            .clone()
            .or_else(|| std::env::var_os("GK_CONFIG").map(PathBuf::from));
        Self::merge(args, file.as_deref())
    }

    fn merge(args: &ServeArgs, file: Option<&Path>) -> Result<Self> {
        let mut figment = Figment::from(Serialized::defaults(Config::default()));
        if let Some(file) = file {
            if !file.is_file() {
                bail!(
                    "the configuration file {} does not exist or is no file",
                    file.display()
                );
            }
            figment = figment.merge(Toml::file_exact(file));
        }
        let environment = Env::prefixed("GK_").only(VARIABLES);
        let merged = figment.merge(environment).merge(Serialized::globals(args));
        merged.extract().context("the configuration is not valid")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> ServeArgs {
        ServeArgs {
            plugins_dir: None,
            data_dir: None,
            listen: None,
            log_format: None,
            log: None,
            config: None,
        }
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_flag_beats_the_file_and_the_file_the_default() {
        assert_eq!(Config::merge(&none(), None).unwrap(), Config::default());
        let file = file("listen = \"127.0.0.1:1\"\ndata_dir = \"/d\"\nlog_format = \"json\"\n");
        let config = Config::merge(&none(), Some(file.path())).unwrap();
        assert_eq!(
            (config.listen.port(), &*config.data_dir, config.log_format),
            (1, Path::new("/d"), LogFormat::Json)
        );
        let args = ServeArgs {
            listen: Some("127.0.0.1:2".parse().unwrap()),
            ..none()
        };
        let config = Config::merge(&args, Some(file.path())).unwrap();
        assert_eq!(
            (config.listen.port(), &*config.data_dir),
            (2, Path::new("/d"))
        );
    }

    #[test]
    fn errors_say_what_and_where() {
        for (text, what) in [
            ("lissten = 1\n", "lissten"),
            ("listen = \"nowhere\"\n", "listen"),
            ("listen = \n", "TOML"),
        ] {
            let file = file(text);
            let error = format!(
                "{:#}",
                Config::merge(&none(), Some(file.path())).unwrap_err()
            );
            assert!(error.contains(what), "{text}: {error}");
        }
        let missing = Config::merge(&none(), Some(Path::new("/nowhere.toml"))).unwrap_err();
        assert!(missing.to_string().contains("/nowhere.toml"));
    }
}
