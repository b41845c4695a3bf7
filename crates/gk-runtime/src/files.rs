//! Whether the files of a running plugin are still those that it was started from. Until a change is acted on by itself,
//! an operator who copied a new version over the old one has to learn that the old one still runs.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gk_manifest::Manifest;
use gk_sign::Digest;

use crate::discover::MANIFEST_NAME;

/// The files of a plugin as they were when it was started.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    program: PathBuf,
    manifest_file: PathBuf,
    digest: Digest,
    manifest: Arc<Manifest>,
    /// The files as they were last looked at: as long as these are the same, so is their content. `None` where
    /// that cannot be said.
    seen: Option<Stamps>,
    difference: Option<&'static str>,
}

/// Of the binary and of the manifest.
pub(crate) type Stamps = [Option<Stamp>; 2];

/// What changes when a file is written or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: (u64, u64),
    size: u64,
    modified: Option<SystemTime>,
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = path.metadata().ok()?;
        Some(Self {
            inode: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: metadata.modified().ok(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl Files {
    /// How the files of a package are stamped now. To be taken before they are read.
    pub(crate) fn stamps(dir: &Path, program: &Path) -> Stamps {
        [Stamp::of(program), Stamp::of(&dir.join(MANIFEST_NAME))]
    }

    /// What a process is started from: the binary with that digest, and a manifest, both read after `seen` was taken.
    pub(crate) fn new(
        seen: Stamps,
        dir: &Path,
        program: &Path,
        digest: Digest,
        manifest: Arc<Manifest>,
    ) -> Self {
        Self {
            program: program.to_owned(),
            manifest_file: dir.join(MANIFEST_NAME),
            digest,
            manifest,
            seen: settled(seen),
            difference: None,
        }
    }

    /// How the files differ from what runs. Reads them only if they were written since the last time. Blocks.
    pub(crate) fn difference(mut self) -> (Self, Option<&'static str>) {
        let seen = [Stamp::of(&self.program), Stamp::of(&self.manifest_file)];
        if Some(seen) != self.seen {
            self.seen = settled(seen);
            self.difference = self.compare();
        }
        let difference = self.difference;
        (self, difference)
    }

    fn compare(&self) -> Option<&'static str> {
        if digest(&self.program) != Some(self.digest) {
            return Some("its binary");
        }
        match Manifest::load(&self.manifest_file) {
            Ok((manifest, _)) if manifest == *self.manifest => None,
            _ => Some("its plugin.yaml"),
        }
    }
}

/// Many file systems know the time only by the kernel's tick, of up to 10 ms: a file that was written again within one
/// has the same stamp.
const TICK: Duration = Duration::from_millis(50);

/// Stamps that tell whether a file is written from now on; `None` as long as they are too young for that.
fn settled(stamps: Stamps) -> Option<Stamps> {
    let now = SystemTime::now();
    let is_old = |stamp: &Stamp| {
        let (seconds, nanos) = stamp.changed;
        let since = u64::try_from(seconds).ok()?;
        let changed = SystemTime::UNIX_EPOCH + Duration::new(since, u32::try_from(nanos).ok()?);
        now.duration_since(changed).ok().map(|age| age > TICK)
    };
    let all_old = stamps
        .iter()
        .flatten()
        .all(|stamp| is_old(stamp) == Some(true));
    all_old.then_some(stamps)
}

/// `None` for a file that cannot be read.
fn digest(path: &Path) -> Option<Digest> {
    // A FIFO would block whoever opens it.
    let file = path.metadata().ok()?.is_file().then(|| File::open(path));
    let file = file?.ok()?;
    let digest = Digest::of_file(&file, gk_sign::limits::FILE_BYTES_MAX).ok()?;
    digest.map(|(digest, _)| digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_compared_and_what_is_the_same_is_no_difference() {
        let dir = tempfile::tempdir().unwrap();
        let (program, manifest) = (dir.path().join("p"), dir.path().join(MANIFEST_NAME));
        let text = "name: p\nversion: 1.0.0\nruntime: grpc\n";
        std::fs::write(&program, "one").unwrap();
        std::fs::write(&manifest, text).unwrap();
        let seen = Files::stamps(dir.path(), &program);
        let (parsed, _) = Manifest::load(&manifest).unwrap();
        let digest = Digest::of(b"one");
        let files = Files::new(seen, dir.path(), &program, digest, Arc::new(parsed));
        let (files, difference) = files.difference();
        assert_eq!(difference, None);
        std::fs::write(&program, "two").unwrap();
        let (files, difference) = files.difference();
        assert_eq!(difference, Some("its binary"));
        // Replaced by the same bytes.
        std::fs::write(dir.path().join("new"), "one").unwrap();
        std::fs::rename(dir.path().join("new"), &program).unwrap();
        let (files, difference) = files.difference();
        assert_eq!(difference, None);
        std::fs::write(&manifest, format!("{text}# a comment\n")).unwrap();
        let (files, difference) = files.difference();
        assert_eq!(difference, None);
        std::fs::write(&manifest, text.replace("1.0.0", "1.0.1")).unwrap();
        let (files, difference) = files.difference();
        assert_eq!(difference, Some("its plugin.yaml"));
        std::fs::remove_file(&program).unwrap();
        assert_eq!(files.difference().1, Some("its binary"));
    }
}
