//! Metrics and log of a call, from its arrival to its end, however it ends.

use std::time::Duration;

use bytes::Bytes;
use gk_hostapi::{RequestId, TraceContext};
use tokio::time::Instant;
use tracing::field::display;

use super::{CallContext, Instance};
use crate::error::CallError;
use crate::limits::FUNCTION_BYTES_MAX;
use crate::log::cut;

/// Target of the log line about each call that has ended, at level debug.
const CALLS: &str = "gk_runtime::calls";

/// A call that arrived. Dropped before it has [ended](Account::end), it counts as cancelled by its
/// caller.
pub(crate) struct Account<'a> {
    instance: &'a Instance,
    function: &'a str,
    arrived: Instant,
    /// Ids for the log line about the call; `None` if there is no such line.
    ids: Option<Ids>,
    has_ended: bool,
}

/// What a log line is found by.
struct Ids {
    request: Option<RequestId>,
    trace: Option<TraceContext>,
}

impl<'a> Account<'a> {
    /// Starts the account of a call of a plugin, in whichever generation it runs.
    pub(crate) fn new(
        instance: &'a Instance,
        function: &'a str,
        context: &CallContext,
        arrived: Instant,
    ) -> Self {
        Self {
            instance,
            function,
            arrived,
            ids: tracing::enabled!(target: CALLS, tracing::Level::DEBUG).then(|| Ids {
                request: context.request_id.clone(),
                trace: context.trace.clone(),
            }),
            has_ended: false,
        }
    }

    /// Records the outcome of the call.
    pub(crate) fn end(mut self, outcome: &Result<Bytes, CallError>) {
        self.has_ended = true;
        let took = self.arrived.elapsed();
        self.instance.metrics.end(outcome, took);
        if let Err(error) = outcome {
            self.tell(took, Some(error));
        } else {
            self.tell(took, None);
        }
    }

    fn tell(&self, took: Duration, error: Option<&dyn std::fmt::Display>) {
        let Some(ids) = &self.ids else {
            return;
        };
        let (request_id, error) = (ids.request.as_ref().map(display), error.map(display));
        let trace_id = ids.trace.as_ref().map(|trace| display(trace.trace_id()));
        let (plugin, function) = (
            &self.instance.plugin,
            cut(self.function, FUNCTION_BYTES_MAX),
        );
        tracing::debug!(target: CALLS, %plugin, function, request_id, trace_id, error, ?took, "call");
    }
}

impl Drop for Account<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.instance.metrics.cancel();
            self.tell(self.arrived.elapsed(), Some(&"its caller went away"));
        }
    }
}
