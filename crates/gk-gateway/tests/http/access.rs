//! Who may ask what.

use gk_api::Access;

use super::*;

#[tokio::test]
async fn who_may_what() {
    let setup = setup().await;
    for (path, nobody, admin, agent, customer) in [
        ("/api/plugins/first/public", 200, 200, 200, 200),
        ("/api/plugins/first/auth", 401, 200, 200, 200),
        ("/api/plugins/first/agents", 401, 200, 200, 403),
        ("/api/plugins/first/customers", 401, 403, 403, 200),
        ("/api/plugins/first/admins", 401, 200, 403, 403),
        ("/api/v1/plugins", 401, 200, 200, 403),
        ("/api/v1/plugins/first", 401, 200, 200, 403),
        ("/api/v1/plugins/first/widgets/w", 401, 200, 200, 403),
        ("/api/v1/plugins/first/logs", 401, 200, 403, 403),
        ("/api/v1/tokens", 401, 200, 403, 403),
        ("/livez", 200, 200, 200, 200),
        ("/metrics", 200, 200, 200, 200),
        ("/openapi.json", 200, 200, 200, 200),
    ] {
        for (who, expected) in [
            ("nobody", nobody),
            ("admin", admin),
            ("agent", agent),
            ("customer", customer),
        ] {
            assert_eq!(
                setup.status("GET", path, who).await,
                expected,
                "{who} on {path}"
            );
        }
    }
    for (who, expected) in [
        ("nobody", 401),
        ("admin", 200),
        ("agent", 403),
        ("customer", 403),
    ] {
        assert_eq!(
            setup
                .status("POST", "/api/v1/plugins/first/call/echo", who)
                .await,
            expected,
            "{who}"
        );
    }
}

/// Whoever may not use an endpoint is refused before the request is looked at.
#[tokio::test]
async fn the_table_of_endpoints_says_who_may_what() {
    let setup = setup().await;
    for endpoint in gk_api::ENDPOINTS {
        let path = endpoint.path.replace("{id}", "999").replace(['{', '}'], "");
        for (who, rank) in [("nobody", 0), ("customer", 1), ("agent", 2), ("admin", 3)] {
            let refused = match endpoint.access {
                Access::Anybody => None,
                _ if rank == 0 => Some(401),
                Access::Agent if rank < 2 => Some(403),
                Access::Admin if rank < 3 => Some(403),
                Access::Token | Access::Agent | Access::Admin => None,
            };
            let status = setup.status(endpoint.method.as_str(), &path, who).await;
            let status = Some(status).filter(|status| matches!(status, 401 | 403));
            assert_eq!(status, refused, "{who}: {} {path}", endpoint.method);
        }
    }
}

#[tokio::test]
async fn a_wrong_token_is_refused_even_where_none_is_needed() {
    let setup = setup().await;
    for header in ["Bearer nonsense", "Basic YTpi", "Bearer", ""] {
        let request = Request::get("/api/plugins/first/public").header("authorization", header);
        let request = request.body(Body::empty()).unwrap();
        let response = setup.front.answer(request).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{header:?}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
    }
}
