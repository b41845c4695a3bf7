//! Writing what a connection has to send.

use std::io::{self, IoSlice};
use std::sync::Arc;

use parking_lot::MutexGuard;

use super::{Shared, State};
use crate::yamux::Batch;

impl Shared {
    /// Writes what is queued, unless another task does or the socket is full. The lock is not held
    /// while writing.
    pub(super) fn flush<'a>(self: &'a Arc<Self>, mut state: MutexGuard<'a, State>) {
        loop {
            if state.stalled || state.reads_closed || state.connection.closed().is_some() {
                return;
            }
            let Some(mut batch) = state.next_batch() else {
                if self.writer.has_backlog() {
                    drop(state);
                    let flushed = self.writer.try_flush();
                    state = self.lock();
                    match flushed {
                        Ok(()) => continue,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => state.stall(),
                        Err(error) => return self.write_failed(state, &error),
                    }
                }
                return;
            };
            drop(state);
            let written = self.write(&mut batch);
            state = self.lock();
            match written {
                Ok(()) => state.connection.transmitted(batch),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    state.blocked = Some(batch);
                    return state.stall();
                }
                Err(error) => return self.write_failed(state, &error),
            }
        }
    }

    /// Flushes, unless the driver is about to.
    pub(super) fn flush_soon(self: &Arc<Self>, state: MutexGuard<'_, State>) {
        if !state.corked {
            self.flush(state);
        }
    }

    fn write_failed(self: &Arc<Self>, mut state: MutexGuard<'_, State>, error: &io::Error) {
        match error.kind() {
            // The peer's last bytes may still be unread: the driver finds the end by itself.
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                state.reads_closed = true;
            }
            _ => self.close_locked(state, &format!("writing to the peer failed: {error}")),
        }
    }

    /// Writes what the socket takes of what is queued, for a connection that is closed.
    pub(super) fn write_last(&self) {
        let mut state = self.lock();
        if state.reads_closed {
            return;
        }
        let batch = state.next_batch();
        drop(state);
        let written = batch.map_or(Ok(()), |mut batch| self.write(&mut batch));
        if written.is_ok() {
            self.writer.finish();
        }
    }

    fn write(&self, batch: &mut Batch) -> io::Result<()> {
        while !batch.is_done() {
            let mut slices = [IoSlice::new(&[]); 16];
            let count = batch.slices(&mut slices);
            let written = self
                .writer
                .try_write_vectored(slices.get(..count).unwrap_or_default())?;
            batch.advance(written);
        }
        Ok(())
    }
}

impl State {
    fn next_batch(&mut self) -> Option<Batch> {
        self.blocked
            .take()
            .or_else(|| self.connection.poll_transmit())
    }

    fn stall(&mut self) {
        self.stalled = true;
        self.wake_driver();
    }
}
