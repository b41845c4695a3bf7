//! The channels of one plugin.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use gk_hostapi::HostError;

use super::queue::Sender;
use super::{CHANNELS_MAX, Event, PLUGIN_REPLAY_BYTES_MAX, REPLAY_BYTES_MAX, REPLAY_EVENTS_MAX};

#[derive(Default)]
pub(super) struct Plugin {
    pub(super) channels: HashMap<Box<str>, Channel>,
    pub(super) subscribers: usize,
    pub(super) replay_bytes: usize,
    pub(super) last_id: u64,
    /// Id up to which nothing of the plugin is kept.
    pub(super) forgotten: u64,
}

#[derive(Default)]
pub(super) struct Channel {
    pub(super) replay: VecDeque<Arc<Event>>,
    pub(super) replay_bytes: usize,
    pub(super) subscribers: Vec<Subscriber>,
    /// Id of the last event that is no longer kept.
    pub(super) forgotten: u64,
    /// Id of the plugin's newest event when this channel was last used.
    pub(super) used: u64,
}

pub(super) struct Subscriber {
    pub(super) number: u64,
    /// Id of the last event that the subscriber has.
    pub(super) after: u64,
    pub(super) queue: Sender,
}

impl Plugin {
    /// Ids begin at the clock's microseconds, so that they go on growing after a restart.
    pub(super) fn next_id(&mut self) -> u64 {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = u64::try_from(now.as_micros()).unwrap_or(0);
        self.last_id = now.max(self.last_id + 1);
        self.last_id
    }

    /// An id after this one and after every id before.
    pub(super) fn id_after(&mut self, id: u64) -> u64 {
        self.last_id = self.last_id.max(id) + 1;
        self.last_id
    }

    /// The channel; it is there after [`make_room`](Self::make_room).
    pub(super) fn channel(&mut self, name: &str) -> &mut Channel {
        let used = self.last_id;
        let forgotten = self.forgotten;
        let channel = self
            .channels
            .entry(Box::from(name))
            .or_insert_with(|| Channel {
                forgotten,
                ..Channel::default()
            });
        channel.used = used;
        channel
    }

    /// Forgets a channel's events up to this one; those who subscribe to it have lagged.
    pub(super) fn lose(&mut self, name: &str, up_to: u64) {
        let Some(channel) = self.channels.get_mut(name) else {
            self.forgotten = self.forgotten.max(up_to);
            return;
        };
        self.replay_bytes -= channel.replay_bytes;
        channel.forget_all();
        channel.forgotten = channel.forgotten.max(up_to);
        self.subscribers -= channel.subscribers.len();
        for subscriber in channel.subscribers.drain(..) {
            subscriber.queue.lag();
        }
    }

    /// As [`lose`](Self::lose), of all channels.
    pub(super) fn lose_all(&mut self, up_to: u64) {
        self.forgotten = self.forgotten.max(up_to);
        self.last_id = self.last_id.max(up_to);
        let names: Vec<_> = self.channels.keys().cloned().collect();
        for name in names {
            self.lose(&name, up_to);
        }
    }

    pub(super) fn make_room(&mut self, name: &str) -> Result<(), HostError> {
        if self.channels.contains_key(name) || self.channels.len() < CHANNELS_MAX {
            return Ok(());
        }
        let idle = self.quietest(name).ok_or_else(|| {
            HostError::limit(format!(
                "there are {CHANNELS_MAX} channels with subscribers; no more are possible"
            ))
        })?;
        if let Some(channel) = self.channels.remove(&idle) {
            self.replay_bytes -= channel.replay_bytes;
        }
        Ok(())
    }

    /// The channel that was quiet for longest and has no subscribers.
    pub(super) fn quietest(&self, but: &str) -> Option<Box<str>> {
        self.channels
            .iter()
            .filter(|(name, channel)| channel.subscribers.is_empty() && ***name != *but)
            .min_by_key(|(_, channel)| channel.used)
            .map(|(name, _)| name.clone())
    }

    /// Forgets events until all that are kept fit, those of quiet channels first.
    pub(super) fn trim(&mut self, newest: &str) {
        while self.replay_bytes > PLUGIN_REPLAY_BYTES_MAX {
            let holding = self
                .channels
                .iter_mut()
                .filter(|(name, channel)| channel.replay_bytes > 0 && ***name != *newest);
            let Some((_, channel)) = holding.min_by_key(|(_, channel)| channel.used) else {
                return;
            };
            self.replay_bytes -= channel.replay_bytes;
            channel.forget_all();
        }
    }
}

impl Channel {
    /// Keeps an event for replay, and says by how many bytes what is kept has grown.
    pub(super) fn keep(&mut self, event: Arc<Event>) -> isize {
        let before = self.replay_bytes;
        self.replay_bytes += event.data.len();
        self.replay.push_back(event);
        while self.replay.len() > REPLAY_EVENTS_MAX || self.replay_bytes > REPLAY_BYTES_MAX {
            let Some(oldest) = self.replay.pop_front() else {
                break;
            };
            self.replay_bytes -= oldest.data.len();
            self.forgotten = oldest.id;
        }
        self.replay_bytes.cast_signed() - before.cast_signed()
    }

    pub(super) fn forget_all(&mut self) {
        if let Some(newest) = self.replay.back() {
            self.forgotten = newest.id;
        }
        self.replay.clear();
        self.replay_bytes = 0;
    }
}
