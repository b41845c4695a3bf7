//! Ids of requests: the client's own `X-Request-Id`, or a random one. Every answer has it.

use std::cell::RefCell;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use gk_hostapi::RequestId;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Returns the id of a request with these headers.
pub(crate) fn of(headers: &HeaderMap) -> RequestId {
    let mut sent = headers.get_all(HEADER).iter();
    let taken = match (sent.next(), sent.next()) {
        (Some(only), None) => RequestId::new(only.as_bytes()),
        _ => None,
    };
    taken.unwrap_or_else(made)
}

/// Number of ids that are made from one request to the system.
const IDS: usize = 32;

thread_local! {
    /// Random numbers that have not been used yet.
    static RANDOM: RefCell<Vec<u128>> = const { RefCell::new(Vec::new()) };
}

fn made() -> RequestId {
    let number = RANDOM.with_borrow_mut(|random| {
        if random.is_empty() {
            let mut bytes = [0; IDS * size_of::<u128>()];
            if let Err(error) = getrandom::fill(&mut bytes) {
                // Ids only tell requests apart, so predictable ones are no risk.
                tracing::error!(%error, "the machine has no random numbers; ids of requests are not unique");
            }
            let (numbers, _) = bytes.as_chunks();
            random.extend(numbers.iter().map(|number| u128::from_ne_bytes(*number)));
        }
        random.pop()
    });
    RequestId::of(number.unwrap_or_default())
}

/// Adds the id of the request to its answer.
pub(crate) fn tell(id: &RequestId, response: &mut Response) {
    if let Ok(value) = HeaderValue::from_maybe_shared(id.to_bytes()) {
        response.headers_mut().insert(HEADER, value);
    }
}
