//! What plugins can ask of the host: the trait the runtime is given, and the basic service.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use gk_manifest::PluginName;
use gk_protocol::SdkGeneration;
use gk_protocol::host::{HostApiHandler, HostRequest};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::calls::{Calls, RunningCall};
use crate::limits::HOST_LOG_BYTES_MAX;
use crate::log::{LogLevel, LogSink, LogSource, Record};

/// A host API. Identity and call context come from the runtime, never from the message.
#[async_trait]
pub trait HostApi: Send + Sync + fmt::Debug + 'static {
    /// Serves one request with JSON arguments; the result is JSON, the error a text for the
    /// plugin.
    ///
    /// # Errors
    /// The text that the plugin's SDK gets.
    async fn call(&self, caller: &HostCaller, method: &str, args: Bytes) -> Result<Bytes, String>;
}

/// Who asks: one plugin process, perhaps during a call into it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HostCaller {
    /// The plugin on whose connection the request came.
    pub plugin: PluginName,
    /// The number of its process.
    pub generation: u64,
    /// The generation of its SDK, which decides the shape of some results.
    pub sdk: SdkGeneration,
    /// The call it is serving, where it says which.
    pub call: Option<RunningCall>,
    log: LogSink,
}

impl HostCaller {
    /// Adds a record to the plugin's log.
    pub fn log(&self, level: LogLevel, message: &str, fields: &serde_json::Map<String, Value>) {
        let mut record = Record::text(level, crate::log::printable(message));
        for (name, value) in fields {
            record.push_field(name, value);
        }
        self.log.plugin(self.generation, LogSource::HostApi, record);
    }
}

/// Serves one process's connection: finds out who asks, then asks the host API.
pub(crate) struct ConnectionHostApi {
    pub(crate) plugin: PluginName,
    pub(crate) generation: u64,
    pub(crate) calls: Arc<Calls>,
    pub(crate) log: LogSink,
    pub(crate) api: Arc<dyn HostApi>,
}

#[async_trait]
impl HostApiHandler for ConnectionHostApi {
    async fn call(&self, request: HostRequest) -> Result<Bytes, String> {
        let token = request.call_token.as_deref();
        self.serve(&request.method, request.args, token, request.generation)
            .await
    }
}

impl ConnectionHostApi {
    async fn serve(
        &self,
        method: &str,
        args: Bytes,
        token: Option<&str>,
        sdk: SdkGeneration,
    ) -> Result<Bytes, String> {
        let call = match token {
            None | Some("") => None,
            Some(token) => Some(
                self.calls
                    .resolve(token)
                    .ok_or("unknown or finished call context")?,
            ),
        };
        let caller = HostCaller {
            plugin: self.plugin.clone(),
            generation: self.generation,
            sdk,
            call,
            log: self.log.clone(),
        };
        self.api.call(&caller, method, args).await
    }
}

/// The services that need nothing but the runtime: `log` and `time_now`.
#[derive(Debug, Default, Clone, Copy)]
#[non_exhaustive]
pub struct BasicHostApi;

/// The contract's other methods (§6.2), told apart from misspelt ones.
const NOT_PROVIDED: &[&str] = &[
    "cache_delete",
    "cache_get",
    "cache_set",
    "change_ticket_status",
    "config_get",
    "create_article",
    "create_article_attachment",
    "custom_fields_get",
    "custom_fields_query",
    "custom_fields_set",
    "db_exec",
    "db_query",
    "delete_article_attachment",
    "delete_file",
    "entity_hard_delete",
    "entity_restore",
    "entity_soft_delete",
    "generate_thumbnail",
    "get_file",
    "http_request",
    "list_article_attachments",
    "list_files",
    "list_ticket_states",
    "list_ticket_views",
    "org_id",
    "plugin_call",
    "publish_event",
    "recycle_bin_list",
    "render_markdown_to_pdf",
    "secure_config_get",
    "secure_config_set",
    "send_email",
    "store_file",
    "translate",
];

impl BasicHostApi {
    /// The service.
    pub fn new() -> Self {
        Self
    }
}

#[async_trait]
impl HostApi for BasicHostApi {
    async fn call(&self, caller: &HostCaller, method: &str, args: Bytes) -> Result<Bytes, String> {
        match method {
            "log" => log(caller, &args),
            "time_now" => time_now(OffsetDateTime::now_utc()),
            known if NOT_PROVIDED.contains(&known) => {
                Err(format!("method \"{known}\" is not provided by this host"))
            }
            unknown => Err(format!(
                "unknown host API method: {}",
                crate::log::cut(unknown, 128)
            )),
        }
    }
}

fn log(caller: &HostCaller, args: &Bytes) -> Result<Bytes, String> {
    if args.len() > HOST_LOG_BYTES_MAX {
        return Err(format!(
            "a log record has at most {HOST_LOG_BYTES_MAX} bytes, not {}",
            args.len()
        ));
    }
    let args: Value = serde_json::from_slice(args).map_err(|error| error.to_string())?;
    let text = |name: &str| args.get(name).and_then(Value::as_str);
    let message = text("message").ok_or("log: \"message\" must be a string")?;
    // An unknown level is no reason to lose what was said.
    let level = text("level")
        .and_then(LogLevel::parse)
        .unwrap_or(LogLevel::Info);
    let none = serde_json::Map::new();
    caller.log(
        level,
        message,
        args.get("fields")
            .and_then(Value::as_object)
            .unwrap_or(&none),
    );
    Ok(Bytes::from_static(br#"{"ok":true}"#))
}

fn time_now(now: OffsetDateTime) -> Result<Bytes, String> {
    let now = now.format(&Rfc3339).map_err(|error| error.to_string())?;
    Ok(Bytes::from(serde_json::json!({ "now": now }).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogQuery;

    fn handler() -> (ConnectionHostApi, LogSink) {
        let plugin = PluginName::new("p").unwrap();
        let log = LogSink::new(plugin.clone());
        let handler = ConnectionHostApi {
            plugin,
            generation: 2,
            calls: Arc::new(Calls::new()),
            log: log.clone(),
            api: Arc::new(BasicHostApi),
        };
        (handler, log)
    }

    async fn ask(
        handler: &ConnectionHostApi,
        method: &str,
        args: &'static str,
        token: Option<&str>,
    ) -> Result<String, String> {
        let answer = handler
            .serve(
                method,
                Bytes::from_static(args.as_bytes()),
                token,
                SdkGeneration::G3,
            )
            .await;
        answer.map(|result| String::from_utf8(result.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn log_reaches_the_plugins_ring() {
        let (handler, log) = handler();
        let answer = ask(
            &handler,
            "log",
            r#"{"level":"WARN","message":"low\u001b[2J","fields":{"free":3}}"#,
            None,
        )
        .await;
        assert_eq!(answer.unwrap(), r#"{"ok":true}"#);
        let entries = log.read(&LogQuery::all());
        assert_eq!(
            (entries[0].level, entries[0].source, entries[0].generation),
            (LogLevel::Warn, LogSource::HostApi, 2)
        );
        assert_eq!(entries[0].message, "low\\u{1b}[2J");
        assert_eq!(entries[0].fields, [("free".to_owned(), "3".to_owned())]);
        assert!(ask(&handler, "log", "", Some("")).await.is_err());
        assert!(
            ask(&handler, "log", r#"{"message":7}"#, None)
                .await
                .unwrap_err()
                .contains("message")
        );
    }

    #[tokio::test]
    async fn time_has_nanoseconds() {
        let answer = ask(&handler().0, "time_now", "{}", None).await.unwrap();
        let now: Value = serde_json::from_str(&answer).unwrap();
        assert!(now["now"].as_str().unwrap().ends_with('Z'), "{now}");
        let moment = OffsetDateTime::from_unix_timestamp_nanos(1_000_000_001).unwrap();
        assert_eq!(
            time_now(moment).unwrap(),
            r#"{"now":"1970-01-01T00:00:01.000000001Z"}"#
        );
    }

    #[tokio::test]
    async fn what_is_not_there_says_so() {
        let handler = handler().0;
        assert_eq!(
            ask(&handler, "db_query", "{}", None).await.unwrap_err(),
            "method \"db_query\" is not provided by this host"
        );
        assert_eq!(
            ask(&handler, "nonsense", "{}", None).await.unwrap_err(),
            "unknown host API method: nonsense"
        );
        assert_eq!(
            ask(&handler, "time_now", "{}", Some("0123"))
                .await
                .unwrap_err(),
            "unknown or finished call context"
        );
    }
}
