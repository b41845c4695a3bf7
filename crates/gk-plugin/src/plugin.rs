//! The plugin: what it offers, and running it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use gk_protocol::plugin::{Call, HostApiClient, PluginHandler};
use gk_protocol::registration::Registration;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tracing::level_filters::LevelFilter;

use crate::handler::{self, Handler};
use crate::host::Initialised;
use crate::{Context, Error, Host, Route, Widget, logging};

type Hook =
    Box<dyn FnOnce(Context) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> + Send>;

/// A plugin being put together.
#[must_use = "a plugin does nothing until it runs"]
pub struct Plugin {
    registration: Registration,
    functions: HashMap<Arc<str>, Handler>,
    /// Names that more than one function has.
    twice: BTreeSet<String>,
    on_init: Option<Hook>,
    on_shutdown: Option<Hook>,
    log_level: LevelFilter,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.registration.name)
            .finish_non_exhaustive()
    }
}

impl Plugin {
    /// A plugin with a name (as in its plugin.yaml) and a version.
    pub fn new(name: &str, version: &str) -> Self {
        let registration = Registration {
            name: name.to_owned(),
            version: version.to_owned(),
            ..Registration::default()
        };
        Plugin {
            registration,
            functions: HashMap::new(),
            twice: BTreeSet::new(),
            on_init: None,
            on_shutdown: None,
            log_level: LevelFilter::DEBUG,
        }
    }

    /// Says what the plugin is for.
    pub fn description(mut self, text: &str) -> Self {
        self.registration.description = text.to_owned();
        self
    }

    /// Says who made it.
    pub fn author(mut self, author: &str) -> Self {
        self.registration.author = author.to_owned();
        self
    }

    /// Licence of the plugin, as an SPDX expression.
    pub fn license(mut self, license: &str) -> Self {
        self.registration.license = license.to_owned();
        self
    }

    /// Changes anything else of the registration: menu items, jobs, translations, resources, …
    pub fn registration(mut self, change: impl FnOnce(&mut Registration)) -> Self {
        change(&mut self.registration);
        self
    }

    /// Adds a route and the function behind it.
    pub fn route<T, R, E, F, Fut>(mut self, route: Route, function: &str, handler: F) -> Self
    where
        T: DeserializeOwned,
        R: Serialize,
        E: Into<Error>,
        F: Fn(Context, T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
    {
        let mut spec = route.0;
        spec.handler = function.to_owned();
        self.registration.routes.push(spec);
        self.function(function, handler)
    }

    /// Adds a widget and the function behind it.
    pub fn widget<T, R, E, F, Fut>(mut self, widget: Widget, function: &str, handler: F) -> Self
    where
        T: DeserializeOwned,
        R: Serialize,
        E: Into<Error>,
        F: Fn(Context, T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
    {
        let mut spec = widget.0;
        spec.handler = function.to_owned();
        self.registration.widgets.push(spec);
        self.function(function, handler)
    }

    /// Adds a function: its argument is read from JSON, its result written as JSON. Text is taken
    /// for the number, truth value, list or option that the type wants. An argument that does not
    /// fit is the caller's error (400 on a route). Two with one name are an error of the plugin's
    /// registration.
    pub fn function<T, R, E, F, Fut>(self, name: &str, handler: F) -> Self
    where
        T: DeserializeOwned,
        R: Serialize,
        E: Into<Error>,
        F: Fn(Context, T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
    {
        self.add(name, handler::typed(handler))
    }

    /// Adds a function on JSON as it is, without a look at it.
    pub fn raw_function<F, Fut>(self, name: &str, handler: F) -> Self
    where
        F: Fn(Context, Bytes) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Bytes, Error>> + Send + 'static,
    {
        self.add(name, handler::raw(handler))
    }

    /// Adds a function that blocks or computes for long: it gets a thread of its own, so that the
    /// plugin's other calls go on.
    pub fn blocking_function<T, R, E, F>(self, name: &str, handler: F) -> Self
    where
        T: DeserializeOwned,
        R: Serialize,
        E: Into<Error>,
        F: Fn(Context, T) -> Result<R, E> + Send + Sync + 'static,
    {
        self.add(name, handler::blocking(handler))
    }

    fn add(mut self, name: &str, handler: Handler) -> Self {
        if self.functions.insert(name.into(), handler).is_some() {
            self.twice.insert(name.to_owned());
        }
        self
    }

    /// Runs once, before the first call. An error refuses to start.
    pub fn on_init<F, Fut>(mut self, hook: F) -> Self
    where
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        self.on_init = Some(Box::new(|context| Box::pin(hook(context))));
        self
    }

    /// Runs once, before the process ends in order.
    pub fn on_shutdown<F, Fut>(mut self, hook: F) -> Self
    where
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        self.on_shutdown = Some(Box::new(|context| Box::pin(hook(context))));
        self
    }

    /// Which events go to the host's log; `DEBUG` and above by default.
    pub fn log_level(mut self, level: LevelFilter) -> Self {
        self.log_level = level;
        self
    }

    /// Serves the host that started this process, on a tokio runtime of its own with half of the
    /// processors, until the host ends it. Started by hand it says so and fails.
    #[must_use]
    pub fn run(self) -> ExitCode {
        logging::install(self.log_level);
        // The host and other plugins need processors, too, and short calls cost more to spread than
        // to run.
        let threads =
            std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
        let runtime = match tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime,
            Err(error) => return failed(&error),
        };
        match runtime.block_on(async move { tokio::spawn(self.serve()).await }) {
            Ok(Ok(())) => ExitCode::SUCCESS,
            Ok(Err(error)) => failed(&error),
            Err(error) => failed(&error),
        }
    }

    /// Like [`run`](Self::run), on the runtime of the caller, who also looks after logging.
    ///
    /// # Errors
    ///
    /// If this process was not started by a host, or cannot serve it.
    pub async fn serve(self) -> Result<(), gk_protocol::plugin::ServeError> {
        // An interrupt at the host's terminal reaches the whole group; the host ends its plugins
        // itself.
        let interrupts = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt());
        let served = gk_protocol::plugin::server(self.into_handler())
            .serve()
            .await;
        drop(interrupts);
        served
    }

    /// The plugin as what the protocol calls. For tests see [`testing`](crate::testing).
    pub fn into_handler(self) -> Arc<dyn PluginHandler> {
        Arc::new(self.into_running())
    }

    pub(crate) fn into_running(self) -> Running {
        Running {
            registration: self.registration,
            functions: self.functions,
            twice: self.twice,
            on_init: Mutex::new(self.on_init),
            on_shutdown: Mutex::new(self.on_shutdown),
            initialised: OnceLock::new(),
        }
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    // This may be a person at a terminal, to whom a JSON record is of no use.
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("[ERROR] {text}\n").as_bytes(),
    );
    ExitCode::FAILURE
}

/// A plugin that serves.
pub(crate) struct Running {
    registration: Registration,
    functions: HashMap<Arc<str>, Handler>,
    twice: BTreeSet<String>,
    on_init: Mutex<Option<Hook>>,
    on_shutdown: Mutex<Option<Hook>>,
    initialised: OnceLock<Arc<Initialised>>,
}

impl Running {
    fn context(&self, function: Arc<str>, call_token: &str) -> Context {
        let plugin = self.initialised.get().cloned().unwrap_or_default();
        Context {
            function,
            host: Host {
                plugin,
                call_token: call_token.into(),
            },
        }
    }

    /// Runs a function; its error is not made a reply yet.
    pub(crate) async fn run(
        &self,
        function: &str,
        args: Bytes,
        call_token: &str,
    ) -> Result<Bytes, Error> {
        let Some((name, handler)) = self.functions.get_key_value(function) else {
            return Err(Error::new(format!("unknown function: {function}")));
        };
        let context = self.context(Arc::clone(name), call_token);
        handler::start(handler, context, args).await
    }

    async fn hook(&self, hook: &Mutex<Option<Hook>>, name: &'static str) -> Result<(), String> {
        let Some(hook) = hook.lock().await.take() else {
            return Ok(());
        };
        let context = self.context(name.into(), "");
        let running = Box::pin(async move { hook(context).await.map(|()| Bytes::new()) });
        handler::Contained::new(name.into(), running)
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    }
}

#[async_trait]
impl PluginHandler for Running {
    async fn register(&self) -> Result<Registration, String> {
        if !self.twice.is_empty() {
            let names: Vec<_> = self.twice.iter().map(|name| format!("{name:?}")).collect();
            return Err(format!(
                "more than one function is named {}; give each a name of its own",
                names.join(", ")
            ));
        }
        Ok(self.registration.clone())
    }

    async fn init(
        &self,
        config: BTreeMap<String, String>,
        host: Option<HostApiClient>,
    ) -> Result<(), String> {
        if self
            .initialised
            .set(Arc::new(Initialised { config, host }))
            .is_err()
        {
            return Err("the plugin is initialised already".to_owned());
        }
        self.hook(&self.on_init, "init").await
    }

    async fn call(&self, call: Call) -> Result<Bytes, String> {
        match self.run(&call.function, call.args, &call.call_token).await {
            Ok(result) => Ok(result),
            Err(error) => error.into_reply().map(Bytes::from),
        }
    }

    async fn shutdown(&self) -> Result<(), String> {
        self.hook(&self.on_shutdown, "shutdown").await
    }
}
