//! A finding about a plugin's files, and how it is shown: as compilers do, with the line it is
//! about.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use gk_manifest::{Diagnostic, ManifestError, Severity};
use serde::Serialize;

use crate::failure::{Exit, Failure};
use crate::terminal::Terminal;

#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Start {
    pub(super) line: u32,
    pub(super) column: u32,
}

/// A finding about a file.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) file: PathBuf,
    pub(super) start: Option<Start>,
    pub(super) field: String,
    pub(super) message: String,
    pub(super) remedy: String,
}

impl Finding {
    pub(super) fn new(severity: Severity, file: &Path, message: String, remedy: String) -> Self {
        Finding {
            severity,
            file: file.to_owned(),
            start: None,
            field: String::new(),
            message,
            remedy,
        }
    }

    pub(super) fn summary(&self) -> String {
        match self.field.as_str() {
            "" => self.message.clone(),
            field => format!("{field}: {}", self.message),
        }
    }
}

impl From<&Diagnostic> for Finding {
    fn from(diagnostic: &Diagnostic) -> Self {
        Finding {
            severity: diagnostic.severity,
            file: diagnostic.file.clone().unwrap_or_default(),
            start: diagnostic.line.map(|line| Start {
                line,
                column: diagnostic.column.unwrap_or(1),
            }),
            field: diagnostic.field.clone(),
            message: diagnostic.message.clone(),
            remedy: diagnostic.remedy.clone(),
        }
    }
}

/// A manifest that cannot be used, for the commands that need one: its findings are shown.
pub(super) fn unusable(file: &Path, error: &ManifestError, terminal: &Terminal) -> Failure {
    match error {
        ManifestError::Read { source, .. } => Failure::file("read", file, source),
        ManifestError::Invalid { diagnostics } => {
            let text = fs::read_to_string(file).unwrap_or_default();
            let errors = diagnostics.iter().filter(|it| it.is_error());
            let mut count = 0;
            for diagnostic in errors {
                let mut finding = Finding::from(diagnostic);
                finding.file = file.to_owned();
                show(&finding, Some(&text), terminal);
                count += 1;
            }
            Failure::new(
                Exit::Failed,
                format!(
                    "{} has {}",
                    file.display(),
                    counted(&[(count, "error")], "")
                ),
                "correct them; `gk validate` shows them again",
            )
        }
        other => Failure::new(
            Exit::Failed,
            other.to_string(),
            "only native plugins (runtime: grpc) are built, signed and packaged",
        ),
    }
}

/// `1 error, 2 warnings`; nothing where there are none.
pub(super) fn counted(counts: &[(usize, &str)], before: &str) -> String {
    let words: Vec<_> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}{}", if *count == 1 { "" } else { "s" }))
        .collect();
    match words.is_empty() {
        true => String::new(),
        false => format!("{before}{}", words.join(", ")),
    }
}

/// Shows a finding as compilers do, with the line it is about if the file's text is given.
pub(super) fn show(finding: &Finding, source: Option<&str>, terminal: &Terminal) {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let path = finding.file.display().to_string();
    let title = finding.summary();
    let start = finding.start.zip(source);
    let mut group: Group<'_> = match start {
        Some((start, source)) => level.primary_title(&title).element(
            Snippet::source(source)
                .path(&path)
                .annotation(AnnotationKind::Primary.span(span(source, start))),
        ),
        None => level.primary_title(&title).element(Origin::path(&path)),
    };
    if !finding.remedy.is_empty() {
        group = group.element(Level::HELP.message(&finding.remedy));
    }
    let text = Renderer::styled().render(&[group]);
    match finding.severity {
        Severity::Error => terminal.report(format_args!("{text}\n")),
        Severity::Warning => terminal.say(format_args!("{text}\n")),
    }
}

/// The bytes of the word at a place: a quoted text, or up to a comment, a comma, a bracket, or the
/// line's end.
fn span(source: &str, start: Start) -> Range<usize> {
    let line_at: usize = source
        .split_inclusive('\n')
        .take(usize::try_from(start.line.saturating_sub(1)).unwrap_or(usize::MAX))
        .map(str::len)
        .sum();
    let line = source.get(line_at..).unwrap_or_default();
    let line = line.lines().next().unwrap_or_default();
    let column = usize::try_from(start.column.saturating_sub(1)).unwrap_or(usize::MAX);
    let at = line
        .char_indices()
        .nth(column)
        .map_or(line.len(), |(at, _)| at);
    let word = &line[at..];
    let quoted = word
        .chars()
        .next()
        .filter(|first| ['"', '\''].contains(first));
    let length = match quoted.and_then(|quote| word[1..].find(quote)) {
        Some(end) => end + 2,
        None => {
            let ends = [word.find(" #"), word.find([',', '}', ']']), word.find(": ")];
            let end = ends.into_iter().flatten().min().unwrap_or(word.len());
            word[..end].trim_end().len()
        }
    };
    let from = line_at + at;
    from..from + length.max(1).min(source.len() - from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_at_a_place() {
        let source = "name: My Plugin # c\nlist: [a, \"b, c\"]\n\u{fc}: x\nend";
        for (line, column, expected) in [
            (1, 7, "My Plugin"),
            (2, 8, "a"),
            (2, 11, "\"b, c\""),
            (3, 4, "x"),
            (1, 1, "name"),
            (4, 1, "end"),
            (4, 9, ""),
            (9, 9, ""),
        ] {
            assert_eq!(&source[span(source, Start { line, column })], expected);
        }
    }

    #[test]
    fn counts() {
        assert_eq!(
            counted(&[(1, "error"), (2, "warning")], ""),
            "1 error, 2 warnings"
        );
        assert_eq!(counted(&[(0, "warning")], ", with "), "");
    }
}
