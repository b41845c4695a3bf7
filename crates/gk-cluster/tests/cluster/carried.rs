//! What Redis and the object store carry.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gk_cluster::{Rates, Redis, SharedEvents, SharedFiles};
use gk_hostapi::ErrorKind;
use gk_hostapi::policy::{Rate, SharedRates};
use gk_manifest::PluginName;
use gk_services::events::{Delivery, Events, Subscription};
use gk_services::files::{FileStore, testing};
use serde_json::json;
use tokio::task::AbortHandle;

use crate::database;

/// Deadline of what is to happen.
const SOON: Duration = Duration::from_secs(30);

fn plugin() -> PluginName {
    PluginName::new("p").unwrap()
}

/// The events of a host.
struct Host {
    events: Arc<Events>,
    sharing: AbortHandle,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.sharing.abort();
    }
}

impl Host {
    /// A host that has read the stream.
    async fn new(redis: &str) -> Self {
        let redis = Arc::new(Redis::new(redis).unwrap());
        let events = Arc::new(Events::new());
        let shared = SharedEvents::connect(redis, &events);
        let delivered = Arc::clone(&events);
        let sharing = tokio::spawn(async move { shared.follow(&delivered).await });
        let host = Self {
            events,
            sharing: sharing.abort_handle(),
        };
        let began = tokio::time::timeout(SOON, async {
            loop {
                let mut subscription = host.subscribe("began", None);
                host.publish("began", "").await;
                if next(&mut subscription).await.is_some() {
                    return;
                }
            }
        });
        began.await.expect("the stream is read");
        host
    }

    async fn publish(&self, channel: &str, data: &str) -> u64 {
        let (plugin, data) = (plugin(), json!(data));
        let published = self.events.publish(&plugin, channel, "t", &data);
        published.await.unwrap()
    }

    fn subscribe(&self, channel: &str, last: Option<u64>) -> Subscription {
        self.events.subscribe(&plugin(), channel, last).unwrap()
    }
}

/// The next event: its id and data. `None` if the subscriber lagged.
async fn next(subscription: &mut Subscription) -> Option<(u64, String)> {
    let next = tokio::time::timeout(SOON, subscription.next()).await;
    match next.expect("an event comes") {
        Delivery::Event(event) => Some((event.id(), event.data().to_owned())),
        Delivery::Lagged => None,
        Delivery::Closed => panic!("the subscription is closed"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_hosts_have_one_order_of_events_and_a_subscriber_goes_from_one_to_another() {
    let redis = gk_servers::Redis::start().unwrap();
    let (a, b) = (Host::new(&redis.url()).await, Host::new(&redis.url()).await);
    let (mut at_a, mut at_b) = (a.subscribe("c", None), b.subscribe("c", None));
    for n in 0..50 {
        let host = if n % 2 == 0 { &a } else { &b };
        host.publish("c", &n.to_string()).await;
        a.publish("other", "x").await;
    }
    let mut ids = Vec::new();
    for n in 0..50 {
        let (id, data) = next(&mut at_a).await.unwrap();
        assert_eq!(data, n.to_string());
        assert_eq!(next(&mut at_b).await.unwrap(), (id, data));
        ids.push(id);
    }
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    // With the id of one host it goes on at the other, also at one that was started since.
    let c = Host::new(&redis.url()).await;
    let mut moved = c.subscribe("c", Some(ids[30]));
    let found = next(&mut moved).await.unwrap();
    assert_eq!(found.0, ids[31]);
    for id in &ids[32..] {
        assert_eq!(next(&mut moved).await.unwrap().0, *id);
    }
    let last = b.publish("c", "last").await;
    assert_eq!(next(&mut moved).await.unwrap(), (last, "last".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_events_are_the_hosts_own_and_with_it_again_everybodys() {
    let mut redis = gk_servers::Redis::start().unwrap();
    let (a, b) = (Host::new(&redis.url()).await, Host::new(&redis.url()).await);
    let (mut at_a, mut at_b) = (a.subscribe("c", None), b.subscribe("c", None));
    a.publish("c", "before").await;
    let before = next(&mut at_a).await.unwrap();
    assert_eq!(next(&mut at_b).await.unwrap(), before);
    redis.stop().unwrap();
    let alone = a.publish("c", "alone").await;
    assert_eq!(next(&mut at_a).await.unwrap(), (alone, "alone".to_owned()));
    redis.restart().unwrap();
    // It is asked again after a moment; until then events are the host's own.
    let mut at_all = b.subscribe("back", None);
    let mut own = a.subscribe("back", None);
    let back = tokio::time::timeout(SOON, async {
        loop {
            let id = a.publish("back", "again").await;
            next(&mut own).await.unwrap();
            let came = tokio::time::timeout(Duration::from_millis(200), next(&mut at_all));
            if let Ok(Some((known, _))) = came.await {
                return (id, known);
            }
        }
    });
    let (id, known) = back.await.unwrap();
    assert_eq!(id, known);
    assert!(id > alone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_missed_events_says_so() {
    let redis = gk_servers::Redis::start().unwrap();
    let (a, b) = (Host::new(&redis.url()).await, Host::new(&redis.url()).await);
    let mut at_b = b.subscribe("c", None);
    a.publish("c", "1").await;
    next(&mut at_b).await.unwrap();
    // What stands for a stream that was cut while the host looked away.
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let newest: u64 = redis::cmd("GET")
        .arg("gk:cluster:events:newest")
        .query_async(&mut connection)
        .await
        .unwrap();
    let set: () = redis::cmd("SET")
        .arg("gk:cluster:events:newest")
        .arg(newest + 1)
        .query_async(&mut connection)
        .await
        .unwrap();
    let () = set;
    let last = a.publish("c", "2").await;
    assert_eq!(next(&mut at_b).await, None);
    let mut again = b.subscribe("c", Some(newest));
    assert_eq!(next(&mut again).await, None);
    assert_eq!(next(&mut again).await.unwrap(), (last, "2".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_together_take_no_more_than_the_rate() {
    let redis = gk_servers::Redis::start().unwrap();
    let connect = || Arc::new(Rates::new(Arc::new(Redis::new(&redis.url()).unwrap())));
    let mut taking = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let rates = connect();
        taking.spawn(async move {
            let mut taken = 0;
            for _ in 0..100 {
                taken += rates.take(&plugin(), Rate::Db, 150, (3, 3)).await.unwrap();
            }
            taken
        });
    }
    assert_eq!(taking.join_all().await.into_iter().sum::<u32>(), 150);
    // The rates of others are theirs.
    let rates = connect();
    let other = PluginName::new("q").unwrap();
    assert_eq!(rates.take(&other, Rate::Db, 150, (3, 3)).await, Some(3));
    assert_eq!(
        rates.take(&plugin(), Rate::Http, 150, (3, 3)).await,
        Some(3)
    );
    assert_eq!(rates.take(&plugin(), Rate::Db, 150, (3, 3)).await, Some(0));
    // A limit that was raised leaves more, one that was lowered nothing.
    assert_eq!(
        rates.take(&plugin(), Rate::Db, 160, (10, 30)).await,
        Some(10)
    );
    assert_eq!(rates.take(&plugin(), Rate::Db, 100, (1, 1)).await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_leaves_its_window() {
    let redis = gk_servers::Redis::start().unwrap();
    let rates = Rates::new(Arc::new(Redis::new(&redis.url()).unwrap()));
    assert_eq!(rates.take(&plugin(), Rate::Calls, 5, (5, 9)).await, Some(5));
    let again = async {
        loop {
            match rates.take(&plugin(), Rate::Calls, 5, (1, 1)).await {
                Some(0) => tokio::task::yield_now().await,
                taken => return taken,
            }
        }
    };
    assert_eq!(tokio::time::timeout(SOON, again).await.unwrap(), Some(1));
}

#[tokio::test]
async fn without_redis_a_rate_is_not_known() {
    let mut redis = gk_servers::Redis::start().unwrap();
    let rates = Rates::new(Arc::new(Redis::new(&redis.url()).unwrap()));
    redis.stop().unwrap();
    assert_eq!(rates.take(&plugin(), Rate::Db, 150, (3, 3)).await, None);
}

async fn local_files() -> (tempfile::TempDir, Arc<SharedFiles>) {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}", dir.path().display());
    let files = SharedFiles::new(&url, [], database().await).unwrap();
    (dir, Arc::new(files))
}

/// The directory of the plugin's objects, below the id of the hosts.
fn of_plugin(dir: &tempfile::TempDir) -> std::path::PathBuf {
    let mut all = std::fs::read_dir(dir.path()).unwrap();
    all.next().unwrap().unwrap().path().join("p")
}

fn objects(dir: &tempfile::TempDir) -> usize {
    std::fs::read_dir(of_plugin(dir)).unwrap().count()
}

async fn put(files: &SharedFiles, key: &str, data: &str) {
    let (data, none) = (Bytes::from(data.to_owned()), BTreeMap::new());
    let put = files.store(&plugin(), key, data, &none, 1 << 20).await;
    put.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_in_a_directory_of_all_hosts() {
    let kept = parking_lot::Mutex::new(Vec::new());
    testing::contract(|| async {
        let (dir, files) = local_files().await;
        kept.lock().push(dir);
        files as _
    })
    .await;
}

fn in_s3(s3: &gk_servers::S3, prefix: &str, database: gk_cluster::Database) -> Arc<SharedFiles> {
    let variables = s3.variables().into_iter();
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    let url = format!("{}/{prefix}", s3.url());
    Arc::new(SharedFiles::new(&url, variables, database).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_in_s3() {
    let s3 = gk_servers::S3::start().unwrap();
    let next = std::sync::atomic::AtomicU32::new(0);
    testing::contract(|| async {
        let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        in_s3(&s3, &format!("a/{number}"), database().await) as _
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_object_store_nothing_is_stored_and_nothing_lost() {
    let mut s3 = gk_servers::S3::start().unwrap();
    let files = in_s3(&s3, "", database().await);
    files.check().await.unwrap();
    put(&files, "a", "1").await;
    s3.stop();
    let none = BTreeMap::new();
    let data = Bytes::from_static(b"2");
    let refused = files.store(&plugin(), "a", data, &none, 1 << 20).await;
    let kind = refused.unwrap_err().kind();
    assert!(matches!(kind, ErrorKind::Unavailable | ErrorKind::Timeout));
    let kind = files.get(&plugin(), "a").await.unwrap_err().kind();
    assert!(matches!(kind, ErrorKind::Unavailable | ErrorKind::Timeout));
    files.check().await.unwrap_err();
    // What needs the list alone goes on.
    let page = files.list(&plugin(), "", "", 10).await.unwrap();
    assert_eq!(page.files[0].key, "a");
    s3.restart().unwrap();
    assert_eq!(&files.get(&plugin(), "a").await.unwrap().data[..], b"1");
    put(&files, "a", "3").await;
    assert_eq!(&files.get(&plugin(), "a").await.unwrap().data[..], b"3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_without_a_file_are_removed_and_no_others() {
    let (dir, files) = local_files().await;
    put(&files, "a", "1").await;
    put(&files, "a", "2").await;
    put(&files, "b", "1").await;
    let two = async {
        while objects(&dir) != 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, two)
        .await
        .expect("what was replaced is removed");
    // A host that ended between an object and its row.
    let own = of_plugin(&dir);
    std::fs::write(own.join("orphan"), "x").unwrap();
    // What is another program's, or other hosts', stays.
    for foreign in ["other/p/x", "p/y"] {
        let path = dir.path().join(foreign);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    let count = || std::fs::read_dir(&own).unwrap().count();
    let young = files.remove_orphans(Duration::from_secs(3600)).await;
    assert_eq!((young.unwrap(), count()), (0, 3));
    let removed = files.remove_orphans(Duration::ZERO).await;
    assert_eq!((removed.unwrap(), count()), (1, 2));
    assert_eq!(&files.get(&plugin(), "a").await.unwrap().data[..], b"2");
    // Bytes that are gone are told apart from a file that never was.
    assert!(dir.path().join("other/p/x").exists() && dir.path().join("p/y").exists());
    std::fs::remove_dir_all(own).unwrap();
    let error = files.get(&plugin(), "a").await.unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
}
