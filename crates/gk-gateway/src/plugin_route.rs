//! Requests to plugins' routes.

use std::sync::Arc;

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gk_runtime::{CallError, CallTarget};

use crate::bodies::BODY_BYTES_MAX;
use crate::envelope::{Incoming, call_context};
use crate::forwarded;
use crate::gateway::Gateway;
use crate::problem::Problem;
use crate::routes::{Found, Route};
use crate::tokens::Identity;
use crate::{answer, auth};

/// Everything that is not the host's own.
pub(crate) async fn plugin_route(State(gateway): State<Gateway>, request: Request) -> Response {
    serve(&gateway, request)
        .await
        .unwrap_or_else(IntoResponse::into_response)
}

async fn serve(gateway: &Gateway, request: Request) -> Result<Response, Problem> {
    let inner = &*gateway.inner;
    let table = inner.table.load_full();
    let found = table.find(request.method(), request.uri().path());
    // Blocked means the same whatever is known of the plugin's routes.
    let owner = match &found {
        Found::Route { route, .. } => Some(&route.plugin),
        _ => table.owner(request.uri().path()),
    };
    if let Some(plugin) = owner.filter(|plugin| gateway.is_blocked(plugin)) {
        let refused = CallError::Refused {
            plugin: plugin.clone(),
            reason: "it is blocked by its policy".to_owned(),
        };
        return Err(Problem::from_call(
            &refused,
            gateway
                .caller(&request)?
                .as_ref()
                .map(Identity::user)
                .as_ref(),
        ));
    }
    let (route, params) = match found {
        Found::Route { route, params } => (route, params),
        Found::OtherMethods(methods) => {
            let mut response =
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed").into_response();
            if let Ok(allow) = HeaderValue::from_str(&methods.join(", ")) {
                response.headers_mut().insert(header::ALLOW, allow);
            }
            return Ok(response);
        }
        Found::Nothing => {
            return Err(match owner.filter(|plugin| table.is_unknown(plugin)) {
                // What it would serve is not known, so nobody can say that this is not there.
                Some(plugin) => Problem::not_running(plugin.as_str()),
                None => Problem::not_found("there is nothing here"),
            });
        }
    };
    // A token that is sent must be valid, also where none is needed.
    let caller = gateway.caller(&request)?;
    auth::require(caller.as_ref(), &route.middleware)?;
    let (parts, body) = request.into_parts();
    let limit = inner
        .host_api
        .as_ref()
        .filter(|_| !body.is_end_stream())
        .and_then(|host| host.policies().http(&route.plugin).body_bytes)
        .unwrap_or(BODY_BYTES_MAX);
    let body = inner
        .bodies
        .read_up_to(limit, &parts.headers, body, &inner.heavy)
        .await?;
    let incoming = Incoming {
        client: forwarded::client(&parts.extensions),
        parts,
        params,
        body,
        caller: caller.as_ref().map(Identity::user),
        skip_org: route.skip_org,
    };
    let (args, incoming) = gateway.arguments().arguments(incoming).await?;
    let caller = incoming.caller.as_ref();
    let context = call_context(caller, &incoming.parts);
    // What of it the plugin needs is in the arguments.
    drop(incoming.body);
    let route = still_meant(gateway, route, &incoming.parts)?;
    let target = route.target.as_ref();
    let result = gateway
        .call(target, &route.plugin, &route.function, args, context)
        .await;
    let result = result.map_err(|error| Problem::from_call(&error, caller))?;
    Ok(answer::answer(gateway, &route.plugin, result).await)
}

/// The route that a request takes now that it is read. While a client sends a body, another version may have come up:
/// then its route counts, if it asks for the same; who may call a function is decided by the version that runs it.
fn still_meant(gateway: &Gateway, route: Arc<Route>, parts: &Parts) -> Result<Arc<Route>, Problem> {
    if !route.target.as_ref().is_some_and(CallTarget::is_closed) {
        return Ok(route);
    }
    let table = gateway.inner.table.load();
    match table.find(&parts.method, parts.uri.path()) {
        Found::Route { route: now, .. } if now.is_like(&route) => Ok(now),
        _ => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "another version of the plugin came up while the request was read; send it again",
        )
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))),
    }
}
