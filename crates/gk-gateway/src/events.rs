//! Plugins' events, as server-sent events.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use gk_hostapi::{ErrorKind, Host, HostApi};
use gk_manifest::PluginName;
use gk_runtime::CallError;
use gk_services::events::{Delivery, Subscription, frame};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::auth::Middleware;
use crate::bodies::HeldBody;
use crate::envelope::Incoming;
use crate::envelope::call_context;
use crate::extract::Path;
use crate::gateway::Gateway;
use crate::problem::Problem;
use crate::sse;
use crate::tickets::TICKET_TIME;
use crate::tokens::Identity;

/// Subscribes to the channel without a name.
pub(crate) async fn whole_plugin(
    gateway: State<Gateway>,
    Path(plugin): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    subscribe(gateway, Path((plugin, String::new())), request).await
}

/// Subscribes to a channel whose name is that of an endpoint.
pub(crate) async fn ticket_channel(
    gateway: State<Gateway>,
    Path(plugin): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    subscribe(gateway, Path((plugin, "ticket".to_owned())), request).await
}

/// Issues a ticket for one stream of a plugin's events: browsers cannot send a header with
/// `EventSource`.
pub(crate) async fn ticket(
    State(gateway): State<Gateway>,
    Path(plugin): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = gateway.require(&request, Middleware::Auth)?;
    let snapshot = gateway.inner.runtime.snapshot();
    let status = snapshot
        .get(&plugin)
        .ok_or_else(|| Problem::no_plugin(&plugin))?;
    let Some(caller) = caller else {
        return Err(Problem::unauthorized("authentication required"));
    };
    if let Some(host) = &gateway.inner.host_api {
        admitted(host, &status.name, Some(&caller))?;
    }
    let ticket = gateway.inner.tickets.issue(caller, status.name.clone())?;
    let body = json!({ "ticket": ticket, "expires_in": TICKET_TIME.as_secs() });
    let mut response = (StatusCode::CREATED, axum::Json(body)).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Returns the subscriber's identity: by a token, or by a ticket in the query, which is used up.
fn subscriber(
    gateway: &Gateway,
    plugin: &str,
    request: &Request,
) -> Result<Option<Identity>, Problem> {
    let query = request.uri().query().unwrap_or_default();
    let ticket = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "ticket");
    let Some((_, ticket)) = ticket else {
        return gateway.require(request, Middleware::Auth);
    };
    let identity = gateway.inner.tickets.redeem(&ticket, plugin);
    // The token behind the ticket may have been deleted meanwhile.
    let identity = identity.filter(|identity| gateway.inner.tokens.is_valid(identity.id));
    identity.map(Some).ok_or_else(|| {
        let inner = &gateway.inner;
        inner
            .refusals
            .count(crate::forwarded::client(request.extensions()));
        Problem::unauthorized(
            "the ticket is not valid: it is for one stream, and for half a minute",
        )
    })
}

/// Subscribes to a channel of a plugin. Agents may subscribe; if the plugin has an authorizer,
/// every caller that it lets.
pub(crate) async fn subscribe(
    State(gateway): State<Gateway>,
    Path((plugin, channel)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = subscriber(&gateway, &plugin, &request)?;
    let snapshot = gateway.inner.runtime.snapshot();
    let status = snapshot
        .get(&plugin)
        .ok_or_else(|| Problem::no_plugin(&plugin))?;
    let host = gateway.inner.host_api.as_ref();
    let (host, services) = host
        .zip(gateway.inner.services.as_ref())
        .ok_or_else(|| Problem::not_found("this host has no events"))?;
    admitted(host, &status.name, caller.as_ref())?;
    let Some(registration) = status
        .registration
        .as_deref()
        .filter(|_| status.is_running())
    else {
        return Err(Problem::not_running(&plugin));
    };
    let login = caller.as_ref().map(|caller| Arc::clone(&caller.login));
    let place = gateway.inner.streams.enter(login.unwrap_or_default())?;
    let (parts, _) = request.into_parts();
    let after = last_event_id(&parts.headers);
    if registration.event_authorizer.is_empty() {
        crate::auth::require(caller.as_ref(), &[Middleware::Agent])?;
    } else {
        let body = Bytes::from(json!({ "channel": channel }).to_string());
        let mut incoming = Incoming::direct(
            parts,
            HeldBody::of(body),
            caller.as_ref().map(Identity::user),
        );
        incoming.skip_org = registration.skip_org_injection;
        let (args, incoming) = gateway.arguments().direct(incoming).await?;
        let context = call_context(incoming.caller.as_ref(), &incoming.parts);
        let function = &registration.event_authorizer;
        let target = status.target();
        let answer = gateway
            .call(target.as_ref(), &status.name, function, args, context)
            .await;
        let answer = answer.map_err(|error| {
            tracing::warn!(plugin, %error, "the check of a subscription failed");
            Problem::new(StatusCode::BAD_GATEWAY, "subscription check failed")
        })?;
        let allowed = serde_json::from_slice::<Value>(&answer)
            .is_ok_and(|answer| answer.get("allow") == Some(&Value::Bool(true)));
        if !allowed {
            let text = "subscription not allowed";
            return Err(Problem::new(StatusCode::FORBIDDEN, text));
        }
    }
    let subscription = services.events.subscribe(&status.name, &channel, after);
    let subscription = subscription.map_err(|error| match error.kind() {
        ErrorKind::Invalid => Problem::bad_request(error.to_string()),
        _ => Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    })?;
    // The plugin may have been blocked during the check, which closed only the streams that existed
    // then.
    admitted(host, &status.name, caller.as_ref())?;
    let (frames, body) = sse::channel();
    let stopping = gateway.stopping().clone();
    let (host, plugin) = (Arc::clone(host), status.name.clone());
    let token = caller.map(|caller| caller.id);
    let over = async move {
        let tokens = &gateway.inner.tokens;
        tokio::select! {
            () = stopping.cancelled() => {}
            () = host.policies().blocked(&plugin) => {}
            () = async { tokens.gone(token.unwrap_or_default()).await }, if token.is_some() => {}
        }
    };
    tokio::spawn(async move {
        let _place = place;
        tokio::select! {
            () = pass_on(subscription, frames) => {}
            () = over => {}
        }
    });
    Ok(sse::response(body))
}

/// Checks that the plugin may be called; the reason is for administrators.
fn admitted(host: &Host, plugin: &PluginName, caller: Option<&Identity>) -> Result<(), Problem> {
    HostApi::admit(host, plugin).map(drop).map_err(|error| {
        let refused = CallError::Refused {
            plugin: plugin.clone(),
            reason: error.to_string(),
        };
        Problem::from_call(&refused, caller.map(Identity::user).as_ref())
    })
}

/// Returns the id of the last event that the browser received before its connection broke.
fn last_event_id(headers: &HeaderMap) -> Option<u64> {
    let id = headers.get("last-event-id")?.to_str().ok()?;
    id.trim().parse().ok()
}

/// Writes frames until the plugin or the client has gone, or the client stops reading.
async fn pass_on(mut subscription: Subscription, frames: mpsc::Sender<Bytes>) {
    let hello = "event: connected\ndata: {\"status\":\"ok\"}\n\n";
    if frames
        .send(Bytes::from_static(hello.as_bytes()))
        .await
        .is_err()
    {
        return;
    }
    loop {
        let next = tokio::select! {
            next = tokio::time::timeout(sse::KEEP_ALIVE, subscription.next()) => next,
            () = frames.closed() => return,
        };
        let frame = match next {
            Err(_) => sse::COMMENT,
            Ok(Delivery::Event(event)) => Bytes::from(frame(&event)),
            // The browser connects again, with the id of the last event it received.
            Ok(Delivery::Lagged) => Bytes::from_static(b"event: lagged\ndata: {}\n\n"),
            Ok(Delivery::Closed) => return,
        };
        if frames.send_timeout(frame, sse::SEND_TIMEOUT).await.is_err() {
            return;
        }
    }
}
