//! Limits the connections and the memory of each client, so that one client cannot use up all of
//! them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gk_runtime::MemoryBudget;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::share::Share;
use super::{Peer, ServerConfig, ServerLimits};

/// Maximum number of connections at a time; further ones wait.
pub const CONNECTIONS_MAX: usize = 4096;

/// Maximum number of connections of one client address at a time. An IPv6 client is a network of 64
/// bits, which is what one client usually has.
pub const CONNECTIONS_PER_CLIENT_MAX: usize = 1024;

/// Minimum interval between log lines about clients with too many connections.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Connections of each client.
#[derive(Debug)]
pub(super) struct Clients {
    limits: watch::Receiver<ServerLimits>,
    unlimited: Vec<ipnet::IpNet>,
    memory: MemoryBudget,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    clients: HashMap<IpAddr, Client>,
    last_line: Option<Instant>,
}

/// Connections and memory of one client.
#[derive(Debug)]
struct Client {
    connections: usize,
    share: Share,
}

/// Guard of a client's connection, until dropped.
#[derive(Debug)]
pub(super) struct Place {
    of: Option<(Arc<Clients>, IpAddr)>,
    share: Option<Share>,
}

impl Place {
    const UNLIMITED: Place = Place {
        of: None,
        share: None,
    };

    /// Returns the client's share of the host's memory; `None` if it has no limit.
    pub(super) fn share(&self) -> Option<&Share> {
        self.share.as_ref()
    }
}

impl Clients {
    pub(super) fn new(config: &ServerConfig) -> Arc<Self> {
        metrics::describe_counter!(
            "gk_http_connections_refused_total",
            "Connections that were closed at once because their client had too many."
        );
        Arc::new(Clients {
            limits: config.limits.clone(),
            unlimited: config.unlimited.clone(),
            memory: config.memory.clone(),
            state: Mutex::default(),
        })
    }

    /// Admits one more connection of this client; `None` if the client is at its limit.
    pub(super) fn enter(self: &Arc<Self>, peer: Peer) -> Option<Place> {
        let Some(address) = peer.address else {
            return Some(Place::UNLIMITED);
        };
        let ip = address.ip().to_canonical();
        if self.unlimited.iter().any(|network| network.contains(&ip)) {
            return Some(Place::UNLIMITED);
        }
        let network = client(ip);
        let limit = self.limits.borrow().connections_per_client;
        let mut state = self.state.lock();
        let client = state.clients.entry(network).or_insert_with(|| Client {
            connections: 0,
            share: Share::of(&self.memory),
        });
        if client.connections < limit {
            client.connections += 1;
            return Some(Place {
                of: Some((Arc::clone(self), network)),
                share: Some(client.share.clone()),
            });
        }
        metrics::counter!("gk_http_connections_refused_total").increment(1);
        let now = Instant::now();
        let due = |last: Instant| now.saturating_duration_since(last) >= LINE_INTERVAL;
        if state.last_line.is_none_or(due) {
            state.last_line = Some(now);
            tracing::warn!(client = %ip, limit, "a client has too many connections: further ones are closed; a proxy belongs into trusted_proxies");
        }
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((clients, client)) = &self.of {
            let mut state = clients.state.lock();
            if let Some(open) = state.clients.get_mut(client) {
                open.connections -= 1;
                if open.connections == 0 {
                    state.clients.remove(client);
                }
            }
        }
    }
}

/// Returns the address that stands for a client.
fn client(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6([a, b, c, d, 0, 0, 0, 0].into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        Peer {
            address: Some(address.parse().unwrap()),
            local: None,
        }
    }

    #[test]
    fn a_client_has_its_share_and_gives_it_back() {
        let mut config = ServerConfig::new(MemoryBudget::new(1));
        let mut limits = ServerLimits {
            connections_per_client: 2,
            ..ServerLimits::default()
        };
        let (changed, receiver) = watch::channel(limits);
        config.limits = receiver;
        config.unlimited = vec!["10.0.0.0/8".parse().unwrap()];
        let clients = Clients::new(&config);
        for (one, same, other) in [
            ("192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1"),
            ("192.0.2.9:1", "[::ffff:192.0.2.9]:2", "192.0.2.10:1"),
            ("[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8:0:1::1]:1"),
        ] {
            let first = clients.enter(peer(one)).unwrap();
            let _second = clients.enter(peer(same)).unwrap();
            assert!(clients.enter(peer(one)).is_none(), "{one}");
            assert!(clients.enter(peer(other)).is_some(), "{other}");
            drop(first);
            assert!(clients.enter(peer(same)).is_some(), "{same}");
        }
        let many: Vec<_> = (0..9).map(|_| clients.enter(peer("10.1.2.3:4"))).collect();
        assert!(many.iter().all(Option::is_some));
        let many: Vec<_> = (0..9).map(|_| clients.enter(Peer::default())).collect();
        assert!(many.iter().all(Option::is_some));
        drop(many);
        // A lower limit closes no connection, and applies to the next one.
        let [first, second] = [1, 2].map(|port| {
            let peer = peer(&format!("192.0.2.1:{port}"));
            clients.enter(peer).unwrap()
        });
        limits.connections_per_client = 1;
        changed.send_replace(limits);
        drop(first);
        assert!(clients.enter(peer("192.0.2.1:3")).is_none());
        drop(second);
        assert!(clients.enter(peer("192.0.2.1:3")).is_some());
        assert!(clients.state.lock().clients.is_empty());
    }
}
