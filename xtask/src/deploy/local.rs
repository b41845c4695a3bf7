//! Processes and requests on the loopback addresses of this machine.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Maximum time for anything that is waited for.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

/// A process that ends when this is dropped.
pub(super) struct Process(pub(super) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that is free on all addresses.
pub(super) fn free(addresses: &[&str]) -> Result<u16> {
    const TRIES: usize = 100;
    for _ in 0..TRIES {
        let one = TcpListener::bind((addresses[0], 0))?;
        let port = one.local_addr()?.port();
        let rest = addresses.iter().skip(1);
        if rest
            .map(|address| TcpListener::bind((*address, port)))
            .all(|bound| bound.is_ok())
        {
            return Ok(port);
        }
    }
    bail!("no port is free on {addresses:?}")
}

/// Waits until an address takes connections.
pub(super) fn connects(address: &str) -> Result<()> {
    let started = Instant::now();
    while TcpStream::connect(address).is_err() {
        ensure!(started.elapsed() < DEADLINE, "nothing listens on {address}");
        std::thread::yield_now();
    }
    Ok(())
}

/// A request over a connection of its own, and the whole answer.
pub(super) fn ask(address: &str, method: &str, path: &str, token: Option<&str>) -> Result<String> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("connect {address}"))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{}Content-Type: application/json\r\n\
         Content-Length: 2\r\nConnection: close\r\n\r\n{{}}",
        token.unwrap_or_default()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The status of an answer; 0 if there is none.
pub(super) fn status(answer: &str) -> u16 {
    let word = answer.split(' ').nth(1);
    word.and_then(|word| word.parse().ok()).unwrap_or_default()
}
