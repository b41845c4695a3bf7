//! Headers that a plugin may set: those that concern its answer alone.
//!
//! A header may command the proxy in front of the host (`X-Accel-Redirect`), change the behaviour
//! of browsers for the whole site (`Clear-Site-Data`, `Service-Worker-Allowed`) or sign a user in
//! (`Set-Cookie`). Only the headers in a list are therefore passed on, and the operator's policy
//! can add to that list.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use gk_manifest::PluginName;
use serde_json::value::RawValue;

use super::short;

/// Maximum number of headers that a result may set.
const HEADERS_MAX: usize = 32;

/// Maximum size of the names and values of a result's headers, in bytes.
pub(super) const HEADERS_BYTES_MAX: usize = 16 * 1024;

/// Headers that are passed on. So is `X-<plugin>-…`.
const ALLOWED: &[&str] = &[
    "accept-patch",
    "accept-post",
    "accept-ranges",
    "age",
    "allow",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-range",
    "content-security-policy",
    "content-security-policy-report-only",
    "content-type",
    "deprecation",
    "digest",
    "etag",
    "expires",
    "last-modified",
    "link",
    "location",
    "permissions-policy",
    "pragma",
    "preference-applied",
    "ratelimit",
    "ratelimit-policy",
    "referrer-policy",
    "repr-digest",
    "retry-after",
    "server-timing",
    "sunset",
    "vary",
    "www-authenticate",
    "x-correlation-id",
    "x-frame-options",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-request-id",
    "x-robots-tag",
    "x-total-count",
];

/// Headers of the host's own, regardless of policies: they frame the answer or protect it.
const HOST: &[HeaderName] = &[
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::DATE,
    header::PROXY_AUTHENTICATE,
    header::SERVER,
    header::STRICT_TRANSPORT_SECURITY,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::X_CONTENT_TYPE_OPTIONS,
];

/// Prefixes of headers that command proxies. A plugin's name does not make them its own.
const PROXIES: &[&str] = &[
    "x-accel-",
    "x-sendfile",
    "x-lighttpd-",
    "x-litespeed-",
    "x-reproxy-",
    "x-envoy-",
    "x-forwarded-",
    "x-original-",
    "x-rewrite-",
    "x-varnish-",
    "x-amz-",
    "x-goog-",
    "x-ms-",
];

/// Returns the headers of `_headers`, if all of them may be passed on. `further` are those of the
/// policy.
pub(super) fn read(
    plugin: &PluginName,
    json: &RawValue,
    further: &[String],
) -> Result<HeaderMap, String> {
    // Escapes make a string longer, never shorter; the factor also leaves room for white space.
    if json.get().len() > 8 * HEADERS_BYTES_MAX {
        return Err(too_large());
    }
    let object: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(json.get()).map_err(|_| "_headers is not an object".to_owned())?;
    if object.len() > HEADERS_MAX {
        return Err(format!("more than {HEADERS_MAX} headers"));
    }
    let mut headers = HeaderMap::new();
    let mut bytes = 0;
    for (name, value) in object {
        let shown = short(&name);
        let text = value
            .as_str()
            .ok_or_else(|| format!("the header {shown} is not a string"))?;
        bytes += name.len() + text.len();
        if bytes > HEADERS_BYTES_MAX {
            return Err(too_large());
        }
        let valid: HeaderName = name
            .parse()
            .map_err(|_| format!("{shown:?} is no header name"))?;
        if HOST.contains(&valid) || valid.as_str().starts_with("proxy-") || valid == "keep-alive" {
            return Err(format!("the header {shown} is the host's own"));
        }
        if !passes(plugin, valid.as_str(), further) {
            return Err(format!(
                "the header {shown} is not on the list of those that pass; the operator can add it to \"response_headers\" of the plugin's policy"
            ));
        }
        let value = HeaderValue::from_str(text)
            .map_err(|_| format!("the header {shown} has a forbidden character"))?;
        headers.insert(valid, value);
    }
    Ok(headers)
}

fn too_large() -> String {
    format!("_headers has more than {HEADERS_BYTES_MAX} bytes")
}

/// Returns true if a header may be passed on; `name` is in lower case.
fn passes(plugin: &PluginName, name: &str, further: &[String]) -> bool {
    let own = name
        .strip_prefix("x-")
        .and_then(|rest| rest.strip_prefix(plugin.as_str()))
        .is_some_and(|rest| rest.starts_with('-'));
    let commands = PROXIES.iter().any(|prefix| name.starts_with(prefix));
    ALLOWED.contains(&name)
        || (own && !commands)
        || further.iter().any(|known| known.eq_ignore_ascii_case(name))
}
