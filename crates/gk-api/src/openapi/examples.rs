//! Examples of what requests and answers hold.

use std::collections::BTreeMap;

use gk_manifest::policy::{Policy, PolicyStatus};
use gk_manifest::{JobOverrides, Permission};
use serde_json::{Value, json};

use crate::{
    Actor, AuditEntry, AuditPage, Change, Changes, Check, CheckState, Content, Doctor, Figures,
    FileChange, Health, HealthOfAll, HostInfo, HostedPlugin, InstallReport, InstallStep, Job,
    JobRun, JobRunPage, LimitDiff, LogEntry, LogPage, NewTokenAnswer, Outcome, OutcomeWord,
    PackageSignature, Plugin, PluginDetail, PluginInside, PolicyDiff, PolicyOrigin, PolicyView,
    Role, Sandbox, SandboxLayer, SharingHost, Stats, Timeouts, Token, UninstallReport, Usage,
};

const TIME: &str = "2026-11-27T09:30:00Z";

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn permission(kind: &str, access: &str, scope: &[&str]) -> Permission {
    Permission {
        kind_name: kind.to_owned(),
        access: access.to_owned(),
        scope: scope.iter().map(|&pattern| pattern.to_owned()).collect(),
    }
}

fn plugin() -> Plugin {
    Plugin {
        name: some("tickets"),
        legacy_name: some("tickets"),
        version: "1.2.0".to_owned(),
        description: "Tickets with a chart".to_owned(),
        license: "Apache-2.0".to_owned(),
        state: "running".to_owned(),
        loaded: true,
        enabled: true,
        generation: 3,
        started_at: some(TIME),
        running_since: some(TIME),
        signature: some("valid"),
        signing_key: some("0f1e2d3c4b5a69788796a5b4c3d2e1f0"),
        routes: Some(Vec::new()),
        widgets: Some(Vec::new()),
        jobs: Some(Vec::new()),
        menu_items: Some(Vec::new()),
        inside: Some(PluginInside {
            directory: "/srv/goatkit/plugins/tickets".to_owned(),
            pid: Some(4242),
            sandbox: Some(Sandbox {
                complete: true,
                layers: vec![SandboxLayer {
                    layer: "seccomp".to_owned(),
                    state: "enforced".to_owned(),
                    ..SandboxLayer::default()
                }],
            }),
            can_roll_back: true,
            ..PluginInside::default()
        }),
        ..Plugin::default()
    }
}

fn policy() -> Policy {
    Policy {
        status: PolicyStatus::Approved,
        permissions: vec![permission("db", "readwrite", &["tickets_*"])],
        ..Policy::default()
    }
}

fn stats() -> Stats {
    Stats {
        plugin_name: "tickets".to_owned(),
        state: "running".to_owned(),
        generation: 3,
        usage: Usage {
            requests: 1200,
            db_queries: 900,
            db_execs: 100,
            cache_ops: 200,
            last_call_at: 1_795_771_800_000,
            ..Usage::default()
        },
        figures: Figures {
            memory_bytes: 25_165_824,
            cpu_seconds: 1.5,
            calls: 400,
            failed: 2,
            in_flight: 1,
            p50_ms: Some(0.4),
            p99_ms: Some(3.1),
            ..Figures::default()
        },
    }
}

fn token() -> Token {
    Token {
        id: 7,
        login: "ann".to_owned(),
        role: Role::Agent,
        created_at: some(TIME),
        expires_at: some("2027-11-27T09:30:00Z"),
        expired: false,
        last_used_at: some(TIME),
    }
}

fn outcome() -> Outcome {
    Outcome {
        outcome: OutcomeWord::Serving,
        generation: Some(3),
        error: None,
        status: None,
    }
}

fn health() -> Health {
    Health {
        healthy: true,
        state: "running".to_owned(),
        generation: 3,
        last_check: some(TIME),
        last_success: some(TIME),
        ..Health::default()
    }
}

/// An example of a content, made from its type; `None` for content that is not JSON, or any JSON.
#[must_use]
pub fn example(content: Content) -> Option<Value> {
    // Serialising cannot fail: all maps of these types have text as keys.
    fn of(value: impl serde::Serialize) -> Option<Value> {
        serde_json::to_value(value).ok()
    }
    match content {
        Content::Nothing
        | Content::Text
        | Content::Html
        | Content::Stream
        | Content::Package
        | Content::Json => None,
        Content::Args => Some(json!({ "id": 5 })),
        Content::Any => Some(json!({ "status": "running" })),
        Content::Ticket => Some(json!({ "ticket": "gkt_Yk3…", "expires_in": 30 })),
        Content::PolicyBody => of(policy()),
        Content::HostInfo => of(HostInfo {
            version: "0.1.0".to_owned(),
            started_at: some(TIME),
            ready: true,
            plugins_dir: "/srv/goatkit/plugins".to_owned(),
            data_dir: "/srv/goatkit/data".to_owned(),
            hot_reload: true,
            signatures_required: true,
            sandbox_level: "required".to_owned(),
            plugins: BTreeMap::from([("running".to_owned(), 3)]),
            login: "admin".to_owned(),
            role: "admin".to_owned(),
        }),
        Content::Doctor => of(Doctor {
            healthy: true,
            checks: vec![Check {
                name: "mail".to_owned(),
                state: CheckState::Off,
                detail: "no mail server is configured".to_owned(),
                remedy: "set host and from in [mail] to let plugins send mail".to_owned(),
            }],
        }),
        Content::AuditPage => of(AuditPage {
            entries: vec![AuditEntry {
                id: 12,
                at: TIME.to_owned(),
                host: None,
                actor: Actor {
                    login: "admin".to_owned(),
                    token: Some(1),
                    uid: None,
                    address: some("192.0.2.7"),
                },
                change: Change::Disable,
                target: "tickets".to_owned(),
                before: json!({ "enabled": true }),
                after: json!({ "enabled": false }),
                outcome: "done".to_owned(),
                error: None,
                request_id: "3f0c9c1e8a".to_owned(),
            }],
            next: None,
        }),
        Content::Plugins => of([plugin()]),
        Content::PluginDetail => of(PluginDetail {
            plugin: plugin(),
            timeouts_ms: Some(Timeouts {
                call: 30_000,
                init: 10_000,
                shutdown: 5_000,
            }),
            registration: Some(gk_manifest::Registration {
                name: "tickets".to_owned(),
                version: "1.2.0".to_owned(),
                ..gk_manifest::Registration::default()
            }),
        }),
        Content::InstallReport => of(InstallReport {
            name: "tickets".to_owned(),
            version: "1.3.0".to_owned(),
            installed_version: some("1.2.0"),
            digest: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
            step: InstallStep::Replaced,
            signature: PackageSignature {
                state: "valid".to_owned(),
                key: some("0f1e2d3c4b5a69788796a5b4c3d2e1f0"),
                date: some(TIME),
                warning: None,
            },
            requested: vec![permission("db", "readwrite", &["tickets_*"])],
            changes: Changes {
                files: vec![FileChange {
                    path: "tickets".to_owned(),
                    change: "changed".to_owned(),
                }],
                count: 1,
            },
            outcome: Some(outcome()),
            directory: "/srv/goatkit/plugins/tickets".to_owned(),
            ..InstallReport::default()
        }),
        Content::UninstallReport => of(UninstallReport {
            name: "tickets".to_owned(),
            version: "1.2.0".to_owned(),
            removed: vec!["/srv/goatkit/plugins/tickets".to_owned()],
            kept: vec!["policy".to_owned(), "files".to_owned()],
            message: "plugin uninstalled".to_owned(),
        }),
        Content::LogPage => of(LogPage {
            count: 1,
            logs: vec![LogEntry {
                sequence: 17,
                timestamp: some(TIME),
                generation: 3,
                level: "info".to_owned(),
                source: "stdout".to_owned(),
                message: "tickets 1.2.0 on host 0.1.0".to_owned(),
                fields: BTreeMap::new(),
            }],
        }),
        Content::HealthBody => of(health()),
        Content::HealthOfAll => of(HealthOfAll {
            plugins: BTreeMap::from([("tickets".to_owned(), health())]),
        }),
        Content::StatsBody => of(stats()),
        Content::StatsList => of([stats()]),
        Content::Outcome => of(outcome()),
        Content::PolicyView => of(PolicyView {
            plugin_name: "tickets".to_owned(),
            origin: PolicyOrigin::Stored,
            policy: policy(),
            requested: policy(),
            exceeds_grant: Vec::new(),
            usage: stats().usage,
            clamped: Vec::new(),
        }),
        Content::PolicyDiff => of(PolicyDiff {
            plugin_name: "tickets".to_owned(),
            status: "pending_review".to_owned(),
            granted: vec![permission("cache", "readwrite", &[])],
            missing: vec![permission("http", "", &["api.example.com"])],
            extra: Vec::new(),
            limits: vec![LimitDiff {
                limit: "memory_mb".to_owned(),
                asked: "1024".to_owned(),
                granted: "512".to_owned(),
            }],
            approval: json!(policy()),
        }),
        Content::Hosts => of([SharingHost {
            id: "5f1e0c64d2a9b377".to_owned(),
            name: "host-a".to_owned(),
            version: "0.1.0".to_owned(),
            started_at: some(TIME),
            seen_at: some(TIME),
            fresh: true,
            current: true,
            this: true,
            ready: true,
            plugins: [(
                "tickets".to_owned(),
                HostedPlugin {
                    state: "running".to_owned(),
                    version: some("1.2.0"),
                    generation: 3,
                },
            )]
            .into(),
        }]),
        Content::Jobs => of([job()]),
        Content::Job => of(job()),
        Content::JobRun => of(job_run()),
        Content::JobRuns => of(JobRunPage {
            runs: vec![job_run()],
            next: Some(412),
        }),
        Content::JobOverrides => of(overrides()),
        Content::Tokens => of([token()]),
        Content::NewToken => {
            Some(json!({ "login": "ann", "role": "agent", "expires_in": "8760h" }))
        }
        Content::NewTokenAnswer => of(NewTokenAnswer {
            id: 7,
            login: "ann".to_owned(),
            role: Role::Agent,
            expires_at: some("2027-11-27T09:30:00Z"),
            token: "gk_1Qb…".to_owned(),
        }),
    }
}

fn overrides() -> JobOverrides {
    JobOverrides {
        schedule: Some("30 2 * * *".to_owned()),
        time_zone: Some("Europe/Berlin".to_owned()),
        ..JobOverrides::default()
    }
}

fn job() -> Job {
    Job {
        plugin: "tickets".to_owned(),
        job: "cleanup".to_owned(),
        handler: "clean_up".to_owned(),
        schedule: "30 2 * * *".to_owned(),
        time_zone: "Europe/Berlin".to_owned(),
        description: "Closes old tickets".to_owned(),
        enabled: true,
        timeout: "5m0s".to_owned(),
        retries: 2,
        overrides: overrides(),
        next_start: Some("2026-11-29T01:30:04Z".to_owned()),
        missed: 1,
        last_run: Some(job_run()),
        ..Job::default()
    }
}

fn job_run() -> JobRun {
    JobRun {
        id: 412,
        plugin: "tickets".to_owned(),
        job: "cleanup".to_owned(),
        trigger: "schedule".to_owned(),
        tick: "2026-11-28T01:30:00Z".to_owned(),
        state: "succeeded".to_owned(),
        attempt: 1,
        start_at: "2026-11-28T01:30:04Z".to_owned(),
        started_at: Some("2026-11-28T01:30:04.002Z".to_owned()),
        ended_at: Some("2026-11-28T01:30:04.122Z".to_owned()),
        duration_ms: Some(120),
        host: Some("host-a".to_owned()),
        generation: Some(3),
        result: json!({ "closed": 4 }),
        error: None,
    }
}
