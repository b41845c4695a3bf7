//! AutoMTLS: both ends, the wrong certificate, and Go's own certificates.

use std::sync::Arc;

use bytes::Bytes;
use gk_wire::automtls::{Identity, der_from_pem};
use gk_wire::gob::Payload;
use gk_wire::host::Client;
use gk_wire::plugin::Connection;
use gk_wire::{Handshake, Limits, Request, Responder, RpcError, Service};
use tokio::net::UnixStream;

use crate::peer::{Methods, config, server, soon};

struct Same;

impl Service for Same {
    fn call(&self, request: Request, responder: Responder) {
        match request.body.decode::<Payload>() {
            Ok(payload) => responder.reply(&payload),
            Err(error) => responder.error(&error.to_string()),
        }
    }
}

/// A host and a plugin over TLS, each expecting the certificate it is given.
fn pair(
    host: &Identity,
    plugin: &Identity,
    host_expects: &[u8],
    plugin_expects: &[u8],
) -> (Client, Connection) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let server = gk_wire::plugin::Server::new(config()).plugin("same", |_| Arc::new(Same));
    let connection = server.serve_connection_tls(theirs, plugin.server(plugin_expects).unwrap());
    let tls = host.client(host_expects).unwrap();
    let client = Client::connect_tls(ours, Limits::default(), tls).unwrap();
    (client, connection)
}

#[tokio::test]
async fn host_and_plugin_speak_under_tls() {
    let (host, plugin) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let (client, connection) = pair(&host, &plugin, plugin.cert_der(), host.cert_der());
    let same = soon(client.dispense("same")).await.unwrap();
    // Small and large calls at once: records of all sizes, in both directions, in any mixture.
    let mut calls = tokio::task::JoinSet::new();
    for round in 0..200_usize {
        let same = same.clone();
        let length = [0, 1, 700, 5_000, 16_384, 40_000, 300_000][round % 7];
        calls.spawn(async move {
            let sent = Payload(Bytes::from(vec![u8::try_from(round).unwrap(); length]));
            let got: Payload = same.call("Plugin.Same", &sent).await.unwrap();
            assert_eq!(got, sent);
        });
    }
    while let Some(call) = soon(calls.join_next()).await {
        call.unwrap();
    }
    soon(client.ping()).await.unwrap();
    soon(client.quit()).await.unwrap();
    assert_eq!(soon(connection.closed()).await, "the host said quit");
    assert_eq!(
        soon(client.closed()).await,
        "the peer closed the connection"
    );
}

/// Much is sent before the peer has said a word: it waits for the TLS handshake without spinning.
#[tokio::test]
async fn what_is_sent_ahead_of_the_tls_handshake_waits() {
    let (host, plugin) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let (ours, theirs) = UnixStream::pair().unwrap();
    let tls = host.client(plugin.cert_der()).unwrap();
    let client = Arc::new(Client::connect_tls(ours, Limits::default(), tls).unwrap());
    let mut pings = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let client = Arc::clone(&client);
        let name = "x".repeat(100_000);
        pings.spawn(async move { client.dispense(&name).await.unwrap_err() });
        tokio::task::yield_now().await;
    }
    let service = Arc::new(Methods::default());
    let _connection = server(Limits::default(), &service)
        .serve_connection_tls(theirs, plugin.server(host.cert_der()).unwrap());
    while let Some(error) = soon(pings.join_next()).await {
        let error = error.unwrap();
        assert!(
            matches!(&error, RpcError::Remote(text) if text.starts_with("unknown plugin type")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_certificate_that_was_not_expected_is_refused() {
    let identities = [(); 3].map(|()| Identity::generate().unwrap());
    let [host, plugin, other] = &identities;
    // The plugin is another one than its handshake said.
    let (client, connection) = pair(host, plugin, other.cert_der(), host.cert_der());
    let error = soon(client.ping()).await.unwrap_err();
    assert!(
        matches!(&error, RpcError::Closed(reason) if reason.contains("TLS: invalid peer certificate")),
        "{error}"
    );
    assert!(soon(connection.closed()).await.contains("TLS"));
    // The host is another one than the environment said.
    let (client, connection) = pair(host, plugin, plugin.cert_der(), other.cert_der());
    assert!(
        soon(connection.closed())
            .await
            .contains("TLS: invalid peer certificate")
    );
    assert!(matches!(
        soon(client.ping()).await,
        Err(RpcError::Closed(_))
    ));
}

#[tokio::test]
async fn a_plain_peer_is_refused() {
    let (host, plugin) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let (ours, theirs) = UnixStream::pair().unwrap();
    let service = Arc::new(Methods::default());
    let connection = server(Limits::default(), &service)
        .serve_connection_tls(theirs, plugin.server(host.cert_der()).unwrap());
    let client = Client::connect(ours, Limits::default()).unwrap();
    assert!(soon(connection.closed()).await.contains("TLS"));
    assert!(soon(client.ping()).await.is_err());
    assert!(
        Identity::generate()
            .unwrap()
            .client(b"no certificate")
            .is_ok()
    );
}

/// What the recorded session of a Go host and a Go plugin exchanged.
#[test]
fn gos_certificates_are_read() {
    let lines = include_str!("../data/automtls.jsonl").lines();
    let events: Vec<serde_json::Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let environment = events[0]["env"].as_array().unwrap();
    let pem = environment
        .iter()
        .find_map(|entry| entry.as_str().unwrap().strip_prefix("PLUGIN_CLIENT_CERT="))
        .unwrap();
    let host_cert = der_from_pem(pem).unwrap();
    let line = events
        .iter()
        .find(|event| event["dir"] == "p2h-stdout")
        .unwrap();
    let handshake = Handshake::parse(line["text"].as_str().unwrap().as_bytes()).unwrap();
    let plugin_cert = handshake.cert.unwrap();
    // P-521 (1.3.132.0.35), as only aws-lc-rs has it.
    let p521 = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];
    for cert in [&host_cert, &plugin_cert] {
        assert!(cert.windows(p521.len()).any(|part| part == p521));
    }
    let identity = Identity::generate().unwrap();
    identity.client(&plugin_cert).unwrap();
    identity.server(&host_cert).unwrap();
    assert!(der_from_pem("no PEM").is_err());
    assert!(der_from_pem("-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----").is_err());
    assert_eq!(
        der_from_pem(identity.cert_pem()).unwrap(),
        identity.cert_der()
    );
}
