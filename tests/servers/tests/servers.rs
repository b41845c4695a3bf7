//! The servers start, answer, go and come back.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use gk_servers::{Mariadb, Postgres, Redis, Smtp};

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(stream)
}

/// Whether somebody speaks first on a port.
fn speaks(port: u16, wait: Duration) -> bool {
    let Ok(mut stream) = connect(port) else {
        return false;
    };
    stream.set_read_timeout(Some(wait)).unwrap();
    matches!(stream.read(&mut [0; 1]), Ok(1))
}

#[test]
fn postgres_goes_and_comes_back() {
    let mut server = Postgres::start().unwrap();
    let port = server.port();
    assert!(server.url().contains(&format!("@127.0.0.1:{port}/")));
    connect(port).unwrap();
    server.stop().unwrap();
    connect(port).unwrap_err();
    server.restart().unwrap();
    connect(port).unwrap();
    server.restart().unwrap();
    connect(port).unwrap();
    drop(server);
    connect(port).unwrap_err();
}

#[test]
fn mariadb_goes_and_comes_back() {
    let mut server = Mariadb::start().unwrap();
    let port = server.port();
    assert!(speaks(port, Duration::from_secs(60)));
    server.pause().unwrap();
    // The kernel takes the connection; nobody greets.
    assert!(!speaks(port, Duration::from_millis(200)));
    server.resume().unwrap();
    assert!(speaks(port, Duration::from_secs(60)));
    server.restart().unwrap();
    assert!(speaks(port, Duration::from_secs(60)));
}

#[test]
fn redis_keeps_what_it_acknowledged() {
    let mut server = Redis::start().unwrap();
    let ask = |url: &str, commands: &[&str]| {
        let (password, rest) = url
            .strip_prefix("redis://:")
            .unwrap()
            .split_once('@')
            .unwrap();
        let port = rest.strip_prefix("127.0.0.1:").unwrap();
        let port = port.strip_suffix("/0").unwrap().parse().unwrap();
        let mut stream = connect(port).unwrap();
        write!(stream, "AUTH {password}\r\n{}\r\n", commands.join("\r\n")).unwrap();
        let answers = BufReader::new(stream).lines().map(Result::unwrap);
        answers.take(commands.len() + 1).collect::<Vec<_>>()
    };
    assert_eq!(ask(&server.url(), &["SET a b"]), ["+OK", "+OK"]);
    server.restart().unwrap();
    assert_eq!(ask(&server.url(), &["GET a"]), ["+OK", "$1"]);
}

#[test]
fn mail_is_kept_with_its_envelope() {
    let server = Smtp::start().unwrap();
    assert_eq!(server.delivered().unwrap(), []);
    let mut stream = connect(server.port()).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
    for line in [
        "HELO test",
        "MAIL FROM:<a@example.com>",
        "RCPT TO:<b@example.com>",
        "RCPT TO:<c@example.org>",
        "DATA",
        "Subject: s\r\nX-RcptTo: forged@example.com\r\n\r\nHello\r\n.",
        "QUIT",
    ] {
        let answer = answers.next().unwrap().unwrap();
        assert!(
            answer.starts_with('2') || answer.starts_with('3'),
            "{answer}"
        );
        write!(stream, "{line}\r\n").unwrap();
    }
    answers.next().unwrap().unwrap();
    let mail = server.delivered().unwrap();
    assert_eq!(mail.len(), 1, "{mail:?}");
    assert_eq!(mail[0].from, "a@example.com");
    assert_eq!(mail[0].to, ["b@example.com", "c@example.org"]);
    assert!(mail[0].content.contains("\n\nHello"), "{mail:?}");
}
