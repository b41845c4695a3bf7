//! The share of one client in the host's memory: the bodies and answers of all its connections.
//!
//! The host's budget counts the memory in use; a share assigns it to a client. Without shares one
//! client that does not read its answers could use up the whole budget, and all other clients would
//! be refused.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use gk_runtime::{MemoryBudget, OverBudget, Reservation};
use hyper::body::{Frame, Incoming, SizeHint};
use parking_lot::Mutex;

use crate::problem::Problem;

/// Size of an answer in bytes up to which it is not counted: the number of connections bounds
/// these.
const UNCOUNTED_BYTES: u64 = 16 * 1024;

/// Limit of the memory that the connections of one client may use together. A cheap clone of the
/// same share.
///
/// A single request or answer always fits: it has limits of its own, and the host's budget.
#[derive(Debug, Clone)]
pub(super) struct Share {
    /// Counter of the memory in use.
    held: MemoryBudget,
    /// Budget of the host.
    host: MemoryBudget,
}

/// Reservation for the received part of a request's body, until the request is answered.
pub(super) type Received = Arc<Mutex<Reservation>>;

impl Share {
    /// Creates the share of a client: half of the host's budget.
    pub(super) fn of(memory: &MemoryBudget) -> Self {
        Share {
            held: MemoryBudget::new(usize::MAX),
            host: memory.clone(),
        }
    }

    /// Maximum size of the share: half of the host's budget, in bytes.
    fn limit(&self) -> usize {
        self.host.limit() / 2
    }

    /// Adds bytes to `reservation`, if the rest of the share's use is below the limit.
    fn grow(&self, reservation: &mut Reservation, bytes: usize) -> Result<(), OverBudget> {
        reservation.grow(bytes)?;
        let others = self.held.used().saturating_sub(reservation.bytes());
        let limit = self.limit();
        match others < limit {
            true => Ok(()),
            false => Err(OverBudget { bytes, limit }),
        }
    }

    /// Wraps the body of a request so that it is counted as it arrives, and for as long as the
    /// second value lives. A request without a body has none.
    pub(super) fn request(&self, body: Incoming) -> (Body, Option<Received>) {
        if HttpBody::is_end_stream(&body) {
            return (Body::new(body), None);
        }
        let Ok(reservation) = self.held.reserve(0) else {
            return (Body::new(body), None);
        };
        let received = Arc::new(Mutex::new(reservation));
        let counted = CountedBody {
            body,
            share: self.clone(),
            received: Arc::clone(&received),
        };
        (Body::new(counted), Some(received))
    }

    /// Wraps an answer so that it is counted until it is sent; returns a refusal if the client uses
    /// too much. Answers of unknown length are streams, which have limits of their own.
    pub(super) fn answer(&self, response: Response) -> Response {
        let length = response.body().size_hint().exact();
        let Some(length) = length.filter(|length| *length > UNCOUNTED_BYTES) else {
            return response;
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let reservation = self.held.reserve(0).and_then(|mut reservation| {
            self.grow(&mut reservation, length)?;
            Ok(reservation)
        });
        match reservation {
            Ok(rest) => response.map(|body| Body::new(CountedAnswer { body, rest })),
            Err(_) => Problem::client_memory().into_response(),
        }
    }
}

struct CountedBody {
    body: Incoming,
    share: Share,
    received: Received,
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(axum::Error::new(error)))),
            None => return Poll::Ready(None),
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        let grown = self.share.grow(&mut self.received.lock(), bytes);
        Poll::Ready(Some(match grown {
            Ok(()) => Ok(frame),
            Err(over) => Err(axum::Error::new(over)),
        }))
    }

    fn is_end_stream(&self) -> bool {
        HttpBody::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        HttpBody::size_hint(&self.body)
    }
}

/// The reservation goes along with the bytes, as the HTTP library drops a body before it has sent
/// the last of them.
struct CountedAnswer {
    body: Body,
    rest: Reservation,
}

impl HttpBody for CountedAnswer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other),
        };
        let counted = frame.map_data(|data| this.rest.split_off(data.len()).attach(data));
        Poll::Ready(Some(Ok(counted)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
