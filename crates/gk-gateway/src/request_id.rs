//! The id of each request: the client's own `X-Request-Id`, or one that is made. It is in every answer.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use gk_hostapi::RequestId;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request with these headers.
pub(crate) fn of(headers: &HeaderMap) -> RequestId {
    let mut sent = headers.get_all(HEADER).iter();
    let taken = match (sent.next(), sent.next()) {
        (Some(only), None) => RequestId::new(only.as_bytes()),
        _ => None,
    };
    taken.unwrap_or_else(made)
}

fn made() -> RequestId {
    let mut random = [0; 16];
    if let Err(error) = getrandom::fill(&mut random) {
        // It tells requests apart, and protects nothing.
        tracing::error!(%error, "the machine has no random numbers; ids of requests are not unique");
    }
    RequestId::of(u128::from_ne_bytes(random))
}

/// Says in an answer which request it belongs to.
pub(crate) fn tell(id: &RequestId, response: &mut Response) {
    if let Ok(value) = HeaderValue::from_maybe_shared(id.to_bytes()) {
        response.headers_mut().insert(HEADER, value);
    }
}
