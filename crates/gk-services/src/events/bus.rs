//! How several hosts have one order of events.

use std::fmt;

use async_trait::async_trait;

/// An event that is published, or has come by the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published<'a> {
    /// The plugin whose event it is.
    pub plugin: &'a str,
    /// The channel.
    pub channel: &'a str,
    /// The type.
    pub event_type: &'a str,
    /// The data, as text.
    pub data: &'a str,
    /// Id of the newest event of the plugin on the host that publishes: the new one is later.
    pub after: u64,
}

/// The bus could not be reached. The event is to be delivered on this host alone; the bus brings it no
/// more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotPublished;

/// Carries events to all hosts, in one order. What comes by it goes to
/// [`Events::deliver`](super::Events::deliver), also on the host that has published it.
#[async_trait]
pub trait Bus: fmt::Debug + Send + Sync + 'static {
    /// Publishes an event, and returns its id.
    ///
    /// # Errors
    /// [`NotPublished`].
    async fn publish(&self, event: Published<'_>) -> Result<u64, NotPublished>;

    /// Id of the newest event that has come by it.
    fn newest(&self) -> u64;
}
