//! Requests over HTTP/1.1 from one thread, with as little work for each as can be: the generator
//! shares the processors with what it measures.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use serde_json::json;

use crate::measure::{percentile_us, print as print_line};
use crate::proc::CpuTimes;

/// Longest answer, head included.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Requests before the measured ones, on each connection.
const WARM_UP: usize = 50;

/// Longest time without an answer.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the server listens, as `127.0.0.1:8080`.
    address: String,
    /// What is asked for.
    path: String,
    /// The bearer token.
    token: String,
    /// Connections, with one request in flight on each.
    connections: usize,
    /// How long to measure.
    seconds: f64,
    /// A process whose processor time for a request is told, too: the server's.
    #[arg(long)]
    pid: Option<u32>,
}

/// Figures of a run.
pub(crate) struct Measured {
    pub(crate) requests: usize,
    pub(crate) per_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Processor time of the watched process for a request.
    pub(crate) cpu_us: Option<f64>,
}

/// A connection with a request in flight.
struct Connection {
    stream: TcpStream,
    sent: Instant,
    buffer: Vec<u8>,
    have: usize,
}

impl Connection {
    fn new(address: &str) -> Result<Self> {
        let stream =
            TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            sent: Instant::now(),
            buffer: vec![0; ANSWER_BYTES_MAX],
            have: 0,
        })
    }

    fn send(&mut self, request: &[u8]) -> Result<()> {
        self.have = 0;
        self.sent = Instant::now();
        Ok(self.stream.write_all(request)?)
    }

    /// Reads what is there; the answer if that was the last of it.
    fn receive(&mut self) -> Result<Option<Answer>> {
        let Some(room) = self.buffer.get_mut(self.have..).filter(|r| !r.is_empty()) else {
            bail!("an answer of more than {ANSWER_BYTES_MAX} bytes");
        };
        let read = self.stream.read(room)?;
        ensure!(read > 0, "the server closed a connection");
        self.have += read;
        let received = self.buffer.get(..self.have).unwrap_or_default();
        let Some(answer) = Answer::parse(received)? else {
            return Ok(None);
        };
        let whole = answer.head_bytes.saturating_add(answer.body_bytes);
        ensure!(received.len() <= whole, "more than one answer to a request");
        Ok((received.len() == whole).then_some(answer))
    }

    /// Asks, and waits for the answer's body.
    fn ask(&mut self, request: &[u8]) -> Result<&[u8]> {
        self.send(request)?;
        loop {
            if let Some(answer) = self.receive()? {
                answer.expect_ok()?;
                let body = self.buffer.get(answer.head_bytes..self.have);
                return Ok(body.unwrap_or_default());
            }
        }
    }
}

/// The head of an answer, as far as it matters.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    head_bytes: usize,
    body_bytes: usize,
}

impl Answer {
    /// `None` if the head is not all there yet.
    fn parse(received: &[u8]) -> Result<Option<Self>> {
        let Some(end) = received.windows(4).position(|end| end == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = received.get(..end).unwrap_or_default();
        let mut lines = head.split(|byte| *byte == b'\n');
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix(b"HTTP/1.1 "))
            .and_then(|rest| rest.get(..3))
            .and_then(number)
            .context("no status line of HTTP/1.1")?;
        let body_bytes = lines
            .find_map(|line| {
                let (name, value) = line.split_at_checked(b"content-length:".len())?;
                name.eq_ignore_ascii_case(b"content-length:")
                    .then(|| number(value.trim_ascii()))
            })
            .flatten()
            .context("an answer without a content-length")?;
        Ok(Some(Self {
            status: u16::try_from(status)?,
            head_bytes: end + 4,
            body_bytes,
        }))
    }

    fn expect_ok(&self) -> Result<()> {
        ensure!(self.status == 200, "a request was answered {}", self.status);
        Ok(())
    }
}

fn number(digits: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(digits).ok()?;
    // `parse` would take a sign.
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(())?;
    text.parse().ok()
}

/// A request as a client that stays connected sends it.
fn request(address: &str, path: &str, token: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nAccept: */*\r\n\r\n")
        .into_bytes()
}

/// The body of one answer.
pub(crate) fn body(address: &str, path: &str, token: &str) -> Result<Vec<u8>> {
    let mut connection = Connection::new(address)?;
    let body = connection.ask(&request(address, path, token))?;
    Ok(body.to_vec())
}

/// Asks again and again for so long.
pub(crate) fn measure(
    address: &str,
    path: &str,
    token: &str,
    connections: usize,
    duration: Duration,
    pid: Option<u32>,
) -> Result<Measured> {
    ensure!(connections > 0, "there is at least one connection");
    let request = request(address, path, token);
    let mut all = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut connection = Connection::new(address)?;
        for _ in 0..WARM_UP {
            connection.ask(&request)?;
        }
        all.push(connection);
    }
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (number, connection) in (0..).zip(&all) {
        let data = epoll::EventData::new_u64(number);
        epoll::add(&epoll, &connection.stream, data, epoll::EventFlags::IN)?;
    }
    let before = pid.map(CpuTimes::of).transpose()?;
    let begun = Instant::now();
    let end = begun + duration;
    for connection in &mut all {
        connection.send(&request)?;
    }
    let mut times = Vec::with_capacity(1 << 18);
    let mut in_flight = connections;
    let mut events = Vec::with_capacity(connections);
    let patience = rustix::event::Timespec::try_from(PATIENCE)?;
    while in_flight > 0 {
        events.clear();
        // The one connection is waited for by reading it.
        if connections == 1 {
            events.push(0);
        } else {
            let mut ready: Vec<epoll::Event> = Vec::with_capacity(connections);
            match epoll::wait(&epoll, spare_capacity(&mut ready), Some(&patience)) {
                Err(rustix::io::Errno::INTR) => continue,
                waited => waited?,
            };
            ensure!(!ready.is_empty(), "no answer within {PATIENCE:?}");
            events.extend(ready.iter().map(|event| event.data.u64()));
        }
        for number in &events {
            let connection = usize::try_from(*number)
                .ok()
                .and_then(|number| all.get_mut(number))
                .context("an event of no connection")?;
            if let Some(answer) = connection.receive()? {
                let now = Instant::now();
                answer.expect_ok()?;
                times.push(now - connection.sent);
                if now < end {
                    connection.send(&request)?;
                } else {
                    in_flight -= 1;
                }
            }
        }
    }
    let elapsed = begun.elapsed();
    #[expect(clippy::cast_precision_loss, reason = "far fewer requests than 2^52")]
    let requests = times.len() as f64;
    let cpu_us = match (pid, before) {
        (Some(pid), Some(before)) => {
            Some(CpuTimes::of(pid)?.since(&before).as_secs_f64() * 1e6 / requests)
        }
        _ => None,
    };
    times.sort_unstable();
    Ok(Measured {
        requests: times.len(),
        per_s: requests / elapsed.as_secs_f64(),
        p50_us: percentile_us(&times, 50),
        p99_us: percentile_us(&times, 99),
        cpu_us,
    })
}

/// Measures, and prints a JSON line.
pub(crate) fn print(arguments: &Arguments) -> Result<()> {
    let measured = measure(
        &arguments.address,
        &arguments.path,
        &arguments.token,
        arguments.connections,
        Duration::from_secs_f64(arguments.seconds),
        arguments.pid,
    )?;
    print_line(&json!({
        "connections": arguments.connections,
        "requests": measured.requests,
        "requests_per_s": measured.per_s,
        "p50_us": measured.p50_us,
        "p99_us": measured.p99_us,
        "cpu_us": measured.cpu_us,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let head = b"HTTP/1.1 200 OK\r\nServer: x\r\nCONTENT-length:  12 \r\nDate: x\r\n\r\n";
        let expected = Answer {
            status: 200,
            head_bytes: head.len(),
            body_bytes: 12,
        };
        let mut received = head.to_vec();
        assert_eq!(Answer::parse(&received).unwrap(), Some(expected));
        // A part of the body changes nothing.
        received.extend(b"{\"a\"");
        assert_eq!(Answer::parse(&received).unwrap().unwrap().body_bytes, 12);
        for cut in 0..head.len() {
            assert_eq!(Answer::parse(&head[..cut]).unwrap(), None, "{cut}");
        }
    }

    #[test]
    fn a_length_in_the_body_is_none() {
        let answer = b"HTTP/1.1 200 OK\r\nDate: x\r\n\r\ncontent-length: 3\r\n\r\n";
        assert!(Answer::parse(answer).is_err());
    }

    #[test]
    fn what_is_no_such_answer() {
        for head in [
            "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n",
            "HTTP/1.1 2x0 OK\r\ncontent-length: 1\r\n\r\n",
            "HTTP/1.1 20\r\ncontent-length: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert!(Answer::parse(head.as_bytes()).is_err(), "{head:?}");
        }
    }

    #[test]
    fn only_200_is_well() {
        let answer = Answer::parse(b"HTTP/1.1 401 x\r\ncontent-length: 0\r\n\r\n");
        let answer = answer.unwrap().unwrap();
        assert_eq!(answer.status, 401);
        assert!(answer.expect_ok().is_err());
    }

    /// A server that answers in two pieces, and is asked over two connections.
    #[test]
    fn measures_a_server() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || -> std::io::Result<()> {
                    stream.set_nodelay(true)?;
                    let mut request = [0; 1024];
                    loop {
                        if stream.read(&mut request)? == 0 {
                            return Ok(());
                        }
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le")?;
                        stream.write_all(b"ngth: 2\r\n\r\n{}")?;
                    }
                });
            }
        });
        assert_eq!(body(&address, "/", "t").unwrap(), b"{}");
        for connections in [1, 2] {
            let pid = Some(std::process::id());
            let duration = Duration::from_millis(1);
            let measured = measure(&address, "/", "t", connections, duration, pid).unwrap();
            assert!(measured.requests >= connections);
            assert!(measured.p50_us <= measured.p99_us);
            assert!(measured.cpu_us.is_some());
        }
    }
}
