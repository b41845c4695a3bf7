//! Field names: Go's `HTTPStatus` is Rust's `http_status`.
//!
//! Decoding takes a Rust field for a Go field when both are the same once case and underscores are
//! ignored. Encoding cannot be as lenient, because Go's decoder compares names exactly, so a
//! snake_case name is turned into the name that Go's style asks for.

/// Words that Go's naming style writes in capitals; `mb` is not in its list, but in every name that
/// has it.
const INITIALISMS: &[&str] = &[
    "acl", "api", "ascii", "cpu", "css", "db", "dns", "eof", "guid", "html", "http", "https", "id",
    "ip", "json", "lhs", "mb", "mcp", "pwa", "qps", "ram", "rhs", "rpc", "sla", "smtp", "sql",
    "ssh", "tcp", "tls", "ttl", "udp", "ui", "uid", "uri", "url", "utf8", "uuid", "vm", "xml",
    "xmpp", "xsrf", "xss",
];

/// Returns `true` if a Go field and a Rust field are the same name.
pub(crate) fn same(go: &str, rust: &str) -> bool {
    if go == rust {
        return true;
    }
    if go.is_ascii() && rust.is_ascii() {
        return fold(go).eq(fold(rust));
    }
    let lower = |name: &str| {
        name.chars()
            .filter(|c| *c != '_')
            .flat_map(char::to_lowercase)
            .collect::<String>()
    };
    lower(go) == lower(rust)
}

fn fold(name: &str) -> impl Iterator<Item = u8> + '_ {
    name.bytes()
        .filter(|byte| *byte != b'_')
        .map(|byte| byte.to_ascii_lowercase())
}

/// The Go name for a Rust field: unchanged if it starts with a capital, else camel case.
pub(crate) fn to_go(rust: &str) -> String {
    if rust.starts_with(|c: char| c.is_uppercase()) {
        return rust.to_owned();
    }
    let mut go = String::with_capacity(rust.len());
    for word in rust.split('_').filter(|word| !word.is_empty()) {
        if INITIALISMS.contains(&word) {
            go.push_str(&word.to_ascii_uppercase());
        } else if let Some(stem) = word
            .strip_suffix('s')
            .filter(|stem| INITIALISMS.contains(stem))
        {
            go.push_str(&stem.to_ascii_uppercase());
            go.push('s');
        } else {
            let mut chars = word.chars();
            go.extend(chars.next().into_iter().flat_map(char::to_uppercase));
            go.push_str(chars.as_str());
        }
    }
    go
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_without_case_and_underscores() {
        for (go, rust) in [
            ("MenuItems", "menu_items"),
            ("HTTPStatus", "http_status"),
            ("HostAPIID", "host_api_id"),
            ("I18n", "i18n"),
            ("PWA", "pwa"),
            ("Größe", "größe"),
        ] {
            assert!(same(go, rust), "{go} {rust}");
        }
        assert!(!same("MenuItem", "menu_items"));
        assert!(!same("A", "größe"));
    }

    #[test]
    fn go_names_follow_its_style() {
        for (rust, go) in [
            ("menu_items", "MenuItems"),
            ("http_status", "HTTPStatus"),
            ("host_api_id", "HostAPIID"),
            ("i18n", "I18n"),
            ("memory_mb", "MemoryMB"),
            ("uis", "UIs"),
            ("refresh_sec", "RefreshSec"),
            ("start_url", "StartURL"),
            ("mcp_tools", "MCPTools"),
            ("HostAPIID", "HostAPIID"),
        ] {
            assert_eq!(to_go(rust), go);
        }
    }
}
