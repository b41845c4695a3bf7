//! A YAML document as a tree whose every key and value knows where it stands.
//!
//! Scalars keep the text as written: `version: 1.10` is the text `1.10`, not the number 1.1. Every
//! limit is set before the parser starts, so that no input makes it slow or deep.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::{Error, Spanned};

use crate::limits::{MANIFEST_BYTES_MAX, YAML_ALIASES_MAX, YAML_DEPTH_MAX, YAML_NODES_MAX};
use crate::validate::Place;

/// A value and its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A value.
#[derive(Debug)]
pub(super) enum Value {
    Null,
    Scalar { text: String, kind: ScalarKind },
    List(Vec<Node>),
    Mapping(Vec<(Place, String, Node)>),
}

/// Type of a scalar, by YAML's rules for plain and quoted scalars.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ScalarKind {
    Text,
    Integer(i64),
    /// A fraction, or an integer beyond 64 bits.
    OtherNumber,
    Bool(bool),
}

impl Value {
    /// Name of the type, for error messages.
    pub(super) fn kind_name(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Scalar {
                kind: ScalarKind::Text,
                ..
            } => "a text",
            Value::Scalar {
                kind: ScalarKind::Integer(_) | ScalarKind::OtherNumber,
                ..
            } => "a number",
            Value::Scalar {
                kind: ScalarKind::Bool(_),
                ..
            } => "true or false",
            Value::List(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }
}

/// A document that is not YAML, or not within the limits.
#[derive(Debug)]
pub(super) struct YamlError {
    pub(super) place: Option<Place>,
    pub(super) message: String,
    pub(super) remedy: &'static str,
}

/// Parses one document of at most [`MANIFEST_BYTES_MAX`] bytes.
pub(super) fn parse(text: &str) -> Result<Node, YamlError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: YAML_DEPTH_MAX,
            flow_nesting_limit: YAML_DEPTH_MAX,
            max_nodes: YAML_NODES_MAX,
            max_events: 3 * YAML_NODES_MAX,
            max_aliases: YAML_ALIASES_MAX,
            max_anchors: YAML_ALIASES_MAX,
            max_merge_keys: YAML_ALIASES_MAX,
            max_total_scalar_bytes: 4 * MANIFEST_BYTES_MAX,
        },
        // Duplicates are reported by the reader of the tree, all at once and with both places.
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::PassThrough,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(root) => Ok(located(root, text)),
        Err(error) => Err(explain(&error)),
    }
}

/// A value as the parser's serde side yields it; places are added by [`located`].
enum Raw {
    Null,
    Scalar(Option<String>, ScalarKind),
    List(Vec<Spanned<Raw>>),
    Mapping(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn place(location: serde_saphyr::Location) -> Place {
    let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Place {
        line: number(location.line()),
        column: number(location.column()),
    }
}

fn located(node: Spanned<Raw>, text: &str) -> Node {
    let value = match node.value {
        Raw::Null => Value::Null,
        Raw::Scalar(Some(text), kind) => Value::Scalar { text, kind },
        // A plain scalar that is a number or a boolean: its text is what the file says.
        Raw::Scalar(None, kind) => {
            let span = node.defined.span();
            let written = span
                .byte_offset()
                .zip(span.byte_len())
                .and_then(|(start, length)| {
                    let start = usize::try_from(start).ok()?;
                    text.get(start..start.checked_add(usize::try_from(length).ok()?)?)
                });
            Value::Scalar {
                text: written.unwrap_or_default().trim().to_owned(),
                kind,
            }
        }
        Raw::List(entries) => Value::List(
            entries
                .into_iter()
                .map(|entry| located(entry, text))
                .collect(),
        ),
        Raw::Mapping(entries) => Value::Mapping(
            entries
                .into_iter()
                .map(|(key, value)| (place(key.referenced), key.value, located(value, text)))
                .collect(),
        ),
    };
    Node {
        place: place(node.referenced),
        value,
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(None, ScalarKind::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(None, ScalarKind::Integer(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(
            None,
            i64::try_from(value).map_or(ScalarKind::OtherNumber, ScalarKind::Integer),
        ))
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Scalar(None, ScalarKind::OtherNumber))
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Scalar(None, ScalarKind::OtherNumber))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Scalar(None, ScalarKind::OtherNumber))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(Some(value.to_owned()), ScalarKind::Text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = seq.next_element()? {
            entries.push(entry);
        }
        Ok(Raw::List(entries))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Mapping(entries))
    }
}

/// The library's error in words for the author of the file.
fn explain(error: &Error) -> YamlError {
    let error = error.without_snippet();
    let place = error.location().map(place);
    // The library ends its messages with the place, which the diagnostic shows in its own way.
    let text = error.to_string();
    let text = text
        .split(" at line ")
        .next()
        .unwrap_or_default()
        .trim_end();
    let (message, remedy) = match error {
        Error::MultipleDocuments { .. } => (
            "the file holds more than one YAML document".to_owned(),
            "keep one document: remove the second `---` and what follows",
        ),
        Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::RecursiveReferencesRequireWeakTypes { .. } => (
            format!("aliases expand too far: {text}"),
            "write the values out instead of using `&` and `*`",
        ),
        Error::Budget { .. } => (
            format!("too large or too deeply nested: {text}"),
            "a manifest is small and flat: remove what does not belong in it",
        ),
        _ if text.contains("tab") => (
            format!("not valid YAML: {text}"),
            "indent with spaces, not tabs",
        ),
        _ if text.contains("recursion limit") || text.contains("nesting") => (
            format!("too deeply nested: at most {YAML_DEPTH_MAX} levels are allowed"),
            "a manifest is flat: remove what does not belong in it",
        ),
        _ if text.contains("expected string scalar") || text.contains("null into string") => (
            "a key is not a text".to_owned(),
            "write keys as plain words",
        ),
        _ => (
            format!("not valid YAML: {text}"),
            "check indentation, quotes and brackets around this place",
        ),
    };
    YamlError {
        place,
        message,
        remedy,
    }
}
