//! A package that an index offers, held against what the index says.

use gk_api::{InstallStep, Operation, Plugin};
use gk_sign::{BinarySignature, Digest, TrustStore};

use super::apply::{Options, go_on, look};
use super::fetch;
use super::index::{Entry, Index, Offered, version};
use crate::client::Host;
use crate::failure::{Exit, Failure};
use crate::terminal::Terminal;

/// Maximum size of a signature file, in bytes.
const SIGNATURE_BYTES_MAX: u64 = 4096;

/// Purpose for which a version of an index is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To say what would come of it.
    Look,
    /// To be installed, also if it is older than what is.
    Install,
    /// To replace what is older.
    Update,
}

/// Fetches a version, checks it against its entry, and does what it is wanted for.
pub(super) fn of_index(
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

/// Upstream's marketplace signs the package's file. Where this operator has keys in the
/// environment, such a signature must be of one of them; a package without one counts by what is in
/// it.
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
