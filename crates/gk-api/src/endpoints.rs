//! The one table of endpoints.

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

/// What values a parameter of a query takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterKind {
    /// None: it is there or not.
    Flag,
    /// `true` or `false`.
    Boolean,
    /// A whole number from 0 on.
    Integer,
    /// A duration in Go's syntax, such as `10s`.
    Duration,
    /// Text.
    Text,
}

/// A parameter of a query. None is required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What values it takes.
    pub kind: ParameterKind,
    /// What it does.
    pub about: &'static str,
}

/// What a request or an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// Nothing.
    Nothing,
    /// Plain text.
    Text,
    /// HTML.
    Html,
    /// Server-sent events.
    Stream,
    /// A package: a ZIP file as the body, or as the field `plugin` of a form.
    Package,
    /// A JSON document of another standard.
    Json,
    /// Whatever JSON a plugin's function takes: an object.
    Args,
    /// Whatever JSON a plugin's function answers.
    Any,
    /// A ticket for a stream.
    Ticket,
    /// What a policy is to be.
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
    /// [`JobRun`](crate::JobRun).
    JobRun,
    /// A list of [`Token`](crate::Token).
    Tokens,
    /// [`NewToken`](crate::NewToken).
    NewToken,
    /// [`NewTokenAnswer`](crate::NewTokenAnswer).
    NewTokenAnswer,
}

impl Content {
    /// Its media type; `None` where there is nothing.
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
    /// Its method.
    pub method: Method,
    /// Its path, with parameters in braces.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    /// What it is about, for documents.
    pub group: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// What its query may hold.
    pub query: &'static [Parameter],
    /// What its body holds.
    pub request: Option<Content>,
    /// The status of its success.
    pub status: u16,
    /// What it answers with that.
    pub answer: Content,
    /// Further statuses, with what each means. All endpoints can also answer 401 and 403, as their access says, 429 and
    /// 503, where client or host hold as much as they may, and 500.
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
    /// `POST /api/v1/plugins/{plugin}/jobs/{job}/run`
    RunJob,
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
    /// Its row of the table.
    #[must_use]
    pub fn endpoint(self) -> &'static Endpoint {
        // The table has its rows in the order of the operations; a test proves it.
        &ENDPOINTS[self as usize]
    }

    /// Its path with these values in place of the parameters, each encoded as a part of a path.
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

/// A part of a path, with everything encoded that a URL does not take as it is (RFC 3986, unreserved characters).
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

/// Every endpoint of the host.
pub const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        operation: Operation::Live,
        method: Method::Get,
        path: "/livez",
        access: Access::Anybody,
        group: "Health",
        summary: "Whether the process lives",
        query: &[],
        request: None,
        status: 200,
        answer: Content::Text,
        others: &[],
    },
    Endpoint {
        operation: Operation::Ready,
        method: Method::Get,
        path: "/readyz",
        access: Access::Anybody,
        group: "Health",
        summary: "Whether requests are taken: 503 while starting and stopping",
        query: &[Parameter {
            name: "verbose",
            kind: ParameterKind::Flag,
            about: "Names each plugin with its state.",
        }],
        request: None,
        status: 200,
        answer: Content::Text,
        others: &[(503, "It is starting or stopping.")],
    },
    Endpoint {
        operation: Operation::Healthz,
        method: Method::Get,
        path: "/healthz",
        access: Access::Anybody,
        group: "Health",
        summary: "The same as /readyz",
        query: &[Parameter {
            name: "verbose",
            kind: ParameterKind::Flag,
            about: "Names each plugin with its state.",
        }],
        request: None,
        status: 200,
        answer: Content::Text,
        others: &[(503, "It is starting or stopping.")],
    },
    Endpoint {
        operation: Operation::Metrics,
        method: Method::Get,
        path: "/metrics",
        access: Access::Anybody,
        group: "Health",
        summary: "Metrics in Prometheus' text format",
        query: &[],
        request: None,
        status: 200,
        answer: Content::Text,
        others: &[],
    },
    Endpoint {
        operation: Operation::OpenApi,
        method: Method::Get,
        path: "/openapi.json",
        access: Access::Anybody,
        group: "Health",
        summary: "This API and the plugins' routes of this moment, as an OpenAPI document",
        query: &[],
        request: None,
        status: 200,
        answer: Content::Json,
        others: &[],
    },
    Endpoint {
        operation: Operation::HostInfo,
        method: Method::Get,
        path: "/api/v1/host",
        access: Access::Agent,
        group: "Host",
        summary: "The host, and who asks",
        query: &[],
        request: None,
        status: 200,
        answer: Content::HostInfo,
        others: &[],
    },
    Endpoint {
        operation: Operation::Doctor,
        method: Method::Get,
        path: "/api/v1/doctor",
        access: Access::Admin,
        group: "Host",
        summary: "How host, sandbox, database, cache, mail and keys stand, each with what to do",
        query: &[],
        request: None,
        status: 200,
        answer: Content::Doctor,
        others: &[],
    },
    Endpoint {
        operation: Operation::Audit,
        method: Method::Get,
        path: "/api/v1/audit",
        access: Access::Admin,
        group: "Host",
        summary: "Who changed what, newest first",
        query: &[
            Parameter {
                name: "limit",
                kind: ParameterKind::Integer,
                about: "At most this many entries, 1 to 1000; 100 without it.",
            },
            Parameter {
                name: "before",
                kind: ParameterKind::Integer,
                about: "Only entries with a lower number.",
            },
            Parameter {
                name: "target",
                kind: ParameterKind::Text,
                about: "Only changes of this plugin or token.",
            },
            Parameter {
                name: "change",
                kind: ParameterKind::Text,
                about: "Only changes of this kind, such as `set_policy`.",
            },
            Parameter {
                name: "login",
                kind: ParameterKind::Text,
                about: "Only changes that this login asked for.",
            },
        ],
        request: None,
        status: 200,
        answer: Content::AuditPage,
        others: &[(400, "A value is not one that its parameter takes.")],
    },
    Endpoint {
        operation: Operation::ListPlugins,
        method: Method::Get,
        path: "/api/v1/plugins",
        access: Access::Agent,
        group: "Plugins",
        summary: "All plugins by name; administrators also see errors, directories and processes",
        query: &[],
        request: None,
        status: 200,
        answer: Content::Plugins,
        others: &[],
    },
    Endpoint {
        operation: Operation::Install,
        method: Method::Post,
        path: "/api/v1/plugins",
        access: Access::Admin,
        group: "Plugins",
        summary: "Installs a package, or replaces what is installed, and starts it; it is rolled back if it does not come up",
        query: &[
            Parameter {
                name: "dry_run",
                kind: ParameterKind::Boolean,
                about: "Only say what the package is, what it asks for and what would change.",
            },
            Parameter {
                name: "wait",
                kind: ParameterKind::Duration,
                about: "How long to wait for it to come up, at most 2m; 30s without it.",
            },
            Parameter {
                name: "keep_failed",
                kind: ParameterKind::Boolean,
                about: "Leave a version that does not come up installed.",
            },
        ],
        request: Some(Content::Package),
        status: 200,
        answer: Content::InstallReport,
        others: &[
            (400, "The package cannot be used; nothing was touched."),
            (
                403,
                "Its signature does not let it be installed; nothing was touched.",
            ),
            (
                409,
                "It did not come up, or another change of the plugin is under way.",
            ),
            (413, "The package is too large."),
            (507, "There is no room for it."),
        ],
    },
    Endpoint {
        operation: Operation::GetPlugin,
        method: Method::Get,
        path: "/api/v1/plugins/{plugin}",
        access: Access::Agent,
        group: "Plugins",
        summary: "One plugin, with its whole registration for administrators",
        query: &[],
        request: None,
        status: 200,
        answer: Content::PluginDetail,
        others: &[(404, "There is no such plugin.")],
    },
    Endpoint {
        operation: Operation::Uninstall,
        method: Method::Delete,
        path: "/api/v1/plugins/{plugin}",
        access: Access::Admin,
        group: "Plugins",
        summary: "Stops a plugin and removes its package",
        query: &[Parameter {
            name: "keep_data",
            kind: ParameterKind::Boolean,
            about: "Keep what it stored, and its policy: true without it.",
        }],
        request: None,
        status: 200,
        answer: Content::UninstallReport,
        others: &[
            (404, "There is no such plugin."),
            (
                409,
                "Another change of the plugin is under way, or it cannot be stopped.",
            ),
        ],
    },
    Endpoint {
        operation: Operation::Call,
        method: Method::Post,
        path: "/api/v1/plugins/{plugin}/call/{function}",
        access: Access::Admin,
        group: "Plugins",
        summary: "Calls a function with a JSON object; answers what it returns",
        query: &[],
        request: Some(Content::Args),
        status: 200,
        answer: Content::Any,
        others: &[
            (400, "The body is no JSON object."),
            (403, "The plugin is blocked or disabled."),
            (404, "There is no such plugin or function."),
            (
                502,
                "The plugin ended before it answered, or gave an unusable answer.",
            ),
            (503, "The plugin does not run, or has no room."),
            (504, "The plugin did not answer in time."),
        ],
    },
    Endpoint {
        operation: Operation::Widget,
        method: Method::Get,
        path: "/api/v1/plugins/{plugin}/widgets/{id}",
        access: Access::Agent,
        group: "Plugins",
        summary: "The HTML of a widget",
        query: &[Parameter {
            name: "wrap",
            kind: ParameterKind::Boolean,
            about: "Adds its title.",
        }],
        request: None,
        status: 200,
        answer: Content::Html,
        others: &[
            (404, "There is no such plugin or widget."),
            (502, "The widget did not answer HTML."),
            (503, "The plugin does not run."),
        ],
    },
    Endpoint {
        operation: Operation::Logs,
        method: Method::Get,
        path: "/api/v1/plugins/{plugin}/logs",
        access: Access::Admin,
        group: "Plugins",
        summary: "What a plugin logged and printed, oldest first; with `follow` as server-sent events",
        query: &[
            Parameter {
                name: "level",
                kind: ParameterKind::Text,
                about: "Only entries at least this serious: trace, debug, info, warn or error.",
            },
            Parameter {
                name: "limit",
                kind: ParameterKind::Integer,
                about: "At most this many entries, the newest ones, up to 1000; 100 without it.",
            },
            Parameter {
                name: "after",
                kind: ParameterKind::Integer,
                about: "Only entries with a higher number.",
            },
            Parameter {
                name: "since",
                kind: ParameterKind::Text,
                about: "Only entries from this time on, RFC 3339.",
            },
            Parameter {
                name: "contains",
                kind: ParameterKind::Text,
                about: "Only entries whose text has this in it.",
            },
            Parameter {
                name: "follow",
                kind: ParameterKind::Boolean,
                about: "Goes on with new entries, as events of type `log`.",
            },
        ],
        request: None,
        status: 200,
        answer: Content::LogPage,
        others: &[
            (404, "There is no such plugin."),
            (400, "A value is not one that its parameter takes."),
            (429, "Too many streams are open."),
        ],
    },
    Endpoint {
        operation: Operation::AllHealth,
        method: Method::Get,
        path: "/api/v1/plugins/health",
        access: Access::Agent,
        group: "Plugins",
        summary: "How all plugins are, by name",
        query: &[],
        request: None,
        status: 200,
        answer: Content::HealthOfAll,
        others: &[],
    },
    Endpoint {
        operation: Operation::Health,
        method: Method::Get,
        path: "/api/v1/plugins/{plugin}/health",
        access: Access::Agent,
        group: "Plugins",
        summary: "How a plugin is: what probes and calls tell, and its restarts",
        query: &[],
        request: None,
        status: 200,
        answer: Content::HealthBody,
        others: &[(404, "There is no such plugin.")],
    },
    Endpoint {
        operation: Operation::AllStats,
        method: Method::Get,
        path: "/api/v1/stats",
        access: Access::Admin,
        group: "Plugins",
        summary: "What all plugins have used, and how their calls went",
        query: &[],
        request: None,
        status: 200,
        answer: Content::StatsList,
        others: &[],
    },
    Endpoint {
        operation: Operation::Stats,
        method: Method::Get,
        path: "/api/v1/plugins/{plugin}/stats",
        access: Access::Admin,
        group: "Plugins",
        summary: "What a plugin has used, and how its calls went",
        query: &[],
        request: None,
        status: 200,
        answer: Content::StatsBody,
        others: &[(404, "There is no such plugin.")],
    },
    Endpoint {
        operation: Operation::ReloadPlugin,
        method: Method::Post,
        path: "/api/v1/plugins/{plugin}/reload",
        access: Access::Admin,
        group: "Orders",
        summary: "Starts what is there of a plugin beside what runs",
        query: &[
            Parameter {
                name: "force",
                kind: ParameterKind::Boolean,
                about: "Also if it is what runs.",
            },
            Parameter {
                name: "wait",
                kind: ParameterKind::Duration,
                about: "How long to wait for the outcome, at most 2m; without it the answer comes at once.",
            },
        ],
        request: None,
        status: 200,
        answer: Content::Outcome,
        others: &[
            (202, "It is still starting or stopping."),
            (404, "There is no such plugin."),
            (
                409,
                "It did not come up, it waits for another plugin, or nothing of it is to run.",
            ),
        ],
    },
    Endpoint {
        operation: Operation::RestartPlugin,
        method: Method::Post,
        path: "/api/v1/plugins/{plugin}/restart",
        access: Access::Admin,
        group: "Orders",
        summary: "Starts a plugin anew beside what runs, and at once where it waits after a crash",
        query: &[Parameter {
            name: "wait",
            kind: ParameterKind::Duration,
            about: "How long to wait for the outcome, at most 2m; without it the answer comes at once.",
        }],
        request: None,
        status: 200,
        answer: Content::Outcome,
        others: &[
            (202, "It is still starting or stopping."),
            (404, "There is no such plugin."),
            (
                409,
                "It did not come up, it waits for another plugin, or nothing of it is to run.",
            ),
        ],
    },
    Endpoint {
        operation: Operation::EnablePlugin,
        method: Method::Post,
        path: "/api/v1/plugins/{plugin}/enable",
        access: Access::Admin,
        group: "Orders",
        summary: "Lets a plugin run, also after the next start of the host",
        query: &[Parameter {
            name: "wait",
            kind: ParameterKind::Duration,
            about: "How long to wait for the outcome, at most 2m; without it the answer comes at once.",
        }],
        request: None,
        status: 200,
        answer: Content::Outcome,
        others: &[
            (202, "It is still starting or stopping."),
            (404, "There is no such plugin."),
            (
                409,
                "It did not come up, it waits for another plugin, or nothing of it is to run.",
            ),
        ],
    },
    Endpoint {
        operation: Operation::DisablePlugin,
        method: Method::Post,
        path: "/api/v1/plugins/{plugin}/disable",
        access: Access::Admin,
        group: "Orders",
        summary: "Ends a plugin, after those that depend on it, and keeps it from starting",
        query: &[Parameter {
            name: "wait",
            kind: ParameterKind::Duration,
            about: "How long to wait for the outcome, at most 2m; without it the answer comes at once.",
        }],
        request: None,
        status: 200,
        answer: Content::Outcome,
        others: &[
            (202, "It is still starting or stopping."),
            (404, "There is no such plugin."),
            (
                409,
                "It did not come up, it waits for another plugin, or nothing of it is to run.",
            ),
        ],
    },
    Endpoint {
        operation: Operation::ResetPlugin,
        method: Method::Post,
        path: "/api/v1/plugins/{plugin}/reset-crashloop",
        access: Access::Admin,
        group: "Orders",
        summary: "Forgets a plugin's crashes; one that waits after a crash starts now",
        query: &[Parameter {
            name: "wait",
            kind: ParameterKind::Duration,
            about: "How long to wait for the outcome, at most 2m; without it the answer comes at once.",
        }],
        request: None,
        status: 200,
        answer: Content::Outcome,
        others: &[
            (202, "It is still starting or stopping."),
            (404, "There is no such plugin."),
            (
                409,
                "It did not come up, it waits for another plugin, or nothing of it is to run.",
            ),
        ],
    },
    Endpoint {
        operation: Operation::RollBackPlugin,
        method: Method::Post,
        path: "/api/v1/plugins/{plugin}/rollback",
        access: Access::Admin,
        group: "Orders",
        summary: "Starts the version that came up before the one that serves, and puts it in its place",
        query: &[Parameter {
            name: "wait",
            kind: ParameterKind::Duration,
            about: "How long to wait for the outcome, at most 2m; without it the answer comes at once.",
        }],
        request: None,
        status: 200,
        answer: Content::Outcome,
        others: &[
            (202, "It is still starting or stopping."),
            (404, "There is no such plugin."),
            (
                409,
                "It did not come up, it waits for another plugin, or nothing of it is to run.",
            ),
        ],
    },
    Endpoint {
        operation: Operation::GetPolicy,
        method: Method::Get,
        path: "/api/v1/plugins/{plugin}/policy",
        access: Access::Admin,
        group: "Policies",
        summary: "What a plugin asks for, what it is granted, and what it has used",
        query: &[],
        request: None,
        status: 200,
        answer: Content::PolicyView,
        others: &[(404, "There is no such plugin.")],
    },
    Endpoint {
        operation: Operation::SetPolicy,
        method: Method::Put,
        path: "/api/v1/plugins/{plugin}/policy",
        access: Access::Admin,
        group: "Policies",
        summary: "Stores a policy; it applies at once",
        query: &[],
        request: Some(Content::PolicyBody),
        status: 200,
        answer: Content::PolicyView,
        others: &[(
            400,
            "The policy cannot be read, or says what it cannot mean.",
        )],
    },
    Endpoint {
        operation: Operation::ResetPolicy,
        method: Method::Delete,
        path: "/api/v1/plugins/{plugin}/policy",
        access: Access::Admin,
        group: "Policies",
        summary: "Removes a stored policy: the default applies again",
        query: &[],
        request: None,
        status: 204,
        answer: Content::Nothing,
        others: &[(404, "The plugin has no stored policy.")],
    },
    Endpoint {
        operation: Operation::DiffPolicy,
        method: Method::Get,
        path: "/api/v1/plugins/{plugin}/policy/diff",
        access: Access::Admin,
        group: "Policies",
        summary: "What a plugin asks for held against what it is granted, with the policy that grants what it asks for",
        query: &[],
        request: None,
        status: 200,
        answer: Content::PolicyDiff,
        others: &[(404, "There is no such plugin.")],
    },
    Endpoint {
        operation: Operation::ListJobs,
        method: Method::Get,
        path: "/api/v1/jobs",
        access: Access::Agent,
        group: "Jobs",
        summary: "The jobs that plugins have registered",
        query: &[],
        request: None,
        status: 200,
        answer: Content::Jobs,
        others: &[],
    },
    Endpoint {
        operation: Operation::RunJob,
        method: Method::Post,
        path: "/api/v1/plugins/{plugin}/jobs/{job}/run",
        access: Access::Admin,
        group: "Jobs",
        summary: "Runs a job now, and answers when it has ended",
        query: &[],
        request: None,
        status: 200,
        answer: Content::JobRun,
        others: &[
            (404, "There is no such plugin or job."),
            (502, "The job failed."),
            (503, "The plugin does not run, or has no room."),
            (504, "The job did not end in time."),
        ],
    },
    Endpoint {
        operation: Operation::Events,
        method: Method::Get,
        path: "/api/v1/plugins/{plugin}/events",
        access: Access::Agent,
        group: "Events",
        summary: "A plugin's events without a channel, as server-sent events",
        query: &[Parameter {
            name: "ticket",
            kind: ParameterKind::Text,
            about: "A ticket in place of a token.",
        }],
        request: None,
        status: 200,
        answer: Content::Stream,
        others: &[(404, "There is no such plugin.")],
    },
    Endpoint {
        operation: Operation::EventTicket,
        method: Method::Post,
        path: "/api/v1/plugins/{plugin}/events/ticket",
        access: Access::Token,
        group: "Events",
        summary: "A ticket for one stream of a plugin's events, as ?ticket=, within half a minute",
        query: &[],
        request: None,
        status: 201,
        answer: Content::Ticket,
        others: &[(404, "There is no such plugin.")],
    },
    Endpoint {
        operation: Operation::TicketChannel,
        method: Method::Get,
        path: "/api/v1/plugins/{plugin}/events/ticket",
        access: Access::Token,
        group: "Events",
        summary: "The events of the channel of that name",
        query: &[Parameter {
            name: "ticket",
            kind: ParameterKind::Text,
            about: "A ticket in place of a token.",
        }],
        request: None,
        status: 200,
        answer: Content::Stream,
        others: &[(404, "There is no such plugin.")],
    },
    Endpoint {
        operation: Operation::Channel,
        method: Method::Get,
        path: "/api/v1/plugins/{plugin}/events/{channel}",
        access: Access::Token,
        group: "Events",
        summary: "The events of one channel; where the plugin has an authorizer, for everybody whom it lets",
        query: &[Parameter {
            name: "ticket",
            kind: ParameterKind::Text,
            about: "A ticket in place of a token.",
        }],
        request: None,
        status: 200,
        answer: Content::Stream,
        others: &[(404, "There is no such plugin.")],
    },
    Endpoint {
        operation: Operation::ListTokens,
        method: Method::Get,
        path: "/api/v1/tokens",
        access: Access::Admin,
        group: "Tokens",
        summary: "All tokens, without their text",
        query: &[],
        request: None,
        status: 200,
        answer: Content::Tokens,
        others: &[],
    },
    Endpoint {
        operation: Operation::CreateToken,
        method: Method::Post,
        path: "/api/v1/tokens",
        access: Access::Admin,
        group: "Tokens",
        summary: "Makes a token; its text is in this answer only",
        query: &[],
        request: Some(Content::NewToken),
        status: 201,
        answer: Content::NewTokenAnswer,
        others: &[
            (400, "The login, the role or the time is not one."),
            (409, "There are as many tokens as there may be."),
        ],
    },
    Endpoint {
        operation: Operation::DeleteToken,
        method: Method::Delete,
        path: "/api/v1/tokens/{id}",
        access: Access::Admin,
        group: "Tokens",
        summary: "Deletes a token; it is refused from then on",
        query: &[],
        request: None,
        status: 204,
        answer: Content::Nothing,
        others: &[(404, "There is no such token.")],
    },
];

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
