//! Chains of calls from plugin to plugin: how deep they are, and whether they go in circles.
//!
//! A chain belongs to a call, and the host keeps it: a plugin that names its call (G3, by the
//! call's token) continues that call's chain. One that does not (G2) continues one of the calls
//! that run in it, nobody knows which. Then the deepest counts for the depth, so that recursion
//! always ends, and a circle is refused only if it is one whichever it is, so that nobody is
//! refused for another's chain.

use std::fmt;
use std::sync::Arc;

use gk_manifest::PluginName;

use crate::error::HostError;

/// How many calls from plugin to plugin may follow one another.
pub const DEPTH_MAX: usize = 10;

/// The calls that led to one, the first of them made by the host. Cheap to clone.
#[derive(Clone, Default)]
pub struct Chain(Option<Arc<Link>>);

struct Link {
    plugin: PluginName,
    function: Box<str>,
    before: Chain,
    length: usize,
    /// Set if this link, or one before it, is a call that a plugin serves.
    is_during_call: bool,
}

impl Chain {
    /// No call at all.
    pub const fn new() -> Self {
        Chain(None)
    }

    /// Extends the chain by a call of `function` of `plugin`.
    #[must_use]
    pub fn then(&self, plugin: PluginName, function: &str) -> Self {
        self.with(plugin, function, true)
    }

    /// The chain of work that `plugin` does by itself, and not while it serves a call.
    fn background(plugin: PluginName) -> Self {
        Chain::new().with(plugin, "(background)", false)
    }

    fn with(&self, plugin: PluginName, function: &str, is_call: bool) -> Self {
        Chain(Some(Arc::new(Link {
            plugin,
            function: function.into(),
            before: self.clone(),
            length: self.len() + 1,
            is_during_call: is_call || self.is_during_call(),
        })))
    }

    /// Returns whether a call that it leads to is made while a plugin serves another one. A limit
    /// of calls that made it wait could wait for ever: the one that is served does not end before
    /// it.
    pub fn is_during_call(&self) -> bool {
        self.0.as_ref().is_some_and(|link| link.is_during_call)
    }

    /// How many calls it has.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |link| link.length)
    }

    /// Returns whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn links(&self) -> impl Iterator<Item = &Link> {
        std::iter::successors(self.0.as_deref(), |link| link.before.0.as_deref())
    }

    fn contains(&self, plugin: &PluginName, function: &str) -> bool {
        self.links()
            .any(|link| link.plugin == *plugin && *link.function == *function)
    }
}

impl Chain {
    /// The chain that a call of `function` of `target` continues, made by `caller` while it serves
    /// one of `candidates` (none: something it does by itself).
    ///
    /// # Errors
    /// Limit: it would be deeper than [`DEPTH_MAX`], or a circle.
    pub fn extend(
        caller: &PluginName,
        candidates: &[&Chain],
        target: &PluginName,
        function: &str,
    ) -> Result<Self, HostError> {
        let deepest = candidates.iter().max_by_key(|chain| chain.len());
        let chain = match deepest {
            Some(chain) => Chain::clone(chain),
            None => Chain::background(caller.clone()),
        };
        // The first call of a chain is the host's and no call from plugin to plugin.
        if chain.len() > DEPTH_MAX {
            return Err(HostError::limit(format!(
                "plugin call depth exceeded (max {DEPTH_MAX}): {chain} -> {target}.{function}"
            )));
        }
        let circle = !candidates.is_empty()
            && candidates
                .iter()
                .all(|chain| chain.contains(target, function));
        if circle {
            return Err(HostError::limit(format!(
                "plugin calls go in a circle: {chain} -> {target}.{function}"
            )));
        }
        Ok(chain)
    }
}

impl Drop for Link {
    /// Links are dropped one after the other: a long chain must not take a stack frame for each.
    fn drop(&mut self) {
        let mut next = self.before.0.take();
        while let Some(link) = next {
            next = match Arc::try_unwrap(link) {
                Ok(mut link) => link.before.0.take(),
                Err(_) => None,
            };
        }
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut links: Vec<&Link> = self.links().collect();
        links.reverse();
        for (place, link) in links.iter().enumerate() {
            let arrow = if place == 0 { "" } else { " -> " };
            write!(f, "{arrow}{}.{}", link.plugin, link.function)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> PluginName {
        PluginName::new(name).unwrap()
    }

    fn call(calls: &[(&str, &str)]) -> Chain {
        calls
            .iter()
            .fold(Chain::new(), |chain, (plugin, function)| {
                chain.then(name(plugin), function)
            })
    }

    fn extended(candidates: &[Chain], target: &str, function: &str) -> Result<String, String> {
        let candidates: Vec<_> = candidates.iter().collect();
        Chain::extend(&name("a"), &candidates, &name(target), function)
            .map(|chain| chain.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_circle_is_the_same_function_again() {
        let there = call(&[("a", "f"), ("b", "g")]);
        assert_eq!(
            extended(std::slice::from_ref(&there), "a", "other").unwrap(),
            "a.f -> b.g"
        );
        assert_eq!(
            extended(&[there], "a", "f").unwrap_err(),
            "plugin calls go in a circle: a.f -> b.g -> a.f"
        );
    }

    #[test]
    fn ten_calls_deep_and_no_more() {
        let functions: Vec<String> = (0..=DEPTH_MAX).map(|number| format!("f{number}")).collect();
        let calls: Vec<(&str, &str)> = functions.iter().map(|name| ("a", &**name)).collect();
        // The host's call and nine more: a tenth is possible.
        extended(&[call(&calls[..DEPTH_MAX])], "b", "g").unwrap();
        let error = extended(&[call(&calls)], "b", "g").unwrap_err();
        assert!(
            error.starts_with("plugin call depth exceeded (max 10): a.f0 -> "),
            "{error}"
        );
        assert!(error.ends_with("a.f10 -> b.g"), "{error}");
    }

    #[test]
    fn without_a_token_depth_is_the_deepest_and_a_circle_is_one_for_all() {
        let (shallow, deep) = (
            call(&[("a", "f")]),
            call(&[("c", "h"), ("b", "g"), ("a", "f")]),
        );
        let both = [shallow.clone(), deep.clone()];
        // The request may belong to the call that b is not part of.
        assert_eq!(extended(&both, "b", "g").unwrap(), "c.h -> b.g -> a.f");
        extended(&[deep], "b", "g").unwrap_err();
        // Whichever it is, a.f is under way.
        extended(&both, "a", "f").unwrap_err();
        // Something that a does by itself.
        assert_eq!(extended(&[], "b", "g").unwrap(), "a.(background)");
    }

    #[test]
    fn what_a_plugin_does_by_itself_is_no_call_that_is_served() {
        let target = name("b");
        let alone = Chain::extend(&name("a"), &[], &target, "g").unwrap();
        assert!(!alone.is_during_call() && !Chain::new().is_during_call());
        let served = alone.then(target.clone(), "g");
        let nested = Chain::extend(&target, &[&served], &name("c"), "h").unwrap();
        assert!(nested.is_during_call());
    }

    #[test]
    fn a_long_chain_is_let_go_of_without_recursion() {
        let chain = (0..1_000_000).fold(Chain::new(), |chain, _| chain.then(name("a"), "f"));
        drop(chain);
    }
}
