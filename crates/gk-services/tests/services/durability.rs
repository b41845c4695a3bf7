//! What was acknowledged is there after `kill -9`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use gk_services::files::Files;
use gk_services::kv::{Kv, KvCondition, KvQuota};
use gk_services::store::Store;

use super::plugin;

/// Names the directory in the process that is killed.
const DIRECTORY: &str = "GK_TEST_DURABILITY_DIR";

/// Acknowledged writes before the process is killed.
const WRITES: usize = 30;

async fn open(directory: &Path) -> (Kv, Files) {
    let store = Store::open(&directory.join("host.db")).unwrap();
    (
        Kv::new(store, KvQuota::default()),
        Files::open(&directory.join("files")).unwrap(),
    )
}

/// The test itself, and in a process of its own the writer that is killed.
#[tokio::test]
async fn acknowledged_writes_survive_a_kill() {
    let p = plugin("p");
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        let (kv, files) = open(Path::new(&directory)).await;
        for n in 0_usize.. {
            let key = format!("k{n:06}");
            let value = Bytes::from(key.repeat(100));
            kv.set(&p, &key, value.clone(), KvCondition::Any)
                .await
                .unwrap();
            files
                .store(&p, &key, value, &Default::default(), None)
                .await
                .unwrap();
            println!("\nacknowledged {key}");
        }
    }
    let directory = tempfile::tempdir().unwrap();
    #[expect(
        clippy::disallowed_methods,
        reason = "the test's own program, which it kills"
    )]
    let mut child = Command::new(std::env::current_exe().unwrap());
    let mut child = child
        .args([
            "services::durability::acknowledged_writes_survive_a_kill",
            "--exact",
            "--nocapture",
        ])
        .env(DIRECTORY, directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let acknowledged = |line: String| line.strip_prefix("acknowledged ").map(ToOwned::to_owned);
    let mut keys: Vec<_> = lines
        .by_ref()
        .filter_map(acknowledged)
        .take(WRITES)
        .collect();
    child.kill().unwrap();
    child.wait().unwrap();
    keys.extend(lines.filter_map(acknowledged));
    assert!(keys.len() >= WRITES, "the writer ended by itself: {keys:?}");
    let (kv, files) = open(directory.path()).await;
    for key in &keys {
        let value = Bytes::from(key.repeat(100));
        assert_eq!(
            kv.get(&p, key).await.unwrap().map(|kept| kept.value),
            Some(value.clone()),
            "{key}"
        );
        assert_eq!(files.get(&p, key).await.unwrap().data, value, "{key}");
    }
    // The write that was under way is there as a whole or not at all, and counted rightly.
    let stored = files.list(&p, "", None, 0).await.unwrap().files;
    assert!(stored.len() - keys.len() <= 1);
    let kept = kv.list(&p, "", None, 1000).await.unwrap().keys.len();
    assert_eq!(kv.usage(&p).await.unwrap().keys, kept as u64);
    let disk: u64 = stored.iter().map(|file| file.size + 14).sum();
    assert_eq!(files.used_bytes(&p).await.unwrap(), disk);
}
