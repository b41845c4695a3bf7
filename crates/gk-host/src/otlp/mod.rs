//! Export of traces, metrics and logs by OTLP over HTTP, set up by OpenTelemetry's variables.
//!
//! What is to be sent waits in queues of fixed length. What finds its queue full is dropped and
//! counted, so that neither calls nor the log ever wait for a collector.

#[cfg(feature = "otlp")]
mod encode;
#[cfg(feature = "otlp")]
mod export;
#[cfg(feature = "otlp")]
mod logs;
#[cfg(feature = "otlp")]
mod measures;
#[cfg(not(feature = "otlp"))]
mod missing;
#[cfg(feature = "otlp")]
mod queue;
#[cfg(feature = "otlp")]
mod send;
#[cfg(feature = "otlp")]
mod settings;

#[cfg(feature = "otlp")]
pub(crate) use self::export::{Export, Prepared, prepare};
#[cfg(not(feature = "otlp"))]
pub(crate) use self::missing::{Export, Prepared, prepare};
