//! What is counted and logged of a call from when it comes until it has ended, however it ends.

use std::time::Duration;

use bytes::Bytes;
use gk_hostapi::RequestId;
use tokio::time::Instant;
use tracing::field::display;

use super::{CallContext, Instance};
use crate::error::CallError;
use crate::limits::FUNCTION_BYTES_MAX;
use crate::log::cut;

/// The target of the line about each call that has ended, at level debug.
const CALLS: &str = "gk_runtime::calls";

/// A call that came. If it is dropped before it has [ended](Account::end), its caller has gone away.
pub(crate) struct Account<'a> {
    instance: &'a Instance,
    function: &'a str,
    arrived: Instant,
    /// `None` where nothing is logged.
    request_id: Option<Option<RequestId>>,
    has_ended: bool,
}

impl<'a> Account<'a> {
    /// A call of a plugin, whichever of its generations it goes to.
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
            request_id: tracing::enabled!(target: CALLS, tracing::Level::DEBUG)
                .then(|| context.request_id.clone()),
            has_ended: false,
        }
    }

    /// It has ended.
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
        let Some(request_id) = &self.request_id else {
            return;
        };
        let (request_id, error) = (request_id.as_ref().map(display), error.map(display));
        let (plugin, function) = (
            &self.instance.plugin,
            cut(self.function, FUNCTION_BYTES_MAX),
        );
        tracing::debug!(target: CALLS, %plugin, function, request_id, error, ?took, "call");
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
