//! The cache in a real Redis.

use std::time::Duration;

use bytes::Bytes;
use gk_hostapi::ErrorKind;
use gk_servers::{Certificate, Redis, shared_redis};
use gk_services::cache::{Cache, CacheConfig, VALUE_BYTES_MAX};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::{far, plugin, soon};

fn quick() -> CacheConfig {
    CacheConfig {
        // Within it a server that is well has to answer, on a busy machine, too.
        timeout: Duration::from_secs(5),
        ..CacheConfig::default()
    }
}

#[tokio::test]
async fn bytes_come_back_as_they_were() {
    // Row 62 of the contract: upstream hands JSON-encoded bytes back.
    let cache = Cache::redis(&shared_redis().unwrap(), CacheConfig::default()).unwrap();
    let p = plugin("round-trip");
    let every: Vec<u8> = (0..=255).collect();
    let large = vec![0xff; VALUE_BYTES_MAX];
    for value in [
        &b""[..],
        b"\"quoted\"",
        b"\0",
        b"\r\n$3\r\nabc",
        &every,
        &large,
    ] {
        let value = Bytes::copy_from_slice(value);
        cache
            .set(&p, "k", value.clone(), None, far())
            .await
            .unwrap();
        assert_eq!(cache.get(&p, "k", far()).await.unwrap(), Some(value));
    }
    cache.delete(&p, "k", far()).await.unwrap();
    cache.delete(&p, "k", far()).await.unwrap();
    assert_eq!(cache.get(&p, "k", far()).await.unwrap(), None);
    let larger = cache
        .set(&p, "k", vec![0; VALUE_BYTES_MAX + 1].into(), None, far())
        .await;
    assert_eq!(larger.unwrap_err().kind(), ErrorKind::Limit);
}

#[tokio::test]
async fn entries_expire_on_their_own_time() {
    let cache = Cache::redis(&shared_redis().unwrap(), CacheConfig::default()).unwrap();
    let p = plugin("expiry");
    let ttl = Duration::from_millis(50);
    cache
        .set(&p, "short", Bytes::new(), Some(ttl), far())
        .await
        .unwrap();
    cache
        .set(&p, "long", Bytes::new(), None, far())
        .await
        .unwrap();
    let start = Instant::now();
    while cache.get(&p, "short", far()).await.unwrap().is_some() {
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "it never expires"
        );
    }
    assert!(cache.get(&p, "long", far()).await.unwrap().is_some());
}

#[tokio::test]
async fn keys_do_not_meet() {
    let cache = Cache::redis(&shared_redis().unwrap(), CacheConfig::default()).unwrap();
    let (a, ab) = (plugin("a"), plugin("a-b"));
    cache
        .set(&a, "b:c", Bytes::from_static(b"a's"), None, far())
        .await
        .unwrap();
    for (p, key) in [
        (&ab, "c"),
        (&ab, "b:c"),
        (&plugin("b"), "c"),
        (&ab, "1:a:b:c"),
    ] {
        assert_eq!(cache.get(p, key, far()).await.unwrap(), None, "{p} {key}");
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_an_error_and_comes_back() {
    let mut server = Redis::start().unwrap();
    let cache = Cache::redis(&server.url(), quick()).unwrap();
    let p = plugin("p");
    cache
        .set(&p, "k", Bytes::from_static(b"v"), None, far())
        .await
        .unwrap();
    for _ in 0..2 {
        server.stop().unwrap();
        // The connection it had, and the ones that are refused.
        for _ in 0..3 {
            let error = cache.get(&p, "k", far()).await.unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout),
                "{error}"
            );
            let text = error.to_string();
            assert!(
                !text.contains("127.0.0.1") && !text.contains(&server.port().to_string()),
                "{text}"
            );
        }
        server.restart().unwrap();
        // The server was ready before `restart` returned.
        assert_eq!(
            cache.get(&p, "k", far()).await.unwrap(),
            Some(Bytes::from_static(b"v"))
        );
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_an_error_by_the_deadline() {
    let server = Redis::start().unwrap();
    let cache = Cache::redis(&server.url(), quick()).unwrap();
    let p = plugin("p");
    cache
        .set(&p, "k", Bytes::from_static(b"v"), None, far())
        .await
        .unwrap();
    server.pause().unwrap();
    let deadline = soon();
    let error = cache.get(&p, "k", deadline).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    // Without a deadline of the caller's its own time ends the wait, and the connection.
    let error = cache.get(&p, "k", far()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    server.resume().unwrap();
    assert_eq!(
        cache.get(&p, "k", far()).await.unwrap(),
        Some(Bytes::from_static(b"v"))
    );
}

/// A connection that leads to nobody any more and does not say so, as when a machine between is
/// gone: each connection goes to the server until `cut`, and then it stays open and silent.
struct Cable {
    port: u16,
    cut: tokio::sync::watch::Sender<u32>,
}

impl Cable {
    async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cut, cuts) = tokio::sync::watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut cuts = cuts.clone();
                cuts.mark_unchanged();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(("127.0.0.1", server)).await?;
                    tokio::select! {
                        done = tokio::io::copy_bidirectional(&mut near, &mut far) => done.map(drop),
                        _ = cuts.changed() => std::future::pending().await,
                    }
                });
            }
        });
        Self { port, cut }
    }
}

#[tokio::test]
async fn a_connection_that_is_silently_dead_is_replaced() {
    let server = Redis::start().unwrap();
    let cable = Cable::to(server.port()).await;
    let url = server
        .url()
        .replace(&server.port().to_string(), &cable.port.to_string());
    let cache = Cache::redis(&url, quick()).unwrap();
    let p = plugin("p");
    cache
        .set(&p, "k", Bytes::from_static(b"v"), None, far())
        .await
        .unwrap();
    cable.cut.send_modify(|cut| *cut += 1);
    let error = cache.get(&p, "k", far()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert_eq!(
        cache.get(&p, "k", far()).await.unwrap(),
        Some(Bytes::from_static(b"v"))
    );
}

#[tokio::test]
async fn a_wrong_password_is_an_error_that_does_not_show_it() {
    let url = shared_redis().unwrap();
    let (_, server) = url.split_once('@').expect("a URL with a password");
    let cache = Cache::redis(&format!("redis://:hunter2@{server}"), quick()).unwrap();
    let error = cache.get(&plugin("p"), "k", far()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

/// The machine's authorities do not know this one.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_nobody_vouches_for_is_not_believed() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let (certificate, key) = (certificate.as_str(), key.as_str());
    let server = Redis::start_with_tls(&Certificate { certificate, key }).unwrap();
    let cache = Cache::redis(&server.url(), CacheConfig::default()).unwrap();
    let error = cache.get(&plugin("a"), "k", far()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let plain = server.url().replace("rediss:", "redis:");
    let cache = Cache::redis(&plain, CacheConfig::default()).unwrap();
    assert!(cache.get(&plugin("a"), "k", far()).await.is_err());
}
