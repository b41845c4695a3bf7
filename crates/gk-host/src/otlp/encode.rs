//! Spans and log entries as OTLP's messages.

use std::time::{Duration, SystemTime};

use gk_hostapi::spans::{Span, SpanKind};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind as Kind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Encoded, Status};

use super::logs::LogEntry;

/// Returns a request with spans.
pub(super) fn spans(resource: &[(String, String)], spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope = ScopeSpans {
        scope: Some(scope()),
        spans: spans.into_iter().map(span).collect(),
        ..ScopeSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(self::resource(resource)),
            scope_spans: vec![scope],
            ..ResourceSpans::default()
        }],
    }
}

fn span(span: Span) -> Encoded {
    let kind = match span.kind {
        SpanKind::Client => Kind::Client,
        SpanKind::Server => Kind::Server,
    };
    let status = span.error.map(|error| Status {
        code: StatusCode::Error.into(),
        message: error.to_owned(),
    });
    let attributes = span.attributes.into_iter();
    let start = nanos(span.started);
    Encoded {
        trace_id: span.trace.trace_id().0.to_vec(),
        span_id: span.trace.span_id().0.to_vec(),
        trace_state: span.trace.tracestate().unwrap_or_default().to_owned(),
        parent_span_id: span.parent.map(|id| id.0.to_vec()).unwrap_or_default(),
        flags: u32::from(span.trace.is_sampled()),
        name: span.name.to_owned(),
        kind: kind.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: start.saturating_add(whole_nanos(span.took)),
        attributes: attributes.map(|(name, value)| text(name, value)).collect(),
        status,
        ..Encoded::default()
    }
}

/// Returns a request with log entries.
pub(super) fn logs(
    resource: &[(String, String)],
    entries: Vec<LogEntry>,
) -> ExportLogsServiceRequest {
    let scope = ScopeLogs {
        scope: Some(scope()),
        log_records: entries.into_iter().map(entry).collect(),
        ..ScopeLogs::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(self::resource(resource)),
            scope_logs: vec![scope],
            ..ResourceLogs::default()
        }],
    }
}

fn entry(entry: LogEntry) -> LogRecord {
    let severity = match entry.level {
        tracing::Level::ERROR => SeverityNumber::Error,
        tracing::Level::WARN => SeverityNumber::Warn,
        tracing::Level::INFO => SeverityNumber::Info,
        tracing::Level::DEBUG => SeverityNumber::Debug,
        tracing::Level::TRACE => SeverityNumber::Trace,
    };
    let time = nanos(entry.time);
    let mut attributes = vec![text("log.target", entry.target.to_owned())];
    let fields = entry.fields.into_iter();
    attributes.extend(fields.map(|(name, value)| text(name, value)));
    LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: time,
        severity_number: severity.into(),
        severity_text: entry.level.as_str().to_owned(),
        body: Some(AnyValue {
            value: Some(Value::StringValue(entry.message)),
        }),
        attributes,
        trace_id: entry.trace_id.map(|id| id.0.to_vec()).unwrap_or_default(),
        ..LogRecord::default()
    }
}

pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "gk-host".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

pub(super) fn resource(attributes: &[(String, String)]) -> Resource {
    let attributes = attributes.iter();
    Resource {
        attributes: attributes
            .map(|(name, value)| text(name, value.clone()))
            .collect(),
        ..Resource::default()
    }
}

pub(super) fn text(name: &str, value: String) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value)),
        }),
        ..KeyValue::default()
    }
}

/// Returns a time in nanoseconds since 1970.
pub(super) fn nanos(time: SystemTime) -> u64 {
    whole_nanos(
        time.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

fn whole_nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
