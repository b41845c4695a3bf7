//! What the host tells the service manager that started it (systemd's `sd_notify` protocol): that it is
//! ready, what it does, that it is alive.
//!
//! Without `NOTIFY_SOCKET` in the environment nobody is told.

use std::time::Duration;

use sd_notify::NotifyState;

/// Tells that requests are taken.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Tells in one line what the host does, for `systemctl status`.
pub(crate) fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// Tells that the configuration is read again; [`ready`] tells the end of that.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        // systemd tells by the time which of its requests is answered.
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the clock that systemd compares cannot be read"),
    }
}

/// Tells that the host stops.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Gives signs of life, where the service manager waits for some (`WatchdogSec=`), twice in its time.
/// They come from a task: a host whose workers are all stuck gives none, and is started again.
pub(crate) async fn sign_of_life() {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut ticks = tokio::time::interval((limit / 2).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told about the host's state");
    }
}
