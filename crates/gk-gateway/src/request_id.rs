//! The id of each request: the client's own `X-Request-Id`, or one that is made. It is in every answer.

use std::cell::RefCell;

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

/// Ids that are made of what is asked of the system at once.
const IDS: usize = 32;

thread_local! {
    /// Random numbers that are not used yet.
    static RANDOM: RefCell<Vec<u128>> = const { RefCell::new(Vec::new()) };
}

fn made() -> RequestId {
    let number = RANDOM.with_borrow_mut(|random| {
        if random.is_empty() {
            let mut bytes = [0; IDS * size_of::<u128>()];
            if let Err(error) = getrandom::fill(&mut bytes) {
                // It tells requests apart, and protects nothing.
                tracing::error!(%error, "the machine has no random numbers; ids of requests are not unique");
            }
            let (numbers, _) = bytes.as_chunks();
            random.extend(numbers.iter().map(|number| u128::from_ne_bytes(*number)));
        }
        random.pop()
    });
    RequestId::of(number.unwrap_or_default())
}

/// Says in an answer which request it belongs to.
pub(crate) fn tell(id: &RequestId, response: &mut Response) {
    if let Ok(value) = HeaderValue::from_maybe_shared(id.to_bytes()) {
        response.headers_mut().insert(HEADER, value);
    }
}
