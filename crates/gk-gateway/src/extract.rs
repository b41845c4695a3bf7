//! Extractors for the parameters of the host's own endpoints, with errors as JSON like all others.

use axum::extract::{FromRequestParts, path, rejection};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// Parameters in a path.
pub(crate) struct Path<T>(pub(crate) T);

/// Parameters of a query.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        found
            .map(|axum::extract::Path(value)| Path(value))
            .map_err(|error| match error {
                rejection::PathRejection::FailedToDeserializePathParams(error)
                    if matches!(error.kind(), path::ErrorKind::InvalidUtf8InPathParam { .. }) =>
                {
                    Problem::bad_request("the path is not UTF-8")
                }
                // A parameter that does not parse names no existing resource.
                other => Problem::not_found(other.body_text()),
            })
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        found
            .map(|axum::extract::Query(value)| Query(value))
            .map_err(|error| Problem::bad_request(error.body_text()))
    }
}
