//! Reads what a plugin prints: its first line, which is the handshake, and everything after.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};

use gk_hostapi::LogLevel;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::task::JoinHandle;

use super::classify::Classifier;
use super::lines::LineSplitter;
use super::ring::LogSource;
use super::sink::LogSink;
use crate::limits::{HANDSHAKE_BYTES_MAX, LOG_RECORD_BYTES_MAX};

/// Size of one read, in bytes.
const CHUNK_BYTES: usize = 4096;

/// A stream of a plugin's output.
pub type Output = Box<dyn AsyncRead + Send + Unpin>;

/// A stream of a worker's output, which goes to the plugin's log line by line.
#[non_exhaustive]
pub struct WorkerOutput {
    /// The source that the log names.
    pub source: LogSource,
    /// Stream to read.
    pub stream: Output,
    /// Bytes that were read from the stream already.
    pub first: Vec<u8>,
}

impl WorkerOutput {
    /// Returns an output of which no byte was read yet.
    pub fn new(source: LogSource, stream: Output) -> Self {
        Self {
            source,
            stream,
            first: Vec::new(),
        }
    }
}

impl fmt::Debug for WorkerOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerOutput")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// Why there is no first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoLine {
    /// The stream ended before anything was printed.
    Ended,
    /// The line is longer than a handshake can be.
    TooLong,
}

/// Reads up to the first line end. `printed` receives every byte read, also when this is
/// cancelled: up to [`HANDSHAKE_BYTES_MAX`] plus a chunk.
///
/// On success the line is `printed[..len]`, and what follows its end are the bytes after it. A
/// last line without an end counts as a line.
pub(crate) async fn read_first_line(
    stream: &mut (impl AsyncRead + Unpin),
    printed: &mut Vec<u8>,
) -> Result<usize, NoLine> {
    loop {
        let searched = printed.len();
        let mut chunk = [0; 512];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) if searched == 0 => return Err(NoLine::Ended),
            Ok(0) | Err(_) => return Ok(searched),
            Ok(count) => printed.extend_from_slice(&chunk[..count]),
        }
        if let Some(at) = printed[searched..].iter().position(|&byte| byte == b'\n') {
            return Ok(searched + at);
        }
        if printed.len() > HANDSHAKE_BYTES_MAX {
            return Err(NoLine::TooLong);
        }
    }
}

/// A task that drains one stream for ever, line by line into a log.
#[derive(Debug)]
pub(crate) struct Capture {
    task: JoinHandle<()>,
}

impl Capture {
    /// Starts draining. The capture ends with the stream. A process other than the plugin may hold
    /// the stream open, so a wait for its end needs a limit.
    pub(crate) fn start(output: WorkerOutput, generation: u64, log: LogSink) -> Self {
        let WorkerOutput {
            source,
            mut stream,
            first,
        } = output;
        let task = tokio::spawn(async move {
            let default = if source == LogSource::Stdout {
                LogLevel::Info
            } else {
                LogLevel::Debug
            };
            let mut classifier = Classifier::new(default);
            let mut lines = LineSplitter::new(LOG_RECORD_BYTES_MAX);
            let mut take = |line: &[u8]| {
                if !line.is_empty() {
                    classifier.classify(line, |record| log.plugin(generation, source, record));
                }
            };
            lines.feed(&first, &mut take);
            drop(first);
            loop {
                let fed = poll_fn(|cx| {
                    // On the stack: most plugins are silent most of the time.
                    let mut chunk = [MaybeUninit::uninit(); CHUNK_BYTES];
                    let mut chunk = ReadBuf::uninit(&mut chunk);
                    ready!(Pin::new(&mut stream).poll_read(cx, &mut chunk))?;
                    lines.feed(chunk.filled(), &mut take);
                    Poll::Ready(Ok::<_, io::Error>(chunk.filled().len()))
                });
                match fed.await {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
                // A plugin that writes without pause must not keep the thread from its other
                // tasks.
                tokio::task::consume_budget().await;
            }
            lines.finish(&mut take);
        });
        Self { task }
    }

    /// Resolves when the stream has ended. Cancel-safe.
    pub(crate) async fn ended(&mut self) {
        if !self.task.is_finished() {
            let _ = (&mut self.task).await;
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LOG_LINE_BYTES_MAX;
    use crate::log::LogQuery;
    use gk_manifest::PluginName;

    async fn first_line(bytes: &[u8]) -> (Result<usize, NoLine>, Vec<u8>) {
        let mut printed = Vec::new();
        let line = read_first_line(&mut &*bytes, &mut printed).await;
        (line, printed)
    }

    #[tokio::test]
    async fn the_first_line_is_found_and_bounded() {
        assert_eq!(
            first_line(b"1|1|unix\nmore").await,
            (Ok(8), b"1|1|unix\nmore".to_vec())
        );
        assert_eq!(first_line(b"\n").await, (Ok(0), b"\n".to_vec()));
        assert_eq!(first_line(b"no end").await, (Ok(6), b"no end".to_vec()));
        assert_eq!(first_line(b"").await.0, Err(NoLine::Ended));
        let (line, printed) = first_line(&vec![b'x'; 1 << 20]).await;
        assert_eq!(line, Err(NoLine::TooLong));
        assert!(printed.len() <= HANDSHAKE_BYTES_MAX + 512);
    }

    #[tokio::test]
    async fn a_hostile_stream_ends_up_in_bounded_entries() {
        let log = LogSink::new(PluginName::new("p").unwrap());
        let mut hostile = vec![b'x'; 64 * 1024];
        hostile.extend_from_slice(b"\n\0\x1b[31m\xff\n{\"@message\":1}\npanic: boom\n\ttrace\n");
        let stream = std::io::Cursor::new(hostile);
        let output = WorkerOutput {
            first: b"first\nsec".to_vec(),
            ..WorkerOutput::new(LogSource::Stderr, Box::new(stream))
        };
        let mut capture = Capture::start(output, 3, log.clone());
        capture.ended().await;
        let entries = log.read(&LogQuery::all());
        let messages: Vec<&str> = entries.iter().map(|entry| entry.message.as_str()).collect();
        assert_eq!(messages[0], "first");
        assert!(messages[1].starts_with("secxxx"));
        assert!(
            messages
                .iter()
                .all(|message| message.len() <= LOG_LINE_BYTES_MAX)
        );
        let tail = &messages[messages.len() - 4..];
        assert_eq!(
            tail,
            [
                "\\u{0}\\u{1b}[31m\u{fffd}",
                "{\"@message\":1}",
                "panic: boom",
                "\ttrace"
            ]
        );
        assert_eq!(entries.last().unwrap().level, LogLevel::Error);
        assert_eq!(log.stderr_tail(3, 1), ["panic: boom"]);
    }
}
