//! The OpenAPI document (3.1): the table of endpoints, the schemas of all types, and an example of
//! each.

mod examples;

use std::collections::BTreeMap;

use gk_manifest::JobOverrides;
use gk_manifest::policy::Policy;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

pub use self::examples::example;

use crate::{
    Access, AuditPage, Content, Doctor, ENDPOINTS, Endpoint, ErrorBody, Health, HealthOfAll,
    HostInfo, InstallReport, Job, JobRun, JobRunPage, LogPage, NewToken, NewTokenAnswer, Outcome,
    Parameter, ParameterKind, Plugin, PluginDetail, PolicyDiff, PolicyView, SharingHost, Stats,
    Token, UninstallReport,
};

/// A route that a plugin serves.
#[derive(Debug, Clone, Copy)]
pub struct PluginRoute<'a> {
    /// HTTP method, in capitals.
    pub method: &'a str,
    /// Path, with parameters in braces.
    pub path: &'a str,
    /// Effect, in one line.
    pub summary: &'a str,
    /// Name of the plugin.
    pub plugin: &'a str,
    /// Permission that a caller needs.
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
        Content::Hosts => of::<Vec<SharingHost>>(generator),
        Content::Jobs => of::<Vec<Job>>(generator),
        Content::Job => of::<Job>(generator),
        Content::JobRun => of::<JobRun>(generator),
        Content::JobRuns => of::<JobRunPage>(generator),
        Content::JobOverrides => of::<JobOverrides>(generator),
        Content::Tokens => of::<Vec<Token>>(generator),
        Content::NewToken => of::<NewToken>(generator),
        Content::NewTokenAnswer => of::<NewTokenAnswer>(generator),
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
        same::<Vec<SharingHost>>(Content::Hosts);
        same::<Vec<Job>>(Content::Jobs);
        same::<Job>(Content::Job);
        same::<JobRun>(Content::JobRun);
        same::<JobRunPage>(Content::JobRuns);
        same::<JobOverrides>(Content::JobOverrides);
        same::<Vec<Token>>(Content::Tokens);
        same::<NewTokenAnswer>(Content::NewTokenAnswer);
    }
}
