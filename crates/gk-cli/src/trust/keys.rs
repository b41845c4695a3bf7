//! `gk keys`: the keys that plugins are signed with. Private keys are in files that only their
//! owner reads.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use gk_sign::{PublicKey, SecretKey};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::client::context::config_dir;
use crate::failure::{Exit, Failure};
use crate::terminal::{Rows, Terminal};

/// The extension of files with private keys.
const EXTENSION: &str = "key";
/// More than any such file has.
const KEY_FILE_BYTES_MAX: u64 = 4096;

/// Make keys, and look at them.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key.
    Generate(GenerateArgs),
    /// List the keys in the key directory.
    List,
    /// Show the public half of a key.
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// The file to put it into; without this default.key in the key directory, ~/.config/gk/keys.
    #[arg(long, value_name = "FILE", conflicts_with = "print")]
    out: Option<PathBuf>,
    /// Write over a key that is there. What it signed can then no longer be signed again.
    #[arg(long, conflicts_with = "print")]
    force: bool,
    /// Write no file; print private and public key.
    #[arg(long)]
    print: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The file of the private key; without this default.key in the key directory.
    file: Option<PathBuf>,
}

/// A key, without its private half.
#[derive(Debug, Serialize)]
struct KeyRow {
    id: String,
    public_key: String,
    file: PathBuf,
    /// `true` if others than its owner can read the file.
    too_open: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Rows for Vec<KeyRow> {
    fn headings(_: bool) -> Vec<&'static str> {
        vec!["KEY ID", "PUBLIC KEY", "FILE", "PERMISSIONS"]
    }

    fn rows(&self, _: bool) -> Vec<(String, Vec<String>)> {
        let row = |key: &KeyRow| {
            let permissions = match (&key.error, key.too_open) {
                (Some(error), _) => error.clone(),
                (None, true) => format!("too open; run: chmod 600 {}", key.file.display()),
                (None, false) => "ok".to_owned(),
            };
            let cells = vec![
                key.id.clone(),
                key.public_key.clone(),
                key.file.display().to_string(),
                permissions,
            ];
            (key.id.clone(), cells)
        };
        self.iter().map(row).collect()
    }
}

impl KeysCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        match self {
            KeysCommand::Generate(args) => args.run(terminal),
            KeysCommand::List => list(terminal),
            KeysCommand::Show(args) => {
                let file = args.file.map_or_else(default_file, Ok)?;
                let key = read_any(&file)?;
                show(&key.public(), &file, terminal)
            }
        }
    }
}

impl GenerateArgs {
    fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let key = SecretKey::generate()
            .map_err(|error| Failure::new(Exit::Failed, error.to_string(), "try again"))?;
        if self.print {
            // As GoatFlow's tool does; whoever sees this output can sign.
            let private = key.to_hex();
            terminal.line(format_args!("Private key: {}", *private))?;
            return terminal.line(format_args!("Public key:  {}", key.public().to_hex()));
        }
        let file = self.out.map_or_else(default_file, Ok)?;
        let text = Zeroizing::new(format!(
            "{}\n# public: {}\n# key id: {}\n",
            *key.to_hex(),
            key.public().to_hex(),
            key.public().id()
        ));
        write(&file, text.as_bytes(), self.force).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Failure::new(
                Exit::Failed,
                format!("{} is there already", file.display()),
                "choose another file with --out, or write over it with --force",
            ),
            _ => Failure::file("write", &file, &error),
        })?;
        show(&key.public(), &file, terminal)
    }
}

fn show(public: &PublicKey, file: &Path, terminal: &Terminal) -> Result<(), Failure> {
    let too_open = is_too_open(file);
    let shown = KeyRow {
        id: public.id().to_string(),
        public_key: public.to_hex(),
        file: file.to_owned(),
        too_open,
        error: None,
    };
    if too_open {
        terminal.warn(format_args!(
            "others can read {}; run: chmod 600 {}",
            file.display(),
            file.display()
        ));
    }
    terminal.document(&shown, &shown.id, || {
        format!(
            "key id:      {}\npublic key:  {}\nprivate key: {}\n\nWho runs your plugins trusts them with this:\n  {}={}\n",
            shown.id,
            shown.public_key,
            file.display(),
            gk_sign::TRUSTED_KEYS,
            shown.public_key
        )
    })
}

fn list(terminal: &Terminal) -> Result<(), Failure> {
    let directory = directory()?;
    let mut shown = Vec::new();
    for file in files(&directory)? {
        let mut entry = KeyRow {
            id: String::new(),
            public_key: String::new(),
            too_open: is_too_open(&file),
            error: None,
            file,
        };
        match read_any(&entry.file) {
            Ok(key) => {
                entry.id = key.public().id().to_string();
                entry.public_key = key.public().to_hex();
            }
            Err(failure) => entry.error = Some(failure.message().to_owned()),
        }
        shown.push(entry);
    }
    if shown.is_empty() {
        terminal.say(format_args!(
            "there are no keys in {}; make one with: gk keys generate",
            directory.display()
        ));
    }
    terminal.data(&shown)
}

/// The key directory.
pub(crate) fn directory() -> Result<PathBuf, Failure> {
    Ok(config_dir()?.join("keys"))
}

/// The key that is used if none is named.
pub(crate) fn default_file() -> Result<PathBuf, Failure> {
    Ok(directory()?.join("default.key"))
}

/// The files of private keys, sorted; none if there is no directory.
fn files(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::file("read", directory, &error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry
            .map_err(|error| Failure::file("read", directory, &error))?
            .path();
        if path
            .extension()
            .is_some_and(|extension| extension == EXTENSION)
            && path.is_file()
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The public halves of the keys in the key directory; files that are no keys are passed over.
pub(crate) fn own() -> Result<Vec<PublicKey>, Failure> {
    let files = files(&directory()?)?;
    Ok(files
        .iter()
        .filter_map(|file| read_any(file).ok())
        .map(|key| key.public())
        .collect())
}

/// Reads a private key from a file that only its owner can read.
pub(crate) fn read(file: &Path) -> Result<SecretKey, Failure> {
    let key = read_any(file)?;
    if is_too_open(file) {
        return Err(Failure::new(
            Exit::Denied,
            format!("others can read the private key in {}", file.display()),
            format!(
                "run: chmod 600 {}; if others may have read it, make a new key",
                file.display()
            ),
        ));
    }
    Ok(key)
}

/// As [`read`], whoever else can read it.
fn read_any(file: &Path) -> Result<SecretKey, Failure> {
    let mut text = Zeroizing::new(String::new());
    let read =
        File::open(file).and_then(|open| open.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::new(
            Exit::NotFound,
            format!("there is no key in {}", file.display()),
            "make one with: gk keys generate",
        ),
        _ => Failure::file("read", file, &error),
    })?;
    parse(&text, &file.display().to_string())
}

/// The private key in the first line of a text. What is wrong with it is said without repeating any
/// of it.
pub(crate) fn parse(text: &str, place: &str) -> Result<SecretKey, Failure> {
    SecretKey::from_hex(text.trim().lines().next().unwrap_or_default()).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("{place}: {error}"),
            "name a file that `gk keys generate` has made",
        )
    })
}

/// Returns `true` if others than its owner can read or write it. What is no regular file (a pipe)
/// has no permissions of its own.
fn is_too_open(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o077 != 0)
}

fn write(file: &Path, text: &[u8], force: bool) -> io::Result<()> {
    let parent = file.parent().filter(|parent| *parent != Path::new(""));
    let parent = parent.unwrap_or(Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(parent)?;
    if force {
        let mut temporary = tempfile::Builder::new()
            .prefix(".gk-key-")
            .permissions(fs::Permissions::from_mode(0o600))
            .tempfile_in(parent)?;
        temporary.write_all(text)?;
        temporary.as_file().sync_all()?;
        temporary.persist(file).map_err(|error| error.error)?;
        return Ok(());
    }
    let mut options = File::options();
    let mut open = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    open.write_all(text)?;
    open.sync_all()
}
