//! The OpenAPI document (3.1): the table of endpoints, the schemas of all types, and an example of each.

use std::collections::BTreeMap;

use gk_manifest::Permission;
use gk_manifest::policy::{Policy, PolicyStatus};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::{
    Access, Actor, AuditEntry, AuditPage, Change, Changes, Check, CheckState, Content, Doctor,
    ENDPOINTS, Endpoint, ErrorBody, Figures, FileChange, Health, HealthOfAll, HostInfo,
    InstallReport, InstallStep, Job, JobRun, LimitDiff, LogEntry, LogPage, NewToken,
    NewTokenAnswer, Outcome, OutcomeWord, PackageSignature, Parameter, ParameterKind, Plugin,
    PluginDetail, PluginInside, PolicyDiff, PolicyOrigin, PolicyView, Role, Sandbox, SandboxLayer,
    Stats, Timeouts, Token, UninstallReport, Usage,
};

/// A route of a plugin.
#[derive(Debug, Clone, Copy)]
pub struct PluginRoute<'a> {
    /// Its method, in capitals.
    pub method: &'a str,
    /// Its path, with parameters in braces.
    pub path: &'a str,
    /// What it does.
    pub summary: &'a str,
    /// The plugin.
    pub plugin: &'a str,
    /// Whether callers need a token, and whether not everybody's will do.
    pub access: Access,
}

/// The document of a host of this version whose plugins have these routes.
#[must_use]
pub fn document<'a>(version: &str, routes: impl Iterator<Item = PluginRoute<'a>>) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for endpoint in ENDPOINTS {
        let operation = operation(endpoint, &mut generator);
        paths
            .entry(endpoint.path.to_owned())
            .or_default()
            .insert(endpoint.method.as_str().to_ascii_lowercase(), operation);
    }
    for route in routes {
        let mut operation = json!({
            "summary": route.summary,
            "tags": [route.plugin],
            "parameters": path_parameters(route.path),
            "responses": {
                "200": { "description": "Success", "content": { "application/json": {} } },
                "default": error("Failure"),
            },
        });
        secure(&mut operation, route.access);
        paths
            .entry(route.path.to_owned())
            .or_default()
            .insert(route.method.to_ascii_lowercase(), operation);
    }
    generator.subschema_for::<ErrorBody>();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "GoatKit plugin host",
            "version": version,
            "description": "The admin API of the host, and the routes of its plugins at this moment.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": generator.take_definitions(true),
        },
    })
}

fn operation(endpoint: &Endpoint, generator: &mut SchemaGenerator) -> Value {
    let mut parameters = path_parameters(endpoint.path);
    parameters.extend(endpoint.query.iter().map(query_parameter));
    let mut success = json!({ "description": "Success" });
    put(&mut success, endpoint.answer, generator);
    let mut responses =
        json!({ endpoint.status.to_string(): success, "default": error("Failure") });
    for (status, about) in endpoint.others {
        responses[status.to_string()] = match *status {
            // Not an error: the same answer, before its time.
            202 => {
                let mut accepted = json!({ "description": about });
                put(&mut accepted, endpoint.answer, generator);
                accepted
            }
            _ => error(about),
        };
    }
    let mut operation = json!({
        "operationId": format!("{:?}", endpoint.operation),
        "summary": endpoint.summary,
        "tags": [endpoint.group],
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(request) = endpoint.request {
        let mut body = json!({ "required": request != Content::Args });
        put(&mut body, request, generator);
        operation["requestBody"] = body;
    }
    secure(&mut operation, endpoint.access);
    operation
}

/// Puts what a content is, and an example, into a request's body or an answer.
fn put(into: &mut Value, content: Content, generator: &mut SchemaGenerator) {
    let Some(media_type) = content.media_type() else {
        return;
    };
    let mut media = json!({ "schema": schema(content, generator) });
    if let Some(example) = example(content) {
        media["example"] = example;
    }
    into["content"] = match content {
        Content::Package => json!({
            media_type: media,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["plugin"],
                    "properties": { "plugin": { "type": "string", "format": "binary" } },
                },
            },
        }),
        _ => json!({ media_type: media }),
    };
}

fn secure(operation: &mut Value, access: Access) {
    if access == Access::Anybody {
        return;
    }
    operation["security"] = json!([{ "token": [] }]);
    operation["responses"]["401"] = error("No valid token.");
    if access != Access::Token && operation["responses"].get("403").is_none() {
        operation["responses"]["403"] = error("Not for this role.");
    }
}

fn error(description: &str) -> Value {
    json!({
        "description": description,
        "content": { "application/json": {
            "schema": { "$ref": "#/components/schemas/ErrorBody" },
            "example": { "error": "plugin \"hello\" not found; GET /api/v1/plugins lists those that are there" },
        } },
    })
}

fn path_parameters(path: &str) -> Vec<Value> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect()
}

fn query_parameter(parameter: &Parameter) -> Value {
    let schema = match parameter.kind {
        ParameterKind::Flag => json!({ "type": "string" }),
        ParameterKind::Boolean => json!({ "type": "boolean" }),
        ParameterKind::Integer => json!({ "type": "integer", "minimum": 0 }),
        ParameterKind::Duration => json!({ "type": "string", "examples": ["10s"] }),
        ParameterKind::Text => json!({ "type": "string" }),
    };
    json!({
        "name": parameter.name,
        "in": "query",
        "required": false,
        "description": parameter.about,
        "allowEmptyValue": parameter.kind == ParameterKind::Flag,
        "schema": schema,
    })
}

fn schema(content: Content, generator: &mut SchemaGenerator) -> Value {
    fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
        generator.subschema_for::<T>().to_value()
    }
    match content {
        Content::Nothing | Content::Any => json!({}),
        Content::Text | Content::Html | Content::Stream => json!({ "type": "string" }),
        Content::Package => json!({ "type": "string", "format": "binary" }),
        Content::Json | Content::Args => json!({ "type": "object" }),
        Content::Ticket => json!({
            "type": "object",
            "required": ["ticket", "expires_in"],
            "properties": {
                "ticket": { "type": "string" },
                "expires_in": { "type": "integer", "description": "Seconds." },
            },
        }),
        Content::PolicyBody => {
            // As a policy, and what `permissions` may be beside a list.
            let policy = of::<Policy>(generator);
            json!({
                "description": "A policy; its `permissions` may be \"requested\": everything the plugin asks for at this moment. The answer of GET is taken, too.",
                "anyOf": [policy, { "type": "object", "required": ["status"], "properties": {
                    "status": { "type": "string" },
                    "permissions": { "const": "requested" },
                } }],
            })
        }
        Content::HostInfo => of::<HostInfo>(generator),
        Content::Doctor => of::<Doctor>(generator),
        Content::AuditPage => of::<AuditPage>(generator),
        Content::Plugins => of::<Vec<Plugin>>(generator),
        Content::PluginDetail => of::<PluginDetail>(generator),
        Content::InstallReport => of::<InstallReport>(generator),
        Content::UninstallReport => of::<UninstallReport>(generator),
        Content::LogPage => of::<LogPage>(generator),
        Content::HealthBody => of::<Health>(generator),
        Content::HealthOfAll => of::<HealthOfAll>(generator),
        Content::StatsBody => of::<Stats>(generator),
        Content::StatsList => of::<Vec<Stats>>(generator),
        Content::Outcome => of::<Outcome>(generator),
        Content::PolicyView => of::<PolicyView>(generator),
        Content::PolicyDiff => of::<PolicyDiff>(generator),
        Content::Jobs => of::<Vec<Job>>(generator),
        Content::JobRun => of::<JobRun>(generator),
        Content::Tokens => of::<Vec<Token>>(generator),
        Content::NewToken => of::<NewToken>(generator),
        Content::NewTokenAnswer => of::<NewTokenAnswer>(generator),
    }
}

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

/// An example of a content, made from its type; `None` where it is no JSON, or any.
#[must_use]
pub fn example(content: Content) -> Option<Value> {
    // These types have no maps with other keys than text: it cannot fail.
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
        Content::Jobs => of([Job {
            plugin: "tickets".to_owned(),
            job: "cleanup".to_owned(),
            handler: "clean_up".to_owned(),
            schedule: "0 3 * * *".to_owned(),
            description: "Closes old tickets".to_owned(),
            enabled: true,
        }]),
        Content::JobRun => of(JobRun {
            plugin: "tickets".to_owned(),
            job: "cleanup".to_owned(),
            duration_ms: 120,
            result: json!({ "closed": 4 }),
        }),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Every reference leads to a schema, and every schema is used.
    #[test]
    fn the_document_is_complete() {
        let document = document("1.2.3", std::iter::empty());
        let text = document.to_string();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let mut used = std::collections::BTreeSet::new();
        for part in text.split("\"$ref\":\"").skip(1) {
            let name = part.split('"').next().unwrap();
            let name = name.strip_prefix("#/components/schemas/").unwrap();
            assert!(schemas.contains_key(name), "{name}");
            used.insert(name.to_owned());
        }
        let known: std::collections::BTreeSet<_> = schemas.keys().cloned().collect();
        assert_eq!(used, known);
    }

    #[test]
    fn every_json_has_an_example() {
        for endpoint in ENDPOINTS {
            for content in endpoint.request.into_iter().chain([endpoint.answer]) {
                let json = content.media_type() == Some("application/json");
                assert_eq!(
                    example(content).is_some(),
                    json && content != Content::Json,
                    "{content:?}"
                );
            }
        }
    }

    /// What clients read is what the examples show.
    #[test]
    fn examples_are_read_back() {
        fn same<T: serde::de::DeserializeOwned + serde::Serialize>(content: Content) {
            let example = example(content).unwrap();
            let read: T = serde_json::from_value(example.clone()).unwrap();
            assert_eq!(serde_json::to_value(read).unwrap(), example);
        }
        same::<HostInfo>(Content::HostInfo);
        same::<Doctor>(Content::Doctor);
        same::<AuditPage>(Content::AuditPage);
        same::<Vec<Plugin>>(Content::Plugins);
        same::<PluginDetail>(Content::PluginDetail);
        same::<InstallReport>(Content::InstallReport);
        same::<UninstallReport>(Content::UninstallReport);
        same::<LogPage>(Content::LogPage);
        same::<HealthOfAll>(Content::HealthOfAll);
        same::<Vec<Stats>>(Content::StatsList);
        same::<Outcome>(Content::Outcome);
        same::<PolicyView>(Content::PolicyView);
        same::<PolicyDiff>(Content::PolicyDiff);
        same::<Vec<Job>>(Content::Jobs);
        same::<JobRun>(Content::JobRun);
        same::<Vec<Token>>(Content::Tokens);
        same::<NewTokenAnswer>(Content::NewTokenAnswer);
    }
}
