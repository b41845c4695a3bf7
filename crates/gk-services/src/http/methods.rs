//! `http_request`.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use gk_hostapi::json::{read, write};
use gk_hostapi::policy::{Counter, Queue, Rate};
use gk_hostapi::spans::{ActiveSpan, SpanKind};
use gk_hostapi::{Granted, HostError, Method, MethodSpec, Service, ServiceMethod, TraceContext};
use gk_manifest::PermissionKind;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{HttpClient, HttpRequest, METHOD_BYTES_MAX};
use crate::wire::{Binary, not_granted, or_default};

/// The method of the HTTP client.
pub(crate) const METHODS: &[ServiceMethod<HttpClient>] = &[ServiceMethod::new(
    MethodSpec::needing(
        "http_request",
        PermissionKind::Http,
        None,
        "HTTP outbound access not granted",
    )
    .limited(Rate::Http)
    .queued(Queue::Http)
    .counted(Counter::HttpRequests),
    |http, granted, args| Box::pin(request(http, granted, args)),
)];

impl Service for HttpClient {
    fn methods(self: Arc<Self>) -> Vec<Arc<dyn Method>> {
        ServiceMethod::all(METHODS, &self)
    }
}

#[derive(Deserialize)]
struct Outgoing {
    #[serde(default)]
    method: String,
    url: String,
    #[serde(default, deserialize_with = "or_default")]
    headers: BTreeMap<String, String>,
    body: Option<Binary>,
}

/// Makes the request a span of its own in the trace of the call it belongs to. Returns the trace,
/// and the span if it is recorded.
fn begin(granted: &Granted<'_>, outgoing: &Outgoing) -> (Option<TraceContext>, Option<ActiveSpan>) {
    let Some(parent) = granted.call().and_then(|call| call.trace.as_ref()) else {
        return (None, None);
    };
    let trace = parent.child();
    // Path and query may hold keys.
    let attributes = || {
        let method: String = outgoing.method.chars().take(METHOD_BYTES_MAX).collect();
        let url = Url::parse(&outgoing.url).ok();
        let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
        vec![
            ("goatkit.plugin", granted.plugin().to_string()),
            ("http.request.method", method.to_ascii_uppercase()),
            ("server.address", host.to_owned()),
        ]
    };
    let span = ActiveSpan::begin(parent, &trace, SpanKind::Client, "HTTP request", attributes);
    (Some(trace), span)
}

#[derive(Serialize)]
struct Response {
    status: u16,
    body: String,
    headers: BTreeMap<String, Vec<String>>,
}

async fn request(
    http: &HttpClient,
    granted: &Granted<'_>,
    args: Bytes,
) -> Result<Bytes, HostError> {
    let scope = granted.grants().http.as_ref().ok_or_else(not_granted)?;
    let outgoing: Outgoing = read(&args)?;
    let (trace, span) = begin(granted, &outgoing);
    let request = HttpRequest {
        method: outgoing.method,
        url: outgoing.url,
        headers: outgoing.headers.into_iter().collect(),
        body: outgoing.body.map(Bytes::from),
        trace,
    };
    let response = http.send(request, scope, granted.deadline()).await;
    if let Some(mut span) = span {
        if let Ok(response) = &response {
            span.add("http.response.status_code", response.status.to_string());
        }
        span.end(response.as_ref().err().map(|error| error.kind().as_str()));
    }
    let response = response?;
    write(&Response {
        status: response.status,
        body: BASE64.encode(&response.body),
        headers: response.headers,
    })
}
