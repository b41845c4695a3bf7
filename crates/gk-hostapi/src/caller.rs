//! The caller of a request: identity and context, as the host knows them. Nothing here comes from
//! the message of a plugin.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use gk_manifest::PluginName;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::chain::Chain;
use crate::level::LogLevel;
use crate::request_id::RequestId;
use crate::trace::TraceContext;

/// The plugin process that asks, perhaps during a call into it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Caller {
    /// The plugin on whose connection the request came.
    pub plugin: PluginName,
    /// The number of its process.
    pub generation: u64,
    /// The shape of results that differs by the age of the plugin's SDK.
    pub shape: Shape,
    /// The call it is serving, where it says which.
    pub call: Option<CallInfo>,
    process: Arc<dyn PluginProcess>,
}

/// A user, as the host knows them. A cheap clone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct User {
    /// The user's number.
    pub id: i64,
    /// The user's login: an address of mail, or a name.
    pub login: Arc<str>,
    /// The user's role.
    pub role: UserRole,
}

/// The role of a user, as plugins read it in `_user_role`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserRole {
    /// An administrator.
    Admin,
    /// Somebody who works with the application.
    Agent,
    /// Somebody whom the application serves.
    Customer,
}

impl User {
    /// A user.
    pub fn new(id: i64, login: impl Into<Arc<str>>, role: UserRole) -> Self {
        User {
            id,
            login: login.into(),
            role,
        }
    }

    /// The keys of a call's arguments about its user (contract §4.1), which only the host writes.
    /// Without a user they say that the caller is no administrator.
    pub fn envelope(
        user: Option<&Self>,
    ) -> impl Iterator<Item = (&'static str, EnvelopeValue<'_>)> {
        let is_admin = user.is_some_and(|user| user.role == UserRole::Admin);
        let user = user.into_iter().flat_map(|user| {
            let login = EnvelopeValue::Text(&user.login);
            let is_customer = user.role == UserRole::Customer;
            [
                Some(("_user_id", EnvelopeValue::Number(user.id))),
                Some(("_user_login", login)),
                Some(("_user_role", EnvelopeValue::Text(user.role.as_str()))),
                user.login.contains('@').then_some(("_user_email", login)),
                is_customer.then_some(("_customer_login", login)),
            ]
        });
        std::iter::once(("_is_admin", EnvelopeValue::Bool(is_admin))).chain(user.flatten())
    }
}

impl UserRole {
    /// `Admin`, `Agent` or `Customer`.
    pub fn as_str(self) -> &'static str {
        match self {
            UserRole::Admin => "Admin",
            UserRole::Agent => "Agent",
            UserRole::Customer => "Customer",
        }
    }
}

/// A value of [`User::envelope`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum EnvelopeValue<'a> {
    /// Yes or no.
    Bool(bool),
    /// A number.
    Number(i64),
    /// A text.
    Text(&'a str),
}

/// How `config_get` and `translate` answer: the first SDK that had them decodes a bare string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// `{"value": …}`.
    #[default]
    Object,
    /// `"…"`.
    BareString,
}

/// A call into a plugin, as a request made during it sees it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CallInfo {
    /// When whoever called gives up.
    pub deadline: Instant,
    /// On whose behalf it is.
    pub user: Option<User>,
    /// The user's language.
    pub language: Option<Arc<str>>,
    /// The request that led to it; `None` if there was none.
    pub request_id: Option<RequestId>,
    /// Trace and span within which the request is served; `None` if the call belongs to no trace.
    pub trace: Option<TraceContext>,
    /// The calls from plugin to plugin that led to it, itself last.
    pub chain: Chain,
}

impl CallInfo {
    /// A call that ends at `deadline` and was reached by `chain`.
    pub fn new(deadline: Instant, chain: Chain) -> Self {
        CallInfo {
            deadline,
            user: None,
            language: None,
            request_id: None,
            trace: None,
            chain,
        }
    }
}

/// A plugin's process, as the supervisor knows it.
pub trait PluginProcess: Send + Sync + fmt::Debug {
    /// Adds a record to the plugin's own log, said during `call` if it is known which. The log
    /// bounds its size and rate by itself.
    fn log(
        &self,
        level: LogLevel,
        message: &str,
        fields: &Map<String, Value>,
        call: Option<&CallInfo>,
    );

    /// The calls that run in the process at this moment, for a request that does not say to which
    /// of them it belongs.
    fn running_calls(&self) -> Vec<CallInfo>;

    /// The latest deadline of [`running_calls`](Self::running_calls); `None` where no call runs.
    /// Asked at each request that does not say to which call it belongs: a process with many calls
    /// should not have to list them for it.
    fn latest_deadline(&self) -> Option<Instant> {
        let calls = self.running_calls();
        calls.iter().map(|call| call.deadline).max()
    }
}

impl Caller {
    /// A request of `plugin`'s process number `generation`.
    pub fn new(plugin: PluginName, generation: u64, process: Arc<dyn PluginProcess>) -> Self {
        Caller {
            plugin,
            generation,
            shape: Shape::default(),
            call: None,
            process,
        }
    }

    /// With the call that it serves.
    #[must_use]
    pub fn with_call(mut self, call: Option<CallInfo>) -> Self {
        self.call = call;
        self
    }

    /// With the shape its SDK decodes.
    #[must_use]
    pub fn with_shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// Adds a record to the plugin's log.
    pub fn log(&self, level: LogLevel, message: &str, fields: &Map<String, Value>) {
        self.process.log(level, message, fields, self.call.as_ref());
    }

    /// The calls that the request may belong to: the one it names, else all that run.
    pub fn candidates(&self) -> Vec<CallInfo> {
        match &self.call {
            Some(call) => vec![call.clone()],
            None => self.process.running_calls(),
        }
    }

    /// When whoever waits for the request gives up: the end of its call, or of the longest of those
    /// it may belong to.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.call {
            Some(call) => Some(call.deadline),
            None => self.process.latest_deadline(),
        }
    }
}
