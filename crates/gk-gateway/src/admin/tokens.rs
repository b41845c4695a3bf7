//! Management of tokens.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use gk_api::{Change, NewToken, NewTokenAnswer, Role, RoleError};
use serde_json::{Value, json};

use super::Answer;
use crate::auth::Middleware;
use crate::extract::Path;
use crate::gateway::Gateway;
use crate::problem::Problem;
use crate::tokens::TokenError;

/// Lists all tokens, without their text.
pub(crate) async fn list(State(gateway): State<Gateway>, request: Request) -> Answer {
    gateway.require(&request, Middleware::Admin)?;
    Ok(Json(gateway.inner.tokens.list()).into_response())
}

/// Creates a token.
pub(crate) async fn create(State(gateway): State<Gateway>, request: Request) -> Answer {
    gateway.require(&request, Middleware::Admin)?;
    let (parts, body) = gateway.read(request).await?;
    let wanted: NewToken = serde_json::from_slice(&body).map_err(|error| {
        Problem::bad_request(format!(
            "expected {{\"login\": …, \"role\": …, \"expires_in\": …}}: {error}"
        ))
    })?;
    let role: Role = wanted
        .role
        .parse()
        .map_err(|error: RoleError| Problem::bad_request(error.to_string()))?;
    // A negative time becomes zero, which is refused.
    let valid_for = wanted.expires_in;
    let valid_for = valid_for.map(|time| time.to_std().unwrap_or_default());
    let before = json!({ "login": wanted.login, "role": role, "expires_in": wanted.expires_in });
    let ongoing = gateway
        .begin(&parts, Change::CreateToken, &wanted.login, before)
        .await?;
    // To its end, also if nobody waits for it any more: a token that nobody knows would stay.
    let tokens = Arc::clone(&gateway.inner.tokens);
    let login = wanted.login.clone();
    let created = tokio::spawn(async move { tokens.create(&login, role, valid_for).await });
    let created = match created.await {
        Ok(Ok(created)) => Ok(created),
        Ok(Err(error @ (TokenError::Login | TokenError::Time))) => {
            Err(Problem::bad_request(error.to_string()))
        }
        Ok(Err(error @ TokenError::Full)) => {
            Err(Problem::new(StatusCode::CONFLICT, error.to_string()))
        }
        Ok(Err(error)) => Err(storage(&error)),
        Err(error) => Err(storage(&error)),
    };
    let (text, token) = match created {
        Ok(created) => created,
        Err(problem) => return ongoing.failed(problem).await,
    };
    let after = json!({ "id": token.id, "login": token.login, "role": token.role, "expires_at": token.expires_at });
    ongoing.end(after, None).await;
    let answer = NewTokenAnswer {
        id: token.id,
        login: token.login,
        role: token.role,
        expires_at: token.expires_at,
        token: text,
    };
    let mut response = (StatusCode::CREATED, Json(answer)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(gateway.settled(response).await)
}

/// Deletes a token.
pub(crate) async fn delete(
    State(gateway): State<Gateway>,
    Path(id): Path<i64>,
    request: Request,
) -> Answer {
    gateway.require(&request, Middleware::Admin)?;
    let (parts, _) = request.into_parts();
    let before = gateway.inner.tokens.get(id);
    let before = before.map_or(
        Value::Null,
        |token| json!({ "id": id, "login": token.login, "role": token.role }),
    );
    let ongoing = gateway
        .begin(&parts, Change::DeleteToken, &id.to_string(), before)
        .await?;
    let tokens = Arc::clone(&gateway.inner.tokens);
    let problem = match tokio::spawn(async move { tokens.delete(id).await }).await {
        Ok(Ok(true)) => {
            ongoing.end(Value::Null, None).await;
            let answer = StatusCode::NO_CONTENT.into_response();
            return Ok(gateway.settled(answer).await);
        }
        Ok(Ok(false)) => Problem::not_found(format!("there is no token {id}")),
        Ok(Err(error)) => storage(&error),
        Err(error) => storage(&error),
    };
    ongoing.failed(problem).await
}

fn storage(error: &(dyn std::error::Error + 'static)) -> Problem {
    if let Some(TokenError::Shared(error)) = error.downcast_ref() {
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
    }
    tracing::error!(error, "the host's database failed");
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the host's database failed; its log says why",
    )
}
