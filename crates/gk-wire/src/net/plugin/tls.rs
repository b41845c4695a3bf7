//! The TLS of a plugin's connections.

#[cfg(feature = "tls")]
use std::sync::Arc;

use super::ServeError;
use crate::net::transport::{Reader, Socket, Writer};

/// The TLS of a plugin's connections.
pub(super) enum Tls {
    Plain,
    #[cfg(feature = "tls")]
    Own(Arc<rustls::ServerConfig>),
    #[cfg(feature = "automtls")]
    Auto(crate::automtls::Identity, Vec<u8>),
}

impl Tls {
    #[cfg(feature = "automtls")]
    pub(super) fn auto(host_cert: &str) -> Result<Self, ServeError> {
        use crate::automtls::{Identity, TlsError, der_from_pem};
        let failed = |error: TlsError| ServeError::Tls(error.to_string());
        let host = der_from_pem(host_cert).map_err(failed)?;
        Ok(Tls::Auto(Identity::generate().map_err(failed)?, host))
    }

    #[cfg(not(feature = "automtls"))]
    pub(super) fn auto(_: &str) -> Result<Self, ServeError> {
        Err(ServeError::Tls(
            "the host asks for AutoMTLS, and this plugin was built without it".to_owned(),
        ))
    }

    /// The certificate that the handshake names.
    pub(super) fn cert(&self) -> Option<Vec<u8>> {
        match self {
            #[cfg(feature = "automtls")]
            Tls::Auto(identity, _) => Some(identity.cert_der().to_vec()),
            _ => None,
        }
    }

    pub(super) fn accept(&self, socket: Socket) -> Result<(Reader, Writer), String> {
        match self {
            Tls::Plain => Ok(socket.plain()),
            #[cfg(feature = "tls")]
            Tls::Own(config) => rustls::ServerConnection::new(Arc::clone(config))
                .map(|tls| socket.encrypted(tls.into()))
                .map_err(|error| error.to_string()),
            #[cfg(feature = "automtls")]
            Tls::Auto(identity, host) => identity
                .server(host)
                .map(|tls| socket.encrypted(tls.into()))
                .map_err(|error| error.to_string()),
        }
    }
}
