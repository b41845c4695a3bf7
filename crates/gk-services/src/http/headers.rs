//! Headers on their way out and back.

use std::collections::BTreeMap;

use gk_hostapi::{HostError, TraceContext};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// Most headers of a request.
pub const REQUEST_HEADERS_MAX: usize = 64;
/// Most bytes of a request's header names and values together.
pub const REQUEST_HEADER_BYTES_MAX: usize = 16 * 1024;
/// Most headers of a response.
pub const RESPONSE_HEADERS_MAX: usize = 128;
/// Most bytes of a response's header names and values together.
pub const RESPONSE_HEADER_BYTES_MAX: usize = 64 * 1024;

/// Headers that belong to the connection or follow from the URL and the body. A plugin's are
/// ignored, as a Go host ignores them: the request carries the right ones whatever the plugin says.
const IGNORED: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The place of a request in a trace, by W3C Trace Context.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What tracing systems add to that.
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Headers that may go along to another origin: they do not say who asks. Every other one may be a
/// credential, whatever its name.
const FOR_ANY_ORIGIN: &[&str] = &[
    "accept",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "content-encoding",
    "content-language",
    "content-location",
    "content-type",
    "pragma",
    "range",
    "traceparent",
    "user-agent",
];

/// Describes a body; goes with it.
const OF_BODY: &[&str] = &[
    "content-encoding",
    "content-language",
    "content-location",
    "content-type",
];

/// The request's headers. A name that comes twice counts the last time.
pub(super) fn request(headers: &[(String, String)]) -> Result<HeaderMap, HostError> {
    if headers.len() > REQUEST_HEADERS_MAX {
        return Err(HostError::limit(format!(
            "a request has at most {REQUEST_HEADERS_MAX} headers, not {}",
            headers.len()
        )));
    }
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > REQUEST_HEADER_BYTES_MAX {
        return Err(HostError::limit(format!(
            "a request's headers have at most {REQUEST_HEADER_BYTES_MAX} bytes, not {bytes}"
        )));
    }
    let mut map = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let shown: String = name.chars().take(64).collect();
        let Ok(parsed) = HeaderName::try_from(name.as_str()) else {
            return Err(HostError::invalid(format!("{shown:?} is no header name")));
        };
        if IGNORED.contains(&parsed.as_str()) {
            continue;
        }
        let Ok(value) = HeaderValue::try_from(value.as_str()) else {
            return Err(HostError::invalid(format!(
                "the value of the header {shown:?} holds a character that no header may hold"
            )));
        };
        map.insert(parsed, value);
    }
    Ok(map)
}

/// Adds the place of the request in a trace. A plugin that says so itself, is left alone.
pub(super) fn add_trace(headers: &mut HeaderMap, trace: &TraceContext) {
    if headers.contains_key(TRACEPARENT) {
        return;
    }
    if let Ok(value) = HeaderValue::from_str(trace.traceparent().as_str()) {
        headers.insert(TRACEPARENT, value);
        headers.remove(TRACESTATE);
    }
    if let Some(Ok(value)) = trace.tracestate().map(HeaderValue::from_str) {
        headers.insert(TRACESTATE, value);
    }
}

/// Removes what the next origin must not see.
pub(super) fn drop_credentials(headers: &mut HeaderMap) {
    let kept = std::mem::take(headers)
        .into_iter()
        .filter_map(|(name, value)| {
            let name = name.filter(|name| FOR_ANY_ORIGIN.contains(&name.as_str()))?;
            Some((name, value))
        });
    headers.extend(kept);
}

/// Removes what describes a body that is no longer sent.
pub(super) fn drop_body_headers(headers: &mut HeaderMap) {
    for name in OF_BODY {
        headers.remove(*name);
    }
}

/// The response's headers, by lower-case name. Bytes that are not UTF-8 are replaced.
pub(super) fn response(headers: &HeaderMap) -> Result<BTreeMap<String, Vec<String>>, HostError> {
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if headers.len() > RESPONSE_HEADERS_MAX || bytes > RESPONSE_HEADER_BYTES_MAX {
        return Err(HostError::limit(format!(
            "the response has {} headers of {bytes} bytes; {RESPONSE_HEADERS_MAX} and \
             {RESPONSE_HEADER_BYTES_MAX} are allowed",
            headers.len()
        )));
    }
    let mut map = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in headers {
        map.entry(name.as_str().to_owned())
            .or_default()
            .push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(headers: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        headers.iter().map(own).collect()
    }

    #[test]
    fn the_connections_own_headers_are_ignored() {
        for name in IGNORED {
            let headers = request(&pairs(&[(&name.to_uppercase(), "x"), ("x-own", "1")])).unwrap();
            assert_eq!(headers.len(), 1, "{name}");
        }
    }

    #[test]
    fn nothing_gets_a_line_of_its_own() {
        for (name, value) in [
            ("x\r\nhost", "evil"),
            ("x", "1\r\nhost: evil"),
            ("x", "1\nhost: evil"),
            ("x", "\0"),
            ("x:", "1"),
            ("", "1"),
            ("x y", "1"),
        ] {
            assert!(
                request(&pairs(&[(name, value)])).is_err(),
                "{name:?} {value:?}"
            );
        }
    }

    #[test]
    fn the_limits_hold_at_the_limit() {
        let many =
            |n: usize| -> Vec<_> { (0..n).map(|n| (format!("x-{n}"), String::new())).collect() };
        assert!(request(&many(REQUEST_HEADERS_MAX)).is_ok());
        assert!(request(&many(REQUEST_HEADERS_MAX + 1)).is_err());
        let long = |n: usize| vec![("x".to_owned(), "y".repeat(n))];
        assert!(request(&long(REQUEST_HEADER_BYTES_MAX - 1)).is_ok());
        assert!(request(&long(REQUEST_HEADER_BYTES_MAX)).is_err());
    }
}
