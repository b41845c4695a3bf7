//! A tar file, compressed, that depends on nothing but its entries and one time.

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};

/// A file of the archive.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Below the archive's own directory.
    pub(super) path: String,
    pub(super) bytes: Vec<u8>,
    mode: u32,
}

impl Entry {
    pub(super) fn text(path: String, bytes: Vec<u8>) -> Self {
        Entry {
            path,
            bytes,
            mode: 0o644,
        }
    }

    pub(super) fn program(path: String, bytes: Vec<u8>) -> Self {
        Entry {
            path,
            bytes,
            mode: 0o755,
        }
    }
}

/// Packs the entries by path, of root and of one time.
pub(super) fn tar_gz(directory: &str, mut entries: Vec<Entry>, epoch: u64) -> Result<Vec<u8>> {
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let compressed = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::best());
    let mut tar = tar::Builder::new(compressed);
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(entry.bytes.len() as u64);
        header.set_mode(entry.mode);
        header.set_mtime(epoch);
        header.set_uid(0);
        header.set_gid(0);
        header
            .set_username("root")
            .and_then(|()| header.set_groupname("root"))
            .context("cannot name the owner")?;
        let path = format!("{directory}/{}", entry.path);
        tar.append_data(&mut header, &path, &*entry.bytes)
            .with_context(|| format!("cannot pack {path}"))?;
    }
    let compressed = tar.into_inner().context("cannot end the archive")?;
    compressed.finish().context("cannot end the archive")
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn the_same_entries_make_the_same_archive_in_any_order() {
        let entries = [
            Entry::program("bin/gk".into(), b"program".to_vec()),
            Entry::text(format!("share/{}/long", "x".repeat(120)), b"text".to_vec()),
        ];
        let packed = tar_gz("goatkit", entries.to_vec(), 1_700_000_000).unwrap();
        let mut turned = entries.to_vec();
        turned.reverse();
        assert_eq!(packed, tar_gz("goatkit", turned, 1_700_000_000).unwrap());

        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&*packed));
        let mut read = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let header = entry.header();
            let facts = (header.mode().unwrap(), header.mtime().unwrap());
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            (entry.path().unwrap().display().to_string(), text, facts)
        });
        let first = (
            "goatkit/bin/gk".into(),
            "program".into(),
            (0o755, 1_700_000_000),
        );
        assert_eq!(read.next(), Some(first));
        let (path, text, facts) = read.next().unwrap();
        assert!(path.ends_with("x/long"), "{path}");
        assert_eq!((&*text, facts), ("text", (0o644, 1_700_000_000)));
        assert_eq!(read.next(), None);
    }
}
