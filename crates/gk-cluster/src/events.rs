//! Events of all hosts in one order: a stream of Redis.
//!
//! Publishing is one script: it gives the event an id, microseconds since 1970 by Redis' clock and
//! later than every id before, and appends it to the stream. Each host reads the stream and delivers
//! what is in it, also what it has published itself. An entry carries the id of the one before it: a
//! host that finds another one has missed events, and tells its subscribers so.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use gk_services::events::{Bus, Events, NotPublished, Published};
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamId, StreamRangeReply, StreamReadOptions, StreamReadReply};
use redis::{AsyncCommands, RedisError, Script, from_redis_value_ref};
use tokio::time::{sleep, timeout};

use crate::redis::{ANSWER_TIMEOUT, Redis, Unanswered};

/// The stream of all events.
const STREAM: &str = "gk:cluster:events";

/// The key of its newest id.
const NEWEST: &str = "gk:cluster:events:newest";

/// Number of events that the stream keeps, about: a host that is further behind has missed some. With
/// events of the largest size 256 MiB.
pub const STREAM_MAX: usize = 4096;

/// Maximum number of events that are read at once.
const PAGE: usize = 256;

/// Maximum time that Redis holds back the answer if there is no event.
const BLOCK: Duration = Duration::from_secs(1);

/// Time before the next attempt after the stream could not be read.
const RETRY: Duration = Duration::from_millis(500);

/// Number of events that are remembered as delivered here without being known to be in the stream, and
/// the other way round.
const REMEMBERED_MAX: usize = 4096;

/// Appends an event. KEYS: the stream, its newest id. ARGV: an id that the new one is later than,
/// number of events to keep, plugin, channel, type, data, the publisher's number.
const PUBLISH: &str = "
local time = redis.call('TIME')
local before = redis.call('GET', KEYS[2]) or '0'
local id = math.max(time[1] * 1000000 + time[2], tonumber(before) + 1, tonumber(ARGV[1]) + 1)
local text = string.format('%.0f', id)
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], text .. '-0',
    'b', before, 'p', ARGV[3], 'c', ARGV[4], 't', ARGV[5], 'd', ARGV[6], 'n', ARGV[7])
redis.call('SET', KEYS[2], text)
return text";

/// The events of all hosts.
#[derive(Debug)]
pub struct SharedEvents {
    redis: Arc<Redis>,
    publish: Script,
    /// Id of the last entry that was read.
    newest: AtomicU64,
    seen: Mutex<Seen>,
}

/// What tells events of this host apart whose answer was lost, by the publisher's numbers.
#[derive(Debug, Default)]
struct Seen {
    /// Events that were delivered here alone, and may be in the stream all the same.
    doubted: VecDeque<u64>,
    /// Events that have come by the stream, and their ids.
    delivered: VecDeque<(u64, u64)>,
}

/// An entry of the stream.
struct Entry {
    id: u64,
    before: u64,
    number: u64,
    plugin: String,
    channel: String,
    event_type: String,
    data: String,
}

impl SharedEvents {
    /// Connects the events of this host to those of the others: what is published from now on goes to
    /// all. While Redis cannot be reached, events are this host's alone.
    pub fn connect(redis: Arc<Redis>, events: &Events) -> Arc<Self> {
        let shared = Arc::new(Self {
            redis,
            publish: Script::new(PUBLISH),
            newest: AtomicU64::new(0),
            seen: Mutex::default(),
        });
        events.connect(Arc::clone(&shared) as _);
        shared
    }

    /// Delivers what comes from all hosts. Runs until it is dropped. Who has subscribed before the
    /// stream was read for the first time is told to subscribe again.
    pub async fn follow(&self, events: &Events) {
        let mut known = None;
        loop {
            if let Err(error) = self.read(events, &mut known).await {
                tracing::debug!(kind = ?error.kind(), "the stream of events cannot be read");
            }
            sleep(RETRY).await;
        }
    }

    /// Reads the stream from where it was left, until it fails.
    async fn read(&self, events: &Events, known: &mut Option<u64>) -> Result<(), RedisError> {
        let mut connection = self.redis.own_connection().await?;
        if known.is_none() {
            // What was published before this host started is there for those who come from others.
            let since = within(first(&mut connection)).await?;
            events.heard_since(since);
            *known = Some(since);
        }
        let options = StreamReadOptions::default().count(PAGE);
        let block = usize::try_from(BLOCK.as_millis()).unwrap_or(usize::MAX);
        let options = options.block(block);
        loop {
            let last = known.unwrap_or_default();
            let from = format!("{last}-0");
            let from = [from.as_str()];
            let answer = connection.xread_options(&[STREAM], &from, &options);
            let answer: Option<StreamReadReply> = within(answer).await?;
            let keys = answer.into_iter().flat_map(|answer| answer.keys);
            for entry in keys.flat_map(|key| key.ids).filter_map(|id| entry(&id)) {
                self.deliver(events, &entry, known);
            }
        }
    }

    fn deliver(&self, events: &Events, entry: &Entry, known: &mut Option<u64>) {
        let last = known.unwrap_or(entry.before);
        if last != entry.before {
            tracing::warn!("events of other hosts were missed; their subscribers are told");
            metrics::counter!("gk_cluster_events_missed_total").increment(1);
            // Redis may have lost its memory, and name none before.
            events.lost(last.max(entry.before));
        }
        *known = Some(entry.id);
        self.newest.store(entry.id, Ordering::Relaxed);
        {
            let mut seen = self.seen.lock();
            let place = seen
                .doubted
                .iter()
                .position(|number| *number == entry.number);
            if let Some(place) = place {
                seen.doubted.remove(place);
                return;
            }
            seen.delivered.push_back((entry.number, entry.id));
            if seen.delivered.len() > REMEMBERED_MAX {
                seen.delivered.pop_front();
            }
        }
        let event = Published {
            plugin: &entry.plugin,
            channel: &entry.channel,
            event_type: &entry.event_type,
            data: &entry.data,
            after: 0,
        };
        events.deliver(entry.id, &event);
    }
}

/// Returns the id of the entry before the first one in the stream; without an entry that of the newest
/// event.
async fn first(connection: &mut MultiplexedConnection) -> Result<u64, RedisError> {
    let first: StreamRangeReply = connection.xrange_count(STREAM, "-", "+", 1).await?;
    match first.ids.first().and_then(entry) {
        Some(first) => Ok(first.before),
        None => {
            let newest: Option<u64> = connection.get(NEWEST).await?;
            Ok(newest.unwrap_or(0))
        }
    }
}

/// Waits for an answer for as long as Redis may hold it back, and a little more.
async fn within<T>(answer: impl Future<Output = Result<T, RedisError>>) -> Result<T, RedisError> {
    let late = |_| RedisError::from((redis::ErrorKind::Io, "no answer in time"));
    let answer = timeout(BLOCK + ANSWER_TIMEOUT, answer).await;
    answer.map_err(late)?
}

/// Reads an entry; `None` for one that no host has written.
fn entry(id: &StreamId) -> Option<Entry> {
    let text = |name: &str| -> Option<String> { from_redis_value_ref(id.map.get(name)?).ok() };
    Some(Entry {
        id: id.id.split('-').next()?.parse().ok()?,
        before: text("b")?.parse().ok()?,
        number: text("n")?.parse().ok()?,
        plugin: text("p")?,
        channel: text("c")?,
        event_type: text("t")?,
        data: text("d")?,
    })
}

#[async_trait]
impl Bus for SharedEvents {
    async fn publish(&self, event: Published<'_>) -> Result<u64, NotPublished> {
        let number = getrandom::u64().map_err(|_| NotPublished)?;
        let mut script = self.publish.prepare_invoke();
        script
            .key(STREAM)
            .key(NEWEST)
            .arg(event.after.max(self.newest()))
            .arg(STREAM_MAX)
            .arg(event.plugin)
            .arg(event.channel)
            .arg(event.event_type)
            .arg(event.data)
            .arg(number);
        let published: Result<String, Unanswered> = self.redis.run(&script).await;
        let unanswered = match published {
            Ok(id) => return id.parse().map_err(|_| NotPublished),
            Err(unanswered) => unanswered,
        };
        if unanswered == Unanswered::InDoubt {
            let mut seen = self.seen.lock();
            // It may have come already.
            let came = seen
                .delivered
                .iter()
                .rev()
                .find(|(known, _)| *known == number);
            if let Some((_, id)) = came {
                return Ok(*id);
            }
            seen.doubted.push_back(number);
            if seen.doubted.len() > REMEMBERED_MAX {
                seen.doubted.pop_front();
            }
        }
        metrics::counter!("gk_cluster_events_alone_total").increment(1);
        Err(NotPublished)
    }

    fn newest(&self) -> u64 {
        self.newest.load(Ordering::Relaxed)
    }
}
