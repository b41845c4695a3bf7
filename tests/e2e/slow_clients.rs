//! Clients that take nothing of their answers, and more clients than there are descriptors for.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

use crate::host::{Host, Setup};
use crate::{DEADLINE, eventually, processes};

/// More answers than the buffers of both ends hold (4 and 6 MiB, unless an administrator raised them), as the
/// description of the API has more than 4 KiB.
const REQUESTS: usize = 5000;

/// How many more descriptors the host may open than it has.
const ROOM: u64 = 16;

/// Failed accepts are this far apart.
const PAUSE: Duration = Duration::from_millis(100);

/// The descriptors the host has open.
fn descriptors(host: &Host) -> usize {
    fs::read_dir(format!("/proc/{}/fd", host.pid()))
        .unwrap()
        .count()
}

/// What the kernel's table shows of the host's end of a connection: its address and ours.
fn ends(client: &TcpStream) -> [String; 2] {
    [client.peer_addr(), client.local_addr()].map(|address| hexadecimal(address.unwrap()))
}

/// Whether the host has its end of this connection open. (How many descriptors it has says nothing: it opens others
/// of its own meanwhile.) An end that was closed with answers still to be sent belongs to no process: its inode is 0.
fn has_open(host: &Host, ends: &[String]) -> bool {
    let table = fs::read_to_string(format!("/proc/{}/net/tcp", host.pid())).unwrap();
    table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(1..3).is_some_and(|found| found == ends) && fields.get(9) != Some(&"0")
    })
}

/// As the kernel's table writes an address.
fn hexadecimal(address: SocketAddr) -> String {
    let IpAddr::V4(ip) = address.ip() else {
        panic!("not an IPv4 address: {address}");
    };
    format!(
        "{:08X}:{:04X}",
        u32::from_ne_bytes(ip.octets()),
        address.port()
    )
}

fn connect(host: &Host) -> TcpStream {
    let stream = TcpStream::connect(host.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Sends this and waits for an answer that all is well.
fn answered(mut stream: &TcpStream, request: &[u8]) {
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    // The whole of it, or the rest would be taken for the next one.
    while !answer.ends_with(b"\r\n\r\nok\n") {
        let taken = stream.read(&mut part).unwrap();
        assert_ne!(taken, 0, "closed: {}", answer.escape_ascii());
        answer.extend_from_slice(&part[..taken]);
    }
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        answer.escape_ascii()
    );
}

/// Without the server's write timeout, whoever asks and does not read holds a connection for ever: with 4096 of them
/// nobody else has one.
#[test]
fn a_client_that_takes_nothing_of_its_answers_is_cut() {
    let host = Setup::new().settled();
    let mut client = connect(&host);
    let ends = ends(&client);
    let request = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    // The server reads no further while it cannot write; what it leaves is the sender's to keep.
    let mut writer = client.try_clone().unwrap();
    let asking = std::thread::spawn(move || writer.write_all(request.repeat(REQUESTS).as_bytes()));
    eventually("the host has the connection", || {
        has_open(&host, &ends).then_some(())
    });
    eventually("the host closes the connection", || {
        (!has_open(&host, &ends)).then_some(())
    });
    host.call("GET", "/livez").send().expect(200);
    // It was cut in the middle, and not because all had been sent.
    let answer = host.call("GET", "/metrics").send().body.len();
    let mut taken = Vec::new();
    let _ = client.read_to_end(&mut taken);
    assert!(
        taken.len() > answer && taken.len() < REQUESTS * answer,
        "{} bytes of {REQUESTS} answers of {answer}",
        taken.len()
    );
    let _ = client.shutdown(Shutdown::Both);
    // Its outcome is that of a connection that was cut.
    let _ = asking.join().unwrap();
}

/// A server that gives up at a failed accept is gone for good with the first burst of clients; one that tries again
/// at once keeps a processor busy and fills the log.
#[test]
fn a_host_without_descriptors_left_waits_and_goes_on() {
    let host = Setup::new().plugin("hello-rust", "hello-rust").settled();
    host.expect_serving("hello-rust");
    let limits = Rlimit {
        current: Some(descriptors(&host) as u64 + ROOM),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    prlimit(
        Some(processes::native(host.pid())),
        Resource::Nofile,
        limits,
    )
    .unwrap();
    let started = Instant::now();
    let clients: Vec<_> = (0..2 * ROOM).map(|_| connect(&host)).collect();
    host.wait_for_log("connections cannot be accepted");
    // Some are served, all the while, and the others wait in the listener's queue.
    let request = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut last = clients.last().unwrap();
    last.write_all(request).unwrap();
    for _ in 0..100 {
        answered(clients.first().unwrap(), request);
    }
    // Who waited is served as soon as others leave.
    for client in clients.iter().take(clients.len() - 1) {
        client.shutdown(Shutdown::Both).unwrap();
    }
    answered(last, b"");
    host.expect_serving("hello-rust");
    let line = host.wait_for_log("connections are accepted again");
    let failed = line.rsplit("failed=").next().unwrap();
    let failed: String = failed.chars().take_while(char::is_ascii_digit).collect();
    let tried: u32 = failed.parse().unwrap();
    assert!(
        PAUSE * (tried - 1) <= started.elapsed(),
        "accepting failed {tried} times in {:?}",
        started.elapsed()
    );
}
