//! Bodies of requests: each within its limit and its time, all together within the host's budget.

mod encoding;

use std::error::Error;
use std::ops::Deref;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use gk_runtime::{MemoryBudget, OverBudget, Reservation};
use http_body_util::BodyExt;

use self::encoding::Encoding;
use crate::heavy::Heavy;
use crate::problem::Problem;

/// Maximum length of a request's body in bytes, both compressed and decompressed, unless the
/// plugin's policy has another.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Maximum time for a client to send [`BODY_BYTES_MAX`]; larger bodies may take longer in
/// proportion.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Minimum number of bytes by which a buffer grows.
const GROWTH_BYTES_MIN: usize = 1024;

/// Reads bodies within a budget.
#[derive(Debug)]
pub(crate) struct Bodies {
    memory: MemoryBudget,
}

/// A buffer that grows within a budget and up to a limit.
#[derive(Debug)]
pub(crate) struct Growing {
    bytes: Vec<u8>,
    reservation: Reservation,
    limit: usize,
}

/// Reason why a buffer cannot grow further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// The buffer's own limit.
    Limit,
    /// The host's budget.
    Budget,
}

impl Full {
    /// Returns the answer for a body whose limit is `limit`, in bytes.
    pub(crate) fn problem(self, limit: usize) -> Problem {
        match self {
            Full::Budget => Problem::no_memory(),
            Full::Limit => Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "plugin request body too large (at most {} MiB)",
                    limit >> 20
                ),
            ),
        }
    }
}

impl From<OverBudget> for Full {
    fn from(_: OverBudget) -> Self {
        Full::Budget
    }
}

impl Growing {
    pub(crate) fn new(memory: &MemoryBudget, limit: usize) -> Result<Self, Full> {
        Ok(Growing {
            bytes: Vec::new(),
            reservation: memory.reserve(0)?,
            limit,
        })
    }

    pub(crate) fn push(&mut self, more: &[u8]) -> Result<(), Full> {
        let length = self.bytes.len() + more.len();
        if length > self.limit {
            return Err(Full::Limit);
        }
        if length > self.bytes.capacity() {
            let step = more.len().max(self.bytes.len()).max(GROWTH_BYTES_MIN);
            let capacity = (self.bytes.len() + step).min(self.limit);
            self.reservation
                .grow(capacity.saturating_sub(self.reservation.bytes()))?;
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(more);
        Ok(())
    }

    /// Returns the bytes, which keep their reservation.
    pub(crate) fn freeze(mut self) -> Bytes {
        self.reservation.shrink_to(self.bytes.capacity());
        match self.bytes.is_empty() {
            true => Bytes::new(),
            false => self.reservation.attach(self.bytes),
        }
    }
}

impl std::io::Write for Growing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.push(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(Full::Limit) => Err(std::io::ErrorKind::FileTooLarge.into()),
            Err(Full::Budget) => Err(std::io::ErrorKind::OutOfMemory.into()),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A body with its part of the budget.
#[derive(Debug, Clone)]
pub(crate) struct HeldBody(Bytes);

impl HeldBody {
    pub(crate) fn empty() -> Self {
        HeldBody(Bytes::new())
    }

    /// Wraps bytes that are counted already, or are few.
    pub(crate) fn of(bytes: Bytes) -> Self {
        HeldBody(bytes)
    }
}

impl Deref for HeldBody {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.0
    }
}

impl Bodies {
    pub(crate) fn new(memory: MemoryBudget) -> Self {
        Bodies { memory }
    }

    /// Reads a body of at most [`BODY_BYTES_MAX`] to its end, and decodes its `Content-Encoding`.
    pub(crate) async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
        heavy: &Heavy,
    ) -> Result<HeldBody, Problem> {
        self.read_up_to(BODY_BYTES_MAX, headers, body, heavy).await
    }

    /// Like [`Bodies::read`], with another limit.
    pub(crate) async fn read_up_to(
        &self,
        limit: usize,
        headers: &HeaderMap,
        body: Body,
        heavy: &Heavy,
    ) -> Result<HeldBody, Problem> {
        let encoding = Encoding::of(headers)?;
        let parts = u32::try_from(limit.div_ceil(BODY_BYTES_MAX)).unwrap_or(1);
        let timeout = BODY_TIMEOUT * parts.max(1);
        let bytes = tokio::time::timeout(timeout, self.collect(limit, body))
            .await
            .unwrap_or_else(|_| {
                let text = format!("the body did not arrive within {} s", timeout.as_secs());
                Err(Problem::new(StatusCode::REQUEST_TIMEOUT, text))
            })?;
        let Some(encoding) = encoding.filter(|_| !bytes.is_empty()) else {
            return Ok(HeldBody(bytes));
        };
        let memory = self.memory.clone();
        // A small body may decompress to a large one.
        let decode = move || encoding.decode(&bytes, limit, &memory);
        heavy.run(limit, decode).await?.map(HeldBody)
    }

    async fn collect(&self, limit: usize, mut body: Body) -> Result<Bytes, Problem> {
        let full = |full: Full| full.problem(limit);
        let mut first = Bytes::new();
        let mut all: Option<Growing> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| unread(&error))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if data.len() > limit {
                return Err(full(Full::Limit));
            }
            // Most bodies arrive in one piece, which need not be copied.
            if let (None, true) = (&all, first.is_empty()) {
                first = data;
                continue;
            }
            if all.is_none() {
                let mut growing = Growing::new(&self.memory, limit).map_err(full)?;
                growing.push(&first).map_err(full)?;
                first = Bytes::new();
                all = Some(growing);
            }
            if let Some(growing) = &mut all {
                growing.push(&data).map_err(full)?;
            }
        }
        match all {
            Some(growing) => Ok(growing.freeze()),
            None if first.is_empty() => Ok(first),
            None => self.memory.hold(first).map_err(|_| full(Full::Budget)),
        }
    }
}

/// Converts an error of reading a body: the client's own, or that of its share of the memory.
fn unread(error: &axum::Error) -> Problem {
    let mut chain = std::iter::successors(Some(error as &dyn Error), |error| (*error).source());
    match chain.any(|error| error.is::<OverBudget>()) {
        true => Problem::client_memory(),
        false => Problem::bad_request(format!("the body cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(result: Result<HeldBody, Problem>) -> Option<StatusCode> {
        result.err().map(|problem| problem.status)
    }

    async fn read(bodies: &Bodies, body: Body) -> Result<HeldBody, Problem> {
        bodies
            .read(&HeaderMap::new(), body, &Heavy::default())
            .await
    }

    #[tokio::test]
    async fn all_bodies_share_one_budget_and_give_it_back() {
        let bodies = Bodies::new(MemoryBudget::new(100));
        let first = read(&bodies, Body::from(vec![1; 60])).await.unwrap();
        assert_eq!(first.len(), 60);
        let refused = read(&bodies, Body::from(vec![2; 41])).await;
        assert_eq!(status(refused), Some(StatusCode::SERVICE_UNAVAILABLE));
        read(&bodies, Body::from(vec![3; 40])).await.unwrap();
        drop(first);
        read(&bodies, Body::from(vec![4; 100])).await.unwrap();
        read(&bodies, Body::empty()).await.unwrap();
        assert_eq!(bodies.memory.used(), 0);
    }

    #[tokio::test]
    async fn a_body_in_pieces_is_put_together_up_to_its_limit() {
        let pieces = |count: usize, bytes: usize| {
            let pieces = (0..count).map(move |piece| {
                Ok::<_, std::io::Error>(Bytes::from(vec![u8::try_from(piece).unwrap(); bytes]))
            });
            Body::from_stream(Pieces(pieces))
        };
        let bodies = Bodies::new(MemoryBudget::new(64 << 20));
        let whole = read(&bodies, pieces(3, 2)).await.unwrap();
        assert_eq!(whole[..], [0, 0, 1, 1, 2, 2]);
        let quarter = BODY_BYTES_MAX / 4;
        assert_eq!(
            read(&bodies, pieces(4, quarter)).await.unwrap().len(),
            4 * quarter
        );
        let refused = read(&bodies, pieces(5, quarter)).await;
        assert_eq!(status(refused), Some(StatusCode::PAYLOAD_TOO_LARGE));
        let (headers, heavy) = (HeaderMap::new(), Heavy::default());
        let more = bodies.read_up_to(5 * quarter, &headers, pieces(5, quarter), &heavy);
        assert_eq!(more.await.unwrap().len(), 5 * quarter);
    }

    /// A stream over an iterator.
    struct Pieces<I>(I);

    impl<I: Iterator + Unpin> futures_core::Stream for Pieces<I> {
        type Item = I::Item;

        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<I::Item>> {
            std::task::Poll::Ready(self.0.next())
        }
    }
}
