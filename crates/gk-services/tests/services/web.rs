//! Web servers for the tests: what they answer is up to the test, byte by byte.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use gk_services::http::Resolve;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// The address that stands for the internet: the tests' hosts allow its network, and no other.
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// The address that stands for what a plugin must not reach.
pub(crate) const INSIDE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A server. It answers each connection once, closes it, and ends when it is dropped.
pub(crate) struct Web {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

type Answer = Arc<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

impl Web {
    /// A server whose answer follows from the request.
    pub(crate) async fn start(
        address: Ipv4Addr,
        answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self::on(address, 0, None, Arc::new(answer)).await
    }

    /// A server on a port that another address uses already.
    pub(crate) async fn start_on(address: Ipv4Addr, port: u16, body: &'static str) -> Self {
        Self::on(address, port, None, Arc::new(move |_| ok(body))).await
    }

    /// A server with TLS, and its certificate in PEM.
    pub(crate) async fn start_tls(
        address: Ipv4Addr,
        name: &str,
        answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
    ) -> (Self, Vec<u8>) {
        let certified = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let web = Self::on(address, 0, Some(acceptor), Arc::new(answer)).await;
        (web, certified.cert.pem().into_bytes())
    }

    async fn on(address: Ipv4Addr, port: u16, tls: Option<TlsAcceptor>, answer: Answer) -> Self {
        let listener = TcpListener::bind((address, port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let recorded = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, answer, tls) = (Arc::clone(&recorded), Arc::clone(&answer), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &seen, &answer).await,
                        Some(tls) => serve(tls.accept(stream).await?, &seen, &answer).await,
                    }
                });
            }
        });
        Self { port, seen, task }
    }

    /// The requests so far, heads and bodies as they came.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    seen: &Mutex<Vec<String>>,
    answer: &Answer,
) -> io::Result<()> {
    let mut request = Vec::new();
    let mut whole = None;
    while whole.is_none_or(|whole| request.len() < whole) {
        let mut chunk = vec![0; 64 * 1024];
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            break;
        }
        request.extend_from_slice(&chunk[..read]);
        let head = || {
            let end = request.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
            let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            Some(end + 4 + length.map_or(0, |length| length.parse().unwrap()))
        };
        whole = whole.or_else(head);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    seen.lock().unwrap().push(request.clone());
    let answer = answer(&request);
    let (answer, hangs) = match answer.strip_suffix(b"<hang>") {
        Some(answer) => (answer, true),
        None => (&*answer, false),
    };
    stream.write_all(answer).await?;
    if hangs {
        stream.flush().await?;
        std::future::pending::<()>().await;
    }
    stream.shutdown().await
}

/// A whole response.
pub(crate) fn response(status: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut response = format!("HTTP/1.1 {status}\r\n");
    for header in headers {
        response.push_str(header);
        response.push_str("\r\n");
    }
    response.push_str(&format!(
        "content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    ));
    let mut response = response.into_bytes();
    response.extend_from_slice(body);
    response
}

pub(crate) fn ok(body: &str) -> Vec<u8> {
    response("200 OK", &[], body.as_bytes())
}

pub(crate) fn redirect(status: &str, to: &str) -> Vec<u8> {
    response(status, &[&format!("location: {to}")], b"")
}

/// A resolver that knows what it is told, and counts how often it is asked.
#[derive(Debug, Default)]
pub(crate) struct Names {
    names: HashMap<String, Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl Names {
    /// Each name with its addresses: one more question, the next address, and so on in turn.
    pub(crate) fn new(names: &[(&str, &[Ipv4Addr])]) -> Arc<Self> {
        let addresses =
            |addresses: &[Ipv4Addr]| addresses.iter().copied().map(IpAddr::V4).collect();
        Arc::new(Self {
            names: names
                .iter()
                .map(|(name, list)| ((*name).to_owned(), addresses(list)))
                .collect(),
            asked: AtomicUsize::new(0),
        })
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn answer(&self, host: &str) -> io::Result<IpAddr> {
        let addresses = self.names.get(host).ok_or(io::ErrorKind::NotFound)?;
        let turn = self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(addresses[turn % addresses.len()])
    }
}

#[async_trait]
impl Resolve for Names {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(vec![self.answer(host)?])
    }
}

/// The same names for a client without our checks.
pub(crate) struct Unchecked(pub(crate) Arc<Names>);

impl reqwest::dns::Resolve for Unchecked {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let answer = self.0.answer(name.as_str());
        Box::pin(async move {
            let addresses = std::iter::once(SocketAddr::new(answer?, 0));
            Ok(Box::new(addresses) as reqwest::dns::Addrs)
        })
    }
}
