//! The trace of a request: its client's, by the headers of W3C Trace Context.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use gk_hostapi::{TraceContext, spans};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Returns the trace of a request with these headers: the client's own, or a new one if the
/// client's is not valid, or if the host records traces. `None` if the client sends none and nobody
/// records it.
pub(crate) fn of(headers: &HeaderMap) -> Option<TraceContext> {
    let mut sent = headers.get_all(TRACEPARENT).iter();
    let Some(first) = sent.next() else {
        return spans::root();
    };
    let only = sent.next().is_none().then_some(first);
    let trace = only.and_then(|value| TraceContext::parse(value.as_bytes()));
    Some(match trace {
        Some(trace) => {
            let state = headers.get_all(TRACESTATE);
            let trace = trace.with_state(state.iter().map(HeaderValue::as_bytes));
            spans::incoming(trace)
        }
        // A new trace that nobody records is not sampled.
        None => spans::root().unwrap_or_else(|| TraceContext::begin(false)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_clients_trace_is_taken_with_its_state() {
        let sent = [
            (TRACEPARENT, SENT),
            (TRACESTATE, "a=1"),
            (TRACESTATE, "b=2"),
        ];
        let trace = of(&headers(&sent)).unwrap();
        assert_eq!(trace.traceparent().as_str(), SENT);
        assert_eq!(trace.tracestate(), Some("a=1,b=2"));
        assert!(of(&headers(&[(TRACESTATE, "a=1")])).is_none());
    }

    #[test]
    fn a_trace_that_is_not_valid_is_replaced() {
        let cases = [
            vec![(TRACEPARENT, ""), (TRACESTATE, "a=1")],
            vec![(TRACEPARENT, "00-0-0-00")],
            vec![
                (TRACEPARENT, SENT),
                (TRACEPARENT, SENT),
                (TRACESTATE, "a=1"),
            ],
        ];
        for sent in cases {
            let trace = of(&headers(&sent)).unwrap();
            let sent_trace = TraceContext::parse(SENT.as_bytes()).unwrap();
            assert_ne!(trace.trace_id(), sent_trace.trace_id(), "{sent:?}");
            assert_eq!((trace.tracestate(), trace.is_sampled()), (None, false));
        }
    }
}
