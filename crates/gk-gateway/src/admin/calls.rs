//! Manual calls of plugins: functions and widgets.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse};
use serde::Deserialize;

use super::Answer;
use crate::answer;
use crate::auth::Middleware;
use crate::bodies::HeldBody;
use crate::envelope::{Incoming, call_context};
use crate::extract::{Path, Query};
use crate::gateway::Gateway;
use crate::problem::Problem;
use crate::tokens::Identity;

/// Calls a function with a JSON object.
pub(crate) async fn call(
    State(gateway): State<Gateway>,
    Path((plugin, function)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let caller = gateway.require(&request, Middleware::Admin)?;
    let (parts, body) = gateway.read(request).await?;
    let inner = &gateway.inner;
    let incoming = Incoming::direct(parts, body, caller.as_ref().map(Identity::user));
    let (args, incoming) = gateway.arguments().direct(incoming).await?;
    let caller = incoming.caller.as_ref();
    let context = call_context(caller, &incoming.parts);
    drop(incoming.body);
    let result = inner.runtime.call(&plugin, &function, args, context).await;
    let result = result.map_err(|error| match &error {
        error if error.is_unknown_function(&function) => Problem::not_found(error.to_string()),
        _ => Problem::from_call(&error, caller),
    })?;
    answer::plain(&inner.memory, result)
}

#[derive(Deserialize)]
pub(crate) struct WidgetQuery {
    #[serde(default)]
    wrap: bool,
}

/// Returns the HTML of a widget.
pub(crate) async fn widget(
    State(gateway): State<Gateway>,
    Path((plugin, id)): Path<(String, String)>,
    Query(query): Query<WidgetQuery>,
    request: Request,
) -> Answer {
    let caller = gateway.require(&request, Middleware::Agent)?;
    let snapshot = gateway.inner.runtime.snapshot();
    let status = snapshot
        .get(&plugin)
        .ok_or_else(|| Problem::no_plugin(&plugin))?;
    let widgets = status
        .registration
        .as_deref()
        .map(|registration| registration.widgets.as_slice());
    let found = widgets
        .unwrap_or_default()
        .iter()
        .find(|widget| widget.id == id);
    let not_running = widgets.is_none();
    let widget = match found {
        Some(widget) => widget,
        None if not_running => return Err(Problem::not_running(&plugin)),
        None => {
            return Err(Problem::not_found(format!(
                "plugin \"{plugin}\" has no widget {id:?}"
            )));
        }
    };
    let (mut parts, _) = request.into_parts();
    let path = parts.uri.path().parse();
    parts.uri = path.unwrap_or_default();
    let mut incoming = Incoming::direct(
        parts,
        HeldBody::empty(),
        caller.as_ref().map(Identity::user),
    );
    incoming.skip_org = false;
    let (args, incoming) = gateway.arguments().arguments(incoming).await?;
    let caller = incoming.caller.as_ref();
    let context = call_context(caller, &incoming.parts);
    let target = status.target();
    let result = gateway
        .call(
            target.as_ref(),
            &status.name,
            &widget.handler,
            args,
            context,
        )
        .await;
    let result = result.map_err(|error| Problem::from_call(&error, caller))?;
    let bytes = result.len();
    let read = move || html_of(&result);
    let html = gateway.inner.heavy.run(bytes, read).await?;
    let Some(html) = html else {
        let text =
            format!("the widget {id:?} of plugin \"{plugin}\" did not answer {{\"html\": …}}");
        return Err(Problem::new(StatusCode::BAD_GATEWAY, text));
    };
    if !query.wrap {
        return Ok(Html(html).into_response());
    }
    let title = answer::escape(&widget.title);
    Ok(Html(format!(
        "<div class=\"gk-card-header\">{title}</div>\n<div class=\"gk-card-body\">{html}</div>\n"
    ))
    .into_response())
}

/// Returns the markup in a widget's answer, without the rest.
fn html_of(result: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Widget {
        html: String,
    }
    serde_json::from_slice::<Widget>(result)
        .ok()
        .map(|widget| widget.html)
}
