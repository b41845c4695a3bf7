//! Outgoing requests against real servers. For each attack a client without the checks is shown to
//! fall for it first.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use gk_hostapi::scope::Scope;
use gk_hostapi::{ErrorKind, HostError};
use gk_services::http::{
    HttpClient, HttpConfig, HttpRequest, HttpResponse, HttpScope, REDIRECTS_MAX,
    REQUEST_BODY_BYTES_MAX, RESPONSE_BODY_BYTES_MAX, RESPONSE_HEADERS_MAX, URL_BYTES_MAX,
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
    // A password is refused even where the host is allowed: it would be in logs of whoever it meets.
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

#[tokio::test]
async fn redirects_are_checked_like_first_requests() {
    let inside = Web::start(INSIDE, |_| ok("secret")).await;
    let other = Web::start(OUTSIDE, |_| ok("other")).await;
    let inside_names: &[Ipv4Addr] = &[INSIDE];
    let names = Names::new(&[
        ("start.test", &[OUTSIDE]),
        ("other.test", &[OUTSIDE]),
        ("inside.test", inside_names),
    ]);
    let (plain, client) = (plain(&names), client(&names));
    for (target, web, expected) in [
        (
            format!("http://127.0.0.1:{}/", inside.port),
            &inside,
            ErrorKind::Denied,
        ),
        (
            format!("http://0x7f.1:{}/", inside.port),
            &inside,
            ErrorKind::Denied,
        ),
        (
            format!("http://inside.test:{}/", inside.port),
            &inside,
            ErrorKind::Denied,
        ),
        (
            format!("http://other.test:{}/", other.port),
            &other,
            ErrorKind::Denied,
        ),
        (
            format!("//other.test:{}/", other.port),
            &other,
            ErrorKind::Denied,
        ),
        (
            format!("http://start.test@other.test:{}/", other.port),
            &other,
            ErrorKind::Failed,
        ),
    ] {
        let to = target.clone();
        let start = Web::start(OUTSIDE, move |_| redirect("302 Found", &to)).await;
        let url = format!("http://start.test:{}/", start.port);
        assert!(
            ["secret", "other"].contains(&&*plain_get(&plain, &url).await),
            "{target}"
        );
        let seen = web.seen().len();
        let result = client
            .send(request(&url), &scope(&["start.test:*"]), far())
            .await;
        assert_eq!(kind(result), expected, "{target}");
        assert_eq!(web.seen().len(), seen, "{target}");
    }
    let start = Web::start(OUTSIDE, |_| redirect("302 Found", "file:///etc/passwd")).await;
    let url = format!("http://start.test:{}/", start.port);
    assert_eq!(kind(get(&client, &url).await), ErrorKind::Failed);
}

/// Servers write targets that are no URLs by the letter; browsers, curl and Go follow them.
#[tokio::test]
async fn redirects_are_read_as_browsers_read_them() {
    for (location, expected) in [
        (&b"/plain?x=a b"[..], "/plain?x=a%20b"),
        (b"/a b/c", "/a%20b/c"),
        (b"  /blank  ", "/blank"),
        (b"/\xc3\xa4?\xc3\xb6", "/%C3%A4?%C3%B6"),
        (b"/latin\xe4", "/latin%E4"),
        (b"/a\\b", "/a/b"),
        (b"/tab\there", "/tabhere"),
        (b"?only=query x", "/first?only=query%20x"),
        (b"/brackets[1]|{x}\"<>`", "/brackets[1]|%7Bx%7D%22%3C%3E%60"),
        (b"/percent%zz", "/percent%zz"),
        (b"next#part", "/next"),
    ] {
        let web = Web::start(OUTSIDE, move |request| {
            if !request.starts_with("GET /first ") {
                return ok("there");
            }
            let mut answer = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: ".to_vec();
            answer.extend_from_slice(location);
            answer.extend_from_slice(b"\r\n\r\n");
            answer
        })
        .await;
        let shown = String::from_utf8_lossy(location);
        let url = format!("http://{OUTSIDE}:{}/first", web.port);
        let found = get(&client(&no_names()), &url).await;
        let found = found.unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert_eq!(found.body, "there", "{shown}");
        let seen = web.seen().pop().unwrap();
        let path = seen.split(' ').nth(1).unwrap();
        assert!(path.eq_ignore_ascii_case(expected), "{shown}: {path}");
    }
    // However it is read, it is checked.
    let inside = Web::start(INSIDE, |_| ok("secret")).await;
    for target in [
        format!("http:\\\\127.0.0.1:{}\\x y", inside.port),
        format!(" //127.0.0.1:{}/a b", inside.port),
        format!("http://127.1:{}/\t", inside.port),
        format!("\\\\127.0.0.1:{}\\", inside.port),
    ] {
        let to = target.clone();
        let start = Web::start(OUTSIDE, move |_| redirect("302 Found", &to)).await;
        let url = format!("http://{OUTSIDE}:{}/", start.port);
        assert_eq!(
            kind(get(&client(&no_names()), &url).await),
            ErrorKind::Denied,
            "{target}"
        );
        assert!(inside.seen().is_empty(), "{target}");
    }
}

#[tokio::test]
async fn redirects_change_the_request_as_they_should() {
    let target = Web::start(OUTSIDE, |_| ok("done")).await;
    let names = Names::new(&[("a.test", &[OUTSIDE]), ("b.test", &[OUTSIDE])]);
    let client = client(&names);
    for (status, method, expected) in [
        ("301 Moved", "POST", "GET"),
        ("302 Found", "POST", "GET"),
        ("303 See Other", "PUT", "GET"),
        ("302 Found", "HEAD", "HEAD"),
        ("307 Temporary", "POST", "POST"),
        ("308 Permanent", "PUT", "PUT"),
    ] {
        let to = format!("http://b.test:{}/next", target.port);
        let start = Web::start(OUTSIDE, move |_| redirect(status, &to)).await;
        let headers = [
            ("authorization", "secret"),
            ("cookie", "secret"),
            ("content-type", "a/b"),
            ("private-token", "secret"),
            ("accept-language", "de"),
        ];
        let sent = HttpRequest {
            method: method.to_owned(),
            url: format!("http://a.test:{}/", start.port),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            body: (method != "HEAD").then(|| Bytes::from_static(b"the body")),
        };
        client.send(sent, &any_host(), far()).await.unwrap();
        let seen = target.seen().pop().unwrap();
        let keeps = method == expected && method != "HEAD";
        assert!(
            seen.starts_with(&format!("{expected} /next ")),
            "{status}: {seen}"
        );
        assert_eq!(seen.contains("the body"), keeps, "{status}: {seen}");
        assert_eq!(
            seen.contains("content-type"),
            keeps || method == "HEAD",
            "{status}: {seen}"
        );
        // Credentials, whatever they are called, are for the origin they were given for.
        assert!(
            !seen.contains("secret") && seen.contains("accept-language: de"),
            "{status}: {seen}"
        );
        assert!(start.seen()[0].contains("authorization: secret"));
    }
    // On the same origin they stay.
    let same = Web::start(OUTSIDE, |request| match request.starts_with("GET /first") {
        true => redirect("302 Found", "/second"),
        false => ok("done"),
    })
    .await;
    let sent = HttpRequest {
        headers: vec![("Authorization".to_owned(), "secret".to_owned())],
        ..request(&format!("http://a.test:{}/first", same.port))
    };
    assert_eq!(
        client.send(sent, &any_host(), far()).await.unwrap().body,
        "done"
    );
    assert!(
        same.seen()[1].contains("authorization: secret"),
        "{:?}",
        same.seen()
    );
}

#[tokio::test]
async fn redirects_come_to_an_end() {
    let web = Web::start(OUTSIDE, |request| {
        let left: usize = request.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
        match left {
            0 => ok("there"),
            left => redirect("302 Found", &format!("/{}", left - 1)),
        }
    })
    .await;
    let client = client(&no_names());
    let url = |left: usize| format!("http://{OUTSIDE}:{}/{left}", web.port);
    assert_eq!(
        get(&client, &url(REDIRECTS_MAX)).await.unwrap().body,
        "there"
    );
    assert_eq!(
        kind(get(&client, &url(REDIRECTS_MAX + 1)).await),
        ErrorKind::Failed
    );
    // A redirect to nowhere is a response like others.
    let web = Web::start(OUTSIDE, |_| response("302 Found", &[], b"nowhere")).await;
    let found = get(&client, &format!("http://{OUTSIDE}:{}/", web.port))
        .await
        .unwrap();
    assert_eq!((found.status, &*found.body), (302, &b"nowhere"[..]));
}

#[tokio::test]
async fn https_does_not_become_http() {
    let open = Web::start(OUTSIDE, |_| ok("open")).await;
    let names = Names::new(&[("safe.test", &[OUTSIDE])]);
    let to = format!("http://safe.test:{}/", open.port);
    let answer = move |request: &str| match request.starts_with("GET /away") {
        true => redirect("302 Found", &to),
        false => ok("safe"),
    };
    let (safe, root) = Web::start_tls(OUTSIDE, "safe.test", answer).await;
    let url = |path: &str| format!("https://safe.test:{}/{path}", safe.port);
    let trusting = client_with(&names, std::slice::from_ref(&root));
    assert_eq!(get(&trusting, &url("")).await.unwrap().body, "safe");
    assert_eq!(kind(get(&trusting, &url("away")).await), ErrorKind::Denied);
    assert!(open.seen().is_empty());
    // Without the operator's certificate there is no connection.
    assert_eq!(
        kind(get(&client(&names), &url("")).await),
        ErrorKind::Unavailable
    );
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let announced = Web::start(OUTSIDE, |_| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n<hang>",
            RESPONSE_BODY_BYTES_MAX + 1
        )
        .into_bytes()
    })
    .await;
    let endless = Web::start(OUTSIDE, |_| {
        let mut response = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
        response.resize(response.len() + RESPONSE_BODY_BYTES_MAX + 1, b'x');
        response
    })
    .await;
    let largest = Web::start(OUTSIDE, |_| ok(&"x".repeat(RESPONSE_BODY_BYTES_MAX))).await;
    let client = client(&no_names());
    let url = |web: &Web| format!("http://{OUTSIDE}:{}/", web.port);
    let all = plain_get(&plain(&no_names()), &url(&endless)).await;
    assert!(all.len() > RESPONSE_BODY_BYTES_MAX);
    for web in [&announced, &endless] {
        assert_eq!(kind(get(&client, &url(web)).await), ErrorKind::Limit);
    }
    assert_eq!(
        get(&client, &url(&largest)).await.unwrap().body.len(),
        RESPONSE_BODY_BYTES_MAX
    );
}

#[tokio::test]
async fn a_bomb_is_counted_as_it_unfolds() {
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        response(
            "200 OK",
            &["content-encoding: gzip"],
            &encoder.finish().unwrap(),
        )
    };
    let bomb = gzip(&vec![0; RESPONSE_BODY_BYTES_MAX + 1]);
    assert!(bomb.len() < 20_000, "{}", bomb.len());
    let bomb = Web::start(OUTSIDE, move |_| bomb.clone()).await;
    let harmless = gzip(b"hello");
    let harmless = Web::start(OUTSIDE, move |_| harmless.clone()).await;
    let (client, plain) = (client(&no_names()), plain(&no_names()));
    let url = |web: &Web| format!("http://{OUTSIDE}:{}/", web.port);
    assert!(plain_get(&plain, &url(&bomb)).await.len() > RESPONSE_BODY_BYTES_MAX);
    assert_eq!(kind(get(&client, &url(&bomb)).await), ErrorKind::Limit);
    let small = get(&client, &url(&harmless)).await.unwrap();
    assert_eq!(small.body, "hello");
    assert!(
        !small.headers.contains_key("content-encoding"),
        "{:?}",
        small.headers
    );
}

#[tokio::test]
async fn a_slow_server_ends_with_the_deadline() {
    let silent = Web::start(OUTSIDE, |_| b"<hang>".to_vec()).await;
    let slow = Web::start(OUTSIDE, |_| {
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n<hang>".to_vec()
    })
    .await;
    let loops = Web::start(OUTSIDE, |_| redirect("302 Found", "/")).await;
    let client = client(&no_names());
    for web in [&silent, &slow] {
        let deadline = soon();
        let url = format!("http://{OUTSIDE}:{}/", web.port);
        let result = client.send(request(&url), &any_host(), deadline).await;
        assert_eq!(kind(result), ErrorKind::Timeout);
        // Its own time, which is the other end there is, is half a minute.
        assert!(Instant::now() < deadline + Duration::from_secs(25));
    }
    // A deadline that has passed already sends nothing.
    let url = format!("http://{OUTSIDE}:{}/", loops.port);
    let result = client
        .send(request(&url), &any_host(), Instant::now())
        .await;
    assert_eq!(kind(result), ErrorKind::Timeout);
}

#[tokio::test]
async fn the_limits_hold_at_the_limit() {
    let web = Web::start(OUTSIDE, |request| match request.len() {
        0..50_000 => {
            let count: usize = request
                .split(['/', ' '])
                .nth(2)
                .unwrap()
                .trim_matches('?')
                .parse()
                .unwrap_or(0);
            let headers: Vec<_> = (0..count).map(|n| format!("x-{n}: y")).collect();
            let headers: Vec<_> = headers.iter().map(String::as_str).collect();
            response("200 OK", &headers, b"")
        }
        _ => ok("large"),
    })
    .await;
    let client = client(&no_names());
    let base = format!("http://{OUTSIDE}:{}/", web.port);
    let long = base.clone() + &"x".repeat(URL_BYTES_MAX - base.len());
    assert!(get(&client, &long).await.is_ok());
    assert_eq!(kind(get(&client, &(long + "x")).await), ErrorKind::Limit);
    // Two headers are the server's own.
    assert!(
        get(&client, &format!("{base}{}", RESPONSE_HEADERS_MAX - 2))
            .await
            .is_ok()
    );
    let more = get(&client, &format!("{base}{}", RESPONSE_HEADERS_MAX + 1))
        .await
        .unwrap_err();
    assert!(
        matches!(more.kind(), ErrorKind::Limit | ErrorKind::Failed),
        "{more}"
    );
    let with_body = |bytes: usize| HttpRequest {
        method: "POST".to_owned(),
        body: Some(Bytes::from(vec![b'x'; bytes])),
        ..request(&base)
    };
    let largest = client
        .send(with_body(REQUEST_BODY_BYTES_MAX), &any_host(), far())
        .await;
    assert_eq!(largest.unwrap().body, "large");
    let larger = client
        .send(with_body(REQUEST_BODY_BYTES_MAX + 1), &any_host(), far())
        .await;
    assert_eq!(kind(larger), ErrorKind::Limit);
    for method in ["CONNECT", "TRACE", "GET /", "G\r\nX: y", &"G".repeat(33)] {
        let sent = HttpRequest {
            method: method.to_owned(),
            ..request(&base)
        };
        let result = client.send(sent, &any_host(), far()).await;
        assert_eq!(kind(result), ErrorKind::Invalid, "{method:?}");
    }
}

#[tokio::test]
async fn errors_do_not_show_the_network_of_the_host() {
    let names = Names::new(&[
        ("gone.test", &[OUTSIDE]),
        ("inner.test", &[Ipv4Addr::new(10, 20, 30, 40)]),
    ]);
    let client = client(&names);
    // Bound for as long as the test takes, so that nobody else gets it, and not listened on.
    let unused = tokio::net::TcpSocket::new_v4().unwrap();
    unused.bind((OUTSIDE, 0).into()).unwrap();
    let port = unused.local_addr().unwrap().port();
    for (url, expected) in [
        (
            format!("http://gone.test:{port}/?key=hunter2"),
            ErrorKind::Unavailable,
        ),
        (
            "http://unknown.test/?key=hunter2".to_owned(),
            ErrorKind::Unavailable,
        ),
        (
            "http://inner.test/?key=hunter2".to_owned(),
            ErrorKind::Denied,
        ),
    ] {
        let error = get(&client, &url).await.unwrap_err();
        assert_eq!(error.kind(), expected, "{error}");
        let text = error.to_string();
        for hidden in ["127.0.0.2", "10.20.30.40", "hunter2"] {
            assert!(!text.contains(hidden), "{text}");
        }
    }
}

/// Names the server in the process that has a proxy in its environment.
const TARGET: &str = "GK_TEST_PROXY_TARGET";

/// The test itself, and in a process of its own the two clients: to change one's own environment
/// would change it for all tests.
#[tokio::test]
async fn no_proxy_of_the_environment_is_used() {
    if let Ok(url) = std::env::var(TARGET) {
        let naive = reqwest::get(&url).await.unwrap().text().await.unwrap();
        let ours = get(&client(&no_names()), &url).await.unwrap().body;
        println!("\nnaive={naive} ours={}", String::from_utf8_lossy(&ours));
        return;
    }
    let proxy = Web::start(INSIDE, |_| ok("proxy")).await;
    let web = Web::start(OUTSIDE, |_| ok("direct")).await;
    let output = tokio::task::spawn_blocking(move || {
        #[expect(
            clippy::disallowed_methods,
            reason = "the test's own program, in another environment"
        )]
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args([
            "services::http::no_proxy_of_the_environment_is_used",
            "--exact",
            "--nocapture",
        ]);
        for name in ["NO_PROXY", "no_proxy"] {
            child.env_remove(name);
        }
        for name in [
            "HTTP_PROXY",
            "http_proxy",
            "ALL_PROXY",
            "all_proxy",
            "HTTPS_PROXY",
            "https_proxy",
        ] {
            child.env(name, format!("http://127.0.0.1:{}", proxy.port));
        }
        child
            .env(TARGET, format!("http://{OUTSIDE}:{}/", web.port))
            .output()
            .unwrap()
    })
    .await
    .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("naive=proxy ours=direct"), "{text}");
}
