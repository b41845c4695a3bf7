//! What pinning has in common on all systems: one reading of the file, with a bound.

use std::fs::File;
use std::io::{self, Read as _, Write as _};

use crate::digest::CHUNK;

/// Copies what is left of `from`; the number of bytes, or `None` if there are more than `max`.
pub(crate) fn copy(from: &File, mut to: &File, max: u64) -> io::Result<Option<u64>> {
    let mut limited = from.take(max.saturating_add(1));
    let mut buffer = vec![0; CHUNK];
    let mut size = 0;
    loop {
        let read = match limited.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        size += read as u64;
        if size > max {
            return Ok(None);
        }
        to.write_all(&buffer[..read])?;
    }
    Ok(Some(size))
}
