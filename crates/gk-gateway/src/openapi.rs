//! `/openapi.json`: the host's endpoints and the plugins' routes, as they are at this moment.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use crate::auth::Middleware;
use crate::gateway::Gateway;

/// An endpoint of the host: method, path, what it does, who may, what it answers.
struct Endpoint(
    &'static str,
    &'static str,
    &'static str,
    Option<Middleware>,
    &'static str,
);

const ENDPOINTS: &[Endpoint] = &[
    Endpoint(
        "get",
        "/livez",
        "Whether the process lives",
        None,
        "text/plain",
    ),
    Endpoint(
        "get",
        "/readyz",
        "Whether requests are taken; 503 while starting and stopping; ?verbose names the plugins",
        None,
        "text/plain",
    ),
    Endpoint("get", "/healthz", "The same as /readyz", None, "text/plain"),
    Endpoint(
        "get",
        "/metrics",
        "Metrics in Prometheus' text format",
        None,
        "text/plain",
    ),
    Endpoint(
        "get",
        "/openapi.json",
        "This document",
        None,
        "application/json",
    ),
    Endpoint(
        "get",
        "/api/v1/plugins",
        "All plugins, with what each one's signature was worth when it was started",
        Some(Middleware::Agent),
        "application/json",
    ),
    Endpoint(
        "get",
        "/api/v1/plugins/{plugin}",
        "One plugin, with its signature and who signed it",
        Some(Middleware::Agent),
        "application/json",
    ),
    Endpoint(
        "post",
        "/api/v1/plugins/{plugin}/call/{function}",
        "Calls a function with a JSON object; answers what it returns",
        Some(Middleware::Admin),
        "application/json",
    ),
    Endpoint(
        "post",
        "/api/v1/plugins/{plugin}/reload",
        "Starts what is there of a plugin beside what runs; ?force=true also if it is the same, ?wait=10s for the outcome",
        Some(Middleware::Admin),
        "application/json",
    ),
    Endpoint(
        "get",
        "/api/v1/plugins/health",
        "How all plugins are, by name",
        Some(Middleware::Agent),
        "application/json",
    ),
    Endpoint(
        "get",
        "/api/v1/plugins/{plugin}/health",
        "How a plugin is: what probes and calls tell, and its restarts",
        Some(Middleware::Agent),
        "application/json",
    ),
    Endpoint(
        "post",
        "/api/v1/plugins/{plugin}/restart",
        "Starts a plugin anew beside what runs, and at once where it waits after a crash; ?wait=10s for the outcome",
        Some(Middleware::Admin),
        "application/json",
    ),
    Endpoint(
        "post",
        "/api/v1/plugins/{plugin}/enable",
        "Lets a plugin run, also after the next start of the host; ?wait=10s for the outcome",
        Some(Middleware::Admin),
        "application/json",
    ),
    Endpoint(
        "post",
        "/api/v1/plugins/{plugin}/disable",
        "Ends a plugin, after those that depend on it, and keeps it from starting; ?wait=10s for its end",
        Some(Middleware::Admin),
        "application/json",
    ),
    Endpoint(
        "post",
        "/api/v1/plugins/{plugin}/reset-crashloop",
        "Forgets a plugin's crashes; one that waits after a crash starts now; ?wait=10s for the outcome",
        Some(Middleware::Admin),
        "application/json",
    ),
    Endpoint(
        "post",
        "/api/v1/plugins/{plugin}/rollback",
        "Starts the version that came up before the one that serves, and puts it in its place; ?wait=10s for the outcome",
        Some(Middleware::Admin),
        "application/json",
    ),
    Endpoint(
        "get",
        "/api/v1/plugins/{plugin}/policy",
        "What a plugin asks for, what it is granted, and what it has used",
        Some(Middleware::Admin),
        "application/json",
    ),
    Endpoint(
        "put",
        "/api/v1/plugins/{plugin}/policy",
        "Stores a policy; it applies at once, and a plugin whose sandbox would be another is replaced",
        Some(Middleware::Admin),
        "application/json",
    ),
    Endpoint(
        "delete",
        "/api/v1/plugins/{plugin}/policy",
        "Removes a stored policy: the default applies again",
        Some(Middleware::Admin),
        "application/json",
    ),
    Endpoint(
        "get",
        "/api/v1/plugins/{plugin}/events",
        "The plugin's events without a channel, as server-sent events",
        Some(Middleware::Agent),
        "text/event-stream",
    ),
    Endpoint(
        "post",
        "/api/v1/plugins/{plugin}/events/ticket",
        "A ticket for one stream of the plugin's events, as ?ticket=, within half a minute",
        Some(Middleware::Auth),
        "application/json",
    ),
    Endpoint(
        "get",
        "/api/v1/plugins/{plugin}/events/ticket",
        "The events of the channel of that name",
        Some(Middleware::Auth),
        "text/event-stream",
    ),
    Endpoint(
        "get",
        "/api/v1/plugins/{plugin}/events/{channel}",
        "The events of one channel; where the plugin has an authorizer, for everybody whom it lets",
        Some(Middleware::Auth),
        "text/event-stream",
    ),
    Endpoint(
        "get",
        "/api/v1/plugins/{plugin}/widgets/{id}",
        "The HTML of a widget; ?wrap=true adds its title",
        Some(Middleware::Agent),
        "text/html",
    ),
    Endpoint(
        "get",
        "/api/v1/plugins/{plugin}/logs",
        "What a plugin logged and printed; ?level= and ?limit=",
        Some(Middleware::Admin),
        "application/json",
    ),
    Endpoint(
        "get",
        "/api/v1/tokens",
        "All tokens, without their text",
        Some(Middleware::Admin),
        "application/json",
    ),
    Endpoint(
        "post",
        "/api/v1/tokens",
        "Makes a token from {login, role}; its text is in this answer only",
        Some(Middleware::Admin),
        "application/json",
    ),
    Endpoint(
        "delete",
        "/api/v1/tokens/{id}",
        "Deletes a token",
        Some(Middleware::Admin),
        "application/json",
    ),
];

pub(crate) async fn document(State(gateway): State<Gateway>) -> Json<Value> {
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for Endpoint(method, path, summary, access, content_type) in ENDPOINTS {
        let operation = operation(path, summary, "host", *access, content_type);
        paths
            .entry((*path).to_owned())
            .or_default()
            .insert((*method).to_owned(), operation);
    }
    for route in gateway.inner.table.load().routes() {
        let path: Vec<_> = route
            .path
            .split('/')
            .map(|part| match part.strip_prefix([':', '*']) {
                Some(name) => format!("{{{name}}}"),
                None => part.to_owned(),
            })
            .collect();
        let path = path.join("/");
        let summary = if route.description.is_empty() {
            &route.function
        } else {
            &route.description
        };
        let access = route.middleware.first().copied();
        let operation = operation(
            &path,
            summary,
            route.plugin.as_str(),
            access,
            "application/json",
        );
        paths
            .entry(path)
            .or_default()
            .insert(route.method.as_str().to_ascii_lowercase(), operation);
    }
    Json(json!({
        "openapi": "3.1.0",
        "info": { "title": "GoatKit plugin host", "version": gateway.inner.version },
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["error"],
                    "properties": { "error": { "type": "string" } },
                },
            },
        },
    }))
}

fn operation(
    path: &str,
    summary: &str,
    tag: &str,
    access: Option<Middleware>,
    content_type: &str,
) -> Value {
    let parameters: Vec<_> = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    let error = |description: &str| {
        json!({
            "description": description,
            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } },
        })
    };
    let mut responses = json!({
        "200": { "description": "Success", "content": { content_type: {} } },
        "default": error("Failure"),
    });
    let mut operation = json!({ "summary": summary, "tags": [tag], "parameters": parameters });
    if access.is_some() {
        operation["security"] = json!([{ "token": [] }]);
        responses["401"] = error("No valid token");
    }
    if access.is_some_and(|access| access != Middleware::Auth) {
        responses["403"] = error("Not for this role");
    }
    operation["responses"] = responses;
    operation
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::{Method, Request};
    use std::collections::BTreeSet;
    use tower::ServiceExt;

    /// What the router serves: of each of its paths, the methods that it does not refuse.
    async fn served() -> BTreeSet<(String, String)> {
        let mut served = BTreeSet::new();
        for (path, serve) in crate::api::PATHS {
            // A method that no endpoint has: the answer says which there are.
            let router: axum::Router<()> = axum::Router::new()
                .route("/", serve())
                .with_state(crate::testing::gateway().await);
            let request = Request::builder()
                .method(Method::TRACE)
                .uri("/")
                .body(Body::empty())
                .unwrap();
            let answer = router.oneshot(request).await.unwrap();
            assert_eq!(answer.status(), 405, "{path}");
            for method in answer.headers()["allow"].to_str().unwrap().split(',') {
                if method != "HEAD" {
                    served.insert((method.to_ascii_lowercase(), (*path).to_owned()));
                }
            }
        }
        served
    }

    #[tokio::test]
    async fn the_document_has_every_endpoint_and_no_other() {
        let described: BTreeSet<_> = ENDPOINTS
            .iter()
            .map(|Endpoint(method, path, ..)| ((*method).to_owned(), (*path).to_owned()))
            .collect();
        assert_eq!(served().await, described);
    }
}
