//! Connection of a process to the host API: identifies the caller, and the call during which it
//! asks.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use gk_hostapi::spans::{ActiveSpan, SpanKind};
use gk_hostapi::{CallInfo, Caller, HostApi, LogLevel, PluginProcess, Shape};
use gk_manifest::PluginName;
use gk_protocol::SdkGeneration;
use gk_protocol::host::{HostApiHandler, HostRequest};
use serde_json::{Map, Value};
use tracing::field::display;

use crate::calls::{Calls, RunningCall};
use crate::log::{LogSink, LogSource, Record};

/// The target of the line about each request of a plugin to the host API, at level debug.
const CALLBACKS: &str = "gk_runtime::callbacks";

/// The field of a log record that names the request during which it was logged.
const REQUEST_ID: &str = "request_id";

/// The field of a log record that names the trace during which it was logged.
const TRACE_ID: &str = "trace_id";

/// Serves one process's connections: identifies the caller, then forwards to the host API.
pub(crate) struct ConnectionHostApi {
    api: Arc<dyn HostApi>,
    view: Arc<View>,
}

/// Part of the process's state that the host API may see.
#[derive(Debug)]
struct View {
    plugin: PluginName,
    generation: u64,
    calls: Arc<Calls>,
    log: LogSink,
}

impl View {
    fn info(&self, call: &RunningCall) -> CallInfo {
        let chain = call
            .context
            .chain
            .then(self.plugin.clone(), call.function.as_str());
        let mut info = CallInfo::new(call.deadline, chain);
        info.user.clone_from(&call.context.user);
        info.language.clone_from(&call.context.language);
        info.request_id.clone_from(&call.context.request_id);
        info.trace.clone_from(&call.context.trace);
        info
    }
}

impl View {
    /// Makes a request a span of its own within that of its call. Returns the span if it is
    /// recorded.
    fn begin(&self, info: &mut CallInfo, method: &str) -> Option<ActiveSpan> {
        let parent = info.trace.take()?;
        let trace = parent.child();
        let attributes = || {
            vec![
                ("goatkit.plugin", self.plugin.to_string()),
                ("goatkit.method", crate::log::cut(method, 128).to_owned()),
            ]
        };
        let span = ActiveSpan::begin(&parent, &trace, SpanKind::Server, "host API", attributes);
        info.trace = Some(trace);
        span
    }
}

impl PluginProcess for View {
    fn log(
        &self,
        level: LogLevel,
        message: &str,
        fields: &Map<String, Value>,
        call: Option<&CallInfo>,
    ) {
        let mut record = Record::text(level, crate::log::printable(message));
        let request_id = call.and_then(|call| call.request_id.as_ref());
        if let Some(id) = request_id {
            record.push_field(REQUEST_ID, &Value::from(id.as_str()));
        }
        let trace = call.and_then(|call| call.trace.as_ref());
        if let Some(trace) = trace {
            record.push_field(TRACE_ID, &Value::from(trace.trace_id().to_string()));
        }
        for (name, value) in fields {
            let is_hosts = (name == REQUEST_ID && request_id.is_some())
                || (name == TRACE_ID && trace.is_some());
            if !is_hosts {
                record.push_field(name, value);
            }
        }
        self.log.plugin(self.generation, LogSource::HostApi, record);
    }

    fn running_calls(&self) -> Vec<CallInfo> {
        let running = self.calls.running();
        running.iter().map(|call| self.info(call)).collect()
    }

    fn latest_deadline(&self) -> Option<Instant> {
        self.calls.latest_deadline()
    }
}

impl ConnectionHostApi {
    pub(crate) fn new(
        plugin: PluginName,
        generation: u64,
        calls: Arc<Calls>,
        log: LogSink,
        api: Arc<dyn HostApi>,
    ) -> Self {
        let view = View {
            plugin,
            generation,
            calls,
            log,
        };
        Self {
            api,
            view: Arc::new(view),
        }
    }

    async fn serve(
        &self,
        method: &str,
        args: Bytes,
        token: Option<&str>,
        sdk: SdkGeneration,
    ) -> Result<Bytes, String> {
        let view = &self.view;
        let mut span = None;
        let call = match token {
            None | Some("") => None,
            Some(token) => {
                let call = view.calls.resolve(token);
                let mut info = view.info(&call.ok_or("unknown or finished call context")?);
                span = view.begin(&mut info, method);
                Some(info)
            }
        };
        let shape = match sdk {
            SdkGeneration::G2 => Shape::BareString,
            _ => Shape::Object,
        };
        let process = Arc::clone(view) as Arc<dyn PluginProcess>;
        let caller = Caller::new(view.plugin.clone(), view.generation, process)
            .with_call(call)
            .with_shape(shape);
        let started = Instant::now();
        let answer = self.api.call(&caller, method, args).await;
        if let Some(span) = span {
            span.end(answer.as_ref().err().map(|error| error.kind().as_str()));
        }
        if tracing::enabled!(target: CALLBACKS, tracing::Level::DEBUG) {
            let call = caller.call.as_ref();
            let id = call.and_then(|call| call.request_id.as_ref());
            let (request_id, error) = (id.map(display), answer.as_ref().err().map(display));
            let trace = call.and_then(|call| call.trace.as_ref());
            let trace_id = trace.map(|trace| display(trace.trace_id()));
            let (plugin, generation, took) = (&view.plugin, view.generation, started.elapsed());
            let method = crate::log::cut(method, 128);
            tracing::debug!(target: CALLBACKS, %plugin, generation, method, request_id, trace_id, error, ?took, "callback");
        }
        answer.map_err(|error| error.to_string())
    }
}

#[async_trait]
impl HostApiHandler for ConnectionHostApi {
    async fn call(&self, request: HostRequest) -> Result<Bytes, String> {
        let token = request.call_token.as_deref();
        self.serve(&request.method, request.args, token, request.generation)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::{CallContext, FunctionName};
    use crate::log::LogQuery;
    use gk_hostapi::{BasicHostApi, RequestId, TraceContext};

    fn handler() -> (ConnectionHostApi, LogSink) {
        let plugin = PluginName::new("p").unwrap();
        let log = LogSink::new(plugin.clone());
        let calls = Arc::new(Calls::new());
        let api = Arc::new(BasicHostApi::new());
        (
            ConnectionHostApi::new(plugin, 2, calls, log.clone(), api),
            log,
        )
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
        let error = ask(&handler, "log", r#"{"message":7}"#, None)
            .await
            .unwrap_err();
        assert!(error.contains("line 1"), "{error}");
    }

    #[tokio::test]
    async fn what_is_said_during_a_request_has_its_id() {
        let (handler, log) = handler();
        let parent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = CallContext::new()
            .with_request_id(RequestId::new(b"r-1").unwrap())
            .with_trace(TraceContext::parse(parent).unwrap());
        let call = RunningCall {
            function: FunctionName::new("f"),
            deadline: Instant::now(),
            context,
        };
        let ticket = handler.view.calls.begin(call, None);
        let args = r#"{"message":"m","fields":{"a":1,"request_id":"forged","trace_id":"forged"}}"#;
        let (during, alone) = (Some(ticket.token()), None);
        for token in [during, alone] {
            ask(&handler, "log", args, token).await.unwrap();
        }
        let fields = |number: usize| log.read(&LogQuery::all())[number].fields.clone();
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let trace_id = field("trace_id", "0af7651916cd43dd8448eb211c80319c");
        let request_id = field("request_id", "r-1");
        assert_eq!(fields(0), [request_id, trace_id, field("a", "1")]);
        let [request_id, trace_id] = ["request_id", "trace_id"].map(|name| field(name, "forged"));
        assert_eq!(fields(1), [field("a", "1"), request_id, trace_id]);
    }

    #[tokio::test]
    async fn what_is_not_there_says_so() {
        let handler = handler().0;
        assert_eq!(
            ask(&handler, "db_query", "{}", None).await.unwrap_err(),
            "method \"db_query\" is not provided by this host"
        );
        assert_eq!(
            ask(&handler, "log", "{}", Some("0123")).await.unwrap_err(),
            "unknown or finished call context"
        );
    }
}
