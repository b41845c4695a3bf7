//! Names and JSON of the wire (contract §6.2) on one side, the services' typed APIs on the other.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{BufMut, Bytes, BytesMut};
use gk_manifest::PluginName;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use crate::api::OutgoingCall;
use crate::caller::{CallInfo, Shape, Told, User};
use crate::chain::Chain;
use crate::db::guard::PLACEHOLDERS_MAX;
use crate::db::{BATCH_STATEMENTS_MAX, Written};
use crate::email::Mail;
use crate::error::HostError;
use crate::guard::Granted;
use crate::host::Host;
use crate::http::HttpRequest;
use crate::method::Builtin;
use crate::policy::Rate;
use crate::secure::Secret;

/// The longest name of a function in `plugin_call`, in bytes.
pub(crate) const FUNCTION_BYTES_MAX: usize = 256;

/// Values, those within others included, of a request's arguments: more than any service takes.
pub(crate) const VALUES_MAX: usize = 64 * 1024;

const OK: Bytes = Bytes::from_static(br#"{"ok":true}"#);
const STATUS_OK: Bytes = Bytes::from_static(br#"{"status":"ok"}"#);

/// Standard base64, as Go writes `[]byte`; `null` is empty.
#[derive(Debug, Default)]
struct Binary(Vec<u8>);

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: Option<Cow<'de, str>> = Option::deserialize(deserializer)?;
        match text {
            Some(text) => BASE64
                .decode(text.as_bytes())
                .map(Binary)
                .map_err(serde::de::Error::custom),
            None => Ok(Binary::default()),
        }
    }
}

impl From<Binary> for Bytes {
    fn from(binary: Binary) -> Self {
        Bytes::from(binary.0)
    }
}

/// Go marshals an empty map or slice as `null`.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A statement whose arguments are not read yet: as values they take many times their JSON's memory,
/// and a plugin may have many statements waiting for a place.
#[derive(Deserialize)]
struct Statement<'a> {
    #[serde(borrow)]
    query: Cow<'a, str>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
}

impl Statement<'_> {
    /// Refuses, unread, more arguments than a statement can have placeholders.
    fn check(&self) -> Result<(), HostError> {
        let count = self.args.map_or(0, |args| elements(args.get()));
        match count > usize::from(PLACEHOLDERS_MAX) {
            true => Err(HostError::limit(format!(
                "a statement has at most {PLACEHOLDERS_MAX} arguments, not {count}"
            ))),
            false => Ok(()),
        }
    }

    /// The arguments; to be called once the statement may run.
    fn args(&self) -> Result<Vec<Value>, HostError> {
        let args: Option<Vec<Value>> = match self.args {
            None => None,
            Some(args) => serde_json::from_str(args.get())
                .map_err(|error| HostError::invalid(format!("arguments: args: {error}")))?,
        };
        Ok(args.unwrap_or_default())
    }
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    statements: Option<&'a RawValue>,
}

impl<'a> Batch<'a> {
    /// The statements, their arguments unread.
    fn statements(&self) -> Result<Vec<Statement<'a>>, HostError> {
        let Some(statements) = self.statements else {
            return Ok(Vec::new());
        };
        let count = elements(statements.get());
        if count > BATCH_STATEMENTS_MAX {
            return Err(HostError::limit(format!(
                "a batch has at most {BATCH_STATEMENTS_MAX} statements, not {count}"
            )));
        }
        let statements: Option<Vec<Statement<'a>>> = serde_json::from_str(statements.get())
            .map_err(|error| HostError::invalid(format!("arguments: statements: {error}")))?;
        let statements = statements.unwrap_or_default();
        statements.iter().try_for_each(Statement::check)?;
        Ok(statements)
    }
}

#[derive(Deserialize)]
struct Key<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
}

#[derive(Deserialize)]
struct KeyValue<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(default)]
    value: Binary,
    /// Seconds; 0 is the default, negative ones are, too.
    #[serde(default)]
    ttl: i64,
}

#[derive(Deserialize)]
struct KeyText<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    value: String,
}

#[derive(Deserialize)]
struct Outgoing {
    #[serde(default)]
    method: String,
    url: String,
    #[serde(default, deserialize_with = "or_default")]
    headers: BTreeMap<String, String>,
    body: Option<Binary>,
}

#[derive(Deserialize)]
struct Email<'a> {
    #[serde(borrow)]
    to: Cow<'a, str>,
    #[serde(borrow, default)]
    subject: Cow<'a, str>,
    #[serde(borrow, default)]
    body: Cow<'a, str>,
    #[serde(default)]
    html: bool,
}

#[derive(Deserialize)]
struct Translation<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(default, deserialize_with = "or_default")]
    args: Vec<Value>,
}

#[derive(Deserialize)]
struct PluginCall<'a> {
    #[serde(borrow)]
    plugin: Cow<'a, str>,
    #[serde(borrow)]
    function: Cow<'a, str>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Publication<'a> {
    #[serde(borrow, default)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    #[serde(default)]
    data: Value,
}

#[derive(Deserialize)]
struct NewFile<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(default)]
    data: Binary,
    #[serde(default, deserialize_with = "or_default")]
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Listing<'a> {
    #[serde(borrow, default)]
    prefix: Cow<'a, str>,
    #[serde(borrow, default)]
    after: Option<Cow<'a, str>>,
    #[serde(default)]
    limit: usize,
}

/// Reads arguments; a plugin's mistake is told as serde puts it, with line and column.
fn read<'a, T: Deserialize<'a>>(args: &'a [u8]) -> Result<T, HostError> {
    // A value takes two bytes of JSON, and many times that in memory.
    if args.len() / 2 > VALUES_MAX && values(args) > VALUES_MAX {
        return Err(HostError::limit(format!(
            "the arguments have more than {VALUES_MAX} values"
        )));
    }
    serde_json::from_slice(args).map_err(|error| HostError::invalid(format!("arguments: {error}")))
}

fn write(value: &impl Serialize) -> Result<Bytes, HostError> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|error| HostError::failed(format!("the result cannot be written: {error}")))
}

/// How many values JSON has, or at least: each but the first of an array or object follows a comma.
fn values(json: &[u8]) -> usize {
    let (mut count, mut bytes) = (1, json.iter().copied());
    while let Some(byte) = bytes.next() {
        match byte {
            b',' | b'[' | b'{' => count += 1,
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    count
}

/// Goes to the end of a JSON string that has begun.
fn skip_string(bytes: &mut impl Iterator<Item = u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => break,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

/// How many elements a JSON array has, whatever is in them; 0 of anything else.
fn elements(json: &str) -> usize {
    let Some(content) = json.trim_ascii_start().strip_prefix('[') else {
        return 0;
    };
    let (mut count, mut depth, mut is_empty) = (1, 1_usize, true);
    let mut bytes = content.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b']' if depth == 1 => break,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'[' | b'{' => depth += 1,
            b',' if depth == 1 => count += 1,
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
        is_empty &= byte.is_ascii_whitespace();
    }
    if is_empty { 0 } else { count }
}

/// What came of a statement that writes: rows are JSON already, and are not read again.
fn written(result: &Written, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{{\"affected\":{}", result.affected).as_bytes());
    if let Some(id) = &result.last_insert_id {
        out.extend_from_slice(format!(",\"last_insert_id\":{id}").as_bytes());
    }
    if let Some(rows) = &result.rows {
        out.extend_from_slice(b",\"rows\":");
        out.extend_from_slice(rows);
    }
    out.push(b'}');
}

/// `{"value": …, "found": …}`, straight into one buffer: the path of a cache hit.
fn found(value: Option<&Bytes>) -> Bytes {
    let Some(value) = value else {
        return Bytes::from_static(br#"{"value":null,"found":false}"#);
    };
    const HEAD: &[u8] = br#"{"value":""#;
    const TAIL: &[u8] = br#"","found":true}"#;
    let encoded = base64::encoded_len(value.len(), true).unwrap_or_default();
    let mut json = BytesMut::with_capacity(HEAD.len() + encoded + TAIL.len());
    json.put_slice(HEAD);
    let start = json.len();
    json.put_bytes(b'=', encoded);
    // The slice is exactly as long as the encoding.
    let written = BASE64.encode_slice(value, &mut json[start..]);
    debug_assert_eq!(written.ok(), Some(encoded));
    json.put_slice(TAIL);
    json.freeze()
}

/// Serves an admitted request.
#[allow(
    clippy::too_many_lines,
    reason = "one arm for each method, most of them one call"
)]
pub(crate) async fn serve(
    host: &Host,
    method: Builtin,
    granted: &Granted<'_>,
    args: &Bytes,
) -> Result<Bytes, HostError> {
    let services = host.services();
    let (plugin, deadline) = (granted.plugin(), granted.deadline());
    match method {
        Builtin::DbQuery => {
            let statement: Statement<'_> = read(args)?;
            statement.check()?;
            let grants = &granted.grants().db;
            let _place = granted.statement().await?;
            services
                .db
                .query(grants, &statement.query, &statement.args()?, deadline)
                .await
        }
        Builtin::DbExec => {
            let statement: Statement<'_> = read(args)?;
            statement.check()?;
            let grants = &granted.grants().db;
            let _place = granted.statement().await?;
            let result = services
                .db
                .exec(grants, &statement.query, &statement.args()?, deadline)
                .await?;
            let mut out = Vec::with_capacity(64 + result.rows.as_ref().map_or(0, Bytes::len));
            written(&result, &mut out);
            Ok(out.into())
        }
        Builtin::DbBatch => Box::pin(db_batch(host, granted, args)).await,
        Builtin::CacheGet => {
            let Key { key } = read(args)?;
            cache_key(granted, &key, false)?;
            let value = services.cache.get(plugin, &key, deadline).await?;
            Ok(found(value.as_ref()))
        }
        Builtin::CacheSet => {
            let entry: KeyValue<'_> = read(args)?;
            cache_key(granted, &entry.key, true)?;
            let ttl = u64::try_from(entry.ttl).ok().filter(|seconds| *seconds > 0);
            let ttl = ttl.map(Duration::from_secs);
            let value = entry.value.into();
            services
                .cache
                .set(plugin, &entry.key, value, ttl, deadline)
                .await?;
            Ok(OK)
        }
        Builtin::CacheDelete => {
            let Key { key } = read(args)?;
            cache_key(granted, &key, true)?;
            services.cache.delete(plugin, &key, deadline).await?;
            Ok(OK)
        }
        Builtin::HttpRequest => Box::pin(http_request(host, granted, args)).await,
        Builtin::SendEmail => {
            let mail: Email<'_> = read(args)?;
            let mailer = services.mail.as_ref().ok_or_else(|| {
                HostError::unavailable("email provider not configured; the operator sets [mail]")
            })?;
            let scope = granted.grants().email.as_ref().ok_or_else(not_granted)?;
            let mail = Mail {
                to: &mail.to,
                subject: &mail.subject,
                body: &mail.body,
                html: mail.html,
            };
            Box::pin(mailer.send(mail, scope, deadline)).await?;
            Ok(OK)
        }
        Builtin::Log => crate::record::log(granted.caller(), args),
        Builtin::ConfigGet => {
            let Key { key } = read(args)?;
            let scope = granted.grants().config.as_ref().ok_or_else(not_granted)?;
            value_of(granted, services.config.get(&key, scope)?)
        }
        Builtin::Translate => {
            let wanted: Translation<'_> = read(args)?;
            let language = granted.call().and_then(|call| call.language.as_deref());
            let language = language.unwrap_or("en");
            let text = services
                .i18n
                .translate(plugin, language, &wanted.key, &wanted.args);
            value_of(granted, &text)
        }
        Builtin::PluginCall => Box::pin(plugin_call(host, granted, args)).await,
        Builtin::PublishEvent => {
            let event: Publication<'_> = read(args)?;
            services
                .events
                .publish(plugin, &event.channel, &event.event_type, &event.data)?;
            Ok(STATUS_OK)
        }
        Builtin::TimeNow => write(&json!({ "now": now() })),
        Builtin::SecureConfigGet => {
            let _place = granted.store_request().await?;
            let Key { key } = read(args)?;
            let secret = services.secure.get(plugin, &key).await?;
            write(&json!({ "value": secret.expose() }))
        }
        Builtin::SecureConfigSet => {
            let _place = granted.store_request().await?;
            let KeyText { key, value } = read(args)?;
            let secret = Secret::new(value);
            services.secure.set(plugin, &key, &secret).await?;
            Ok(STATUS_OK)
        }
        Builtin::StoreFile => {
            let _turn = services.files.turn(plugin).await?;
            let file: NewFile<'_> = read(args)?;
            let quota = Some(granted.policy().max_file_storage_bytes).filter(|bytes| *bytes > 0);
            services
                .files
                .store(plugin, &file.key, file.data.into(), &file.metadata, quota)
                .await?;
            Ok(STATUS_OK)
        }
        Builtin::GetFile => {
            let Key { key } = read(args)?;
            let _turn = services.files.turn(plugin).await?;
            let file = services.files.get(plugin, &key).await?;
            write(&json!({ "data": BASE64.encode(&file.data), "metadata": file.metadata }))
        }
        Builtin::DeleteFile => {
            let Key { key } = read(args)?;
            services.files.delete(plugin, &key).await?;
            Ok(STATUS_OK)
        }
        Builtin::ListFiles => {
            let listing: Listing<'_> = read(args)?;
            let page = services
                .files
                .list(
                    plugin,
                    &listing.prefix,
                    listing.after.as_deref(),
                    listing.limit,
                )
                .await?;
            write(&page.files)
        }
        Builtin::KvGet => {
            let _place = granted.store_request().await?;
            let Key { key } = read(args)?;
            let value = services.kv.get(plugin, &key).await?;
            Ok(found(value.as_ref()))
        }
        Builtin::KvSet => {
            let _place = granted.store_request().await?;
            let entry: KeyValue<'_> = read(args)?;
            services
                .kv
                .set(plugin, &entry.key, entry.value.into())
                .await?;
            Ok(OK)
        }
        Builtin::KvDelete => {
            let _place = granted.store_request().await?;
            let Key { key } = read(args)?;
            services.kv.delete(plugin, &key).await?;
            Ok(OK)
        }
        Builtin::KvList => {
            let _place = granted.store_request().await?;
            let listing: Listing<'_> = read(args)?;
            let page = services
                .kv
                .list(
                    plugin,
                    &listing.prefix,
                    listing.after.as_deref(),
                    listing.limit,
                )
                .await?;
            write(&json!({ "keys": page.keys, "next": page.next }))
        }
    }
}

/// What the guard has checked already, said once more where a service is handed a scope.
fn not_granted() -> HostError {
    HostError::denied("access not granted")
}

fn cache_key(granted: &Granted<'_>, key: &str, write: bool) -> Result<(), HostError> {
    match granted.grants().cache.key(key, write) {
        true => Ok(()),
        false => Err(HostError::denied(format!(
            "cache access to key {:?} not permitted",
            key.chars().take(128).collect::<String>()
        ))),
    }
}

/// A text in the shape that the caller's SDK decodes.
fn value_of(granted: &Granted<'_>, text: &str) -> Result<Bytes, HostError> {
    match granted.caller().shape {
        Shape::Object => write(&json!({ "value": text })),
        Shape::BareString => write(&text),
    }
}

async fn db_batch(host: &Host, granted: &Granted<'_>, args: &[u8]) -> Result<Bytes, HostError> {
    let statements = read::<Batch<'_>>(args)?.statements()?;
    // The guard has counted one.
    for _ in statements.iter().skip(1) {
        granted.charge(Rate::Db)?;
    }
    let _place = granted.statement().await?;
    let args: Vec<Vec<Value>> = statements
        .iter()
        .map(Statement::args)
        .collect::<Result<_, _>>()?;
    let statements: Vec<(&str, &[Value])> = statements
        .iter()
        .zip(&args)
        .map(|(statement, args)| (&*statement.query, &**args))
        .collect();
    let db = &host.services().db;
    let results = db.batch(&granted.grants().db, &statements, granted.deadline());
    let results = results.await?;
    let mut out = vec![b'['];
    for (index, result) in results.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        written(result, &mut out);
    }
    out.push(b']');
    Ok(out.into())
}

async fn http_request(host: &Host, granted: &Granted<'_>, args: &[u8]) -> Result<Bytes, HostError> {
    #[derive(Serialize)]
    struct Response {
        status: u16,
        body: String,
        headers: BTreeMap<String, Vec<String>>,
    }
    let scope = granted.grants().http.as_ref().ok_or_else(not_granted)?;
    let _slot = granted.http_slot()?;
    let outgoing: Outgoing = read(args)?;
    let request = HttpRequest {
        method: outgoing.method,
        url: outgoing.url,
        headers: outgoing.headers.into_iter().collect(),
        body: outgoing.body.map(Bytes::from),
    };
    let response = host
        .services()
        .http
        .send(request, scope, granted.deadline())
        .await?;
    write(&Response {
        status: response.status,
        body: BASE64.encode(&response.body),
        headers: response.headers,
    })
}

async fn plugin_call(host: &Host, granted: &Granted<'_>, args: &[u8]) -> Result<Bytes, HostError> {
    let wanted: PluginCall<'_> = read(args)?;
    let target = PluginName::new(&*wanted.plugin)
        .map_err(|error| HostError::invalid(format!("plugin: {error}")))?;
    if wanted.function.is_empty() || wanted.function.len() > FUNCTION_BYTES_MAX {
        return Err(HostError::invalid(format!(
            "function: 1 to {FUNCTION_BYTES_MAX} bytes, not {}",
            wanted.function.len()
        )));
    }
    if !granted.grants().plugin_call.plugin(&target) {
        return Err(HostError::denied(format!(
            "not permitted to call plugin \"{target}\""
        )));
    }
    let caller = granted.caller();
    let calls = caller.candidates();
    let candidates: Vec<_> = calls.iter().map(|call| &call.chain).collect();
    let chain = Chain::extend(&caller.plugin, &candidates, &target, &wanted.function)
        .map_err(|error| host.refuse_call(caller, &error))?;
    let info = granted.call();
    let args = match wanted.args {
        None => Bytes::new(),
        Some(args) => plugin_arguments(args, info)?,
    };
    let user = info.and_then(|call| call.user.clone());
    let language = info.and_then(|call| call.language.clone());
    let request_id = info.and_then(|call| call.request_id.clone());
    let call = OutgoingCall::new(chain, granted.deadline().into_std(), user, language)
        .with_request_id(request_id);
    host.plugins()?
        .call_plugin(&target, &wanted.function, args, call)
        .await
}

/// The arguments of a call from plugin to plugin: what the caller sends under the host's own keys is dropped, and what the
/// host knows of the running call's user is written, as it is for a request over HTTP.
fn plugin_arguments(args: &RawValue, call: Option<&CallInfo>) -> Result<Bytes, HostError> {
    if !args.get().starts_with('{') {
        return Ok(Bytes::copy_from_slice(args.get().as_bytes()));
    }
    let text = |key, text| (key, Told::Text(text));
    let language = call.and_then(|call| call.language.as_deref());
    let request_id = call.and_then(|call| call.request_id.as_ref());
    let envelope = User::envelope(call.and_then(|call| call.user.as_ref()))
        .chain(language.map(|language| text("_lang", language)))
        .chain(request_id.map(|id| text("_request_id", id.as_str())))
        .map(|(key, value)| Ok((key, to_raw_value(&value)?)))
        .collect::<Result<Vec<_>, serde_json::Error>>()
        .map_err(|error| HostError::failed(error.to_string()))?;
    let mut members: BTreeMap<String, &RawValue> = read(args.get().as_bytes())?;
    members.retain(|key, _| !key.starts_with('_'));
    members.extend(
        envelope
            .iter()
            .map(|(key, value)| ((*key).to_owned(), &**value)),
    );
    write(&members)
}

/// RFC 3339 with nanoseconds and the offset of the host's time zone, `Z` for none, as Go writes it.
fn now() -> String {
    let now = jiff::Zoned::now();
    let form = match now.offset().is_zero() {
        true => "%Y-%m-%dT%H:%M:%S%.9fZ",
        false => "%Y-%m-%dT%H:%M:%S%.9f%:z",
    };
    now.strftime(form).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_outside_of_strings() {
        for (json, count) in [
            ("1", 1),
            ("[1,2,[3]]", 5),
            (r#"{"a":1,"b":[]}"#, 4),
            (r#"[",,[[{",",\",,"]"#, 3),
            (r#"["\\",1]"#, 3),
            (r#"["unfinished,,\"#, 2),
        ] {
            assert_eq!(values(json.as_bytes()), count, "{json}");
        }
    }

    #[test]
    fn elements_are_counted_whatever_is_in_them() {
        for (json, count) in [
            ("null", 0),
            ("{}", 0),
            ("[]", 0),
            ("[ \n ]", 0),
            ("[1]", 1),
            (" [1,2,[3,4],{\"a\":5,\"b\":6}]", 4),
            (r#"[",","\",]","[",{"base64":","}]"#, 4),
            ("[[]]", 1),
        ] {
            assert_eq!(elements(json), count, "{json}");
        }
    }

    #[test]
    fn a_result_of_a_statement_in_json() {
        let json = |affected, id: Option<u64>, rows: Option<&'static str>| {
            let result = Written {
                affected,
                last_insert_id: id.map(Into::into),
                rows: rows.map(|rows| Bytes::from_static(rows.as_bytes())),
            };
            let mut out = Vec::new();
            written(&result, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(json(2, None, None), r#"{"affected":2}"#);
        assert_eq!(
            json(1, Some(7), None),
            r#"{"affected":1,"last_insert_id":7}"#
        );
        assert_eq!(
            json(1, Some(7), Some(r#"[{"id":7}]"#)),
            r#"{"affected":1,"last_insert_id":7,"rows":[{"id":7}]}"#
        );
    }

    /// 64 MiB of `[0,0,…` were gigabytes of values, before the first of them was looked at.
    #[test]
    fn arguments_of_many_values_are_refused_unread() {
        let args = |numbers: usize| {
            let numbers = vec!["0"; numbers].join(",");
            format!(r#"{{"key":"k","args":[{numbers}]}}"#)
        };
        // The object, its two members and the array: the array's first number has no comma of its own.
        let most = args(VALUES_MAX - 3);
        assert_eq!(values(most.as_bytes()), VALUES_MAX);
        read::<Translation<'_>>(most.as_bytes()).unwrap();
        let more = args(VALUES_MAX - 2);
        let error = read::<Translation<'_>>(more.as_bytes()).err().unwrap();
        assert_eq!(error.kind(), crate::ErrorKind::Limit);
        // Large values are not many.
        let long = format!(r#"{{"key":"{}","args":[]}}"#, "a,".repeat(VALUES_MAX));
        read::<Translation<'_>>(long.as_bytes()).unwrap();
    }
}
