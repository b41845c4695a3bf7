//! Processing that all requests share.

use std::time::Instant;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use gk_hostapi::TraceContext;
use tokio::sync::watch;

use crate::admin;
use crate::cors::{self, Cors};
use crate::forwarded::ClientIp;
use crate::gateway::Gateway;
use crate::paths::PLUGINS_PREFIX;
use crate::plugin_route::plugin_route;
use crate::problem::Problem;
use crate::request_id;
use crate::server::{Answer, Peer};
use crate::trace;

/// Target of the log line about each request, at level debug.
const ACCESS: &str = "gk_gateway::access";

/// Answers requests: to the host's own endpoints, and to the plugins' routes. A cheap clone.
#[derive(Debug, Clone)]
pub struct Front {
    gateway: Gateway,
    /// Router of the host's own endpoints, with a fallback for everything else.
    own: Router,
    /// Plugins have routes here.
    serves_plugins: bool,
}

impl Gateway {
    /// Returns the front for all of the host's endpoints, and the plugins' routes.
    pub fn front(&self) -> Front {
        Front {
            gateway: self.clone(),
            own: admin::router()
                .fallback(plugin_route)
                .with_state(self.clone()),
            serves_plugins: true,
        }
    }

    /// Returns the front for health requests alone: for an address that clients cannot reach, or
    /// use up.
    pub fn health_front(&self) -> Front {
        let nothing = async || Problem::not_found("there is nothing here");
        Front {
            gateway: self.clone(),
            own: admin::health_router()
                .fallback(nothing)
                .with_state(self.clone()),
            serves_plugins: false,
        }
    }
}

impl Answer for Front {
    /// Adds the client's address, the request id, CORS headers, metrics, and the closing of
    /// connections when the host stops.
    async fn answer(&self, mut request: Request) -> Response {
        let inner = &*self.gateway.inner;
        let started = Instant::now();
        let _running =
            (!admin::is_health(request.uri().path())).then(|| Running::begin(&inner.running));
        let peer = request.extensions().get::<Peer>().copied();
        let client = inner.proxies.client(peer, request.headers());
        if let Some(client) = client {
            request.extensions_mut().insert(ClientIp(client));
        }
        let request_id = request_id::of(request.headers());
        request.extensions_mut().insert(request_id.clone());
        let trace = trace::of(request.headers());
        let trace_id = trace.as_ref().map(TraceContext::trace_id);
        if let Some(trace) = trace {
            request.extensions_mut().insert(trace);
        }
        let (method, version) = (request.method().clone(), request.version());
        let origin = match inner.cors.origins.is_empty() {
            true => None,
            false => Some(request.headers().clone()),
        };
        let shown = tracing::enabled!(target: ACCESS, tracing::Level::DEBUG)
            .then(|| request.uri().path().to_owned());
        let mut response = match method == Method::OPTIONS && request.uri().path() == "*" {
            true => StatusCode::NO_CONTENT.into_response(),
            false => self.route(request).await,
        };
        if method == Method::OPTIONS {
            response = cors::options(response);
        } else if response.status() == StatusCode::METHOD_NOT_ALLOWED {
            // The router's own answer has no text; its list of methods is kept.
            let allowed = response.headers_mut().remove(header::ALLOW);
            response =
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed").into_response();
            if let Some(allowed) = allowed {
                response.headers_mut().insert(header::ALLOW, allowed);
            }
        }
        if let Some(request) = origin {
            let preflight = Cors::is_preflight(&method, &request);
            inner.cors.apply(&request, preflight, &mut response);
        }
        request_id::tell(&request_id, &mut response);
        let headers = response.headers_mut();
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        if inner.stopping.is_cancelled() && version <= Version::HTTP_11 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if method == Method::HEAD {
            response = bodiless(response);
        }
        let took = started.elapsed();
        inner.counts.count(response.status(), took);
        if let Some(path) = shown {
            let trace_id = trace_id.map(tracing::field::display);
            tracing::debug!(target: ACCESS, client = client.map(tracing::field::display), %method, path, status = response.status().as_u16(), %request_id, trace_id, ?took, "request");
        }
        response
    }
}

impl Front {
    /// Routes a request. A path below a plugin's own prefix has no endpoint of the host's, so it
    /// skips that router.
    async fn route(&self, request: Request) -> Response {
        if self.serves_plugins && request.uri().path().starts_with(PLUGINS_PREFIX) {
            let gateway = State(self.gateway.clone());
            // Boxed to keep idle connections small.
            return Box::pin(plugin_route(gateway, request)).await;
        }
        Box::pin(self.own.answer(request)).await
    }
}

/// Returns the answer to HEAD: headers as for GET, without the body. HTTP/2 would send the body.
fn bodiless(mut response: Response) -> Response {
    let length = response.body().size_hint().exact();
    let headers = response.headers_mut();
    if let Some(length) = length
        && !headers.contains_key(header::TRANSFER_ENCODING)
    {
        let entry = headers.entry(header::CONTENT_LENGTH);
        entry.or_insert_with(|| length.into());
    }
    *response.body_mut() = Body::empty();
    response
}

/// Guard of a request that is under way, until dropped.
struct Running<'a>(&'a watch::Sender<usize>);

impl<'a> Running<'a> {
    fn begin(running: &'a watch::Sender<usize>) -> Self {
        // Waiters are interested only in the last request's end.
        running.send_if_modified(|running| {
            *running += 1;
            false
        });
        Running(running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.send_if_modified(|running| {
            *running -= 1;
            *running == 0
        });
    }
}
