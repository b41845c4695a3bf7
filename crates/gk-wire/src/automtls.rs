//! go-plugin's AutoMTLS: each side makes a certificate for one connection, and trusts exactly the
//! other side's.
//!
//! The host's travels in the environment, the plugin's in the handshake line. Go's certificates are
//! P-521 and mark themselves as CAs, which WebPKI refuses as end entities; since both sides know
//! the very certificate they expect, it is compared byte by byte instead.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig,
    SignatureScheme,
};

/// Errors in setting up TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// No certificate could be made.
    #[error("cannot make a certificate")]
    Generate(#[source] rcgen::Error),
    /// The peer's certificate is not PEM.
    #[error("the peer's certificate is not PEM")]
    Pem,
    /// A certificate or key is unusable.
    #[error("the certificate cannot be used")]
    Config(#[source] rustls::Error),
    /// The session on top of it.
    #[error(transparent)]
    Session(#[from] crate::yamux::SessionError),
}

/// A certificate and its key, made for one plugin process.
pub struct Identity {
    cert: CertificateDer<'static>,
    key: Vec<u8>,
    pem: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    /// Makes a certificate: ECDSA on P-256, which Go accepts, for `localhost`.
    ///
    /// # Errors
    ///
    /// If the system has no randomness.
    pub fn generate() -> Result<Self, TlsError> {
        let key = rcgen::KeyPair::generate().map_err(TlsError::Generate)?;
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
            .map_err(TlsError::Generate)?;
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "localhost");
        params.key_usages = vec![
            rcgen::KeyUsagePurpose::DigitalSignature,
            rcgen::KeyUsagePurpose::KeyAgreement,
            rcgen::KeyUsagePurpose::KeyCertSign,
        ];
        params.extended_key_usages = vec![
            rcgen::ExtendedKeyUsagePurpose::ClientAuth,
            rcgen::ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let cert = params.self_signed(&key).map_err(TlsError::Generate)?;
        Ok(Identity {
            cert: cert.der().clone(),
            key: key.serialize_der(),
            pem: cert.pem(),
        })
    }

    /// The certificate in DER, as the handshake line carries it.
    #[must_use]
    pub fn cert_der(&self) -> &[u8] {
        &self.cert
    }

    /// The certificate in PEM, as `PLUGIN_CLIENT_CERT` carries it.
    #[must_use]
    pub fn cert_pem(&self) -> &str {
        &self.pem
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::try_from(self.key.clone())
            .map_err(|message| TlsError::Config(rustls::Error::General(message.to_owned())))
    }

    /// The host's end: TLS with the plugin of this certificate only.
    ///
    /// # Errors
    ///
    /// If a certificate cannot be used.
    pub fn client(&self, plugin_cert: &[u8]) -> Result<rustls::ClientConnection, TlsError> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Config)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned::new(plugin_cert)))
            .with_client_auth_cert(vec![self.cert.clone()], self.key()?)
            .map_err(TlsError::Config)?;
        let name = ServerName::try_from("localhost").map_err(|_| TlsError::Pem)?;
        rustls::ClientConnection::new(Arc::new(config), name).map_err(TlsError::Config)
    }

    /// The plugin's end: TLS with the host of this certificate only.
    ///
    /// # Errors
    ///
    /// If a certificate cannot be used.
    pub fn server(&self, host_cert: &[u8]) -> Result<rustls::ServerConnection, TlsError> {
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Config)?
            .with_client_cert_verifier(Arc::new(Pinned::new(host_cert)))
            .with_single_cert(vec![self.cert.clone()], self.key()?)
            .map_err(TlsError::Config)?;
        rustls::ServerConnection::new(Arc::new(config)).map_err(TlsError::Config)
    }
}

/// ring cannot load P-521.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The first certificate in a PEM text.
///
/// # Errors
///
/// If there is none.
pub fn der_from_pem(pem: &str) -> Result<Vec<u8>, TlsError> {
    let (_, rest) = pem
        .split_once("-----BEGIN CERTIFICATE-----")
        .ok_or(TlsError::Pem)?;
    let (body, _) = rest
        .split_once("-----END CERTIFICATE-----")
        .ok_or(TlsError::Pem)?;
    let base64: String = body.split_whitespace().collect();
    STANDARD.decode(base64).map_err(|_| TlsError::Pem)
}

/// Accepts one certificate.
#[derive(Debug)]
struct Pinned {
    cert: Vec<u8>,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    fn new(cert: &[u8]) -> Self {
        Pinned {
            cert: cert.to_vec(),
            provider: provider(),
        }
    }

    fn check(&self, cert: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        match cert.as_ref() == self.cert.as_slice() {
            true => Ok(()),
            false => Err(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer,
            )),
        }
    }

    fn tls12(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn tls13(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        cert: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(cert).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls12(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls13(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        cert: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(cert).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls12(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls13(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}
