//! The contract of a [`KvStore`], as tests that every store passes.

use std::sync::Arc;

use bytes::Bytes;
use gk_hostapi::{ErrorKind, HostError};
use gk_manifest::PluginName;

use super::{KvCondition, KvQuota, KvStore, KvUsage, KvWritten};

type Stored = Arc<dyn KvStore>;

/// Runs all tests, each with a store that `make` creates, which is empty.
///
/// # Panics
/// If the store breaks the contract.
pub async fn contract<M, F>(make: M)
where
    M: Fn() -> F,
    F: Future<Output = Stored>,
{
    values_are_set_read_and_deleted(make().await).await;
    a_plugin_sees_only_its_own(make().await).await;
    lists_are_ordered_and_paged(make().await).await;
    a_full_quota_refuses_and_changes_nothing(make().await).await;
    writers_at_once_do_not_get_around_the_quota(make().await).await;
    a_condition_is_part_of_the_write(make().await).await;
    of_many_that_count_none_is_lost(make().await).await;
}

fn plugin(name: &str) -> PluginName {
    PluginName::new(name).expect("a valid name")
}

async fn set(store: &Stored, plugin: &PluginName, key: &str, value: &'static [u8]) -> KvWritten {
    let value = Bytes::from_static(value);
    let set = store.set(plugin, key, value, KvCondition::Any, KvQuota::default());
    set.await.expect("stored")
}

async fn get(store: &Stored, plugin: &PluginName, key: &str) -> Option<Bytes> {
    let value = store.get(plugin, key).await.expect("read");
    value.map(|value| value.value)
}

async fn values_are_set_read_and_deleted(store: Stored) {
    let p = plugin("p");
    assert_eq!(get(&store, &p, "a").await, None);
    let bytes = Bytes::from((0..=255).collect::<Vec<u8>>());
    let put = store.set(&p, "a", bytes.clone(), KvCondition::Any, KvQuota::default());
    put.await.expect("stored");
    assert_eq!(get(&store, &p, "a").await, Some(bytes));
    set(&store, &p, "a", b"").await;
    assert_eq!(get(&store, &p, "a").await, Some(Bytes::new()));
    let nul = "with\u{1}control and ä";
    set(&store, &p, nul, b"x").await;
    assert_eq!(get(&store, &p, nul).await, Some(Bytes::from_static(b"x")));
    for (key, was_there) in [("a", true), ("a", false), (nul, true)] {
        assert_eq!(store.delete(&p, key).await.expect("deleted"), was_there);
    }
    assert_eq!(store.usage(&p).await.expect("usage"), KvUsage::default());
}

async fn a_plugin_sees_only_its_own(store: Stored) {
    let (p, q) = (plugin("p"), plugin("q"));
    set(&store, &p, "k", b"p's").await;
    assert_eq!(get(&store, &q, "k").await, None);
    let of_q = store.list(&q, "", "", 10).await.expect("list");
    assert!(of_q.keys.is_empty());
    assert!(!store.delete(&q, "k").await.expect("deleted"));
    store.clear(&q).await.expect("cleared");
    assert!(get(&store, &p, "k").await.is_some());
    store.clear(&p).await.expect("cleared");
    assert!(get(&store, &p, "k").await.is_none());
    assert_eq!(store.usage(&p).await.expect("usage"), KvUsage::default());
}

async fn lists_are_ordered_and_paged(store: Stored) {
    let p = plugin("p");
    for key in ["b", "a/2", "a/10", "a/1", "ä", "a", "\u{10ffff}"] {
        set(&store, &p, key, b"").await;
    }
    let all = store.list(&p, "", "", 100).await.expect("list");
    let ordered = ["a", "a/1", "a/10", "a/2", "b", "ä", "\u{10ffff}"];
    assert_eq!(all.keys, ordered);
    assert_eq!(all.next, None);
    let first = store.list(&p, "a/", "", 2).await.expect("list");
    assert_eq!(first.keys, ["a/1", "a/10"]);
    assert_eq!(first.next.as_deref(), Some("a/10"));
    let last = store.list(&p, "a/", "a/10", 2).await.expect("list");
    assert_eq!((last.keys, last.next), (vec!["a/2".to_owned()], None));
    let high = store.list(&p, "\u{10ffff}", "", 5).await.expect("list");
    assert_eq!(high.keys, ["\u{10ffff}"]);
}

async fn a_full_quota_refuses_and_changes_nothing(store: Stored) {
    let (p, quota) = (plugin("p"), KvQuota { bytes: 10, keys: 2 });
    let put = |plugin: &str, key: &'static str, value: &'static [u8]| {
        let (store, plugin) = (Arc::clone(&store), self::plugin(plugin));
        let value = Bytes::from_static(value);
        async move {
            store
                .set(&plugin, key, value, KvCondition::Any, quota)
                .await
        }
    };
    put("p", "a", b"1234").await.expect("stored");
    put("p", "b", b"1234").await.expect("stored");
    let more = put("p", "b", b"12345").await;
    assert_eq!(more.map_err(|error| error.kind()), Err(ErrorKind::Limit));
    let third = put("p", "c", b"").await.map_err(|error| error.to_string());
    let text = third.expect_err("the quota is used up");
    assert!(text.contains("has 2 keys, and its quota is 2;"), "{text}");
    // An overwritten value counts once.
    put("p", "b", b"4321").await.expect("stored");
    let used = store.usage(&p).await.expect("usage");
    assert_eq!(used, KvUsage { keys: 2, bytes: 10 });
    assert_eq!(
        get(&store, &p, "b").await,
        Some(Bytes::from_static(b"4321"))
    );
    put("q", "a", b"1234").await.expect("stored");
}

async fn writers_at_once_do_not_get_around_the_quota(store: Stored) {
    let quota = KvQuota {
        bytes: 1 << 20,
        keys: 8,
    };
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..64 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let (key, any) = (n.to_string(), KvCondition::Any);
            let p = plugin("p");
            store.set(&p, &key, Bytes::new(), any, quota).await.is_ok()
        });
    }
    let stored = writers.join_all().await.into_iter().filter(|ok| *ok);
    assert_eq!(stored.count(), 8);
    let keys = store.list(&plugin("p"), "", "", 100).await.expect("list");
    assert_eq!(keys.keys.len(), 8);
}

async fn put_if(store: &Stored, value: &'static [u8], condition: KvCondition) -> KvWritten {
    let value = Bytes::from_static(value);
    let p = plugin("p");
    let set = store.set(&p, "k", value, condition, KvQuota::default());
    set.await.expect("stored, or a conflict")
}

async fn a_condition_is_part_of_the_write(store: Stored) {
    let p = plugin("p");
    let wrong = put_if(&store, b"x", KvCondition::Version(1)).await;
    assert_eq!(wrong, KvWritten::Conflict(None));
    let KvWritten::Stored(first) = put_if(&store, b"1", KvCondition::Absent).await else {
        panic!("there is no such key")
    };
    let there = put_if(&store, b"x", KvCondition::Absent).await;
    assert_eq!(there, KvWritten::Conflict(Some(first)));
    let KvWritten::Stored(second) = put_if(&store, b"2", KvCondition::Version(first)).await else {
        panic!("the version is the one that was written")
    };
    assert!(second > first);
    let late = put_if(&store, b"x", KvCondition::Version(first)).await;
    assert_eq!(late, KvWritten::Conflict(Some(second)));
    let value = store.get(&p, "k").await.expect("read").expect("a value");
    assert_eq!((&value.value[..], value.version), (&b"2"[..], second));
    // A key that was deleted and set anew has no version of before.
    store.delete(&p, "k").await.expect("deleted");
    let KvWritten::Stored(anew) = put_if(&store, b"3", KvCondition::Absent).await else {
        panic!("there is no such key any more")
    };
    assert!(anew > second);
}

async fn of_many_that_count_none_is_lost(store: Stored) {
    let p = plugin("p");
    let mut counting = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, p) = (Arc::clone(&store), p.clone());
        counting.spawn(async move {
            for _ in 0..10 {
                increment(&store, &p).await?;
            }
            Ok::<_, HostError>(())
        });
    }
    for done in counting.join_all().await {
        done.expect("counted");
    }
    assert_eq!(get(&store, &p, "n").await, Some(Bytes::from("80")));
}

async fn increment(store: &Stored, plugin: &PluginName) -> Result<(), HostError> {
    loop {
        let old = store.get(plugin, "n").await?;
        let condition = old
            .as_ref()
            .map_or(KvCondition::Absent, |old| KvCondition::Version(old.version));
        let number = old.and_then(|old| std::str::from_utf8(&old.value).ok()?.parse::<u32>().ok());
        let next = Bytes::from((number.unwrap_or(0) + 1).to_string());
        let set = store.set(plugin, "n", next, condition, KvQuota::default());
        if let KvWritten::Stored(_) = set.await? {
            return Ok(());
        }
    }
}
