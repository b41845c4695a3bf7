//! What a plugin's result means in HTTP.
//!
//! A JSON object of a known shape becomes an error, a redirect, bytes or a page; everything else is sent
//! as the JSON it is. Beyond the contract's shapes any object may hold `_status` (200 to 599) and
//! `_headers` (an object of strings), which are taken out of what is sent.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use gk_manifest::PluginName;
use serde_json::{Map, Value, json};

use crate::problem::Problem;

/// Most headers that a result may set.
const HEADERS_MAX: usize = 32;

/// Headers that are the server's, or would reach beyond the answer.
const HOST_HEADERS: &[HeaderName] = &[
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::DATE,
    header::PROXY_AUTHENTICATE,
    header::SERVER,
    header::SET_COOKIE,
    header::STRICT_TRANSPORT_SECURITY,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The answer to a request on a plugin's route.
pub(crate) fn answer(plugin: &PluginName, result: Bytes) -> Response {
    match shaped(&result) {
        Ok(Some(response)) => response,
        Ok(None) => with_type("application/json", result),
        Err(reason) => {
            tracing::warn!(%plugin, reason, "a result cannot be sent");
            let text = format!("plugin \"{plugin}\" gave an answer that cannot be sent: {reason}");
            Problem::new(StatusCode::BAD_GATEWAY, text).into_response()
        }
    }
}

fn with_type(content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The answer of an object whose shape is known; `None` for everything that is sent as it is.
fn shaped(result: &[u8]) -> Result<Option<Response>, String> {
    if !may_be_shaped(result) {
        return Ok(None);
    }
    let Ok(Value::Object(mut object)) = serde_json::from_slice(result) else {
        return Ok(None);
    };
    let status = match object.remove("_status") {
        None => None,
        Some(status) => Some(
            status_of(&status).ok_or_else(|| format!("_status {status} is not from 200 to 599"))?,
        ),
    };
    let headers = object.remove("_headers").map(headers_of).transpose()?;
    let mut response = match shape(&object)? {
        Some(response) => response,
        None if status.is_none() && headers.is_none() => return Ok(None),
        None => axum::Json(Value::Object(object)).into_response(),
    };
    if let Some(status) = status {
        *response.status_mut() = status;
    }
    response.headers_mut().extend(headers.unwrap_or_default());
    Ok(Some(response))
}

/// Whether an object holds one of the keys that matter, so that large results are not parsed for nothing.
fn may_be_shaped(result: &[u8]) -> bool {
    const KEYS: [&[u8]; 6] = [
        b"error",
        b"redirect",
        b"_binary",
        b"html",
        b"_status",
        b"_headers",
    ];
    // An escaped key is a key, too.
    let holds = |key: &[u8]| result.windows(key.len()).any(|window| window == key);
    result.trim_ascii_start().first() == Some(&b'{')
        && (holds(b"\\u") || KEYS.iter().any(|key| holds(key)))
}

fn status_of(value: &Value) -> Option<StatusCode> {
    let code = u16::try_from(value.as_u64()?).ok()?;
    if (200..600).contains(&code) {
        StatusCode::from_u16(code).ok()
    } else {
        None
    }
}

fn headers_of(value: Value) -> Result<HeaderMap, String> {
    let Value::Object(object) = value else {
        return Err("_headers is not an object".to_owned());
    };
    if object.len() > HEADERS_MAX {
        return Err(format!("more than {HEADERS_MAX} headers"));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in object {
        let valid: Result<HeaderName, _> = name.parse();
        let valid = valid.map_err(|_| format!("{name:?} is no header name"))?;
        if HOST_HEADERS.contains(&valid)
            || valid.as_str().starts_with("proxy-")
            || valid == "keep-alive"
        {
            return Err(format!("the header {name} is not a plugin's to set"));
        }
        let text = value
            .as_str()
            .ok_or_else(|| format!("the header {name} is not a string"))?;
        headers.insert(
            valid,
            HeaderValue::from_str(text)
                .map_err(|_| format!("the header {name} has a forbidden character"))?,
        );
    }
    Ok(headers)
}

fn shape(object: &Map<String, Value>) -> Result<Option<Response>, String> {
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    if let Some(error) = text("error").filter(|error| !error.is_empty()) {
        let status = object
            .get("status")
            .and_then(status_of)
            .filter(|status| status.as_u16() >= 400);
        return Ok(Some(
            Problem::new(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), error)
                .into_response(),
        ));
    }
    if let Some(url) = text("redirect") {
        let location = HeaderValue::from_str(url)
            .map_err(|_| "the redirect has a forbidden character".to_owned())?;
        let status = object.get("status").and_then(status_of);
        let status = status.filter(|status| [301, 302, 303, 307, 308].contains(&status.as_u16()));
        let mut response = status.unwrap_or(StatusCode::SEE_OTHER).into_response();
        response.headers_mut().insert(header::LOCATION, location);
        return Ok(Some(response));
    }
    if object.get("_binary") == Some(&json!(true)) {
        let content_type = text("content_type").unwrap_or("application/octet-stream");
        let content_type = HeaderValue::from_str(content_type)
            .map_err(|_| "content_type has a forbidden character")?;
        let data = STANDARD
            .decode(text("data").unwrap_or_default())
            .map_err(|error| format!("data is not base64: {error}"))?;
        let mut response = Response::new(Body::from(data));
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type);
        return Ok(Some(response));
    }
    if let Some(html) = text("html") {
        let page = match object.get("raw") {
            Some(Value::Bool(true)) => html.to_owned(),
            _ => page(
                text("title")
                    .filter(|title| !title.is_empty())
                    .unwrap_or("Plugin"),
                html,
            ),
        };
        return Ok(Some(with_type("text/html; charset=utf-8", page)));
    }
    Ok(None)
}

/// The host's layout around a plugin's markup. The title is text, the markup is the plugin's own.
fn page(title: &str, html: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n</head>\n\
         <body>\n<main>\n{html}\n</main>\n</body>\n</html>\n"
    )
}

/// Text as it stands in markup and in attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn seen(result: &str) -> (u16, HeaderMap, String) {
        let plugin = PluginName::new("p").unwrap();
        let response = answer(&plugin, Bytes::copy_from_slice(result.as_bytes()));
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (
            parts.status.as_u16(),
            parts.headers,
            String::from_utf8(body.to_vec()).unwrap(),
        )
    }

    #[tokio::test]
    async fn the_contracts_shapes() {
        for (result, status, body) in [
            (
                r#"{"status":"running","version":"1.0.0"}"#,
                200,
                r#"{"status":"running","version":"1.0.0"}"#,
            ),
            ("[1, 2]", 200, "[1, 2]"),
            ("not json", 200, "not json"),
            ("", 200, ""),
            (r#"{"error":""}"#, 200, r#"{"error":""}"#),
            (
                r#"{"error":"no","status":404,"secret":1}"#,
                404,
                r#"{"error":"no"}"#,
            ),
            (r#"{"error":"no","status":200}"#, 500, r#"{"error":"no"}"#),
            (r#"{"error":"no","status":99999}"#, 500, r#"{"error":"no"}"#),
            (
                r#"{"\u0065rror":"no","status":404}"#,
                404,
                r#"{"error":"no"}"#,
            ),
            (
                r#"{"_binary":true,"content_type":"text/csv","data":"YSxi"}"#,
                200,
                "a,b",
            ),
            (r#"{"html":"<b>x</b>","raw":true}"#, 200, "<b>x</b>"),
            (
                r#"{"id":5,"_status":201,"_headers":{"Location":"/x/5"}}"#,
                201,
                r#"{"id":5}"#,
            ),
        ] {
            let (got, _, text) = seen(result).await;
            assert_eq!((got, &*text), (status, body), "{result}");
        }
        let (status, headers, _) = seen(r#"{"redirect":"/there"}"#).await;
        assert_eq!(
            (status, &headers["location"]),
            (303, &HeaderValue::from_static("/there"))
        );
        assert_eq!(seen(r#"{"redirect":"/there","status":307}"#).await.0, 307);
        assert_eq!(seen(r#"{"redirect":"/there","status":200}"#).await.0, 303);
        let (_, headers, body) = seen(r#"{"html":"<p>x</p>","title":"<script>"}"#).await;
        assert!(
            body.contains("<title>&lt;script&gt;</title>") && body.contains("<p>x</p>"),
            "{body}"
        );
        assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    }

    #[tokio::test]
    async fn what_cannot_be_sent_is_said() {
        for (result, why) in [
            (r#"{"_status":999}"#, "999"),
            (r#"{"_status":101}"#, "101"),
            (r#"{"_headers":{"Set-Cookie":"a=b"}}"#, "not a plugin's"),
            (
                r#"{"_headers":{"Transfer-Encoding":"chunked"}}"#,
                "not a plugin's",
            ),
            (r#"{"_headers":{"X":"a\r\nB: c"}}"#, "forbidden"),
            (r#"{"_headers":{"a b":"c"}}"#, "no header name"),
            (r#"{"_headers":[]}"#, "not an object"),
            (r#"{"redirect":"/a\r\nX: y"}"#, "forbidden"),
            (r#"{"_binary":true,"data":"***"}"#, "base64"),
            (
                r#"{"_binary":true,"content_type":"a\nb","data":""}"#,
                "forbidden",
            ),
        ] {
            let (status, _, text) = seen(result).await;
            assert_eq!(status, 502, "{result}");
            assert!(text.contains(why), "{result}: {text}");
        }
    }
}
