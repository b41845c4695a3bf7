//! Arguments that describe a request to a plugin: one flat JSON object.
//!
//! The values of the body and the query come first, and a path's parameters replace them. The
//! host's envelope (every key that begins with `_`, and `org_id`) is written last: values from the
//! client under those names are dropped. Values of a JSON body are passed on unchanged, digit by
//! digit.

mod multipart;
mod value;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use gk_runtime::limits::ARGS_BYTES_MAX;
use gk_runtime::{CallContext, MemoryBudget};
use serde::Serializer as _;
use serde_json::value::RawValue;

pub(crate) use self::value::Key;
use self::value::{Members, Value};
use crate::bodies::{Full, Growing, HeldBody};
use crate::heavy::Heavy;
use crate::problem::Problem;
use gk_hostapi::{EnvelopeValue, RequestId, User};

/// Maximum number of keys of a query, a form, or a JSON body's object, each.
pub(crate) const KEYS_MAX: usize = 10_000;

/// Maximum length of a language tag that is passed on.
const LANGUAGE_CHARS_MAX: usize = 35;

/// A request, as far as plugins see it.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) parts: Parts,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) body: HeldBody,
    pub(crate) caller: Option<User>,
    pub(crate) client: Option<IpAddr>,
    pub(crate) skip_org: bool,
}

impl Incoming {
    /// Creates a request whose query and parameters are not arguments.
    pub(crate) fn direct(parts: Parts, body: HeldBody, caller: Option<User>) -> Self {
        let client = crate::forwarded::client(&parts.extensions);
        Incoming {
            parts,
            params: Vec::new(),
            body,
            caller,
            client,
            skip_org: true,
        }
    }
}

/// Values from the client by key; in the end no key begins with `_`.
type Args<'a> = BTreeMap<Cow<'a, str>, Value<'a>>;

/// Values from the host, under unique keys that begin with `_`.
type Envelope<'a> = Vec<(&'static str, Value<'a>)>;

/// Capacity for the keys of most requests.
const ENVELOPE_KEYS: usize = 12;

/// Builds arguments, on a separate thread if the request is large.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Builder<'a> {
    pub(crate) memory: &'a MemoryBudget,
    pub(crate) heavy: &'a Heavy,
}

impl Builder<'_> {
    /// Builds the arguments of a route's function, and returns the request.
    pub(crate) async fn arguments(&self, request: Incoming) -> Result<(Bytes, Incoming), Problem> {
        self.build(request, arguments).await
    }

    /// Builds the arguments of a call by an administrator: the body's object with the envelope.
    pub(crate) async fn direct(&self, request: Incoming) -> Result<(Bytes, Incoming), Problem> {
        self.build(request, direct_arguments).await
    }

    async fn build(
        &self,
        request: Incoming,
        how: fn(&Incoming, &MemoryBudget) -> Result<Bytes, Problem>,
    ) -> Result<(Bytes, Incoming), Problem> {
        let memory = self.memory.clone();
        let bytes = request.body.len();
        let work = move || how(&request, &memory).map(|args| (args, request));
        self.heavy.run(bytes, work).await?
    }
}

/// Returns the arguments of a route's function.
fn arguments(request: &Incoming, memory: &MemoryBudget) -> Result<Bytes, Problem> {
    let mut args = Args::new();
    let parts = &request.parts;
    add_form(
        &mut args,
        parts.uri.query().unwrap_or_default().as_bytes(),
        "query",
    )?;
    let content_type = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media_type = content_type
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let body: &[u8] = &request.body;
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    let mut envelope = envelope(request);
    // Type of a body that is neither a form nor an object.
    let content_type_key = || {
        let content_type = content_type.unwrap_or_default();
        ("_content_type", Value::Text(content_type.into()))
    };
    match &*media_type {
        _ if body.is_empty() => {}
        json if json == "application/json" || json.ends_with("+json") => {
            if !add_json(&mut args, body)? {
                envelope.push(("_body", Value::text_or_base64(body)));
                envelope.push(content_type_key());
            }
        }
        "application/x-www-form-urlencoded" => {
            // Command-line clients send this type if none is named; a form does not begin with a
            // brace.
            if !is_object || !add_json(&mut args, body).unwrap_or_default() {
                add_form(&mut args, body, "form")?;
            }
        }
        "multipart/form-data" => {
            let form = multipart::read(content_type.unwrap_or_default(), &request.body)?;
            args.extend(form.fields);
            envelope.push(("_files", Value::Files(form.files)));
        }
        _ => {
            let value = Value::text_or_base64(body);
            if let Value::Base64(_) = value {
                envelope.push(("_body_encoding", Value::Text("base64".into())));
            }
            envelope.push(("_body", value));
            envelope.push(content_type_key());
        }
    }
    // Go's decoder matches keys to fields regardless of case, so a key that differs only in case
    // would override the host's.
    let params: Vec<_> = request.params.iter().map(|(name, _)| fold(name)).collect();
    args.retain(|name, _| {
        let folded = fold(name);
        !name.starts_with('_')
            && (request.skip_org || folded != "org_id")
            && !params.contains(&folded)
    });
    for (name, value) in &request.params {
        args.insert(name.into(), Value::Text(value.into()));
    }
    written(&args, &envelope, memory)
}

/// Returns the arguments of a call by an administrator: the body's object with the envelope.
fn direct_arguments(request: &Incoming, memory: &MemoryBudget) -> Result<Bytes, Problem> {
    let mut args = Args::new();
    if !request.body.is_empty() && !add_json(&mut args, &request.body)? {
        return Err(Problem::bad_request("request body must be a JSON object"));
    }
    args.retain(|name, _| !name.starts_with('_'));
    written(&args, &envelope(request), memory)
}

/// Serializes the object, within the budget and the maximum size of arguments.
fn written(
    args: &Args<'_>,
    envelope: &Envelope<'_>,
    memory: &MemoryBudget,
) -> Result<Bytes, Problem> {
    let full = |full: Full| full.problem(ARGS_BYTES_MAX);
    let mut json = Growing::new(memory, ARGS_BYTES_MAX).map_err(full)?;
    let own = args.iter().map(|(name, value)| (&**name, value));
    let all = own.chain(envelope.iter().map(|(name, value)| (*name, value)));
    match serde_json::Serializer::new(&mut json).collect_map(all) {
        Ok(()) => Ok(json.freeze()),
        Err(error) => Err(match error.io_error_kind() {
            Some(std::io::ErrorKind::FileTooLarge) => full(Full::Limit),
            Some(std::io::ErrorKind::OutOfMemory) => full(Full::Budget),
            _ => Problem::internal(&format!("the arguments cannot be written: {error}")),
        }),
    }
}

/// Returns a key without regard to case, as Go folds it: `ſ` is an s, and the Kelvin sign a k.
fn fold(name: &str) -> String {
    name.to_uppercase().to_lowercase()
}

fn envelope(request: &Incoming) -> Envelope<'_> {
    let (parts, caller) = (&request.parts, request.caller.as_ref());
    let mut envelope = Vec::with_capacity(ENVELOPE_KEYS);
    let mut set = |name, value| envelope.push((name, value));
    if let Some(client) = request.client {
        set("_client_ip", Value::Text(client.to_string().into()));
    }
    set("_lang", Value::Text(language(&parts.headers).into()));
    set("_method", Value::Text(parts.method.as_str().into()));
    set("_path", Value::Text(parts.uri.path().into()));
    if let Some(id) = parts.extensions.get::<RequestId>() {
        set("_request_id", Value::Text(id.as_str().into()));
    }
    for (name, told) in User::envelope(caller) {
        let value = match told {
            EnvelopeValue::Bool(yes) => Value::Bool(yes),
            EnvelopeValue::Number(number) => Value::Number(number),
            EnvelopeValue::Text(text) => Value::Text(text.into()),
        };
        set(name, value);
    }
    envelope
}

/// Adds the members of a JSON object; returns false if the JSON is something else.
fn add_json<'a>(args: &mut Args<'a>, body: &'a [u8]) -> Result<bool, Problem> {
    let wrong = |error: serde_json::Error| {
        Problem::bad_request(format!("the body is not valid JSON: {error}"))
    };
    if body.trim_ascii_start().first() == Some(&b'{') {
        let members: Members<'a> = serde_json::from_slice(body).map_err(wrong)?;
        let members = members.0.into_iter();
        args.extend(members.map(|(name, value)| (name, Value::Raw(value))));
        return Ok(true);
    }
    serde_json::from_slice::<&RawValue>(body).map_err(wrong)?;
    Ok(false)
}

/// Adds a query or a form: a single value is a string, several are an array of strings.
fn add_form<'a>(args: &mut Args<'a>, form: &'a [u8], what: &str) -> Result<(), Problem> {
    let mut values: BTreeMap<Cow<'a, str>, Vec<Cow<'a, str>>> = BTreeMap::new();
    for (number, (name, value)) in form_urlencoded::parse(form).enumerate() {
        if number >= KEYS_MAX {
            return Err(too_many_keys(what));
        }
        values.entry(name).or_default().push(value);
    }
    args.extend(
        values
            .into_iter()
            .map(|(name, values)| (name, Value::of_texts(values))),
    );
    Ok(())
}

fn too_many_keys(what: &str) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        format!("the {what} has more than {KEYS_MAX} keys"),
    )
}

/// Returns the client's preferred language, `en` without one.
pub(crate) fn language(headers: &HeaderMap) -> &str {
    let accepted = headers
        .get(header::ACCEPT_LANGUAGE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let mut best = ("en", 0.0_f32);
    for range in accepted.split(',') {
        let (tag, weight) = range.split_once(";q=").unwrap_or((range, "1"));
        let (tag, weight) = (tag.trim(), weight.trim().parse().unwrap_or(0.0));
        let plain = !tag.is_empty()
            && tag
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if plain && tag.len() <= LANGUAGE_CHARS_MAX && weight > best.1 {
            best = (tag, weight);
        }
    }
    best.0
}

/// Returns the context of the call for the runtime.
pub(crate) fn call_context(caller: Option<&User>, parts: &Parts) -> CallContext {
    let mut context = CallContext::new().with_language(language(&parts.headers));
    context.request_id = parts.extensions.get().cloned();
    context.trace = parts.extensions.get().cloned();
    match caller {
        Some(caller) => context.with_user(caller.clone()),
        None => context,
    }
}

#[cfg(test)]
mod tests;
