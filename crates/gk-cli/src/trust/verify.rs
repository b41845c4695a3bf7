//! `gk verify`: what a plugin's signature is worth, as the host judges it.

use std::path::{Path, PathBuf};

use clap::Args;
use gk_manifest::{Manifest, limits::MANIFEST_BYTES_MAX};
use gk_package::{Archive, MANIFEST};
use gk_sign::{
    BinarySignature, Cache, Policy, PublicKey, Refusal, Request, Requirement, State, TRUSTED_KEYS,
    TRUSTED_KEYS_FILE, TrustError, TrustStore, VerifyError, verify,
};
use serde::Serialize;

use super::keys;
use super::staging::Staged;
use crate::author::Project;
use crate::failure::{Exit, Failure};
use crate::terminal::{BAD, GOOD, Terminal, WARN, styled};

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The plugin's directory, or a package (.zip).
    #[arg(default_value = ".", value_name = "DIR|FILE.zip")]
    path: PathBuf,
    /// A public key to trust; several with commas. Without this and --keys-file it is
    /// GOATFLOW_TRUSTED_KEYS, else GOATFLOW_TRUSTED_KEYS_FILE, else your own keys.
    #[arg(long, value_name = "HEX", conflicts_with = "keys_file")]
    key: Option<String>,
    /// A file of public keys to trust, one a line.
    #[arg(long, value_name = "FILE")]
    keys_file: Option<PathBuf>,
    /// Fail unless a trusted key has signed it, as a host does that requires signatures.
    #[arg(long)]
    require: bool,
}

/// State of the signature.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) name: String,
    pub(crate) version: String,
    /// `valid`, `valid-v1`, `unsigned`, `untrusted key`, `tampered` or `revoked`.
    pub(crate) state: &'static str,
    pub(crate) key: Option<String>,
    pub(crate) date: Option<String>,
    /// Number of files that the signature covers.
    pub(crate) files: Option<usize>,
    /// Why it is not valid.
    pub(crate) reason: Option<String>,
    /// Next step for a person.
    pub(crate) remedy: Option<String>,
}

impl Verdict {
    /// Returns `true` if a trusted key has signed it.
    pub(crate) fn is_valid(&self) -> bool {
        [State::Valid, State::ValidV1]
            .iter()
            .any(|state| state.as_str() == self.state)
    }

    /// Returns `true` if no host runs it.
    pub(crate) fn is_refused(&self) -> bool {
        [State::Tampered, State::Revoked]
            .iter()
            .any(|state| state.as_str() == self.state)
    }
}

impl VerifyArgs {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let trust = self.trust()?;
        let metadata = self
            .path
            .metadata()
            .map_err(|error| Failure::file("read", &self.path, &error))?;
        let verdict = match metadata.is_dir() {
            true => {
                let project = Project::open(&self.path, terminal)?;
                judge(&project, &Staged::of(&project)?, trust)?
            }
            false => package(&self.path, trust, terminal)?,
        };
        terminal.document(&verdict, &verdict.name, || text(&verdict))?;
        if verdict.is_valid() {
            return Ok(());
        }
        let reason = verdict.reason.clone().unwrap_or_default();
        let message = format!("{}: {reason}", verdict.state);
        let help = verdict.remedy.clone().unwrap_or_default();
        if verdict.is_refused() {
            return Err(Failure::new(Exit::Denied, message, help));
        }
        if self.require {
            return Err(Failure::new(Exit::Failed, message, help));
        }
        terminal.warn(format_args!("{message}; {help}"));
        Ok(())
    }

    fn trust(&self) -> Result<TrustStore, Failure> {
        let mut store = TrustStore::new();
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let result = if let Some(key) = &self.key {
            store.trust_list(key, "--key")
        } else if let Some(file) = &self.keys_file {
            store.trust_file(file)
        } else if set(TRUSTED_KEYS) || set(TRUSTED_KEYS_FILE) {
            TrustStore::from_env().map(|from_env| store = from_env)
        } else {
            return trust_own();
        };
        result.map_err(|error| untrusted(&error))?;
        Ok(store)
    }
}

/// Trusts the keys in one's own key directory.
pub(crate) fn trust_own() -> Result<TrustStore, Failure> {
    let mut store = TrustStore::new();
    for key in keys::own()? {
        store.trust(key).map_err(|error| untrusted(&error))?;
    }
    Ok(store)
}

fn untrusted(error: &TrustError) -> Failure {
    let mut text = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        text.push_str(&format!(": {source}"));
    }
    Failure::new(
        Exit::Usage,
        text,
        "public keys have 64 hexadecimal digits; `gk keys list` shows yours",
    )
}

/// Judges the files of a plugin's package.
pub(crate) fn judge(
    project: &Project,
    staged: &Staged,
    trust: TrustStore,
) -> Result<Verdict, Failure> {
    let request = Request::new(staged.directory.path(), project.binary.as_str())
        .named(project.manifest.name.as_str());
    let policy = Policy::new(trust, Requirement::Warn);
    let mut verdict = Verdict {
        name: project.manifest.name.to_string(),
        version: project.manifest.version.clone(),
        state: State::Unsigned.as_str(),
        key: None,
        date: None,
        files: None,
        reason: None,
        remedy: None,
    };
    let doubt = |verdict: &mut Verdict, refusal: &Refusal| {
        let file = refusal.file().display();
        verdict.state = refusal.state().as_str();
        verdict.reason = Some(staged.originals(project, &format!("{file}: {}", refusal.problem())));
        verdict.remedy = Some(refusal.remedy().to_owned());
        verdict.key = refusal.key().map(|key| key.to_string());
    };
    match verify(&request, &policy, &Cache::new()) {
        Ok(artifact) => {
            verdict.state = artifact.state().as_str();
            verdict.key = artifact.key().map(|key| key.to_string());
            if let Some(claims) = artifact.claims() {
                verdict.date = Some(claims.date_text());
                verdict.files = Some(claims.files().len());
            }
            if let Some(warning) = artifact.warning() {
                doubt(&mut verdict, warning);
            }
        }
        Err(VerifyError::Refused(refusal)) => doubt(&mut verdict, &refusal),
        Err(error) => {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(error) = source {
                text.push_str(&format!(": {error}"));
                source = error.source();
            }
            let text = staged.originals(project, &text);
            return Err(Failure::new(
                Exit::Failed,
                text,
                "correct that, and sign the plugin again",
            ));
        }
    }
    Ok(verdict)
}

/// Judges a package as the host does that has unpacked it.
fn package(path: &Path, trust: TrustStore, terminal: &Terminal) -> Result<Verdict, Failure> {
    let refused = |error: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Failed,
            error.to_string(),
            "make the package with `gk package`, or get it again",
        )
    };
    let archive = Archive::open(path).map_err(|error| refused(&error))?;
    let text = archive
        .read(MANIFEST, MANIFEST_BYTES_MAX as u64)
        .map_err(|error| refused(&error))?;
    let (manifest, _) = Manifest::parse(path.join(MANIFEST), &text).map_err(|error| {
        let help = format!("`gk validate {}` says more", path.display());
        Failure::new(Exit::Failed, error.to_string(), help)
    })?;
    let directory = tempfile::Builder::new().prefix("gk-").tempdir();
    let directory = directory
        .map_err(|error| Failure::file("make a directory in", &std::env::temp_dir(), &error))?;
    archive
        .unpack(directory.path(), &[])
        .map_err(|error| refused(&error))?;
    whole(path, trust.keys(), terminal)?;
    // What is said of the copies is said of the package.
    let project = Project::new(path.to_owned(), manifest);
    let selection = gk_package::Selection::of(directory.path()).map_err(|error| refused(&error))?;
    judge(
        &project,
        &Staged {
            directory,
            selection,
        },
        trust,
    )
}

/// A `FILE.zip.sig` beside the package covers the package as a file.
fn whole(path: &Path, keys: &[PublicKey], terminal: &Terminal) -> Result<(), Failure> {
    let mut place = path.as_os_str().to_owned();
    place.push(".sig");
    let place = PathBuf::from(place);
    let Ok(text) = std::fs::read(&place) else {
        return Ok(());
    };
    let signature = BinarySignature::parse(&text).map_err(|error| {
        Failure::new(
            Exit::Denied,
            format!("{}: {error}", place.display()),
            "get it again, or sign the package again",
        )
    })?;
    let digest = std::fs::File::open(path)
        .and_then(|file| gk_sign::Digest::of_file(&file, gk_package::limits::ARCHIVE_BYTES_MAX))
        .map_err(|error| Failure::file("read", path, &error))?;
    let signer = digest.and_then(|(digest, _)| {
        keys.iter()
            .find(|key| signature.verify(key, &digest).is_ok())
    });
    match signer {
        Some(key) => terminal.say(format_args!("{}: made by key {}", place.display(), key.id())),
        None => terminal.warn(format_args!(
            "{}: no trusted key made it over this package; get both again, or trust its author's key",
            place.display()
        )),
    }
    Ok(())
}

fn text(verdict: &Verdict) -> String {
    let style = match (verdict.is_valid(), verdict.is_refused()) {
        (true, _) => GOOD,
        (_, true) => BAD,
        _ => WARN,
    };
    let mut lines = vec![("state", styled(style, verdict.state))];
    lines.push((
        "plugin",
        format!("{} {}", verdict.name, verdict.version)
            .trim_end()
            .to_owned(),
    ));
    lines.extend(verdict.key.clone().map(|key| ("key id", key)));
    lines.extend(
        verdict
            .date
            .clone()
            .map(|date| ("date", format!("{date}, the signer's word"))),
    );
    lines.extend(verdict.files.map(|files| ("files", files.to_string())));
    lines.extend(verdict.reason.clone().map(|reason| ("why", reason)));
    lines
        .iter()
        .map(|(key, value)| format!("{:<8} {value}\n", format!("{key}:")))
        .collect()
}
