//! Events that are published on all hosts, and readers who go from one to another.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::Shared;
use crate::DEADLINE;
use crate::host::Host;

const CHANNELS: usize = 8;

/// Events of a channel; of all channels 20,000.
const EVENTS: usize = 2500;

/// Number of events by which a publisher may be ahead of its reader: a host keeps 64 for those who
/// come back.
const AHEAD: usize = 32;

/// A reader of one channel.
struct Reader {
    stream: Option<BufReader<TcpStream>>,
    last: Option<String>,
}

impl Reader {
    fn connect(&mut self, host: &Host, channel: usize) {
        let address = host.address();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let last = self.last.as_ref();
        let last = last.map_or(String::new(), |last| format!("Last-Event-ID: {last}\r\n"));
        let token = host.admin_token();
        write!(
            stream,
            "GET /api/v1/plugins/gen3/events/c{channel} HTTP/1.1\r\nHost: {address}\r\n\
             Authorization: Bearer {token}\r\n{last}\r\n",
        )
        .unwrap();
        self.stream = Some(BufReader::new(stream));
        assert_eq!(self.next(), ("connected".to_owned(), None));
    }

    /// The next event's type, and its data if it is a number.
    fn next(&mut self) -> (String, Option<usize>) {
        let stream = self.stream.as_mut().unwrap();
        let (mut event, mut id) = (String::new(), None);
        loop {
            let mut line = String::new();
            assert!(
                stream.read_line(&mut line).unwrap() > 0,
                "the stream has ended"
            );
            let line = line.trim_end();
            if let Some(name) = line.strip_prefix("event: ") {
                name.clone_into(&mut event);
            } else if let Some(text) = line.strip_prefix("id: ") {
                id = Some(text.to_owned());
            } else if let Some(data) = line.strip_prefix("data: ") {
                self.last = id.or(self.last.take());
                return (event, data.parse().ok());
            }
        }
    }
}

#[test]
fn of_20_000_events_none_is_lost_or_comes_twice_to_readers_who_move() {
    let shared = Shared::new();
    let host = |name| Arc::new(shared.host(name).plugin("gen3", "gen3").settled());
    let hosts: Arc<Vec<_>> = Arc::new(["a", "b", "c"].map(host).into());
    let mut working = Vec::new();
    for channel in 0..CHANNELS {
        let read = Arc::new(AtomicUsize::new(0));
        let mut reader = Reader {
            stream: None,
            last: None,
        };
        reader.connect(&hosts[channel % 3], channel);
        let (publishing, progress) = (Arc::clone(&hosts), Arc::clone(&read));
        working.push(std::thread::spawn(move || {
            for number in 0..EVENTS {
                while number > progress.load(Ordering::SeqCst) + AHEAD {
                    std::thread::yield_now();
                }
                let event = json!({ "method": "publish_event", "args": {
                    "channel": format!("c{channel}"), "event_type": "n", "data": number,
                }});
                let host = &publishing[(number + channel) % 3];
                host.function("gen3", "ask_host", &event).expect(200);
            }
        }));
        let reading = Arc::clone(&hosts);
        working.push(std::thread::spawn(move || {
            for number in 0..EVENTS {
                let next = reader.next();
                assert_eq!(next, ("n".to_owned(), Some(number)), "channel {channel}");
                read.store(number, Ordering::SeqCst);
                if number % 100 == 99 {
                    reader.connect(&reading[(number / 100 + channel) % 3], channel);
                }
            }
        }));
    }
    for done in working {
        done.join().unwrap();
    }
}
