//! State of a host in memory: the test's settings, the plugin's requests, and what it has stored.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gk_protocol::call_token;
use serde_json::{Map, Value};

use super::answers::Answers;
use super::stores::Stores;
use super::texts::Texts;
use super::user::User;

/// The state that the test, the plugin and the host API share.
#[derive(Debug, Clone, Default)]
pub(super) struct Shared(Arc<Mutex<State>>);

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Shared(Arc::new(Mutex::new(state)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A test whose closure panicked may still look at what was recorded.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that the plugin made of its host.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct HostCall {
    /// The wire name, such as `db_query`.
    pub method: String,
    /// The arguments: an object.
    pub args: Value,
    /// The plugin's function that was running; `None` in `on_init`, in `on_shutdown`, and of a
    /// [detached](crate::Host::detached) host.
    pub function: Option<String>,
}

/// An event that the plugin published.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The channel; empty for the plugin's own.
    pub channel: String,
    /// Type of the event.
    pub event_type: String,
    /// The data as it travels: text as it is, anything else as JSON.
    pub data: String,
}

/// A mail that the plugin sent.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[non_exhaustive]
pub struct Mail {
    /// The recipient.
    pub to: String,
    /// Subject line of the mail.
    #[serde(default)]
    pub subject: String,
    /// Text of the mail.
    #[serde(default)]
    pub body: String,
    /// `true` if the body is HTML.
    #[serde(default)]
    pub html: bool,
}

/// A record that the plugin logged through the host API. `tracing` events are not among them.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LogRecord {
    /// `debug`, `info`, `warn` or `error`; another one was taken for `info`.
    pub level: String,
    /// Text of the record.
    pub message: String,
    /// Structured fields of the record.
    pub fields: Map<String, Value>,
}

/// A call into the plugin that runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Running {
    pub(super) function: String,
    pub(super) language: Option<String>,
    pub(super) request_id: Option<String>,
    /// Values of `traceparent` and `tracestate`.
    pub(super) trace: Option<(String, Option<String>)>,
    pub(super) user: Option<User>,
}

/// Why a method is not served.
#[derive(Debug, Clone)]
pub(super) enum Refusal {
    /// By the guard, which names the plugin.
    Denied(&'static str),
    Failed(String),
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) plugin: String,
    pub(super) config: BTreeMap<String, String>,
    pub(super) calls: Vec<HostCall>,
    pub(super) events: Vec<Event>,
    pub(super) mails: Vec<Mail>,
    pub(super) logs: Vec<LogRecord>,
    /// Calls that run, by token.
    pub(super) running: HashMap<String, Running>,
    tokens: u64,
    pub(super) refusals: HashMap<String, Refusal>,
    pub(super) answers: Answers,
    pub(super) stores: Stores,
    pub(super) texts: Texts,
}

impl State {
    /// Makes a call known, and returns its token.
    pub(super) fn begin(&mut self, call: Running) -> String {
        self.tokens += 1;
        let mut token = format!("testing-{}", self.tokens);
        if let Some((parent, state)) = &call.trace {
            token = call_token::traced(&token, parent, state.as_deref());
        }
        self.running.insert(token.clone(), call);
        token
    }
}
