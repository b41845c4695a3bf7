//! A plugin that runs on a host in memory.

use std::fmt;

use bytes::Bytes;
use gk_protocol::plugin::PluginHandler;
use gk_protocol::registration::Registration;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::host::{Running as RunningCall, TestHost};
use super::request::{TestRequest, User};
use crate::plugin::Running;
use crate::{Error, Plugin};

/// A plugin that [`TestHost::start`] has started.
pub struct TestPlugin {
    host: TestHost,
    running: Running,
    registration: Registration,
    pub(super) granted: Vec<String>,
}

impl fmt::Debug for TestPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestPlugin")
            .field("name", &self.registration.name)
            .finish_non_exhaustive()
    }
}

impl TestPlugin {
    pub(super) async fn start(host: TestHost, plugin: Plugin) -> Result<Self, Error> {
        let running = plugin.into_running();
        let registration = running.register().await.map_err(Error::new)?;
        let problems = registration.validate();
        let errors: Vec<_> = problems.iter().filter(|found| found.is_error()).collect();
        if !errors.is_empty() {
            let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
            return Err(Error::new(format!(
                "the registration: {}",
                errors.join("; ")
            )));
        }
        {
            let mut state = host.lock();
            state.plugin.clone_from(&registration.name);
            state.texts.take(&registration);
        }
        let config = host.config(&registration.name);
        let started = running.init(config, Some(host.api())).await;
        started.map_err(Error::new)?;
        Ok(TestPlugin {
            host,
            running,
            registration,
            granted: Vec::new(),
        })
    }

    /// What the plugin registered.
    #[must_use]
    pub fn registration(&self) -> &Registration {
        &self.registration
    }

    /// Lets the plugin serve a path beside its own, as `routes` of a policy does: a path, or one that ends in `/*`.
    #[must_use]
    pub fn grant_route(mut self, path: &str) -> Self {
        self.granted.push(path.to_owned());
        self
    }

    /// Calls a function with arguments that are written as JSON, and reads its result as a `T`. No user is known, and
    /// the language is English.
    ///
    /// # Errors
    /// The function's own, with its [status](Error::status) if it has one. A panic of the function is an error, as with a
    /// host. Arguments that cannot be written, and a result that is no `T`.
    pub async fn call<T: DeserializeOwned>(
        &self,
        function: &str,
        args: &impl Serialize,
    ) -> Result<T, Error> {
        let result = self.call_raw(function, serde_json::to_vec(args)?).await?;
        decode(function, &result)
    }

    /// Like [`call`](Self::call), with JSON as it is, both ways.
    ///
    /// # Errors
    /// The function's own.
    pub async fn call_raw(&self, function: &str, args: impl Into<Bytes>) -> Result<Bytes, Error> {
        let call = RunningCall {
            function: function.to_owned(),
            ..RunningCall::default()
        };
        self.run(call, args.into()).await
    }

    /// Runs a function as the call that is described.
    pub(super) async fn run(&self, call: RunningCall, args: Bytes) -> Result<Bytes, Error> {
        /// Takes the call off the list, also where the test gives up the wait.
        struct Ends<'a>(&'a TestHost, &'a str);

        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.0.lock().running.remove(self.1);
            }
        }

        let function = call.function.clone();
        let token = self.host.lock().begin(call);
        let _ends = Ends(&self.host, &token);
        self.running.run(&function, args, &token).await
    }

    /// Begins a request to a route. The path may have a query.
    pub fn route(&self, method: &str, path: &str) -> TestRequest<'_> {
        TestRequest::route(self, method, path)
    }

    /// Begins a GET request to a route.
    pub fn get(&self, path: &str) -> TestRequest<'_> {
        self.route("GET", path)
    }

    /// Begins a POST request to a route.
    pub fn post(&self, path: &str) -> TestRequest<'_> {
        self.route("POST", path)
    }

    /// Begins the showing of a widget, to an agent unless another user asks. [`html`](TestRequest::html) shows it.
    pub fn widget(&self, id: &str) -> TestRequest<'_> {
        TestRequest::widget(self, id).as_user(User::agent())
    }

    /// Runs `on_shutdown`.
    ///
    /// # Errors
    /// The hook's own.
    pub async fn shutdown(self) -> Result<(), Error> {
        self.running.shutdown().await.map_err(Error::new)
    }
}

/// A result as a `T`; a function that answers nothing answers `null`.
pub(super) fn decode<T: DeserializeOwned>(function: &str, result: &[u8]) -> Result<T, Error> {
    let json = if result.is_empty() { b"null" } else { result };
    serde_json::from_slice(json).map_err(|error| {
        let shown = String::from_utf8_lossy(json);
        Error::new(format!("the result of {function}: {error}: {shown}"))
    })
}
