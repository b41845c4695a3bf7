//! Files for tests.

use std::fs::File;
use std::io::{Seek as _, Write as _};

/// An open file with these bytes, at its start.
pub(crate) fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

/// So many bytes, of which no two neighbours are the same.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}
