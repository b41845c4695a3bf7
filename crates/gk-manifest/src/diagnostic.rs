//! A finding about a manifest or a registration: its place, the problem, and the next step.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The plugin works; somebody should have a look.
    Warning,
    /// The plugin cannot be used as it is.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

/// A finding. Its `Display` is one line: `file:line:column: severity: field: message (remedy)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Severity of the finding.
    pub severity: Severity,
    /// The file it is in; `None` for a registration, which comes over the wire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Line in the file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column in the line in characters, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The field, as a path such as `routes[2].handler`; empty when it is about the whole document.
    pub field: String,
    /// Description of the problem.
    pub message: String,
    /// Next step for the author; empty if the message says it.
    pub remedy: String,
}

impl Diagnostic {
    /// Returns `true` if this is an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// A finding about a field of a registration, which has no file.
    pub(crate) fn registration(
        severity: Severity,
        field: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            file: None,
            line: None,
            column: None,
            field: field.into(),
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    /// An error about a whole file.
    pub(crate) fn whole_file(
        file: &Path,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Error,
            file: Some(file.to_owned()),
            line: None,
            column: None,
            field: String::new(),
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}", file.display())?,
            None => f.write_str("GKRegistration")?,
        }
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
        }
        write!(f, ": {}: ", self.severity)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)?;
        if !self.remedy.is_empty() {
            write!(f, " ({})", self.remedy)?;
        }
        Ok(())
    }
}

/// The word of `candidates` which `word` was probably meant to be, if one is close.
pub(crate) fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // The distance is quadratic in the length, and nobody mistypes a key of that length.
    if word.len() > 64 {
        return None;
    }
    let folded = word.to_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&folded, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `text` for an error message: quoted, control characters escaped, shortened.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_place_field_message_and_remedy() {
        let mut finding = Diagnostic::whole_file(Path::new("a/plugin.yaml"), "is bad", "do better");
        assert_eq!(
            finding.to_string(),
            "a/plugin.yaml: error: is bad (do better)"
        );
        finding.line = Some(3);
        finding.column = Some(7);
        finding.field = "name".into();
        assert_eq!(
            finding.to_string(),
            "a/plugin.yaml:3:7: error: name: is bad (do better)"
        );
        let finding = Diagnostic::registration(Severity::Warning, "routes[0]", "is odd", "");
        assert_eq!(
            finding.to_string(),
            "GKRegistration: warning: routes[0]: is odd"
        );
    }

    #[test]
    fn suggestions_only_when_close() {
        let keys = ["name", "runtime", "call_timeout", "memory_mb"];
        for (word, expected) in [
            ("nmae", Some("name")),
            ("call-timeout", Some("call_timeout")),
            ("memory", Some("memory_mb")),
            ("Runtime", Some("runtime")),
            ("colour", None),
        ] {
            assert_eq!(did_you_mean(word, keys), expected, "{word}");
        }
    }

    #[test]
    fn quoted_shortens_and_escapes() {
        assert_eq!(quoted("a\n"), "\"a\\n\"");
        assert_eq!(quoted(&"é".repeat(200)).chars().count(), 83);
    }
}
