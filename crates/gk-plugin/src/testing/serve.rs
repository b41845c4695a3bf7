//! The host's end of the host API: a method's name and JSON arguments in, JSON out.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use gk_protocol::host::{HostApiHandler, HostRequest};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answers::{Answer, OutgoingRequest, Statement, collapse};
use super::state::{Event, HostCall, LogRecord, Mail, Refusal, Running, Shared};
use super::stores::{read, status_ok};
use super::user::User;
use crate::host::wire::{bytes, encode};

/// The methods that the test host serves, and what a host says where the permission for one is
/// missing; empty for those that need none.
const METHODS: &[(&str, &str)] = &[
    ("db_query", "database read access not granted"),
    ("db_exec", "database write access not granted"),
    ("db_batch", "database write access not granted"),
    ("cache_get", "cache access not granted"),
    ("cache_set", "cache write access not granted"),
    ("cache_delete", "cache delete access not granted"),
    ("http_request", "HTTP outbound access not granted"),
    ("send_email", "email access not granted"),
    ("config_get", "config access not granted"),
    ("plugin_call", "plugin-to-plugin calls not granted"),
    ("store_file", "file write access not granted"),
    ("get_file", "file read access not granted"),
    ("delete_file", "file write access not granted"),
    ("list_files", "file read access not granted"),
    ("log", ""),
    ("translate", ""),
    ("publish_event", ""),
    ("time_now", ""),
    ("secure_config_get", ""),
    ("secure_config_set", ""),
    ("kv_get", ""),
    ("kv_set", ""),
    ("kv_delete", ""),
    ("kv_list", ""),
];

/// The methods of an application, which a host without one does not have.
const NOT_PROVIDED: &[&str] = &[
    "change_ticket_status",
    "create_article",
    "create_article_attachment",
    "custom_fields_get",
    "custom_fields_query",
    "custom_fields_set",
    "delete_article_attachment",
    "entity_hard_delete",
    "entity_restore",
    "entity_soft_delete",
    "generate_thumbnail",
    "list_article_attachments",
    "list_ticket_states",
    "list_ticket_views",
    "org_id",
    "recycle_bin_list",
    "render_markdown_to_pdf",
];

/// The host's text when it does not grant a method.
pub(super) fn denial(method: &str) -> &'static str {
    let known = METHODS.iter().find(|(name, _)| *name == method);
    let text = known.map_or("", |(_, text)| text);
    match text {
        "" => "it is blocked by its policy",
        text => text,
    }
}

pub(super) fn is_known(method: &str) -> bool {
    METHODS.iter().any(|(name, _)| *name == method) || NOT_PROVIDED.contains(&method)
}

/// Serves a plugin's requests.
pub(super) struct Server(pub(super) Shared);

#[async_trait]
impl HostApiHandler for Server {
    async fn call(&self, request: HostRequest) -> Result<Bytes, String> {
        let args = match &request.args[..] {
            b"" => Value::Null,
            args => serde_json::from_slice(args).map_err(|error| format!("arguments: {error}"))?,
        };
        let answer = self.answer(request, args)?;
        serde_json::to_vec(&answer)
            .map(Bytes::from)
            .map_err(|error| format!("the result cannot be written: {error}"))
    }
}

#[derive(Deserialize)]
struct WireStatement {
    query: String,
    #[serde(default)]
    args: Option<Vec<Value>>,
}

impl WireStatement {
    fn of(self, method: &str) -> Statement {
        Statement {
            method: method.to_owned(),
            query: self.query,
            args: self.args.unwrap_or_default(),
        }
    }
}

impl Server {
    /// Records a request and answers it. What a test has set up runs without the lock, so that it
    /// may look at the host.
    fn answer(&self, request: HostRequest, args: Value) -> Result<Value, String> {
        let method = request.method;
        let (call, added) = {
            let mut state = self.0.lock();
            let call = match &request.call_token {
                None => Some(Running::default()),
                Some(token) => state.running.get(token).cloned(),
            };
            let function = call.as_ref().map(|call| call.function.clone());
            state.calls.push(HostCall {
                method: method.clone(),
                args: args.clone(),
                function: function.filter(|name| !name.is_empty()),
            });
            let call = call.ok_or("unknown or finished call context")?;
            match state.refusals.get(&method) {
                Some(Refusal::Denied(text)) => {
                    return Err(format!("plugin \"{}\": {text}", state.plugin));
                }
                Some(Refusal::Failed(text)) => return Err(text.clone()),
                None => {}
            }
            (call, state.answers.methods.get(&method).cloned())
        };
        if let Some(added) = added {
            return added(args);
        }
        if let Some(answer) = self.0.lock().stores.serve(&method, &args) {
            return answer;
        }
        match &*method {
            "db_query" => {
                let statement: WireStatement = read(&args)?;
                let answer = self.statement(&statement.of(&method))?;
                Ok(answer.rows.unwrap_or_else(|| json!([])))
            }
            "db_exec" => {
                let statement: WireStatement = read(&args)?;
                Ok(written(self.statement(&statement.of(&method))?))
            }
            "db_batch" => self.batch(&args),
            "http_request" => self.http(&args),
            "send_email" => {
                let mail: Mail = read(&args)?;
                self.0.lock().mails.push(mail);
                Ok(json!({ "ok": true }))
            }
            "publish_event" => self.publish(&args),
            "log" => self.log(&args),
            "translate" => self.translate(&args, &call),
            "plugin_call" => self.plugin_call(&args, &call),
            other if NOT_PROVIDED.contains(&other) => Err(format!(
                "method \"{other}\" is not provided by this host; in a test, TestHost::on_method({other:?}, …) provides it"
            )),
            other => Err(format!("unknown host API method: {other}")),
        }
    }

    fn statement(&self, statement: &Statement) -> Result<Answer, String> {
        let text = collapse(&statement.query);
        let (query, write, functions) = {
            let answers = &self.0.lock().answers;
            (
                answers.queries.get(&text).cloned(),
                answers.writes.get(&text).cloned(),
                answers.statements.clone(),
            )
        };
        let (reads, writes) = match &*statement.method {
            "db_query" => (true, false),
            "db_exec" => (false, true),
            _ => (true, true),
        };
        let hint = match (&query, &write) {
            (None, None) => "",
            _ => " (there is one for another method)",
        };
        if let Some(answer) = write.filter(|_| writes) {
            return Ok(answer);
        }
        if let Some(rows) = query.filter(|_| reads) {
            return Ok(Answer::default().with_rows(rows));
        }
        if let Some(answer) = functions.iter().find_map(|function| function(statement)) {
            return answer;
        }
        let one = if writes { "on_execute" } else { "on_query" };
        Err(format!(
            "no answer to {} {text:?}{hint}; set one up with TestHost::{one} or TestHost::on_statement",
            statement.method
        ))
    }

    fn batch(&self, args: &Value) -> Result<Value, String> {
        #[derive(Deserialize)]
        struct Batch {
            statements: Vec<WireStatement>,
        }
        let batch: Batch = read(args)?;
        let results = batch.statements.into_iter().enumerate();
        let results = results.map(|(index, statement)| {
            let answer = self.statement(&statement.of("db_batch"));
            answer
                .map(written)
                .map_err(|error| format!("statement {}: {error}", index + 1))
        });
        results.collect::<Result<Vec<_>, _>>().map(Value::Array)
    }

    fn http(&self, args: &Value) -> Result<Value, String> {
        #[derive(Deserialize)]
        struct Outgoing {
            #[serde(default)]
            method: String,
            url: String,
            #[serde(default)]
            headers: Option<BTreeMap<String, String>>,
            #[serde(default, deserialize_with = "bytes")]
            body: Bytes,
        }
        let outgoing: Outgoing = read(args)?;
        let authority = ["http://", "https://"].iter().find_map(|scheme| {
            let rest = outgoing.url.strip_prefix(scheme)?;
            rest.split(['/', '?', '#']).next()
        });
        match authority {
            None | Some("") => return Err(format!("invalid URL: {:?}", outgoing.url)),
            Some(authority) if authority.contains('@') => {
                return Err("invalid URL: it holds a user or a password".to_owned());
            }
            Some(_) => {}
        }
        let method = match outgoing.method.as_str() {
            "" => "GET".to_owned(),
            method => method.to_owned(),
        };
        let answer = self.0.lock().answers.http.clone();
        let answer = answer.ok_or_else(|| {
            let url = &outgoing.url;
            format!("no answer to {method} {url}; set one up with TestHost::on_http")
        })?;
        let headers = outgoing.headers.unwrap_or_default().into_iter();
        let response = answer(&OutgoingRequest {
            method,
            url: outgoing.url,
            headers: headers
                .map(|(name, value)| (name.to_ascii_lowercase(), value))
                .collect(),
            body: outgoing.body,
        });
        let headers = response.headers.into_iter();
        let headers: BTreeMap<_, _> = headers
            .map(|(name, values)| (name.to_ascii_lowercase(), values))
            .collect();
        Ok(json!({ "status": response.status, "headers": headers, "body": encode(&response.body) }))
    }

    fn publish(&self, args: &Value) -> Result<Value, String> {
        #[derive(Deserialize)]
        struct Publication {
            #[serde(default)]
            channel: String,
            event_type: String,
            #[serde(default)]
            data: Value,
        }
        let event: Publication = read(args)?;
        self.0.lock().events.push(Event {
            channel: event.channel,
            event_type: event.event_type,
            data: match event.data {
                Value::String(text) => text,
                other => other.to_string(),
            },
        });
        Ok(status_ok())
    }

    fn log(&self, args: &Value) -> Result<Value, String> {
        #[derive(Deserialize)]
        struct Record {
            #[serde(default)]
            level: String,
            message: String,
            fields: Option<Map<String, Value>>,
        }
        let record: Record = read(args)?;
        let level = match &*record.level.to_ascii_lowercase() {
            "debug" | "trace" => "debug",
            "warn" | "warning" => "warn",
            "error" | "fatal" => "error",
            _ => "info",
        };
        self.0.lock().logs.push(LogRecord {
            level: level.to_owned(),
            message: record.message,
            fields: record.fields.unwrap_or_default(),
        });
        Ok(json!({ "ok": true }))
    }

    fn translate(&self, args: &Value, call: &Running) -> Result<Value, String> {
        #[derive(Deserialize)]
        struct Translation {
            key: String,
            #[serde(default)]
            args: Option<Vec<Value>>,
        }
        let wanted: Translation = read(args)?;
        let language = call.language.as_deref().unwrap_or("en");
        let args = wanted.args.unwrap_or_default();
        let text = self.0.lock().texts.translate(language, &wanted.key, &args);
        Ok(json!({ "value": text }))
    }

    fn plugin_call(&self, args: &Value, call: &Running) -> Result<Value, String> {
        #[derive(Deserialize)]
        struct PluginCall {
            plugin: String,
            function: String,
            #[serde(default)]
            args: Value,
        }
        let wanted: PluginCall = read(args)?;
        let (plugin, function) = (wanted.plugin, wanted.function);
        let key = (plugin.clone(), function.clone());
        let answer = self.0.lock().answers.plugins.get(&key).cloned();
        let answer = answer.ok_or_else(|| {
            format!("no answer to the call of {function:?} of plugin \"{plugin}\"; set one up with TestHost::on_plugin_call")
        })?;
        let args = match wanted.args {
            Value::Object(mut members) => {
                members.retain(|key, _| !key.starts_with('_'));
                members.extend(User::envelope(call.user.as_ref()));
                let told = [("_lang", &call.language), ("_request_id", &call.request_id)];
                for (key, value) in told {
                    if let Some(value) = value {
                        members.insert(key.to_owned(), value.clone().into());
                    }
                }
                Value::Object(members)
            }
            other => other,
        };
        answer(args)
    }
}

/// An answer as the host writes it: without what there is not.
fn written(answer: Answer) -> Value {
    let mut object = Map::new();
    object.insert("affected".to_owned(), answer.affected.into());
    if let Some(id) = answer.last_insert_id {
        object.insert("last_insert_id".to_owned(), id.into());
    }
    if let Some(rows) = answer.rows {
        object.insert("rows".to_owned(), rows);
    }
    Value::Object(object)
}
