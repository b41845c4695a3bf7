//! The host API as a host composes it: services, policies, and the methods a host application adds.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use gk_manifest::{PluginName, Registration, ResourceRequest};
use parking_lot::Mutex;

use crate::api::{Admission, CallPlugins, HostApi, PluginLimits};
use crate::cache::Cache;
use crate::caller::Caller;
use crate::config::Config;
use crate::db::Databases;
use crate::email::Mailer;
use crate::error::{ErrorKind, HostError};
use crate::events::Events;
use crate::files::Files;
use crate::guard::{Granted, admit, refused};
use crate::http::HttpClient;
use crate::i18n::Catalogue;
use crate::kv::Kv;
use crate::method::{BUILTINS, Builtin, MethodSpec, NOT_PROVIDED};
use crate::policy::Policies;
use crate::secure::SecureConfig;
use crate::wire;

/// What the methods work on. No plugin reaches one of these but through the guard.
#[derive(Debug)]
pub struct Services {
    /// Databases.
    pub db: Databases,
    /// The cache.
    pub cache: Cache,
    /// Outgoing HTTP.
    pub http: HttpClient,
    /// Mail, where a server is configured.
    pub mail: Option<Mailer>,
    /// Configuration that plugins may read.
    pub config: Config,
    /// Secrets.
    pub secure: SecureConfig,
    /// Translations.
    pub i18n: Catalogue,
    /// Files.
    pub files: Files,
    /// Keys and values.
    pub kv: Kv,
    /// Events.
    pub events: Arc<Events>,
}

/// A method that a host application adds.
///
/// The guard checks its permission and counts its rate before it is called; scopes are in
/// [`Grants::scope`](crate::policy::Grants::scope).
#[async_trait]
pub trait Method: Send + Sync + std::fmt::Debug + 'static {
    /// Its name, and what the guard has to know.
    fn spec(&self) -> MethodSpec;

    /// Serves a request: JSON in, JSON out.
    ///
    /// # Errors
    /// The text is what the plugin gets.
    async fn call(&self, granted: &Granted<'_>, args: Bytes) -> Result<Bytes, HostError>;
}

#[derive(Debug, Clone)]
enum Served {
    Builtin(Builtin, MethodSpec),
    Added(Arc<dyn Method>, MethodSpec),
    NotProvided,
}

/// The host API.
#[derive(Debug)]
pub struct Host {
    services: Services,
    policies: Arc<Policies>,
    methods: HashMap<&'static str, Served>,
    plugins: OnceLock<Arc<dyn CallPlugins>>,
    /// The generations that serve.
    serving: Mutex<HashMap<PluginName, u64>>,
}

impl Host {
    /// A host API of these services under these policies.
    pub fn new(services: Services, policies: Arc<Policies>) -> Self {
        let mut methods: HashMap<_, _> = NOT_PROVIDED
            .iter()
            .map(|name| (*name, Served::NotProvided))
            .collect();
        methods.extend(
            BUILTINS
                .iter()
                .map(|(builtin, spec)| (spec.name, Served::Builtin(*builtin, *spec))),
        );
        Host {
            services,
            policies,
            methods,
            plugins: OnceLock::new(),
            serving: Mutex::default(),
        }
    }

    /// Adds a method, or provides one of [`NOT_PROVIDED`].
    ///
    /// # Errors
    /// Invalid: there is one of that name.
    pub fn add(&mut self, method: Arc<dyn Method>) -> Result<(), HostError> {
        let spec = method.spec();
        match self.methods.get(spec.name) {
            None | Some(Served::NotProvided) => {
                self.methods.insert(spec.name, Served::Added(method, spec));
                Ok(())
            }
            Some(_) => Err(HostError::invalid(format!(
                "there is a method {:?} already",
                spec.name
            ))),
        }
    }

    /// Says who calls other plugins. The first one counts.
    pub fn connect(&self, plugins: Arc<dyn CallPlugins>) {
        let _ = self.plugins.set(plugins);
    }

    /// The services, for the host's own use.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// The policies.
    pub fn policies(&self) -> &Arc<Policies> {
        &self.policies
    }

    pub(crate) fn plugins(&self) -> Result<&Arc<dyn CallPlugins>, HostError> {
        self.plugins
            .get()
            .ok_or_else(|| HostError::unavailable("plugin manager not available"))
    }
}

#[async_trait]
impl HostApi for Host {
    async fn call(&self, caller: &Caller, method: &str, args: Bytes) -> Result<Bytes, HostError> {
        match self.methods.get(method) {
            Some(Served::Builtin(builtin, spec)) => {
                let granted = admit(&self.policies, caller, spec)?;
                let work = std::pin::pin!(wire::serve(self, *builtin, &granted, &args));
                granted
                    .unless_blocked(work)
                    .await
                    .map_err(|error| granted.explain(spec.name, error))
            }
            Some(Served::Added(added, spec)) => {
                let granted = admit(&self.policies, caller, spec)?;
                let result = granted.unless_blocked(added.call(&granted, args)).await;
                result.map_err(|error| granted.explain(spec.name, error))
            }
            // Blocked plugins learn nothing here, either.
            Some(Served::NotProvided) => {
                admit(&self.policies, caller, &MethodSpec::free("(not provided)"))?;
                Err(HostError::not_provided(format!(
                    "method \"{method}\" is not provided by this host"
                )))
            }
            None => {
                admit(&self.policies, caller, &MethodSpec::free("(unknown)"))?;
                let shown: String = method.chars().take(128).collect();
                Err(HostError::invalid(format!(
                    "unknown host API method: {shown}"
                )))
            }
        }
    }

    fn installed(&self, plugins: &BTreeMap<PluginName, ResourceRequest>) {
        self.policies.installed(plugins);
    }

    fn admit(&self, plugin: &PluginName) -> Result<Admission, HostError> {
        self.policies.admit(plugin)
    }

    fn limits(&self, plugin: &PluginName, request: &ResourceRequest) -> PluginLimits {
        self.policies.limits(plugin, request)
    }

    async fn prepare(
        &self,
        plugin: &PluginName,
        generation: u64,
        registration: &Registration,
        request: &ResourceRequest,
    ) -> Result<(), HostError> {
        let alone = !self.serving.lock().contains_key(plugin);
        self.policies
            .prepare(plugin, generation, request, alone)
            .await?;
        HostApi::admit(self, plugin)?;
        let i18n = &self.services.i18n;
        match i18n.prepare(plugin, generation, registration.i18n.as_ref()) {
            // Whoever takes another's namespace ahead of it must not keep it from starting.
            Err(error) if error.kind() == ErrorKind::Denied => {
                tracing::warn!(%plugin, %error, "its translations are left out");
            }
            prepared => prepared?,
        }
        if alone {
            i18n.commit(plugin, generation);
        }
        Ok(())
    }

    fn commit(&self, plugin: &PluginName, generation: u64) {
        self.serving.lock().insert(plugin.clone(), generation);
        self.policies.commit(plugin, generation);
        self.services.i18n.commit(plugin, generation);
    }

    fn ended(&self, plugin: &PluginName, generation: u64) {
        {
            let mut serving = self.serving.lock();
            if serving.get(plugin) == Some(&generation) {
                serving.remove(plugin);
            }
        }
        self.policies.ended(plugin, generation);
        self.services.i18n.remove(plugin, generation);
    }

    fn stopped(&self, plugin: &PluginName) {
        // Subscriptions are the plugin's: they go on while it is started again.
        self.services.events.close(plugin);
    }

    fn removed(&self, plugin: &PluginName) {
        self.policies.removed(plugin);
    }
}

impl Host {
    /// Counts and explains a refusal that concerns a call from plugin to plugin.
    pub(crate) fn refuse_call(&self, caller: &Caller, error: &HostError) -> HostError {
        let plugin = self.policies.of(&caller.plugin);
        refused(&plugin, caller, "plugin_call", error)
    }
}
