//! The router, and what all requests go through.

use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;

use crate::admin;
use crate::cors::{self, Cors};
use crate::forwarded::ClientIp;
use crate::gateway::Gateway;
use crate::plugin_route::plugin_route;
use crate::problem::Problem;
use crate::request_id;
use crate::server::Peer;

/// The target of the line about each request, at level debug.
const ACCESS: &str = "gk_gateway::access";

impl Gateway {
    /// All of the host's endpoints, and behind them the plugins' routes.
    pub fn router(&self) -> Router {
        self.complete(admin::router().fallback(plugin_route))
    }

    /// Only what tells how the host is: for an address that clients cannot reach, or use up.
    pub fn health_router(&self) -> Router {
        self.complete(
            admin::health_router().fallback(async || Problem::not_found("there is nothing here")),
        )
    }

    fn complete(&self, router: Router<Gateway>) -> Router {
        // A router says which methods it has only at its outside, where this looks for it.
        Router::new()
            .fallback_service(router.with_state(self.clone()))
            .layer(middleware::from_fn_with_state(self.clone(), front))
    }
}

/// A request that is under way, until it is dropped.
struct Running<'a>(&'a watch::Sender<usize>);

impl<'a> Running<'a> {
    fn begin(running: &'a watch::Sender<usize>) -> Self {
        running.send_modify(|running| *running += 1);
        Running(running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

/// What all requests go through: whose they are, CORS, what is counted, and the end of the host.
async fn front(State(gateway): State<Gateway>, mut request: Request, next: Next) -> Response {
    let inner = &*gateway.inner;
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
    let (method, version) = (request.method().clone(), request.version());
    let origin = match inner.cors.origins.is_empty() {
        true => None,
        false => Some(request.headers().clone()),
    };
    let shown = tracing::enabled!(target: ACCESS, tracing::Level::DEBUG)
        .then(|| request.uri().path().to_owned());
    let mut response = match method == Method::OPTIONS && request.uri().path() == "*" {
        true => StatusCode::NO_CONTENT.into_response(),
        false => next.run(request).await,
    };
    if method == Method::OPTIONS {
        response = cors::options(response);
    } else if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        // The router's own has no text; what it says of the methods stays.
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
    if *inner.stopping.borrow() && version <= Version::HTTP_11 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let took = started.elapsed();
    inner.counts.count(response.status(), took);
    if let Some(path) = shown {
        tracing::debug!(target: ACCESS, client = client.map(tracing::field::display), %method, path, status = response.status().as_u16(), %request_id, ?took, "request");
    }
    response
}
