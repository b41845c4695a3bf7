//! Requests' bodies: each within its limit and its time, all together within one budget.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::envelope::BODY_BYTES_MAX;
use crate::problem::Problem;

/// How many bytes of bodies are held at once, from their arrival until the plugin has answered. A
/// client pays for what it has sent, not for what it announces, so slow ones do not use it up.
pub(crate) const BODIES_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The budget.
#[derive(Debug)]
pub(crate) struct Bodies {
    bytes: Arc<Semaphore>,
}

/// A body, and its part of the budget.
#[derive(Debug)]
pub(crate) struct HeldBody {
    bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

impl Deref for HeldBody {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

impl Bodies {
    pub(crate) fn new(budget_bytes: usize) -> Self {
        Bodies {
            bytes: Arc::new(Semaphore::new(budget_bytes)),
        }
    }

    /// Reads a body to its end.
    pub(crate) async fn read(&self, body: Body) -> Result<HeldBody, Problem> {
        tokio::time::timeout(BODY_TIMEOUT, self.collect(body))
            .await
            .unwrap_or_else(|_| {
                let text = format!(
                    "the body did not arrive within {} s",
                    BODY_TIMEOUT.as_secs()
                );
                Err(Problem::new(StatusCode::REQUEST_TIMEOUT, text))
            })
    }

    async fn collect(&self, mut body: Body) -> Result<HeldBody, Problem> {
        let mut share: Option<OwnedSemaphorePermit> = None;
        let (mut first, mut all) = (Bytes::new(), BytesMut::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                Problem::bad_request(format!("the body cannot be read: {error}"))
            })?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let more = self.share(data.len(), first.len() + all.len())?;
            match &mut share {
                Some(share) => share.merge(more),
                None => share = Some(more),
            }
            // Most bodies come in one piece, which need not be copied.
            if first.is_empty() && all.is_empty() {
                first = data;
                continue;
            }
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
        Ok(HeldBody {
            bytes: if all.is_empty() { first } else { all.freeze() },
            _share: share,
        })
    }

    fn share(&self, more: usize, before: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let too_large = || {
            Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "plugin request body too large (at most 4 MiB)",
            )
        };
        if more > BODY_BYTES_MAX - before.min(BODY_BYTES_MAX) {
            return Err(too_large());
        }
        let more = u32::try_from(more).map_err(|_| too_large())?;
        Arc::clone(&self.bytes)
            .try_acquire_many_owned(more)
            .map_err(|_| {
                Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "too many request bodies at once; try again later",
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(result: Result<HeldBody, Problem>) -> Option<StatusCode> {
        result.err().map(|problem| problem.status)
    }

    #[tokio::test]
    async fn all_bodies_share_one_budget_and_give_it_back() {
        let bodies = Bodies::new(100);
        let first = bodies.read(Body::from(vec![1; 60])).await.unwrap();
        assert_eq!(first.len(), 60);
        let refused = bodies.read(Body::from(vec![2; 41])).await;
        assert_eq!(status(refused), Some(StatusCode::SERVICE_UNAVAILABLE));
        bodies.read(Body::from(vec![3; 40])).await.unwrap();
        drop(first);
        bodies.read(Body::from(vec![4; 100])).await.unwrap();
        bodies.read(Body::empty()).await.unwrap();
    }

    #[tokio::test]
    async fn a_body_in_pieces_is_put_together_up_to_its_limit() {
        let pieces = |count: usize, bytes: usize| {
            let pieces = (0..count).map(move |piece| {
                Ok::<_, std::io::Error>(Bytes::from(vec![u8::try_from(piece).unwrap(); bytes]))
            });
            Body::from_stream(Pieces(pieces))
        };
        let bodies = Bodies::new(BODIES_BYTES_MAX);
        let read = bodies.read(pieces(3, 2)).await.unwrap();
        assert_eq!(read[..], [0, 0, 1, 1, 2, 2]);
        let quarter = BODY_BYTES_MAX / 4;
        assert_eq!(
            bodies.read(pieces(4, quarter)).await.unwrap().len(),
            4 * quarter
        );
        let refused = bodies.read(pieces(5, quarter)).await;
        assert_eq!(status(refused), Some(StatusCode::PAYLOAD_TOO_LARGE));
    }

    /// An iterator as a stream.
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
