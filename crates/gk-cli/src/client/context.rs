//! Which host is meant: options, environment, configuration, or the socket of a host on this
//! machine.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::{Args, FromArgMatches};
use clap_complete::{ArgValueCompleter, CompletionCandidate};
use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure};

/// The host that is meant if nothing says otherwise, and no socket is there.
const URL_DEFAULT: &str = "http://127.0.0.1:8080";

/// Place of a host's socket below the directory in which it was started.
const BELOW: &[&str] = &["data/admin.sock", "target/data/admin.sock"];

/// Place of the socket of a host that is a service.
const OF_SERVICE: &[&str] = &["/run/goatkit/admin.sock", "/var/lib/goatkit/admin.sock"];

/// All of these places, in words.
const NOWHERE: &str = "data/admin.sock in this directory and those above, /run/goatkit/admin.sock, /var/lib/goatkit/admin.sock";

/// Where a host of this machine may have its socket: below the working directory or one above it,
/// as a plugin's directory is in one where its author started the host, or as a service. And
/// whether the owner of the directory is trusted: only root makes directories for services.
fn sockets() -> Vec<(PathBuf, bool)> {
    let mut places = Vec::new();
    let here = std::env::current_dir().unwrap_or_default();
    for directory in here.ancestors() {
        // As people write it.
        let directory = if directory == here {
            Path::new("")
        } else {
            directory
        };
        places.extend(BELOW.iter().map(|path| (directory.join(path), false)));
    }
    places.extend(OF_SERVICE.iter().map(|path| (PathBuf::from(path), true)));
    places
}

/// Options that say which host is meant.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ConnectArgs {
    /// The host: an URL, or unix:/path of its local socket.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "GK_URL",
        hide_env_values = true,
        help_heading = "Host"
    )]
    url: Option<String>,
    /// A file with the token.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Host")]
    token_file: Option<PathBuf>,
    /// One of the hosts in the configuration (`gk context list`).
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "GK_CONTEXT",
        help_heading = "Host",
        add = ArgValueCompleter::new(complete_contexts)
    )]
    context: Option<String>,
}

/// Address of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Behind its local socket, where no token is needed.
    Socket(PathBuf),
    /// Behind an URL without user, query and fragment.
    Url(Url),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Socket(path) => write!(f, "unix:{}", path.display()),
            Place::Url(url) => f.write_str(url.as_str().trim_end_matches('/')),
        }
    }
}

/// A host, and who asks it.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) place: Place,
    pub(crate) token: Option<String>,
    /// Sockets that were there and were not taken, and why.
    pub(crate) passed_over: Vec<String>,
}

/// A host of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// URL of the host, or `unix:/path`.
    pub(crate) url: String,
    /// A file with the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
}

/// `config.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The host that is meant if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// The hosts, by name.
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
    /// The index of plugins: an URL or a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<String>,
}

/// The directory of gk's configuration: `$XDG_CONFIG_HOME/gk`, or `~/.config/gk`. A relative path
/// counts as unset, as the XDG base directory specification asks.
pub(crate) fn config_dir() -> Result<PathBuf, Failure> {
    let variable = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let config = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")));
    config.map(|config| config.join("gk")).ok_or_else(|| {
        Failure::new(
            Exit::Failed,
            "there is no directory for gk's configuration and keys: neither XDG_CONFIG_HOME nor HOME is an absolute path",
            "set HOME",
        )
    })
}

impl Config {
    fn path() -> Result<PathBuf, Failure> {
        Ok(config_dir()?.join("config.toml"))
    }

    /// The configuration; the default where there is none.
    pub(crate) fn load() -> Result<Self, Failure> {
        // Without a home, as in a service, there is none.
        let Ok(path) = Self::path() else {
            return Ok(Self::default());
        };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(Failure::file("read", &path, &error)),
        };
        toml::from_str(&text).map_err(|error| {
            Failure::new(
                Exit::Usage,
                format!("{}: {}", path.display(), error.to_string().trim_end()),
                "correct the file, or remove it and begin anew with `gk context set`",
            )
        })
    }

    /// Writes the configuration: whole at any moment, and for its owner alone.
    pub(crate) fn store(&self) -> Result<(), Failure> {
        let path = Self::path()?;
        let failed = |error: std::io::Error| Failure::file("write", &path, &error);
        let directory = config_dir()?;
        fs::create_dir_all(&directory).map_err(failed)?;
        let text = toml::to_string(self).map_err(|error| failed(std::io::Error::other(error)))?;
        let new = path.with_extension("toml.new");
        let _ = fs::remove_file(&new);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)
            .map_err(failed)?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&new, &path))
            .map_err(failed)
    }
}

/// The names of the contexts that begin like this.
pub(crate) fn complete_contexts(current: &OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let contexts = Config::load().unwrap_or_default().contexts;
    let candidates = contexts.into_iter().filter_map(|(name, context)| {
        let fits = name.starts_with(&*current);
        fits.then(|| CompletionCandidate::new(name).help(Some(context.url.into())))
    });
    candidates.collect()
}

impl ConnectArgs {
    /// What the command line says that a shell wants to complete: it comes after `--`, and is not
    /// whole.
    pub(crate) fn of_completion() -> Self {
        let mut words = std::env::args_os().skip_while(|word| word != "--").skip(1);
        let command = Self::augment_args(clap::Command::new("gk")).no_binary_name(true);
        let known: Vec<_> = command
            .get_arguments()
            .filter_map(|arg| Some(format!("--{}", arg.get_long()?)))
            .collect();
        let mut own = Vec::new();
        while let Some(word) = words.next() {
            let text = word.to_string_lossy();
            let name = text.split('=').next().unwrap_or_default();
            if known.iter().any(|known| known == name) {
                let value = if text.contains('=') {
                    None
                } else {
                    words.next()
                };
                own.push(word);
                own.extend(value);
            }
        }
        let matches = command.try_get_matches_from(own);
        matches
            .and_then(|matches| Self::from_arg_matches(&matches))
            .unwrap_or_default()
    }

    /// The host that is meant: `--context`, then `--url`, then the environment (GK_CONTEXT,
    /// GK_URL), then the current context, then a socket of this machine, then the usual address.
    pub(crate) fn target(&self) -> Result<Target, Failure> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let config = Config::load()?;
        let named = self.context.clone().or_else(|| variable("GK_CONTEXT"));
        let url = self.url.clone().or_else(|| variable("GK_URL"));
        let name = match (&named, &url) {
            (Some(name), _) => Some(name.clone()),
            (None, Some(_)) => None,
            (None, None) => config.current.clone(),
        };
        let context = match name {
            None => None,
            Some(name) => Some(config.contexts.get(&name).cloned().ok_or_else(|| {
                let known: Vec<_> = config.contexts.keys().map(String::as_str).collect();
                let help = match known.as_slice() {
                    [] => "make one: gk context set NAME URL".to_owned(),
                    known => format!("there are: {}", known.join(", ")),
                };
                Failure::new(
                    Exit::NotFound,
                    format!("there is no context {name:?}"),
                    help,
                )
            })?),
        };
        let mut passed_over = Vec::new();
        let place = match (&context, &url) {
            (Some(context), _) => place(&context.url)?,
            (None, Some(url)) => place(url)?,
            // A caller with a token does not mean a local socket, which needs none.
            (None, None) if self.token_file.is_some() => place(URL_DEFAULT)?,
            (None, None) => match discovered(&sockets(), &mut passed_over) {
                Some(path) => Place::Socket(path),
                None => {
                    if passed_over.is_empty() {
                        passed_over.push(format!("{NOWHERE} (no socket is there)"));
                    }
                    place(URL_DEFAULT)?
                }
            },
        };
        let token_file = self.token_file.clone().or_else(|| {
            context
                .as_ref()
                .and_then(|context| context.token_file.clone())
        });
        // The variable's is for hosts in general: a socket gets a token only if it is given for it.
        let general = variable("GK_TOKEN").filter(|_| matches!(place, Place::Url(_)));
        let token = match (&self.token_file, general) {
            (None, Some(token)) => Some(token),
            _ => token_file.as_deref().map(read_token).transpose()?,
        };
        if let (Place::Url(url), Some(_)) = (&place, &token) {
            check_secure(url)?;
        }
        Ok(Target {
            place,
            token,
            passed_over,
        })
    }
}

/// The first of these sockets behind which a host listens that may be trusted: who can make files
/// in the working directory must not become the host.
fn discovered(sockets: &[(PathBuf, bool)], passed_over: &mut Vec<String>) -> Option<PathBuf> {
    for (path, trusts_directory) in sockets {
        match probe(path, *trusts_directory) {
            Ok(()) => return Some(path.clone()),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) => {}
            Err(error) => passed_over.push(format!("{} ({error})", path.display())),
        }
    }
    None
}

/// Whether a socket is one's own, root's or, where that is trusted, that of its directory's owner;
/// and so is the process that listens.
fn probe(path: &Path, trusts_directory: bool) -> std::io::Result<()> {
    let foreign = |what| std::io::Error::new(std::io::ErrorKind::PermissionDenied, what);
    let own = rustix::process::geteuid().as_raw();
    let mut trusted = vec![0, own];
    if let (true, Some(directory)) = (trusts_directory, path.parent()) {
        trusted.push(fs::symlink_metadata(directory)?.uid());
    }
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.file_type().is_socket() {
        return Err(foreign("it is no socket"));
    }
    if !trusted.contains(&metadata.uid()) {
        return Err(foreign("it is another user's"));
    }
    let peer = {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        runtime.block_on(async { tokio::net::UnixStream::connect(path).await?.peer_cred() })?
    };
    match trusted.contains(&peer.uid()) {
        true => Ok(()),
        false => Err(foreign("another user listens there")),
    }
}

/// Returns `true` if an URL leads to this machine, by its name or address.
pub(crate) fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// A token is not sent over a network that others can read.
fn check_secure(url: &Url) -> Result<(), Failure> {
    let allowed = std::env::var_os("GK_ALLOW_HTTP").is_some_and(|value| value == "1");
    match url.scheme() == "https" || is_here(url) || allowed {
        true => Ok(()),
        false => Err(Failure::new(
            Exit::Denied,
            format!(
                "the token is not sent to {}: everybody on the way could read it",
                Place::Url(url.clone())
            ),
            "use https, a tunnel to localhost, or GK_ALLOW_HTTP=1 where the network is your own",
        )),
    }
}

/// Reads a place as people write it.
pub(crate) fn place(text: &str) -> Result<Place, Failure> {
    if let Some(path) = text.strip_prefix("unix:") {
        if !path.is_empty() {
            return Ok(Place::Socket(PathBuf::from(path)));
        }
    } else if let Ok(url) = Url::parse(text)
        && matches!(url.scheme(), "http" | "https")
    {
        let has_more = !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some();
        return match has_more {
            false => Ok(Place::Url(url)),
            true => Err(Failure::new(
                Exit::Usage,
                "the host's URL has a user, a query or a fragment",
                "write scheme, name, port and path alone; a token is given by --token-file or GK_TOKEN",
            )),
        };
    }
    Err(Failure::new(
        Exit::Usage,
        format!("{text:?} is no host"),
        "write http://127.0.0.1:8080, https://goat.example, or unix:/path/of/admin.sock",
    ))
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::file("read the token in", path, &error))?;
    let open = fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0);
    if open {
        return Err(Failure::new(
            Exit::Denied,
            format!("others can read the token in {}", path.display()),
            format!("run: chmod 600 {}", path.display()),
        ));
    }
    let token = text.trim();
    match token.is_empty() || token.contains(char::is_whitespace) {
        false => Ok(token.to_owned()),
        true => Err(Failure::new(
            Exit::Usage,
            format!("{} does not hold one token", path.display()),
            "put the token alone into the file",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn places_are_read_as_people_write_them() {
        assert_eq!(
            place("https://goat.example/").unwrap(),
            Place::Url(url("https://goat.example"))
        );
        let place_of = |text| place(text).unwrap().to_string();
        assert_eq!(place_of("http://[::1]:80/sub/"), "http://[::1]/sub");
        assert_eq!(
            place("unix:/run/a.sock").unwrap(),
            Place::Socket("/run/a.sock".into())
        );
        for wrong in [
            "",
            "goat.example",
            "unix:",
            "http://",
            "ftp://a",
            "https://user@goat.example",
            "http://localhost:x@goat.example/",
            "https://goat.example/?a=b",
        ] {
            assert_eq!(place(wrong).unwrap_err().exit(), Exit::Usage, "{wrong}");
        }
    }

    #[test]
    fn a_token_does_not_go_where_others_read_it() {
        for here in [
            "https://a.example",
            "http://localhost:8080",
            "http://127.0.0.1",
            "http://127.1.2.3",
            "http://[::1]:1/x",
        ] {
            check_secure(&url(here)).unwrap();
        }
        for elsewhere in [
            "http://a.example",
            "http://10.0.0.1:8080",
            "http://127.0.0.1.example",
            "http://localhost:x@a.example/",
        ] {
            let failure = check_secure(&url(elsewhere)).unwrap_err();
            assert_eq!(failure.exit(), Exit::Denied, "{elsewhere}");
        }
    }

    #[test]
    fn a_socket_is_found_where_a_trusted_host_listens() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let (stale, live, file, link) = (path("stale"), path("live"), path("file"), path("link"));
        drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
        let _listener = std::os::unix::net::UnixListener::bind(&live).unwrap();
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&live, &link).unwrap();
        let found = |names: &[&Path]| {
            let mut passed_over = Vec::new();
            let sockets: Vec<_> = names
                .iter()
                .map(|path| (path.to_path_buf(), false))
                .collect();
            (discovered(&sockets, &mut passed_over), passed_over.len())
        };
        assert_eq!(found(&[&path("none")]), (None, 0));
        assert_eq!(
            found(&[&path("none"), &stale, &file, &link, &live]),
            (Some(live), 3)
        );
        assert_eq!(found(&[&stale]), (None, 1));
    }
}
