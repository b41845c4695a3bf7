//! An index of plugins, in the marketplace's format (version 1).
//!
//! What an index says is an offer and proves nothing: its `verified` and its `public_key` are not
//! looked at. A package counts by its signature and the operator's keys.

use std::path::Path;

use clap::Args;
use semver::Version;
use serde::{Deserialize, Serialize};

use super::fetch;
use crate::client::context::Config;
use crate::failure::{Exit, Failure};
use crate::terminal::Terminal;

/// The largest index, in bytes.
const INDEX_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Base of the URLs of releases, unless an index names an URL itself.
const RELEASES: &str = "https://github.com";

/// Upstream's variable.
const VARIABLE: &str = "GOATFLOW_MARKETPLACE_URL";

/// Options that say which index is meant.
#[derive(Debug, Clone, Args)]
pub(crate) struct IndexArgs {
    /// The index: an URL or a file; else GK_INDEX, GOATFLOW_MARKETPLACE_URL, or `index` in the
    /// configuration.
    #[arg(long, value_name = "PLACE", env = "GK_INDEX", hide_env_values = true)]
    index: Option<String>,
}

/// A list of packages that can be installed, as a server publishes it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Index {
    /// Of the format.
    version: u32,
    /// Plugins that the index offers.
    #[serde(default)]
    pub(crate) plugins: Vec<Entry>,
    /// Place of the index, to which relative URLs are relative.
    #[serde(skip)]
    place: String,
}

/// A plugin on offer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) author: String,
    pub(crate) licence: String,
    pub(crate) homepage: String,
    /// `owner/name`.
    pub(crate) repo: String,
    pub(crate) category: String,
    pub(crate) tags: Vec<String>,
    pub(crate) latest_version: String,
    pub(crate) min_host_version: String,
    pub(crate) versions: Vec<Offered>,
    pub(crate) runtime: String,
    pub(crate) dependencies: Vec<String>,
}

/// A version on offer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Offered {
    pub(crate) version: String,
    pub(crate) min_host_version: String,
    pub(crate) released_at: String,
    /// Place of the package, relative to the index. Without it, a release of the repository.
    pub(crate) url: String,
    /// The package's SHA-256.
    pub(crate) sha256: String,
}

/// Reads a version as indexes write it: with or without a `v`.
pub(crate) fn version(text: &str) -> Option<Version> {
    Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()
}

impl IndexArgs {
    /// Whether any index is known.
    pub(crate) fn place(&self) -> Result<Option<String>, Failure> {
        let variable = std::env::var(VARIABLE)
            .ok()
            .filter(|value| !value.is_empty());
        match self.index.clone().or(variable) {
            Some(place) => Ok(Some(place)),
            None => Ok(Config::load()?.index),
        }
    }

    /// Reads the index.
    pub(crate) fn load(&self, terminal: &Terminal) -> Result<Index, Failure> {
        let place = self.place()?.ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                "no index of plugins is named",
                "give --index, or set GK_INDEX, to an URL or a file; or install a file, a directory or an URL",
            )
        })?;
        let bytes = fetch::read(&place, INDEX_BYTES_MAX, terminal)?;
        let name = fetch::shown(&place);
        let mut index: Index = serde_json::from_slice(&bytes).map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("{name} is no index: {error}"),
                "check that it is what you mean",
            )
        })?;
        if index.version != 1 {
            return Err(Failure::new(
                Exit::Failed,
                format!(
                    "{name} is an index of version {}; this gk reads version 1",
                    index.version
                ),
                "use a newer gk",
            ));
        }
        index.place = place;
        Ok(index)
    }
}

impl Index {
    /// The plugin of that name.
    pub(crate) fn get(&self, name: &str) -> Result<&Entry, Failure> {
        let found = self.plugins.iter().find(|entry| entry.name == name);
        found.ok_or_else(|| {
            Failure::new(
                Exit::NotFound,
                format!(
                    "the index {} has no plugin {name:?}",
                    fetch::shown(&self.place)
                ),
                "gk search lists what it has",
            )
        })
    }

    /// Plugins that have a text in name, description or tags, whatever its case.
    pub(crate) fn search(&self, text: &str) -> Vec<&Entry> {
        let text = text.to_lowercase();
        let has = |field: &str| field.to_lowercase().contains(&text);
        let entries = self.plugins.iter().filter(|entry| {
            has(&entry.name) || has(&entry.description) || entry.tags.iter().any(|tag| has(tag))
        });
        entries.collect()
    }

    /// The URL of a version's package.
    pub(crate) fn url_of(&self, entry: &Entry, offered: &Offered) -> Result<String, Failure> {
        if !offered.url.is_empty() {
            if !fetch::is_url(&self.place) && !fetch::is_url(&offered.url) {
                let directory = Path::new(&self.place).parent().unwrap_or(Path::new("."));
                return Ok(directory.join(&offered.url).to_string_lossy().into_owned());
            }
            let refused = |exit, why: &dyn std::fmt::Display| {
                Failure::new(
                    exit,
                    format!("the package of {} is not fetched: {why}", entry.name),
                    "tell the index's author",
                )
            };
            // Relative to the index.
            let base = reqwest::Url::parse(&self.place).ok();
            let url = reqwest::Url::options()
                .base_url(base.as_ref())
                .parse(&offered.url)
                .map_err(|error| refused(Exit::Failed, &error))?;
            let is_secure = base.is_some_and(|base| base.scheme() == "https");
            return match url.scheme() {
                "https" => Ok(url.into()),
                "http" if !is_secure => Ok(url.into()),
                scheme => Err(refused(
                    Exit::Denied,
                    &format!("the index leads to {scheme}, where anybody could change it"),
                )),
            };
        }
        let sane = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
                && part != ".."
        };
        let repository = entry.repo.split_once('/');
        match repository.filter(|(owner, name)| sane(owner) && sane(name)) {
            Some(_) => {
                let version = offered.version.trim_start_matches('v');
                Ok(format!(
                    "{RELEASES}/{}/releases/download/v{version}/{}.zip",
                    entry.repo, entry.name
                ))
            }
            None => Err(Failure::new(
                Exit::Failed,
                format!("the index does not say where {} is", entry.name),
                "tell the index's author; or install a file or an URL",
            )),
        }
    }
}

impl Entry {
    /// All versions, the newest first. An entry without a list has its latest one.
    pub(crate) fn offers(&self) -> Vec<Offered> {
        let mut all = self.versions.clone();
        if all.is_empty() && !self.latest_version.is_empty() {
            all.push(Offered {
                version: self.latest_version.clone(),
                min_host_version: self.min_host_version.clone(),
                ..Offered::default()
            });
        }
        all.retain(|offered| version(&offered.version).is_some());
        all.sort_by_key(|offered| std::cmp::Reverse(version(&offered.version)));
        all
    }

    /// The version that is asked for, or the newest one that runs on a host of this version.
    pub(crate) fn choose(&self, wanted: Option<&str>, host: &str) -> Result<Offered, Failure> {
        let offers = self.offers();
        let name = &self.name;
        let Some(wanted) = wanted else {
            let fits = offers.into_iter().find(|offered| self.fits(offered, host));
            return fits.ok_or_else(|| {
                Failure::new(
                    Exit::Failed,
                    format!("no version of {name} runs on a host of version {host}"),
                    format!("update the host; gk search {name} shows what each version needs"),
                )
            });
        };
        let same = |offered: &Offered| version(&offered.version) == version(wanted);
        let offered = offers.into_iter().find(same).ok_or_else(|| {
            Failure::new(
                Exit::NotFound,
                format!("the index has no version {wanted} of {name}"),
                format!("gk search {name} -o wide lists its versions"),
            )
        })?;
        match self.fits(&offered, host) {
            true => Ok(offered),
            false => Err(Failure::new(
                Exit::Failed,
                format!(
                    "{name} {wanted} needs a host of version {}, and this one is {host}",
                    self.needs(&offered)
                ),
                "update the host, or install an older version",
            )),
        }
    }

    /// The host that a version needs.
    pub(crate) fn needs(&self, offered: &Offered) -> String {
        match offered.min_host_version.is_empty() {
            true => self.min_host_version.clone(),
            false => offered.min_host_version.clone(),
        }
    }

    fn fits(&self, offered: &Offered, host: &str) -> bool {
        let needs = version(&self.needs(offered));
        match (needs, version(host)) {
            (Some(needs), Some(host)) => needs <= host,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let mut index: Index = serde_json::from_str(
            r#"{"version":1,"updated_at":"x","plugins":[{"name":"tickets","description":"Help desk","repo":"goat/tickets",
            "tags":["support"],"latest_version":"2.0.0","versions":[
              {"version":"v1.9.0","min_host_version":"0.1.0"},
              {"version":"2.0.0","min_host_version":"9.0.0","url":"files/tickets-2.0.0.zip"},
              {"version":"1.10.0","min_host_version":"0.1.0"}]},
            {"name":"bare","latest_version":"1.0.0","repo":"../x"}]}"#,
        )
        .unwrap();
        index.place = "https://plugins.example/all/index.json".into();
        index
    }

    #[test]
    fn the_newest_version_that_runs_is_chosen() {
        let index = index();
        let tickets = index.get("tickets").unwrap();
        assert_eq!(tickets.choose(None, "0.1.0").unwrap().version, "1.10.0");
        assert_eq!(
            tickets.choose(Some("1.9.0"), "0.1.0").unwrap().version,
            "v1.9.0"
        );
        assert_eq!(
            tickets.choose(Some("2.0.0"), "0.1.0").unwrap_err().exit(),
            Exit::Failed
        );
        assert_eq!(
            tickets.choose(Some("3.0.0"), "0.1.0").unwrap_err().exit(),
            Exit::NotFound
        );
        assert_eq!(tickets.choose(None, "9.1.0").unwrap().version, "2.0.0");
        assert_eq!(index.get("none").unwrap_err().exit(), Exit::NotFound);
    }

    #[test]
    fn a_package_is_where_the_index_says_or_at_a_release() {
        let index = index();
        let tickets = index.get("tickets").unwrap();
        let of = |version: &str, host: &str| {
            let offered = tickets.choose(Some(version), host).unwrap();
            index.url_of(tickets, &offered).unwrap()
        };
        assert_eq!(
            of("2.0.0", "9.0.0"),
            "https://plugins.example/all/files/tickets-2.0.0.zip"
        );
        assert_eq!(
            of("1.9.0", "0.1.0"),
            "https://github.com/goat/tickets/releases/download/v1.9.0/tickets.zip"
        );
        let mut elsewhere = tickets.choose(Some("2.0.0"), "9.0.0").unwrap();
        for url in [
            "http://plugins.example/x.zip",
            "HTTP://127.0.0.1/x.zip",
            "file:///x.zip",
        ] {
            url.clone_into(&mut elsewhere.url);
            let failure = index.url_of(tickets, &elsewhere).unwrap_err();
            assert_eq!(failure.exit(), Exit::Denied, "{url}");
        }
        let bare = index.get("bare").unwrap();
        let offered = bare.choose(None, "0.1.0").unwrap();
        assert!(index.url_of(bare, &offered).is_err());
    }

    #[test]
    fn a_search_looks_at_name_description_and_tags() {
        let index = index();
        for text in ["TICK", "desk", "Support"] {
            assert_eq!(index.search(text).len(), 1, "{text}");
        }
        assert_eq!(index.search("").len(), 2);
        assert!(index.search("nothing").is_empty());
    }
}
