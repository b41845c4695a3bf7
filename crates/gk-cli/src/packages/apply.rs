//! A package at a host: looked at, shown, and installed.

use std::fmt::Write;

use clap::Args;
use gk_api::{InstallReport, InstallStep, Operation, OutcomeWord, PolicyOrigin, PolicyView};
use gk_manifest::policy::{Policy, PolicyStatus};

use crate::client::{Body, Host, json};
use crate::failure::{Exit, Failure};
use crate::operate::{permission, state};
use crate::terminal::{BOLD, Terminal, WARN, styled};

/// Maximum number of changed files that are listed.
const FILES_SHOWN_MAX: usize = 10;

/// Options of installing and updating.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Grant the plugin what its plugin.yaml asks for, before it starts.
    #[arg(long)]
    pub(super) approve: bool,
    /// Leave a version that does not come up installed.
    #[arg(long)]
    pub(super) keep_failed: bool,
    /// Refuse a package that no key trusted by the host signed, also where the host would let it
    /// run.
    #[arg(long)]
    pub(super) require_signature: bool,
    /// How long the plugin may take to come up, at most 2m.
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub(super) wait: gk_manifest::GoDuration,
}

/// Asks the host what it would do with a package.
pub(super) fn look(bytes: &[u8], host: &Host) -> Result<InstallReport, Failure> {
    let dry_run = [("dry_run", "true".to_owned())];
    host.send(
        Operation::Install,
        &[],
        &dry_run,
        Body::Package(bytes.to_vec()),
    )
}

/// Looks at a package and installs it.
pub(super) fn install(
    bytes: Vec<u8>,
    dry_run: bool,
    host: &Host,
    options: &Options,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let report = look(&bytes, host)?;
    go_on(bytes, &report, dry_run, host, options, terminal)
}

/// Installs a package that was looked at.
pub(super) fn go_on(
    bytes: Vec<u8>,
    report: &InstallReport,
    dry_run: bool,
    host: &Host,
    options: &Options,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let name = report.name.as_str();
    if options.require_signature && !matches!(report.signature.state.as_str(), "valid" | "valid-v1")
    {
        return Err(Failure::new(
            Exit::Denied,
            format!(
                "the package is not signed by a key that the host trusts: {}",
                report.signature.state
            ),
            "have it signed by a key that the host trusts, or leave out --require-signature",
        ));
    }
    if dry_run {
        return terminal.document(report, name, || shown(report));
    }
    terminal.say(shown(report).trim_end());
    let approval = match options.approve {
        true => approve(report, host, terminal)?,
        false => None,
    };
    let query = [
        ("wait", options.wait.to_string()),
        ("keep_failed", options.keep_failed.to_string()),
    ];
    let done = host.send(Operation::Install, &[], &query, Body::Package(bytes));
    let word = |done: &InstallReport| Some(done.outcome.as_ref()?.outcome);
    if let Some(approval) = approval
        && done.as_ref().ok().and_then(word) != Some(OutcomeWord::Serving)
    {
        approval.take_back(name, host, terminal);
    }
    let done: InstallReport = done?;
    let word = word(&done);
    let outcome = done.outcome.clone();
    let error = outcome.as_ref().and_then(|outcome| outcome.error.clone());
    let generation = outcome
        .and_then(|outcome| outcome.generation)
        .unwrap_or_default();
    terminal.document(&done, name, || {
        let version = &done.version;
        let what = match done.step {
            InstallStep::Same => format!("{name} {version} is installed already"),
            InstallStep::Replaced => match &done.installed_version {
                Some(before) => format!("{name} {version} has replaced {before}"),
                None => format!("{name} {version} has replaced what was there"),
            },
            InstallStep::RolledBack => match &done.installed_version {
                Some(before) => format!("{name} {version} was taken back; {before} is in place"),
                None => format!("{name} {version} was taken back"),
            },
            _ => format!("{name} {version} is installed"),
        };
        match word {
            Some(OutcomeWord::Serving) if done.step == InstallStep::Replaced => {
                format!("{what} and is running, generation {generation}\n")
            }
            Some(OutcomeWord::Serving) => format!("{what} and running, generation {generation}\n"),
            _ => format!("{what}\n"),
        }
    })?;
    match (word, error) {
        (Some(OutcomeWord::Failed | OutcomeWord::Waiting), Some(error)) => Err(Failure::new(
            Exit::Failed,
            error,
            match done.not_granted.is_empty() {
                true => "mend it and install it again; --keep-failed leaves it installed for a look at gk logs".to_owned(),
                false => "it may need what it is not granted: --approve grants what it asks for".to_owned(),
            },
        )),
        (_, Some(note)) => {
            terminal.warn(note);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A policy that was stored for an installation.
struct Approval {
    /// The one that was stored before; `None` where there was none.
    before: Option<Policy>,
}

/// Stores a policy that grants what the package asks for, before it starts: what was shown, and
/// nothing else. What else the operator has decided stays.
fn approve(
    report: &InstallReport,
    host: &Host,
    terminal: &Terminal,
) -> Result<Option<Approval>, Failure> {
    let name = report.name.as_str();
    let view = host.get::<PolicyView>(Operation::GetPolicy, &[name], &[]);
    let view = match view {
        Err(failure) if failure.exit() == Exit::NotFound => None,
        view => Some(view?),
    };
    let (status, origin) = view
        .as_ref()
        .map(|view| (view.policy.status, view.origin))
        .unzip();
    if status == Some(PolicyStatus::Blocked) {
        return Err(Failure::new(
            Exit::Denied,
            format!("{name} is blocked: --approve does not lift that"),
            format!(
                "gk policy show {name} shows its policy; gk policy reset {name}, or set, unblocks it"
            ),
        ));
    }
    if origin == Some(PolicyOrigin::Unreadable) {
        return Err(Failure::new(
            Exit::Failed,
            format!("the stored policy of {name} cannot be read: --approve would replace it"),
            format!("replace it by gk policy reset {name}, or set"),
        ));
    }
    if report.not_granted.is_empty() {
        return Ok(None);
    }
    let before = view
        .filter(|view| view.origin == PolicyOrigin::Stored)
        .map(|view| view.policy);
    let policy = Policy {
        status: PolicyStatus::Approved,
        permissions: report.requested.clone(),
        ..before.clone().unwrap_or_default()
    };
    let view: PolicyView = host.send(Operation::SetPolicy, &[name], &[], json(&policy))?;
    for clamped in &view.clamped {
        terminal.warn(clamped);
    }
    Ok(Some(Approval { before }))
}

impl Approval {
    /// Stores what was stored before: what was granted to a version that does not serve is not for
    /// the one that does.
    fn take_back(self, plugin: &str, host: &Host, terminal: &Terminal) {
        let path = [plugin];
        let done = match self.before {
            Some(policy) => host.raw(Operation::SetPolicy, &path, &[], json(&policy)),
            None => host.raw(Operation::ResetPolicy, &path, &[], Body::Nothing),
        };
        match done {
            Ok(_) => terminal.warn(format_args!(
                "{plugin} does not serve: its policy is again what it was before --approve"
            )),
            Err(failure) => terminal.warn(format_args!(
                "{plugin} does not serve, and keeps what --approve granted: {}; see gk policy show {plugin}",
                failure.message()
            )),
        }
    }
}

/// A package, as an operator decides about it.
fn shown(report: &InstallReport) -> String {
    let mut text = String::new();
    let what = match (report.step, &report.installed_version) {
        (InstallStep::WouldReplace, Some(before)) => format!(" (installed: {before})"),
        (InstallStep::Same, _) => " (installed already)".to_owned(),
        _ => String::new(),
    };
    let _ = writeln!(
        text,
        "{} {}{what}",
        styled(BOLD, &report.name),
        report.version
    );
    let signature = &report.signature;
    let mut signed = state(&signature.state);
    if let Some(key) = &signature.key {
        let _ = write!(signed, " by {key}");
    }
    if let Some(date) = &signature.date {
        let _ = write!(signed, " on {}", date.split('T').next().unwrap_or_default());
    }
    let _ = writeln!(text, "  signature  {signed}");
    for (number, asked) in report.requested.iter().enumerate() {
        let heading = if number == 0 { "asks for" } else { "" };
        let mark = match report.not_granted.contains(asked) {
            true => format!(" {}", styled(WARN, "(not granted)")),
            false => String::new(),
        };
        let _ = writeln!(text, "  {heading:<9}  {}{mark}", permission(asked));
    }
    let files = report.changes.files.iter().take(FILES_SHOWN_MAX);
    for (number, file) in files.enumerate() {
        let heading = if number == 0 { "changes" } else { "" };
        let _ = writeln!(text, "  {heading:<9}  {} {}", file.change, file.path);
    }
    if report.changes.count > FILES_SHOWN_MAX {
        let _ = writeln!(
            text,
            "  {:<9}  and {} more",
            "",
            report.changes.count - FILES_SHOWN_MAX
        );
    }
    for warning in &report.warnings {
        let _ = writeln!(text, "  {}    {warning}", styled(WARN, "warning"));
    }
    text
}
