//! Frames that wait to be written: headers and small payloads in one growing buffer, large payloads
//! as they are.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

use super::{Flags, Header, Kind};

/// Data for the same stream joins the last frame, while that has not been handed to the writer, up
/// to this length: many small calls become one frame, which saves the peer work.
const MERGED_FRAME_MAX_BYTES: usize = 64 * 1024;

/// A buffer that grew beyond this is not kept for reuse.
const SPARE_MAX_BYTES: usize = 256 * 1024;

#[derive(Debug)]
enum Chunk {
    Small(Vec<u8>),
    Large(Bytes),
}

impl Chunk {
    fn as_slice(&self) -> &[u8] {
        match self {
            Chunk::Small(bytes) => bytes,
            Chunk::Large(bytes) => bytes,
        }
    }
}

/// The frame at the end of the queue that may still grow.
#[derive(Debug, Clone, Copy)]
struct OpenFrame {
    stream: u32,
    chunk: usize,
    header_at: usize,
    length: usize,
}

/// Frames that wait to be written. One writer at a time takes all of them as a [`Batch`].
#[derive(Debug, Default)]
pub struct OutQueue {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    /// Bytes of frames without payload among them.
    control: usize,
    open: Option<OpenFrame>,
    spare: Vec<u8>,
    writing: bool,
}

/// Frames on their way to the socket.
#[derive(Debug)]
pub struct Batch {
    chunks: VecDeque<Chunk>,
    /// Bytes of the first chunk that are written already.
    offset: usize,
    written: usize,
    control: usize,
}

impl Batch {
    /// The next pieces to write; as many as fit into `slices`.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (place, chunk) in slices.iter_mut().zip(&self.chunks) {
            let skip = if count == 0 { self.offset } else { 0 };
            *place = IoSlice::new(chunk.as_slice().get(skip..).unwrap_or_default());
            count += 1;
        }
        count
    }

    /// Notes that `count` bytes were written.
    pub fn advance(&mut self, mut count: usize) {
        self.written += count;
        while let Some(chunk) = self.chunks.front() {
            let left = chunk.as_slice().len() - self.offset;
            // The last chunk stays, written or not: its buffer is used again.
            if count < left || (count == left && self.chunks.len() == 1) {
                self.offset += count;
                return;
            }
            count -= left;
            self.offset = 0;
            self.chunks.pop_front();
        }
    }

    /// Returns `true` if all is written.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match self.chunks.front() {
            None => true,
            Some(chunk) => self.chunks.len() == 1 && chunk.as_slice().len() == self.offset,
        }
    }
}

impl OutQueue {
    /// Bytes that are queued or being written.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of frames without payload among them.
    #[must_use]
    pub fn control_bytes(&self) -> usize {
        self.control
    }

    /// Takes all frames that are queued; `None` if there are none, or another batch is under way.
    pub fn begin(&mut self) -> Option<Batch> {
        if self.writing || self.chunks.is_empty() {
            return None;
        }
        self.writing = true;
        self.open = None;
        Some(Batch {
            chunks: std::mem::take(&mut self.chunks),
            offset: 0,
            written: 0,
            control: self.control,
        })
    }

    /// Takes a finished batch back.
    pub fn end(&mut self, mut batch: Batch) {
        debug_assert!(batch.is_done());
        self.writing = false;
        self.bytes = self.bytes.saturating_sub(batch.written);
        self.control = self.control.saturating_sub(batch.control);
        if let Some(Chunk::Small(mut buffer)) = batch.chunks.pop_front()
            && buffer.capacity() <= SPARE_MAX_BYTES
            && buffer.capacity() > self.spare.capacity()
        {
            buffer.clear();
            self.spare = buffer;
        }
        if self.chunks.is_empty() {
            // Keep the deque's own allocation too.
            batch.chunks.clear();
            self.chunks = batch.chunks;
        }
    }

    fn small(&mut self) -> &mut Vec<u8> {
        if !matches!(self.chunks.back(), Some(Chunk::Small(_))) {
            self.chunks
                .push_back(Chunk::Small(std::mem::take(&mut self.spare)));
        }
        match self.chunks.back_mut() {
            Some(Chunk::Small(buffer)) => buffer,
            _ => unreachable!("a small chunk was just pushed"),
        }
    }

    /// Queues a frame without payload.
    pub(crate) fn header(&mut self, header: Header) {
        self.open = None;
        self.small().extend_from_slice(&header.encode());
        self.bytes += Header::LEN;
        self.control += Header::LEN;
    }

    /// Starts, or lengthens, a data frame; exactly `length` bytes of
    /// [`small_data`](Self::small_data) and [`large_data`](Self::large_data) must follow.
    pub(crate) fn data_frame(&mut self, stream: u32, length: u32) {
        let more = length as usize;
        if let Some(open) = self.open
            && open.stream == stream
            && open.length + more <= MERGED_FRAME_MAX_BYTES
            && let Some(Chunk::Small(buffer)) = self.chunks.get_mut(open.chunk)
            && let Some(place) = buffer.get_mut(open.header_at + 8..open.header_at + 12)
            && let Ok(length) = u32::try_from(open.length + more)
        {
            place.copy_from_slice(&length.to_be_bytes());
            self.open = Some(OpenFrame {
                length: open.length + more,
                ..open
            });
            return;
        }
        let header_at = {
            let buffer = self.small();
            buffer.extend_from_slice(
                &Header {
                    kind: Kind::Data,
                    flags: Flags::NONE,
                    stream,
                    length,
                }
                .encode(),
            );
            buffer.len() - Header::LEN
        };
        self.bytes += Header::LEN;
        self.open = Some(OpenFrame {
            stream,
            chunk: self.chunks.len() - 1,
            header_at,
            length: more,
        });
    }

    pub(crate) fn small_data(&mut self, data: &[u8]) {
        if !data.is_empty() {
            self.small().extend_from_slice(data);
            self.bytes += data.len();
        }
    }

    pub(crate) fn large_data(&mut self, data: Bytes) {
        if !data.is_empty() {
            self.bytes += data.len();
            self.chunks.push_back(Chunk::Large(data));
        }
    }
}
