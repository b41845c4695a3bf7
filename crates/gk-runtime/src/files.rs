//! Detects changes of the files that a plugin's process was started from.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use gk_manifest::Manifest;
use gk_sign::Digest;

/// The manifest's file name.
pub(crate) const MANIFEST_NAME: &str = "plugin.yaml";

/// The files that a process was started from.
#[derive(Debug)]
pub(crate) struct Files {
    program: PathBuf,
    manifest_file: PathBuf,
    digest: Digest,
    manifest: Arc<Manifest>,
    signatures: [PathBuf; 2],
    /// The digests of these, where they exist.
    signed: [Option<Digest>; 2],
}

/// Stamps of the binary, the manifest, and the two kinds of signatures.
pub(crate) type Stamps = [Option<Stamp>; 4];

/// Metadata that changes when a file is written or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: (u64, u64),
    size: u64,
    modified: Option<SystemTime>,
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = path.metadata().ok()?;
        Some(Self {
            inode: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: metadata.modified().ok(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// See [`is_settled`].
    pub(crate) fn is_settled(&self) -> bool {
        let (seconds, nanos) = self.changed;
        let since = Duration::new(
            u64::try_from(seconds).unwrap_or_default(),
            u32::try_from(nanos).unwrap_or_default(),
        );
        // A time in the future comes from another clock, and waiting would not make the stamp more
        // reliable.
        let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + since);
        age.map_or(true, |age| age > TICK)
    }
}

impl Files {
    /// Returns the stamps of a package's files. Take them before the files are read.
    pub(crate) fn stamps(dir: &Path, program: &Path) -> Stamps {
        let [own, package] = signatures(dir, program);
        [program, &dir.join(MANIFEST_NAME), &own, &package].map(Stamp::of)
    }

    /// Records the files that a process is started from: the binary with that digest, the manifest,
    /// and the signatures beside them.
    pub(crate) fn new(dir: &Path, program: &Path, digest: Digest, manifest: Arc<Manifest>) -> Self {
        let signatures = signatures(dir, program);
        Self {
            program: program.to_owned(),
            manifest_file: dir.join(MANIFEST_NAME),
            signed: signatures.each_ref().map(|file| self::digest(file)),
            signatures,
            digest,
            manifest,
        }
    }

    /// Digest of the binary.
    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Reads the files and names the first that differs from the one the process was started from.
    /// Blocks.
    pub(crate) fn difference(&self) -> Option<&'static str> {
        if digest(&self.program) != Some(self.digest) {
            return Some("its binary");
        }
        match Manifest::load(&self.manifest_file) {
            Ok((manifest, _)) if manifest == *self.manifest => {}
            _ => return Some("its plugin.yaml"),
        }
        let signed = self.signatures.each_ref().map(|file| self::digest(file));
        (signed != self.signed).then_some("its signature")
    }
}

/// Paths of a package's signatures: that of the binary alone, and that of all files.
fn signatures(dir: &Path, program: &Path) -> [PathBuf; 2] {
    let mut own = program.as_os_str().to_owned();
    own.push(".sig");
    [own.into(), dir.join("plugin.sig")]
}

/// Time after a change until a stamp is reliable. Many file systems take the time from the kernel's
/// tick of up to 10 ms, so a file that is written again within one tick keeps its stamp.
const TICK: Duration = Duration::from_millis(50);

/// Returns true if the stamps are old enough for any further write to change them.
pub(crate) fn is_settled(stamps: Stamps) -> bool {
    stamps.iter().flatten().all(Stamp::is_settled)
}

/// Entries of a package that are looked at to see whether anything of it has changed.
const TREE_ENTRIES_MAX: usize = 4096;

/// Fingerprint of a whole package: one that failed to start may only have been incomplete. Computed
/// at the first use, as only packages that are started or have failed need it. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    dir: PathBuf,
    stamp: Arc<OnceLock<u64>>,
}

impl Tree {
    /// Returns the fingerprint of a directory, which is not read yet.
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            stamp: Arc::default(),
        }
    }

    /// Computes the fingerprint at the first call, which blocks.
    pub(crate) fn stamp(&self) -> u64 {
        *self.stamp.get_or_init(|| tree(&self.dir))
    }
}

/// Hashes names, sizes and times. Hidden names, and the targets of links, are left out.
fn tree(dir: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut left = TREE_ENTRIES_MAX;
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        let mut entries: Vec<_> = dir.read_dir().into_iter().flatten().flatten().collect();
        entries.retain(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries.into_iter().take(left) {
            left -= 1;
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            entry.path().hash(&mut hasher);
            (
                metadata.len(),
                metadata.ino(),
                metadata.mtime(),
                metadata.mtime_nsec(),
            )
                .hash(&mut hasher);
            metadata.mode().hash(&mut hasher);
            if metadata.is_dir() {
                dirs.push(entry.path());
            }
        }
    }
    hasher.finish()
}

/// Returns `None` for a file that cannot be read.
fn digest(path: &Path) -> Option<Digest> {
    // Opening a FIFO would block.
    let file = path.metadata().ok()?.is_file().then(|| File::open(path));
    let file = file?.ok()?;
    let digest = Digest::of_file(&file, gk_sign::limits::FILE_BYTES_MAX).ok()?;
    digest.map(|(digest, _)| digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_compared_and_what_is_the_same_is_no_difference() {
        let dir = tempfile::tempdir().unwrap();
        let (program, manifest) = (dir.path().join("p"), dir.path().join(MANIFEST_NAME));
        let text = "name: p\nversion: 1.0.0\nruntime: grpc\n";
        std::fs::write(&program, "one").unwrap();
        std::fs::write(&manifest, text).unwrap();
        let (parsed, _) = Manifest::load(&manifest).unwrap();
        let files = Files::new(dir.path(), &program, Digest::of(b"one"), Arc::new(parsed));
        assert_eq!(files.difference(), None);
        std::fs::write(&program, "two").unwrap();
        assert_eq!(files.difference(), Some("its binary"));
        // Replaced by the same bytes.
        std::fs::write(dir.path().join("new"), "one").unwrap();
        std::fs::rename(dir.path().join("new"), &program).unwrap();
        assert_eq!(files.difference(), None);
        std::fs::write(&manifest, format!("{text}# a comment\n")).unwrap();
        assert_eq!(files.difference(), None);
        std::fs::write(&manifest, text.replace("1.0.0", "1.0.1")).unwrap();
        assert_eq!(files.difference(), Some("its plugin.yaml"));
        std::fs::write(&manifest, text).unwrap();
        std::fs::write(&program, "one").unwrap();
        std::fs::write(dir.path().join("p.sig"), "signed").unwrap();
        assert_eq!(files.difference(), Some("its signature"));
        std::fs::remove_file(&program).unwrap();
        assert_eq!(files.difference(), Some("its binary"));
    }

    #[test]
    fn a_tree_is_what_it_was_when_it_was_first_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let stamp = || Tree::new(dir.path()).stamp();
        std::fs::create_dir(dir.path().join("lib")).unwrap();
        let tree = Tree::new(dir.path());
        std::fs::write(dir.path().join("lib/a"), "one").unwrap();
        let asked = tree.stamp();
        assert_eq!(asked, stamp());
        std::fs::write(dir.path().join("lib/a"), "longer").unwrap();
        assert_eq!(tree.clone().stamp(), asked);
        assert_ne!(stamp(), asked);
        let changed = stamp();
        std::fs::write(dir.path().join(".hidden"), "").unwrap();
        assert_eq!(stamp(), changed);
    }

    /// A file that is written twice within a tick of the clock has the same stamp.
    #[test]
    fn young_stamps_are_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("p");
        std::fs::write(&program, "one").unwrap();
        assert!(!is_settled(Files::stamps(dir.path(), &program)));
        assert!(is_settled(Files::stamps(
            Path::new("/"),
            Path::new("/bin/sh")
        )));
    }
}
