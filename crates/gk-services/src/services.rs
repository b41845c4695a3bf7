//! The services of a host, all together.

use std::sync::Arc;

use gk_hostapi::{Host, HostError, MethodSpec, ServiceMethod};
use gk_manifest::PluginName;

use crate::cache::{self, Cache};
use crate::clock::{self, Clock};
use crate::config::{self, Config};
use crate::db::{self, Databases};
#[cfg(feature = "smtp")]
use crate::email::{self, Mailbox, Mailer};
use crate::events::{self, Events};
#[cfg(feature = "files")]
use crate::files::{self, Files};
#[cfg(feature = "http")]
use crate::http::{self, HttpClient};
use crate::i18n::{self, Catalogue};
#[cfg(feature = "sqlite")]
use crate::kv::{self, Kv};
#[cfg(feature = "sqlite")]
use crate::secure::{self, SecureConfig};

/// The services of a host. A plugin reaches them through the guard of the [`Host`] that they are
/// [installed](Self::install) in; the host itself uses them directly.
#[derive(Debug, Clone)]
pub struct Services {
    /// Databases.
    pub db: Arc<Databases>,
    /// Values that expire, in memory or in Redis.
    pub cache: Arc<Cache>,
    /// Outgoing HTTP.
    #[cfg(feature = "http")]
    pub http: Arc<HttpClient>,
    /// Mail, where a server is configured.
    #[cfg(feature = "smtp")]
    pub mail: Option<Arc<Mailer>>,
    /// Configuration that plugins may read.
    pub config: Arc<Config>,
    /// Secrets.
    #[cfg(feature = "sqlite")]
    pub secure: Arc<SecureConfig>,
    /// Translations.
    pub i18n: Arc<Catalogue>,
    /// Files that plugins store by key.
    #[cfg(feature = "files")]
    pub files: Arc<Files>,
    /// Keys and values.
    #[cfg(feature = "sqlite")]
    pub kv: Arc<Kv>,
    /// Events that plugins publish to their subscribers.
    pub events: Arc<Events>,
}

/// The methods of services that are not compiled in.
const ABSENT: &[&[&str]] = &[
    #[cfg(not(feature = "http"))]
    &["http_request"],
    #[cfg(not(feature = "smtp"))]
    &["send_email"],
    #[cfg(not(feature = "files"))]
    &["delete_file", "get_file", "list_files", "store_file"],
    #[cfg(not(feature = "sqlite"))]
    &[
        "kv_delete",
        "kv_get",
        "kv_list",
        "kv_set",
        "secure_config_get",
        "secure_config_set",
    ],
];

impl Services {
    /// Adds the methods of all services to a host, and `time_now`. Methods of services that are not
    /// compiled in are not provided.
    ///
    /// # Errors
    /// Invalid: the host has a method of such a name already.
    pub fn install(&self, host: &mut Host) -> Result<(), HostError> {
        host.install(Arc::clone(&self.db))?;
        host.install(Arc::clone(&self.cache))?;
        #[cfg(feature = "http")]
        host.install(Arc::clone(&self.http))?;
        #[cfg(feature = "smtp")]
        host.install(Arc::new(Mailbox(self.mail.clone())))?;
        host.install(Arc::clone(&self.config))?;
        #[cfg(feature = "sqlite")]
        host.install(Arc::clone(&self.secure))?;
        host.install(Arc::clone(&self.i18n))?;
        #[cfg(feature = "files")]
        host.install(Arc::clone(&self.files))?;
        #[cfg(feature = "sqlite")]
        host.install(Arc::clone(&self.kv))?;
        host.install(Arc::clone(&self.events))?;
        host.install(Arc::new(Clock))?;
        host.not_provided(&ABSENT.concat());
        Ok(())
    }

    /// Deletes what is kept of a plugin that is uninstalled, and says of each kind of data what has
    /// become of it. What a plugin has in databases and in Redis stays.
    pub async fn erase(&self, plugin: &PluginName) -> Vec<(&'static str, Result<(), HostError>)> {
        let erased = vec![
            #[cfg(feature = "files")]
            ("files", self.files.clear(plugin).await),
            #[cfg(feature = "sqlite")]
            ("keys and values", self.kv.clear(plugin).await),
            #[cfg(feature = "sqlite")]
            ("secrets", self.secure.clear(plugin).await),
        ];
        self.events.close(plugin);
        self.cache.forget(plugin);
        erased
    }
}

/// The specs of the methods of all services.
pub fn methods() -> impl Iterator<Item = MethodSpec> {
    fn specs<S>(table: &'static [ServiceMethod<S>]) -> impl Iterator<Item = MethodSpec> {
        table.iter().map(ServiceMethod::spec)
    }
    let methods = specs(db::METHODS)
        .chain(specs(cache::METHODS))
        .chain(specs(config::METHODS))
        .chain(specs(i18n::METHODS))
        .chain(specs(events::METHODS))
        .chain(specs(clock::METHODS));
    #[cfg(feature = "http")]
    let methods = methods.chain(specs(http::METHODS));
    #[cfg(feature = "smtp")]
    let methods = methods.chain(specs(email::METHODS));
    #[cfg(feature = "files")]
    let methods = methods.chain(specs(files::METHODS));
    #[cfg(feature = "sqlite")]
    let methods = methods
        .chain(specs(kv::METHODS))
        .chain(specs(secure::METHODS));
    methods
}
