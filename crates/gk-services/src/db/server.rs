//! The parts that engines behind a server have in common: failures, deadlines, certificates.

use std::future::Future;

use gk_hostapi::HostError;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::{Instant, timeout_at};

use super::DbLimits;
use super::config::TlsRoots;
use super::write::numbered;

/// Prepared statements that a connection keeps.
pub(super) const STATEMENTS_KEPT: usize = 64;

/// Why a statement failed, and whether its connection may go on.
pub(super) enum Failure {
    Kept(HostError),
    Lost(HostError),
}

impl Failure {
    /// The server itself gives up: shutdown, crash, too many. The log has the reason.
    pub(super) fn server() -> Self {
        Self::Lost(HostError::unavailable(
            "the database fails; the host's log says why",
        ))
    }

    /// The same, of one statement of several.
    pub(super) fn numbered(self, index: usize, count: usize) -> Self {
        match self {
            Self::Kept(error) => Self::Kept(numbered(error, index, count)),
            Self::Lost(error) => Self::Lost(numbered(error, index, count)),
        }
    }

    /// The connection broke in the middle.
    pub(super) fn connection() -> Self {
        Self::Lost(HostError::unavailable(
            "the connection to the database broke; whether the statement was carried out is not \
             known",
        ))
    }
}

/// The largest message either way: a row, or a statement with its arguments. A row that is larger
/// is refused by its length, before it is read.
pub(super) fn packet_bytes_max(limits: &DbLimits) -> usize {
    // For what is shorter in JSON than in a packet, and the statement's text.
    const MORE: usize = 64 * 1024;
    limits.max_result_bytes.max(limits.max_arg_bytes) + MORE
}

pub(super) fn too_large_a_row() -> HostError {
    HostError::limit(
        "a row has more bytes than a result may have (limit max_result_bytes): ask for less at a \
         time",
    )
}

/// Until the deadline; then the future is dropped, and with it its lease.
pub(super) async fn within<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, HostError>>,
) -> Result<T, HostError> {
    timeout_at(deadline, work)
        .await
        .unwrap_or_else(|_| Err(too_late()))
}

pub(super) fn too_late() -> HostError {
    HostError::timeout("the statement did not end in time, and was cancelled")
}

/// The certificates that may vouch for a server. Of the machine's, those that cannot be read are
/// left out.
///
/// # Errors
///
/// The file cannot be read, or there are none.
pub(super) fn roots(roots: &TlsRoots) -> Result<Vec<CertificateDer<'static>>, HostError> {
    let mut certificates = match roots {
        TlsRoots::Machine => rustls_native_certs::load_native_certs().certs,
        TlsRoots::File(path) => CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|_| HostError::unavailable("the file of sslrootcert cannot be read"))?,
    };
    certificates.retain(|certificate| RootCertStore::empty().add(certificate.clone()).is_ok());
    match certificates.is_empty() {
        true => Err(HostError::unavailable(
            "no certificate authority to check the database's certificate with: name one by \
             sslrootcert",
        )),
        false => Ok(certificates),
    }
}
