//! The host API in memory: what a test sets up, and what it finds afterwards.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use gk_protocol::plugin::{HostApiClient, PluginHandler};
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::answers::{Answer, OutgoingRequest, Statement, as_rows, collapse};
use super::plugin::TestPlugin;
use super::serve::{Server, denial, is_known};
use super::started::Started;
use super::state::{Event, HostCall, LogRecord, Mail, Refusal, Running, Shared, State};
use crate::host::Initialised;
use crate::{Context, Error, Host, HttpResponse, Plugin, StoredFile};

/// Value of `host_version` in the configuration.
const HOST_VERSION: &str = "0.1.0";

/// The clock's first moment: the beginning of 2026, UTC.
const START_SECONDS: i64 = 1_767_225_600;

/// A host API in memory, for one plugin. Cheap to clone: clones are the same host.
///
/// What a test sets up may be set up before and after the plugin's start. A plugin that is started
/// again on the same host finds what it has stored.
#[derive(Clone)]
pub struct TestHost {
    state: Shared,
}

impl fmt::Debug for TestHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestHost")
            .field("plugin", &self.lock().plugin)
            .finish_non_exhaustive()
    }
}

impl Default for TestHost {
    fn default() -> Self {
        Self::new()
    }
}

impl TestHost {
    /// A host on which nothing is set up. Its clock stands at the beginning of 2026, UTC.
    #[must_use]
    pub fn new() -> Self {
        let mut state = State::default();
        state.plugin.push_str("test");
        state.stores.now = OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(START_SECONDS);
        TestHost {
            state: Shared::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Starts a plugin: it registers, and its `on_init` runs.
    ///
    /// # Errors
    /// What is wrong with its registration, or the error of `on_init`.
    pub async fn start(&self, plugin: Plugin) -> Result<TestPlugin, Error> {
        let running = plugin.into_running();
        let registration = Started::register(&running).await?;
        {
            let mut state = self.lock();
            state.plugin.clone_from(&registration.name);
            state.texts.take(&registration);
        }
        let config = self.config(&registration.name);
        let started = running.init(config, Some(self.api())).await;
        started.map_err(Error::new)?;
        Ok(TestPlugin::new(Started {
            state: self.state.clone(),
            running,
            registration,
            granted: Vec::new(),
        }))
    }

    /// A context of a call of this function, to call its handler directly. It is of no user and in
    /// English, and is good until the test ends.
    #[must_use]
    pub fn context(&self, function: &str) -> Context {
        let call = Running {
            function: function.to_owned(),
            ..Running::default()
        };
        let (token, name) = {
            let mut state = self.lock();
            (state.begin(call), state.plugin.clone())
        };
        Context {
            function: function.into(),
            host: Host {
                plugin: Arc::new(Initialised {
                    config: self.config(&name),
                    host: Some(self.api()),
                }),
                call_token: token.into(),
            },
        }
    }

    /// The host API, as a plugin is given it.
    fn api(&self) -> HostApiClient {
        HostApiClient::in_memory(Arc::new(Server(self.state.clone())))
    }

    /// The configuration of `Init`.
    fn config(&self, plugin: &str) -> BTreeMap<String, String> {
        let mut config = BTreeMap::from([
            ("host_version".to_owned(), HOST_VERSION.to_owned()),
            ("plugin_name".to_owned(), plugin.to_owned()),
        ]);
        if let Ok(directory) = std::env::current_dir() {
            let directory = directory.to_string_lossy().into_owned();
            config.insert("plugin_dir".to_owned(), directory);
        }
        config.extend(self.lock().config.clone());
        config
    }

    /// Adds a value to the configuration of `Init`, which [`Context::config`] reads: what an
    /// operator sets for the plugin. `host_version`, `plugin_name` and `plugin_dir` (the current
    /// directory) are there; `work_dir` only if it is set here.
    pub fn set_config(&self, key: &str, value: &str) {
        self.lock().config.insert(key.to_owned(), value.to_owned());
    }

    /// Sets a setting of the host, which [`Host::config`] reads. One that is not set is an error.
    pub fn set_setting(&self, key: &str, value: &str) {
        let settings = &mut self.lock().stores.settings;
        settings.insert(key.to_owned(), value.to_owned());
    }

    /// Answers queries of this statement with rows: a list of structs or maps. Its text counts but
    /// for its white space; a later answer for the same text replaces an earlier one.
    ///
    /// # Panics
    /// If the rows are no list of structs or maps.
    pub fn on_query(&self, query: &str, rows: impl Serialize) {
        let rows = as_rows(&rows);
        let queries = &mut self.lock().answers.queries;
        queries.insert(collapse(query), rows);
    }

    /// Answers writes of this statement: so many rows are affected. The text counts as that of
    /// [`on_query`](Self::on_query) does.
    pub fn on_execute(&self, query: &str, affected: i64) {
        self.on_write(query, Answer::affected(affected));
    }

    /// Answers writes of this statement with more than a number of rows.
    pub fn on_write(&self, query: &str, answer: Answer) {
        let writes = &mut self.lock().answers.writes;
        writes.insert(collapse(query), answer);
    }

    /// Answers statements of any method that have no answer of their own. `None` passes a statement
    /// on, to what was set up next. Of a query only the rows count. The text of an error is the
    /// host's.
    pub fn on_statement(
        &self,
        answer: impl Fn(&Statement) -> Option<Result<Answer, String>> + Send + Sync + 'static,
    ) {
        let statements = &mut self.lock().answers.statements;
        statements.push(Arc::new(answer));
    }

    /// Answers the plugin's HTTP requests, whatever server they are for. Redirects are not
    /// followed.
    pub fn on_http(
        &self,
        answer: impl Fn(&OutgoingRequest) -> HttpResponse + Send + Sync + 'static,
    ) {
        self.lock().answers.http = Some(Arc::new(answer));
    }

    /// Answers calls of a function of another plugin. The text of an error is the function's.
    ///
    /// Of an object among the arguments, keys with a leading underscore are the host's, as with a
    /// real host: what is known of the user of the running call.
    pub fn on_plugin_call(
        &self,
        plugin: &str,
        function: &str,
        answer: impl Fn(Value) -> Result<Value, String> + Send + Sync + 'static,
    ) {
        let key = (plugin.to_owned(), function.to_owned());
        let plugins = &mut self.lock().answers.plugins;
        plugins.insert(key, Arc::new(answer));
    }

    /// Answers a method by its wire name: one of an application, such as `create_article`, one that
    /// this SDK does not know, or one of the test host's own, which it replaces. The text of an
    /// error is the host's.
    pub fn on_method(
        &self,
        method: &str,
        answer: impl Fn(Value) -> Result<Value, String> + Send + Sync + 'static,
    ) {
        let methods = &mut self.lock().answers.methods;
        methods.insert(method.to_owned(), Arc::new(answer));
    }

    /// Refuses a method, as a host does whose policy does not grant its permission: `plugin "p":
    /// database read access not granted`. A method without a permission is refused as a host
    /// refuses a blocked plugin. [`allow`](Self::allow) undoes it.
    ///
    /// # Panics
    /// If the host API has no such method.
    pub fn deny(&self, method: &str) {
        self.refuse(method, Refusal::Denied(denial(method)));
    }

    /// Makes a method fail with this text, as a service that does not work. [`allow`](Self::allow)
    /// undoes it.
    ///
    /// # Panics
    /// If the host API has no such method.
    pub fn fail(&self, method: &str, text: &str) {
        self.refuse(method, Refusal::Failed(text.to_owned()));
    }

    fn refuse(&self, method: &str, refusal: Refusal) {
        let mut state = self.lock();
        let known = is_known(method) || state.answers.methods.contains_key(method);
        assert!(known, "the host API has no method {method:?}");
        state.refusals.insert(method.to_owned(), refusal);
    }

    /// Undoes [`deny`](Self::deny) and [`fail`](Self::fail).
    pub fn allow(&self, method: &str) {
        self.lock().refusals.remove(method);
    }

    /// The requests that the plugin has made, in the order in which they arrived.
    #[must_use]
    pub fn calls(&self) -> Vec<HostCall> {
        self.lock().calls.clone()
    }

    /// The entries of [`calls`](Self::calls) that have this method.
    #[must_use]
    pub fn calls_to(&self, method: &str) -> Vec<HostCall> {
        let mut calls = self.calls();
        calls.retain(|call| call.method == method);
        calls
    }

    /// Empties what `calls`, `events`, `mails` and `logs` return. What the plugin has stored stays.
    pub fn forget_calls(&self) {
        let mut state = self.lock();
        state.calls.clear();
        state.events.clear();
        state.mails.clear();
        state.logs.clear();
    }

    /// The events that the plugin has published.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.lock().events.clone()
    }

    /// The mails that the plugin has sent.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        self.lock().mails.clone()
    }

    /// The records that the plugin has logged through the host API.
    #[must_use]
    pub fn logs(&self) -> Vec<LogRecord> {
        self.lock().logs.clone()
    }

    /// The time of the clock, which [`Host::time_now`] answers and by which entries of the cache
    /// end. It moves with [`advance`](Self::advance) and [`set_now`](Self::set_now) alone.
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        self.lock().stores.now
    }

    /// Sets the clock.
    pub fn set_now(&self, now: OffsetDateTime) {
        self.lock().stores.now = now;
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        self.lock().stores.now += by;
    }

    /// The value of a key of the cache, if there is one at this time of the clock.
    #[must_use]
    pub fn cached(&self, key: &str) -> Option<Bytes> {
        self.lock().stores.cached(key)
    }

    /// Puts a value into the cache, for an hour.
    pub fn set_cached(&self, key: &str, value: impl Into<Bytes>) {
        self.lock().stores.set_cached(key, value.into(), 0);
    }

    /// The value of a key of the durable store.
    #[must_use]
    pub fn kv(&self, key: &str) -> Option<Bytes> {
        self.lock().stores.kv(key)
    }

    /// Puts a value into the durable store.
    pub fn set_kv(&self, key: &str, value: impl Into<Bytes>) {
        self.lock().stores.set_kv(key.to_owned(), value.into());
    }

    /// A secret that the plugin has stored, or that was [set](Self::set_secret).
    #[must_use]
    pub fn secret(&self, key: &str) -> Option<String> {
        self.lock().stores.secrets.get(key).cloned()
    }

    /// Sets a secret, which [`Host::secure_config`] reads.
    pub fn set_secret(&self, key: &str, value: &str) {
        let secrets = &mut self.lock().stores.secrets;
        secrets.insert(key.to_owned(), value.to_owned());
    }

    /// A file of the plugin.
    #[must_use]
    pub fn file(&self, key: &str) -> Option<StoredFile> {
        let state = self.lock();
        state.stores.files.get(key).map(|(file, _)| file.clone())
    }

    /// Stores a file of the plugin.
    pub fn set_file(&self, key: &str, file: StoredFile) {
        self.lock().stores.store_file(key, file);
    }

    /// Adds texts of another plugin's namespace in a language, which [`Host::translate`] finds as
    /// `namespace.key`. The plugin's own come from its registration.
    pub fn set_texts(&self, namespace: &str, language: &str, texts: &[(&str, &str)]) {
        let mut state = self.lock();
        for (key, text) in texts {
            state.texts.add(namespace, language, key, text);
        }
    }
}
