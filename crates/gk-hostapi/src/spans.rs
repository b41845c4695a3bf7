//! Spans that the host records: of calls into plugins, of their requests to the host API, and of
//! the HTTP requests that it makes for them. Without a [`SpanSink`] none is made, which costs an
//! atomic load where a call belongs to a trace, and nothing where it does not.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use crate::trace::{HexId, TraceContext};

/// Receives the spans that have ended. It must not block: it is called on the way of calls.
pub trait SpanSink: Send + Sync + fmt::Debug + 'static {
    /// Takes a span that has ended.
    fn ended(&self, span: Span);
}

/// Which traces are recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Share of the traces that begin here: 0 for none, 1 for all.
    pub ratio: f64,
    /// Whether a trace that came with a request keeps its `sampled`. Otherwise `ratio` decides on
    /// it, too.
    pub follows_parent: bool,
}

impl Sampling {
    /// Decides by the trace's id, so that hosts with the same share decide alike.
    fn takes(self, trace_id: HexId<16>) -> bool {
        let [.., a, b, c, d, e, f, g] = trace_id.0;
        // 56 bits, as those that OpenTelemetry's samplers look at; they are exact in an `f64`.
        let number = u64::from_be_bytes([0, a, b, c, d, e, f, g]);
        #[expect(clippy::cast_precision_loss, reason = "56 bits of which 53 count")]
        let place = number as f64 / (1_u64 << 56) as f64;
        place < self.ratio
    }
}

/// What a span is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// A request that the host makes: of a plugin, or of another server.
    Client,
    /// A request that the host serves.
    Server,
}

/// A span that has ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Span {
    /// The trace, and the span in it.
    pub trace: TraceContext,
    /// The span within which it was; `None` for the first one of a trace.
    pub parent: Option<HexId<8>>,
    /// What it is of.
    pub kind: SpanKind,
    /// Name, from a fixed list.
    pub name: &'static str,
    /// When it began.
    pub started: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What else there is to say, by names from a fixed list.
    pub attributes: Vec<(&'static str, String)>,
    /// Why it failed: a word from a fixed list, never a plugin's text. `None` if it did not.
    pub error: Option<&'static str>,
}

struct Recording {
    sink: Box<dyn SpanSink>,
    sampling: Sampling,
}

static RECORDING: OnceLock<Recording> = OnceLock::new();

/// Records spans from now on, for as long as the process lives. Returns false if they are recorded
/// already.
pub fn record(sink: impl SpanSink, sampling: Sampling) -> bool {
    let sink = Box::new(sink);
    RECORDING.set(Recording { sink, sampling }).is_ok()
}

/// Returns a new trace for work that came without one; `None` if spans are not recorded.
pub fn root() -> Option<TraceContext> {
    let sampling = RECORDING.get()?.sampling;
    let trace = TraceContext::root();
    let sampled = sampling.takes(trace.trace_id());
    Some(trace.with_sampled(sampled))
}

/// Returns a trace that came with a request as it goes on from here.
pub fn incoming(trace: TraceContext) -> TraceContext {
    match RECORDING.get() {
        Some(recording) if !recording.sampling.follows_parent => {
            let sampled = recording.sampling.takes(trace.trace_id());
            trace.with_sampled(sampled)
        }
        _ => trace,
    }
}

/// A span that is under way. One that is dropped before it has [ended](Self::end) was given up. As
/// small as a pointer, since it lies in the futures of calls.
#[derive(Debug)]
pub struct ActiveSpan(Option<Box<Active>>);

#[derive(Debug)]
struct Active {
    span: Span,
    began: Instant,
}

impl ActiveSpan {
    /// Begins the span of `trace`, within that of `parent`. Returns `None` if it is not recorded.
    pub fn begin(
        parent: &TraceContext,
        trace: &TraceContext,
        kind: SpanKind,
        name: &'static str,
        attributes: impl FnOnce() -> Vec<(&'static str, String)>,
    ) -> Option<Self> {
        RECORDING.get().filter(|_| trace.is_sampled())?;
        let span = Span {
            trace: trace.clone(),
            parent: parent.span(),
            kind,
            name,
            started: SystemTime::now(),
            took: Duration::ZERO,
            attributes: attributes(),
            error: None,
        };
        let began = Instant::now();
        Some(ActiveSpan(Some(Box::new(Active { span, began }))))
    }

    /// Adds what is known only now.
    pub fn add(&mut self, name: &'static str, value: String) {
        if let Some(active) = &mut self.0 {
            active.span.attributes.push((name, value));
        }
    }

    /// Ends the span.
    pub fn end(mut self, error: Option<&'static str>) {
        self.finish(error);
    }

    fn finish(&mut self, error: Option<&'static str>) {
        let Some(active) = self.0.take() else {
            return;
        };
        let Active { mut span, began } = *active;
        span.took = began.elapsed();
        span.error = error;
        if let Some(recording) = RECORDING.get() {
            recording.sink.ended(span);
        }
    }
}

impl Drop for ActiveSpan {
    fn drop(&mut self) {
        self.finish(Some("cancelled"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_traces_is_taken() {
        let of = |ratio| Sampling {
            ratio,
            follows_parent: true,
        };
        let trace_id = |first: u8| HexId([0xff, 0, 0, 0, 0, 0, 0, 0, 0, first, 0, 0, 0, 0, 0, 0]);
        assert!(of(1.0).takes(trace_id(0xff)) && !of(0.0).takes(trace_id(0)));
        assert!(of(0.5).takes(trace_id(0x7f)) && !of(0.5).takes(trace_id(0x80)));
    }

    #[test]
    fn nothing_is_recorded_for_nobody() {
        let trace = TraceContext::begin(true);
        assert!(root().is_none());
        assert_eq!(incoming(trace.clone()), trace);
        let child = trace.child();
        let span = ActiveSpan::begin(&trace, &child, SpanKind::Client, "x", || unreachable!());
        assert!(span.is_none());
    }
}
