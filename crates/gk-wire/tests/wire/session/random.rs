//! Two sessions, whatever they do in whatever order: what is sent arrives, whole and in order.

use super::*;

/// One of two ends that are connected by bytes in flight.
struct End {
    session: Session,
    /// Bytes that the peer has sent, and that have arrived.
    incoming: Vec<u8>,
    sent: HashMap<u32, Vec<u8>>,
    got: HashMap<u32, Vec<u8>>,
    finished: Vec<u32>,
    closed: Vec<u32>,
    streams: Vec<u32>,
    unread: HashMap<u32, u32>,
}

impl End {
    fn new(role: Role, now: Instant) -> Self {
        End {
            session: Session::new(role, Limits::default(), now),
            incoming: Vec::new(),
            sent: HashMap::new(),
            got: HashMap::new(),
            finished: Vec::new(),
            closed: Vec::new(),
            streams: Vec::new(),
            unread: HashMap::new(),
        }
    }

    fn take_frames(&mut self, now: Instant) {
        let bytes = std::mem::take(&mut self.incoming);
        let mut rest = &bytes[..];
        while let Some((head, after)) = rest.split_first_chunk() {
            let header = Header::decode(head).unwrap();
            let event = self.session.received(header, now).unwrap();
            rest = after;
            match event {
                Event::Data {
                    stream,
                    length,
                    fin,
                    ..
                } => {
                    let (data, after) = rest.split_at(length as usize);
                    rest = after;
                    self.got.entry(stream).or_default().extend(data);
                    *self.unread.entry(stream).or_default() += length;
                    self.finished.extend(fin.then_some(stream));
                }
                Event::Stream {
                    stream,
                    opened,
                    fin,
                    ..
                } => {
                    if opened {
                        self.session.accept(stream);
                        self.streams.push(stream);
                    }
                    self.finished.extend(fin.then_some(stream));
                }
                _ => {}
            }
        }
        assert!(rest.is_empty());
    }
}

#[derive(Debug, Clone)]
enum Step {
    Open,
    Send { stream: usize, length: usize },
    Close { stream: usize },
    Read { stream: usize },
    Deliver,
}

fn steps() -> impl Strategy<Value = Vec<(bool, Step)>> {
    let step = prop_oneof![
        2 => Just(Step::Open),
        6 => (0_usize..8, prop_oneof![0_usize..200, 30_000_usize..400_000])
            .prop_map(|(stream, length)| Step::Send { stream, length }),
        1 => (0_usize..8).prop_map(|stream| Step::Close { stream }),
        4 => (0_usize..8).prop_map(|stream| Step::Read { stream }),
        6 => Just(Step::Deliver),
    ];
    proptest::collection::vec((any::<bool>(), step), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever two sessions do with each other: every stream's bytes arrive, in order, and no
    /// window is overrun.
    #[test]
    fn streams_arrive_whole_and_in_order(steps in steps()) {
        let now = Instant::now();
        let mut ends = [End::new(Role::Client, now), End::new(Role::Server, now)];
        let deliver = |ends: &mut [End; 2], from: usize| {
            let bytes = written(&mut ends[from].session);
            ends[1 - from].incoming.extend(bytes);
            ends[1 - from].take_frames(now);
        };
        for (at, (first, step)) in steps.into_iter().enumerate() {
            let me = usize::from(!first);
            let end = &mut ends[me];
            let pick = |end: &End, index: usize| {
                (!end.streams.is_empty()).then(|| end.streams[index % end.streams.len()])
            };
            match step {
                Step::Open => {
                    let stream = end.session.open(now).unwrap();
                    end.streams.push(stream);
                }
                Step::Send { stream, length } => {
                    if let Some(stream) = pick(end, stream).filter(|stream| end.session.can_send(*stream)) {
                        let data: Vec<u8> = (0..length).map(|byte| u8::try_from((byte + at) % 256).unwrap()).collect();
                        end.sent.entry(stream).or_default().extend(&data);
                        end.session.send_bytes(stream, data.into());
                    }
                }
                Step::Close { stream } => {
                    if let Some(stream) = pick(end, stream).filter(|stream| end.session.can_send(*stream)) {
                        end.session.close(stream, now);
                        end.closed.push(stream);
                    }
                }
                Step::Read { stream } => {
                    if let Some(stream) = pick(end, stream) {
                        let count = end.unread.remove(&stream).unwrap_or(0);
                        end.session.consumed(stream, count);
                    }
                }
                Step::Deliver => deliver(&mut ends, me),
            }
        }
        // Everybody reads until nothing moves any more.
        for _ in 0..200 {
            for me in [0, 1] {
                let unread: Vec<_> = ends[me].unread.drain().collect();
                for (stream, count) in unread {
                    ends[me].session.consumed(stream, count);
                }
                deliver(&mut ends, me);
            }
        }
        for me in [0, 1] {
            for (stream, sent) in &ends[me].sent {
                let got = ends[1 - me].got.get(stream).map(Vec::as_slice).unwrap_or_default();
                prop_assert!(got == sent.as_slice(), "stream {}: {} of {} bytes", stream, got.len(), sent.len());
            }
            for stream in &ends[me].closed {
                prop_assert!(ends[1 - me].finished.contains(stream), "the end of stream {}", stream);
            }
            prop_assert_eq!(ends[me].session.queued_bytes(), 0);
        }
    }
}
