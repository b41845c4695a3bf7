//! The hosts that share their state, and what they have taken note of.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use gk_api::{HostedPlugin, SharingHost};
use gk_cluster::{HostRow, Settled};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Answer;
use crate::auth::Middleware;
use crate::gateway::Gateway;
use crate::problem::Problem;
use crate::rfc3339::{rfc3339, rfc3339_of};

/// Names of the hosts on which a change is in force.
const ACKNOWLEDGED: HeaderName = HeaderName::from_static("goatkit-acknowledged-by");

/// Names of the hosts that have not said in time that a change is in force.
const PENDING: HeaderName = HeaderName::from_static("goatkit-pending-on");

/// What a host tells the others of itself.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Details {
    ready: bool,
    plugins: BTreeMap<String, HostedPlugin>,
}

impl Gateway {
    /// Returns what this host tells the others of itself.
    #[must_use]
    pub fn details(&self) -> Value {
        serde_json::to_value(self.own_details()).unwrap_or_default()
    }

    fn own_details(&self) -> Details {
        let snapshot = self.inner.runtime.snapshot();
        let plugins = snapshot.plugins.iter().map(|status| {
            let registered = status.registration.as_deref();
            let plugin = HostedPlugin {
                state: status.state.as_str().to_owned(),
                version: registered.map(|registered| registered.version.to_string()),
                generation: status.generation,
            };
            (status.name.to_string(), plugin)
        });
        Details {
            ready: self.is_ready(),
            plugins: plugins.collect(),
        }
    }

    /// Waits until the other hosts have taken note of a change, and says in the answer's headers
    /// which have and which have not. Without other hosts the answer stays as it is.
    pub(super) async fn settled(&self, mut answer: Response) -> Response {
        let Some(member) = &self.inner.member else {
            return answer;
        };
        let settled = match member.settle().await {
            Ok(settled) => settled,
            Err(error) => {
                tracing::warn!(%error, "whether the other hosts know of a change is not known");
                Settled {
                    pending: vec!["(not known)".to_owned()],
                    ..Settled::default()
                }
            }
        };
        if !settled.pending.is_empty() {
            let pending = settled.pending.join(", ");
            tracing::warn!(pending, "a change is not in force on all hosts yet");
        }
        for (header, names) in [
            (ACKNOWLEDGED, &settled.acknowledged),
            (PENDING, &settled.pending),
        ] {
            if let (false, Ok(names)) = (names.is_empty(), HeaderValue::from_str(&names.join(", ")))
            {
                answer.headers_mut().insert(header, names);
            }
        }
        answer
    }
}

/// Lists the hosts; without a shared database this one alone.
pub(crate) async fn list(State(gateway): State<Gateway>, request: Request) -> Answer {
    gateway.require(&request, Middleware::Agent)?;
    let hosts = match &gateway.inner.member {
        Some(member) => {
            let hosts = member.hosts().await.map_err(|error| {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            })?;
            let own = member.id();
            hosts.into_iter().map(|host| shown(host, own)).collect()
        }
        None => vec![alone(&gateway)],
    };
    Ok(Json(hosts).into_response())
}

fn shown(host: HostRow, own: &str) -> SharingHost {
    let details: Details = serde_json::from_value(host.details.clone()).unwrap_or_default();
    SharingHost {
        fresh: host.is_fresh(),
        current: host.is_current,
        this: host.id == own,
        id: host.id,
        name: host.name,
        version: host.release,
        started_at: rfc3339_of(host.started_at),
        seen_at: rfc3339_of(host.seen_at),
        ready: details.ready,
        plugins: details.plugins,
    }
}

/// This host, which shares its state with none.
fn alone(gateway: &Gateway) -> SharingHost {
    let insight = gateway.inner.insight.as_ref();
    let about = insight.map(|insight| insight.about()).unwrap_or_default();
    let details = gateway.own_details();
    SharingHost {
        id: String::new(),
        name: about.name,
        version: gateway.inner.version.clone(),
        started_at: about.started_at.and_then(rfc3339),
        seen_at: rfc3339(std::time::SystemTime::now()),
        fresh: true,
        current: true,
        this: true,
        ready: details.ready,
        plugins: details.plugins,
    }
}
