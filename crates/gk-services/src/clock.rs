//! `time_now`: the host's time.

use std::sync::Arc;

use gk_hostapi::json::write;
use gk_hostapi::{Method, MethodSpec, Service, ServiceMethod};
use serde_json::json;

/// The service of `time_now`.
#[derive(Debug, Default, Clone, Copy)]
#[non_exhaustive]
pub struct Clock;

/// The method of the clock.
pub(crate) const METHODS: &[ServiceMethod<Clock>] = &[ServiceMethod::new(
    MethodSpec::free("time_now"),
    |_, _, _| Box::pin(async { write(&json!({ "now": now() })) }),
)];

impl Service for Clock {
    fn methods(self: Arc<Self>) -> Vec<Arc<dyn Method>> {
        ServiceMethod::all(METHODS, &self)
    }
}

/// RFC 3339 with nanoseconds and the offset of the host's time zone, `Z` for none, as Go writes it.
fn now() -> String {
    let now = jiff::Zoned::now();
    let form = match now.offset().is_zero() {
        true => "%Y-%m-%dT%H:%M:%S%.9fZ",
        false => "%Y-%m-%dT%H:%M:%S%.9f%:z",
    };
    now.strftime(form).to_string()
}
