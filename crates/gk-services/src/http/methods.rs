//! `http_request`.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use gk_hostapi::json::{read, write};
use gk_hostapi::policy::{Counter, Queue, Rate};
use gk_hostapi::{Granted, HostError, Method, MethodSpec, Service, ServiceMethod};
use gk_manifest::PermissionKind;
use serde::{Deserialize, Serialize};

use super::{HttpClient, HttpRequest};
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
    let request = HttpRequest {
        method: outgoing.method,
        url: outgoing.url,
        headers: outgoing.headers.into_iter().collect(),
        body: outgoing.body.map(Bytes::from),
        trace: granted.call().and_then(|call| call.trace.clone()),
    };
    let response = http.send(request, scope, granted.deadline()).await?;
    write(&Response {
        status: response.status,
        body: BASE64.encode(&response.body),
        headers: response.headers,
    })
}
