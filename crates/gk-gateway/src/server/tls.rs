//! TLS on the host's own addresses: certificate and key from files, read again when they change.

use std::error::Error as _;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Interval between checks of the files.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Reason why there is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{what} {} cannot be read", .path.display())]
    Unreadable {
        /// Kind of the file: certificate or key.
        what: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file is not in PEM form, or has no item of the kind.
    #[error("{what} {} is not in PEM form, or holds none", .path.display())]
    File {
        /// Kind of the file: certificate or key.
        what: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Error of the parser.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not belong together, or are of an unknown kind.
    #[error("the certificate {} and the key {} cannot be used together; check that they belong to each other", .certificate.display(), .key.display())]
    Unusable {
        /// Path of the certificate.
        certificate: PathBuf,
        /// Path of the key.
        key: PathBuf,
        /// Error of the TLS library.
        source: rustls::Error,
    },
}

/// Modification time, size and inode, which tell versions of a file apart.
type Stamp = Option<(SystemTime, u64, u64)>;

/// Certificate and key of the host. The files may change while it runs.
pub struct Tls {
    acceptor: TlsAcceptor,
    files: Arc<Files>,
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<CertifiedKey>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("certificate", &self.files.certificate)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Files")
    }
}

impl ResolvesServerCert for Files {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl Tls {
    /// Reads a chain of certificates, the host's own first, and its private key, both in PEM form.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let files = Arc::new(Files {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current: ArcSwap::new(Arc::new(read(certificate, key)?)),
        });
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable(certificate, key))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&files) as _);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Tls {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            files,
        })
    }

    pub(super) async fn accept<S>(&self, socket: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.acceptor.accept(socket).await
    }

    /// Checks the files at intervals and takes new ones. If these cannot be used, the error is
    /// logged and the ones before stay in force. Never returns.
    pub async fn follow(&self) {
        let files = &self.files;
        let stamps = || (stamp(&files.certificate), stamp(&files.key));
        let mut taken = stamps();
        let mut interval = tokio::time::interval(LOOK_INTERVAL);
        loop {
            interval.tick().await;
            let now = stamps();
            if now == taken {
                continue;
            }
            taken = now;
            match read(&files.certificate, &files.key) {
                Ok(current) => {
                    files.current.store(Arc::new(current));
                    tracing::info!(certificate = %files.certificate.display(), "the certificate was read anew");
                }
                Err(error) => {
                    let reason = error.source().map(ToString::to_string);
                    tracing::error!(
                        %error, reason,
                        "the new certificate cannot be used; the one before stays in force"
                    );
                }
            }
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    use rustls::pki_types::pem::Error::{Io, NoItemsFound};

    let file = |what: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| match source {
            Io(source) => TlsError::Unreadable { what, path, source },
            source => TlsError::File { what, path, source },
        }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(|chain| chain.collect::<Result<Vec<_>, _>>())
        .and_then(|chain| match chain.is_empty() {
            true => Err(NoItemsFound),
            false => Ok(chain),
        })
        .map_err(file("the certificate", certificate))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(file("the key", key))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, private, &provider).map_err(unusable(certificate, key))
}

fn unusable(certificate: &Path, key: &Path) -> impl FnOnce(rustls::Error) -> TlsError {
    let (certificate, key) = (certificate.to_owned(), key.to_owned());
    move |source| TlsError::Unusable {
        certificate,
        key,
        source,
    }
}
