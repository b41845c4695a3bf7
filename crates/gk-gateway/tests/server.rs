//! The server over real sockets: HTTP/2, TLS, and certificates that change.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, Version};
use axum::routing::{get, post};
use gk_gateway::server::{self, BoundListener, ListenAddress, ServerConfig, Tls};
use gk_runtime::{MemoryBudget, OverBudget};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Maximum time of any wait here.
const DEADLINE: Duration = Duration::from_secs(60);

/// Number of concurrent answers whose windows together are smaller than their connection's.
const STREAMS: usize = 2;

/// Size of an answer that exceeds the windows of a client that does not read.
const LARGE_BYTES: usize = 6 << 20;

struct Server {
    port: u16,
    memory: MemoryBudget,
    _stop: oneshot::Sender<()>,
}

async fn serve(tls: Option<Arc<Tls>>) -> Server {
    let router = Router::new()
        .route(
            "/",
            get(async |request: Request<Body>| format!("{:?}", request.version())),
        )
        .route("/large", get(async || vec![7_u8; LARGE_BYTES]))
        .route("/echo", post(async |body: String| body))
        .route("/hold", post(hold));
    let address: ListenAddress = "127.0.0.1:0".parse().unwrap();
    let listeners = address.bind(0o600).await.unwrap();
    let BoundListener::Tcp(listener) = &listeners[0] else {
        panic!("not TCP");
    };
    let port = listener.local_addr().unwrap().port();
    let memory = MemoryBudget::new(64 << 20);
    let mut config = ServerConfig::new(memory.clone());
    config.tls = tls;
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(server::serve(listeners, router, config, async {
        let _ = stopped.await;
    }));
    Server {
        port,
        memory,
        _stop: stop,
    }
}

/// Reports if a body was refused because its client uses too much memory.
async fn hold(body: Body) -> String {
    let refused = to_bytes(body, usize::MAX).await.err();
    let mut chain = std::iter::successors(
        refused
            .as_ref()
            .map(|error| error as &dyn std::error::Error),
        |error| (*error).source(),
    );
    let over = chain.any(|error| error.is::<OverBudget>());
    format!("over: {over}")
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }
}

type Sender = hyper::client::conn::http2::SendRequest<Body>;

async fn http2(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
) -> Sender {
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = builder.handshake(TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn text(sender: &mut Sender, request: Request<Body>) -> (StatusCode, String) {
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(Body::new(response.into_body()), usize::MAX)
        .await
        .unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn ask(path: &str) -> Request<Body> {
    Request::get(format!("http://x{path}"))
        .body(Body::empty())
        .unwrap()
}

#[tokio::test]
async fn http_2_is_spoken_by_prior_knowledge_and_counts() {
    let server = serve(None).await;
    let mut sender = http2(server.connect().await).await;
    let (status, version) = text(&mut sender, ask("/")).await;
    assert_eq!((status, &*version), (StatusCode::OK, "HTTP/2.0"));
    let post = Request::post("http://x/echo")
        .body(Body::from("hello"))
        .unwrap();
    assert_eq!(text(&mut sender, post).await.1, "hello");
    // Several at once on one connection, each of which counts until its answer is taken.
    let before = server.memory.used();
    let mut answers = Vec::new();
    for _ in 0..STREAMS {
        answers.push(sender.send_request(ask("/large")).await.unwrap());
    }
    assert!(server.memory.used() >= before + STREAMS * 8192);
    for answer in answers {
        let body = to_bytes(Body::new(answer.into_body()), usize::MAX)
            .await
            .unwrap();
        assert_eq!(body.len(), LARGE_BYTES);
    }
    drop(sender);
    let all_back = async {
        while server.memory.used() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, all_back).await.unwrap();
}

#[tokio::test]
async fn a_head_of_http_2_is_small_too() {
    let server = serve(None).await;
    let mut sender = http2(server.connect().await).await;
    let mut long = ask("/");
    let value = "x".repeat(server::HEAD_BYTES_MAX).parse().unwrap();
    long.headers_mut().insert("x-long", value);
    match sender.send_request(long).await {
        Ok(response) => assert_eq!(response.status(), 431),
        // The client knows the limit from the connection's settings.
        Err(error) => assert!(
            error.is_user() || error.to_string().contains("http2"),
            "{error}"
        ),
    }
}

/// Asks for a large answer from this address of the loopback network, and reads only its head.
async fn ask_from(server: &Server, from: [u8; 4]) -> (u16, TcpStream) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let to = ([127, 0, 0, 1], server.port).into();
    let mut stream = socket.connect(to).await.unwrap();
    stream
        .write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    let status = std::str::from_utf8(&head[9..]).unwrap();
    (status.parse().unwrap(), stream)
}

/// A client that does not read gets half of the budget, regardless of its requests and over both
/// protocols; the others have the rest.
#[tokio::test]
async fn a_client_does_not_have_all_memory() {
    let server = serve(None).await;
    let share = server.memory.limit() / 2;
    let (greedy, other) = ([127, 0, 0, 1], [127, 0, 0, 2]);
    let mut unread = Vec::new();
    let refused = loop {
        match ask_from(&server, greedy).await {
            (200, stream) => unread.push(stream),
            (status, _) => break status,
        }
        assert!(unread.len() <= share.div_ceil(LARGE_BYTES), "no end");
    };
    assert_eq!(refused, 429);
    assert_eq!(unread.len(), share.div_ceil(LARGE_BYTES));
    let mut http2 = http2(server.connect().await).await;
    let (status, text) = text(&mut http2, ask("/large")).await;
    assert!(status == 429 && text.contains("read the answers"), "{text}");
    assert_eq!(ask_from(&server, other).await.0, 200);
    // Once an answer is read there is room for the next.
    let mut first = unread.remove(0);
    let mut read = vec![0; 64 * 1024];
    let mut taken = 0;
    while taken < LARGE_BYTES {
        taken += first.read(&mut read).await.unwrap();
    }
    let again = async {
        while ask_from(&server, greedy).await.0 != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, again).await.unwrap();
}

/// The same limit holds for a client that sends bodies and does not end them.
#[tokio::test]
async fn nor_do_its_bodies() {
    let server = serve(None).await;
    let pieces = server.memory.limit() / 2 / LARGE_BYTES + 1;
    let mut open = Vec::new();
    for _ in 0..=pieces {
        let mut stream = server.connect().await;
        let head = format!(
            "POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
            LARGE_BYTES + 1
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let sent = stream.write_all(&vec![0; LARGE_BYTES]).await;
        open.push((stream, sent));
    }
    let answer = async {
        // The first body beyond the limit is answered; all others wait for their last byte.
        let (last, _) = open.last_mut().unwrap();
        let mut text = vec![0; 1024];
        let bytes = last.read(&mut text).await.unwrap();
        String::from_utf8_lossy(&text[..bytes]).into_owned()
    };
    let answer = tokio::time::timeout(DEADLINE, answer).await.unwrap();
    assert!(answer.contains("over: true"), "{answer}");
}

fn write_certificate(dir: &Path) -> rcgen::Certificate {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned()];
    let certificate = rcgen::CertificateParams::new(names)
        .unwrap()
        .self_signed(&key)
        .unwrap();
    // Both files are written first, and then put in place.
    for (name, pem) in [
        ("key.pem", key.serialize_pem()),
        ("cert.pem", certificate.pem()),
    ] {
        let staged = dir.join(format!("{name}.new"));
        std::fs::write(&staged, pem).unwrap();
        std::fs::rename(staged, dir.join(name)).unwrap();
    }
    certificate
}

/// Returns the protocol that was negotiated with a server of this certificate.
async fn over_tls(
    server: &Server,
    certificate: &rcgen::Certificate,
    protocols: &[&str],
) -> std::io::Result<(tokio_rustls::client::TlsStream<TcpStream>, Option<Vec<u8>>)> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, server.connect().await)
        .await?;
    let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    Ok((stream, agreed))
}

#[tokio::test]
async fn tls_agrees_on_a_protocol_and_takes_a_new_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let first = write_certificate(dir.path());
    let tls = Tls::open(&dir.path().join("cert.pem"), &dir.path().join("key.pem")).unwrap();
    let tls = Arc::new(tls);
    let following = tokio::spawn({
        let tls = Arc::clone(&tls);
        async move { tls.follow().await }
    });
    let server = serve(Some(tls)).await;
    let (stream, agreed) = over_tls(&server, &first, &["h2", "http/1.1"])
        .await
        .unwrap();
    assert_eq!(agreed.as_deref(), Some(&b"h2"[..]));
    let (_, version) = text(&mut http2(stream).await, ask("/")).await;
    assert_eq!(version, format!("{:?}", Version::HTTP_2));
    let (_, agreed) = over_tls(&server, &first, &["http/1.1"]).await.unwrap();
    assert_eq!(agreed.as_deref(), Some(&b"http/1.1"[..]));
    // Unusable files change nothing; usable ones are taken.
    std::fs::write(dir.path().join("cert.pem"), "nothing").unwrap();
    let second = write_certificate(dir.path());
    let taken = async {
        while over_tls(&server, &second, &["h2"]).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, taken).await.unwrap();
    over_tls(&server, &first, &["h2"]).await.unwrap_err();
    following.abort();
}

#[tokio::test]
async fn what_is_no_certificate_is_said() {
    let dir = tempfile::tempdir().unwrap();
    write_certificate(dir.path());
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    for (certificate, key, why) in [
        (dir.path().join("none.pem"), key.clone(), "none.pem"),
        (key.clone(), key.clone(), "key.pem"),
        (cert.clone(), cert.clone(), "cert.pem"),
    ] {
        let error = Tls::open(&certificate, &key).unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
    let other = tempfile::tempdir().unwrap();
    write_certificate(other.path());
    let error = Tls::open(&cert, &other.path().join("key.pem")).unwrap_err();
    assert!(error.to_string().contains("together"), "{error}");
}
