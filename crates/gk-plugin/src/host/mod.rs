//! The host API, typed: requests of a plugin to its host.

mod db;
mod error;
mod files;
mod http;
mod stores;
pub(crate) mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use gk_protocol::plugin::HostApiClient;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use self::wire::Text;

pub use self::db::{Batch, Db, PAGE_ROWS_DEFAULT, Rows, Written};
pub use self::error::HostError;
pub use self::files::{FileInfo, Files, StoredFile};
pub use self::http::{HttpRequest, HttpResponse};
pub use self::stores::{Cache, Keys, Kv, KvPage};

/// Severity of a log record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogLevel {
    /// For whoever looks for a mistake.
    Debug,
    /// Worth knowing.
    Info,
    /// Something is odd.
    Warn,
    /// Something failed.
    Error,
}

impl LogLevel {
    fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Configuration that `Init` brought.
#[derive(Debug, Default)]
pub(crate) struct Initialised {
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) host: Option<HostApiClient>,
}

/// The host, on behalf of one call: it knows the user, the language and the deadline of that call.
/// Cheap to clone; requests run concurrently.
///
/// A handle that outlives its call is refused by the host. What a plugin does on its own account,
/// as in a task of its own, goes through [`detached`](Self::detached).
///
/// A request that is dropped is forgotten: its reply is thrown away when it comes. The host may
/// have done what was asked all the same.
#[derive(Clone)]
pub struct Host {
    pub(crate) plugin: Arc<Initialised>,
    pub(crate) call_token: Arc<str>,
}

impl Host {
    /// The host outside of any call: no user, and English.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self {
            plugin: Arc::clone(&self.plugin),
            call_token: "".into(),
        }
    }

    /// Returns `true` if there is a host API at all.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.plugin.host.is_some()
    }

    /// Calls a method by its wire name, for what has no method here.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        args: &impl Serialize,
    ) -> Result<T, HostError> {
        let args = serde_json::to_vec(args).map_err(|error| HostError::arguments(method, error))?;
        let reply = self.call_raw(method, args.into()).await?;
        // A target of `plugin_call` may answer nothing at all.
        let json = if reply.is_empty() {
            &b"null"[..]
        } else {
            &reply
        };
        serde_json::from_slice(json).map_err(|source| HostError::Result {
            method: method.to_owned(),
            source,
        })
    }

    /// Like [`call`](Self::call), with JSON as it is.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn call_raw(&self, method: &str, args: Bytes) -> Result<Bytes, HostError> {
        let host: &HostApiClient = self.plugin.host.as_ref().ok_or(HostError::NoHost)?;
        Ok(host.call(method, args, &self.call_token).await?)
    }

    async fn done(&self, method: &str, args: &Value) -> Result<(), HostError> {
        self.call::<IgnoredAny>(method, args).await.map(drop)
    }

    async fn text(&self, method: &str, args: &impl Serialize) -> Result<String, HostError> {
        self.call::<Text>(method, args).await.map(Text::value)
    }

    /// The database.
    #[must_use]
    pub fn db(&self) -> Db<'_> {
        Db::new(self)
    }

    /// The cache of this plugin; entries may be gone at any time.
    #[must_use]
    pub fn cache(&self) -> Cache<'_> {
        Cache::new(self)
    }

    /// The durable keys and values of this plugin.
    #[must_use]
    pub fn kv(&self) -> Kv<'_> {
        Kv::new(self)
    }

    /// The files of this plugin.
    #[must_use]
    pub fn files(&self) -> Files<'_> {
        Files::new(self)
    }

    /// Begins an HTTP request, which the host makes.
    pub fn http(&self, method: &str, url: &str) -> HttpRequest<'_> {
        HttpRequest::new(self, method, url)
    }

    /// Sends a mail to one recipient.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn send_email(
        &self,
        to: &str,
        subject: &str,
        body: &str,
        html: bool,
    ) -> Result<(), HostError> {
        let args = json!({ "to": to, "subject": subject, "body": body, "html": html });
        self.done("send_email", &args).await
    }

    /// Adds a record to the plugin's log. `tracing` events get there too, without a request.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn log(
        &self,
        level: LogLevel,
        message: &str,
        fields: Map<String, Value>,
    ) -> Result<(), HostError> {
        let args = json!({ "level": level.as_str(), "message": message, "fields": fields });
        self.done("log", &args).await
    }

    /// A setting of the host, such as `app.name`.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn config(&self, key: &str) -> Result<String, HostError> {
        self.text("config_get", &json!({ "key": key })).await
    }

    /// The text for a key in the language of the call, or the key itself. `args` is put into it: a
    /// slice or a tuple.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn translate(&self, key: &str, args: impl Serialize) -> Result<String, HostError> {
        #[derive(Serialize)]
        struct Translation<'a> {
            key: &'a str,
            args: &'a RawValue,
        }
        let args = &*list("translate", &args)?;
        self.text("translate", &Translation { key, args }).await
    }

    /// Calls a function of another plugin.
    ///
    /// # Errors
    /// See [`HostError`]; an error of the function is among those the host passes on.
    pub async fn plugin_call<T: DeserializeOwned>(
        &self,
        plugin: &str,
        function: &str,
        args: &impl Serialize,
    ) -> Result<T, HostError> {
        #[derive(Serialize)]
        struct PluginCall<'a, A> {
            plugin: &'a str,
            function: &'a str,
            args: &'a A,
        }
        let call = PluginCall {
            plugin,
            function,
            args,
        };
        self.call("plugin_call", &call).await
    }

    /// Publishes an event on a channel of this plugin (`""` is one of them). A text is sent as it
    /// is, anything else as JSON.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn publish_event(
        &self,
        channel: &str,
        event_type: &str,
        data: &impl Serialize,
    ) -> Result<(), HostError> {
        let data = match serde_json::to_value(data) {
            Ok(Value::String(text)) => text,
            Ok(other) => other.to_string(),
            Err(error) => return Err(HostError::arguments("publish_event", error)),
        };
        let args = json!({ "channel": channel, "event_type": event_type, "data": data });
        self.done("publish_event", &args).await
    }

    /// A secret of this plugin.
    ///
    /// # Errors
    /// See [`HostError`]; that there is none is one of them.
    pub async fn secure_config(&self, key: &str) -> Result<String, HostError> {
        self.text("secure_config_get", &json!({ "key": key })).await
    }

    /// Stores a secret of this plugin, encrypted.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn set_secure_config(&self, key: &str, value: &str) -> Result<(), HostError> {
        self.done("secure_config_set", &json!({ "key": key, "value": value }))
            .await
    }

    /// The organisation of the call, 0 for none.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn org_id(&self) -> Result<i64, HostError> {
        self.call("org_id", &json!({})).await
    }

    /// The host's clock.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn time_now(&self) -> Result<OffsetDateTime, HostError> {
        #[derive(serde::Deserialize)]
        struct Now {
            #[serde(deserialize_with = "moment")]
            now: OffsetDateTime,
        }
        self.call::<Now>("time_now", &json!({}))
            .await
            .map(|now| now.now)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the token: who has it acts for the call.
        f.debug_struct("Host")
            .field("available", &self.is_available())
            .finish_non_exhaustive()
    }
}

/// Arguments that travel as a JSON array: a slice, a tuple, or `()` for none.
fn list(method: &str, args: &impl Serialize) -> Result<Box<RawValue>, HostError> {
    let refused = |error| HostError::arguments(method, error);
    let args = serde_json::value::to_raw_value(args).map_err(refused)?;
    match args.get() {
        "null" => serde_json::value::to_raw_value::<[(); 0]>(&[]).map_err(refused),
        list if list.starts_with('[') => Ok(args),
        _ => Err(HostError::arguments(
            method,
            "they must be a slice, a tuple or ()",
        )),
    }
}

/// A moment in RFC 3339.
fn moment<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<OffsetDateTime, D::Error> {
    let text: std::borrow::Cow<'de, str> = serde::Deserialize::deserialize(deserializer)?;
    OffsetDateTime::parse(&text, &Rfc3339).map_err(serde::de::Error::custom)
}
