//! The cost of the session, in and out, and a whole call through two connections in memory.

use std::hint::black_box;
use std::io::IoSlice;
use std::time::Instant;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gk_wire::connection::{Connection, Event, Input};
use gk_wire::gob::Payload;
use gk_wire::yamux::{Flags, Header, Kind, Limits, Role, Session};

/// A session with one stream that the peer has opened.
fn session(now: Instant) -> (Session, u32) {
    let mut session = Session::new(Role::Server, Limits::default(), now);
    let syn = Header {
        kind: Kind::WindowUpdate,
        flags: Flags::SYN,
        stream: 1,
        length: 0,
    };
    session.received(syn, now).expect("a good frame");
    session.accept(1);
    (session, 1)
}

/// Hands everything that is queued to a writer that takes all of it.
fn write(session: &mut Session) -> usize {
    let mut written = 0;
    while let Some(mut batch) = session.out().begin() {
        while !batch.is_done() {
            let mut slices = [IoSlice::new(&[]); 16];
            let count = batch.slices(&mut slices);
            let bytes = slices.iter().take(count).map(|slice| slice.len()).sum();
            batch.advance(black_box(bytes));
            written += bytes;
        }
        session.out().end(batch);
    }
    written
}

fn sessions(criterion: &mut Criterion) {
    let now = Instant::now();
    let mut group = criterion.benchmark_group("yamux");
    for (name, length) in [("100 bytes", 100_u32), ("64 KiB", 64 * 1024)] {
        group.throughput(Throughput::Bytes(u64::from(length)));
        let (mut incoming, stream) = session(now);
        let data = Header {
            kind: Kind::Data,
            flags: Flags::NONE,
            stream,
            length,
        };
        group.bench_function(format!("in, {name}"), |bencher| {
            bencher.iter(|| {
                let head = black_box(data.encode());
                let header = Header::decode(&head).expect("a good frame");
                let event = incoming.received(header, now).expect("within the window");
                incoming.consumed(stream, length);
                write(&mut incoming);
                event
            });
        });
        let (mut outgoing, stream) = session(now);
        let payload = Bytes::from(vec![7; length as usize]);
        let grant = Header {
            kind: Kind::WindowUpdate,
            flags: Flags::NONE,
            stream,
            length,
        };
        group.bench_function(format!("out, {name}"), |bencher| {
            bencher.iter(|| {
                outgoing.send_bytes(stream, black_box(payload.clone()));
                let written = write(&mut outgoing);
                outgoing.received(grant, now).expect("a good frame");
                written
            });
        });
    }
    group.finish();
}

type End = Connection<((), (), (), ())>;

/// Lets the bytes of one end come to the other one.
fn pass(from: &mut End, to: &mut End, now: Instant, buffer: &mut Vec<u8>) {
    buffer.clear();
    from.transmit_into(buffer);
    let input = Input::Bytes(Bytes::copy_from_slice(buffer));
    to.handle_input(now, input).expect("our own frames");
}

fn calls(criterion: &mut Criterion) {
    let now = Instant::now();
    let limits = gk_wire::Limits::default;
    let (mut host, streams) = End::host(limits(), now).expect("a new session");
    let mut plugin = End::plugin(limits(), now);
    plugin.serve_control((), [(), ()]);
    let mut buffer = Vec::new();
    let mut group = criterion.benchmark_group("connection");
    for (name, length) in [("64 bytes", 64), ("64 KiB", 64 * 1024)] {
        let payload = Payload(vec![7; length].into());
        group.bench_function(format!("call and reply of {name}"), |bencher| {
            bencher.iter(|| {
                host.call(streams.control, "Control.Echo", &payload, ())
                    .expect("room for one call");
                pass(&mut host, &mut plugin, now, &mut buffer);
                while let Some(event) = plugin.poll_event() {
                    if let Event::Request { call, body, .. } = event {
                        let payload: Payload = body.decode().expect("a payload");
                        plugin.reply(call, "", &payload).expect("room for a reply");
                    }
                }
                pass(&mut plugin, &mut host, now, &mut buffer);
                host.poll_event()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, sessions, calls);
criterion_main!(benches);
