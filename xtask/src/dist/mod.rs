//! `cargo xtask dist`: the release archive in target/dist.
//!
//! It is laid out as a prefix such as /usr/local, and the same from the same commit: sorted, with
//! one time, one owner, and no path of the machine that builds.

mod archive;
mod licences;
mod sbom;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::command::{cargo, command, output, root, run as run_command, say};
use crate::docs;
use archive::Entry;

/// Directory of the texts, below the prefix.
const DOC: &str = "share/doc/goatkit";

/// Files of the archive that are as in the repository, and their places.
const TEXTS: &[(&str, &str)] = &[
    ("README.md", DOC),
    ("CHANGELOG.md", DOC),
    ("SECURITY.md", DOC),
    ("LICENSE-APACHE", DOC),
    ("LICENSE-MIT", DOC),
    ("deploy/goatkit.service", "lib/systemd/system"),
    ("deploy/goatkit.socket", "lib/systemd/system"),
    ("deploy/sysusers.d/goatkit.conf", "lib/sysusers.d"),
    ("deploy/tmpfiles.d/goatkit.conf", "lib/tmpfiles.d"),
    ("deploy/grafana/goatkit.json", "share/goatkit/grafana"),
    ("deploy/prometheus/alerts.yaml", "share/goatkit/prometheus"),
];

/// Places of the generated files.
const GENERATED: &[(&str, &str, &str)] = &[
    ("completions", "gk", "share/bash-completion/completions"),
    ("completions", "_gk", "share/zsh/site-functions"),
    ("completions", "gk.fish", "share/fish/vendor_completions.d"),
];

/// Overrides the time in the archive: seconds since 1970.
const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Options of the archive.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Dist {
    /// Rust's name of the target. Without it that of this machine, with musl (static) if that can
    /// be built here.
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// Build without optimisation: to look at the archive, not to release it.
    #[arg(long)]
    debug: bool,
}

pub(crate) fn run(dist: &Dist) -> Result<()> {
    let epoch = epoch()?;
    let target = match &dist.target {
        Some(target) => {
            ensure_buildable(target)?;
            target.clone()
        }
        None => default_target(),
    };
    let version = env!("CARGO_PKG_VERSION");
    let name = format!("goatkit-{version}-{target}");
    say(format!("building {name} (minutes, the first time)"));
    let programs = build(&target, dist.debug, epoch)?;
    let mut entries = Vec::new();
    for program in ["gk", "gk-host"] {
        let bytes = read(&programs.join(program))?;
        leaves_no_path(program, &bytes)?;
        entries.push(Entry::program(format!("bin/{program}"), bytes));
    }
    for (file, to) in TEXTS {
        let name = file.rsplit('/').next().unwrap_or(file);
        entries.push(Entry::text(
            format!("{to}/{name}"),
            read(&root().join(file))?,
        ));
    }
    documents(&root().join("docs"), &format!("{DOC}/docs"), &mut entries)?;
    generated(&gk_of_this_machine(&programs, &target)?, &mut entries)?;
    let packages = sbom::packages(&target)?;
    let bom = sbom::write(&packages, version, epoch)?;
    entries.push(Entry::text(
        format!("{DOC}/sbom.cdx.json"),
        bom.clone().into(),
    ));
    entries.push(Entry::text(
        format!("{DOC}/THIRD-PARTY-LICENSES"),
        licences::texts(&packages)?.into(),
    ));
    let all = sums(&mut entries);
    entries.push(all);

    let dist = root().join("target/dist");
    fs::create_dir_all(&dist).with_context(|| format!("cannot create {}", dist.display()))?;
    let bytes = archive::tar_gz(&name, entries, epoch)?;
    let (file, bom_file) = (format!("{name}.tar.gz"), format!("{name}.cdx.json"));
    for (file, bytes) in [
        (file.as_str(), bytes.as_slice()),
        (bom_file.as_str(), bom.as_bytes()),
    ] {
        let path = dist.join(file);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    sums_of_release(&dist, version)?;
    say(format!(
        "written to target/dist: {file} ({} KiB), {bom_file}, SHA256SUMS",
        bytes.len() / 1024
    ));
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The time of everything in the archive: SOURCE_DATE_EPOCH, or that of the commit.
fn epoch() -> Result<u64> {
    let text = match std::env::var(SOURCE_DATE_EPOCH) {
        Ok(text) => text,
        Err(_) => output(
            command("git")
                .args(["log", "-1", "--format=%ct"])
                .current_dir(root()),
        )
        .with_context(|| format!("the commit has no time to go by; set {SOURCE_DATE_EPOCH}"))?,
    };
    text.trim()
        .parse()
        .with_context(|| format!("{SOURCE_DATE_EPOCH} is {text:?}: write seconds since 1970"))
}

/// Static where that can be built, with a word on what is missing where not.
fn default_target() -> String {
    let arch = std::env::consts::ARCH;
    let musl = format!("{arch}-unknown-linux-musl");
    match ensure_buildable(&musl) {
        Ok(()) => musl,
        Err(error) => {
            let gnu = format!("{arch}-unknown-linux-gnu");
            say(format!(
                "{error:#}. Building {gnu} instead, whose programs need this machine's glibc, or a newer one"
            ));
            gnu
        }
    }
}

/// Rust's library for the target must be there, and for musl a C compiler.
fn ensure_buildable(target: &str) -> Result<()> {
    let directory = output(command("rustc").args(["--print", "target-libdir", "--target", target]))
        .with_context(|| format!("{target} is no target; rustc --print target-list has all"))?;
    ensure!(
        Path::new(directory.trim()).is_dir(),
        "Rust's standard library for {target} is not installed: rustup target add {target}"
    );
    let is_here = target.starts_with(std::env::consts::ARCH);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |name: &str| std::env::split_paths(&path).any(|path| path.join(name).is_file());
    let arch = target.split('-').next().unwrap_or_default();
    let compiler = format!("{arch}-linux-musl-gcc");
    ensure!(
        !target.ends_with("-musl") || has(&compiler) || (is_here && has("musl-gcc")),
        "there is no C compiler for {target} ({compiler}{}): on Debian and Ubuntu, apt-get install musl-tools",
        if is_here { " or musl-gcc" } else { "" }
    );
    Ok(())
}

/// Builds both programs; the directory they are in.
fn build(target: &str, debug: bool, epoch: u64) -> Result<PathBuf> {
    // Of its own, since the flags are others.
    let directory = root().join("target/dist/build");
    let mut build = cargo();
    build
        .args(["build", "--locked", "--quiet", "--target", target])
        .args([
            "--package",
            "gk-cli",
            "--package",
            "gk-host",
            "--target-dir",
        ])
        .arg(&directory)
        .env(SOURCE_DATE_EPOCH, epoch.to_string());
    let places = places()?;
    let rust: Vec<_> = places
        .iter()
        .map(|(from, to)| format!("--remap-path-prefix={from}={to}"))
        .collect();
    let c: Vec<_> = places
        .iter()
        .map(|(from, to)| format!("-ffile-prefix-map={from}={to}"))
        .collect();
    build
        .env("CARGO_ENCODED_RUSTFLAGS", rust.join("\u{1f}"))
        .env(format!("CFLAGS_{}", target.replace('-', "_")), c.join(" "));
    if !debug {
        build.arg("--release");
    }
    run_command(&mut build)?;
    Ok(directory
        .join(target)
        .join(if debug { "debug" } else { "release" }))
}

/// Directories of this machine, and what stands for them in programs.
fn places() -> Result<Vec<(String, &'static str)>> {
    let home = std::env::var("HOME").unwrap_or_default();
    let cargo_home = std::env::var("CARGO_HOME").unwrap_or_else(|_| format!("{home}/.cargo"));
    let sysroot = output(command("rustc").args(["--print", "sysroot"]))?;
    let root = root();
    let root = root
        .to_str()
        .context("the repository's path is not UTF-8")?;
    // The longer one counts where one is in the other.
    Ok(vec![
        (cargo_home, "/cargo"),
        (sysroot.trim().to_owned(), "/rust"),
        (root.to_owned(), "/goatkit"),
    ])
}

/// No program tells where it was built.
fn leaves_no_path(program: &str, bytes: &[u8]) -> Result<()> {
    for (place, _) in places()? {
        let found = bytes
            .windows(place.len())
            .position(|window| window == place.as_bytes());
        if let Some(at) = found {
            let end = (at + 160).min(bytes.len());
            let shown = String::from_utf8_lossy(bytes.get(at..end).unwrap_or_default());
            bail!("{program} has a path of this machine in it: {shown:?}");
        }
    }
    Ok(())
}

/// A `gk` that runs here, to generate with.
fn gk_of_this_machine(programs: &Path, target: &str) -> Result<PathBuf> {
    if target.starts_with(&format!("{}-unknown-linux", std::env::consts::ARCH)) {
        return Ok(programs.join("gk"));
    }
    docs::build_gk()
}

/// Completions and man pages.
fn generated(gk: &Path, entries: &mut Vec<Entry>) -> Result<()> {
    let made = tempfile::tempdir().context("cannot make a temporary directory")?;
    for what in ["completions", "man"] {
        run_command(
            command(gk)
                .args(["generate", what, "--out"])
                .arg(made.path().join(what)),
        )?;
    }
    for (kind, file, to) in GENERATED {
        let bytes = read(&made.path().join(kind).join(file))?;
        entries.push(Entry::text(format!("{to}/{file}"), bytes));
    }
    documents(&made.path().join("man"), "share/man/man1", entries)
}

/// All files of a directory.
fn documents(directory: &Path, to: &str, entries: &mut Vec<Entry>) -> Result<()> {
    let listed =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in listed {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().context("a file's name is not UTF-8")?;
        let to = format!("{to}/{name}");
        match entry.file_type()?.is_dir() {
            true => documents(&entry.path(), &to, entries)?,
            false => entries.push(Entry::text(to, read(&entry.path())?)),
        }
    }
    Ok(())
}

/// The digests of all that is there, for `sha256sum -c` at the prefix.
fn sums(entries: &mut [Entry]) -> Entry {
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let mut text = String::new();
    for entry in entries {
        let _ = writeln!(text, "{}  {}", sha256(&entry.bytes), entry.path);
    }
    Entry::text(format!("{DOC}/SHA256SUMS"), text.into())
}

/// SHA256SUMS beside the archives: of all targets that this version was built for here.
fn sums_of_release(dist: &Path, version: &str) -> Result<()> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(dist).with_context(|| format!("cannot read {}", dist.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(&format!("goatkit-{version}-")) {
            entries.push(Entry::text(name, read(&entry.path())?));
        }
    }
    let path = dist.join("SHA256SUMS");
    let sums = sums(&mut entries).bytes;
    fs::write(&path, sums).with_context(|| format!("cannot write {}", path.display()))
}

fn sha256(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_archive_takes_is_there() {
        for (file, _) in TEXTS {
            assert!(root().join(file).is_file(), "{file}");
        }
        let mut entries = Vec::new();
        documents(&root().join("docs"), "docs", &mut entries).unwrap();
        assert!(
            entries
                .iter()
                .any(|entry| entry.path == "docs/operations.md")
        );
    }

    #[test]
    fn sums_are_those_of_sha256sum() {
        let mut entries = [
            Entry::text("b".into(), b"abc".to_vec()),
            Entry::text("a".into(), Vec::new()),
        ];
        let sums = sums(&mut entries);
        let expected = "\
            e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a\n\
            ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b\n";
        assert_eq!(String::from_utf8(sums.bytes).unwrap(), expected);
    }

    #[test]
    fn the_sums_of_a_release_are_of_all_its_files_and_no_others() {
        let dist = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("goatkit-1.0.0-b.tar.gz", "abc"),
            ("goatkit-1.0.0-a.tar.gz", ""),
            ("goatkit-0.9.0-a.tar.gz", "old"),
            ("SHA256SUMS", "old"),
        ] {
            fs::write(dist.path().join(file), text).unwrap();
        }
        sums_of_release(dist.path(), "1.0.0").unwrap();
        let sums = fs::read_to_string(dist.path().join("SHA256SUMS")).unwrap();
        let files: Vec<_> = sums.lines().map(|line| &line[66..]).collect();
        assert_eq!(files, ["goatkit-1.0.0-a.tar.gz", "goatkit-1.0.0-b.tar.gz"]);
    }

    #[test]
    fn a_path_of_this_machine_is_found() {
        leaves_no_path("gk", b"/goatkit/src/main.rs").unwrap();
        let path = format!("..{}/src/main.rs", root().display());
        assert!(leaves_no_path("gk", path.as_bytes()).is_err());
    }

    #[test]
    fn a_target_that_is_none_is_refused() {
        let error = ensure_buildable("pdp11-unknown-unix").unwrap_err();
        assert!(format!("{error:#}").contains("target-list"), "{error:#}");
    }
}
