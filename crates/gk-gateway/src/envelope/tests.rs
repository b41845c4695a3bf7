//! Arguments for requests of all kinds.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::*;
use crate::tokens::{Identity, Role};

fn request(
    query: &str,
    content_type: &str,
    body: &[u8],
    params: &[(&str, &str)],
    caller: Option<&Identity>,
) -> Incoming {
    let mut request = axum::http::Request::post(format!("/p?{query}"));
    if !content_type.is_empty() {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let params = params
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Incoming {
        parts,
        params,
        body: HeldBody::of(Bytes::copy_from_slice(body)),
        caller: caller.map(Identity::user),
        client: None,
        skip_org: false,
    }
}

fn memory() -> MemoryBudget {
    MemoryBudget::new(256 << 20)
}

fn args(
    query: &str,
    content_type: &str,
    body: impl AsRef<[u8]>,
    params: &[(&str, &str)],
    caller: Option<&Identity>,
) -> serde_json::Value {
    let request = request(query, content_type, body.as_ref(), params, caller);
    serde_json::from_slice(&arguments(&request, &memory()).unwrap()).unwrap()
}

fn refused(content_type: &str, body: impl AsRef<[u8]>) -> Problem {
    let request = request("", content_type, body.as_ref(), &[], None);
    arguments(&request, &memory()).unwrap_err()
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
    let body = br#"{"n":12345678901234567890.1234567890}"#;
    let request = request("", "application/json", body, &[], None);
    let text = String::from_utf8(arguments(&request, &memory()).unwrap().to_vec()).unwrap();
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
    for body in ["{", "{\"a\":}", "nonsense", "{\"a\":\"\u{1}\"}"] {
        let status = refused("application/json", body).status;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    }
    let status = refused("application/json", b"{\"a\":\"\xff\"}").status;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[test]
fn json_has_several_names() {
    for content_type in [
        "application/json",
        "APPLICATION/JSON",
        "application/problem+json",
        "application/vnd.api+json; charset=utf-8",
        // Content type that curl sends for -d.
        "application/x-www-form-urlencoded",
    ] {
        let seen = args("", content_type, r#" {"a":1,"_is_admin":true}"#, &[], None);
        assert_eq!(seen["a"], 1, "{content_type}");
        assert_eq!(seen["_is_admin"], false);
        assert!(seen.get("_body").is_none());
    }
    // Still a form.
    let seen = args(
        "",
        "application/x-www-form-urlencoded",
        "{a=1&b={}",
        &[],
        None,
    );
    assert_eq!((&seen["{a"], &seen["b"]), (&json!("1"), &json!("{}")));
}

#[test]
fn bytes_arrive_as_they_were_sent() {
    let every: Vec<u8> = (0..=255).collect();
    for (content_type, sent) in [
        ("application/octet-stream", &every[..]),
        ("", &[0xff, 0xfe]),
        ("image/png", &[0x89, b'P', b'N', b'G', 0]),
        ("text/plain", &[b'a', 0xe4]),
    ] {
        let seen = args(
            "_body_encoding=none&_files=1",
            content_type,
            sent,
            &[],
            None,
        );
        assert_eq!(seen["_body_encoding"], "base64", "{content_type}");
        assert_eq!(seen["_content_type"], content_type);
        let body = STANDARD.decode(seen["_body"].as_str().unwrap()).unwrap();
        assert_eq!(body, sent);
        assert!(seen.get("_files").is_none());
    }
    let seen = args("", "application/octet-stream", "text, though", &[], None);
    assert_eq!(seen["_body"], "text, though");
    assert!(seen.get("_body_encoding").is_none());
}

const FORM: &str = "multipart/form-data; boundary=\"--X y\"";

fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (head, data) in parts {
        body.extend_from_slice(format!("----X y\r\n{head}\r\n\r\n").as_bytes());
        body.extend_from_slice(data);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"----X y--\r\n");
    body
}

#[test]
fn a_form_with_files_is_taken_apart() {
    let png = [0x89, b'P', b'\r', b'\n', 0, 0xff];
    let body = form(&[
        (
            "Content-Disposition: form-data; name=\"title\"",
            "Ünï".as_bytes(),
        ),
        ("Content-Disposition: form-data; name=\"tag\"", b"a"),
        ("Content-Disposition: form-data; name=\"tag\"", b"b"),
        (
            "Content-Disposition: form-data; name=\"_is_admin\"",
            b"true",
        ),
        ("Content-Disposition: form-data; name=\"ID\"", b"forged"),
        (
            "Content-Disposition: form-data; name=\"photo\"; filename=\"a \\\"b\\\".png\"\r\nContent-Type: image/png",
            &png,
        ),
        (
            "Content-Disposition: form-data; name=\"empty\"; filename=\"\"",
            b"",
        ),
        ("Content-Disposition: form-data; name=\"raw\"", &[0xff]),
    ]);
    let seen = args("", FORM, body, &[("id", "5")], None);
    assert_eq!(seen["title"], "Ünï");
    assert_eq!(seen["tag"], json!(["a", "b"]));
    assert_eq!(
        (&seen["_is_admin"], &seen["id"]),
        (&json!(false), &json!("5"))
    );
    assert!(seen.get("ID").is_none() && seen.get("_body").is_none());
    let files = seen["_files"].as_array().unwrap();
    assert_eq!(files.len(), 3);
    assert_eq!(files[0]["name"], "photo");
    assert!(files[0]["filename"].as_str().unwrap().contains("b"));
    assert_eq!(files[0]["content_type"], "image/png");
    assert_eq!(files[0]["size"], png.len());
    assert_eq!(files[0]["data"], STANDARD.encode(png));
    assert_eq!(
        (&files[1]["size"], &files[1]["data"]),
        (&json!(0), &json!(""))
    );
    assert_eq!(
        (&files[2]["name"], &files[2]["data"]),
        (&json!("raw"), &json!("/w=="))
    );
}

#[test]
fn what_is_no_form_with_files_is_said() {
    let field = ("Content-Disposition: form-data; name=\"a\"", &b"1"[..]);
    let file = (
        "Content-Disposition: form-data; name=\"a\"; filename=\"f\"",
        &b"1"[..],
    );
    let whole = form(&[field]);
    let long = format!(
        "Content-Disposition: form-data; name=\"{}\"",
        "n".repeat(2000)
    );
    for (content_type, body, why) in [
        ("multipart/form-data", whole.clone(), "boundary"),
        (FORM, whole[..whole.len() - 8].to_vec(), "cannot be read"),
        (FORM, b"hello".to_vec(), "cannot be read"),
        (FORM, form(&vec![field; 1001]), "1000 parts"),
        (FORM, form(&vec![file; 101]), "100 files"),
        (FORM, form(&[(&long, b"1")]), "1024 bytes"),
    ] {
        let problem = refused(content_type, body);
        assert_eq!(problem.status, StatusCode::BAD_REQUEST);
        assert!(problem.text.contains(why), "{why}: {}", problem.text);
    }
}

#[test]
fn keys_are_counted_wherever_they_come_from() {
    let pairs = |count: usize| (0..count).map(|n| format!("k{n}=1")).collect::<Vec<_>>();
    let members = |count: usize| {
        (0..count)
            .map(|n| format!("\"k{n}\":1"))
            .collect::<Vec<_>>()
    };
    let form = "application/x-www-form-urlencoded";
    let object = |count| format!("{{{}}}", members(count).join(","));
    let seen = args("", form, pairs(KEYS_MAX).join("&"), &[], None);
    assert_eq!(seen["k9999"], "1");
    args("", "application/json", object(KEYS_MAX), &[], None);
    for problem in [
        refused(form, pairs(KEYS_MAX + 1).join("&")),
        refused("application/json", object(KEYS_MAX + 1)),
    ] {
        assert_eq!(problem.status, StatusCode::BAD_REQUEST);
        assert!(problem.text.contains("10000 keys"), "{}", problem.text);
    }
}

#[test]
fn arguments_count_in_the_budget() {
    let bytes = vec![0xff; 100_000];
    let request = request("", "application/octet-stream", &bytes, &[], None);
    let memory = MemoryBudget::new(1 << 20);
    let args = arguments(&request, &memory).unwrap();
    assert!(memory.used() >= args.len() && args.len() > 133_000);
    drop(args);
    assert_eq!(memory.used(), 0);
    let small = MemoryBudget::new(100_000);
    let refused = arguments(&request, &small).unwrap_err();
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(small.used(), 0);
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
        let headers = HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, accept.parse().unwrap())]);
        assert_eq!(language(&headers), tag, "{accept}");
    }
}
