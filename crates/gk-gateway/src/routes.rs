//! Table of the plugin functions by method and path.
//!
//! A table is built from one snapshot of the runtime and never changes. A new snapshot leads to a
//! new table, which shares unchanged parts with the one before. Plugins are in the order of their
//! names. Routes that a plugin asks for and does not get are kept with the reason.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::Method;
use gk_api::RefusedRoute;
use gk_manifest::{PluginName, Registration, RouteSpec};
use gk_runtime::{CallTarget, PluginStatus, Snapshot};

use crate::auth::Middleware;
use crate::paths::{
    PAGES_PREFIX, PLUGINS_PREFIX, check_form, decode, is_below, is_own, is_plain, is_the_hosts,
    pattern, same_shape,
};
use crate::places::{Places, overlap};

/// A route that is served.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) plugin: PluginName,
    /// Generation that the route belongs to; `None` while none serves.
    pub(crate) target: Option<CallTarget>,
    pub(crate) method: Method,
    /// Path as the plugin wrote it.
    pub(crate) path: String,
    pub(crate) function: String,
    pub(crate) middleware: Vec<Middleware>,
    pub(crate) description: String,
    /// The client's own `org_id` is passed on unchanged.
    pub(crate) skip_org: bool,
    /// A request may be sent twice.
    pub(crate) idempotent: bool,
}

impl Route {
    /// Creates a route from a plugin's request. The path is not checked; the caller does that.
    fn new(
        plugin: &PluginName,
        target: Option<&CallTarget>,
        spec: &RouteSpec,
        skip_org: bool,
    ) -> Result<Self, String> {
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
        Ok(Route {
            plugin: plugin.clone(),
            target: target.cloned(),
            method,
            path: spec.path.clone(),
            function: spec.handler.clone(),
            middleware,
            description: spec.description.clone(),
            skip_org,
            idempotent: spec.idempotent,
        })
    }

    fn collides_with(&self, other: &Route) -> String {
        format!(
            "{} {} collides with {} of plugin \"{}\"; change one of the two paths",
            self.method, self.path, other.path, other.plugin
        )
    }

    /// Returns true if another version's route is equivalent: the same function, for the same
    /// callers.
    pub(crate) fn is_like(&self, other: &Route) -> bool {
        self.plugin == other.plugin
            && self.path == other.path
            && self.function == other.function
            && self.middleware == other.middleware
            && self.skip_org == other.skip_org
            && self.idempotent == other.idempotent
    }
}

/// Routes that are looked up by method and path.
#[derive(Debug, Default)]
struct Routes {
    all: Vec<Arc<Route>>,
    by_method: Vec<(Method, matchit::Router<usize>)>,
}

impl Routes {
    fn push(&mut self, route: Route) -> Result<(), String> {
        let pattern = pattern(&route.path)?;
        let known = self.by_method.iter();
        let at = known.take_while(|(method, _)| *method != route.method);
        let at = at.count();
        if at == self.by_method.len() {
            let router = matchit::Router::new();
            self.by_method.push((route.method.clone(), router));
        }
        if let Some((_, router)) = self.by_method.get_mut(at)
            && let Err(error) = router.insert(&pattern, self.all.len())
        {
            return Err(self.collision(&route, &error));
        }
        self.all.push(Arc::new(route));
        Ok(())
    }

    fn collision(&self, new: &Route, error: &matchit::InsertError) -> String {
        let with = match error {
            matchit::InsertError::Conflict { with } => with,
            other => return format!("the path cannot be used: {other}"),
        };
        let owner = self.all.iter().find(|route| {
            route.method == new.method
                && pattern(&route.path)
                    .is_ok_and(|known| known == *with || same_shape(&known, with))
        });
        match owner {
            Some(route) => new.collides_with(route),
            None => {
                let (method, path) = (&new.method, &new.path);
                format!("{method} {path} collides with {with}; change the path")
            }
        }
    }

    fn find(&self, method: &Method, path: &str) -> Found {
        // HEAD is served as GET without the body.
        let wanted = match *method {
            Method::HEAD => &Method::GET,
            _ => method,
        };
        let router = self.by_method.iter().find(|(known, _)| known == wanted);
        if let Some(found) = router.and_then(|(_, router)| router.at(path).ok())
            && let Some(route) = self.all.get(*found.value)
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
        let others = self.by_method.iter();
        let others = others.filter(|(_, router)| router.at(path).is_ok());
        let mut others: Vec<_> = others.map(|(method, _)| method.to_string()).collect();
        others.sort_unstable();
        match others.is_empty() {
            true => Found::Nothing,
            false => Found::OtherMethods(others),
        }
    }
}

/// Result of a look-up.
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

/// A route that is not served, with its index in the registration.
type Refusal = (usize, RefusedRoute);

/// A plugin, and its routes below its own prefix, where they cannot collide with others.
#[derive(Debug)]
struct Own {
    plugin: PluginName,
    registration: Option<Arc<Registration>>,
    /// Generation that serves.
    target: Option<CallTarget>,
    routes: Routes,
    refused: Vec<Refusal>,
    /// Indexes in the registration of the routes outside the prefix.
    elsewhere: Vec<usize>,
}

impl Own {
    fn new(status: &PluginStatus) -> Self {
        let mut own = Own {
            plugin: status.name.clone(),
            registration: status.registration.clone(),
            target: status.target(),
            routes: Routes::default(),
            refused: Vec::new(),
            elsewhere: Vec::new(),
        };
        if let Some(registration) = &status.registration {
            for (number, spec) in registration.routes.iter().enumerate() {
                match is_own(&spec.path, own.plugin.as_str()) {
                    true => own.add(number, spec, registration.skip_org_injection),
                    false => own.elsewhere.push(number),
                }
            }
        }
        own
    }

    /// Returns true if this entry is up to date for a plugin's status.
    fn is_of(&self, status: &PluginStatus) -> bool {
        let registrations = (&self.registration, &status.registration);
        let is_same = match registrations {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        is_same && self.plugin == status.name && self.target == status.target()
    }

    fn add(&mut self, number: usize, spec: &RouteSpec, skip_org: bool) {
        let route = check_form(&spec.path).and_then(|()| self.route(spec, skip_org));
        let added = route.and_then(|route| self.routes.push(route));
        if let Err(reason) = added {
            self.refused.push((number, refused(spec, reason)));
        }
    }

    fn route(&self, spec: &RouteSpec, skip_org: bool) -> Result<Route, String> {
        Route::new(&self.plugin, self.target.as_ref(), spec, skip_org)
    }
}

fn refused(spec: &RouteSpec, reason: String) -> RefusedRoute {
    RefusedRoute {
        method: spec.method.clone(),
        path: spec.path.clone(),
        reason,
    }
}

/// Routes of all running plugins.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// Every plugin, by name.
    plugins: Vec<Arc<Own>>,
    /// Routes outside the plugins' own prefixes, where they may collide.
    elsewhere: Routes,
    places: Places,
    /// Routes outside the prefixes that are not served.
    refused: BTreeMap<PluginName, Vec<Refusal>>,
    /// Version of the snapshot that the table was built from.
    version: u64,
}

impl RouteTable {
    /// Builds the table of a snapshot. `granted` returns the paths outside its own prefix that a
    /// plugin may serve: a path, or one that ends in `/*`.
    ///
    /// A plugin that no longer runs keeps the routes of its last registration. They answer that it
    /// does not run, and do not fall to another plugin.
    #[must_use]
    pub fn build(snapshot: &Snapshot, granted: impl Fn(&PluginName) -> Vec<String>) -> Self {
        RouteTable::default().next(snapshot, granted)
    }

    /// Builds the table of a later snapshot. Reuses the entries of plugins that have not changed
    /// since.
    #[must_use]
    pub fn next(&self, snapshot: &Snapshot, granted: impl Fn(&PluginName) -> Vec<String>) -> Self {
        // Both lists are in the order of their names.
        let mut known = self.plugins.iter().peekable();
        let plugins = snapshot.plugins.iter().map(|status| {
            while known.next_if(|own| own.plugin < status.name).is_some() {}
            match known.next_if(|own| own.is_of(status)) {
                Some(own) => Arc::clone(own),
                None => Arc::new(Own::new(status)),
            }
        });
        let mut table = RouteTable {
            plugins: plugins.collect(),
            version: snapshot.version,
            ..RouteTable::default()
        };
        let plugins = table.plugins.clone();
        for own in plugins.iter().filter(|own| !own.elsewhere.is_empty()) {
            let Some(registration) = &own.registration else {
                continue;
            };
            let granted = granted(&own.plugin);
            for &number in &own.elsewhere {
                let Some(spec) = registration.routes.get(number) else {
                    continue;
                };
                let route = own.route(spec, registration.skip_org_injection);
                let added = route.and_then(|route| table.add(route, &granted));
                if let Err(reason) = added {
                    let all = table.refused.entry(own.plugin.clone()).or_default();
                    all.push((number, refused(spec, reason)));
                }
            }
        }
        table
    }

    /// Version of the snapshot that the table was built from.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Returns the plugin whose prefix a path is in.
    pub(crate) fn owner(&self, path: &str) -> Option<&PluginName> {
        self.owning(path).map(|own| &own.plugin)
    }

    fn owning(&self, path: &str) -> Option<&Own> {
        if let Some(rest) = path.strip_prefix(PLUGINS_PREFIX) {
            return self.plugin(rest.split('/').next().unwrap_or_default());
        }
        let page = path.strip_prefix(PAGES_PREFIX)?.split('/').next()?;
        // Names may contain `_`, too, so the longest match counts.
        let ends = page.match_indices('_').map(|(at, _)| at);
        let mut ends: Vec<usize> = ends.chain([page.len()]).collect();
        ends.reverse();
        ends.into_iter().find_map(|end| self.plugin(&page[..end]))
    }

    fn plugin(&self, name: &str) -> Option<&Own> {
        let plugins = &self.plugins;
        let found = plugins.binary_search_by(|own| own.plugin.as_str().cmp(name));
        found.ok().and_then(|at| plugins.get(at)).map(|own| &**own)
    }

    /// Returns true if a plugin has not registered yet, so that its routes are not known.
    pub(crate) fn is_unknown(&self, plugin: &PluginName) -> bool {
        let own = self.plugin(plugin.as_str());
        own.is_some_and(|own| own.registration.is_none())
    }

    /// Adds a route outside its plugin's own prefix.
    fn add(&mut self, route: Route, granted: &[String]) -> Result<(), String> {
        self.check_path(&route.plugin, &route.path, granted)?;
        let near = self.places.near(&route.path).into_iter();
        let mut near = near.filter_map(|number| self.elsewhere.all.get(number));
        let other = near.find(|other| {
            other.plugin != route.plugin
                && other.method == route.method
                && overlap(&other.path, &route.path)
        });
        if let Some(other) = other {
            return Err(route.collides_with(other));
        }
        let path = route.path.clone();
        self.elsewhere.push(route)?;
        self.places.push(&path);
        Ok(())
    }

    pub(crate) fn find(&self, method: &Method, path: &str) -> Found {
        if let Some(rest) = path.strip_prefix(PLUGINS_PREFIX) {
            // Only the plugin itself has routes below its prefix.
            let own = self.plugin(rest.split('/').next().unwrap_or_default());
            return own.map_or(Found::Nothing, |own| own.routes.find(method, path));
        }
        self.elsewhere.find(method, path)
    }

    /// Returns the routes that a plugin asked for and did not get, in the order of its
    /// registration.
    #[must_use]
    pub fn refused(&self, plugin: &str) -> Vec<&RefusedRoute> {
        let own = self.plugin(plugin);
        let elsewhere = own.and_then(|own| self.refused.get(&own.plugin));
        let own = own.map(|own| &own.refused).into_iter();
        let mut refused: Vec<_> = own.chain(elsewhere).flatten().collect();
        refused.sort_by_key(|(number, _)| *number);
        refused.into_iter().map(|(_, route)| route).collect()
    }

    /// Returns the routes that plugins asked for and did not get, except those that `before`
    /// contains already.
    pub(crate) fn newly_refused<'a>(
        &'a self,
        before: &'a RouteTable,
    ) -> impl Iterator<Item = (&'a PluginName, &'a RefusedRoute)> {
        let may_be_new = |own: &&Arc<Own>| {
            let known = before.plugin(own.plugin.as_str());
            let is_same = known.is_some_and(|known| std::ptr::eq(known, &***own));
            !is_same || self.refused.contains_key(&own.plugin)
        };
        let refusing = self
            .plugins
            .iter()
            .filter(|own| !own.refused.is_empty() || self.refused.contains_key(&own.plugin));
        refusing.filter(may_be_new).flat_map(|own| {
            let known = before.refused(own.plugin.as_str());
            let all = self.refused(own.plugin.as_str()).into_iter();
            let new = all.filter(move |route| !known.contains(route));
            new.map(|route| (&own.plugin, route))
        })
    }

    pub(crate) fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        let own = self.plugins.iter().flat_map(|own| &own.routes.all);
        own.chain(&self.elsewhere.all)
    }

    /// Checks the path of a route outside the plugin's own prefix: the operator must have granted
    /// it, and the host's own paths are never available.
    fn check_path(
        &self,
        plugin: &PluginName,
        path: &str,
        granted: &[String],
    ) -> Result<(), String> {
        check_form(path)?;
        let own = format!("{PLUGINS_PREFIX}{plugin}");
        let first = path.split('/').nth(1);
        if first.is_some_and(|part| part.starts_with([':', '*'])) {
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

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    use async_trait::async_trait;
    use gk_protocol::plugin::{Call, HostApiClient, PluginHandler};
    use gk_runtime::testing::InMemory;

    /// A plugin with a route below its own prefix, and one that was not granted.
    struct Routed(&'static str);

    #[async_trait]
    impl PluginHandler for Routed {
        async fn register(&self) -> Result<Registration, String> {
            let routes = [format!("/api/plugins/{}/x", self.0), "/x".to_owned()];
            let routes = routes.map(|path| RouteSpec {
                method: "GET".into(),
                path,
                handler: "f".into(),
                ..RouteSpec::default()
            });
            Ok(Registration {
                name: self.0.into(),
                version: "1.0.0".into(),
                routes: routes.into(),
                ..Registration::default()
            })
        }

        async fn init(
            &self,
            _: BTreeMap<String, String>,
            _: Option<HostApiClient>,
        ) -> Result<(), String> {
            Ok(())
        }

        async fn call(&self, _: Call) -> Result<bytes::Bytes, String> {
            Ok(bytes::Bytes::new())
        }

        async fn shutdown(&self) -> Result<(), String> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_has_not_changed_is_taken_over() {
        let plugins = InMemory::new()
            .with("a", Arc::new(Routed("a")))
            .with("b", Arc::new(Routed("b")));
        let runtime = plugins.start().unwrap();
        runtime.settled().await;
        let build = |before: &RouteTable| before.next(&runtime.snapshot(), |_| Vec::new());
        let generation = |table: &RouteTable, plugin: &str| {
            let path = format!("/api/plugins/{plugin}/x");
            match table.find(&Method::GET, &path) {
                Found::Route { route, .. } => route.target.as_ref().unwrap().generation(),
                other => panic!("{path}: {other:?}"),
            }
        };
        let first = build(&RouteTable::default());
        assert_eq!((generation(&first, "a"), generation(&first, "b")), (1, 1));
        assert_eq!(first.newly_refused(&RouteTable::default()).count(), 2);

        let restarted = runtime.restart("a", Duration::from_secs(120)).await;
        restarted.unwrap();
        let second = build(&first);
        assert_eq!((generation(&second, "a"), generation(&second, "b")), (2, 1));
        assert!(!Arc::ptr_eq(&first.plugins[0], &second.plugins[0]));
        assert!(Arc::ptr_eq(&first.plugins[1], &second.plugins[1]));
        // A refused route is reported only once.
        assert_eq!(second.refused("b").len(), 1);
        assert_eq!(second.newly_refused(&first).count(), 0);

        // A new grant takes effect without any other change.
        let granted = second.next(&runtime.snapshot(), |_| vec!["/x".to_owned()]);
        assert!(Arc::ptr_eq(&granted.plugins[1], &second.plugins[1]));
        assert!(matches!(
            granted.find(&Method::GET, "/x"),
            Found::Route { route, .. } if route.plugin.as_str() == "a"
        ));
        assert!(granted.refused("b")[0].reason.contains("of plugin \"a\""));

        // A plugin that serves no more keeps its registration, and its routes have no target.
        runtime.shutdown().await;
        let down = build(&second);
        for plugin in ["a", "b"] {
            let path = format!("/api/plugins/{plugin}/x");
            assert!(matches!(
                down.find(&Method::GET, &path),
                Found::Route { route, .. } if route.target.is_none()
            ));
        }
    }

    /// Adds a plugin to the table, registered or not.
    fn own<'a>(table: &'a mut RouteTable, name: &str, registered: bool) -> &'a mut Arc<Own> {
        let plugin = PluginName::new(name).unwrap();
        let at = table
            .plugins
            .binary_search_by(|own| own.plugin.cmp(&plugin));
        let at = at.unwrap_or_else(|at| {
            let own = Own {
                plugin,
                registration: registered.then(Arc::default),
                target: None,
                routes: Routes::default(),
                refused: Vec::new(),
                elsewhere: Vec::new(),
            };
            table.plugins.insert(at, Arc::new(own));
            at
        });
        &mut table.plugins[at]
    }

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
        let own = Arc::get_mut(own(table, plugin, true)).unwrap();
        if is_own(path, plugin) {
            own.add(0, &spec, false);
            return own
                .refused
                .pop()
                .map_or(Ok(()), |refused| Err(refused.1.reason));
        }
        let route = own.route(&spec, false)?;
        table.add(route, &granted)
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
            own(&mut table, other, false);
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
