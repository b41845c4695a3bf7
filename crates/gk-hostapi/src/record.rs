//! `log`: a record from the wire into the plugin's own log.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::caller::Caller;
use crate::error::HostError;
use crate::level::LogLevel;
use crate::method::ServiceMethod;
use crate::spec::MethodSpec;

/// The service of `log`, which has nothing of its own: the log is the plugin's.
#[derive(Debug)]
pub(crate) struct Log;

/// The method.
pub(crate) const METHODS: &[ServiceMethod<Log>] = &[ServiceMethod::new(
    MethodSpec::free("log"),
    |_, granted, args| Box::pin(async move { log(granted.caller(), &args) }),
)];

/// The largest arguments of `log`, in bytes of JSON.
pub const LOG_BYTES_MAX: usize = 64 * 1024;

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow, default)]
    level: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
    fields: Option<Map<String, Value>>,
}

pub(crate) fn log(caller: &Caller, args: &[u8]) -> Result<Bytes, HostError> {
    if args.len() > LOG_BYTES_MAX {
        return Err(HostError::limit(format!(
            "a log record has at most {LOG_BYTES_MAX} bytes, not {}",
            args.len()
        )));
    }
    let record: Record<'_> = serde_json::from_slice(args)
        .map_err(|error| HostError::invalid(format!("arguments: {error}")))?;
    caller.log(
        // An unknown level is no reason to lose the record. The log has no finer level than debug.
        LogLevel::parse(&record.level)
            .unwrap_or(LogLevel::Info)
            .max(LogLevel::Debug),
        &record.message,
        &record.fields.unwrap_or_default(),
    );
    Ok(Bytes::from_static(br#"{"ok":true}"#))
}
