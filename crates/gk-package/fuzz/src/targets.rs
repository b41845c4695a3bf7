//! What is fuzzed: a ZIP file that comes from outside. The target fails by panicking.

use std::fs;

use gk_package::{Archive, limits::FILE_BYTES_MAX};

/// Whatever the bytes are, unpacking writes all of the package or nothing, and nothing beside its
/// directory.
pub fn archive(data: &[u8]) {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let (file, into) = (temp.path().join("a.zip"), temp.path().join("into"));
    fs::write(&file, data).expect("a file");
    fs::create_dir(&into).expect("a directory");
    if let Ok(archive) = Archive::open(&file) {
        let readable = archive
            .entries()
            .iter()
            .all(|entry| archive.read(entry.path(), FILE_BYTES_MAX).is_ok());
        let unpacked = archive.unpack(&into, &[]).is_ok();
        assert_eq!(readable, unpacked);
        let there = fs::read_dir(&into).expect("a directory").count();
        assert_eq!(there > 0, unpacked);
        for entry in archive.entries().iter().filter(|_| unpacked) {
            let written = fs::metadata(into.join(entry.path())).expect("a file");
            assert_eq!(written.len(), entry.size());
        }
    }
    assert_eq!(fs::read_dir(temp.path()).expect("a directory").count(), 2);
}
