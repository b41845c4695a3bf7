//! Server-sent events: answers that stay open.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::sync::mpsc;

/// Interval of comments on a stream without events: proxies cut silent connections.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Maximum number of frames that wait for the connection; events wait where listeners share them.
const FRAMES_MAX: usize = 1;

/// Maximum time without progress in sending before a stream ends.
pub(crate) const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// An empty frame.
pub(crate) const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// Creates the two ends of a stream: for frames, and for its answer.
pub(crate) fn channel() -> (mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>) {
    mpsc::channel(FRAMES_MAX)
}

/// Returns the answer that carries a stream.
pub(crate) fn response(frames: mpsc::Receiver<Bytes>) -> Response {
    let mut response = Body::from_stream(Frames(frames)).into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

struct Frames(mpsc::Receiver<Bytes>);

impl futures_core::Stream for Frames {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}
