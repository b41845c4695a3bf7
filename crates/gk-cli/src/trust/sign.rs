//! `gk sign`: a signature over what `gk package` ships, or over one file.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use dialoguer::Password;
use gk_package::{MANIFEST, SIGNATURE, Selection};
use gk_sign::{
    Cache, PackageToSign, Policy, Request, Requirement, SecretKey, SignError, TrustStore,
    sign_binary, sign_package, verify,
};
use serde::Serialize;
use zeroize::Zeroizing;

use super::keys;
use super::staging::Staged;
use crate::author::Project;
use crate::failure::{Exit, Failure};
use crate::terminal::Terminal;

/// The environment variable with a private key.
const SIGNING_KEY: &str = "GOATFLOW_SIGNING_KEY";
/// The environment variable with the time to sign with (reproducible-builds.org).
const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Formats of signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Version {
    /// plugin.sig, over the whole package.
    #[default]
    V2,
    /// BINARY.sig, over the program alone, for hosts that know no other.
    V1,
    /// Both.
    Both,
}

#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The plugin's directory; or a file, such as a package, which gets a FILE.sig in version 1.
    #[arg(default_value = ".", value_name = "DIR|FILE")]
    path: PathBuf,
    /// The file of the private key. Without this it is GOATFLOW_SIGNING_KEY, else default.key of
    /// `gk keys`, else you are asked.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// The signature's format.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Version,
    /// GoatFlow's tool takes the key itself; this one says why not.
    #[arg(long, hide = true, num_args = 0..=1, value_name = "HEX")]
    key: Option<Option<String>>,
}

/// A package that was signed.
#[derive(Debug, Serialize)]
struct Signed {
    key: String,
    signatures: Vec<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    date: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<usize>,
}

impl SignArgs {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        if self.key.is_some() {
            return Err(Failure::new(
                Exit::Usage,
                "--key is not taken: every user of this machine can see the arguments of a command, and the shell keeps them",
                format!(
                    "put the key into a file that only you can read (--key-file FILE), or into {SIGNING_KEY}"
                ),
            ));
        }
        let metadata = self
            .path
            .metadata()
            .map_err(|error| Failure::file("read", &self.path, &error))?;
        let signed = match metadata.is_dir() {
            true => self.directory(terminal)?,
            false => self.file(terminal)?,
        };
        let name = signed
            .name
            .clone()
            .unwrap_or_else(|| self.path.display().to_string());
        terminal.document(&signed, &name, || {
            let paths = signed
                .signatures
                .iter()
                .map(|path| format!("{}\n", path.display()));
            paths.collect()
        })?;
        if let (Some(date), Some(files)) = (&signed.date, signed.files) {
            terminal.say(format_args!(
                "{name}: {files} files, signed {date} by key {}",
                signed.key
            ));
        } else {
            terminal.say(format_args!(
                "{name}: signed in version 1 by key {}",
                signed.key
            ));
        }
        Ok(())
    }

    fn key(&self, terminal: &Terminal) -> Result<SecretKey, Failure> {
        if let Some(file) = &self.key_file {
            return keys::read(file);
        }
        if let Some(text) = std::env::var_os(SIGNING_KEY).filter(|text| !text.is_empty()) {
            let text = Zeroizing::new(text.to_string_lossy().into_owned());
            return keys::parse(&text, SIGNING_KEY);
        }
        let file = keys::default_file()?;
        match keys::read(&file) {
            Err(failure) if failure.exit() == Exit::NotFound && terminal.is_interactive() => {
                let answer = Password::new()
                    .with_prompt("Private key (128 digits)")
                    .interact();
                let text = answer.map_err(|error| {
                    Failure::new(
                        Exit::Failed,
                        format!("there is no key: {error}"),
                        "make one with: gk keys generate",
                    )
                })?;
                keys::parse(&Zeroizing::new(text), "what you typed")
            }
            other => other,
        }
    }

    fn file(&self, terminal: &Terminal) -> Result<Signed, Failure> {
        let key = self.key(terminal)?;
        sign_binary(&key, &self.path).map_err(|error| unsigned(&error, &|text| text))?;
        let mut signature = self.path.clone().into_os_string();
        signature.push(".sig");
        let whole = self.path.with_file_name(SIGNATURE);
        if whole.exists() {
            terminal.warn(format_args!(
                "{} is not among the files that {} covers, so a host refuses the plugin: sign its directory instead (gk sign DIR --format both)",
                signature.display(),
                whole.display()
            ));
        }
        Ok(Signed {
            key: key.public().id().to_string(),
            signatures: vec![signature.into()],
            name: None,
            version: None,
            date: None,
            files: None,
        })
    }

    fn directory(&self, terminal: &Terminal) -> Result<Signed, Failure> {
        let project = Project::open(&self.path, terminal)?;
        let whole = project.path(SIGNATURE);
        if self.format == Version::V1 && whole.exists() {
            return Err(Failure::new(
                Exit::Failed,
                format!(
                    "there is a {SIGNATURE}, which a new {}.sig would make invalid",
                    project.binary
                ),
                format!(
                    "sign in both formats (--format both), or remove {}",
                    whole.display()
                ),
            ));
        }
        if self.format != Version::V1 && project.manifest.version.is_empty() {
            return Err(Failure::new(
                Exit::Failed,
                format!(
                    "{} has no version, and a signature names it",
                    project.path(MANIFEST).display()
                ),
                "add a line: version: \"1.0.0\"",
            ));
        }
        let date = date()?;
        let mut staged = Staged::of(&project)?;
        let key = self.key(terminal)?;
        let mut signatures = Vec::new();
        if self.format != Version::V2 {
            let place = staged.directory.path().join(&project.binary);
            sign_binary(&key, &place)
                .map_err(|error| unsigned(&error, &|text| staged.originals(&project, &text)))?;
            let name = format!("{}.sig", project.binary);
            signatures.push(bring(&staged, &project, &name)?);
            let selection = Selection::of(&project.directory);
            if !selection.is_ok_and(|selection| selection.has(&name)) {
                return Err(Failure::new(
                    Exit::Failed,
                    format!("{name} was written, but it does not belong to the package"),
                    format!(
                        "take it out of .gkignore, for example with a line !/{name}, and sign again"
                    ),
                ));
            }
        }
        if self.format == Version::V1 {
            return Ok(Signed {
                key: key.public().id().to_string(),
                signatures,
                name: Some(project.manifest.name.to_string()),
                version: None,
                date: None,
                files: None,
            });
        }
        if self.format == Version::Both {
            // With the new signature of the program, which is one of the files.
            staged = Staged::of(&project)?;
        }
        let what = PackageToSign {
            directory: staged.directory.path().to_owned(),
            name: project.manifest.name.to_string(),
            version: project.manifest.version.clone(),
            manifest: MANIFEST.to_owned(),
            binary: project.binary.clone(),
            date,
        };
        let claims = sign_package(&key, &what)
            .map_err(|error| unsigned(&error, &|text| staged.originals(&project, &text)))?;
        signatures.push(bring(&staged, &project, SIGNATURE)?);
        warn_of_more(&project, &key, terminal);
        Ok(Signed {
            key: claims.key().to_string(),
            signatures,
            name: Some(claims.name().to_owned()),
            version: Some(claims.version().to_owned()),
            date: Some(claims.date_text()),
            files: Some(claims.files().len()),
        })
    }
}

/// Copies a signature from the staged files into the plugin's directory, by a rename.
fn bring(staged: &Staged, project: &Project, name: &str) -> Result<PathBuf, Failure> {
    let path = project.path(name);
    let write = || -> std::io::Result<()> {
        let bytes = fs::read(staged.directory.path().join(name))?;
        let parent = path.parent().filter(|parent| *parent != Path::new(""));
        let mut temporary = tempfile::Builder::new()
            .prefix(".gk-sign-")
            .permissions(fs::Permissions::from_mode(0o644))
            .tempfile_in(parent.unwrap_or(Path::new(".")))?;
        temporary.write_all(&bytes)?;
        temporary.persist(&path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|error| Failure::file("write", &path, &error))?;
    Ok(path)
}

/// A host judges a directory with all that is in it. One that has more than the package is taken
/// for tampered with.
fn warn_of_more(project: &Project, key: &SecretKey, terminal: &Terminal) {
    let mut trust = TrustStore::new();
    if trust.trust(key.public()).is_err() {
        return;
    }
    let request = Request::new(project.directory.as_path(), project.binary.as_str());
    let policy = Policy::new(trust, Requirement::Enforce);
    if let Err(error) = verify(&request, &policy, &Cache::new()) {
        let file = error.refusal().map(|refusal| {
            let file = refusal.file();
            let file = file.strip_prefix("./").unwrap_or(file);
            format!(", such as {}", file.display())
        });
        terminal.warn(format_args!(
            "the directory has more than the package{}: a host refuses it as it is; make the package with `gk package`, \
             and run what was unpacked from that",
            file.unwrap_or_default()
        ));
    }
}

/// Now, or what SOURCE_DATE_EPOCH says.
fn date() -> Result<SystemTime, Failure> {
    let Some(text) = std::env::var_os(SOURCE_DATE_EPOCH) else {
        return Ok(SystemTime::now());
    };
    let seconds = text.to_str().and_then(|text| text.parse().ok());
    seconds
        .and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
        .ok_or_else(|| {
            Failure::new(
                Exit::Failed,
                format!("{SOURCE_DATE_EPOCH} is no number of seconds"),
                "unset it, or set it as in: export SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)",
            )
        })
}

fn unsigned(error: &SignError, originals: &dyn Fn(String) -> String) -> Failure {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    Failure::new(
        Exit::Failed,
        originals(text),
        "nothing was signed; correct that and sign again",
    )
}
