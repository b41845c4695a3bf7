//! Requests to the collector: OTLP over HTTP, in protocol buffers.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use tokio::time::Instant;

use super::settings::Settings;

/// Waits between the attempts of a request; after the last one it is given up.
const WAITS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// Minimum time between two log lines about a collector.
const SILENCE: Duration = Duration::from_secs(60);

/// What did not get through, and what was said of that.
#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    /// Number of items that were dropped since the last log line.
    dropped: u64,
    last: Option<Instant>,
}

impl Trouble {
    /// Counts items that were dropped.
    pub(super) fn dropped(&self, signal: &'static str, items: u64) {
        metrics::counter!("gk_otlp_dropped_total", "signal" => signal).increment(items);
        self.0.lock().dropped += items;
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> u64 {
        self.0.lock().dropped
    }

    /// Returns the number of dropped items if it is time for a log line.
    fn due(&self, now: Instant) -> Option<u64> {
        let mut told = self.0.lock();
        let is_silent = |last: Instant| now.saturating_duration_since(last) < SILENCE;
        if told.last.is_some_and(is_silent) {
            return None;
        }
        told.last = Some(now);
        Some(std::mem::take(&mut told.dropped))
    }
}

/// Sends the requests of one signal.
#[derive(Debug)]
pub(super) struct Sender {
    client: reqwest::Client,
    signal: &'static str,
    url: String,
    headers: HeaderMap,
    trouble: Arc<Trouble>,
}

impl Sender {
    pub(super) fn new(
        client: reqwest::Client,
        signal: &'static str,
        url: &str,
        settings: &Settings,
        trouble: &Arc<Trouble>,
    ) -> Self {
        Self {
            client,
            signal,
            url: url.to_owned(),
            headers: settings.headers.clone(),
            trouble: Arc::clone(trouble),
        }
    }

    /// Sends a request with so many items. One that does not get through is tried again a few
    /// times, unless the collector does not want it; then its items are dropped.
    pub(super) async fn send(&self, request: &impl prost::Message, items: usize) {
        let body = bytes::Bytes::from(request.encode_to_vec());
        let mut waits = WAITS.iter();
        let error = loop {
            let sent = self
                .client
                .post(&self.url)
                .headers(self.headers.clone())
                .header(CONTENT_TYPE, "application/x-protobuf")
                .body(body.clone());
            let (error, again) = match sent.send().await {
                Ok(answer) if answer.status().is_success() => return,
                Ok(answer) => {
                    let status = answer.status();
                    (format!("it answered {status}"), may_succeed_later(status))
                }
                Err(error) => (error.without_url().to_string(), true),
            };
            match waits.next() {
                Some(wait) if again => tokio::time::sleep(*wait).await,
                _ => break error,
            }
        };
        self.trouble
            .dropped(self.signal, items.try_into().unwrap_or(u64::MAX));
        if let Some(dropped) = self.trouble.due(Instant::now()) {
            tracing::warn!(
                signal = self.signal,
                error,
                dropped,
                "the OpenTelemetry collector cannot be reached, or refuses what it is sent; what it does not get is dropped"
            );
        }
    }
}

/// Returns true for the statuses that OTLP lets a client try again after.
fn may_succeed_later(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_line_a_minute_at_most() {
        let trouble = Trouble::default();
        let start = Instant::now();
        trouble.dropped("traces", 3);
        assert_eq!(trouble.due(start), Some(3));
        trouble.dropped("traces", 4);
        assert_eq!(
            trouble.due(start + SILENCE - Duration::from_millis(1)),
            None
        );
        trouble.dropped("logs", 5);
        assert_eq!(trouble.due(start + SILENCE), Some(9));
    }
}
