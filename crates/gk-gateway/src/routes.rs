//! Which function of which plugin answers which method and path.
//!
//! A table is built from one snapshot of the runtime and never changes; a new snapshot makes a new one.
//! Plugins come in the order of their names, and what a plugin asks for and does not get is kept with
//! the reason.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::Method;
use gk_api::RefusedRoute;
use gk_manifest::{PluginName, RouteSpec};
use gk_runtime::{CallTarget, PluginStatus, Snapshot};

use crate::auth::Middleware;
use crate::places::{Places, overlap};

/// Where plugins have their own paths: below it, a plugin's name.
const PLUGINS_PREFIX: &str = "/api/plugins/";

/// Where they have their pages: below it, a plugin's name, or that with `_` and a page's.
const PAGES_PREFIX: &str = "/ui/";

/// The host's own paths; everything below the ones that end in `/`, too.
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

/// A route that is served.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) plugin: PluginName,
    /// The generation whose route it is; `None` while none serves.
    pub(crate) target: Option<CallTarget>,
    pub(crate) method: Method,
    /// As the plugin wrote it.
    pub(crate) path: String,
    pub(crate) function: String,
    pub(crate) middleware: Vec<Middleware>,
    pub(crate) description: String,
    /// Whether the client's own `org_id` is left alone.
    pub(crate) skip_org: bool,
    /// Whether a request may be sent twice.
    pub(crate) idempotent: bool,
}

impl Route {
    /// Whether another version's route means the same: the same function, for the same callers.
    pub(crate) fn is_like(&self, other: &Route) -> bool {
        self.plugin == other.plugin
            && self.path == other.path
            && self.function == other.function
            && self.middleware == other.middleware
            && self.skip_org == other.skip_org
            && self.idempotent == other.idempotent
    }
}

/// The routes of all running plugins.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Vec<Arc<Route>>,
    places: Places,
    by_method: BTreeMap<String, matchit::Router<usize>>,
    refused: BTreeMap<PluginName, Vec<RefusedRoute>>,
    /// Of the snapshot that it was built from.
    version: u64,
    /// Every plugin, and whether it is known what it registers.
    plugins: BTreeMap<PluginName, bool>,
}

/// What a look-up gives.
#[derive(Debug)]
pub(crate) enum Found {
    Route {
        route: Arc<Route>,
        params: Vec<(String, String)>,
    },
    /// The path exists for other methods.
    OtherMethods(Vec<String>),
    Nothing,
}

impl RouteTable {
    /// The table of a snapshot. `granted` says which paths beside its own a plugin may serve: a path, or
    /// one that ends in `/*`.
    ///
    /// A plugin that no longer runs keeps the routes of its last registration: they answer that it does
    /// not run, and nobody else gets them.
    #[must_use]
    pub fn build(snapshot: &Snapshot, granted: impl Fn(&PluginName) -> Vec<String>) -> Self {
        let known = |status: &PluginStatus| (status.name.clone(), status.registration.is_some());
        let mut table = RouteTable {
            version: snapshot.version,
            plugins: snapshot
                .plugins
                .iter()
                .map(|status| known(status))
                .collect(),
            ..RouteTable::default()
        };
        for status in &snapshot.plugins {
            let Some(registration) = &status.registration else {
                continue;
            };
            let granted = granted(&status.name);
            for spec in &registration.routes {
                let skip_org = registration.skip_org_injection;
                let target = &status.target();
                if let Err(reason) = table.add(&status.name, target, spec, skip_org, &granted) {
                    table
                        .refused
                        .entry(status.name.clone())
                        .or_default()
                        .push(RefusedRoute {
                            method: spec.method.clone(),
                            path: spec.path.clone(),
                            reason,
                        });
                }
            }
        }
        table
    }

    /// Counts the changes of plugins that it knows of.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The plugin whose place a path is in.
    pub(crate) fn owner(&self, path: &str) -> Option<&PluginName> {
        if let Some(rest) = path.strip_prefix(PLUGINS_PREFIX) {
            let name = rest.split('/').next().unwrap_or_default();
            return self.plugin(name);
        }
        let page = path.strip_prefix(PAGES_PREFIX)?.split('/').next()?;
        // Names may hold `_`, too: the longest is meant.
        let ends = page.match_indices('_').map(|(at, _)| at);
        let mut ends: Vec<usize> = ends.chain([page.len()]).collect();
        ends.reverse();
        ends.into_iter().find_map(|end| self.plugin(&page[..end]))
    }

    fn plugin(&self, name: &str) -> Option<&PluginName> {
        let name = PluginName::new(name).ok()?;
        self.plugins.get_key_value(&name).map(|(name, _)| name)
    }

    /// Whether a plugin has not registered, so that nobody knows what it serves.
    pub(crate) fn is_unknown(&self, plugin: &PluginName) -> bool {
        self.plugins.get(plugin) == Some(&false)
    }

    fn add(
        &mut self,
        plugin: &PluginName,
        target: &Option<CallTarget>,
        spec: &RouteSpec,
        skip_org: bool,
        granted: &[String],
    ) -> Result<(), String> {
        let method = match &*spec.method.to_ascii_uppercase() {
            "GET" => Method::GET,
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            "DELETE" => Method::DELETE,
            "PATCH" => Method::PATCH,
            other => {
                return Err(format!(
                    "method {other:?}; GET, POST, PUT, DELETE and PATCH are served"
                ));
            }
        };
        self.check_path(plugin, &spec.path, granted)?;
        let middleware = spec.middleware.iter().map(|name| {
            Middleware::from_name(name).ok_or_else(|| {
                format!(
                    "unknown middleware {name:?}; auth, admin, agent and customer are known here"
                )
            })
        });
        let middleware = middleware.collect::<Result<Vec<_>, _>>()?;
        if spec.handler.is_empty() {
            return Err("it names no handler".to_owned());
        }
        let pattern = pattern(&spec.path)?;
        let near = self.places.near(&spec.path).into_iter();
        let mut near = near.filter_map(|number| self.routes.get(number));
        if let Some(other) = near.find(|route| {
            route.plugin != *plugin && route.method == method && overlap(&route.path, &spec.path)
        }) {
            return Err(format!(
                "{method} {} collides with {} of plugin \"{}\"; change one of the two paths",
                spec.path, other.path, other.plugin
            ));
        }
        let router = self.by_method.entry(method.to_string()).or_default();
        if let Err(error) = router.insert(&pattern, self.routes.len()) {
            return Err(self.collision(&method, &spec.path, &error));
        }
        self.places.push(&spec.path);
        self.routes.push(Arc::new(Route {
            plugin: plugin.clone(),
            target: target.clone(),
            method,
            path: spec.path.clone(),
            function: spec.handler.clone(),
            middleware,
            description: spec.description.clone(),
            skip_org,
            idempotent: spec.idempotent,
        }));
        Ok(())
    }

    fn collision(&self, method: &Method, path: &str, error: &matchit::InsertError) -> String {
        let with = match error {
            matchit::InsertError::Conflict { with } => with,
            other => return format!("the path cannot be used: {other}"),
        };
        let owner = self.routes.iter().find(|route| {
            route.method == *method
                && pattern(&route.path)
                    .is_ok_and(|known| known == *with || same_shape(&known, with))
        });
        match owner {
            Some(route) => format!(
                "{method} {path} collides with {} of plugin \"{}\"; change one of the two paths",
                route.path, route.plugin
            ),
            None => format!("{method} {path} collides with {with}; change the path"),
        }
    }

    pub(crate) fn find(&self, method: &Method, path: &str) -> Found {
        // HEAD is GET without the body.
        let wanted = if method == Method::HEAD {
            "GET"
        } else {
            method.as_str()
        };
        if let Some(found) = self
            .by_method
            .get(wanted)
            .and_then(|router| router.at(path).ok())
            && let Some(route) = self.routes.get(*found.value)
        {
            let params: Vec<_> = found
                .params
                .iter()
                .map(|(name, value)| (name.to_owned(), decode(value)))
                .collect();
            if !params
                .iter()
                .all(|(name, value)| is_plain(&route.path, name, value))
            {
                return Found::Nothing;
            }
            return Found::Route {
                route: Arc::clone(route),
                params,
            };
        }
        let others: Vec<_> = self
            .by_method
            .iter()
            .filter(|(_, router)| router.at(path).is_ok())
            .map(|(method, _)| method.clone())
            .collect();
        if others.is_empty() {
            Found::Nothing
        } else {
            Found::OtherMethods(others)
        }
    }

    /// What a plugin asked for and did not get.
    #[must_use]
    pub fn refused(&self, plugin: &str) -> &[RefusedRoute] {
        let found = self
            .refused
            .iter()
            .find(|(name, _)| name.as_str() == plugin);
        found
            .map(|(_, refused)| refused.as_slice())
            .unwrap_or_default()
    }

    pub(crate) fn all_refused(&self) -> impl Iterator<Item = (&PluginName, &RefusedRoute)> {
        self.refused
            .iter()
            .flat_map(|(plugin, refused)| refused.iter().map(move |route| (plugin, route)))
    }

    pub(crate) fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }
}

fn same_shape(left: &str, right: &str) -> bool {
    let shape = |path: &str| {
        path.split('/')
            .map(|part| part.starts_with('{'))
            .collect::<Vec<_>>()
    };
    shape(left) == shape(right)
}

impl RouteTable {
    /// A plugin's paths are in its own place; others are its if the operator says so, and the host's own
    /// never are.
    fn check_path(
        &self,
        plugin: &PluginName,
        path: &str,
        granted: &[String],
    ) -> Result<(), String> {
        let odd = |byte: u8| byte <= b' ' || byte == 0x7f || b"?#%\\".contains(&byte);
        if !path.starts_with('/') || path.bytes().any(odd) {
            return Err("a path starts with / and has no blanks, ?, #, % or backslash".to_owned());
        }
        if path.split('/').any(|part| part == "." || part == "..") {
            return Err("a path has no . or .. in it".to_owned());
        }
        let own = format!("{PLUGINS_PREFIX}{plugin}");
        if is_below(path, &own) {
            return Ok(());
        }
        let parts: Vec<_> = path.split('/').skip(1).collect();
        let open = |part: &&str| part.starts_with([':', '*']);
        if parts.first().is_some_and(open) {
            return Err(format!(
                "{path:?} would catch the host's own paths; start it with {own}/"
            ));
        }
        if is_the_hosts(path) {
            return Err(format!(
                "{path:?} belongs to the host; use a path below {own}/"
            ));
        }
        if path.starts_with(PLUGINS_PREFIX) || path.starts_with(PAGES_PREFIX) {
            return match self.owner(path) {
                Some(owner) if owner == plugin && path.starts_with(PAGES_PREFIX) => Ok(()),
                Some(owner) => Err(format!(
                    "{path:?} is in the place of plugin \"{owner}\"; use {own}/"
                )),
                None => Err(format!(
                    "{path:?} is in the place of another plugin; use {own}/, or {PAGES_PREFIX}{plugin}/ for pages"
                )),
            };
        }
        let is_granted = granted.iter().any(|known| match known.strip_suffix("/*") {
            Some(root) => is_below(path, root),
            None => path == known,
        });
        match is_granted {
            true => Ok(()),
            false => Err(format!(
                "{path:?} is not the plugin's own; use a path below {own}/, or let the operator add it to \"routes\" of the plugin's policy"
            )),
        }
    }
}

/// Whether a path is this one, or below it.
fn is_below(path: &str, root: &str) -> bool {
    path.strip_prefix(root)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a path is the host's own, in whatever case and with or without a slash at its end.
/// Whether a grant of a path, or of all below one that ends in `/*`, can never be used.
pub(crate) fn is_reserved(granted: &str) -> bool {
    let path = granted.strip_suffix("/*").unwrap_or(granted);
    is_the_hosts(path) || path.starts_with(PLUGINS_PREFIX) || path.starts_with(PAGES_PREFIX)
}

fn is_the_hosts(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let plain = lower.trim_end_matches('/');
    let parts: Vec<_> = plain.split('/').skip(1).collect();
    let open = |part: &str| part.starts_with([':', '*']);
    let into_api = match parts.as_slice() {
        // Where `v1` or a plugin's name belongs.
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

/// gin's `:id` and `*rest` in matchit's words.
fn pattern(path: &str) -> Result<String, String> {
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

/// Whether a parameter holds no more than its place in the path says: one part, or for `*rest` several, and
/// nothing that means another place to a file system.
fn is_plain(path: &str, name: &str, value: &str) -> bool {
    let rest = path
        .rsplit('/')
        .next()
        .and_then(|last| last.strip_prefix('*'))
        == Some(name);
    let part = |part: &str| part != "." && part != ".." && !part.contains(['\\', '\0']);
    match rest {
        // One that begins with a slash is another place on its own.
        true => !value.starts_with('/') && value.split('/').all(part),
        false => !value.contains('/') && part(value),
    }
}

/// A parameter without its percent encoding.
fn decode(value: &str) -> String {
    percent_encoding::percent_decode_str(value)
        .decode_utf8_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(
        table: &mut RouteTable,
        plugin: &str,
        method: &str,
        path: &str,
        middleware: &[&str],
    ) -> Result<(), String> {
        let spec = RouteSpec {
            method: method.into(),
            path: path.into(),
            handler: "f".into(),
            middleware: middleware.iter().map(|name| (*name).to_owned()).collect(),
            ..RouteSpec::default()
        };
        let granted = ["/x", "/x/*", "/shared/*", "/api/plugins/b/x", "/livez"].map(str::to_owned);
        let plugin = PluginName::new(plugin).unwrap();
        table.plugins.insert(plugin.clone(), true);
        table.add(&plugin, &None, &spec, false, &granted)
    }

    #[test]
    fn parameters_and_methods() {
        let mut table = RouteTable::default();
        add(
            &mut table,
            "a",
            "GET",
            "/api/plugins/a/items/:id",
            &["auth"],
        )
        .unwrap();
        add(&mut table, "a", "get", "/api/plugins/a/files/*rest", &[]).unwrap();
        add(&mut table, "a", "POST", "/api/plugins/a/items/:id", &[]).unwrap();
        let params = |path| match table.find(&Method::GET, path) {
            Found::Route { params, .. } => params,
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(
            params("/api/plugins/a/items/a%20b+d&e=f"),
            [("id".into(), "a b+d&e=f".into())]
        );
        assert_eq!(
            params("/api/plugins/a/files/x/y"),
            [("rest".into(), "x/y".into())]
        );
        assert!(matches!(
            table.find(&Method::HEAD, "/api/plugins/a/items/1"),
            Found::Route { .. }
        ));
        assert!(
            matches!(table.find(&Method::PUT, "/api/plugins/a/items/1"), Found::OtherMethods(methods) if methods == ["GET", "POST"])
        );
        assert!(matches!(
            table.find(&Method::GET, "/api/plugins/a/none"),
            Found::Nothing
        ));
    }

    #[test]
    fn what_is_not_the_plugins_is_refused_with_a_reason() {
        let mut table = RouteTable::default();
        for other in ["b", "a_b"] {
            table.plugins.insert(PluginName::new(other).unwrap(), false);
        }
        for path in ["/ui/a/x", "/ui/a_page/:id", "/x/y", "/api/plugins/a"] {
            add(&mut table, "a", "GET", path, &[]).unwrap();
        }
        for (path, why) in [
            ("/api/v1/plugins", "belongs to the host"),
            ("/api/v1", "belongs to the host"),
            ("/livez", "belongs to the host"),
            ("/metrics", "belongs to the host"),
            ("/", "belongs to the host"),
            ("/admin", "belongs to the host"),
            ("/admin/x", "belongs to the host"),
            ("/:all", "would catch"),
            ("/*all", "would catch"),
            ("/api/:version/x", "belongs to the host"),
            ("/api/*rest", "belongs to the host"),
            ("/api/plugins/:name/x", "place of another plugin"),
            ("/api/plugins/b/x", "place of plugin \"b\""),
            ("/API/v1/tokens", "belongs to the host"),
            ("/Api/Plugins/a/x", "belongs to the host"),
            ("/readyz/", "belongs to the host"),
            ("/LIVEZ", "belongs to the host"),
            ("/api/v1//plugins", "belongs to the host"),
            ("/ui", "belongs to the host"),
            ("/ui/b/x", "place of plugin \"b\""),
            ("/ui/a_b/x", "place of plugin \"a_b\""),
            ("/ui/c/x", "place of another plugin"),
            ("/login", "not the plugin's own"),
            ("/sw.js", "not the plugin's own"),
            ("/index.html", "not the plugin's own"),
            ("/xy", "not the plugin's own"),
            ("/x%2fy", "no blanks"),
            ("/api/plugins/a/../b", "no . or .."),
            ("api/plugins/a", "starts with /"),
            ("/x?y", "no blanks"),
            ("/x/*rest/y", "last part"),
            ("/x/:", "name of letters"),
            ("/x/:_user_id", "name of letters"),
            ("/x/:a/:a", "twice"),
        ] {
            let reason = add(&mut table, "a", "GET", path, &[]).unwrap_err();
            assert!(reason.contains(why), "{path}: {reason}");
        }
        assert!(
            add(&mut table, "a", "TRACE", "/x", &[])
                .unwrap_err()
                .contains("TRACE")
        );
    }

    #[test]
    fn an_unknown_middleware_closes_the_route() {
        let mut table = RouteTable::default();
        for name in ["api", "group:staff", "plugin:a:b", "webhook", "Auth", ""] {
            let reason = add(&mut table, "a", "GET", "/x", &["auth", name]).unwrap_err();
            assert!(reason.contains("unknown middleware"), "{reason}");
        }
        assert!(matches!(table.find(&Method::GET, "/x"), Found::Nothing));
    }

    #[test]
    fn the_first_plugin_keeps_a_path() {
        let mut table = RouteTable::default();
        add(&mut table, "a", "GET", "/shared/:id", &[]).unwrap();
        let reason = add(&mut table, "b", "GET", "/shared/:name", &[]).unwrap_err();
        assert!(reason.contains("of plugin \"a\""), "{reason}");
        add(&mut table, "b", "POST", "/shared/:name", &[]).unwrap();
        for path in ["/shared/list", "/shared/*rest"] {
            let reason = add(&mut table, "b", "GET", path, &[]).unwrap_err();
            assert!(reason.contains("of plugin \"a\""), "{path}: {reason}");
        }
        add(&mut table, "b", "GET", "/shared/list/all", &[]).unwrap();
    }

    #[test]
    fn a_parameter_cannot_smuggle_a_path() {
        let mut table = RouteTable::default();
        add(&mut table, "a", "GET", "/api/plugins/a/items/:id", &[]).unwrap();
        add(&mut table, "a", "GET", "/api/plugins/a/files/*rest", &[]).unwrap();
        for path in [
            "/api/plugins/a/items/..%2F..%2Fadmin.token",
            "/api/plugins/a/items/%2Fetc%2Fpasswd",
            "/api/plugins/a/items/%2e%2e",
            "/api/plugins/a/items/a%5Cb",
            "/api/plugins/a/items/a%00b",
            "/api/plugins/a/files/x/%2e%2e/y",
            "/api/plugins/a/files//etc/passwd",
            "/api/plugins/a/files/%2Fetc/passwd",
        ] {
            assert!(
                matches!(table.find(&Method::GET, path), Found::Nothing),
                "{path}"
            );
        }
        assert!(matches!(
            table.find(&Method::GET, "/api/plugins/a/items/a.b..c"),
            Found::Route { .. }
        ));
    }
}
