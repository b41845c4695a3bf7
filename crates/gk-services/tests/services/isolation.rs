//! Two plugins on the same services: neither sees, changes or removes what is the other's.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use gk_hostapi::ErrorKind;
use gk_servers::shared_redis;
use gk_services::cache::{Cache, CacheConfig};
use gk_services::events::{Delivery, Events};
use gk_services::files::Files;
use gk_services::kv::{Kv, KvCondition, KvQuota};
use gk_services::secure::{Secret, SecureConfig, SecureKeys};
use gk_services::store::Store;
use serde_json::json;

use super::{far, plugin};

/// Keys with which a plugin might try to reach another's things.
const KEYS: &[&str] = &[
    "k",
    "owner:k",
    "owner/k",
    "../owner/k",
    "5:owner:k",
    "plugin:owner:k",
    "%",
    "*",
    "",
];

#[tokio::test]
async fn nobody_reaches_another_plugins_things() {
    let dir = tempfile::tempdir().unwrap();
    let (owner, thief) = (plugin("owner"), plugin("thief"));
    let value = Bytes::from_static(b"owner's");
    let store = Store::open(&dir.path().join("host.db")).unwrap();
    let keys = SecureKeys::parse(&"ab".repeat(32)).unwrap();
    let kv = Kv::new(store.clone(), KvQuota::default());
    let secure = SecureConfig::new(store, Some(keys));
    let files = Files::open(&dir.path().join("files")).unwrap();
    let caches = [
        Cache::memory(CacheConfig::default()),
        Cache::redis(&shared_redis().unwrap(), CacheConfig::default()).unwrap(),
    ];
    let events = Arc::new(Events::new());

    kv.set(&owner, "k", value.clone(), KvCondition::Any)
        .await
        .unwrap();
    files
        .store(&owner, "k", value.clone(), &BTreeMap::new(), None)
        .await
        .unwrap();
    secure
        .set(&owner, "k", &Secret::new("owner's".to_owned()))
        .await
        .unwrap();
    for cache in &caches {
        cache
            .set(&owner, "k", value.clone(), None, far())
            .await
            .unwrap();
    }
    let mut overheard = events.subscribe(&thief, "", Some(0)).unwrap();
    let mut heard = events.subscribe(&owner, "", None).unwrap();
    events
        .publish(&owner, "", "secret", &json!("owner's"))
        .await
        .unwrap();

    // An error is as good as nothing found: some of these are no keys.
    for key in KEYS {
        assert!(
            !matches!(kv.get(&thief, key).await, Ok(Some(_))),
            "kv {key}"
        );
        assert!(!kv.delete(&thief, key).await.unwrap_or(false), "kv {key}");
        assert!(files.get(&thief, key).await.is_err(), "file {key}");
        assert!(
            !files.delete(&thief, key).await.unwrap_or(false),
            "file {key}"
        );
        let kind = secure.get(&thief, key).await.unwrap_err().kind();
        assert!(
            matches!(kind, ErrorKind::NotFound | ErrorKind::Invalid),
            "secret {key}"
        );
        for cache in &caches {
            assert!(
                !matches!(cache.get(&thief, key, far()).await, Ok(Some(_))),
                "cache {key}"
            );
            // There is nothing to delete; whatever it says, the owner's stays.
            let _ = cache.delete(&thief, key, far()).await;
            let _ = cache
                .set(&thief, key, Bytes::from_static(b"forged"), None, far())
                .await;
        }
        let _ = kv
            .set(&thief, key, Bytes::from_static(b"forged"), KvCondition::Any)
            .await;
        let forged = Bytes::from_static(b"forged");
        let _ = files
            .store(&thief, key, forged, &BTreeMap::new(), None)
            .await;
        let _ = secure
            .set(&thief, key, &Secret::new("forged".to_owned()))
            .await;
    }
    events
        .publish(&thief, "", "forged", &json!("forged"))
        .await
        .unwrap();

    // What the thief sees of it all is its own.
    for key in kv.list(&thief, "", None, 0).await.unwrap().keys {
        assert_eq!(kv.get(&thief, &key).await.unwrap().unwrap().value, "forged");
    }
    for file in files.list(&thief, "", None, 0).await.unwrap().files {
        assert_eq!(files.get(&thief, &file.key).await.unwrap().data, "forged");
    }
    let Delivery::Event(event) = overheard.next().await else {
        panic!("its own event is lost");
    };
    assert_eq!(event.data(), "forged");

    // Not even its end takes something from the owner.
    kv.clear(&thief).await.unwrap();
    files.clear(&thief).await.unwrap();
    secure.clear(&thief).await.unwrap();
    events.close(&thief);
    for cache in &caches {
        cache.forget(&thief);
        assert_eq!(
            cache.get(&owner, "k", far()).await.unwrap(),
            Some(value.clone())
        );
    }
    assert_eq!(kv.list(&owner, "", None, 0).await.unwrap().keys, ["k"]);
    let kept = kv.get(&owner, "k").await.unwrap().map(|kept| kept.value);
    assert_eq!(kept, Some(value.clone()));
    assert_eq!(
        files.list(&owner, "", None, 0).await.unwrap().files.len(),
        1
    );
    assert_eq!(files.get(&owner, "k").await.unwrap().data, value);
    assert_eq!(secure.get(&owner, "k").await.unwrap().expose(), "owner's");
    let Delivery::Event(event) = heard.next().await else {
        panic!("the event is lost");
    };
    assert_eq!(event.data(), "owner's");
}
