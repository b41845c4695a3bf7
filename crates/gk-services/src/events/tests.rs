//! The broker, without HTTP.

use serde_json::json;

use self::future::now_or_never;
use super::*;
use gk_hostapi::ErrorKind;

/// A future's result if it needs no waiting.
mod future {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    pub(super) fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        match future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }
}

fn plugin(name: &str) -> PluginName {
    PluginName::new(name).unwrap()
}

/// The data of everything that is there to be read.
fn waiting(subscription: &mut Subscription) -> Vec<String> {
    let mut waiting = Vec::new();
    while let Some(delivery) = now_or_never(subscription.next()) {
        match delivery {
            Delivery::Event(event) => waiting.push(event.data().to_owned()),
            Delivery::Lagged => waiting.push("<lagged>".to_owned()),
            Delivery::Closed => {
                waiting.push("<closed>".to_owned());
                break;
            }
        }
    }
    waiting
}

/// Without a bus nothing is waited for.
fn publish_as(
    events: &Events,
    plugin: &PluginName,
    channel: &str,
    kind: &str,
    data: &Value,
) -> Result<u64, HostError> {
    now_or_never(events.publish(plugin, channel, kind, data)).unwrap()
}

fn publish(events: &Events, name: &str, channel: &str, data: &str) -> u64 {
    publish_as(events, &plugin(name), channel, "tick", &json!(data)).unwrap()
}

#[test]
fn subscribers_get_their_channel_and_no_other() {
    let events = Arc::new(Events::new());
    let subscribe = |name: &str, channel| events.subscribe(&plugin(name), channel, None).unwrap();
    let mut all = [
        subscribe("p", "a"),
        subscribe("p", ""),
        subscribe("q", "a"),
        subscribe("p", "a"),
    ];
    publish(&events, "p", "a", "one");
    publish(&events, "p", "", "two");
    publish(&events, "q", "a", "three");
    let seen = all.each_mut().map(waiting);
    assert_eq!(seen, [["one"], ["two"], ["three"], ["one"]]);
    assert_eq!(events.subscribers(&plugin("p")), 3);
    drop(all);
    assert_eq!(events.subscribers(&plugin("p")), 0);
}

#[tokio::test]
async fn a_subscriber_is_woken() {
    let events = Arc::new(Events::new());
    let mut subscription = events.subscribe(&plugin("p"), "", None).unwrap();
    let waiter = tokio::spawn(async move { subscription.next().await });
    tokio::task::yield_now().await;
    let id = publish(&events, "p", "", "x");
    let Delivery::Event(event) = waiter.await.unwrap() else {
        panic!("no event");
    };
    assert_eq!(
        (event.id(), event.event_type(), event.data()),
        (id, "tick", "x")
    );
}

#[test]
fn a_slow_subscriber_is_told_and_holds_up_nobody() {
    let events = Arc::new(Events::new());
    let mut slow = events.subscribe(&plugin("p"), "", None).unwrap();
    let mut quick = events.subscribe(&plugin("p"), "", None).unwrap();
    for n in 0..=QUEUE_MAX {
        publish(&events, "p", "", &n.to_string());
        assert_eq!(waiting(&mut quick), [n.to_string()]);
    }
    assert_eq!(events.subscribers(&plugin("p")), 1);
    // What waited is let go of: the replay has it, for who subscribes again.
    assert_eq!(waiting(&mut slow), ["<lagged>", "<closed>"]);
}

/// A client that does not read must not make the host keep what a plugin publishes.
#[test]
fn what_waits_is_bounded_in_bytes() {
    let events = Arc::new(Events::new());
    let mut slow = events.subscribe(&plugin("p"), "", None).unwrap();
    let large = "x".repeat(EVENT_BYTES_MAX);
    let fitting = QUEUE_BYTES_MAX / EVENT_BYTES_MAX;
    for _ in 0..fitting {
        publish(&events, "p", "", &large);
    }
    assert_eq!(events.subscribers(&plugin("p")), 1);
    publish(&events, "p", "", &large);
    assert_eq!(events.subscribers(&plugin("p")), 0);
    assert_eq!(waiting(&mut slow), ["<lagged>", "<closed>"]);
    // Who takes what comes may go on for ever.
    let mut quick = events.subscribe(&plugin("p"), "", None).unwrap();
    for _ in 0..4 * fitting {
        publish(&events, "p", "", &large);
        assert_eq!(waiting(&mut quick).len(), 1);
    }
}

#[test]
fn what_was_missed_is_replayed_or_said_to_be_lost() {
    let events = Arc::new(Events::new());
    let p = plugin("p");
    let ids: Vec<_> = (0..5)
        .map(|n| publish(&events, "p", "", &n.to_string()))
        .collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    let again = |last| waiting(&mut events.subscribe(&p, "", last).unwrap());
    assert_eq!(again(None), [""; 0]);
    assert_eq!(again(Some(ids[2])), ["3", "4"]);
    assert_eq!(again(Some(ids[4])), [""; 0]);
    // Nothing is lost yet, so an id from before the first event gets all, as does one of the
    // future.
    assert_eq!(again(Some(0)).len(), 5);
    assert_eq!(again(Some(u64::MAX)).len(), 5);
    for n in 0..REPLAY_EVENTS_MAX {
        publish(&events, "p", "", &n.to_string());
    }
    let seen = again(Some(ids[2]));
    assert_eq!(
        (seen.len(), seen[0].as_str()),
        (REPLAY_EVENTS_MAX + 1, "<lagged>")
    );
    assert_eq!(again(Some(ids[4])).len(), REPLAY_EVENTS_MAX);
    // Another plugin's channel of the same name has nothing to replay.
    let mut other = events.subscribe(&plugin("q"), "", Some(0)).unwrap();
    assert_eq!(waiting(&mut other), [""; 0]);
}

#[test]
fn what_is_kept_is_bounded() {
    let events = Arc::new(Events::new());
    let p = plugin("p");
    let large = "x".repeat(EVENT_BYTES_MAX);
    for n in 0..2 * CHANNELS_MAX {
        for _ in 0..5 {
            publish(&events, "p", &n.to_string(), &large);
        }
    }
    let plugins = events.plugins.lock();
    let state = &plugins[&p];
    assert_eq!(state.channels.len(), CHANNELS_MAX);
    let kept: usize = state
        .channels
        .values()
        .map(|channel| channel.replay_bytes)
        .sum();
    assert_eq!(kept, state.replay_bytes);
    assert!(
        kept <= PLUGIN_REPLAY_BYTES_MAX && kept > PLUGIN_REPLAY_BYTES_MAX / 2,
        "{kept}"
    );
    let largest = state
        .channels
        .values()
        .map(|channel| channel.replay_bytes)
        .max();
    assert_eq!(largest, Some(REPLAY_BYTES_MAX));
}

/// Each plugin has its bounds; a hundred plugins that use theirs have one, too.
#[test]
fn what_all_plugins_keep_is_bounded() {
    let events = Arc::new(Events::new());
    let large = "x".repeat(EVENT_BYTES_MAX);
    let held = || events.held.load(Ordering::Relaxed);
    let plugins = 2 * ALL_BYTES_MAX / PLUGIN_REPLAY_BYTES_MAX;
    for number in 0..plugins {
        for channel in 0..PLUGIN_REPLAY_BYTES_MAX / REPLAY_BYTES_MAX {
            for _ in 0..REPLAY_BYTES_MAX / EVENT_BYTES_MAX {
                publish(&events, &format!("p{number}"), &channel.to_string(), &large);
                assert!(held() <= ALL_BYTES_MAX);
            }
        }
    }
    assert!(held() > ALL_BYTES_MAX / 2, "{}", held());
    // What waits for subscribers is not forgotten: who publishes is told.
    let subscribers: Vec<_> = (0..=ALL_BYTES_MAX / QUEUE_BYTES_MAX)
        .map(|n| {
            events
                .subscribe(&plugin("q"), &n.to_string(), None)
                .unwrap()
        })
        .collect();
    let fill = |channel: usize| {
        let data = json!(large);
        (0..QUEUE_BYTES_MAX / EVENT_BYTES_MAX).try_for_each(|_| {
            publish_as(&events, &plugin("q"), &channel.to_string(), "t", &data).map(drop)
        })
    };
    let refused = (0..subscribers.len()).find_map(|channel| fill(channel).err());
    assert_eq!(refused.unwrap().kind(), ErrorKind::Limit);
    drop(subscribers);
    fill(0).unwrap();
    events.close(&plugin("q"));
    (0..plugins).for_each(|number| events.close(&plugin(&format!("p{number}"))));
    assert_eq!(held(), 0);
}

#[test]
fn the_limits_hold_at_the_limit() {
    let events = Arc::new(Events::new());
    let p = plugin("p");
    let try_publish = |channel: &str, kind: &str, data: &Value| {
        publish_as(&events, &p, channel, kind, data)
            .map(drop)
            .map_err(|error| error.kind())
    };
    let (longest, data) = (
        "c".repeat(CHANNEL_BYTES_MAX),
        json!("x".repeat(EVENT_BYTES_MAX)),
    );
    assert_eq!(
        try_publish(&longest, &"t".repeat(EVENT_TYPE_BYTES_MAX), &data),
        Ok(())
    );
    let larger = json!("x".repeat(EVENT_BYTES_MAX + 1));
    assert_eq!(try_publish("", "t", &larger), Err(ErrorKind::Limit));
    for (channel, kind) in [
        (longest + "c", "t".to_owned()),
        ("a\nb".to_owned(), "t".to_owned()),
        (String::new(), "t".repeat(EVENT_TYPE_BYTES_MAX + 1)),
        (String::new(), String::new()),
        (String::new(), "a\nb".to_owned()),
        (String::new(), "a\rb".to_owned()),
        (String::new(), "a b".to_owned()),
        (String::new(), "a\u{2028}b".to_owned()),
    ] {
        assert_eq!(
            try_publish(&channel, &kind, &json!(1)),
            Err(ErrorKind::Invalid),
            "{kind:?}"
        );
    }
    let all: Vec<_> = (0..SUBSCRIBERS_MAX)
        .map(|n| {
            // The last channels have several.
            let channel = n.min(CHANNELS_MAX - 1).to_string();
            events.subscribe(&p, &channel, None).unwrap()
        })
        .collect();
    let one_more = events.subscribe(&p, "0", None).unwrap_err();
    assert_eq!(one_more.kind(), ErrorKind::Limit);
    // Every channel has a subscriber, so none can go. Nobody listens to another one, and to publish
    // there is no error: who subscribes everywhere must not silence the plugin.
    assert_eq!(try_publish("another", "t", &json!(1)), Ok(()));
    let elsewhere = events.subscribe(&p, "another", None).unwrap_err();
    assert_eq!(elsewhere.kind(), ErrorKind::Limit);
    assert!(events.subscribe(&plugin("q"), "0", None).is_ok());
    drop(all);
    assert_eq!(try_publish("another", "t", &json!(1)), Ok(()));
}

#[test]
fn data_is_text_or_json() {
    let events = Arc::new(Events::new());
    let p = plugin("p");
    let mut subscription = events.subscribe(&p, "", None).unwrap();
    for data in [
        json!("{\"a\":1}"),
        json!({"a": 1}),
        json!(null),
        json!([1, "x"]),
    ] {
        publish_as(&events, &p, "", "t", &data).unwrap();
    }
    assert_eq!(
        waiting(&mut subscription),
        ["{\"a\":1}", "{\"a\":1}", "null", "[1,\"x\"]"]
    );
}

#[test]
fn a_plugin_that_is_unloaded_ends_its_streams() {
    let events = Arc::new(Events::new());
    let p = plugin("p");
    let mut subscription = events.subscribe(&p, "", None).unwrap();
    publish(&events, "p", "", "last");
    events.close(&p);
    assert_eq!(waiting(&mut subscription), ["last", "<closed>"]);
    let fresh = events.subscribe(&p, "", None).unwrap();
    // The former subscription's end is not the new one's.
    drop(subscription);
    assert_eq!(events.subscribers(&p), 1);
    drop(fresh);
}

/// A bus that carries nothing by itself: what comes by it is delivered by the test.
#[derive(Debug)]
struct Quiet;

#[async_trait::async_trait]
impl Bus for Quiet {
    async fn publish(&self, event: Published<'_>) -> Result<u64, NotPublished> {
        match event.event_type {
            "lost" => Err(NotPublished),
            _ => Ok(event.after + 1),
        }
    }

    fn newest(&self) -> u64 {
        1000
    }
}

fn deliver(events: &Events, id: u64, channel: &str, data: &str) {
    let event = Published {
        plugin: "p",
        channel,
        event_type: "t",
        data,
        after: 0,
    };
    events.deliver(id, &event);
}

fn with_bus(since: u64) -> Arc<Events> {
    let events = Arc::new(Events::new());
    events.connect(Arc::new(Quiet));
    events.heard_since(since);
    events
}

fn subscribe(events: &Arc<Events>, channel: &str, last: Option<u64>) -> Subscription {
    events.subscribe(&plugin("p"), channel, last).unwrap()
}

#[test]
fn what_comes_by_the_bus_is_delivered_once_to_who_comes_from_another_host() {
    let events = with_bus(10);
    deliver(&events, 11, "a", "1");
    deliver(&events, 12, "a", "2");
    // The other host was ahead: it has delivered 13 already.
    let (mut behind, mut ahead) = (
        subscribe(&events, "a", Some(11)),
        subscribe(&events, "a", Some(13)),
    );
    deliver(&events, 13, "a", "3");
    deliver(&events, 14, "a", "4");
    assert_eq!(waiting(&mut behind), ["2", "3", "4"]);
    assert_eq!(waiting(&mut ahead), ["4"]);
    // This host has heard nothing of what came before 10.
    assert_eq!(
        waiting(&mut subscribe(&events, "b", Some(9)))[0],
        "<lagged>"
    );
    assert!(waiting(&mut subscribe(&events, "b", Some(10))).is_empty());
}

#[test]
fn what_is_published_waits_for_the_bus_and_is_the_hosts_alone_without_it() {
    let events = with_bus(0);
    let mut subscriber = subscribe(&events, "a", None);
    let p = plugin("p");
    deliver(&events, 41, "a", "before");
    assert_eq!(publish_as(&events, &p, "a", "t", &json!("x")).unwrap(), 42);
    assert_eq!(waiting(&mut subscriber), ["before"]);
    let alone = publish_as(&events, &p, "a", "lost", &json!("alone")).unwrap();
    assert_eq!(alone, 1001, "the bus' order, not this host's clock");
    assert_eq!(waiting(&mut subscriber), ["alone"]);
}

#[test]
fn who_subscribes_is_told_of_events_that_came_unheard() {
    let events = with_bus(0);
    deliver(&events, 5, "a", "1");
    let mut subscriber = subscribe(&events, "a", None);
    events.lost(20);
    assert_eq!(waiting(&mut subscriber), ["<lagged>", "<closed>"]);
    for channel in ["a", "new"] {
        let mut again = subscribe(&events, channel, Some(5));
        assert_eq!(waiting(&mut again), ["<lagged>"], "{channel}");
    }
    let mut current = subscribe(&events, "a", Some(20));
    deliver(&events, 21, "a", "2");
    assert_eq!(waiting(&mut current), ["2"]);
    // The bus has lost its memory, and names no event before.
    events.lost(0);
    assert_eq!(
        waiting(&mut subscribe(&events, "a", Some(20)))[0],
        "<lagged>"
    );
    deliver(&events, 21, "a", "2");
    // A plugin that was stopped here goes on elsewhere.
    events.close(&plugin("p"));
    deliver(&events, 22, "a", "3");
    assert_eq!(
        waiting(&mut subscribe(&events, "a", Some(20))),
        ["<lagged>", "3"]
    );
}
