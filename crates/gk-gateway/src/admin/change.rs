//! A change that an administrator asks for, written down before and after.

use axum::http::request::Parts;
use gk_api::{Actor, Change};
use gk_hostapi::RequestId;
use serde_json::Value;

use super::Answer;
use crate::audit::{Asked, Begun};
use crate::auth::{self, Middleware};
use crate::forwarded;
use crate::gateway::Gateway;
use crate::problem::Problem;
use crate::tokens::Identity;

/// A change that is under way.
#[derive(Debug)]
#[must_use = "what came of it belongs into the audit log"]
pub(crate) struct Ongoing {
    begun: Option<Begun>,
}

impl Gateway {
    /// Begins a change: only an administrator may, and it is written down first.
    pub(crate) async fn begin(
        &self,
        parts: &Parts,
        change: Change,
        target: &str,
        before: Value,
    ) -> Result<Ongoing, Problem> {
        let caller = self.caller_of(parts)?;
        auth::require(caller.as_ref(), &[Middleware::Admin])?;
        let actor = actor(caller.as_ref(), parts);
        let request_id = parts.extensions.get::<RequestId>();
        let what = change.as_str();
        tracing::info!(target = target, by = %actor.login, "{what} is asked for");
        let asked = Asked {
            actor,
            change,
            target: target.to_owned(),
            before,
            request_id: request_id.map(ToString::to_string).unwrap_or_default(),
        };
        let begun = match &self.inner.audit {
            Some(audit) => Some(audit.begin(asked).await?),
            None => None,
        };
        Ok(Ongoing { begun })
    }
}

impl Ongoing {
    /// A change that is made although it cannot be written down.
    pub(super) fn unwritten() -> Self {
        Self { begun: None }
    }

    /// Writes down what came of it.
    pub(crate) async fn end(self, after: Value, error: Option<String>) {
        if let Some(begun) = self.begun {
            begun.end(after, error).await;
        }
    }

    /// Writes down that it failed, for this reason.
    pub(crate) async fn failed(self, problem: Problem) -> Answer {
        self.end(Value::Null, Some(problem.text.clone())).await;
        Err(problem)
    }
}

fn actor(caller: Option<&Identity>, parts: &Parts) -> Actor {
    let uid = caller.and_then(Identity::uid);
    Actor {
        login: caller.map_or_else(String::new, |caller| caller.login.to_string()),
        token: caller.map(|caller| caller.id).filter(|_| uid.is_none()),
        uid,
        address: forwarded::client(&parts.extensions).map(|address| address.to_string()),
    }
}
