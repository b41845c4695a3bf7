//! Tickets: a caller's right to one stream of events, for a URL, where no header can be sent. A URL
//! ends up in logs and histories, so a ticket is used up by its first use, and valid for a short
//! time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gk_manifest::PluginName;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::problem::Problem;
use crate::tokens::Identity;

/// Time that a ticket is valid.
pub(crate) const TICKET_TIME: Duration = Duration::from_secs(30);

/// Maximum number of unused tickets, in total.
const TICKETS_MAX: usize = 4096;

/// Maximum number of unused tickets of one identity.
const TICKETS_OF_ONE_MAX: usize = 64;

/// Number of random bytes in a ticket.
const TICKET_BYTES: usize = 32;

type Hash = [u8; 32];

/// Unused tickets.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    waiting: Mutex<HashMap<Hash, Ticket>>,
}

#[derive(Debug)]
struct Ticket {
    identity: Identity,
    plugin: PluginName,
    until: Instant,
}

fn hash(ticket: &str) -> Hash {
    Sha256::digest(ticket.as_bytes()).into()
}

impl Tickets {
    /// Issues a ticket of this caller for one stream of this plugin.
    pub(crate) fn issue(&self, identity: Identity, plugin: PluginName) -> Result<String, Problem> {
        self.issue_at(identity, plugin, Instant::now())
    }

    fn issue_at(
        &self,
        identity: Identity,
        plugin: PluginName,
        now: Instant,
    ) -> Result<String, Problem> {
        let mut random = [0; TICKET_BYTES];
        getrandom::fill(&mut random).map_err(|error| {
            tracing::error!(%error, "the system gives no random bytes");
            Problem::internal("no ticket can be made; the host's log says why")
        })?;
        let text = URL_SAFE_NO_PAD.encode(random);
        let mut waiting = self.waiting.lock();
        waiting.retain(|_, ticket| now < ticket.until);
        let own = waiting
            .values()
            .filter(|ticket| ticket.identity.id == identity.id);
        if waiting.len() >= TICKETS_MAX || own.count() >= TICKETS_OF_ONE_MAX {
            return Err(Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too many tickets wait for their use; use them, or wait half a minute",
            ));
        }
        let until = now + TICKET_TIME;
        waiting.insert(
            hash(&text),
            Ticket {
                identity,
                plugin,
                until,
            },
        );
        Ok(text)
    }

    /// Returns the owner of a ticket, if it is one for this plugin. The ticket is used up.
    pub(crate) fn redeem(&self, ticket: &str, plugin: &str) -> Option<Identity> {
        self.redeem_at(ticket, plugin, Instant::now())
    }

    fn redeem_at(&self, ticket: &str, plugin: &str, now: Instant) -> Option<Identity> {
        let found = self.waiting.lock().remove(&hash(ticket))?;
        let fits = now < found.until && found.plugin.as_str() == plugin;
        fits.then_some(found.identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::Role;

    fn identity(id: i64) -> Identity {
        Identity {
            id,
            login: "ann".into(),
            role: Role::Agent,
        }
    }

    #[test]
    fn a_ticket_is_for_one_use_one_plugin_and_a_short_time() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        let plugin = PluginName::new("p").unwrap();
        let issue = || tickets.issue_at(identity(1), plugin.clone(), now).unwrap();
        let ticket = issue();
        assert_eq!(tickets.redeem_at(&ticket, "p", now), Some(identity(1)));
        assert_eq!(tickets.redeem_at(&ticket, "p", now), None);
        assert_eq!(tickets.redeem_at(&issue(), "other", now), None);
        assert_eq!(tickets.redeem_at(&issue(), "p", now + TICKET_TIME), None);
        assert_eq!(tickets.redeem_at("", "p", now), None);
        assert!(tickets.waiting.lock().is_empty());
    }

    #[test]
    fn there_are_so_many_and_they_make_room_when_they_expire() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        let plugin = PluginName::new("p").unwrap();
        let issue = |id, at| tickets.issue_at(identity(id), plugin.clone(), at);
        for _ in 0..TICKETS_OF_ONE_MAX {
            issue(1, now).unwrap();
        }
        assert_eq!(
            issue(1, now).unwrap_err().status,
            StatusCode::TOO_MANY_REQUESTS
        );
        for id in 0..TICKETS_MAX - TICKETS_OF_ONE_MAX {
            issue(10 + i64::try_from(id).unwrap(), now).unwrap();
        }
        assert!(issue(2, now).is_err());
        issue(1, now + TICKET_TIME).unwrap();
        assert_eq!(tickets.waiting.lock().len(), 1);
    }
}
