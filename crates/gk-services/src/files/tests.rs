//! Files on a real disk, with paths resolved in both ways.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::local::LocalFiles;
use super::*;
use gk_hostapi::ErrorKind;

/// Files whose paths are resolved as on a kernel without `openat2`.
fn open_stepwise(root: &Path) -> Files {
    Files::new(LocalFiles::open_stepwise(root).unwrap())
}

fn plugin(name: &str) -> PluginName {
    PluginName::new(name).unwrap()
}

fn none() -> BTreeMap<String, String> {
    BTreeMap::new()
}

fn data(bytes: usize) -> Bytes {
    Bytes::from(vec![7; bytes])
}

/// Bytes on disk of a file without metadata, besides its data.
const HEADER: u64 = 14;

async fn keys(files: &Files, plugin: &PluginName, prefix: &str) -> Vec<String> {
    let page = files.list(plugin, prefix, None, 0).await.unwrap();
    page.files.into_iter().map(|file| file.key).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_of_a_store_holds() {
    let dir = tempfile::tempdir().unwrap();
    let next = std::sync::atomic::AtomicU32::new(0);
    testing::contract(|| async {
        let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let root = dir.path().join(number.to_string());
        Arc::new(LocalFiles::open(&root).unwrap()) as _
    })
    .await;
}

#[tokio::test]
async fn files_are_stored_listed_read_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    for files in [
        Files::open(&dir.path().join("kernel")).unwrap(),
        open_stepwise(&dir.path().join("step")),
    ] {
        let p = plugin("p");
        let metadata = BTreeMap::from([("content-type".to_owned(), "image/png".to_owned())]);
        let image = Bytes::from_static(b"\x89PNG\0");
        files
            .store(&p, "a/b/image.png", image.clone(), &metadata, None)
            .await
            .unwrap();
        let stored = files.get(&p, "a/b/image.png").await.unwrap();
        assert_eq!(
            stored,
            StoredFile {
                data: image,
                metadata: metadata.clone()
            }
        );
        files
            .store(&p, "empty", Bytes::new(), &none(), None)
            .await
            .unwrap();

        let page = files.list(&p, "", None, 0).await.unwrap();
        let (image, empty) = (&page.files[0], &page.files[1]);
        assert_eq!((image.key.as_str(), image.size), ("a/b/image.png", 5));
        assert_eq!(
            (image.content_type.as_str(), &image.metadata),
            ("image/png", &metadata)
        );
        assert_eq!(
            (empty.size, empty.content_type.as_str()),
            (0, CONTENT_TYPE_DEFAULT)
        );
        let json = serde_json::to_value(image).unwrap();
        let age = OffsetDateTime::now_utc() - image.modified_at;
        assert!(age.whole_minutes() == 0, "{json}");
        assert!(
            json["modified_at"].as_str().unwrap().ends_with('Z'),
            "{json}"
        );

        assert!(files.delete(&p, "a/b/image.png").await.unwrap());
        assert!(!files.delete(&p, "a/b/image.png").await.unwrap());
        let gone = files.get(&p, "a/b/image.png").await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound);
        assert_eq!(keys(&files, &p, "").await, ["empty"]);
        assert_eq!(files.used_bytes(&p).await.unwrap(), HEADER);
        files
            .store(&p, "a/c", data(1), &none(), None)
            .await
            .unwrap();
        files.clear(&p).await.unwrap();
        assert_eq!(files.used_bytes(&p).await.unwrap(), 0);
    }
    // Directories that became empty are gone.
    for root in ["kernel", "step"] {
        assert_eq!(
            std::fs::read_dir(dir.path().join(root).join("p"))
                .unwrap()
                .count(),
            0
        );
    }
}

#[tokio::test]
async fn lists_are_ordered_paged_and_free_of_anything_internal() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::open(dir.path()).unwrap();
    let p = plugin("p");
    let all = ["a", "a/b", "a/b/c", "ab", "b.meta.json", "b", "ä"];
    for key in all {
        files
            .store(
                &p,
                key,
                Bytes::copy_from_slice(key.as_bytes()),
                &none(),
                None,
            )
            .await
            .unwrap();
    }
    let mut expected = all.to_vec();
    expected.sort_unstable();
    assert_eq!(keys(&files, &p, "").await, expected);
    // A listed key can be fed back.
    for key in &expected {
        assert_eq!(files.get(&p, key).await.unwrap().data, key.as_bytes());
    }
    assert_eq!(keys(&files, &p, "a").await, ["a", "a/b", "a/b/c", "ab"]);
    assert_eq!(keys(&files, &p, "a/").await, ["a/b", "a/b/c"]);
    assert_eq!(keys(&files, &p, "a/b").await, ["a/b", "a/b/c"]);
    assert_eq!(keys(&files, &p, "a/x").await, [""; 0]);
    assert_eq!(keys(&files, &p, "../").await, [""; 0]);
    let first = files.list(&p, "a", None, 3).await.unwrap();
    assert_eq!(first.next.as_deref(), Some("a/b/c"));
    let last = files.list(&p, "a", first.next.as_deref(), 3).await.unwrap();
    assert_eq!(
        (last.files.len(), last.files[0].key.as_str(), last.next),
        (1, "ab", None)
    );
}

#[tokio::test]
async fn the_quota_counts_an_overwritten_file_once() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::open(dir.path()).unwrap();
    let (p, quota) = (plugin("p"), Some(1000 + HEADER));
    files
        .store(&p, "k", data(1000), &none(), quota)
        .await
        .unwrap();
    files
        .store(&p, "k", data(1000), &none(), quota)
        .await
        .unwrap();
    let error = files
        .store(&p, "k", data(1001), &none(), quota)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert_eq!(
        error.to_string(),
        "plugin \"p\" storage limit exceeded (0 + 1015 > 1014 bytes)"
    );
    assert_eq!(files.get(&p, "k").await.unwrap().data.len(), 1000);
    let second = files
        .store(&p, "l", Bytes::new(), &none(), quota)
        .await
        .unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Limit);
    files
        .store(&plugin("q"), "k", data(1000), &none(), quota)
        .await
        .unwrap();
    // A lowered quota does not keep anybody from writing less.
    files
        .store(&p, "k", data(999), &none(), Some(10))
        .await
        .unwrap();
    files.delete(&p, "k").await.unwrap();
    assert_eq!(files.used_bytes(&p).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_at_once_do_not_get_around_the_quota() {
    let dir = tempfile::tempdir().unwrap();
    let files = Arc::new(Files::open(dir.path()).unwrap());
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..32 {
        let files = Arc::clone(&files);
        writers.spawn(async move {
            let quota = Some(8 * (100 + HEADER));
            let key = format!("dir/{n}");
            files
                .store(&plugin("p"), &key, data(100), &none(), quota)
                .await
                .is_ok()
        });
    }
    let stored = writers
        .join_all()
        .await
        .into_iter()
        .filter(|ok| *ok)
        .count();
    assert_eq!(stored, 8);
    assert_eq!(keys(&files, &plugin("p"), "").await.len(), 8);
}

#[tokio::test]
async fn a_start_adds_up_what_is_there_and_removes_what_is_unfinished() {
    let dir = tempfile::tempdir().unwrap();
    let p = plugin("p");
    let files = Files::open(dir.path()).unwrap();
    files
        .store(&p, "a/b", data(100), &none(), None)
        .await
        .unwrap();
    drop(files);
    // The host ended in the middle of a write.
    let unfinished = dir.path().join("p/a.d/.new-1-1");
    std::fs::write(&unfinished, b"half").unwrap();
    let files = Files::open(dir.path()).unwrap();
    assert_eq!(keys(&files, &p, "").await, ["a/b"]);
    assert_eq!(files.used_bytes(&p).await.unwrap(), 100 + HEADER);
    assert!(!unfinished.exists());
}

#[tokio::test]
async fn modes_are_private_and_links_lead_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, b"secret").unwrap();
    for (root, stepwise) in [("kernel", false), ("step", true)] {
        let root = dir.path().join(root);
        let files = match stepwise {
            false => Files::open(&root).unwrap(),
            true => open_stepwise(&root),
        };
        let p = plugin("p");
        files
            .store(&p, "a/b", data(1), &none(), None)
            .await
            .unwrap();
        let mode = |path: &str| root.join(path).metadata().unwrap().permissions().mode() & 0o777;
        let modes = [mode(""), mode("p"), mode("p/a.d"), mode("p/a.d/b.f")];
        assert_eq!(modes, [0o700, 0o700, 0o700, 0o600]);

        symlink(&secret, root.join("p/link.f")).unwrap();
        symlink(dir.path(), root.join("p/out.d")).unwrap();
        std::fs::write(dir.path().join("x.f"), b"GKFILE1\n\0\0\0\x02{}out").unwrap();
        // Somebody who resolves paths in the ordinary way gets out.
        assert!(std::fs::read(root.join("p/out.d/x.f")).is_ok());
        for key in ["link", "out/x"] {
            assert!(files.get(&p, key).await.is_err(), "{key}");
        }
        assert!(
            files
                .store(&p, "out/y", data(1), &none(), None)
                .await
                .is_err()
        );
        assert!(!dir.path().join("y.f").exists());
        // To store over a link replaces the link, not what it leads to.
        files
            .store(&p, "link", data(1), &none(), None)
            .await
            .unwrap();
        assert_eq!(std::fs::read(&secret).unwrap(), b"secret");
    }
}

#[tokio::test]
async fn plugins_do_not_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::open(dir.path()).unwrap();
    let (p, q) = (plugin("p"), plugin("q"));
    files.store(&p, "k", data(1), &none(), None).await.unwrap();
    assert_eq!(
        files.get(&q, "k").await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert!(keys(&files, &q, "").await.is_empty());
    assert!(!files.delete(&q, "k").await.unwrap());
    for key in ["../p/k", "p/k", "/p/k"] {
        assert!(files.get(&q, key).await.is_err());
    }
    files.clear(&q).await.unwrap();
    assert_eq!(keys(&files, &p, "").await, ["k"]);
}

#[tokio::test]
async fn a_file_has_a_largest_size() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::open(dir.path()).unwrap();
    let p = plugin("p");
    files
        .store(&p, "k", data(FILE_BYTES_MAX), &none(), None)
        .await
        .unwrap();
    assert_eq!(files.get(&p, "k").await.unwrap().data.len(), FILE_BYTES_MAX);
    let larger = files
        .store(&p, "k", data(FILE_BYTES_MAX + 1), &none(), None)
        .await;
    assert_eq!(larger.unwrap_err().kind(), ErrorKind::Limit);
    std::fs::write(dir.path().join("p/k.f"), b"not what was written").unwrap();
    assert_eq!(
        files.get(&p, "k").await.unwrap_err().kind(),
        ErrorKind::Failed
    );
}

/// Directories take room on the disk that no byte counts, whether or not files are in them.
#[tokio::test]
async fn directories_have_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let p = plugin("p");
    for mut files in [
        LocalFiles::open(&dir.path().join("kernel")).unwrap(),
        LocalFiles::open_stepwise(&dir.path().join("step")).unwrap(),
    ] {
        files.directories_max = 3;
        let files = Files::new(files);
        let store =
            async |files: &Files, key: &str| files.store(&p, key, data(1), &none(), None).await;
        store(&files, "a/b/1").await.unwrap();
        store(&files, "a/b/2").await.unwrap();
        let error = store(&files, "c/d/1").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        assert!(error.to_string().contains("3 directories"), "{error}");
        store(&files, "a/c/1").await.unwrap();
        assert!(store(&files, "d/1").await.is_err());
        // What needs none more is stored, and what becomes empty is free again.
        store(&files, "1").await.unwrap();
        store(&files, "a/c/2").await.unwrap();
        for key in ["a/c/1", "a/c/2"] {
            assert!(files.delete(&p, key).await.unwrap());
        }
        store(&files, "d/1").await.unwrap();
        assert!(store(&files, "e/1").await.is_err());
    }
    // Those that are left over from a write that failed count from the host's start on.
    let left = dir.path().join("kernel/p/f.d");
    std::fs::create_dir(&left).unwrap();
    let mut files = LocalFiles::open(&dir.path().join("kernel")).unwrap();
    files.directories_max = 5;
    let files = Files::new(files);
    files
        .store(&p, "e/1", data(1), &none(), None)
        .await
        .unwrap();
    let more = files.store(&p, "g/1", data(1), &none(), None).await;
    assert_eq!(more.unwrap_err().kind(), ErrorKind::Limit);
}
