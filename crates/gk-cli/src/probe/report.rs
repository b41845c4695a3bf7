//! Results of checks, for people and for programs.

use std::path::Path;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;

use crate::failure::Failure;
use crate::terminal::{BAD, DIM, GOOD, Terminal, WARN, styled};

/// Result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// As it should be.
    Passed,
    /// The plugin works, and may surprise its users.
    Warning,
    /// The plugin is not as it should be.
    Failed,
    /// Nothing could be said, because of what failed before.
    NotReached,
}

/// A check, and how it came out.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Finding {
    /// Subject of the check.
    pub(crate) name: String,
    pub(crate) verdict: Verdict,
    /// Finding, and the next step.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) detail: String,
    /// Duration of the check, in milliseconds.
    pub(crate) duration_ms: u64,
}

/// All checks of a plugin.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Report {
    /// Name of the plugin.
    pub(crate) plugin: String,
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) warnings: usize,
    pub(crate) findings: Vec<Finding>,
}

impl Report {
    pub(crate) fn new(plugin: String) -> Self {
        Report {
            plugin,
            ..Report::default()
        }
    }

    /// Adds a finding, and shows it as it comes.
    pub(crate) fn add(
        &mut self,
        terminal: &Terminal,
        name: impl Into<String>,
        verdict: Verdict,
        detail: impl Into<String>,
        took: Duration,
    ) {
        let finding = Finding {
            name: name.into(),
            verdict,
            detail: detail.into(),
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        };
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Warning => self.warnings += 1,
            Verdict::Failed => self.failed += 1,
            Verdict::NotReached => {}
        }
        terminal.say(line(&finding));
        self.findings.push(finding);
    }

    /// For programs that read JUnit's XML.
    pub(crate) fn write_junit(&self, path: &Path) -> Result<(), Failure> {
        let mut suite = TestSuite::new(format!("gk test {}", self.plugin));
        for finding in &self.findings {
            let kind = match finding.verdict {
                Verdict::Failed => Some(NonSuccessKind::Failure),
                _ => None,
            };
            let status = match (kind, finding.verdict) {
                (Some(kind), _) => {
                    let mut status = TestCaseStatus::non_success(kind);
                    status.set_message(&*finding.detail);
                    status
                }
                (None, Verdict::NotReached) => {
                    let mut status = TestCaseStatus::skipped();
                    status.set_message(&*finding.detail);
                    status
                }
                (None, _) => TestCaseStatus::success(),
            };
            let mut case = TestCase::new(&*finding.name, status);
            case.set_classname(&*self.plugin);
            case.set_time(Duration::from_millis(finding.duration_ms));
            if !finding.detail.is_empty() {
                case.set_system_out(&*finding.detail);
            }
            suite.add_test_case(case);
        }
        let mut junit = Junit::new("gk test");
        junit.add_test_suite(suite);
        let failed = |error: std::io::Error| Failure::file("write", path, &error);
        let text = junit
            .to_string()
            .map_err(|error| failed(std::io::Error::other(error)))?;
        std::fs::write(path, text).map_err(failed)
    }
}

/// A finding on one line, and its detail below where it is long.
fn line(finding: &Finding) -> String {
    let word = match finding.verdict {
        Verdict::Passed => styled(GOOD, "ok  "),
        Verdict::Warning => styled(WARN, "warn"),
        Verdict::Failed => styled(BAD, "FAIL"),
        Verdict::NotReached => styled(DIM, "-   "),
    };
    let time = match finding.duration_ms {
        0..=99 => String::new(),
        millis => styled(DIM, format_args!(" ({millis} ms)")),
    };
    match finding.detail.as_str() {
        "" => format!("{word}  {}{time}", finding.name),
        detail => format!("{word}  {}{time}: {detail}", finding.name),
    }
}
