//! Cross-origin requests (CORS), allowed only for the origins that the operator names.

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Time that a browser may cache a preflight answer, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Request headers that pages may send.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, last-event-id, x-request-id, x-requested-with",
);

/// Response headers that pages may read, besides those that every page may. `*` stands for all of
/// them, except for requests with credentials, to which it is an ordinary name.
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static(
    "*, etag, location, content-disposition, retry-after, www-authenticate, x-request-id",
);

/// Origins whose pages may call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cors {
    /// Allowed origins, such as `https://app.example`; `*` for all.
    pub origins: Vec<String>,
    /// Browsers may send cookies and client certificates; not with `*`.
    pub credentials: bool,
}

impl Cors {
    /// Returns the value for the allowed origin of a request, if its page may call.
    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        if self
            .origins
            .iter()
            .any(|known| known.as_bytes() == origin.as_bytes())
        {
            return Some(origin.clone());
        }
        let any = self.origins.iter().any(|known| known == "*");
        any.then(|| HeaderValue::from_static("*"))
    }

    /// Returns true for a request that only asks if another one may be made.
    pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
        method == Method::OPTIONS
            && headers.contains_key(header::ORIGIN)
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// Adds the CORS headers to an answer. `preflight` answers have the methods in `Allow`.
    pub(crate) fn apply(&self, request: &HeaderMap, preflight: bool, response: &mut Response) {
        if self.origins.is_empty() {
            return;
        }
        let headers = response.headers_mut();
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        let Some(origin) = self.allowed(request) else {
            return;
        };
        if self.credentials && origin != "*" {
            headers.insert(
                header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
        if preflight {
            if let Some(methods) = headers.get(header::ALLOW).cloned() {
                headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
            }
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        }
    }
}

/// Returns the answer to `OPTIONS` for an existing path: 204 with the methods, which the 405 answer
/// to a method that is not served lists.
pub(crate) fn options(response: Response) -> Response {
    if response.status() != StatusCode::METHOD_NOT_ALLOWED {
        return response;
    }
    let allowed = response
        .headers()
        .get(header::ALLOW)
        .and_then(|methods| methods.to_str().ok())
        .unwrap_or_default();
    let mut methods: Vec<&str> = allowed.split(',').map(str::trim).collect();
    methods.retain(|method| !method.is_empty());
    if methods.contains(&"GET") && !methods.contains(&"HEAD") {
        methods.push("HEAD");
    }
    methods.push("OPTIONS");
    let mut answer = StatusCode::NO_CONTENT.into_response();
    if let Ok(methods) = HeaderValue::from_str(&methods.join(", ")) {
        answer.headers_mut().insert(header::ALLOW, methods);
    }
    answer
}
