//! Outgoing requests against real servers. For each attack a client without the checks is shown to
//! fall for it first.

mod limits;
mod redirects;

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use gk_hostapi::scope::Scope;
use gk_hostapi::{ErrorKind, HostError, TraceContext};
use gk_services::http::{
    HttpClient, HttpConfig, HttpRequest, HttpResponse, HttpScope, REDIRECTS_MAX,
    REQUEST_BODY_BYTES_MAX, REQUEST_HEADERS_MAX, RESPONSE_BODY_BYTES_MAX, RESPONSE_HEADERS_MAX,
    URL_BYTES_MAX,
};
use tokio::time::Instant;

use super::web::{INSIDE, Names, OUTSIDE, Unchecked, Web, ok, redirect, response};
use super::{far, soon};

/// A client that may go to [`OUTSIDE`] and to what is for everybody.
fn client(names: &Arc<Names>) -> HttpClient {
    client_with(names, &[])
}

fn client_with(names: &Arc<Names>, roots: &[Vec<u8>]) -> HttpClient {
    HttpClient::new(HttpConfig {
        allow_networks: vec![format!("{OUTSIDE}/32").parse().unwrap()],
        resolver: Arc::clone(names) as _,
        extra_roots_pem: roots.to_vec(),
    })
    .unwrap()
}

/// What a host without our checks would use.
fn plain(names: &Arc<Names>) -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .dns_resolver(Arc::new(Unchecked(Arc::clone(names))))
        .build()
        .unwrap()
}

async fn plain_get(client: &reqwest::Client, url: &str) -> String {
    client.get(url).send().await.unwrap().text().await.unwrap()
}

fn scope(patterns: &[&str]) -> HttpScope {
    let patterns: Vec<_> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    HttpScope::parse(Scope::Only(&patterns)).unwrap()
}

fn any_host() -> HttpScope {
    HttpScope::parse(Scope::Any).unwrap()
}

fn request(url: &str) -> HttpRequest {
    HttpRequest {
        url: url.to_owned(),
        ..HttpRequest::default()
    }
}

async fn get(client: &HttpClient, url: &str) -> Result<HttpResponse, HostError> {
    client.send(request(url), &any_host(), far()).await
}

fn kind(result: Result<HttpResponse, HostError>) -> ErrorKind {
    match result {
        Ok(response) => panic!("it went through: {response:?}"),
        Err(error) => error.kind(),
    }
}

#[tokio::test]
async fn a_request_tells_its_place_in_a_trace() {
    let web = Web::start(OUTSIDE, |_| response("200 OK", &[], b"")).await;
    let client = client(&Names::new(&[("shop.test", &[OUTSIDE])]));
    let sent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let trace = TraceContext::parse(sent.as_bytes()).unwrap();
    let trace = trace.with_state([&b"a=1"[..]].into_iter());
    let own = "00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-00";
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let lines = async |headers: Vec<(String, String)>, trace: Option<TraceContext>| {
        let url = format!("http://shop.test:{}/", web.port);
        let request = HttpRequest {
            headers,
            trace,
            ..request(&url)
        };
        let scope = scope(&["shop.test:*"]);
        client.send(request, &scope, far()).await.unwrap();
        let seen = web.seen().pop().unwrap();
        let value = |name: &str| {
            let line = seen.lines().find(|line| line.starts_with(name));
            line.map(|line| line[name.len()..].to_owned())
        };
        (value("traceparent: "), value("tracestate: "))
    };
    // The most headers that a plugin may send leave room for the host's.
    let most = (0..REQUEST_HEADERS_MAX).map(|at| header(&format!("x-{at}"), "1"));
    let (parent, state) = lines(most.collect(), Some(trace.clone())).await;
    let parent = TraceContext::parse(parent.unwrap().as_bytes()).unwrap();
    assert_eq!(parent.traceparent().as_str(), sent);
    assert_eq!(state.as_deref(), Some("a=1"));
    // A state alone means nothing.
    let (_, state) = lines(vec![header("TraceState", "b=2")], Some(trace.clone())).await;
    assert_eq!(state.as_deref(), Some("a=1"));
    let (parent, state) = lines(vec![header("TraceParent", own)], Some(trace)).await;
    assert_eq!((parent.as_deref(), state), (Some(own), None));
    assert_eq!(lines(Vec::new(), None).await, (None, None));
}

fn no_names() -> Arc<Names> {
    Names::new(&[])
}

#[tokio::test]
async fn a_request_and_its_response() {
    let web = Web::start(OUTSIDE, |_| {
        response(
            "418 I'm a teapot",
            &["X-Tea: green", "x-tea: black", "Set-Cookie: a=b"],
            b"\0\xff",
        )
    })
    .await;
    let names = Names::new(&[("shop.test", &[OUTSIDE])]);
    let client = client(&names);
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let request = HttpRequest {
        method: "PUT".to_owned(),
        url: format!("http://shop.test:{}/a%20b?c=d#fragment", web.port),
        headers: vec![
            header("X-One", "1"),
            header("x-one", "2"),
            header("Host", "forged.test"),
            header("Content-Length", "99"),
            header("Transfer-Encoding", "chunked"),
        ],
        body: Some(Bytes::from_static(b"body")),
        trace: None,
    };
    let response = client
        .send(request, &scope(&["shop.test:*"]), far())
        .await
        .unwrap();
    assert_eq!((response.status, &*response.body), (418, &b"\0\xff"[..]));
    assert_eq!(response.headers["x-tea"], ["green", "black"]);
    let seen = web.seen().remove(0);
    assert!(seen.starts_with("PUT /a%20b?c=d HTTP/1.1\r\n"), "{seen}");
    assert!(
        seen.contains("x-one: 2\r\n") && !seen.contains("x-one: 1"),
        "{seen}"
    );
    assert!(
        seen.contains(&format!("host: shop.test:{}\r\n", web.port)),
        "{seen}"
    );
    assert!(
        !seen.contains("forged") && !seen.contains("chunked"),
        "{seen}"
    );
    assert!(
        seen.contains("content-length: 4\r\n") && seen.ends_with("\r\n\r\nbody"),
        "{seen}"
    );
    // Nothing is remembered: the cookie does not come back.
    get(&client, &format!("http://shop.test:{}/", web.port))
        .await
        .unwrap();
    assert!(
        !web.seen()[1].to_ascii_lowercase().contains("cookie"),
        "{:?}",
        web.seen()
    );
}

#[tokio::test]
async fn every_spelling_of_an_inner_address_is_refused() {
    let web = Web::start(INSIDE, |_| ok("secret")).await;
    let local = Names::new(&[("localhost", &[INSIDE]), ("localhost.", &[INSIDE])]);
    let (plain, client) = (plain(&local), client(&local));
    for host in [
        "127.0.0.1",
        "127.0.0.1.",
        "2130706433",
        "0x7f000001",
        "0x7F.1",
        "0177.0.0.1",
        "017700000001",
        "127.1",
        "127.0.1",
        "①②⑦.⓪.⓪.①",
        "0",
        "0.0.0.0",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "localhost",
        "LOCALHOST",
        "localhost.",
    ] {
        let url = format!("http://{host}:{}/", web.port);
        assert_eq!(plain_get(&plain, &url).await, "secret", "{url}");
        let seen = web.seen().len();
        for scope in [any_host(), scope(&["*"])] {
            let result = client.send(request(&url), &scope, far()).await;
            assert_eq!(kind(result), ErrorKind::Denied, "{url}");
        }
        assert_eq!(web.seen().len(), seen, "{url}");
    }
    for host in [
        "169.254.169.254",
        "[fd00:ec2::254]",
        "[::1]",
        "[64:ff9b::a9fe:a9fe]",
        "10.0.0.1",
        "[fe80::1]",
    ] {
        let error = get(&client, &format!("http://{host}/")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{host}: {error}");
    }
}

#[tokio::test]
async fn the_host_in_the_text_is_not_the_host_that_is_asked() {
    let web = Web::start(OUTSIDE, |_| ok("evil")).await;
    let names = Names::new(&[
        ("evil.test", &[OUTSIDE]),
        ("evil.test.allowed.test", &[OUTSIDE]),
    ]);
    let (plain, client) = (plain(&names), client(&names));
    let allowed = scope(&["allowed.test:*", "*.allowed.test:*"]);
    let port = web.port;
    for url in [
        format!("http://allowed.test:x@evil.test:{port}/"),
        format!("http://allowed.test@evil.test:{port}/"),
        format!("http://allowed.test%40evil.test@evil.test:{port}/"),
        format!("http://evil.test:{port}?.allowed.test"),
        format!("http://evil.test:{port}?@allowed.test/"),
        format!("http://evil.test:{port}#.allowed.test"),
        format!("http://evil.test:{port}#@allowed.test/"),
        format!("http://evil.test:{port}\\.allowed.test/"),
        format!("http://evil.test:{port}\\@allowed.test/"),
        format!("http:\\\\evil.test:{port}\\@allowed.test/"),
        format!("http://evil.test:{port}/.allowed.test"),
        format!("http:evil.test:{port}/"),
        format!(" http://evil.test:{port}/"),
        format!("ht\ntp://ev\til.test:{port}/"),
    ] {
        assert_eq!(plain_get(&plain, &url).await, "evil", "{url}");
        let seen = web.seen().len();
        let error = client
            .send(request(&url), &allowed, far())
            .await
            .unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Denied | ErrorKind::Invalid),
            "{url}: {error}"
        );
        assert_eq!(web.seen().len(), seen, "{url}");
    }
    let below = format!("http://evil.test.allowed.test:{port}/");
    assert_eq!(
        client
            .send(request(&below), &allowed, far())
            .await
            .unwrap()
            .body,
        "evil"
    );
    for url in [
        "file:///etc/passwd",
        "gopher://evil.test/",
        "/path",
        "",
        "http://",
        "http:///x",
        "javascript:1",
    ] {
        assert!(get(&client, url).await.is_err(), "{url}");
    }
    // A password is refused even where the host is allowed: it would be in logs of whoever it
    // meets.
    let error = get(&client, &format!("http://u:p@evil.test:{port}/"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(!error.to_string().contains("u:p"), "{error}");
}

#[tokio::test]
async fn a_name_that_changes_its_address_finds_no_gap() {
    let outside = Web::start_on(OUTSIDE, 0, "public").await;
    let inside = Web::start_on(INSIDE, outside.port, "secret").await;
    let url = format!("http://rebind.test:{}/", outside.port);

    // A host that checks the name and then gives it to a client: the check sees one address, the
    // connection goes to the other.
    let names = Names::new(&[("rebind.test", &[OUTSIDE, INSIDE])]);
    let checked = gk_services::http::Resolve::resolve(&*names, "rebind.test")
        .await
        .unwrap();
    assert_eq!(checked, [std::net::IpAddr::V4(OUTSIDE)]);
    assert_eq!(plain_get(&plain(&names), &url).await, "secret");
    assert_eq!(inside.seen().len(), 1);

    let names = Names::new(&[("rebind.test", &[OUTSIDE, INSIDE])]);
    let client = client(&names);
    assert_eq!(get(&client, &url).await.unwrap().body, "public");
    assert_eq!(
        names.asked(),
        1,
        "the address is asked for once, not for a check and a connection"
    );
    assert_eq!(kind(get(&client, &url).await), ErrorKind::Denied);
    assert_eq!(names.asked(), 2);
    assert_eq!(inside.seen().len(), 1);
}
