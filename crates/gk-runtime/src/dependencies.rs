//! Decides which plugins may run, given the dependencies of each. Pure: takes the state of all
//! plugins, returns a decision for each.
//!
//! - A plugin starts once all that it depends on serve. Plugins that do not depend on each other
//!   start at the same time.
//! - A running plugin goes on while one that it depends on is started again or replaced: calls wait
//!   for that.
//! - Before a plugin stops for good, the plugins that depend on it stop; they come back with it.
//! - Plugins that depend on each other in a circle do not start.

use std::collections::BTreeMap;

use gk_manifest::{Dependency, PluginName};

/// A plugin, as far as it matters to those that depend on it.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) needs: Vec<Dependency>,
    pub(crate) version: String,
    /// Reason why the plugin is not to run, regardless of the others.
    pub(crate) objection: Option<&'static str>,
    /// The plugin ends at once, without waiting for those that depend on it.
    pub(crate) at_once: bool,
    pub(crate) presence: Presence,
    /// At least one process of the plugin exists.
    pub(crate) is_alive: bool,
}

/// State of a plugin as seen by those that depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// The plugin serves.
    Serving,
    /// The plugin starts.
    Starting,
    /// The plugin ended by itself and will be started again.
    Returning,
    /// The plugin does not run; its own [`Word`] says whether it may.
    Away,
    /// The plugin failed, and does not recover without a change.
    Failed,
}

/// Decision about a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    Run,
    /// The plugin has an objection, and stops now.
    Stop,
    /// The plugin stops after those that depend on it.
    StopLater,
    /// A dependency is missing or not ready.
    Wait {
        reason: String,
        /// The dependency is starting, so the wait is expected to end.
        is_passing: bool,
    },
    /// The plugin cannot run, in whatever state the others are.
    Refuse(String),
}

/// Returns the decision for each plugin.
pub(crate) fn decide(nodes: &BTreeMap<PluginName, Node>) -> BTreeMap<PluginName, Word> {
    let circles = circles(nodes);
    let mut words: BTreeMap<PluginName, Word> = BTreeMap::new();
    // A dependency may itself be held back, so repeat until no decision changes: at most once for
    // each plugin.
    for _ in 0..=nodes.len() {
        let before = words.clone();
        for (name, node) in nodes {
            let word = word(name, node, nodes, &words, circles.get(name));
            words.insert(name.clone(), word);
        }
        if words == before {
            break;
        }
    }
    // A plugin that is to stop waits for those that depend on it.
    let waiting: Vec<PluginName> = words
        .iter()
        .filter(|(name, word)| **word != Word::Run && !nodes[*name].at_once)
        .filter(|(name, _)| nodes[*name].is_alive)
        .filter(|(name, _)| has_dependents_alive(name, nodes, &circles))
        .map(|(name, _)| (*name).clone())
        .collect();
    for name in waiting {
        words.insert(name, Word::StopLater);
    }
    words
}

fn word(
    name: &PluginName,
    node: &Node,
    nodes: &BTreeMap<PluginName, Node>,
    words: &BTreeMap<PluginName, Word>,
    circle: Option<&String>,
) -> Word {
    if node.objection.is_some() {
        return Word::Stop;
    }
    if let Some(circle) = circle {
        return Word::Refuse(format!(
            "plugin \"{name}\" is not started: plugins depend on each other in a circle, {circle}; remove one of these dependencies"
        ));
    }
    for need in &node.needs {
        let wait = |what: &str, is_passing| Word::Wait {
            reason: format!("it needs plugin \"{}\", which {what}", need.name),
            is_passing,
        };
        let Some(other) = nodes.get(&need.name) else {
            return wait("is not installed", false);
        };
        if let Some(objection) = other.objection {
            return wait(objection, false);
        }
        match words.get(&need.name) {
            Some(Word::Wait { is_passing, .. }) => return wait("waits for another", *is_passing),
            Some(Word::Refuse(_)) => return wait("cannot start", false),
            _ => {}
        }
        if other.presence == Presence::Failed {
            return wait("has failed", false);
        }
        if node.is_alive {
            continue;
        }
        match other.presence {
            Presence::Serving if !need.accepts(&other.version) => {
                let what = format!(
                    "is installed in version {:?}, and {need} is needed",
                    other.version
                );
                return wait(&what, false);
            }
            Presence::Serving => {}
            Presence::Starting | Presence::Away => return wait("is starting", true),
            Presence::Returning => return wait("has ended by itself and is started again", false),
            Presence::Failed => return wait("has failed", false),
        }
    }
    Word::Run
}

/// Plugins in the same circle do not count: they have no order to stop in.
fn has_dependents_alive(
    name: &PluginName,
    nodes: &BTreeMap<PluginName, Node>,
    circles: &BTreeMap<PluginName, String>,
) -> bool {
    let in_circle = circles.contains_key(name);
    nodes.iter().any(|(other, node)| {
        let needs = node.needs.iter().any(|need| need.name == *name);
        node.is_alive && needs && !(in_circle && circles.contains_key(other))
    })
}

/// The circle that a plugin is in, for those that are in one.
fn circles(nodes: &BTreeMap<PluginName, Node>) -> BTreeMap<PluginName, String> {
    let mut circles = BTreeMap::new();
    for name in nodes.keys() {
        if let Some(path) = way_back(name, nodes) {
            let names: Vec<_> = path.iter().map(|name| name.as_str()).collect();
            circles.insert(name.clone(), names.join(" → "));
        }
    }
    circles
}

/// The shortest way from a plugin along dependencies to itself.
fn way_back<'a>(
    name: &'a PluginName,
    nodes: &'a BTreeMap<PluginName, Node>,
) -> Option<Vec<&'a PluginName>> {
    let mut came_from: BTreeMap<&PluginName, &PluginName> = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([name]);
    while let Some(at) = queue.pop_front() {
        for need in nodes.get(at).into_iter().flat_map(|node| &node.needs) {
            if need.name == *name {
                let mut path = vec![name, at];
                let mut step = at;
                while step != name {
                    step = came_from[step];
                    path.push(step);
                }
                if at == name {
                    path.pop();
                }
                path.reverse();
                return Some(path);
            }
            if !came_from.contains_key(&need.name) {
                came_from.insert(&need.name, at);
                queue.push_back(&need.name);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> PluginName {
        PluginName::new(text).unwrap()
    }

    fn node(needs: &[&str], presence: Presence) -> Node {
        Node {
            needs: needs
                .iter()
                .map(|need| Dependency::parse(need).unwrap())
                .collect(),
            version: "1.2.0".into(),
            objection: None,
            at_once: false,
            presence,
            is_alive: matches!(presence, Presence::Serving | Presence::Starting),
        }
    }

    fn decided<const N: usize>(nodes: [(&str, Node); N]) -> BTreeMap<String, Word> {
        let nodes = nodes.into_iter().map(|(text, node)| (name(text), node));
        let words = decide(&nodes.collect());
        words
            .into_iter()
            .map(|(name, word)| (name.to_string(), word))
            .collect()
    }

    fn reason(word: &Word) -> (&str, bool) {
        match word {
            Word::Wait { reason, is_passing } => (reason, *is_passing),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_starts_when_what_it_needs_serves() {
        use Presence::{Away, Serving, Starting};
        let words = decided([
            ("a", node(&["b"], Away)),
            ("b", node(&["c"], Away)),
            ("c", node(&[], Away)),
            ("d", node(&[], Away)),
        ]);
        assert_eq!((&words["c"], &words["d"]), (&Word::Run, &Word::Run));
        assert_eq!(
            reason(&words["b"]),
            ("it needs plugin \"c\", which is starting", true)
        );
        assert_eq!(
            reason(&words["a"]),
            ("it needs plugin \"b\", which waits for another", true)
        );
        let words = decided([
            ("a", node(&["b"], Away)),
            ("b", node(&["c"], Starting)),
            ("c", node(&[], Serving)),
        ]);
        assert_eq!(words["b"], Word::Run);
        assert!(reason(&words["a"]).1);
    }

    #[test]
    fn what_is_missing_too_old_or_has_failed_is_named() {
        use Presence::{Away, Failed, Returning, Serving};
        let words = decided([
            ("a", node(&["gone"], Away)),
            ("b", node(&["old >= 2"], Away)),
            ("c", node(&["bad"], Away)),
            ("d", node(&["c"], Away)),
            ("e", node(&["fell"], Away)),
            ("f", node(&["fell"], Serving)),
            ("old", node(&[], Serving)),
            ("bad", node(&[], Failed)),
            ("fell", node(&[], Returning)),
        ]);
        let expect = |of: &str, what: &str| {
            let (reason, is_passing) = reason(&words[of]);
            assert!(reason.contains(what) && !is_passing, "{of}: {reason}");
        };
        expect("a", "\"gone\", which is not installed");
        expect(
            "b",
            "\"old\", which is installed in version \"1.2.0\", and old >=2 is needed",
        );
        expect("c", "\"bad\", which has failed");
        expect("d", "\"c\", which waits for another");
        expect("e", "\"fell\", which has ended by itself");
        assert_eq!(words["f"], Word::Run, "who runs goes on");
    }

    #[test]
    fn circles_are_refused_and_shown_and_who_depends_on_one_waits() {
        let away = Presence::Away;
        let words = decided([
            ("a", node(&["b"], away)),
            ("b", node(&["c"], away)),
            ("c", node(&["a"], away)),
            ("d", node(&["a"], away)),
            ("e", node(&[], away)),
        ]);
        let Word::Refuse(error) = &words["b"] else {
            panic!("{words:?}")
        };
        assert!(error.contains("b → c → a → b"), "{error}");
        assert!(matches!(words["a"], Word::Refuse(_)));
        // Running plugins in a circle do not wait for each other's end either.
        let serving = Presence::Serving;
        let running = decided([("a", node(&["b"], serving)), ("b", node(&["a"], serving))]);
        assert!(running.values().all(|word| matches!(word, Word::Refuse(_))));
        assert_eq!(
            reason(&words["d"]),
            ("it needs plugin \"a\", which cannot start", false)
        );
        assert_eq!(words["e"], Word::Run);
    }

    #[test]
    fn who_depends_on_one_that_stops_stops_before_it() {
        let serving = Presence::Serving;
        let objected = |node: Node| Node {
            objection: Some("is disabled"),
            ..node
        };
        let chain = |a: bool, b: bool| {
            let alive = |node: Node, is_alive| Node { is_alive, ..node };
            decided([
                ("a", alive(node(&["b"], serving), a)),
                ("b", alive(node(&["c"], serving), b)),
                ("c", objected(node(&[], serving))),
            ])
        };
        let words = chain(true, true);
        assert_eq!(
            (&words["c"], &words["b"]),
            (&Word::StopLater, &Word::StopLater)
        );
        assert_eq!(
            reason(&words["a"]),
            ("it needs plugin \"b\", which waits for another", false)
        );
        let words = chain(false, true);
        assert_eq!(words["c"], Word::StopLater);
        assert_eq!(
            reason(&words["b"]),
            ("it needs plugin \"c\", which is disabled", false)
        );
        assert_eq!(chain(false, false)["c"], Word::Stop);
        // The host ends: all are to stop, the last ones first.
        let words = decided([
            ("a", objected(node(&["b"], serving))),
            ("b", objected(node(&[], serving))),
        ]);
        assert_eq!((&words["a"], &words["b"]), (&Word::Stop, &Word::StopLater));
        // A blocked plugin does not wait for its dependents.
        let blocked = Node {
            at_once: true,
            ..objected(node(&[], serving))
        };
        let words = decided([("a", node(&["b"], serving)), ("b", blocked)]);
        assert_eq!(words["b"], Word::Stop);
    }
}
