//! The span of a call that belongs to a trace.

use bytes::Bytes;
use gk_hostapi::spans::{ActiveSpan, SpanKind};
use tokio::time::error::Elapsed;

use super::{CallContext, Instance};
use crate::backend::ConnectionError;
use crate::limits::FUNCTION_BYTES_MAX;
use crate::log::cut;

/// Makes the call a span of its own: its context has that from now on. Returns the span if it is
/// recorded.
pub(super) fn begin(
    context: &mut CallContext,
    instance: &Instance,
    function: &str,
) -> Option<ActiveSpan> {
    let parent = context.trace.take()?;
    let trace = parent.child();
    let attributes = || {
        vec![
            ("goatkit.plugin", instance.plugin.to_string()),
            ("goatkit.generation", instance.generation.to_string()),
            (
                "goatkit.function",
                cut(function, FUNCTION_BYTES_MAX).to_owned(),
            ),
        ]
    };
    let span = ActiveSpan::begin(&parent, &trace, SpanKind::Client, "plugin call", attributes);
    context.trace = Some(trace);
    span
}

/// Ends the span of a call whose plugin has answered, or not in time.
pub(super) fn end(
    span: Option<ActiveSpan>,
    outcome: &Result<Result<Bytes, ConnectionError>, Elapsed>,
) {
    if let Some(span) = span {
        span.end(word(outcome));
    }
}

/// Returns the word for a failure, as the metrics have it.
fn word(outcome: &Result<Result<Bytes, ConnectionError>, Elapsed>) -> Option<&'static str> {
    Some(match outcome {
        Ok(Ok(_)) => return None,
        Ok(Err(ConnectionError::Plugin(_))) => "application_error",
        Ok(Err(ConnectionError::Closed(_))) => "crashed",
        Ok(Err(ConnectionError::TooManyCalls(_))) => "busy",
        Ok(Err(_)) => "protocol_error",
        Err(_) => "timeout",
    })
}
