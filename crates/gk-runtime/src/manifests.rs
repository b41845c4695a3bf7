//! Cache of parsed manifests: most scans of a plugins directory find most of them unchanged.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gk_manifest::{Diagnostic, Manifest, ManifestError};

use crate::files::Stamp;

/// Maximum number of bytes of a broken manifest that are searched for a name.
const BROKEN_MANIFEST_BYTES_MAX: u64 = 64 * 1024;

/// Manifests by their directory, as earlier scans read them. A manifest is read again only if it
/// was written since.
#[derive(Debug, Default)]
pub(crate) struct Manifests(BTreeMap<PathBuf, (Stamp, Content)>);

/// Content of a manifest.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Plugin(Arc<Manifest>, Vec<Diagnostic>),
    /// A manifest of another runtime, or a file that does not parse.
    Other {
        error: String,
        is_not_native: bool,
        name: Option<String>,
    },
}

impl Manifests {
    /// Forgets all but these directories.
    pub(crate) fn keep(&mut self, is_there: impl Fn(&PathBuf) -> bool) {
        self.0.retain(|dir, _| is_there(dir));
    }

    /// Returns the content of a directory's manifest, and the stamp from before it was read.
    pub(crate) fn read(&mut self, dir: &Path, file: &Path) -> (Option<Stamp>, Content) {
        let stamp = Stamp::of(file);
        if let Some((known, content)) = self.0.get(dir)
            && Some(*known) == stamp
        {
            return (stamp, content.clone());
        }
        // A stamp that is too young may be that of another content a moment later.
        let lasting = stamp.filter(Stamp::is_settled);
        let (content, can_be_read) = match Manifest::load(file) {
            Ok((manifest, warnings)) => (Content::Plugin(Arc::new(manifest), warnings), true),
            Err(error) => (
                Content::Other {
                    error: match error.is_not_native() {
                        true => error.to_string(),
                        false => describe(&error),
                    },
                    is_not_native: error.is_not_native(),
                    name: name_of_broken(file),
                },
                // Why it cannot be read need not lie in the file.
                !matches!(error, ManifestError::Read { .. }),
            ),
        };
        match lasting.filter(|_| can_be_read) {
            Some(stamp) => self.0.insert(dir.to_owned(), (stamp, content.clone())),
            None => self.0.remove(dir),
        };
        (stamp, content)
    }
}

/// The name that a manifest which cannot be read as one seems to give.
fn name_of_broken(file: &Path) -> Option<String> {
    // Opening a FIFO would block.
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .ok()?
        .take(BROKEN_MANIFEST_BYTES_MAX)
        .read_to_end(&mut bytes)
        .ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().find_map(|line| line.strip_prefix("name:"))?;
    let value = line.split(" #").next().unwrap_or_default();
    let name = value.trim().trim_matches(['"', '\'']);
    (!name.is_empty()).then(|| name.to_owned())
}

fn describe(error: &ManifestError) -> String {
    let text = crate::error::chain(error);
    match error {
        ManifestError::Read { .. } => format!("{text}; make it a readable file"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::files::MANIFEST_NAME;

    const TEXT: &str = "name: p\nversion: 1.0.0\nruntime: grpc\n";

    /// Waits until the stamp of a file says something.
    fn settle(file: &Path) {
        while Stamp::of(file).is_some_and(|stamp| !stamp.is_settled()) {
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn manifest(content: Content) -> Arc<Manifest> {
        match content {
            Content::Plugin(manifest, _) => manifest,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_not_written_since_is_not_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(MANIFEST_NAME);
        let mut manifests = Manifests::default();
        let mut read = || manifests.read(dir.path(), &file).1;
        std::fs::write(&file, TEXT).unwrap();
        settle(&file);
        let first = manifest(read());
        assert!(Arc::ptr_eq(&first, &manifest(read())));
        // A rewritten file counts as changed, even with the same content.
        std::fs::write(&file, TEXT).unwrap();
        settle(&file);
        let second = manifest(read());
        assert!(!Arc::ptr_eq(&first, &second));
        assert_eq!(first, second);
        assert!(Arc::ptr_eq(&second, &manifest(read())));
        std::fs::write(&file, "name: [\n").unwrap();
        settle(&file);
        assert!(matches!(read(), Content::Other { .. }));
        assert!(matches!(read(), Content::Other { .. }));
        std::fs::write(&file, TEXT.replace("1.0.0", "1.0.1")).unwrap();
        assert_eq!(manifest(read()).version, "1.0.1");
    }

    /// A file that is written twice within a tick of the file system's clock keeps its stamp.
    #[test]
    fn what_was_just_written_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(MANIFEST_NAME);
        let mut manifests = Manifests::default();
        let mut is_young = || {
            std::fs::write(&file, TEXT).unwrap();
            manifests.read(dir.path(), &file);
            let remembered = !manifests.0.is_empty();
            // On a busy machine the stamp may have settled before the read, which proves nothing;
            // hence the attempts.
            !Stamp::of(&file).unwrap().is_settled() && !remembered
        };
        assert!((0..100).any(|_| is_young()));
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(MANIFEST_NAME);
        std::fs::write(&file, TEXT).unwrap();
        settle(&file);
        let mut manifests = Manifests::default();
        manifests.read(dir.path(), &file);
        assert_eq!(manifests.0.len(), 1);
        manifests.keep(|known| known != dir.path());
        assert!(manifests.0.is_empty());
        // Without a file there is nothing to remember; the entry is removed.
        std::fs::remove_file(&file).unwrap();
        manifests.read(dir.path(), &file);
        assert!(manifests.0.is_empty());
    }
}
