//! The rules of HTTP routes: methods, gin path syntax, duplicates.

use std::collections::HashMap;

use super::{Report, index, join};
use crate::diagnostic::{did_you_mean, quoted};
use crate::limits;
use crate::registration::RouteSpec;

/// The methods a route may have.
pub(crate) const METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "PATCH"];

/// Checks every route, and that no two answer the same requests.
pub(super) fn check(report: &mut Report, routes: &[RouteSpec]) {
    if !report.count("routes", routes.len(), limits::LIST_ENTRIES_MAX) {
        return;
    }
    let mut seen: HashMap<(&str, String), usize> = HashMap::new();
    for (number, route) in routes.iter().enumerate() {
        let field = index("routes", number);
        method(report, &join(&field, "method"), &route.method);
        report.handler(&join(&field, "handler"), &route.handler);
        report.text(
            &join(&field, "description"),
            &route.description,
            limits::TEXT_BYTES_MAX,
        );
        let middleware = join(&field, "middleware");
        if report.count(
            &middleware,
            route.middleware.len(),
            limits::LIST_ENTRIES_MAX,
        ) {
            for (number, name) in route.middleware.iter().enumerate() {
                let remedy = "name a middleware, such as `auth`, or remove the entry";
                report.required(
                    &index(&middleware, number),
                    name,
                    limits::IDENTIFIER_BYTES_MAX,
                    remedy,
                );
            }
        }
        let path = join(&field, "path");
        match shape(&route.path) {
            Err((message, remedy)) => report.error(&path, message, remedy),
            Ok(shape) => {
                if let Some(first) = seen.insert((&route.method, shape), number) {
                    let message = format!(
                        "{} {} is declared by routes[{first}] already",
                        route.method, route.path
                    );
                    report.error(&path, message, "remove one of the two routes");
                }
            }
        }
    }
}

/// Checks a method name.
pub(super) fn method(report: &mut Report, field: &str, method: &str) {
    if METHODS.contains(&method) {
        return;
    }
    let remedy = match METHODS
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(method))
    {
        Some(known) => format!("write `{known}`"),
        None => format!("write one of {}", METHODS.join(", ")),
    };
    let message = if method.is_empty() {
        "is empty".into()
    } else {
        format!("{} is not a method", quoted(method))
    };
    report.error(field, message, remedy);
}

/// What requests a path in gin's syntax matches: the path with parameter names removed, so that two
/// paths that differ only in these have the same shape.
pub(crate) fn shape(path: &str) -> Result<String, (String, &'static str)> {
    const EXAMPLE: &str = "write a path such as `/api/plugins/my-plugin/items/:id`";
    if path.is_empty() {
        return Err(("is empty".into(), EXAMPLE));
    }
    if !path.starts_with('/') {
        return Err((format!("{} does not start with `/`", quoted(path)), EXAMPLE));
    }
    if path.len() > limits::PATH_BYTES_MAX {
        return Err((
            format!(
                "{} bytes long; at most {} are allowed",
                path.len(),
                limits::PATH_BYTES_MAX
            ),
            "shorten it",
        ));
    }
    if let Some(bad) = path
        .chars()
        .find(|c| c.is_control() || c.is_whitespace() || "?#%{}\\\"<>|^`".contains(*c))
    {
        let message = format!("{} contains {bad:?}", quoted(path));
        return Err((
            message,
            "write the decoded path alone: no query, fragment, braces or percent escapes",
        ));
    }
    let segments: Vec<&str> = path[1..].split('/').collect();
    if segments.len() > limits::ROUTE_SEGMENTS_MAX {
        return Err((
            format!("more than {} segments", limits::ROUTE_SEGMENTS_MAX),
            "shorten it",
        ));
    }
    let mut names = Vec::new();
    let mut shape = String::new();
    for (number, segment) in segments.iter().enumerate() {
        let last = number + 1 == segments.len();
        shape.push('/');
        match segment.as_bytes().first() {
            None if !last => {
                return Err((format!("{} has an empty segment", quoted(path)), EXAMPLE));
            }
            Some(sigil @ (b':' | b'*')) => {
                let name = &segment[1..];
                if name.is_empty()
                    || !name
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
                {
                    let message = format!("{} is not a path parameter", quoted(segment));
                    return Err((
                        message,
                        "name it with letters, digits and `_`, such as `:id` or `*rest`",
                    ));
                }
                if *sigil == b'*' && !last {
                    return Err((
                        format!("{} is not at the end", quoted(segment)),
                        "only the last segment may be `*rest`",
                    ));
                }
                if names.contains(&name) {
                    return Err((
                        format!("parameter {} occurs twice", quoted(name)),
                        "give each parameter its own name",
                    ));
                }
                names.push(name);
                shape.push(char::from(*sigil));
            }
            _ if *segment == "." || *segment == ".." => {
                return Err((
                    format!("{} contains {}", quoted(path), quoted(segment)),
                    EXAMPLE,
                ));
            }
            _ if segment.contains([':', '*']) => {
                let message = format!("{} has a parameter inside a segment", quoted(segment));
                return Err((
                    message,
                    "make the parameter a segment of its own, such as `/items/:id`",
                ));
            }
            _ => shape.push_str(segment),
        }
    }
    Ok(shape)
}

/// Checks a path inside the plugin's own pages.
pub(super) fn page_path(report: &mut Report, field: &str, path: &str) {
    if let Err((message, remedy)) = shape(path) {
        report.error(field, message, remedy);
    }
}

/// The suggestion for a word out of a fixed set, as the remedy of an error.
pub(super) fn one_of(word: &str, known: &[&str]) -> String {
    match did_you_mean(word, known.iter().copied()) {
        Some(close) => format!("did you mean `{close}`?"),
        None => format!("write one of {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shapes() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/", "/a/"),
            ("/a/:id", "/a/:"),
            ("/a/:id/c/:other", "/a/:/c/:"),
            ("/a/*rest", "/a/*"),
            ("/größe", "/größe"),
        ] {
            assert_eq!(shape(path).as_deref(), Ok(expected), "{path}");
        }
        for path in [
            "",
            "a",
            "/a//b",
            "/a?b",
            "/a#b",
            "/a%2fb",
            "/a b",
            "/a\n",
            "/{id}",
            "/a/:",
            "/a/*",
            "/a/*rest/b",
            "/a/:b/:b",
            "/a:b",
            "/a/../b",
            "/./a",
            "/a/b*",
            "/a\\b",
            &format!("/{}", "x".repeat(2000)),
            &"/a".repeat(40),
        ] {
            assert!(shape(path).is_err(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(path in "/?([a-z:*./é?-]|[[:any:]]){0,40}") {
            let _ = shape(&path);
        }
    }
}
