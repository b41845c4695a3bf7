//! `/openapi.json`: the host's endpoints and the plugins' routes, as they are at this moment.

use axum::Json;
use axum::extract::State;
use gk_api::Access;
use gk_api::openapi::PluginRoute;
use serde_json::Value;

use crate::auth::Middleware;
use crate::gateway::Gateway;

/// Returns the document.
pub(crate) async fn document(State(gateway): State<Gateway>) -> Json<Value> {
    let table = gateway.inner.table.load();
    let routes: Vec<_> = table
        .routes()
        .map(|route| {
            let parts = route
                .path
                .split('/')
                .map(|part| match part.strip_prefix([':', '*']) {
                    Some(name) => format!("{{{name}}}"),
                    None => part.to_owned(),
                });
            (route, parts.collect::<Vec<_>>().join("/"))
        })
        .collect();
    let routes = routes.iter().map(|(route, path)| PluginRoute {
        method: route.method.as_str(),
        path,
        summary: match route.description.is_empty() {
            true => &route.function,
            false => &route.description,
        },
        plugin: route.plugin.as_str(),
        access: match route.middleware.first() {
            None => Access::Anybody,
            Some(Middleware::Auth) => Access::Token,
            Some(Middleware::Agent | Middleware::Customer) => Access::Agent,
            Some(Middleware::Admin) => Access::Admin,
        },
    });
    Json(gk_api::openapi::document(&gateway.inner.version, routes))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::body::{Body, to_bytes};
    use axum::http::{Method, Request, StatusCode};
    use gk_api::ENDPOINTS;

    use super::*;
    use crate::front::Front;
    use crate::server::Answer;

    async fn ask(front: &Front, method: Method, path: &str) -> axum::response::Response {
        let request = Request::builder().method(method).uri(path);
        let request = request.body(Body::empty()).unwrap();
        front.answer(request).await
    }

    /// Compares the document with the router in both directions. The router lists the methods of a
    /// path in its answer to a method that no endpoint has.
    #[tokio::test]
    async fn document_and_router_have_the_same_endpoints() {
        let front = crate::testing::gateway().await.front();
        let answer = ask(&front, Method::GET, "/openapi.json").await;
        let bytes = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        let mut described = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                described.insert((method.to_ascii_uppercase(), path.clone()));
            }
        }
        let mut served = BTreeSet::new();
        let paths: BTreeSet<_> = ENDPOINTS.iter().map(|endpoint| endpoint.path).collect();
        for path in paths {
            let answer = ask(&front, Method::TRACE, &path.replace(['{', '}'], "")).await;
            assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
            for method in answer.headers()["allow"].to_str().unwrap().split(',') {
                if method != "HEAD" {
                    served.insert((method.to_owned(), path.to_owned()));
                }
            }
        }
        assert_eq!(served, described);
    }

    /// The test of the table's roles is in `tests/http/access.rs`.
    #[tokio::test]
    async fn what_is_not_anybodys_takes_a_token() {
        let front = crate::testing::gateway().await.front();
        for endpoint in ENDPOINTS {
            let method = Method::from_bytes(endpoint.method.as_str().as_bytes()).unwrap();
            let path = endpoint.path.replace("{id}", "1").replace(['{', '}'], "");
            let status = ask(&front, method, &path).await.status();
            let refused = status == StatusCode::UNAUTHORIZED;
            assert_eq!(
                refused,
                endpoint.access != Access::Anybody,
                "{endpoint:?} {status}"
            );
        }
    }
}
