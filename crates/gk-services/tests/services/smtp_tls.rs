//! A mail server with TLS and a login: enough of SMTP for one mail, as the sink of the other tests
//! has neither.

use std::io;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

pub(crate) struct SmtpTls {
    pub(crate) port: u16,
    /// The certificate, PEM.
    pub(crate) root: Vec<u8>,
    lines: Lines,
    task: JoinHandle<()>,
}

/// What clients said, and whether TLS was around it.
type Lines = Arc<Mutex<Vec<(bool, String)>>>;

impl SmtpTls {
    /// A server by the name `localhost`, with TLS from the first byte or by STARTTLS.
    pub(crate) async fn start(implicit: bool) -> Self {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let lines = Lines::default();
        let said = Arc::clone(&lines);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, said) = (acceptor.clone(), Arc::clone(&said));
                tokio::spawn(serve(stream, acceptor, implicit, said));
            }
        });
        let root = certified.cert.pem().into_bytes();
        Self {
            port,
            root,
            lines,
            task,
        }
    }

    pub(crate) fn lines(&self) -> Vec<(bool, String)> {
        self.lines.lock().unwrap().clone()
    }
}

impl Drop for SmtpTls {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    acceptor: TlsAcceptor,
    implicit: bool,
    said: Lines,
) -> io::Result<()> {
    if !implicit {
        stream.write_all(b"220 localhost\r\n").await?;
        if !converse(&mut stream, false, &said).await? {
            return Ok(());
        }
    }
    let mut stream = acceptor.accept(stream).await?;
    if implicit {
        stream.write_all(b"220 localhost\r\n").await?;
    }
    converse(&mut stream, true, &said).await.map(drop)
}

/// Answers until the client wants TLS (true) or leaves.
async fn converse(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    tls: bool,
    said: &Lines,
) -> io::Result<bool> {
    let mut stream = BufReader::new(stream);
    let mut data = false;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(false);
        }
        said.lock().unwrap().push((tls, line.trim_end().to_owned()));
        let verb = line
            .split([' ', '\r'])
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase();
        let answer = match (data, verb.as_str()) {
            (true, ".") => {
                data = false;
                "250 kept"
            }
            (true, _) => continue,
            (false, "EHLO") if tls => "250-localhost\r\n250 AUTH PLAIN",
            (false, "EHLO") => "250-localhost\r\n250 STARTTLS",
            (false, "STARTTLS") => {
                stream.write_all(b"220 go\r\n").await?;
                return Ok(true);
            }
            (false, "AUTH") => "235 welcome",
            (false, "DATA") => {
                data = true;
                "354 go on"
            }
            (false, "QUIT") => "221 bye",
            (false, _) => "250 fine",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}
