//! Creates the services of the host API, as configured.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use gk_hostapi::Host;
use gk_hostapi::policy::Policies;
use gk_services::Services;
use gk_services::cache::{Cache, CacheConfig};
use gk_services::config::{AppSettings, Config as Settings};
use gk_services::db::{DatabaseConfig, Databases, DatabasesConfig};
use gk_services::files::Files;
use gk_services::http::{HttpClient, HttpConfig};
use gk_services::i18n::Catalogue;
use gk_services::kv::{Kv, KvQuota};
use gk_services::secure::{SecureConfig, SecureKeys};
use gk_services::store::Store;

use crate::cluster::Cluster;
use crate::config::Config;
use crate::sections::{Hidden, HttpSection, mailer, no_network};
use crate::sources::process_variable;

/// File of the store of policies, secrets, keys and values, in the data directory.
const STORE_FILE: &str = "hostapi.db";
/// File of the plugins' database if no other is configured, in the data directory.
const DATABASE_FILE: &str = "plugins.db";
/// Directory of the plugins' files, in the data directory.
const FILES_DIR: &str = "files";
/// Upstream's variable with the keys that secrets are encrypted with.
const SECURE_KEY_VARIABLE: &str = "GOATFLOW_SECURE_KEY";

/// Opens all services, and the store that they share. Those that are reached over a network are not connected to yet.
pub(crate) async fn open(
    config: &Config,
    cluster: Option<&Cluster>,
) -> Result<(Arc<Host>, Arc<Services>, Store)> {
    let data_dir = &config.data_dir;
    let store = Store::open(&data_dir.join(STORE_FILE)).with_context(|| {
        format!(
            "the store {} cannot be opened",
            data_dir.join(STORE_FILE).display()
        )
    })?;
    if config.trust_declared_permissions {
        tracing::warn!(
            "plugins without a stored policy are granted everything they declare (trust_declared_permissions)"
        );
    }
    let trusts = config.trust_declared_permissions;
    let quota = KvQuota::default();
    let keys = secure_keys(config)?;
    let database = cluster.map(|cluster| cluster.member.database());
    let (policies, secure, kv) = match database {
        Some(database) => (
            Policies::new(database.clone(), trusts),
            SecureConfig::new(database.clone(), keys),
            Kv::new(database.clone(), quota),
        ),
        None => (
            Policies::new(store.clone(), trusts),
            SecureConfig::new(store.clone(), keys),
            Kv::new(store.clone(), quota),
        ),
    };
    if database.is_some() {
        check_keys(&secure).await?;
    }
    policies
        .load()
        .await
        .context("the stored policies cannot be read")?;
    let files = match cluster {
        Some(cluster) => Files::new(cluster.files.clone()),
        None => {
            Files::open(&data_dir.join(FILES_DIR)).context("the directory of the plugins' files")?
        }
    };
    let services = Services {
        db: Arc::new(databases(config, data_dir)?),
        cache: Arc::new(open_cache(config)?),
        http: Arc::new(http(&config.http)?),
        mail: config.mail.as_ref().map(mailer).transpose()?.map(Arc::new),
        config: Arc::new(settings(config)),
        secure: Arc::new(secure),
        i18n: Arc::new(Catalogue::new()),
        files: Arc::new(files),
        kv: Arc::new(kv),
        events: cluster.map_or_else(Arc::default, |cluster| Arc::clone(&cluster.events)),
    };
    let mut host = Host::new(Arc::new(policies));
    services.install(&mut host)?;
    if let Some(cluster) = cluster {
        host.share_rates(Arc::clone(&cluster.rates) as _);
    }
    Ok((Arc::new(host), Arc::new(services), store))
}

/// Opens the cache: the one that is configured, else that of the hosts that share one.
fn open_cache(config: &Config) -> Result<Cache> {
    let shared = config.cluster.urls();
    let cache = CacheConfig::default();
    match (&config.cache_url, shared) {
        (Some(Hidden(url)), _) => Cache::redis(url, cache).context("cache_url"),
        (None, Some(shared)) => Cache::redis(&shared.redis.0, cache).context("cluster.redis_url"),
        (None, None) => Ok(Cache::memory(cache)),
    }
}

/// Refuses keys that lack one that another host has encrypted secrets with.
async fn check_keys(secure: &SecureConfig) -> Result<()> {
    let missing = secure.missing_keys().await;
    let missing = missing.context("the stored secrets cannot be read")?;
    if !missing.is_empty() {
        bail!(
            "secrets in the shared database are encrypted with the keys {}, which this host does not have; give it the keys of the other hosts (secure_keys_file or {SECURE_KEY_VARIABLE})",
            missing.join(", ")
        );
    }
    Ok(())
}

fn databases(config: &Config, data_dir: &Path) -> Result<Databases> {
    let default = match &config.database_url {
        Some(Hidden(url)) => url.clone(),
        None => format!("sqlite:{}", data_dir.join(DATABASE_FILE).display()),
    };
    let mut databases = DatabasesConfig::default();
    databases.default = Some(DatabaseConfig::new(default));
    databases.named = config
        .databases
        .iter()
        .map(|(name, Hidden(url))| (name.clone(), DatabaseConfig::new(url.clone())))
        .collect();
    Databases::open(&databases).context("the databases (database_url, [databases])")
}

fn http(section: &HttpSection) -> Result<HttpClient> {
    let mut config = HttpConfig::default();
    for network in &section.allow_networks {
        let parsed = network.parse().with_context(|| no_network(network))?;
        config.allow_networks.push(parsed);
    }
    HttpClient::new(config).context("[http]")
}

fn settings(config: &Config) -> Settings {
    let app = AppSettings {
        name: config.app.name.clone(),
        timezone: config.app.timezone.clone(),
        env: config.app.env.clone(),
    };
    Settings::new(app, config.settings.clone())
}

/// Returns the keys for secrets; the file takes precedence over the variable. Without either,
/// secrets are refused with a text that names the remedy.
fn secure_keys(config: &Config) -> Result<Option<SecureKeys>> {
    if let Some(file) = &config.secure_keys_file {
        let keys = SecureKeys::from_file(file);
        return keys
            .map(Some)
            .with_context(|| format!("secure_keys_file {}", file.display()));
    }
    let Some(text) = process_variable(SECURE_KEY_VARIABLE) else {
        return Ok(None);
    };
    let text = text
        .into_string()
        .ok()
        .with_context(|| format!("{SECURE_KEY_VARIABLE} is not text"))?;
    SecureKeys::parse(&text)
        .map(Some)
        .context(SECURE_KEY_VARIABLE)
}
