//! What a plugin is told about a request: one flat JSON object.
//!
//! The body's and the query's own values come first, a path's parameters replace them, and the host's
//! envelope (every key that begins with `_`, and `org_id`) is written last: whatever a client sends
//! under those names is dropped. Values of a JSON body are passed on as they stand, digit by digit.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, Method, StatusCode, header};
use bytes::Bytes;
use serde_json::value::{RawValue, to_raw_value};

use crate::problem::Problem;
use crate::tokens::{Identity, Role};

/// Longest body of a request to a plugin, in bytes.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Longest language tag that is passed on.
const LANGUAGE_CHARS_MAX: usize = 35;

/// A request, as far as a plugin learns of it.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) params: &'a [(String, String)],
    pub(crate) body: &'a Bytes,
    pub(crate) caller: Option<&'a Identity>,
    pub(crate) skip_org: bool,
}

type Args = BTreeMap<String, Box<RawValue>>;

/// The arguments of a route's function.
pub(crate) fn arguments(request: &Incoming<'_>) -> Result<Bytes, Problem> {
    let mut args = Args::new();
    add_form(&mut args, request.query.as_bytes())?;
    let content_type = request
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media_type = content_type
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim();
    let mut other_body = None;
    if !request.body.is_empty() {
        if media_type.eq_ignore_ascii_case("application/json") {
            if !add_json(&mut args, request.body)? {
                other_body = Some(content_type);
            }
        } else if media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            add_form(&mut args, request.body)?;
        } else {
            other_body = Some(content_type);
        }
    }
    // Go's decoder takes a key for a field when both are the same but for case: such a twin would win.
    let params: Vec<_> = request.params.iter().map(|(name, _)| fold(name)).collect();
    args.retain(|name, _| {
        let folded = fold(name);
        !name.starts_with('_')
            && (request.skip_org || folded != "org_id")
            && !params.contains(&folded)
    });
    for (name, value) in request.params {
        args.insert(name.clone(), raw(value)?);
    }
    write_envelope(&mut args, request)?;
    if let Some(content_type) = other_body {
        args.insert("_body".into(), raw(&String::from_utf8_lossy(request.body))?);
        args.insert(
            "_content_type".into(),
            raw(content_type.unwrap_or_default())?,
        );
    }
    Ok(serde_json::to_vec(&args).map_err(unencodable)?.into())
}

/// The arguments of a call by an administrator: the body's object with the envelope.
pub(crate) fn direct_arguments(request: &Incoming<'_>) -> Result<Bytes, Problem> {
    let mut args = Args::new();
    if !request.body.is_empty() && !add_json(&mut args, request.body)? {
        return Err(Problem::bad_request("request body must be a JSON object"));
    }
    args.retain(|name, _| !name.starts_with('_'));
    write_envelope(&mut args, request)?;
    Ok(serde_json::to_vec(&args).map_err(unencodable)?.into())
}

/// A key without regard to case, as Go folds it: `ſ` is an s, and the Kelvin sign a k.
fn fold(name: &str) -> String {
    name.to_uppercase().to_lowercase()
}

fn write_envelope(args: &mut Args, request: &Incoming<'_>) -> Result<(), Problem> {
    let mut set = |name: &str, value: &dyn erased::Value| -> Result<(), Problem> {
        args.insert(name.to_owned(), value.raw().map_err(unencodable)?);
        Ok(())
    };
    set("_method", &request.method.as_str())?;
    set("_path", &request.path)?;
    set("_lang", &language(request.headers))?;
    set(
        "_is_admin",
        &request
            .caller
            .is_some_and(|caller| caller.role == Role::Admin),
    )?;
    if let Some(caller) = request.caller {
        set("_user_id", &caller.id)?;
        set("_user_login", &&*caller.login)?;
        set("_user_role", &caller.role.for_plugins())?;
        if caller.login.contains('@') {
            set("_user_email", &&*caller.login)?;
        }
        if caller.role == Role::Customer {
            set("_customer_login", &&*caller.login)?;
        }
    }
    Ok(())
}

mod erased {
    use serde_json::value::{RawValue, to_raw_value};

    /// Anything that is JSON.
    pub(super) trait Value {
        fn raw(&self) -> Result<Box<RawValue>, serde_json::Error>;
    }

    impl<T: serde::Serialize> Value for T {
        fn raw(&self) -> Result<Box<RawValue>, serde_json::Error> {
            to_raw_value(self)
        }
    }
}

fn raw<T: serde::Serialize + ?Sized>(value: &T) -> Result<Box<RawValue>, Problem> {
    to_raw_value(value).map_err(unencodable)
}

fn unencodable(error: serde_json::Error) -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        format!("the arguments cannot be written: {error}"),
    )
}

/// Adds the members of a JSON object; `false` if the JSON is something else.
fn add_json(args: &mut Args, body: &[u8]) -> Result<bool, Problem> {
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    let wrong = |error: serde_json::Error| {
        Problem::bad_request(format!("the body is not valid JSON: {error}"))
    };
    if is_object {
        args.extend(serde_json::from_slice::<Args>(body).map_err(wrong)?);
    } else {
        serde_json::from_slice::<serde::de::IgnoredAny>(body).map_err(wrong)?;
    }
    Ok(is_object)
}

/// Adds a query or a form: one value is a string, several are an array of strings.
fn add_form(args: &mut Args, form: &[u8]) -> Result<(), Problem> {
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(form) {
        values
            .entry(name.into_owned())
            .or_default()
            .push(value.into_owned());
    }
    for (name, values) in values {
        let value = match values.as_slice() {
            [one] => raw(one)?,
            several => raw(several)?,
        };
        args.insert(name, value);
    }
    Ok(())
}

/// The client's first language, `en` without one.
pub(crate) fn language(headers: &HeaderMap) -> String {
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
    best.0.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn args(
        query: &str,
        content_type: &str,
        body: &str,
        params: &[(&str, &str)],
        caller: Option<&Identity>,
    ) -> Value {
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        }
        let params: Vec<_> = params
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let request = Incoming {
            method: &Method::POST,
            path: "/p",
            query,
            headers: &headers,
            params: &params,
            body: &Bytes::copy_from_slice(body.as_bytes()),
            caller,
            skip_org: false,
        };
        serde_json::from_slice(&arguments(&request).unwrap()).unwrap()
    }

    fn customer() -> Identity {
        Identity {
            id: 7,
            login: "kim@example.com".into(),
            role: Role::Customer,
        }
    }

    #[test]
    fn sources_come_in_order_and_the_envelope_is_the_hosts() {
        let caller = customer();
        let seen = args(
            "a=q&b=1&b=2&id=q&_is_admin=true&_user_id=1",
            "application/json; charset=utf-8",
            r#"{"a":"body","id":"body","_is_admin":true,"_user_role":"Admin","_extra":1,"org_id":9,"n":12345678901234567890.10}"#,
            &[("id", "5")],
            Some(&caller),
        );
        assert_eq!(seen["a"], "body");
        assert_eq!(seen["b"], json!(["1", "2"]));
        assert_eq!(
            seen["id"], "5",
            "a path's parameter is not the client's to change"
        );
        assert_eq!(seen["_is_admin"], false);
        assert_eq!(seen["_user_id"], 7);
        assert_eq!(seen["_user_role"], "Customer");
        assert_eq!(seen["_customer_login"], "kim@example.com");
        assert_eq!(
            (&seen["_method"], &seen["_path"], &seen["_lang"]),
            (&json!("POST"), &json!("/p"), &json!("en"))
        );
        assert!(seen.get("_extra").is_none() && seen.get("org_id").is_none());
    }

    #[test]
    fn a_key_in_another_case_is_the_same_key() {
        let body = r#"{"ORG_ID":9,"Id":"x","ID":"y","\u017flug":"z","\u212aind":"k","other":1}"#;
        let params = [("id", "5"), ("slug", "s"), ("kind", "t")];
        let seen = args("iD=q", "application/json", body, &params, None);
        let keys: Vec<_> = seen
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| !key.starts_with('_'))
            .cloned()
            .collect();
        assert_eq!(keys, ["id", "kind", "other", "slug"]);
    }

    #[test]
    fn numbers_keep_their_digits() {
        let headers =
            HeaderMap::from_iter([(header::CONTENT_TYPE, "application/json".parse().unwrap())]);
        let request = Incoming {
            method: &Method::POST,
            path: "/p",
            query: "",
            headers: &headers,
            params: &[],
            body: &Bytes::from_static(br#"{"n":12345678901234567890.1234567890}"#),
            caller: None,
            skip_org: true,
        };
        let text = String::from_utf8(arguments(&request).unwrap().to_vec()).unwrap();
        assert!(
            text.contains(r#""n":12345678901234567890.1234567890"#),
            "{text}"
        );
    }

    #[test]
    fn without_a_caller_there_is_no_user() {
        let seen = args("_user_id=1", "", "", &[], None);
        assert_eq!(
            seen,
            json!({"_method": "POST", "_path": "/p", "_lang": "en", "_is_admin": false})
        );
    }

    #[test]
    fn other_bodies_are_text() {
        let seen = args("", "text/plain", "hello", &[], None);
        assert_eq!(
            (&seen["_body"], &seen["_content_type"]),
            (&json!("hello"), &json!("text/plain"))
        );
        let list = args("", "application/json", "[1]", &[], None);
        assert_eq!(list["_body"], "[1]");
        let form = args(
            "",
            "application/x-www-form-urlencoded",
            "x=a+b&_is_admin=1",
            &[],
            None,
        );
        assert_eq!(
            (&form["x"], &form["_is_admin"]),
            (&json!("a b"), &json!(false))
        );
    }

    #[test]
    fn bad_json_is_the_clients_error() {
        let headers =
            HeaderMap::from_iter([(header::CONTENT_TYPE, "application/json".parse().unwrap())]);
        for body in ["{", "{\"a\":}", "nonsense"] {
            let request = Incoming {
                method: &Method::POST,
                path: "/p",
                query: "",
                headers: &headers,
                params: &[],
                body: &Bytes::copy_from_slice(body.as_bytes()),
                caller: None,
                skip_org: false,
            };
            assert_eq!(
                arguments(&request).unwrap_err().status,
                StatusCode::BAD_REQUEST,
                "{body}"
            );
        }
    }

    #[test]
    fn the_language_is_the_clients_favourite() {
        for (accept, tag) in [
            ("", "en"),
            ("de-AT,de;q=0.9", "de-AT"),
            ("fr;q=0.2, es;q=0.8", "es"),
            ("*", "en"),
            ("<b>", "en"),
        ] {
            let headers =
                HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, accept.parse().unwrap())]);
            assert_eq!(language(&headers), tag, "{accept}");
        }
    }
}
