//! Redirects.

use super::*;

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
            trace: None,
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
