//! Limits of size and time, and what errors show.

use super::*;

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
            "services::http::limits::no_proxy_of_the_environment_is_used",
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
