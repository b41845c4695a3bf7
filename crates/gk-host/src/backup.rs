//! `gk-host backup` and `gk-host restore`: what is in the data directory, in one file.
//!
//! The file is a tar archive, compressed by zstd with a checksum. A backup is made while the host
//! runs: of each database a snapshot is taken, which has every transaction that was acknowledged
//! before. Stored files are replaced by renaming, so an open file is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use gk_services::store;
use serde::{Deserialize, Serialize};
use tar::{Archive, Builder, EntryType, Header};

use crate::config::{Config, ServeArgs};
use crate::lock::DataLock;

/// Version of the form of a backup.
const FORM: u32 = 1;

/// First entry of the archive.
const ABOUT: &str = "backup.json";

/// Databases in the data directory.
const DATABASES: &[&str] = &["host.db", "hostapi.db", "plugins.db"];

/// Other files in the data directory.
const FILES: &[&str] = &["admin.token"];

/// Directories whose files are in a backup. The plugins' work directories are not: they may be lost.
const DIRECTORIES: &[&str] = &["files", "plugin-state"];

/// Maximum length of [`ABOUT`], in bytes.
const ABOUT_BYTES_MAX: u64 = 64 * 1024;

/// Flags of `gk-host backup`.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// File to write
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Data directory of the host, which may be running [default: that of the configuration]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Replaces the file if it exists
    #[arg(long)]
    force: bool,

    /// Configuration file of the host; GK_CONFIG names it, too
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Flags of `gk-host restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// Backup to read
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Data directory to make; it must not exist, or be empty
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
}

/// Content of [`ABOUT`].
#[derive(Debug, Serialize, Deserialize)]
struct About {
    form: u32,
    /// Version of the host that wrote it.
    host_version: String,
    /// Seconds since 1970.
    created: u64,
}

/// Makes a backup.
pub(crate) fn backup(args: &BackupArgs) -> Result<ExitCode> {
    let config = Config::load(&ServeArgs {
        data_dir: args.data_dir.clone(),
        config: args.config.clone(),
        ..ServeArgs::default()
    })?;
    let data_dir = &config.data_dir;
    ensure!(
        data_dir.join(DATABASES[0]).is_file(),
        "{} is no data directory of a host; name it with --data-dir",
        data_dir.display()
    );
    if args.file.exists() && !args.force {
        bail!(
            "{} exists; remove it, name another file, or replace it with --force",
            args.file.display()
        );
    }
    let partial = beside(&args.file, "partial")?;
    // What an earlier attempt has left.
    remove(&partial)?;
    let written = write(data_dir, &partial).and_then(|bytes| {
        fs::rename(&partial, &args.file)
            .with_context(|| format!("{} cannot be written", args.file.display()))?;
        Ok(bytes)
    });
    let bytes = match written {
        Ok(bytes) => bytes,
        Err(error) => {
            let _ = fs::remove_file(&partial);
            return Err(error);
        }
    };
    say(&format!(
        "{}: {bytes} bytes, of {}",
        args.file.display(),
        data_dir.display()
    ));
    say(
        "Not in it: packages of plugins, their work directories, the configuration, and the keys that secrets are encrypted with.",
    );
    let mut elsewhere: Vec<_> = config.databases.keys().map(String::as_str).collect();
    if config.database_url.is_some() {
        elsewhere.insert(0, "database_url");
    }
    if !elsewhere.is_empty() {
        say(&format!(
            "Not in it either: the databases {}; back them up by their own means.",
            elsewhere.join(", ")
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn write(data_dir: &Path, to: &Path) -> Result<u64> {
    let unwritable = || format!("{} cannot be written", to.display());
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .with_context(unwritable)?;
    let mut zstd = zstd::Encoder::new(BufWriter::new(file), 0).with_context(unwritable)?;
    zstd.include_checksum(true).with_context(unwritable)?;
    let mut archive = Builder::new(zstd);
    let about = About {
        form: FORM,
        host_version: env!("CARGO_PKG_VERSION").to_owned(),
        created: seconds(SystemTime::now()),
    };
    let about = serde_json::to_vec(&about)?;
    append(&mut archive, ABOUT, &about[..], about.len() as u64).with_context(unwritable)?;
    for name in DATABASES {
        let database = data_dir.join(name);
        if database.is_file() {
            let snapshot = beside(to, name)?;
            remove(&snapshot)?;
            let appended = store::snapshot(&database, &snapshot)
                .with_context(|| format!("{} cannot be copied", database.display()))
                .and_then(|()| append_file(&mut archive, name, &snapshot));
            remove(&snapshot)?;
            appended?;
        }
    }
    for name in FILES {
        let path = data_dir.join(name);
        if path.is_file() {
            append_file(&mut archive, name, &path)?;
        }
    }
    for name in DIRECTORIES {
        append_directory(&mut archive, data_dir, Path::new(name))?;
    }
    let zstd = archive.into_inner().with_context(unwritable)?;
    let file = zstd.finish().and_then(|buffer| Ok(buffer.into_inner()?));
    let file = file.with_context(unwritable)?;
    file.sync_all().with_context(unwritable)?;
    Ok(file.metadata().with_context(unwritable)?.len())
}

/// Appends all regular files below a directory of the data directory.
fn append_directory(
    archive: &mut Builder<impl Write>,
    data_dir: &Path,
    directory: &Path,
) -> Result<()> {
    let path = data_dir.join(directory);
    let unreadable = || format!("{} cannot be read", path.display());
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        // Removed meanwhile, or there is none.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(unreadable),
    };
    for entry in entries {
        let entry = entry.with_context(unreadable)?;
        let name = directory.join(entry.file_name());
        let kind = entry.file_type().with_context(unreadable)?;
        if kind.is_dir() {
            append_directory(archive, data_dir, &name)?;
        } else if kind.is_file() {
            append_file(archive, &name, &entry.path())?;
        }
    }
    Ok(())
}

/// Appends a file, unless it has been removed meanwhile.
fn append_file(
    archive: &mut Builder<impl Write>,
    name: impl AsRef<Path>,
    path: &Path,
) -> Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("{} cannot be read", path.display()));
        }
    };
    let length = file.metadata()?.len();
    // A file that grows meanwhile is in it as it was.
    append(archive, name, file.take(length), length)
        .with_context(|| format!("{} cannot be copied", path.display()))
}

fn append(
    archive: &mut Builder<impl Write>,
    name: impl AsRef<Path>,
    content: impl Read,
    length: u64,
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600);
    header.set_size(length);
    header.set_mtime(seconds(SystemTime::now()));
    archive.append_data(&mut header, name, content)
}

/// Makes a data directory of a backup.
pub(crate) fn restore(args: &RestoreArgs) -> Result<ExitCode> {
    let data_dir = &args.data_dir;
    let is_empty = match fs::read_dir(data_dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(error).with_context(|| data_dir.display().to_string()),
    };
    ensure!(
        is_empty,
        "{} is not empty; name another directory, or move it away after the host has stopped",
        data_dir.display()
    );
    let partial = beside(data_dir, "partial")?;
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| partial.display().to_string())?;
    }
    let unpacked = unpack(&args.file, &partial).and_then(|about| {
        // An empty directory is replaced.
        fs::rename(&partial, data_dir)
            .with_context(|| format!("{} cannot be made", data_dir.display()))?;
        Ok(about)
    });
    let about = match unpacked {
        Ok(about) => about,
        Err(error) => {
            let _ = fs::remove_dir_all(&partial);
            return Err(error);
        }
    };
    say(&format!(
        "{} is restored, as host {} left it{}",
        data_dir.display(),
        about.host_version,
        match moment_text(about.created) {
            Some(moment) => format!(" at {moment}"),
            None => String::new(),
        }
    ));
    say(
        "Plugins' packages, the configuration and the keys of secrets were not in the backup: put them in place before the host starts.",
    );
    Ok(ExitCode::SUCCESS)
}

fn unpack(from: &Path, to: &Path) -> Result<About> {
    let no_backup = || format!("{} is no backup of a host, or is damaged", from.display());
    let file = File::open(from).with_context(|| format!("{} cannot be read", from.display()))?;
    let zstd = zstd::Decoder::new(file).with_context(no_backup)?;
    let mut archive = Archive::new(BufReader::new(zstd));
    directory(to)?;
    // No host starts on what is half a directory.
    let lock = DataLock::take(to)?;
    let mut about = None;
    for entry in archive.entries().with_context(no_backup)? {
        let mut entry = entry.with_context(no_backup)?;
        let name = entry.path().with_context(no_backup)?.into_owned();
        if about.is_none() {
            ensure!(name == Path::new(ABOUT), no_backup());
            about = Some(read_about(&mut entry, from)?);
            continue;
        }
        let is_plain = name
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        let first = name
            .components()
            .next()
            .map(|part| part.as_os_str().to_owned());
        let known = DATABASES.iter().chain(FILES).chain(DIRECTORIES);
        let is_known = first.is_some_and(|first| known.into_iter().any(|known| first == **known));
        ensure!(
            is_plain && is_known && entry.header().entry_type() == EntryType::Regular,
            "{}: the entry {} does not belong into a backup",
            from.display(),
            name.display()
        );
        let path = to.join(&name);
        if let Some(parent) = path.parent() {
            directory(parent)?;
        }
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        let mut file = made.with_context(|| format!("{} cannot be made", path.display()))?;
        io::copy(&mut entry, &mut file).with_context(no_backup)?;
        file.sync_all()
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    // The checksum is behind the last entry.
    io::copy(&mut archive.into_inner(), &mut io::sink()).with_context(no_backup)?;
    let about = about.with_context(no_backup)?;
    for name in DATABASES {
        let database = to.join(name);
        if database.is_file() {
            store::check(&database).with_context(|| format!("{name} of the backup"))?;
        }
    }
    drop(lock);
    Ok(about)
}

fn read_about(entry: &mut impl Read, from: &Path) -> Result<About> {
    let mut text = Vec::new();
    entry.take(ABOUT_BYTES_MAX).read_to_end(&mut text)?;
    let about: About = serde_json::from_slice(&text)
        .with_context(|| format!("{} is no backup of a host", from.display()))?;
    ensure!(
        about.form == FORM,
        "{} has form {}, this host reads form {FORM}; restore it with gk-host {}",
        from.display(),
        about.form,
        about.host_version
    );
    Ok(about)
}

/// Makes a directory for this user alone, with those above it.
fn directory(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("{} cannot be made", path.display()))
}

/// Returns a hidden path in the same directory.
fn beside(path: &Path, what: &str) -> Result<PathBuf> {
    let name = path
        .file_name()
        .with_context(|| format!("{} has no name", path.display()))?;
    Ok(path.with_file_name(format!(".{}.{what}", name.to_string_lossy())))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be removed", path.display()))
        }
        _ => Ok(()),
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn moment_text(created: u64) -> Option<String> {
    let moment = time::OffsetDateTime::from_unix_timestamp(i64::try_from(created).ok()?).ok()?;
    moment
        .format(&time::format_description::well_known::Rfc3339)
        .ok()
}

/// Prints a line for whoever gave the command.
fn say(text: &str) {
    // A closed stdout is no failure.
    let _ = writeln!(io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A backup with one entry of somebody else's.
    fn forged(path: &Path, name: &str, change: impl Fn(&mut Header)) {
        let file = File::create(path).unwrap();
        let mut archive = Builder::new(zstd::Encoder::new(file, 0).unwrap());
        let about = About {
            form: FORM,
            host_version: "0.1.0".to_owned(),
            created: 0,
        };
        let about = serde_json::to_vec(&about).unwrap();
        append(&mut archive, ABOUT, &about[..], about.len() as u64).unwrap();
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(4);
        // Not by the library's function, which takes no such names.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        change(&mut header);
        header.set_cksum();
        let content: &[u8] = match header.size().unwrap() {
            0 => b"",
            _ => b"evil",
        };
        archive.append(&header, content).unwrap();
        archive.into_inner().unwrap().finish().unwrap();
    }

    fn restored(dir: &Path) -> Result<ExitCode> {
        restore(&RestoreArgs {
            file: dir.join("backup"),
            data_dir: dir.join("data"),
        })
    }

    #[test]
    fn nothing_is_restored_beside_the_data_directory() {
        let regular = |_: &mut Header| {};
        let symlink = |header: &mut Header| {
            header.set_entry_type(EntryType::Symlink);
            header.set_size(0);
            header.as_old_mut().linkname[..11].copy_from_slice(b"/etc/passwd");
        };
        let hard_link = |header: &mut Header| {
            header.set_entry_type(EntryType::Link);
            header.set_size(0);
            header.as_old_mut().linkname[..11].copy_from_slice(b"/etc/passwd");
        };
        type Change<'a> = &'a dyn Fn(&mut Header);
        let changes: [(&str, Change<'_>); 8] = [
            ("../evil", &regular),
            ("files/../../evil", &regular),
            ("/tmp/gk-evil", &regular),
            ("plugins/gen3/evil", &regular),
            ("admin.sock", &regular),
            ("host.lock", &regular),
            ("files/link", &symlink),
            ("files/link", &hard_link),
        ];
        for (name, change) in changes {
            let dir = tempfile::tempdir().unwrap();
            forged(&dir.path().join("backup"), name, change);
            let error = restored(dir.path()).expect_err(name);
            assert!(
                error.to_string().contains("does not belong"),
                "{name}: {error:#}"
            );
            let left = fs::read_dir(dir.path()).unwrap();
            let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(left, ["backup"], "{name}");
            assert!(!Path::new("/tmp/gk-evil").exists());
        }
        // The same, of what belongs there.
        let dir = tempfile::tempdir().unwrap();
        forged(&dir.path().join("backup"), "files/fine", regular);
        restored(dir.path()).unwrap();
        assert_eq!(
            fs::read(dir.path().join("data/files/fine")).unwrap(),
            b"evil"
        );
    }
}
