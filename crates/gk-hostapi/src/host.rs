//! The host API as a host composes it: policies, the guard, and the methods of services and of the
//! host application.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use gk_manifest::{PluginName, Registration, ResourceRequest};
use metrics::Histogram;
use parking_lot::Mutex;

use crate::api::{Admission, CallPlugins, HostApi, PluginLimits};
use crate::caller::Caller;
use crate::counts;
use crate::error::HostError;
use crate::guard::admit;
use crate::method::{Method, Service, ServiceMethod};
use crate::plugin_call::{self, OtherPlugins};
use crate::policy::{Policies, SharedRates};
use crate::record;
use crate::spec::{MethodSpec, NOT_PROVIDED};

#[derive(Debug, Clone)]
enum MethodEntry {
    /// A method, what it says of itself, and its durations. Their histogram is made with the first
    /// request, when there is a recorder of metrics.
    Provided(Arc<dyn Method>, MethodSpec, OnceLock<Histogram>),
    NotProvided,
}

impl MethodEntry {
    fn provided(method: Arc<dyn Method>, spec: MethodSpec) -> Self {
        Self::Provided(method, spec, OnceLock::new())
    }
}

/// A host API: the methods of its services behind one guard. `log` and `plugin_call` are always
/// among them.
#[derive(Debug)]
pub struct Host {
    policies: Arc<Policies>,
    methods: HashMap<&'static str, MethodEntry>,
    services: Vec<Arc<dyn Service>>,
    plugins: Arc<OtherPlugins>,
    /// The generations that serve.
    serving: Mutex<HashMap<PluginName, u64>>,
    /// Rates that several hosts keep together.
    rates: OnceLock<Arc<dyn SharedRates>>,
}

impl Host {
    /// A host API without services, under these policies.
    pub fn new(policies: Arc<Policies>) -> Self {
        counts::describe();
        let plugins = Arc::<OtherPlugins>::default();
        let mut host = Host {
            policies,
            methods: HashMap::new(),
            services: Vec::new(),
            plugins: Arc::clone(&plugins),
            serving: Mutex::default(),
            rates: OnceLock::new(),
        };
        host.not_provided(NOT_PROVIDED);
        let own = ServiceMethod::all(record::METHODS, &Arc::new(record::Log));
        let calls = ServiceMethod::all(plugin_call::METHODS, &plugins);
        for method in own.into_iter().chain(calls) {
            let spec = method.spec();
            host.methods
                .insert(spec.name, MethodEntry::provided(method, spec));
        }
        host
    }

    /// Adds a service with all its methods.
    ///
    /// # Errors
    /// Invalid: there is a method of the name of one of these already. Then none is added.
    pub fn install<S: Service>(&mut self, service: Arc<S>) -> Result<(), HostError> {
        let methods = Arc::clone(&service).methods();
        let mut names = HashSet::new();
        for method in &methods {
            let name = method.spec().name;
            self.check_free(name)?;
            if !names.insert(name) {
                return Err(HostError::invalid(format!(
                    "a service has the method {name:?} twice"
                )));
            }
        }
        methods
            .into_iter()
            .try_for_each(|method| self.add(method))?;
        self.services.push(service);
        Ok(())
    }

    /// Adds a method, or provides one that is [not provided](Self::not_provided).
    ///
    /// # Errors
    /// Invalid: there is a method of that name already.
    pub fn add(&mut self, method: Arc<dyn Method>) -> Result<(), HostError> {
        let spec = method.spec();
        self.check_free(spec.name)?;
        self.methods
            .insert(spec.name, MethodEntry::provided(method, spec));
        Ok(())
    }

    /// Declares methods that this host lacks: a call of one fails as not provided and not as
    /// unknown. One that the host has, it keeps. [`NOT_PROVIDED`] are among them anyway.
    pub fn not_provided(&mut self, names: &[&'static str]) {
        for name in names {
            self.methods.entry(name).or_insert(MethodEntry::NotProvided);
        }
    }

    fn check_free(&self, name: &str) -> Result<(), HostError> {
        match self.methods.get(name) {
            None | Some(MethodEntry::NotProvided) => Ok(()),
            Some(MethodEntry::Provided(..)) => Err(HostError::invalid(format!(
                "there is a method {name:?} already"
            ))),
        }
    }

    /// Sets the supervisor that `plugin_call` uses. The first one counts.
    pub fn connect(&self, plugins: Arc<dyn CallPlugins>) {
        let _ = self.plugins.set(plugins);
    }

    /// Counts rates together with other hosts from now on. The first call counts.
    pub fn share_rates(&self, rates: Arc<dyn SharedRates>) {
        let _ = self.rates.set(rates);
    }

    /// Returns the policies that the guard decides by.
    pub fn policies(&self) -> &Arc<Policies> {
        &self.policies
    }

    /// Serves a request of a method that the host has.
    async fn serve(
        &self,
        caller: &Caller,
        method: &dyn Method,
        spec: &MethodSpec,
        seconds: &OnceLock<Histogram>,
        args: Bytes,
    ) -> Result<Bytes, HostError> {
        let granted = admit(&self.policies, caller, spec)?;
        let started = Instant::now();
        let work = async {
            let more = method.check(&args)?;
            if let Some(rate) = spec.rate {
                (0..more).try_for_each(|_| granted.charge(rate))?;
                if let Some(shared) = self.rates.get() {
                    let shared = granted.charge_shared(rate, 1 + more, &**shared);
                    shared
                        .await
                        .map_err(|error| granted.refused(spec.name, &error))?;
                }
            }
            let _permit = granted.permit(spec.queue).await?;
            method.call(&granted, args).await
        };
        let result = granted.unless_blocked(std::pin::pin!(work)).await;
        let seconds = seconds.get_or_init(|| counts::seconds(spec.name));
        counts::took(seconds, started.elapsed());
        granted.ended(spec.name, &result);
        result.map_err(|error| granted.explain(spec.name, error))
    }
}

#[async_trait]
impl HostApi for Host {
    async fn call(&self, caller: &Caller, method: &str, args: Bytes) -> Result<Bytes, HostError> {
        match self.methods.get(method) {
            Some(MethodEntry::Provided(method, spec, seconds)) => {
                self.serve(caller, &**method, spec, seconds, args).await
            }
            // The guard comes first here, too: a blocked plugin must not learn which methods exist.
            Some(MethodEntry::NotProvided) => {
                let spec = MethodSpec::free("(not provided)");
                let granted = admit(&self.policies, caller, &spec)?;
                let result = Err(HostError::not_provided(format!(
                    "method \"{method}\" is not provided by this host"
                )));
                granted.ended(spec.name, &result);
                result
            }
            None => {
                let spec = MethodSpec::free("(unknown)");
                let granted = admit(&self.policies, caller, &spec)?;
                let shown: String = method.chars().take(128).collect();
                let result = Err(HostError::invalid(format!(
                    "unknown host API method: {shown}"
                )));
                granted.ended(spec.name, &result);
                result
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
        // Without a serving generation, this one's registration is in force at once.
        let none_serves = !self.serving.lock().contains_key(plugin);
        self.policies
            .prepare(plugin, generation, request, none_serves)
            .await?;
        HostApi::admit(self, plugin)?;
        for service in &self.services {
            service.prepare(plugin, generation, registration)?;
            if none_serves {
                service.commit(plugin, generation);
            }
        }
        Ok(())
    }

    fn commit(&self, plugin: &PluginName, generation: u64) {
        self.serving.lock().insert(plugin.clone(), generation);
        self.policies.commit(plugin, generation);
        for service in &self.services {
            service.commit(plugin, generation);
        }
    }

    fn ended(&self, plugin: &PluginName, generation: u64) {
        {
            let mut serving = self.serving.lock();
            if serving.get(plugin) == Some(&generation) {
                serving.remove(plugin);
            }
        }
        self.policies.ended(plugin, generation);
        for service in &self.services {
            service.ended(plugin, generation);
        }
    }

    fn stopped(&self, plugin: &PluginName) {
        for service in &self.services {
            service.stopped(plugin);
        }
    }

    fn removed(&self, plugin: &PluginName) {
        self.policies.removed(plugin);
    }
}

/// The specs of the methods that every [`Host`] has: `log` and `plugin_call`.
pub fn own_methods() -> impl Iterator<Item = MethodSpec> {
    let log = record::METHODS.iter().map(ServiceMethod::spec);
    log.chain(plugin_call::METHODS.iter().map(ServiceMethod::spec))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Map, Value};

    use super::*;
    use crate::LogLevel;
    use crate::caller::{CallInfo, PluginProcess};
    use crate::guard::Granted;
    use crate::policy::{FILES_AT_ONCE_MAX, MAILS_PER_MINUTE, MemoryPolicyStore, Queue, Rate};

    /// A method whose arguments are so many bytes as it stands for requests. As a service it lists
    /// that method twice.
    #[derive(Debug)]
    struct Batch;

    #[async_trait]
    impl Method for Batch {
        fn spec(&self) -> MethodSpec {
            MethodSpec {
                rate: Some(Rate::Mail),
                queue: Some(Queue::Files),
                ..MethodSpec::free("batch")
            }
        }

        fn check(&self, args: &[u8]) -> Result<usize, HostError> {
            Ok(args.len() - 1)
        }

        async fn call(&self, _: &Granted<'_>, _: Bytes) -> Result<Bytes, HostError> {
            Ok(Bytes::new())
        }
    }

    impl Service for Batch {
        fn methods(self: Arc<Self>) -> Vec<Arc<dyn Method>> {
            vec![Arc::clone(&self) as _, self]
        }
    }

    #[derive(Debug)]
    struct Process;

    impl PluginProcess for Process {
        fn log(&self, _: LogLevel, _: &str, _: &Map<String, Value>, _: Option<&CallInfo>) {}

        fn running_calls(&self) -> Vec<CallInfo> {
            Vec::new()
        }
    }

    fn host() -> Host {
        let policies = Policies::new(MemoryPolicyStore::default(), false);
        Host::new(Arc::new(policies))
    }

    #[test]
    fn a_service_with_one_name_twice_is_not_added_in_part() {
        let mut host = host();
        let refused = host.install(Arc::new(Batch)).unwrap_err();
        assert!(refused.to_string().contains("\"batch\""), "{refused}");
        assert!(!host.methods.contains_key("batch"));
        host.add(Arc::new(Batch)).unwrap();
    }

    #[tokio::test]
    async fn a_batch_is_counted_before_it_waits_for_a_permit() {
        let mut host = host();
        host.add(Arc::new(Batch)).unwrap();
        let caller = Caller::new(PluginName::new("caller").unwrap(), 1, Arc::new(Process));
        let plugin = host.policies.of(&caller.plugin);
        let later = tokio::time::Instant::now() + Duration::from_secs(60);
        let mut held = Vec::new();
        for _ in 0..FILES_AT_ONCE_MAX {
            held.push(plugin.permit(Queue::Files, later).await.unwrap());
        }
        let rate = MAILS_PER_MINUTE as usize;
        let within = host.call(&caller, "batch", vec![0; rate].into());
        let waits = tokio::time::timeout(Duration::ZERO, within).await;
        assert!(waits.is_err(), "all permits are out: {waits:?}");
        // What waited has used the rate up.
        let beyond = host.call(&caller, "batch", vec![0; 1].into());
        let refused = tokio::time::timeout(Duration::ZERO, beyond).await;
        let refused = refused.expect("refused without a permit").unwrap_err();
        assert!(refused.to_string().contains("rate limit"), "{refused}");
    }
}
