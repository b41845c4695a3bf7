//! Requests to plugins' routes.

use std::sync::Arc;

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use gk_runtime::{CallContext, CallError};

use crate::bodies::BODY_BYTES_MAX;
use crate::envelope::{Incoming, call_context};
use crate::forwarded;
use crate::gateway::Gateway;
use crate::problem::Problem;
use crate::routes::{Found, Route};
use crate::tokens::Identity;
use crate::{answer, auth};

/// Answers every request that is not for the host's own endpoints.
pub(crate) async fn plugin_route(State(gateway): State<Gateway>, request: Request) -> Response {
    serve(&gateway, request)
        .await
        .unwrap_or_else(IntoResponse::into_response)
}

async fn serve(gateway: &Gateway, request: Request) -> Result<Response, Problem> {
    let inner = &*gateway.inner;
    let mut table = inner.table.load_full();
    let mut found = table.find(request.method(), request.uri().path());
    if let Found::Nothing = found
        && let Some(plugin) = table.owner(request.uri().path())
        && table.is_unknown(plugin)
        && !gateway.is_blocked(plugin)
    {
        // The routes of the plugin are known only once it has started.
        let _ = Box::pin(inner.runtime.came_up(plugin.as_str(), None)).await;
        gateway.refresh();
        table = inner.table.load_full();
        found = table.find(request.method(), request.uri().path());
    }
    // A blocked plugin is refused in the same way whether or not the route exists.
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
                // The routes of the plugin are not known, so 404 would be premature.
                Some(plugin) => {
                    Problem::from_call(&inner.runtime.not_called(plugin.as_str()), None)
                }
                None => Problem::not_found("there is nothing here"),
            });
        }
    };
    // A token that is sent must be valid, even if the route needs none.
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
    // The arguments contain the parts of the body that the plugin needs.
    drop(incoming.body);
    let plugin = route.plugin.clone();
    let result = send(gateway, route, &incoming.parts, args, context).await;
    let result = result.map_err(|failed| match failed {
        Failed::Call(error) => Problem::from_call(&error, caller),
        Failed::Changed => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the plugin changed meanwhile; send the request again",
        )
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("1")),
    })?;
    Ok(answer::answer(gateway, &plugin, result).await)
}

/// Maximum number of generations that a request follows before it fails.
const MOVES_MAX: usize = 8;

/// Reason why a request has no answer.
enum Failed {
    Call(CallError),
    /// The route changed meanwhile.
    Changed,
}

/// Calls the function of a route, in the generation that the route belongs to: each version decides
/// which callers may call its functions. If that generation takes no more calls, or ends before it
/// answers a request that may be sent twice, the same route of the next generation is used.
async fn send(
    gateway: &Gateway,
    mut route: Arc<Route>,
    parts: &Parts,
    args: Bytes,
    context: CallContext,
) -> Result<Bytes, Failed> {
    let runtime = &gateway.inner.runtime;
    let mut repeats = may_repeat(gateway, &route, parts);
    for _ in 0..MOVES_MAX {
        let Some(target) = &route.target else {
            let plugin = route.plugin.as_str();
            let status = Box::pin(runtime.came_up(plugin, context.timeout)).await;
            if status.is_none_or(|status| status.target().is_none()) {
                // The function is never called by its name alone, as another version may allow
                // other callers.
                return Err(Failed::Call(runtime.not_called(plugin)));
            }
            route = still_meant(gateway, &route, parts)?;
            continue;
        };
        let call = runtime.call_in(target, &route.function, args.clone(), context.clone());
        match call.await {
            Err(CallError::Moved { .. }) => {}
            Err(CallError::Crashed { plugin, .. }) if repeats => {
                tracing::info!(%plugin, path = route.path, "the request is sent once more");
                repeats = false;
            }
            other => return other.map_err(Failed::Call),
        }
        Box::pin(runtime.after(target, context.timeout)).await;
        route = still_meant(gateway, &route, parts)?;
    }
    Err(Failed::Changed)
}

/// Returns true if a request may be sent once more if the plugin ends before it answers.
fn may_repeat(gateway: &Gateway, route: &Route, parts: &Parts) -> bool {
    let host = gateway.inner.host_api.as_ref();
    let allowed = || host.is_some_and(|host| host.policies().http(&route.plugin).retry_safe);
    route.idempotent || (parts.method.is_safe() && allowed())
}

/// Returns the route for a request in the present table, if it is like the earlier one.
fn still_meant(gateway: &Gateway, route: &Route, parts: &Parts) -> Result<Arc<Route>, Failed> {
    gateway.refresh();
    match gateway
        .inner
        .table
        .load()
        .find(&parts.method, parts.uri.path())
    {
        Found::Route { route: now, .. } if now.is_like(route) => Ok(now),
        _ => Err(Failed::Changed),
    }
}
