//! `gk install`: a package is looked at by the host, shown, and installed.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use clap::Args;
use gk_api::{
    HostInfo, InstallReport, InstallStep, Operation, OutcomeWord, Plugin, PolicyOrigin, PolicyView,
};
use gk_manifest::policy::{Policy, PolicyStatus};
use gk_sign::{BinarySignature, Digest, TrustStore};

use super::fetch;
use super::index::{Entry, Index, IndexArgs, Offered, version};
use crate::client::{Body, ConnectArgs, Host, json};
use crate::failure::{Exit, Failure};
use crate::operate::{permission, state};
use crate::terminal::{BOLD, Terminal, WARN, styled};
use crate::trust::selection::selected;

/// Files that are listed of a change.
const FILES_SHOWN_MAX: usize = 10;

/// The largest signature file, in bytes.
const SIGNATURE_BYTES_MAX: u64 = 4096;

/// Install a plugin, or replace what is installed.
#[derive(Debug, Args)]
pub(crate) struct InstallArgs {
    /// A package (FILE.zip), a plugin's directory, an URL, or NAME or NAME@VERSION of an index.
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<String>,
    /// Only say what the package is, what it asks for, and what would change.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    index: IndexArgs,
    #[command(flatten)]
    options: Options,
}

/// Options of installing and updating.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Grant the plugin what its plugin.yaml asks for, before it starts.
    #[arg(long)]
    approve: bool,
    /// Leave a version that does not come up installed.
    #[arg(long)]
    keep_failed: bool,
    /// Refuse a package that no key trusted by the host signed, also where the host would let it run.
    #[arg(long)]
    require_signature: bool,
    /// How long the plugin may take to come up, at most 2m.
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    wait: gk_manifest::GoDuration,
}

pub(crate) fn run(
    args: &InstallArgs,
    connect: &ConnectArgs,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let host = Host::new(connect)?;
    crate::operate::for_each(terminal, &args.sources, |source| {
        let path = Path::new(source);
        if path.is_dir() {
            return of_directory(path, args, &host, terminal);
        }
        if fetch::is_url(source) {
            let bytes = fetch::read(source, gk_package::limits::ARCHIVE_BYTES_MAX, terminal)?;
            return install(bytes, args.dry_run, &host, &args.options, terminal);
        }
        if path.exists() || source.ends_with(".zip") || source.contains('/') {
            let bytes = fs::read(path).map_err(|error| Failure::file("read", path, &error))?;
            return install(bytes, args.dry_run, &host, &args.options, terminal);
        }
        let (name, version) = match source.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (source, None),
        };
        let index = args.index.load(terminal).map_err(|failure| {
            // Who has never heard of an index has mistyped a path.
            match failure.exit() {
                Exit::Usage => Failure::new(
                    Exit::NotFound,
                    format!("there is no file or directory {source}, and no index of plugins to look it up in"),
                    "check the path, or name an index with --index or GK_INDEX",
                ),
                _ => failure,
            }
        })?;
        let entry = index.get(name)?;
        let info: HostInfo = host.get(Operation::HostInfo, &[], &[])?;
        let chosen = entry.choose(version, &info.version)?;
        let purpose = match args.dry_run {
            true => Purpose::Look,
            false => Purpose::Install,
        };
        of_index(
            &index,
            entry,
            &chosen,
            purpose,
            &host,
            &args.options,
            terminal,
        )
    })
}

/// Makes the package of a directory, and installs that.
fn of_directory(
    directory: &Path,
    args: &InstallArgs,
    host: &Host,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Failed,
            format!("{}: {error}", directory.display()),
            "gk validate and gk package --list show what is in it",
        )
    };
    let selection = selected(directory)?;
    let temp = tempfile::tempdir().map_err(|error| failed(&error))?;
    let path = temp.path().join("package.zip");
    gk_package::pack(&selection, &path).map_err(|error| failed(&error))?;
    let bytes = fs::read(&path).map_err(|error| Failure::file("read", &path, &error))?;
    install(bytes, args.dry_run, host, &args.options, terminal)
}

/// Updates to a version that an index offers.
pub(crate) fn update(
    index: &Index,
    entry: &Entry,
    offered: &Offered,
    host: &Host,
    options: &Options,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let purpose = Purpose::Update;
    of_index(index, entry, offered, purpose, host, options, terminal)
}

/// What a version of an index is wanted for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To say what would come of it.
    Look,
    /// To be installed, also if it is older than what is.
    Install,
    /// To replace what is older.
    Update,
}

fn of_index(
    index: &Index,
    entry: &Entry,
    offered: &Offered,
    purpose: Purpose,
    host: &Host,
    options: &Options,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let installed: Vec<Plugin> = host.get(Operation::ListPlugins, &[], &[])?;
    let missing: Vec<_> = entry
        .dependencies
        .iter()
        .filter(|needed| {
            !installed
                .iter()
                .any(|plugin| plugin.name.as_deref() == Some(needed.as_str()))
        })
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        return Err(Failure::new(
            Exit::Failed,
            format!(
                "{} needs plugins that are not installed: {}",
                entry.name,
                missing.join(", ")
            ),
            format!("install them first: gk install {}", missing.join(" ")),
        ));
    }
    let url = index.url_of(entry, offered)?;
    let bytes = fetch::read(&url, gk_package::limits::ARCHIVE_BYTES_MAX, terminal)?;
    let digest = Digest::of(&bytes);
    if !offered.sha256.is_empty() && !offered.sha256.eq_ignore_ascii_case(&digest.to_string()) {
        return Err(Failure::new(
            Exit::Denied,
            format!(
                "{} has the SHA-256 {digest}, and the index says {}",
                fetch::shown(&url),
                offered.sha256
            ),
            "do not use it; tell the index's author",
        ));
    }
    verify_detached(&url, &digest, terminal)?;
    let report = look(&bytes, host)?;
    let kept = |what: String| {
        let message = format!("{} is {what}", fetch::shown(&url));
        Failure::new(
            Exit::Denied,
            message,
            "do not use it; tell the index's author",
        )
    };
    if report.name != entry.name {
        return Err(kept(format!(
            "the plugin {:?}, and the index offers it as {:?}",
            report.name, entry.name
        )));
    }
    // Also an old version may be validly signed.
    let its = version(&report.version);
    if its.is_none() || its != version(&offered.version) {
        return Err(kept(format!(
            "version {} of {}, and the index offers it as {}",
            report.version, entry.name, offered.version
        )));
    }
    let is_newer = match report.installed_version.as_deref() {
        Some(before) => version(before).is_some_and(|before| its > Some(before)),
        None => true,
    };
    if purpose == Purpose::Update && report.step != InstallStep::Same && !is_newer {
        return Err(kept(format!(
            "version {} of {}, and what is installed is not older: {}",
            report.version,
            entry.name,
            report.installed_version.unwrap_or_default()
        )));
    }
    go_on(
        bytes,
        &report,
        purpose == Purpose::Look,
        host,
        options,
        terminal,
    )
}

/// Upstream's marketplace signs the package's file. Where this operator has keys in the environment, such a signature must
/// be of one of them; a package without one counts by what is in it.
fn verify_detached(url: &str, digest: &Digest, terminal: &Terminal) -> Result<(), Failure> {
    let trust = TrustStore::from_env().map_err(|error| {
        Failure::new(
            Exit::Failed,
            error.to_string(),
            "correct GOATFLOW_TRUSTED_KEYS or its file",
        )
    })?;
    if trust.keys().is_empty() {
        return Ok(());
    }
    let place = fetch::signature_of(url);
    let name = fetch::shown(&place);
    let signature = match fetch::read(&place, SIGNATURE_BYTES_MAX, terminal) {
        Ok(signature) => signature,
        Err(failure) if failure.exit() == Exit::NotFound => return Ok(()),
        Err(failure) => return Err(failure),
    };
    let refused = |why: &str| {
        Failure::new(
            Exit::Denied,
            format!("{name}: {why}"),
            "do not use the package; or trust its author's key, if you know it",
        )
    };
    let signature =
        BinarySignature::parse(&signature).map_err(|error| refused(&error.to_string()))?;
    let signed = trust
        .keys()
        .iter()
        .filter(|key| !trust.is_key_revoked(key.id()))
        .any(|key| signature.verify(key, digest).is_ok());
    match signed {
        true => {
            terminal.detail(format_args!("{name}: signed by a trusted key"));
            Ok(())
        }
        false => Err(refused("it is of no key that is trusted here")),
    }
}

fn look(bytes: &[u8], host: &Host) -> Result<InstallReport, Failure> {
    let dry_run = [("dry_run", "true".to_owned())];
    host.send(
        Operation::Install,
        &[],
        &dry_run,
        Body::Package(bytes.to_vec()),
    )
}

fn install(
    bytes: Vec<u8>,
    dry_run: bool,
    host: &Host,
    options: &Options,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let report = look(&bytes, host)?;
    go_on(bytes, &report, dry_run, host, options, terminal)
}

fn go_on(
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

/// Stores a policy that grants what the package asks for, before it starts: what was shown, and nothing else. What else the
/// operator has decided stays.
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
    /// Stores what was stored before: what was granted to a version that does not serve is not for the one that does.
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
