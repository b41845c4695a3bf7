//! Errors of SQLite, as plugins are told.

use gk_hostapi::HostError;
use rusqlite::ErrorCode;

pub(super) fn too_late() -> HostError {
    HostError::timeout("the statement did not end in time, and was cancelled")
}

/// SQLite's own words: they name tables and columns, and never the file.
pub(super) fn failure(error: rusqlite::Error) -> HostError {
    match error.sqlite_error_code() {
        Some(ErrorCode::AuthorizationForStatementDenied) => {
            tracing::warn!(%error, "SQLite was asked for more than the statement says");
            HostError::denied("the engine was asked for more than the statement says")
        }
        Some(ErrorCode::ReadOnly) => HostError::denied("the statement writes"),
        Some(ErrorCode::TooBig) => HostError::limit(
            "a value has more bytes than a result may have (limit max_result_bytes)",
        ),
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::SystemIoFailure
            | ErrorCode::DiskFull
            | ErrorCode::NotADatabase
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::PermissionDenied,
        ) => {
            tracing::warn!(%error, "the SQLite file fails");
            HostError::unavailable("the database fails; the host's log says why")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            HostError::timeout("the database was in use by others for too long")
        }
        _ => match error {
            rusqlite::Error::SqliteFailure(_, Some(message)) => HostError::failed(message),
            rusqlite::Error::SqlInputError { msg, .. } => HostError::failed(msg),
            rusqlite::Error::SqliteFailure(code, None) => HostError::failed(code.to_string()),
            rusqlite::Error::MultipleStatement => HostError::denied("more than one statement"),
            _ => HostError::failed("the statement could not be run"),
        },
    }
}
