//! Collecting findings, and the rules that manifest and registration share.

mod registration;
mod resources;
mod routes;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use crate::diagnostic::{Diagnostic, Severity, did_you_mean, quoted};
use crate::duration::GoDuration;
use crate::limits;

/// A place in a file: line and column from 1, as the YAML library counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// The findings about one document, each with its place if the document is a file.
#[derive(Debug, Default)]
pub(crate) struct Report {
    file: Option<PathBuf>,
    places: BTreeMap<String, Place>,
    diagnostics: Vec<Diagnostic>,
    dropped: usize,
}

impl Report {
    pub(crate) fn for_file(file: PathBuf) -> Self {
        Self {
            file: Some(file),
            ..Self::default()
        }
    }

    /// Remembers where a field stands.
    pub(crate) fn place(&mut self, field: String, place: Place) {
        self.places.entry(field).or_insert(place);
    }

    /// The findings, in the order of the file, and errors before warnings of the same place.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.diagnostics
            .sort_by_key(|d| (d.line, d.column, std::cmp::Reverse(d.severity)));
        if self.dropped > 0 {
            let message = format!("{} more findings are not shown", self.dropped);
            self.diagnostics.push(Diagnostic {
                file: self.file,
                ..Diagnostic::registration(
                    Severity::Error,
                    "",
                    message,
                    "mend the ones above first",
                )
            });
        }
        self.diagnostics
    }

    pub(crate) fn error(
        &mut self,
        field: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.push(
            self.find_place(field),
            Diagnostic::registration(Severity::Error, field, message, remedy),
        );
    }

    pub(crate) fn warning(
        &mut self,
        field: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.push(
            self.find_place(field),
            Diagnostic::registration(Severity::Warning, field, message, remedy),
        );
    }

    /// A finding at a place of its own, such as a key.
    pub(crate) fn at(
        &mut self,
        place: Place,
        severity: Severity,
        field: &str,
        message: String,
        remedy: String,
    ) {
        self.push(
            Some(place),
            Diagnostic::registration(severity, field, message, remedy),
        );
    }

    fn push(&mut self, place: Option<Place>, mut diagnostic: Diagnostic) {
        diagnostic.file = self.file.clone();
        diagnostic.line = place.map(|place| place.line);
        diagnostic.column = place.map(|place| place.column);
        if self.diagnostics.len() < limits::DIAGNOSTICS_MAX {
            self.diagnostics.push(diagnostic);
            return;
        }
        self.dropped += 1;
        // A document must not hide its errors behind warnings.
        if diagnostic.is_error()
            && let Some(warning) = self.diagnostics.iter_mut().find(|d| !d.is_error())
        {
            *warning = diagnostic;
        }
    }

    /// The place of the field, or else of the nearest thing around it that was written down.
    fn find_place(&self, field: &str) -> Option<Place> {
        let mut field = field;
        loop {
            if let Some(place) = self.places.get(field) {
                return Some(*place);
            }
            field = match field.rfind(['.', '[']) {
                Some(end) => &field[..end],
                None => return self.places.get("").copied(),
            };
        }
    }

    /// A word that is not one of those this version knows, and its effect; without an effect it is
    /// an error.
    pub(crate) fn unknown_word(
        &mut self,
        field: &str,
        what: &str,
        word: &str,
        known: &[&str],
        effect: Option<&str>,
    ) {
        let remedy = match did_you_mean(word, known.iter().copied()) {
            Some(close) => format!("did you mean `{close}`?"),
            None => format!("known are {}", known.join(", ")),
        };
        let message = format!("unknown {what} {}", quoted(word));
        match effect {
            Some(effect) => self.warning(field, format!("{message}: {effect}"), remedy),
            None => self.error(field, message, remedy),
        }
    }

    /// Returns `true` if a list is short enough to be looked at.
    pub(crate) fn count(&mut self, field: &str, count: usize, max: usize) -> bool {
        if count > max {
            self.error(
                field,
                format!("{count} entries; at most {max} are allowed"),
                "split the plugin, or remove entries",
            );
        }
        count <= max
    }

    /// A text that may be empty, on one line.
    pub(crate) fn line(&mut self, field: &str, value: &str, max: usize) {
        if let Some(control) = value.chars().find(|c| c.is_control()) {
            self.error(
                field,
                format!("{} contains {control:?}", quoted(value)),
                "write it on one line",
            );
        }
        self.text(field, value, max);
    }

    /// A text that may be empty.
    pub(crate) fn text(&mut self, field: &str, value: &str, max: usize) {
        if value.len() > max {
            self.error(
                field,
                format!("{} bytes long; at most {max} are allowed", value.len()),
                "shorten it",
            );
        }
    }

    /// A text on one line that may not be empty. Whether it is there.
    pub(crate) fn required(&mut self, field: &str, value: &str, max: usize, remedy: &str) -> bool {
        if value.trim().is_empty() {
            self.error(field, "is empty", remedy);
            return false;
        }
        self.line(field, value, max);
        true
    }

    /// The name of a function of the plugin.
    pub(crate) fn handler(&mut self, field: &str, value: &str) {
        self.required(
            field,
            value,
            limits::IDENTIFIER_BYTES_MAX,
            "name the function that Call shall receive",
        );
    }

    /// An identifier that becomes part of a URL or a key, unique in its list.
    pub(crate) fn unique_id<'a>(
        &mut self,
        field: &str,
        value: &'a str,
        seen: &mut HashSet<&'a str>,
    ) {
        const RULE: &str = "use letters, digits, `-`, `_` and `.`, starting with a letter or digit";
        if !self.required(field, value, limits::IDENTIFIER_BYTES_MAX, RULE) {
            return;
        }
        let sane = value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
            && value.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !sane {
            self.error(field, format!("{} is not a valid id", quoted(value)), RULE);
        }
        self.unique(field, value, seen);
    }

    /// A text that occurs once in its list.
    pub(crate) fn unique<'a>(&mut self, field: &str, value: &'a str, seen: &mut HashSet<&'a str>) {
        if !seen.insert(value) {
            self.error(
                field,
                format!("{} occurs twice", quoted(value)),
                "give each entry a name of its own",
            );
        }
    }

    /// A time limit in Go's syntax; empty is fine.
    pub(crate) fn timeout(&mut self, field: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        match value.parse::<GoDuration>() {
            Err(error) => self.error(field, error.to_string(), GoDuration::SYNTAX),
            Ok(duration) => match duration.to_std() {
                None => self.error(field, format!("{duration} is negative"), GoDuration::SYNTAX),
                Some(timeout) if timeout > limits::TIMEOUT_MAX => {
                    self.error(
                        field,
                        format!("{duration} is more than 24 hours"),
                        "ask for at most `24h`",
                    );
                }
                Some(_) => {}
            },
        }
    }

    /// A version, which should be semantic; a leading `v` is tolerated.
    pub(crate) fn version(&mut self, field: &str, value: &str) {
        if value.is_empty() {
            self.warning(
                field,
                "there is no version",
                "write a semantic version, such as \"1.0.0\"",
            );
        } else if semver::Version::parse(value.strip_prefix('v').unwrap_or(value)).is_err() {
            let message = format!("{} is not a semantic version", quoted(value));
            self.warning(field, message, "write three numbers, such as \"1.0.0\"");
        }
        self.line(field, value, limits::LINE_BYTES_MAX);
    }
}

/// The path of a field of `parent`.
pub(crate) fn join(parent: &str, field: &str) -> String {
    if parent.is_empty() {
        field.to_owned()
    } else {
        format!("{parent}.{field}")
    }
}

/// The path of an entry of the list `field`.
pub(crate) fn index(field: &str, number: usize) -> String {
    format!("{field}[{number}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_displace_warnings_at_the_limit() {
        let mut report = Report::default();
        for _ in 0..limits::DIAGNOSTICS_MAX {
            report.warning("a", "w", "");
        }
        report.error("b", "e", "");
        let findings = report.finish();
        assert_eq!(findings.len(), limits::DIAGNOSTICS_MAX + 1);
        assert!(findings.iter().any(|d| d.field == "b" && d.is_error()));
    }

    #[test]
    fn places_fall_back_to_the_parent() {
        let mut report = Report::for_file("p".into());
        report.place("a".into(), Place { line: 2, column: 1 });
        report.place("a[1]".into(), Place { line: 4, column: 5 });
        report.error("a[1].b.c", "x", "");
        report.error("z", "x", "");
        let findings = report.finish();
        assert_eq!((findings[0].line, findings[1].line), (None, Some(4)));
    }
}
