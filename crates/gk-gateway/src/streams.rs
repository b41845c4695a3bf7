//! Limits the number of event streams, in total and for each identity.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::StatusCode;
use parking_lot::Mutex;

use crate::problem::Problem;

/// Maximum number of streams at the same time. Each takes a connection, and some connections must
/// be left for other requests.
const STREAMS_MAX: usize = 1024;
/// Maximum number of streams of one identity at the same time.
const STREAMS_OF_ONE_MAX: usize = 64;

/// Numbers of open streams by login.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    by_login: Arc<Mutex<HashMap<Arc<str>, usize>>>,
}

/// Guard of an open stream, until dropped.
#[derive(Debug)]
pub(crate) struct Place {
    by_login: Arc<Mutex<HashMap<Arc<str>, usize>>>,
    login: Arc<str>,
}

impl Streams {
    pub(crate) fn enter(&self, login: Arc<str>) -> Result<Place, Problem> {
        let mut by_login = self.by_login.lock();
        let all: usize = by_login.values().sum();
        let own = by_login.get(&login).copied().unwrap_or_default();
        if all >= STREAMS_MAX || own >= STREAMS_OF_ONE_MAX {
            let text = format!(
                "too many streams of events (at most {STREAMS_OF_ONE_MAX} for one identity, {STREAMS_MAX} altogether)"
            );
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, text));
        }
        by_login.insert(Arc::clone(&login), own + 1);
        drop(by_login);
        Ok(Place {
            by_login: Arc::clone(&self.by_login),
            login,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_login = self.by_login.lock();
        if let Some(own) = by_login.get_mut(&self.login) {
            *own -= 1;
            if *own == 0 {
                by_login.remove(&self.login);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_have_a_limit_for_one_and_for_all() {
        let streams = Streams::default();
        let mut places: Vec<_> = (0..STREAMS_OF_ONE_MAX)
            .map(|_| streams.enter("ann".into()).unwrap())
            .collect();
        let refused = streams.enter("ann".into()).unwrap_err();
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        places.pop();
        streams.enter("ann".into()).unwrap();
        for login in 0..STREAMS_MAX - places.len() {
            places.push(streams.enter(login.to_string().into()).unwrap());
        }
        assert!(streams.enter("ben".into()).is_err());
        places.clear();
        assert!(streams.by_login.lock().is_empty());
    }
}
