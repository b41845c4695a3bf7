//! Events that plugins publish and browsers subscribe to.
//!
//! A broker in memory: what is published while nobody listens is kept for a short replay and then
//! gone. It knows no HTTP; [`frame()`] is a pure function for whoever does.
//!
//! Several hosts have one order of events by a [`Bus`]: what is published goes to it, and each host
//! delivers what comes from it, so that a subscriber finds on one host what it has missed on another.

mod bus;
mod frame;
mod methods;
mod plugin;
mod queue;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use gk_hostapi::HostError;
use gk_manifest::PluginName;
use parking_lot::Mutex;
use serde_json::Value;

pub use self::bus::{Bus, NotPublished, Published};
pub use self::frame::frame;
pub(crate) use self::methods::METHODS;
use self::plugin::{Channel, Plugin, Subscriber};
use self::queue::Receiver;

/// Longest name of a channel, in bytes. The empty name is a channel like others.
pub const CHANNEL_BYTES_MAX: usize = 128;
/// Longest type of an event, in bytes; letters, digits, `.`, `_`, `:` and `-`.
pub const EVENT_TYPE_BYTES_MAX: usize = 64;
/// Most data of an event, in bytes.
pub const EVENT_BYTES_MAX: usize = 64 * 1024;
/// Subscribers of a plugin, in all its channels.
pub const SUBSCRIBERS_MAX: usize = 1024;
/// Channels of a plugin. One more takes the place of the one that was quiet for longest and has no
/// subscribers. As many as subscribers: whoever listens on many channels leaves others theirs.
pub const CHANNELS_MAX: usize = SUBSCRIBERS_MAX;
/// Events that wait for a subscriber; one more, and the subscriber is told that it lagged.
pub const QUEUE_MAX: usize = 64;
/// Most bytes of data that wait for a subscriber; more, and it lagged. A single event may have
/// more.
pub const QUEUE_BYTES_MAX: usize = 256 * 1024;
/// Most events a channel keeps for those who subscribe again.
pub const REPLAY_EVENTS_MAX: usize = 64;
/// Most bytes of data of the events a channel keeps.
pub const REPLAY_BYTES_MAX: usize = 256 * 1024;
/// Most bytes of data that all channels of a plugin keep; then the longest quiet forget first.
pub const PLUGIN_REPLAY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Most bytes of data that the events of all plugins keep. Beyond it the plugin that keeps most for
/// replay forgets that first; if it is not enough, nothing more can be published.
pub const ALL_BYTES_MAX: usize = 64 * 1024 * 1024;

/// An event as it was published.
#[derive(Debug)]
pub struct Event {
    id: u64,
    event_type: Box<str>,
    data: Box<str>,
    /// The counter of bytes that the event is part of until it is dropped.
    held: Arc<AtomicUsize>,
}

impl Drop for Event {
    fn drop(&mut self) {
        self.held.fetch_sub(self.data.len(), Ordering::Relaxed);
    }
}

impl Event {
    fn new(id: u64, event_type: &str, data: &str, held: &Arc<AtomicUsize>) -> Self {
        held.fetch_add(data.len(), Ordering::Relaxed);
        Self {
            id,
            event_type: Box::from(event_type),
            data: Box::from(data),
            held: Arc::clone(held),
        }
    }

    /// Grows from event to event of a plugin, also over a restart of the host.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The event's type, in the plugin's words.
    #[must_use]
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// The data as text: a JSON string is its content, as upstream sends it; anything else is JSON.
    #[must_use]
    pub fn data(&self) -> &str {
        &self.data
    }
}

/// The next thing that a subscriber gets.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// An event.
    Event(Arc<Event>),
    /// Events were lost: more than [`QUEUE_MAX`], or [`QUEUE_BYTES_MAX`], waited, or the replay did
    /// not reach back far enough. Comes first if it is for the replay; else it is the last but
    /// [`Closed`](Self::Closed), and the subscriber subscribes again with the id of the last event
    /// it has.
    Lagged,
    /// The plugin is gone, or the subscriber lagged. Nothing comes after it.
    Closed,
}

/// The service.
#[derive(Default)]
pub struct Events {
    plugins: Mutex<HashMap<PluginName, Plugin>>,
    /// Numbers subscriptions.
    next: AtomicU64,
    /// Bytes of data of all events that are kept or wait.
    held: Arc<AtomicUsize>,
    /// How several hosts have one order of events.
    bus: OnceLock<Arc<dyn Bus>>,
    /// Id of the last event before the first one that this host has heard of by the bus.
    heard_since: AtomicU64,
}

impl Events {
    /// A broker without channels.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Publishes to those who subscribe to this channel of this plugin, on all hosts that share a bus,
    /// and returns the event's id. It never waits for them. While the bus cannot be reached, events
    /// are this host's alone.
    ///
    /// # Errors
    /// Invalid: the type, or the channel's name. Limit: [`EVENT_BYTES_MAX`]; [`CHANNELS_MAX`], all
    /// of them with subscribers; [`ALL_BYTES_MAX`].
    pub async fn publish(
        &self,
        plugin: &PluginName,
        channel: &str,
        event_type: &str,
        data: &Value,
    ) -> Result<u64, HostError> {
        check_channel(channel)?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
        if event_type.is_empty()
            || event_type.len() > EVENT_TYPE_BYTES_MAX
            || !event_type.bytes().all(plain)
        {
            return Err(HostError::invalid(format!(
                "an event's type is made of 1 to {EVENT_TYPE_BYTES_MAX} letters, digits, `.`, \
                 `_`, `:` and `-`"
            )));
        }
        let encoded;
        let data = match data {
            Value::String(text) => text.as_str(),
            other => {
                encoded = other.to_string();
                &encoded
            }
        };
        if data.len() > EVENT_BYTES_MAX {
            return Err(HostError::limit(format!(
                "an event's data has at most {EVENT_BYTES_MAX} bytes, not {}",
                data.len()
            )));
        }
        if let Some(bus) = self.bus.get() {
            let event = Published {
                plugin: plugin.as_str(),
                channel,
                event_type,
                data,
                after: self.newest(plugin),
            };
            // Otherwise the bus has said in the host's log why not.
            if let Ok(id) = bus.publish(event).await {
                return Ok(id);
            }
        }
        let mut plugins = self.plugins.lock();
        self.make_room(&mut plugins, data.len())?;
        let plugin = plugins.entry(plugin.clone()).or_default();
        let id = match self.bus.get() {
            // By the bus' order, and not by this host's clock: what comes by it next is later.
            Some(bus) => plugin.id_after(bus.newest()),
            None => plugin.next_id(),
        };
        self.put(plugin, channel, id, event_type, data);
        Ok(id)
    }

    /// Delivers an event that has come by the bus to those who subscribe here. Ids grow from event to
    /// event.
    pub fn deliver(&self, id: u64, event: &Published<'_>) {
        let Ok(name) = PluginName::new(event.plugin) else {
            return;
        };
        let mut plugins = self.plugins.lock();
        let has_room = self.make_room(&mut plugins, event.data.len()).is_ok();
        let plugin = plugins.entry(name).or_default();
        plugin.last_id = plugin.last_id.max(id);
        match has_room {
            true => self.put(plugin, event.channel, id, event.event_type, event.data),
            // Who subscribes to the channel is told.
            false => plugin.lose(event.channel, id),
        }
    }

    /// Takes note that the first event that will be delivered comes after this one.
    pub fn heard_since(&self, id: u64) {
        self.heard_since.store(id, Ordering::Relaxed);
        self.lost(id);
    }

    /// Takes note that events up to this one have come by the bus unheard: those who subscribe are
    /// told that they lagged.
    pub fn lost(&self, up_to: u64) {
        self.heard_since.fetch_max(up_to, Ordering::Relaxed);
        for plugin in self.plugins.lock().values_mut() {
            plugin.lose_all(up_to);
        }
    }

    /// Publishes by this bus from now on. Nothing counts as heard before
    /// [`heard_since`](Self::heard_since) says so. The first bus counts.
    pub fn connect(&self, bus: Arc<dyn Bus>) {
        self.heard_since.store(u64::MAX, Ordering::Relaxed);
        let _ = self.bus.set(bus);
    }

    /// Id of a plugin's newest event here.
    fn newest(&self, plugin: &PluginName) -> u64 {
        let plugins = self.plugins.lock();
        plugins.get(plugin).map_or(0, |plugin| plugin.last_id)
    }

    /// Gives an event to those who subscribe, and keeps it for those who will.
    fn put(&self, plugin: &mut Plugin, channel: &str, id: u64, event_type: &str, data: &str) {
        // Without a channel there is no subscriber, and without room none that remembers: nobody
        // loses anything by it.
        if plugin.make_room(channel).is_err() {
            return;
        }
        let event = Arc::new(Event::new(id, event_type, data, &self.held));
        let entry = plugin.channel(channel);
        let before = entry.subscribers.len();
        entry
            .subscribers
            .retain(|subscriber| id <= subscriber.after || subscriber.queue.give(&event));
        let gone = before - entry.subscribers.len();
        let more = entry.keep(event);
        plugin.subscribers -= gone;
        plugin.replay_bytes = plugin.replay_bytes.saturating_add_signed(more);
        plugin.trim(channel);
    }

    /// Subscribes to a channel of a plugin, exactly this one. With the id of the last event that
    /// the subscriber has, those that came after it are delivered first.
    ///
    /// # Errors
    /// Invalid: the channel's name. Limit: [`SUBSCRIBERS_MAX`], [`CHANNELS_MAX`].
    pub fn subscribe(
        self: &Arc<Self>,
        plugin: &PluginName,
        channel: &str,
        last_event_id: Option<u64>,
    ) -> Result<Subscription, HostError> {
        check_channel(channel)?;
        let mut plugins = self.plugins.lock();
        let entry = plugins.entry(plugin.clone()).or_default();
        if entry.subscribers >= SUBSCRIBERS_MAX {
            return Err(HostError::limit(format!(
                "plugin \"{plugin}\" has {SUBSCRIBERS_MAX} subscribers; try again later"
            )));
        }
        entry.make_room(channel)?;
        entry.subscribers += 1;
        let newest = entry.last_id;
        let state = entry.channel(channel);
        let mut first = VecDeque::new();
        let has_bus = self.bus.get().is_some();
        if let Some(last) = last_event_id {
            // Without a bus an id of the future is none of this host's; what it has is all there is
            // to say. With one the event is on its way.
            let last = match last > newest && !has_bus {
                true => 0,
                false => last,
            };
            let unheard = match has_bus {
                true => self.heard_since.load(Ordering::Relaxed),
                false => 0,
            };
            if last < state.forgotten.max(unheard) {
                first.push_back(Delivery::Lagged);
            }
            let missed = state.replay.iter().filter(|event| event.id > last);
            first.extend(missed.cloned().map(Delivery::Event));
        }
        let (queue, receiver) = queue::queue();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let after = last_event_id.filter(|_| has_bus).unwrap_or_default();
        state.subscribers.push(Subscriber {
            number,
            after,
            queue,
        });
        Ok(Subscription {
            events: Arc::clone(self),
            plugin: plugin.clone(),
            channel: Box::from(channel),
            number,
            first,
            queue: receiver,
        })
    }

    /// Closes all subscriptions of a plugin that is unloaded, and forgets its events.
    pub fn close(&self, plugin: &PluginName) {
        let mut plugins = self.plugins.lock();
        let Some(closed) = plugins.remove(plugin) else {
            return;
        };
        // With a bus the plugin may go on elsewhere: who subscribes again has missed what was.
        if self.bus.get().is_some() {
            let anew = Plugin {
                last_id: closed.last_id,
                forgotten: closed.last_id,
                ..Plugin::default()
            };
            plugins.insert(plugin.clone(), anew);
        }
    }

    /// How many subscribers a plugin has.
    #[must_use]
    pub fn subscribers(&self, plugin: &PluginName) -> usize {
        let plugins = self.plugins.lock();
        plugins.get(plugin).map_or(0, |plugin| plugin.subscribers)
    }

    /// Sees to it that so many more bytes can be kept.
    fn make_room(
        &self,
        plugins: &mut HashMap<PluginName, Plugin>,
        bytes: usize,
    ) -> Result<(), HostError> {
        let fits = || self.held.load(Ordering::Relaxed) + bytes <= ALL_BYTES_MAX;
        while !fits() {
            let most = plugins
                .values_mut()
                .max_by_key(|plugin| plugin.replay_bytes);
            let Some(plugin) = most.filter(|plugin| plugin.replay_bytes > 0) else {
                return Err(HostError::limit(format!(
                    "the events of all plugins hold {ALL_BYTES_MAX} bytes until their subscribers take them; try again later"
                )));
            };
            plugin.channels.values_mut().for_each(Channel::forget_all);
            plugin.replay_bytes = 0;
        }
        Ok(())
    }

    fn unsubscribe(&self, plugin: &PluginName, channel: &str, number: u64) {
        let mut plugins = self.plugins.lock();
        let Some(plugin) = plugins.get_mut(plugin) else {
            return;
        };
        let Some(state) = plugin.channels.get_mut(channel) else {
            return;
        };
        // The subscriber may be gone already: it lagged, or the plugin was closed and opened again.
        if let Some(at) = state.subscribers.iter().position(|s| s.number == number) {
            state.subscribers.swap_remove(at);
            plugin.subscribers -= 1;
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.plugins.lock().keys()).finish()
    }
}

/// A subscription. Dropping it unsubscribes.
pub struct Subscription {
    events: Arc<Events>,
    plugin: PluginName,
    channel: Box<str>,
    number: u64,
    first: VecDeque<Delivery>,
    queue: Receiver,
}

impl Subscription {
    /// Waits for what comes next. If the wait is given up, nothing is lost.
    pub async fn next(&mut self) -> Delivery {
        if let Some(delivery) = self.first.pop_front() {
            return delivery;
        }
        self.queue.next().await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.events
            .unsubscribe(&self.plugin, &self.channel, self.number);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("plugin", &self.plugin)
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

fn check_channel(name: &str) -> Result<(), HostError> {
    if name.len() > CHANNEL_BYTES_MAX || name.contains(char::is_control) {
        return Err(HostError::invalid(format!(
            "a channel's name has at most {CHANNEL_BYTES_MAX} bytes and no control characters"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
