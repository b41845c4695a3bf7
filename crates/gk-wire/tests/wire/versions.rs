//! Several versions of an application's protocol, each with its set of plugins.

use std::sync::Arc;

use gk_wire::host::Client;
use gk_wire::plugin::Server;
use gk_wire::{Handshake, IncompatibleVersion, Limits, Network, Protocol, Service};
use tokio::net::UnixStream;

use crate::peer::{Methods, config, soon};

fn server() -> Server {
    let methods = |_: &gk_wire::Broker| Arc::new(Methods::default()) as Arc<dyn Service>;
    let first = config().protocol_version;
    Server::new(config())
        .plugin("first", methods)
        .versioned_plugin(first + 2, "third", methods)
        .versioned_plugin(first + 1, "second", methods)
}

#[test]
fn the_highest_version_is_served_that_both_have() {
    let first = config().protocol_version;
    let list = |versions: &[u32]| {
        let versions: Vec<_> = versions.iter().map(ToString::to_string).collect();
        versions.join(",")
    };
    for (offered, served) in [
        (list(&[first, first + 1, first + 2]), first + 2),
        (list(&[first + 1, first]), first + 1),
        (list(&[first + 9, first]), first),
        (format!("nonsense, {}", first + 1), first + 1),
        // Without a common one the host has to say what is wrong.
        (list(&[first + 9]), first),
        (String::new(), first),
    ] {
        assert_eq!(server().negotiate(Some(&offered)), served, "{offered:?}");
    }
    // An old host offers nothing.
    assert_eq!(server().negotiate(None), first);
    assert_eq!(Server::new(config()).negotiate(None), first);
}

#[tokio::test]
async fn each_version_has_a_set_of_its_own() {
    let first = config().protocol_version;
    for (version, name, other) in [(first, "first", "second"), (first + 1, "second", "first")] {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let _connection = server().at_version(version).serve_connection(theirs);
        let client = Client::connect(ours, Limits::default()).unwrap();
        soon(client.dispense(name)).await.unwrap();
        let unknown = soon(client.dispense(other)).await.unwrap_err();
        let text = unknown.to_string();
        assert!(text.contains("unknown plugin type"), "{text}");
    }
}

#[test]
fn a_host_offers_what_it_speaks_and_refuses_what_it_does_not() {
    let environment = config().environment_for(&[4, 7]);
    let offered = environment
        .iter()
        .find(|(name, _)| name == gk_wire::handshake::env::PROTOCOL_VERSIONS);
    assert_eq!(offered.unwrap().1, "4,7");
    let handshake = Handshake {
        app_version: 7,
        network: Network::Unix,
        address: "/x".to_owned(),
        protocol: Protocol::NetRpc,
        cert: None,
        multiplex: false,
    };
    assert_eq!(handshake.version(&[4, 7]), Ok(7));
    let refused = handshake.version(&[4]).unwrap_err();
    assert_eq!(
        refused,
        IncompatibleVersion {
            plugin: 7,
            host: vec![4]
        }
    );
    let text = refused.to_string();
    assert!(
        text.contains("the plugin speaks 7, this host [4]"),
        "{text}"
    );
}
