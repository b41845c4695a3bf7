//! A plugin that runs on a host in memory.

use bytes::Bytes;
use gk_protocol::plugin::PluginHandler;
use gk_protocol::registration::Registration;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::request::TestRequest;
use super::started::{Started, decode};
use super::state::Running as RunningCall;
use super::user::User;
use crate::Error;

/// A plugin that [`TestHost::start`](super::TestHost::start) has started.
#[derive(Debug)]
pub struct TestPlugin {
    started: Started,
}

impl TestPlugin {
    pub(super) fn new(started: Started) -> Self {
        TestPlugin { started }
    }

    /// The registration of the plugin.
    #[must_use]
    pub fn registration(&self) -> &Registration {
        &self.started.registration
    }

    /// Lets the plugin serve a path beside its own, as `routes` of a policy does: a path, or one
    /// that ends in `/*`.
    #[must_use]
    pub fn grant_route(mut self, path: &str) -> Self {
        self.started.granted.push(path.to_owned());
        self
    }

    /// Calls a function with arguments that are written as JSON, and reads its result as a `T`. No
    /// user is known, and the language is English.
    ///
    /// # Errors
    /// The function's own, with its [status](Error::status) if it has one. A panic of the function
    /// is an error, as with a host. Arguments that cannot be written, and a result that is no `T`.
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
        self.started.run(call, args.into()).await
    }

    /// Begins a request to a route. The path may have a query.
    pub fn route(&self, method: &str, path: &str) -> TestRequest<'_> {
        TestRequest::route(&self.started, method, path)
    }

    /// Begins a GET request to a route.
    pub fn get(&self, path: &str) -> TestRequest<'_> {
        self.route("GET", path)
    }

    /// Begins a POST request to a route.
    pub fn post(&self, path: &str) -> TestRequest<'_> {
        self.route("POST", path)
    }

    /// Begins the showing of a widget, to an agent unless another user asks.
    /// [`html`](TestRequest::html) shows it.
    pub fn widget(&self, id: &str) -> TestRequest<'_> {
        TestRequest::widget(&self.started, id).as_user(User::agent())
    }

    /// Runs `on_shutdown`.
    ///
    /// # Errors
    /// The hook's own.
    pub async fn shutdown(self) -> Result<(), Error> {
        let ended = self.started.running.shutdown().await;
        ended.map_err(Error::new)
    }
}
