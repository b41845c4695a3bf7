//! HTTP answers from a plugin's results.
//!
//! A JSON object of a known shape becomes an error, a redirect, bytes or a page. Everything else is
//! sent as JSON, unchanged. Beyond the contract's shapes any object may have `_status` (200 to 599)
//! and `_headers` (an object of strings), which are removed before sending. Only the top level of
//! an object is parsed, and only the known keys there, as a result may be large.

mod headers;
mod top;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use gk_manifest::PluginName;
use gk_runtime::{MemoryBudget, OverBudget};

use self::headers::HEADERS_BYTES_MAX;
use self::top::{Top, may_be_shaped};
use crate::gateway::Gateway;
use crate::problem::Problem;

/// Size of a result in bytes up to which it is not counted in the budget until it is sent: the
/// connection is.
const UNCOUNTED_BYTES: usize = 1024;

/// Size of a result in bytes above which it was counted when it arrived.
const COUNTED_BYTES: usize = 16 * 1024;

/// Reason why a result cannot be sent.
#[derive(Debug)]
enum Unsent {
    /// Error in the result.
    Wrong(String),
    /// The memory budget has no room for the answer.
    Memory,
}

impl From<OverBudget> for Unsent {
    fn from(_: OverBudget) -> Self {
        Unsent::Memory
    }
}

impl From<String> for Unsent {
    fn from(reason: String) -> Self {
        Unsent::Wrong(reason)
    }
}

/// Returns the answer to a request on a plugin's route.
pub(crate) async fn answer(gateway: &Gateway, plugin: &PluginName, result: Bytes) -> Response {
    let inner = &gateway.inner;
    let memory = inner.memory.clone();
    let further = || {
        let host = inner.host_api.as_ref();
        host.map(|host| host.policies().http(plugin).response_headers)
            .unwrap_or_default()
    };
    if !may_be_shaped(&result) {
        return plain(&memory, result).unwrap_or_else(IntoResponse::into_response);
    }
    let own = plugin.clone();
    let further = further();
    let bytes = result.len();
    let work =
        move || shaped(&own, &result, &further, &memory).map(|shaped| (shaped, result, memory));
    match inner.heavy.run(bytes, work).await {
        Ok(Ok((Some(response), _, _))) => response,
        Ok(Ok((None, result, memory))) => {
            plain(&memory, result).unwrap_or_else(IntoResponse::into_response)
        }
        Ok(Err(Unsent::Memory)) => Problem::no_memory().into_response(),
        Ok(Err(Unsent::Wrong(reason))) => {
            tracing::warn!(%plugin, reason, "a result cannot be sent");
            let text = format!("plugin \"{plugin}\" gave an answer that cannot be sent: {reason}");
            Problem::new(StatusCode::BAD_GATEWAY, text).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

/// Returns a result unchanged.
pub(crate) fn plain(memory: &MemoryBudget, result: Bytes) -> Result<Response, Problem> {
    Ok(with_type("application/json", counted(memory, result)?))
}

/// Counts a result until it is sent.
fn counted(memory: &MemoryBudget, result: Bytes) -> Result<Bytes, Problem> {
    match result.len() {
        // A small result is a slice of a larger buffer, which it would keep in memory.
        0..=UNCOUNTED_BYTES => Ok(Bytes::copy_from_slice(&result)),
        bytes if bytes <= COUNTED_BYTES => {
            let reservation = memory.reserve(COUNTED_BYTES);
            Ok(reservation
                .map_err(|_| Problem::no_memory())?
                .attach(result))
        }
        _ => Ok(result),
    }
}

fn with_type(content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Returns the answer for an object of a known shape; `None` for a result that is sent unchanged.
fn shaped(
    plugin: &PluginName,
    result: &[u8],
    further: &[String],
    memory: &MemoryBudget,
) -> Result<Option<Response>, Unsent> {
    let Ok(top) = serde_json::from_slice::<Top<'_>>(result) else {
        return Ok(None);
    };
    let status = match top.own_status {
        None => None,
        Some(status) => Some(
            number_status(status.get(), 200)
                .ok_or_else(|| format!("_status {} is not from 200 to 599", short(status.get())))?,
        ),
    };
    let headers = top
        .headers
        .map(|headers| headers::read(plugin, headers, further))
        .transpose()?;
    let mut response = match shape(&top, memory)? {
        Some(response) => response,
        None if status.is_none() && headers.is_none() => return Ok(None),
        None => with_type("application/json", top::without_own(result, memory)?),
    };
    if let Some(status) = status {
        *response.status_mut() = status;
    }
    response.headers_mut().extend(headers.unwrap_or_default());
    Ok(Some(bodiless(response)))
}

/// Removes the body, and the headers that describe it, if the status has none.
fn bodiless(mut response: Response) -> Response {
    let status = response.status();
    if status == StatusCode::NO_CONTENT
        || status == StatusCode::RESET_CONTENT
        || status == StatusCode::NOT_MODIFIED
    {
        *response.body_mut() = Body::empty();
        let headers: &mut HeaderMap = response.headers_mut();
        headers.remove(header::CONTENT_TYPE);
        headers.remove(header::CONTENT_LENGTH);
    }
    response
}

/// Returns the beginning of a plugin's text, for an error.
fn short(text: &str) -> String {
    const CHARS: usize = 64;
    let shown: String = text.chars().take(CHARS).collect();
    match shown.len() < text.len() {
        true => format!("{shown}…"),
        false => shown,
    }
}

fn number_status(json: &str, least: u16) -> Option<StatusCode> {
    let code: u16 = json.trim().parse().ok()?;
    if (least..600).contains(&code) {
        StatusCode::from_u16(code).ok()
    } else {
        None
    }
}

fn shape(top: &Top<'_>, memory: &MemoryBudget) -> Result<Option<Response>, Unsent> {
    let status = |least| {
        top.status
            .and_then(|status| number_status(status.get(), least))
    };
    if let Some(error) = top::text(top.error, memory)?.filter(|error| !error.is_empty()) {
        let status = status(400).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return Ok(Some(
            Problem::new(status, String::from_utf8_lossy(&error)).into_response(),
        ));
    }
    if let Some(url) = top::text(top.redirect, memory)? {
        if url.len() > HEADERS_BYTES_MAX {
            return Err(format!("the redirect has more than {HEADERS_BYTES_MAX} bytes").into());
        }
        let location = HeaderValue::from_bytes(&url)
            .map_err(|_| "the redirect has a forbidden character".to_owned())?;
        let status =
            status(300).filter(|status| [301, 302, 303, 307, 308].contains(&status.as_u16()));
        let mut response = status.unwrap_or(StatusCode::SEE_OTHER).into_response();
        response.headers_mut().insert(header::LOCATION, location);
        return Ok(Some(response));
    }
    if top.binary.is_some_and(|binary| binary.get() == "true") {
        let content_type = top::text(top.content_type, memory)?
            .unwrap_or_else(|| Bytes::from_static(b"application/octet-stream"));
        if content_type.len() > HEADERS_BYTES_MAX {
            return Err(format!("content_type has more than {HEADERS_BYTES_MAX} bytes").into());
        }
        let content_type = HeaderValue::from_bytes(&content_type)
            .map_err(|_| "content_type has a forbidden character".to_owned())?;
        let data = top::text(top.data, memory)?.unwrap_or_default();
        let reservation = memory.reserve(data.len() / 4 * 3)?;
        let data = STANDARD
            .decode(data)
            .map_err(|error| format!("data is not base64: {error}"))?;
        let mut response = Response::new(Body::from(reservation.attach(data)));
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type);
        return Ok(Some(response));
    }
    if let Some(html) = top::text(top.html, memory)? {
        let page = match top.raw.is_some_and(|raw| raw.get() == "true") {
            true => html,
            false => {
                let title = top::text(top.title, memory)?.filter(|title| !title.is_empty());
                let title = title.unwrap_or_else(|| Bytes::from_static(b"Plugin"));
                page(&String::from_utf8_lossy(&title), &html, memory)?
            }
        };
        return Ok(Some(with_type("text/html; charset=utf-8", page)));
    }
    Ok(None)
}

/// Returns a page of the host's layout around a plugin's markup. The title is text, the markup is
/// the plugin's own.
fn page(title: &str, html: &[u8], memory: &MemoryBudget) -> Result<Bytes, OverBudget> {
    let title = escape(title);
    let before = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n</head>\n\
         <body>\n<main>\n"
    );
    let after = b"\n</main>\n</body>\n</html>\n";
    let length = before.len() + html.len() + after.len();
    let reservation = memory.reserve(length)?;
    let mut page = Vec::with_capacity(length);
    page.extend_from_slice(before.as_bytes());
    page.extend_from_slice(html);
    page.extend_from_slice(after);
    Ok(reservation.attach(page))
}

/// Escapes text for markup and attributes.
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
        let memory = MemoryBudget::new(1 << 20);
        let whole = Bytes::copy_from_slice(result.as_bytes());
        let further = ["X-Accel-Redirect".to_owned()];
        let shaped = match may_be_shaped(&whole) {
            true => shaped(&plugin, &whole, &further, &memory),
            false => Ok(None),
        };
        let response = match shaped {
            Ok(Some(response)) => response,
            Ok(None) => plain(&memory, whole).unwrap(),
            Err(Unsent::Wrong(reason)) => {
                Problem::new(StatusCode::BAD_GATEWAY, reason).into_response()
            }
            Err(Unsent::Memory) => Problem::no_memory().into_response(),
        };
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
            (r#"{"_headers":{"Set-Cookie":"a=b"}}"#, "response_headers"),
            (
                r#"{"_headers":{"X-Sendfile":"/etc/passwd"}}"#,
                "response_headers",
            ),
            (
                r#"{"_headers":{"x-accel-buffering":"no"}}"#,
                "response_headers",
            ),
            (
                r#"{"_headers":{"Service-Worker-Allowed":"/"}}"#,
                "response_headers",
            ),
            (
                r#"{"_headers":{"Clear-Site-Data":"*"}}"#,
                "response_headers",
            ),
            (r#"{"_headers":{"Alt-Svc":"h2=x"}}"#, "response_headers"),
            (
                r#"{"_headers":{"Access-Control-Allow-Origin":"*"}}"#,
                "response_headers",
            ),
            (
                r#"{"_headers":{"X-Content-Type-Options":""}}"#,
                "the host's own",
            ),
            (
                r#"{"_headers":{"Transfer-Encoding":"chunked"}}"#,
                "the host's own",
            ),
            (r#"{"_headers":{"ETag":"a\r\nB: c"}}"#, "forbidden"),
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

    #[tokio::test]
    async fn a_policy_may_let_further_headers_pass() {
        let (status, headers, _) = seen(
            r#"{"_headers":{"X-Accel-Redirect":"/files/1","X-P-Own":"1","Cache-Control":"no-store"}}"#,
        )
        .await;
        assert_eq!(status, 200);
        for (name, value) in [
            ("x-accel-redirect", "/files/1"),
            ("x-p-own", "1"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(headers[name], value);
        }
    }

    #[tokio::test]
    async fn what_has_no_body_has_none() {
        for status in [204, 205, 304] {
            for rest in [
                r#""k":1"#,
                r#""html":"x","raw":true"#,
                r#""_headers":{"ETag":"\"1\""}"#,
            ] {
                let result = format!(r#"{{"_status":{status},{rest}}}"#);
                let (got, headers, body) = seen(&result).await;
                assert_eq!((got, &*body), (status, ""), "{result}");
                assert!(!headers.contains_key("content-type"), "{result}");
                assert!(!headers.contains_key("content-length"), "{result}");
            }
        }
    }

    #[tokio::test]
    async fn headers_have_a_size() {
        let long = "x".repeat(HEADERS_BYTES_MAX);
        for result in [
            format!(r#"{{"_headers":{{"ETag":"{long}"}}}}"#),
            format!(r#"{{"_headers":{{"{long}":"x"}}}}"#),
            format!(r#"{{"redirect":"/{long}"}}"#),
            format!(r#"{{"_binary":true,"content_type":"{long}x","data":""}}"#),
        ] {
            let (status, _, text) = seen(&result).await;
            assert_eq!(status, 502);
            assert!(text.len() < 300, "{} bytes of error", text.len());
        }
    }

    #[test]
    fn only_what_matters_of_a_large_result_is_kept() {
        let plugin = PluginName::new("p").unwrap();
        let zeros = "0,".repeat(1 << 20);
        let result = format!(r#"{{"html":"x","raw":true,"a":[{zeros}0]}}"#);
        let memory = MemoryBudget::new(1000);
        let response = shaped(&plugin, result.as_bytes(), &[], &memory).unwrap();
        assert!(response.is_some());
        assert!(memory.peak() < 100, "{} bytes", memory.peak());
        // The copy made of a result counts.
        let result = format!(r#"{{"_status":201,"a":[{zeros}0]}}"#);
        let refused = shaped(&plugin, result.as_bytes(), &[], &memory);
        assert!(matches!(refused, Err(Unsent::Memory)));
    }
}
