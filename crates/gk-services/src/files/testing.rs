//! The contract of a [`FileStore`], as tests that every store passes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use gk_hostapi::{ErrorKind, HostError};
use gk_manifest::PluginName;

use super::{FileStore, StoredFile, stored_bytes};

type Stored = Arc<dyn FileStore>;

const QUOTA: u64 = 1 << 20;

/// Runs all tests, each with a store that `make` creates, which is empty.
///
/// # Panics
/// If the store breaks the contract.
pub async fn contract<M, F>(make: M)
where
    M: Fn() -> F,
    F: Future<Output = Stored>,
{
    files_are_stored_replaced_and_deleted(make().await).await;
    a_plugin_sees_only_its_own(make().await).await;
    lists_are_ordered_and_paged(make().await).await;
    a_full_quota_refuses_and_changes_nothing(make().await).await;
    writers_at_once_do_not_get_around_the_quota(make().await).await;
    a_file_that_is_replaced_is_always_whole(make().await).await;
}

fn plugin(name: &str) -> PluginName {
    PluginName::new(name).expect("a valid name")
}

fn metadata(content_type: &str) -> BTreeMap<String, String> {
    let entries = [("content-type", content_type), ("x", "ä\n\"")];
    let entries = entries.map(|(name, value)| (name.to_owned(), value.to_owned()));
    entries.into()
}

async fn put(store: &Stored, name: &str, key: &str, data: &'static [u8]) -> Result<(), HostError> {
    let (plugin, data) = (plugin(name), Bytes::from_static(data));
    let metadata = BTreeMap::new();
    store.store(&plugin, key, data, &metadata, QUOTA).await
}

async fn get(store: &Stored, name: &str, key: &str) -> Result<StoredFile, ErrorKind> {
    let found = store.get(&plugin(name), key).await;
    found.map_err(|error| error.kind())
}

async fn files_are_stored_replaced_and_deleted(store: Stored) {
    let p = plugin("p");
    assert_eq!(get(&store, "p", "a").await, Err(ErrorKind::NotFound));
    let large = Bytes::from((0..=255).cycle().take(100_000).collect::<Vec<u8>>());
    let with = metadata("text/plain");
    let put_large = store.store(&p, "a/b.txt", large.clone(), &with, QUOTA);
    put_large.await.expect("stored");
    let found = get(&store, "p", "a/b.txt").await.expect("a file");
    assert_eq!((&found.data, &found.metadata), (&large, &with));
    let bytes = stored_bytes(&large, &with).expect("short metadata");
    assert_eq!(store.used_bytes(&p).await.expect("used"), bytes);
    // A file beside a part of a key, and one in place of another.
    put(&store, "p", "a", b"").await.expect("stored");
    put(&store, "p", "a/b.txt", b"small").await.expect("stored");
    let found = get(&store, "p", "a/b.txt").await.expect("a file");
    assert_eq!(&found.data[..], b"small");
    assert!(found.metadata.is_empty());
    for (key, was_there) in [("a/b.txt", true), ("a/b.txt", false), ("a", true)] {
        assert_eq!(store.delete(&p, key).await.expect("deleted"), was_there);
    }
    assert_eq!(store.used_bytes(&p).await.expect("used"), 0);
    assert_eq!(get(&store, "p", "a").await, Err(ErrorKind::NotFound));
}

async fn a_plugin_sees_only_its_own(store: Stored) {
    put(&store, "p", "k", b"p's").await.expect("stored");
    assert_eq!(get(&store, "q", "k").await, Err(ErrorKind::NotFound));
    let (p, q) = (plugin("p"), plugin("q"));
    assert!(!store.delete(&q, "k").await.expect("deleted"));
    let listed = store.list(&q, "", "", 10).await.expect("list");
    assert!(listed.files.is_empty());
    store.clear(&q).await.expect("cleared");
    assert!(get(&store, "p", "k").await.is_ok());
    store.clear(&p).await.expect("cleared");
    assert_eq!(get(&store, "p", "k").await, Err(ErrorKind::NotFound));
    assert_eq!(store.used_bytes(&p).await.expect("used"), 0);
}

async fn lists_are_ordered_and_paged(store: Stored) {
    let p = plugin("p");
    let with = metadata("image/png");
    for key in ["b", "a/2", "a/10", "ä", "a"] {
        let data = Bytes::from_static(b"1234");
        let put = store.store(&p, key, data, &with, QUOTA);
        put.await.expect("stored");
    }
    let keys = |prefix: &'static str, after: &'static str, limit| {
        let (store, p) = (Arc::clone(&store), p.clone());
        async move {
            let page = store.list(&p, prefix, after, limit).await.expect("list");
            let keys = page.files.into_iter().map(|file| file.key);
            (keys.collect::<Vec<_>>(), page.next)
        }
    };
    let all = keys("", "", 100).await;
    assert_eq!(
        all,
        (
            ["a", "a/10", "a/2", "b", "ä"].map(str::to_owned).into(),
            None
        )
    );
    let first = keys("a", "", 2).await;
    assert_eq!(first.0, ["a", "a/10"]);
    assert_eq!(first.1.as_deref(), Some("a/10"));
    assert_eq!(keys("a", "a/10", 2).await, (vec!["a/2".to_owned()], None));
    let page = store.list(&p, "b", "", 1).await.expect("list");
    let file = page.files.first().expect("a file");
    assert_eq!((file.size, &*file.content_type), (4, "image/png"));
    assert_eq!(file.metadata, with);
}

async fn a_full_quota_refuses_and_changes_nothing(store: Stored) {
    let p = plugin("p");
    let header = stored_bytes(&Bytes::new(), &BTreeMap::new()).expect("no metadata");
    let quota = 2 * (header + 4);
    let put = |key: &'static str, data: &'static [u8]| {
        let (store, p) = (Arc::clone(&store), p.clone());
        async move {
            let (data, none) = (Bytes::from_static(data), BTreeMap::new());
            store.store(&p, key, data, &none, quota).await
        }
    };
    put("a", b"1234").await.expect("stored");
    put("b", b"1234").await.expect("stored");
    for (key, data) in [("b", &b"12345"[..]), ("c", b"")] {
        let refused = put(key, data).await.map_err(|error| error.kind());
        assert_eq!(refused, Err(ErrorKind::Limit), "{key}");
    }
    assert_eq!(
        &get(&store, "p", "b").await.expect("a file").data[..],
        b"1234"
    );
    assert_eq!(store.used_bytes(&p).await.expect("used"), quota);
    // A file that is replaced counts once.
    put("b", b"4321").await.expect("stored");
    store.delete(&p, "a").await.expect("deleted");
    put("c", b"1234").await.expect("stored");
}

async fn writers_at_once_do_not_get_around_the_quota(store: Stored) {
    let header = stored_bytes(&Bytes::new(), &BTreeMap::new()).expect("no metadata");
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..16 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let (key, none, quota) = (n.to_string(), BTreeMap::new(), 4 * header);
            let p = plugin("p");
            store
                .store(&p, &key, Bytes::new(), &none, quota)
                .await
                .is_ok()
        });
    }
    let stored = writers.join_all().await.into_iter().filter(|ok| *ok);
    assert_eq!(stored.count(), 4);
    let listed = store.list(&plugin("p"), "", "", 100).await.expect("list");
    assert_eq!(listed.files.len(), 4);
}

async fn a_file_that_is_replaced_is_always_whole(store: Stored) {
    put(&store, "p", "k", b"a").await.expect("stored");
    let mut working = tokio::task::JoinSet::new();
    for byte in [b'a', b'b'] {
        let store = Arc::clone(&store);
        working.spawn(async move {
            for _ in 0..20 {
                let (data, none) = (Bytes::from(vec![byte; 50_000]), BTreeMap::new());
                let p = plugin("p");
                let put = store.store(&p, "k", data, &none, QUOTA);
                put.await.expect("stored");
            }
        });
    }
    let reader = Arc::clone(&store);
    working.spawn(async move {
        for _ in 0..40 {
            let data = get(&reader, "p", "k").await.expect("a file").data;
            let first = data.first().copied().expect("it is not empty");
            assert!(data.iter().all(|byte| *byte == first), "of two writes");
        }
    });
    working.join_all().await;
}
