//! The contract of a [`SecretStore`], as tests that every store passes.

use std::collections::BTreeSet;
use std::sync::Arc;

use gk_hostapi::{ErrorKind, HostError};
use gk_manifest::PluginName;

use super::{SECRETS_MAX, SealedSecret, SecretStore};

type Stored = Arc<dyn SecretStore>;

/// Runs all tests, each with a store that `make` creates, which is empty.
///
/// # Panics
/// If the store breaks the contract.
pub async fn contract<M, F>(make: M)
where
    M: Fn() -> F,
    F: Future<Output = Stored>,
{
    a_secret_is_its_plugins_alone(make().await).await;
    all_are_changed_or_none(make().await).await;
    a_plugin_has_so_many(make().await).await;
}

fn plugin(name: &str) -> PluginName {
    PluginName::new(name).expect("a valid name")
}

fn secret(key_id: &str, text: &str) -> SealedSecret {
    SealedSecret {
        key_id: key_id.to_owned(),
        nonce: vec![0, 1, 255],
        sealed: text.into(),
    }
}

async fn get(store: &Stored, name: &str, key: &str) -> Option<SealedSecret> {
    store.get(&plugin(name), key).await.expect("read")
}

async fn set(store: &Stored, name: &str, key: &str, secret: SealedSecret) {
    let plugin = plugin(name);
    store.set(&plugin, key, secret).await.expect("stored");
}

async fn a_secret_is_its_plugins_alone(store: Stored) {
    set(&store, "p", "k", secret("a", "1")).await;
    set(&store, "p", "k", secret("b", "2")).await;
    assert_eq!(get(&store, "p", "k").await, Some(secret("b", "2")));
    assert_eq!(get(&store, "q", "k").await, None);
    assert_eq!(get(&store, "p", "l").await, None);
    store.clear(&plugin("q")).await.expect("cleared");
    assert!(get(&store, "p", "k").await.is_some());
    store.clear(&plugin("p")).await.expect("cleared");
    assert_eq!(get(&store, "p", "k").await, None);
}

async fn all_are_changed_or_none(store: Stored) {
    for (name, key) in [("p", "k"), ("p", "l"), ("q", "k")] {
        set(&store, name, key, secret("old", key)).await;
    }
    let mut left = 2;
    let fails = store.reseal(Box::new(move |_, _, old| {
        left -= 1;
        match left {
            0 => Err(HostError::failed("no more")),
            _ => Ok(Some(secret(
                "new",
                std::str::from_utf8(&old.sealed).unwrap_or_default(),
            ))),
        }
    }));
    let kind = fails.await.map_err(|error| error.kind());
    assert_eq!(kind, Err(ErrorKind::Failed));
    let ids = store.key_ids().await.expect("ids");
    assert_eq!(ids, BTreeSet::from(["old".to_owned()]));
    let changed = store.reseal(Box::new(|plugin, key, _| {
        Ok((key == "k").then(|| secret("new", plugin)))
    }));
    changed.await.expect("changed");
    assert_eq!(get(&store, "q", "k").await, Some(secret("new", "q")));
    assert_eq!(get(&store, "p", "l").await, Some(secret("old", "l")));
    let ids = store.key_ids().await.expect("ids");
    assert_eq!(ids, ["new", "old"].map(str::to_owned).into());
}

async fn a_plugin_has_so_many(store: Stored) {
    for n in 0..SECRETS_MAX {
        set(&store, "p", &n.to_string(), secret("a", "")).await;
    }
    let p = plugin("p");
    let one_more = store.set(&p, "more", secret("a", "")).await;
    let kind = one_more.map_err(|error| error.kind());
    assert_eq!(kind, Err(ErrorKind::Limit));
    set(&store, "p", "1", secret("a", "another")).await;
    set(&store, "q", "more", secret("a", "")).await;
}
