//! Rules for the paths of routes, and their forms.

/// Prefix of plugins' own paths; a plugin's name follows.
pub(crate) const PLUGINS_PREFIX: &str = "/api/plugins/";

/// Prefix of plugins' pages; a plugin's name follows, or that with `_` and a page's name.
pub(crate) const PAGES_PREFIX: &str = "/ui/";

/// Paths of the host's own; those that end in `/` include everything below.
const RESERVED: &[&str] = &[
    "/",
    "/livez",
    "/readyz",
    "/healthz",
    "/metrics",
    "/openapi.json",
    "/api/v1/",
    "/admin/",
    "/docs/",
    "/static/",
    "/.well-known/",
];

/// Checks the form of a route's path.
pub(crate) fn check_form(path: &str) -> Result<(), String> {
    let odd = |byte: u8| byte <= b' ' || byte == 0x7f || b"?#%\\".contains(&byte);
    if !path.starts_with('/') || path.bytes().any(odd) {
        return Err("a path starts with / and has no blanks, ?, #, % or backslash".to_owned());
    }
    if path.split('/').any(|part| part == "." || part == "..") {
        return Err("a path has no . or .. in it".to_owned());
    }
    Ok(())
}

/// Returns true for a plugin's own prefix in [`PLUGINS_PREFIX`], and for paths below.
pub(crate) fn is_own(path: &str, plugin: &str) -> bool {
    let rest = path.strip_prefix(PLUGINS_PREFIX);
    rest.is_some_and(|rest| is_below(rest, plugin))
}

/// Returns true for the path `root`, and for paths below.
pub(crate) fn is_below(path: &str, root: &str) -> bool {
    path.strip_prefix(root)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns true if a grant of a path, or of all below one that ends in `/*`, can never be used.
pub(crate) fn is_reserved(granted: &str) -> bool {
    let path = granted.strip_suffix("/*").unwrap_or(granted);
    is_the_hosts(path) || path.starts_with(PLUGINS_PREFIX) || path.starts_with(PAGES_PREFIX)
}

/// Returns true for the host's own paths, in any case and with or without a slash at the end.
pub(crate) fn is_the_hosts(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let plain = lower.trim_end_matches('/');
    let parts: Vec<_> = plain.split('/').skip(1).collect();
    let open = |part: &str| part.starts_with([':', '*']);
    let into_api = match parts.as_slice() {
        // The second part would be `v1` or a plugin's name.
        ["api"] => true,
        ["api", "plugins"] => true,
        ["api", second, ..] => {
            open(second) || (*second == "plugins" && !path.starts_with(PLUGINS_PREFIX))
        }
        ["ui"] => true,
        ["ui", second, ..] => open(second) || !path.starts_with(PAGES_PREFIX),
        _ => false,
    };
    let reserved = |reserved: &&str| match reserved.strip_suffix('/') {
        Some("") => plain.is_empty(),
        Some(root) => is_below(plain, root),
        None => plain == *reserved,
    };
    into_api || plain.contains("//") || RESERVED.iter().any(reserved)
}

/// Converts gin's `:id` and `*rest` to the syntax of matchit.
pub(crate) fn pattern(path: &str) -> Result<String, String> {
    let mut parts = Vec::new();
    let mut names = Vec::new();
    for part in path.split('/') {
        if parts
            .last()
            .is_some_and(|last: &String| last.starts_with("{*"))
        {
            return Err("*rest must be the last part of a path".to_owned());
        }
        let named = part
            .strip_prefix(':')
            .map(|name| (name, ""))
            .or(part.strip_prefix('*').map(|name| (name, "*")));
        match named {
            Some((name, star)) => {
                let plain = !name.is_empty()
                    && name
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                if !plain || name.starts_with('_') {
                    return Err(format!(
                        "{part:?}: a parameter has a name of letters, digits and _, not in front"
                    ));
                }
                if names.contains(&name) {
                    return Err(format!("the parameter {name:?} stands there twice"));
                }
                names.push(name);
                parts.push(format!("{{{star}{name}}}"));
            }
            None => parts.push(part.replace('{', "{{").replace('}', "}}")),
        }
    }
    Ok(parts.join("/"))
}

/// Returns true if two patterns have parameters in the same parts.
pub(crate) fn same_shape(left: &str, right: &str) -> bool {
    let shape = |path: &str| {
        path.split('/')
            .map(|part| part.starts_with('{'))
            .collect::<Vec<_>>()
    };
    shape(left) == shape(right)
}

/// Returns true if a parameter's value stays within its place in the path: one part, or several for
/// `*rest`, and no part that a file system would take for another place.
pub(crate) fn is_plain(path: &str, name: &str, value: &str) -> bool {
    let rest = path
        .rsplit('/')
        .next()
        .and_then(|last| last.strip_prefix('*'))
        == Some(name);
    let part = |part: &str| part != "." && part != ".." && !part.contains(['\\', '\0']);
    match rest {
        // A value that begins with a slash would be an absolute path.
        true => !value.starts_with('/') && value.split('/').all(part),
        false => !value.contains('/') && part(value),
    }
}

/// Decodes the percent encoding of a parameter.
pub(crate) fn decode(value: &str) -> String {
    percent_encoding::percent_decode_str(value)
        .decode_utf8_lossy()
        .into_owned()
}
