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
use gk_runtime::MemoryBudget;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// As long as anything here may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// Answers at once, whose windows together are smaller than their connection's.
const STREAMS: usize = 2;

/// More than the windows of a client that reads nothing.
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
        .route("/echo", post(async |body: String| body));
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

fn write_certificate(dir: &Path) -> rcgen::Certificate {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned()];
    let certificate = rcgen::CertificateParams::new(names)
        .unwrap()
        .self_signed(&key)
        .unwrap();
    // As people do who care: both are there, and then in place.
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

/// The protocol that was agreed on with a server of this certificate.
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
    // What cannot be used changes nothing; what can is taken.
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
