//! Reading the fields of a mapping: types, duplicates, unknown keys, each with its place.

use std::collections::BTreeMap;

use super::yaml::{Node, ScalarKind, Value};
use crate::diagnostic::{Severity, did_you_mean, quoted};
use crate::validate::{Place, Report, index, join};

/// A mapping that is being read. Every `take` removes a field; [`Fields::finish`] reports those
/// nobody took.
pub(super) struct Fields<'r> {
    report: &'r mut Report,
    path: String,
    entries: BTreeMap<String, (Place, Node)>,
    known: Vec<&'static str>,
}

impl<'r> Fields<'r> {
    /// Starts reading a mapping; a node of another type is reported and read as an empty one.
    pub(super) fn new(report: &'r mut Report, path: &str, node: Node) -> Self {
        report.place(path.to_owned(), node.place);
        let mut entries: BTreeMap<String, (Place, Node)> = BTreeMap::new();
        match node.value {
            Value::Mapping(pairs) => {
                for (place, key, value) in pairs {
                    if let Some((first, _)) = entries.get(&key) {
                        let message = format!("the key occurs twice: first in line {}", first.line);
                        report.at(
                            place,
                            Severity::Error,
                            &join(path, &key),
                            message,
                            "remove one of the two".into(),
                        );
                        continue;
                    }
                    report.place(join(path, &key), value.place);
                    entries.insert(key, (place, value));
                }
            }
            Value::Null => {}
            other => {
                let message = format!(
                    "is {}, where a mapping of keys to values is expected",
                    other.kind_name()
                );
                report.error(path, message, "write `key: value` lines");
            }
        }
        Self {
            report,
            path: path.to_owned(),
            entries,
            known: Vec::new(),
        }
    }

    /// The path of a field.
    pub(super) fn path(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// For findings about the values.
    pub(super) fn report(&mut self) -> &mut Report {
        self.report
    }

    /// Returns `true` if a field is there, without reading it.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    fn take(&mut self, key: &'static str) -> Option<Node> {
        self.known.push(key);
        self.entries
            .remove(key)
            .map(|(_, node)| node)
            .filter(|node| !matches!(node.value, Value::Null))
    }

    /// A text, or the default. Numbers and booleans are taken as they are written.
    pub(super) fn text(&mut self, key: &'static str) -> String {
        let field = self.path(key);
        self.take(key)
            .and_then(|node| text(self.report, &field, node))
            .map(|(text, _)| text)
            .unwrap_or_default()
    }

    /// As [`Fields::text`], with what YAML takes the scalar for.
    pub(super) fn scalar(&mut self, key: &'static str) -> Option<(String, ScalarKind)> {
        let field = self.path(key);
        self.take(key)
            .and_then(|node| text(self.report, &field, node))
    }

    /// A whole number, or 0.
    pub(super) fn integer(&mut self, key: &'static str) -> i64 {
        let field = self.path(key);
        match self.take(key).map(|node| node.value) {
            None => 0,
            Some(Value::Scalar {
                kind: ScalarKind::Integer(number),
                ..
            }) => number,
            Some(Value::Scalar { text, .. }) => {
                self.report.error(
                    &field,
                    format!("{} is not a whole number", quoted(&text)),
                    "write digits alone, without quotes or unit",
                );
                0
            }
            Some(other) => {
                self.report.error(
                    &field,
                    format!("is {}, where a whole number is expected", other.kind_name()),
                    "write digits",
                );
                0
            }
        }
    }

    /// A boolean, or false.
    pub(super) fn boolean(&mut self, key: &'static str) -> bool {
        let field = self.path(key);
        match self.take(key).map(|node| node.value) {
            None => false,
            Some(Value::Scalar {
                kind: ScalarKind::Bool(value),
                ..
            }) => value,
            Some(other) => {
                let message = format!("is {}, where true or false is expected", other.kind_name());
                self.report
                    .error(&field, message, "write `true` or `false`");
                false
            }
        }
    }

    /// A list, each entry read by `read`, which gets the entry's path.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        max: usize,
        read: impl Fn(&mut Report, &str, Node) -> Option<T>,
    ) -> Vec<T> {
        let field = self.path(key);
        let entries = match self.take(key).map(|node| node.value) {
            None => return Vec::new(),
            Some(Value::List(entries)) => entries,
            Some(other) => {
                let message = format!("is {}, where a list is expected", other.kind_name());
                self.report
                    .error(&field, message, "write one `- entry` per line, or `[a, b]`");
                return Vec::new();
            }
        };
        if !self.report.count(&field, entries.len(), max) {
            return Vec::new();
        }
        let mut values = Vec::with_capacity(entries.len());
        for (number, entry) in entries.into_iter().enumerate() {
            let field = index(&field, number);
            self.report.place(field.clone(), entry.place);
            values.extend(read(self.report, &field, entry));
        }
        values
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &'static str, max: usize) -> Vec<String> {
        self.list(key, max, |report, field, node| {
            text(report, field, node).map(|(text, _)| text)
        })
    }

    /// A mapping of texts to texts.
    pub(super) fn text_map(&mut self, key: &'static str, max: usize) -> BTreeMap<String, String> {
        let field = self.path(key);
        let Some(node) = self.take(key) else {
            return BTreeMap::new();
        };
        let inner = Fields::new(self.report, &field, node);
        let entries = inner.entries;
        if !self.report.count(&field, entries.len(), max) {
            return BTreeMap::new();
        }
        let mut map = BTreeMap::new();
        for (key, (_, node)) in entries {
            let value = text(self.report, &join(&field, &key), node)
                .map(|(text, _)| text)
                .unwrap_or_default();
            map.insert(key, value);
        }
        map
    }

    /// A nested mapping, if there.
    pub(super) fn nested<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(Fields<'_>) -> T,
    ) -> Option<T> {
        let field = self.path(key);
        let node = self.take(key)?;
        Some(read(Fields::new(self.report, &field, node)))
    }

    /// Warns about every key that is not known.
    pub(super) fn finish(self) {
        self.report_unknown(Severity::Warning, "unknown key: it has no effect");
    }

    /// Makes every key that is not known an error: without the one that was meant, the mapping
    /// would ask for more.
    pub(super) fn finish_strict(self) {
        self.report_unknown(Severity::Error, "unknown key");
    }

    fn report_unknown(self, severity: Severity, message: &str) {
        for (key, (place, _)) in self.entries {
            let remedy = match did_you_mean(&key, self.known.iter().copied()) {
                Some(close) => format!("did you mean `{close}`?"),
                None => "remove it, or see the list of keys in the author guide".to_owned(),
            };
            self.report.at(
                place,
                severity,
                &join(&self.path, &key),
                message.into(),
                remedy,
            );
        }
    }
}

fn text(report: &mut Report, field: &str, node: Node) -> Option<(String, ScalarKind)> {
    match node.value {
        Value::Scalar { text, kind } => Some((text, kind)),
        Value::Null => Some((String::new(), ScalarKind::Text)),
        other => {
            report.error(
                field,
                format!("is {}, where a text is expected", other.kind_name()),
                "write one value after the colon",
            );
            None
        }
    }
}
