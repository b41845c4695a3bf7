//! Several hosts that share one PostgreSQL, one Redis and one store of files.

mod events;
mod faults;
mod jobs;
mod plugins;
mod relay;
mod state;

use std::sync::atomic::{AtomicU32, Ordering};

use gk_servers::{Redis, S3};
use serde_json::Value;

use self::relay::Relay;
use crate::host::{Host, Setup};

/// What several hosts share. The parts end with it.
pub(crate) struct Shared {
    database: String,
    pub(crate) redis: Redis,
    pub(crate) files: S3,
    /// What stands between the hosts and the servers, if anything does.
    pub(crate) relays: Option<Relays>,
}

/// A relay to each server.
pub(crate) struct Relays {
    pub(crate) database: Relay,
    pub(crate) redis: Relay,
    pub(crate) files: Relay,
}

impl Shared {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let base = gk_servers::shared_postgres().unwrap();
        Self {
            database: format!("{base}?schema=e2e_{}_{number}", std::process::id()),
            redis: Redis::start().unwrap(),
            files: S3::start().unwrap(),
            relays: None,
        }
    }

    /// The same, with relays that can be cut.
    pub(crate) fn behind_relays() -> Self {
        let mut shared = Self::new();
        let port = |url: &str| -> u16 {
            let authority = url.split("://").nth(1).unwrap();
            let place = authority.split(['/', '?']).next().unwrap();
            place.rsplit(':').next().unwrap().parse().unwrap()
        };
        let relays = Relays {
            database: Relay::to(port(&shared.database)),
            redis: Relay::to(shared.redis.port()),
            files: Relay::to(shared.files.port()),
        };
        let direct = format!(":{}", port(&shared.database));
        let through = format!(":{}", relays.database.port());
        shared.database = shared.database.replacen(&direct, &through, 1);
        shared.relays = Some(relays);
        shared
    }

    /// A host that shares its state by this.
    pub(crate) fn host(&self, name: &str) -> Setup {
        self.sharing(Setup::new(), name)
    }

    pub(crate) fn sharing(&self, mut setup: Setup, name: &str) -> Setup {
        let through = |text: String, port: u16, relay: fn(&Relays) -> &Relay| match &self.relays {
            Some(relays) => {
                let (old, new) = (format!(":{port}"), format!(":{}", relay(relays).port()));
                text.replacen(&old, &new, 1)
            }
            None => text,
        };
        for (variable, value) in self.files.variables() {
            let value = through(value, self.files.port(), |relays| &relays.files);
            setup = setup.variable(variable, value);
        }
        setup
            .variable("GK_CLUSTER_DATABASE_URL", &self.database)
            .variable(
                "GK_CLUSTER_REDIS_URL",
                through(self.redis.url(), self.redis.port(), |relays| &relays.redis),
            )
            .variable("GK_CLUSTER_FILES_URL", self.files.url())
            .variable("GK_CLUSTER_NAME", name)
            .variable("GK_DRAIN_DELAY", "0s")
            .variable("GK_ADMIN_TOKEN", "the-token-of-all-hosts")
    }
}

/// The hosts as one of them sees them, by name.
fn hosts(host: &Host) -> Vec<Value> {
    let hosts = host.get("/api/v1/hosts").expect(200).json();
    hosts.as_array().unwrap().clone()
}
