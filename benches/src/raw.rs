//! The floor: a process that sends bytes over a Unix socket and one that sends them back, blocking,
//! one connection and two threads per caller.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::measure::{Wanted, next_wanted, payload, report};

pub(crate) fn run() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("raw");
    let listener = UnixListener::bind(&socket)?;
    #[expect(clippy::disallowed_methods, reason = "the other end is this program")]
    let mut peer = std::process::Command::new(std::env::current_exe()?)
        .arg("raw-peer")
        .arg(&socket)
        .spawn()?;
    while let Some(wanted) = next_wanted()? {
        let begin = Instant::now();
        let times = measure(&listener, wanted);
        report(wanted, times?, begin.elapsed(), Duration::ZERO)?;
    }
    drop(listener);
    std::fs::remove_file(&socket)?;
    peer.kill()?;
    peer.wait()?;
    Ok(())
}

fn measure(listener: &UnixListener, wanted: Wanted) -> Result<Vec<Duration>> {
    let callers: Vec<_> = (0..wanted.callers)
        .map(|_| {
            let (mut socket, _) = listener.accept()?;
            Ok(std::thread::spawn(
                move || -> std::io::Result<Vec<Duration>> {
                    let sent = payload(wanted.payload_bytes);
                    let mut got = vec![0; sent.len()];
                    socket.write_all(&(sent.len() as u64).to_le_bytes())?;
                    let end = Instant::now() + wanted.duration;
                    let mut times = Vec::with_capacity(1 << 14);
                    let mut last = Instant::now();
                    while last < end {
                        let start = Instant::now();
                        socket.write_all(&sent)?;
                        socket.read_exact(&mut got)?;
                        last = Instant::now();
                        times.push(last - start);
                    }
                    Ok(times)
                },
            ))
        })
        .collect::<Result<_>>()?;
    let mut all = Vec::new();
    for caller in callers {
        all.extend(caller.join().map_err(|_| anyhow!("a caller panicked"))??);
    }
    Ok(all)
}

/// Connects again and again, and sends back whatever comes.
pub(crate) fn peer(socket: &Path) -> Result<()> {
    while let Ok(mut connection) = UnixStream::connect(socket) {
        std::thread::spawn(move || -> std::io::Result<()> {
            let mut length = [0; 8];
            connection.read_exact(&mut length)?;
            let length =
                usize::try_from(u64::from_le_bytes(length)).map_err(std::io::Error::other)?;
            let mut bytes = vec![0; length];
            loop {
                connection.read_exact(&mut bytes)?;
                connection.write_all(&bytes)?;
            }
        });
    }
    Ok(())
}
