//! Which route a request takes, and whether a host passes it on.

use gk_protocol::registration::{Registration, RouteSpec};

use super::user::{Role, User};
use crate::Error;

type Params = Vec<(String, String)>;

/// The route of a request and the parameters of its path.
pub(super) fn find<'a>(
    registration: &'a Registration,
    method: &str,
    path: &str,
) -> Result<(&'a RouteSpec, Params), Error> {
    let wanted = if method == "HEAD" { "GET" } else { method };
    let fitting = registration.routes.iter().filter_map(|route| {
        let params = fit(&route.path, path)?;
        Some((route, params))
    });
    let (mut same, others): (Vec<_>, Vec<_>) =
        fitting.partition(|(route, _)| route.method.eq_ignore_ascii_case(wanted));
    // A part that is written out comes before a parameter, and that before `*rest`.
    same.sort_by_key(|(route, _)| {
        route
            .path
            .split('/')
            .map(|part| match part.chars().next() {
                Some('*') => 2,
                Some(':') => 1,
                _ => 0_u8,
            })
            .collect::<Vec<_>>()
    });
    match same.into_iter().next() {
        Some((route, params)) if are_plain(&route.path, &params) => Ok((route, params)),
        None if !others.is_empty() => Err(Error::with_status(
            405,
            format!("{method} {path}: method not allowed"),
        )),
        _ => Err(Error::with_status(
            404,
            format!(
                "{method} {path}: plugin \"{}\" has no such route",
                registration.name
            ),
        )),
    }
}

/// The parameters of a path that fits a route's.
fn fit(pattern: &str, path: &str) -> Option<Params> {
    let mut params = Params::new();
    let mut rest = Some(path);
    for part in pattern.split('/') {
        let left = rest?;
        if let Some(name) = part.strip_prefix('*') {
            params.push((name.to_owned(), percent_decode(left)));
            return (!left.is_empty()).then_some(params);
        }
        let (value, after) = match left.split_once('/') {
            Some((value, after)) => (value, Some(after)),
            None => (left, None),
        };
        rest = after;
        match part.strip_prefix(':') {
            Some(_) if value.is_empty() => return None,
            Some(name) => params.push((name.to_owned(), percent_decode(value))),
            None if part == value => {}
            None => return None,
        }
    }
    rest.is_none().then_some(params)
}

/// Returns `true` if parameters hold no more than their place says, and nothing that means another
/// place to a file system.
fn are_plain(pattern: &str, params: &Params) -> bool {
    params.iter().all(|(name, value)| {
        let is_rest = pattern.ends_with(&format!("/*{name}"));
        let plain = |part: &str| part != "." && part != ".." && !part.contains(['/', '\\', '\0']);
        match is_rest {
            true => !value.starts_with('/') && value.split('/').all(plain),
            false => plain(value),
        }
    })
}

/// A text without its percent encoding.
pub(super) fn percent_decode(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| first == b'%');
        let byte = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Refuses a route that a host does not serve.
pub(super) fn check_served(
    plugin: &str,
    route: &RouteSpec,
    granted: &[String],
) -> Result<(), Error> {
    let refused = |why: String| {
        let (method, path) = (&route.method, &route.path);
        Err(Error::with_status(
            404,
            format!("{method} {path}: a host refuses this route: {why}"),
        ))
    };
    for name in &route.middleware {
        if !["auth", "admin", "agent", "customer"].contains(&name.as_str()) {
            return refused(format!(
                "unknown middleware {name:?}; auth, admin, agent and customer are known"
            ));
        }
    }
    let is_page = route
        .path
        .strip_prefix(&format!("/ui/{plugin}"))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '_']));
    let is_granted = granted.iter().any(|path| match path.strip_suffix("/*") {
        Some(root) => is_below(&route.path, root),
        None => route.path == *path,
    });
    if is_page || is_granted || is_below(&route.path, &format!("/api/plugins/{plugin}")) {
        return Ok(());
    }
    refused(format!(
        "it is not the plugin's own; use a path below /api/plugins/{plugin}/, or grant it with TestPlugin::grant_route"
    ))
}

fn is_below(path: &str, root: &str) -> bool {
    path.strip_prefix(root)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Checks middleware as a host does.
pub(super) fn check_user(middleware: &[String], user: Option<&User>) -> Result<(), Error> {
    for name in middleware {
        let Some(user) = user else {
            return Err(Error::with_status(
                401,
                "authentication required; a test asks as a user with as_user",
            ));
        };
        let allowed = match name.as_str() {
            "admin" => user.role == Role::Admin,
            "agent" => user.role != Role::Customer,
            "customer" => user.role == Role::Customer,
            _ => true,
        };
        if !allowed {
            return Err(Error::with_status(403, format!("{name} access required")));
        }
    }
    Ok(())
}
