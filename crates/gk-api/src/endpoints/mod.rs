//! The one table of endpoints.

mod access;
mod host;
mod jobs;
mod orders;
mod plugins;

use std::fmt;

use crate::Access;

/// A method of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// Reads.
    Get,
    /// Does something.
    Post,
    /// Replaces.
    Put,
    /// Removes.
    Delete,
}

impl Method {
    /// In capitals, as HTTP writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Kind of values that a parameter of a query takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterKind {
    /// No value: the parameter is present or absent.
    Flag,
    /// `true` or `false`.
    Boolean,
    /// A whole number from 0 on.
    Integer,
    /// A duration in Go's syntax, such as `10s`.
    Duration,
    /// Any text.
    Text,
}

/// A parameter of a query. All are optional.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Name of the parameter.
    pub name: &'static str,
    /// Kind of its values.
    pub kind: ParameterKind,
    /// Effect of the parameter.
    pub about: &'static str,
}

/// Content of a request's body or of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// No content.
    Nothing,
    /// Plain text.
    Text,
    /// An HTML page.
    Html,
    /// Server-sent events.
    Stream,
    /// A package: a ZIP file as the body, or as the field `plugin` of a form.
    Package,
    /// A JSON document of another standard.
    Json,
    /// The JSON object that a plugin's function takes.
    Args,
    /// The JSON that a plugin's function answers.
    Any,
    /// A ticket for a stream.
    Ticket,
    /// A policy that is to be stored.
    PolicyBody,
    /// [`HostInfo`](crate::HostInfo).
    HostInfo,
    /// [`Doctor`](crate::Doctor).
    Doctor,
    /// [`AuditPage`](crate::AuditPage).
    AuditPage,
    /// A list of [`Plugin`](crate::Plugin).
    Plugins,
    /// [`PluginDetail`](crate::PluginDetail).
    PluginDetail,
    /// [`InstallReport`](crate::InstallReport).
    InstallReport,
    /// [`UninstallReport`](crate::UninstallReport).
    UninstallReport,
    /// [`LogPage`](crate::LogPage).
    LogPage,
    /// [`Health`](crate::Health).
    HealthBody,
    /// [`HealthOfAll`](crate::HealthOfAll).
    HealthOfAll,
    /// [`Stats`](crate::Stats).
    StatsBody,
    /// A list of [`Stats`](crate::Stats).
    StatsList,
    /// [`Outcome`](crate::Outcome).
    Outcome,
    /// [`PolicyView`](crate::PolicyView).
    PolicyView,
    /// [`PolicyDiff`](crate::PolicyDiff).
    PolicyDiff,
    /// A list of [`Job`](crate::Job).
    Jobs,
    /// A list of [`SharingHost`](crate::SharingHost)s.
    Hosts,
    /// [`Job`](crate::Job).
    Job,
    /// [`JobRun`](crate::JobRun).
    JobRun,
    /// [`JobRunPage`](crate::JobRunPage).
    JobRuns,
    /// [`JobOverrides`](gk_manifest::JobOverrides).
    JobOverrides,
    /// A list of [`Token`](crate::Token).
    Tokens,
    /// [`NewToken`](crate::NewToken).
    NewToken,
    /// [`NewTokenAnswer`](crate::NewTokenAnswer).
    NewTokenAnswer,
}

impl Content {
    /// The media type of the content; `None` for no content.
    #[must_use]
    pub fn media_type(self) -> Option<&'static str> {
        Some(match self {
            Content::Nothing => return None,
            Content::Text => "text/plain",
            Content::Html => "text/html",
            Content::Stream => "text/event-stream",
            Content::Package => "application/zip",
            _ => "application/json",
        })
    }
}

/// An endpoint of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Which one.
    pub operation: Operation,
    /// HTTP method.
    pub method: Method,
    /// Path, with parameters in braces.
    pub path: &'static str,
    /// Permission that a caller needs.
    pub access: Access,
    /// Heading under which documents list the endpoint.
    pub group: &'static str,
    /// Effect, in one line.
    pub summary: &'static str,
    /// Parameters of the query.
    pub query: &'static [Parameter],
    /// Content of the request's body.
    pub request: Option<Content>,
    /// The status of its success.
    pub status: u16,
    /// Content of the answer with that status.
    pub answer: Content,
    /// Further statuses, with what each means. All endpoints can also answer 401 and 403, as their
    /// access says, 429 and 503, where client or host hold as much as they may, and 500.
    pub others: &'static [(u16, &'static str)],
}

/// The endpoints by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// `GET /livez`
    Live,
    /// `GET /readyz`
    Ready,
    /// `GET /healthz`
    Healthz,
    /// `GET /metrics`
    Metrics,
    /// `GET /openapi.json`
    OpenApi,
    /// `GET /api/v1/host`
    HostInfo,
    /// `GET /api/v1/hosts`
    ListHosts,
    /// `GET /api/v1/doctor`
    Doctor,
    /// `GET /api/v1/audit`
    Audit,
    /// `GET /api/v1/plugins`
    ListPlugins,
    /// `POST /api/v1/plugins`
    Install,
    /// `GET /api/v1/plugins/{plugin}`
    GetPlugin,
    /// `DELETE /api/v1/plugins/{plugin}`
    Uninstall,
    /// `POST /api/v1/plugins/{plugin}/call/{function}`
    Call,
    /// `GET /api/v1/plugins/{plugin}/widgets/{id}`
    Widget,
    /// `GET /api/v1/plugins/{plugin}/logs`
    Logs,
    /// `GET /api/v1/plugins/health`
    AllHealth,
    /// `GET /api/v1/plugins/{plugin}/health`
    Health,
    /// `GET /api/v1/stats`
    AllStats,
    /// `GET /api/v1/plugins/{plugin}/stats`
    Stats,
    /// `POST /api/v1/plugins/{plugin}/reload`
    ReloadPlugin,
    /// `POST /api/v1/plugins/{plugin}/restart`
    RestartPlugin,
    /// `POST /api/v1/plugins/{plugin}/enable`
    EnablePlugin,
    /// `POST /api/v1/plugins/{plugin}/disable`
    DisablePlugin,
    /// `POST /api/v1/plugins/{plugin}/reset-crashloop`
    ResetPlugin,
    /// `POST /api/v1/plugins/{plugin}/rollback`
    RollBackPlugin,
    /// `GET /api/v1/plugins/{plugin}/policy`
    GetPolicy,
    /// `PUT /api/v1/plugins/{plugin}/policy`
    SetPolicy,
    /// `DELETE /api/v1/plugins/{plugin}/policy`
    ResetPolicy,
    /// `GET /api/v1/plugins/{plugin}/policy/diff`
    DiffPolicy,
    /// `GET /api/v1/jobs`
    ListJobs,
    /// `GET /api/v1/plugins/{plugin}/jobs/{job}/runs`
    ListRuns,
    /// `POST /api/v1/plugins/{plugin}/jobs/{job}/run`
    RunJob,
    /// `POST /api/v1/plugins/{plugin}/jobs/{job}/suspend`
    SuspendJob,
    /// `POST /api/v1/plugins/{plugin}/jobs/{job}/resume`
    ResumeJob,
    /// `PUT /api/v1/plugins/{plugin}/jobs/{job}/settings`
    SetJob,
    /// `GET /api/v1/plugins/{plugin}/events`
    Events,
    /// `POST /api/v1/plugins/{plugin}/events/ticket`
    EventTicket,
    /// `GET /api/v1/plugins/{plugin}/events/ticket`
    TicketChannel,
    /// `GET /api/v1/plugins/{plugin}/events/{channel}`
    Channel,
    /// `GET /api/v1/tokens`
    ListTokens,
    /// `POST /api/v1/tokens`
    CreateToken,
    /// `DELETE /api/v1/tokens/{id}`
    DeleteToken,
}

impl Operation {
    /// The row of the table for this operation.
    #[must_use]
    pub fn endpoint(self) -> &'static Endpoint {
        // The table has its rows in the order of the operations; a test proves it.
        &ENDPOINTS[self as usize]
    }

    /// The path with these values in place of the parameters, each encoded as a part of a path.
    #[must_use]
    pub fn path(self, values: &[&str]) -> String {
        let mut values = values.iter();
        let mut path = String::new();
        for part in self.endpoint().path.split('/').skip(1) {
            path.push('/');
            match part.starts_with('{') {
                true => encode(values.next().copied().unwrap_or_default(), &mut path),
                false => path.push_str(part),
            }
        }
        path
    }
}

/// A part of a path, with everything encoded that a URL does not take as it is (RFC 3986,
/// unreserved characters).
fn encode(value: &str, path: &mut String) {
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                path.push(char::from(byte));
            }
            byte => path.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// Every endpoint of the host, in the order of [`Operation`].
pub const ENDPOINTS: &[Endpoint] = &joined::<
    {
        host::ENDPOINTS.len()
            + plugins::ENDPOINTS.len()
            + orders::ENDPOINTS.len()
            + jobs::ENDPOINTS.len()
            + access::ENDPOINTS.len()
    },
>(&[
    host::ENDPOINTS,
    plugins::ENDPOINTS,
    orders::ENDPOINTS,
    jobs::ENDPOINTS,
    access::ENDPOINTS,
]);

/// The rows of several tables, one table after the other; `N` is how many there are.
const fn joined<const N: usize>(tables: &[&[Endpoint]]) -> [Endpoint; N] {
    let mut all = [tables[0][0]; N];
    let (mut table, mut next) = (0, 0);
    while table < tables.len() {
        let mut row = 0;
        while row < tables[table].len() {
            all[next] = tables[table][row];
            row += 1;
            next += 1;
        }
        table += 1;
    }
    assert!(next == N);
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_operation_has_its_own_row() {
        for (row, endpoint) in ENDPOINTS.iter().enumerate() {
            assert_eq!(endpoint.operation as usize, row, "{endpoint:?}");
            assert_eq!(endpoint.operation.endpoint(), endpoint);
        }
        let places: BTreeSet<_> = ENDPOINTS.iter().map(|e| (e.path, e.method)).collect();
        assert_eq!(places.len(), ENDPOINTS.len());
    }

    #[test]
    fn a_value_stays_one_part_of_its_path() {
        let path = Operation::Call.path(&["a/../b", "ü?x"]);
        assert_eq!(path, "/api/v1/plugins/a%2F..%2Fb/call/%C3%BC%3Fx");
    }

    #[test]
    fn texts_are_one_line_without_a_full_stop() {
        for endpoint in ENDPOINTS {
            assert!(!endpoint.summary.ends_with('.') && !endpoint.summary.contains('\n'));
            for parameter in endpoint.query {
                assert!(parameter.about.ends_with('.'), "{parameter:?}");
            }
            for (status, about) in endpoint.others {
                assert!(
                    about.ends_with('.') && *status != endpoint.status,
                    "{about}"
                );
            }
        }
    }
}
