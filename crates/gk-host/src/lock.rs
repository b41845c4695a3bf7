//! Lock that lets only one host use a data directory. Two hosts would each have their own view of
//! tokens and policies, and a plugin that is blocked on one would run on the other.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Name of the locked file, in the data directory. It holds the host's process id.
const LOCK_FILE: &str = "host.lock";

/// Exclusive use of a data directory. The kernel releases the lock when the host ends, however that
/// happens.
#[derive(Debug)]
pub(crate) struct DataLock {
    _file: File,
}

impl DataLock {
    /// Locks the directory.
    pub(crate) fn take(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join(LOCK_FILE);
        let open = || {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .open(&path)
        };
        let mut file = open().with_context(|| {
            format!(
                "{} cannot be opened; the data directory must belong to the user that runs the host",
                path.display()
            )
        })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = (&mut file).take(32).read_to_string(&mut pid);
                let by = match pid.trim() {
                    "" => String::new(),
                    pid => format!(" (process {pid})"),
                };
                bail!(
                    "another host{by} uses the data directory {}; stop it, or give this one a directory of its own with --data-dir",
                    data_dir.display()
                );
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{} cannot be locked", path.display()));
            }
        }
        let written = file
            .set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        if let Err(error) = written {
            // The lock is held all the same; only the message for a second host lacks the process
            // id.
            tracing::warn!(%error, "the host's process id cannot be written to {}", path.display());
        }
        Ok(DataLock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_host_is_refused_with_the_firsts_pid() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataLock::take(dir.path()).unwrap();
        let error = DataLock::take(dir.path()).unwrap_err().to_string();
        let pid = format!("(process {})", std::process::id());
        assert!(
            error.contains(&pid) && error.contains("--data-dir"),
            "{error}"
        );
        drop(first);
        // A file that is left behind is no lock.
        std::fs::write(dir.path().join(LOCK_FILE), "4711\n").unwrap();
        let _again = DataLock::take(dir.path()).unwrap();
        let pid = std::fs::read_to_string(dir.path().join(LOCK_FILE)).unwrap();
        assert_eq!(pid.trim(), std::process::id().to_string());
    }
}
