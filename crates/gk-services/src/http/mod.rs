//! Outgoing HTTP requests, checked hop by hop and address by address.
//!
//! A request goes where the plugin's [`HttpScope`] and the operator's networks let it, and nowhere
//! else: the URL is checked by its parsed host, every address that is connected to by its range,
//! redirects are followed here and checked anew. No proxy of the environment, no cookies, nothing
//! that is remembered from one request to the next but open connections.

mod address;
mod headers;
mod methods;
mod resolve;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gk_hostapi::{HostError, TraceContext};
use ipnet::IpNet;
use parking_lot::Mutex;
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Client, ClientBuilder, Method, Response, StatusCode};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};

pub use self::headers::{
    REQUEST_HEADER_BYTES_MAX, REQUEST_HEADERS_MAX, RESPONSE_HEADER_BYTES_MAX, RESPONSE_HEADERS_MAX,
};
pub(crate) use self::methods::METHODS;
use self::resolve::{AddressRefused, Filter};
pub use self::resolve::{Resolve, SystemResolver};
pub use gk_hostapi::scope::HttpScope;

/// Longest URL, in bytes.
pub const URL_BYTES_MAX: usize = 8 * 1024;
/// Longest method, in bytes.
pub const METHOD_BYTES_MAX: usize = 32;
/// Largest body of a request.
pub const REQUEST_BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Largest body of a response, counted after decompression.
pub const RESPONSE_BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Redirects that are followed; the next one is an error.
pub const REDIRECTS_MAX: usize = 10;
/// Longest time from the request to the last byte of the response, redirects included. The call's
/// deadline may be earlier.
pub const TOTAL_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest time to connect to one host.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// How requests are made.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Networks a request may go to although they are not for everybody: private, loopback and so
    /// on. None by default.
    pub allow_networks: Vec<IpNet>,
    /// The resolver of names; the system's by default.
    pub resolver: Arc<dyn Resolve>,
    /// Certificates (PEM) that are trusted besides the system's.
    pub extra_roots_pem: Vec<Vec<u8>>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            allow_networks: Vec::new(),
            resolver: Arc::new(SystemResolver),
            extra_roots_pem: Vec::new(),
        }
    }
}

/// A request, as a plugin wants it.
#[derive(Debug, Clone, Default)]
pub struct HttpRequest {
    /// The method; empty for `GET`.
    pub method: String,
    /// An absolute URL, `http` or `https`.
    pub url: String,
    /// Headers; a name that comes twice counts the last time. Those of the connection (`host`,
    /// `content-length`, `connection`, `transfer-encoding` …) are ignored.
    pub headers: Vec<(String, String)>,
    /// The body, if there is one.
    pub body: Option<Bytes>,
    /// Trace, and the span of the request in it. They are sent as `traceparent` and `tracestate`,
    /// unless [`headers`](Self::headers) has a `traceparent`.
    pub trace: Option<TraceContext>,
}

/// The answer of the other server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// Status code of HTTP.
    pub status: u16,
    /// The headers by lower-case name. Of a body that was compressed by gzip, `content-encoding`
    /// and `content-length` are gone, as it is decompressed here.
    pub headers: BTreeMap<String, Vec<String>>,
    /// Body, decompressed.
    pub body: Bytes,
}

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct HttpClient {
    client: Arc<Lazy>,
    allowed: Arc<[IpNet]>,
}

/// A client that is built when it is first needed: reading the system's certificates takes time and
/// memory that most hosts can do without.
struct Lazy {
    builder: Mutex<Option<ClientBuilder>>,
    client: OnceCell<Result<Client, HostError>>,
}

impl Lazy {
    async fn get(&self) -> Result<&Client, HostError> {
        let build = async || {
            let builder = self.builder.lock().take();
            let build = move || builder.map(ClientBuilder::build);
            match tokio::task::spawn_blocking(build).await {
                Ok(Some(Ok(client))) => return Ok(client),
                Ok(Some(Err(error))) => tracing::error!(%error, "the HTTP client cannot be set up"),
                other => tracing::error!(?other, "the HTTP client cannot be set up"),
            }
            Err(HostError::unavailable(
                "HTTP requests cannot be made; the host's log says why",
            ))
        };
        let client = self.client.get_or_init(build).await;
        client.as_ref().map_err(Clone::clone)
    }
}

impl HttpClient {
    /// A client.
    ///
    /// # Errors
    /// Invalid: a certificate.
    pub fn new(config: HttpConfig) -> Result<Self, HostError> {
        let allowed: Arc<[IpNet]> = config.allow_networks.into();
        let mut roots = Vec::new();
        for pem in &config.extra_roots_pem {
            let parsed = reqwest::Certificate::from_pem_bundle(pem)
                .map_err(|_| HostError::invalid("an extra root certificate is not PEM"))?;
            roots.extend(parsed);
        }
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .user_agent(concat!("GoatKit/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIME_MAX)
            .pool_idle_timeout(Duration::from_secs(60))
            .pool_max_idle_per_host(8)
            .http1_max_headers(RESPONSE_HEADERS_MAX)
            .http2_max_header_list_size(RESPONSE_HEADER_BYTES_MAX.try_into().unwrap_or(u32::MAX))
            .dns_resolver(Arc::new(Filter {
                inner: config.resolver,
                allowed: Arc::clone(&allowed),
            }));
        let client = match roots.is_empty() {
            true => client,
            false => client.tls_certs_merge(roots),
        };
        let client = Arc::new(Lazy {
            builder: Mutex::new(Some(client)),
            client: OnceCell::new(),
        });
        Ok(Self { client, allowed })
    }

    /// Makes a request within `scope` and before `deadline`, and follows up to [`REDIRECTS_MAX`]
    /// redirects: each is checked like a first request; none leads from `https` to `http`; 301, 302
    /// and 303 turn other methods than `GET` and `HEAD` into `GET` without a body; credentials do
    /// not go along to another origin.
    ///
    /// # Errors
    /// Invalid: the method, the URL or a header. Denied: a host outside of the scope, an address
    /// that is not for everybody, a redirect to such. Limit: see the constants of this module.
    /// Timeout. Unavailable: the server cannot be reached. Failed: it breaks off, or redirects
    /// without end.
    pub async fn send(
        &self,
        request: HttpRequest,
        scope: &HttpScope,
        deadline: Instant,
    ) -> Result<HttpResponse, HostError> {
        let hop = Hop::first(request)?;
        let until = deadline.min(Instant::now() + TOTAL_TIME_MAX);
        match timeout_at(until, self.follow(hop, scope)).await {
            Ok(result) => result,
            Err(_) => Err(HostError::timeout("the HTTP request took too long")),
        }
    }

    async fn follow(&self, mut hop: Hop, scope: &HttpScope) -> Result<HttpResponse, HostError> {
        for _ in 0..=REDIRECTS_MAX {
            self.check(&hop.url, scope)?;
            let client = self.client.get().await?;
            let mut request = client
                .request(hop.method.clone(), hop.url.clone())
                .headers(hop.headers.clone());
            if let Some(body) = &hop.body {
                request = request.body(body.clone());
            }
            let response = request
                .send()
                .await
                .map_err(|error| failure(&error, &hop.url))?;
            match hop.redirected(&response)? {
                Some(next) => hop = next,
                None => return read(response, &hop.url).await,
            }
        }
        Err(HostError::failed(format!(
            "the server redirects more than {REDIRECTS_MAX} times"
        )))
    }

    /// Checks a URL before it is requested. Names are checked once they are resolved; addresses in
    /// the URL itself never are, so here.
    fn check(&self, url: &Url, scope: &HttpScope) -> Result<(), HostError> {
        let shown = shown(url);
        if !scope.allows(url) {
            return Err(HostError::denied(format!(
                "HTTP access to {shown} not permitted: {}",
                scope.remedy(url)
            )));
        }
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(_)) => return Ok(()),
            None => return Err(HostError::invalid("the URL has no host")),
        };
        address::check(address, &self.allowed).map_err(|reason| refused(&shown, reason.0))
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient")
            .field("allow_networks", &self.allowed)
            .finish_non_exhaustive()
    }
}

/// A request of a chain of redirects.
struct Hop {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Bytes>,
}

impl Hop {
    fn first(request: HttpRequest) -> Result<Self, HostError> {
        let body_bytes = request.body.as_ref().map_or(0, Bytes::len);
        if body_bytes > REQUEST_BODY_BYTES_MAX {
            return Err(HostError::limit(format!(
                "a request's body has at most {REQUEST_BODY_BYTES_MAX} bytes, not {body_bytes}"
            )));
        }
        let mut headers = headers::request(&request.headers)?;
        if let Some(trace) = &request.trace {
            headers::add_trace(&mut headers, trace);
        }
        Ok(Self {
            method: method(&request.method)?,
            url: url(&request.url, None)?,
            headers,
            body: request.body,
        })
    }

    /// The request that a response redirects to, if it does.
    fn redirected(&self, response: &Response) -> Result<Option<Self>, HostError> {
        let status = response.status();
        let drops_body = match status {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => true,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => false,
            _ => return Ok(None),
        };
        // Without a place to go to it is a response like others.
        let Some(location) = response.headers().get(LOCATION) else {
            return Ok(None);
        };
        let invalid = || HostError::failed("the server redirects to something that is no URL");
        let next =
            url(&location_text(location.as_bytes()), Some(&self.url)).map_err(|_| invalid())?;
        if self.url.scheme() == "https" && next.scheme() != "https" {
            return Err(HostError::denied(
                "the server redirects from https to http, which is not followed",
            ));
        }
        let mut hop = Self {
            method: self.method.clone(),
            url: next,
            headers: self.headers.clone(),
            body: self.body.clone(),
        };
        if drops_body && self.method != Method::GET && self.method != Method::HEAD {
            hop.method = Method::GET;
            hop.body = None;
            headers::drop_body_headers(&mut hop.headers);
        }
        if hop.url.origin() != self.url.origin() {
            headers::drop_credentials(&mut hop.headers);
        }
        Ok(Some(hop))
    }
}

fn method(text: &str) -> Result<Method, HostError> {
    if text.is_empty() {
        return Ok(Method::GET);
    }
    let method = (text.len() <= METHOD_BYTES_MAX)
        .then(|| Method::from_bytes(text.as_bytes()).ok())
        .flatten()
        .ok_or_else(|| HostError::invalid("the method is none of HTTP"))?;
    // A tunnel is no request, and an echo of the request shows what the host added to it.
    if method == Method::CONNECT || method == Method::TRACE {
        return Err(HostError::invalid(format!(
            "the method {method} is not possible"
        )));
    }
    Ok(method)
}

/// A redirect's target as text: bytes that are no UTF-8 are escaped, as browsers do.
fn location_text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(
            bytes
                .iter()
                .map(|byte| match byte {
                    0..=0x7f => char::from(*byte).to_string(),
                    byte => format!("%{byte:02X}"),
                })
                .collect(),
        ),
    }
}

/// Parses a URL, by the rules of browsers; everything after this works on the parsed one. A
/// plugin's own text has to say what it means; a server's, which comes with a `base`, is taken as
/// browsers take it, blanks and backslashes included.
fn url(text: &str, base: Option<&Url>) -> Result<Url, HostError> {
    if text.len() > URL_BYTES_MAX {
        return Err(HostError::limit(format!(
            "a URL has at most {URL_BYTES_MAX} bytes, not {}",
            text.len()
        )));
    }
    // The parser drops tabs and newlines anywhere, and blanks around: whoever reads the text sees
    // another URL than is requested.
    if base.is_none() && text.contains(|c: char| c.is_control() || c == ' ' || c == '\\') {
        return Err(HostError::invalid(
            "the URL holds a blank, a backslash or a control character; escape it with %",
        ));
    }
    let url = match base {
        Some(base) => base.join(text),
        None => Url::parse(text),
    };
    let mut url =
        url.map_err(|error| HostError::invalid(format!("the URL is not valid: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(HostError::invalid(
            "the URL's scheme is neither http nor https",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(HostError::invalid(
            "the URL holds a user or password; send them in an Authorization header",
        ));
    }
    url.set_fragment(None);
    Ok(url)
}

async fn read(mut response: Response, url: &Url) -> Result<HttpResponse, HostError> {
    let status = response.status().as_u16();
    let headers = headers::response(response.headers())?;
    let too_large = || {
        HostError::limit(format!(
            "the response's body is larger than {RESPONSE_BODY_BYTES_MAX} bytes"
        ))
    };
    // An announced body need not come, so this only saves reading.
    let announced = response.content_length().unwrap_or(0);
    if announced > RESPONSE_BODY_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    // Chunks come decompressed, a few KiB at a time.
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| failure(&error, url))?
    {
        if body.len() + chunk.len() > RESPONSE_BODY_BYTES_MAX {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(HttpResponse {
        status,
        headers,
        body: body.freeze(),
    })
}

/// A URL as far as it may be shown: its path and query may hold keys.
fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
        None => format!("{}://{host}", url.scheme()),
    }
}

fn refused(shown: &str, kind: &str) -> HostError {
    HostError::denied(format!(
        "HTTP access to {shown} not permitted: its address is {kind}; the operator can allow the \
         network by http.allow_networks"
    ))
}

/// The error for a plugin: who failed, not how the host's network looks.
fn failure(error: &reqwest::Error, url: &Url) -> HostError {
    let shown = shown(url);
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(inner) = cause {
        if let Some(AddressRefused(kind)) = inner.downcast_ref() {
            return refused(&shown, kind);
        }
        cause = inner.source();
    }
    if error.is_timeout() {
        HostError::timeout(format!("request failed: {shown} did not answer in time"))
    } else if error.is_connect() {
        HostError::unavailable(format!("request failed: no connection to {shown}"))
    } else if error.is_decode() {
        HostError::failed(format!(
            "request failed: the body from {shown} cannot be decoded"
        ))
    } else {
        HostError::failed(format!("request failed: {shown} broke off"))
    }
}
