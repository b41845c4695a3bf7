//! The socket that a plugin listens on.

use std::io;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use super::ServeError;

/// Removes the socket's file.
pub(super) struct Unlink<'a>(pub(super) &'a Path);

impl Drop for Unlink<'_> {
    fn drop(&mut self) {
        // The host may have removed the whole directory.
        let _ = std::fs::remove_file(self.0);
    }
}

/// Listens in a directory, under a name of its own.
pub(super) fn listen(
    directory: &Path,
    group: Option<&str>,
) -> Result<(UnixListener, PathBuf), ServeError> {
    for attempt in 0_u32.. {
        let unique = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        let path = directory.join(format!(
            "plugin{:x}{:08x}{attempt:x}",
            std::process::id(),
            unique & 0xffff_ffff
        ));
        match UnixListener::bind(&path) {
            Ok(listener) => {
                let shared = group.map_or(Ok(()), |group| share(&path, group));
                return match shared {
                    Ok(()) => Ok((listener, path)),
                    Err(source) => Err(ServeError::Listen { path, source }),
                };
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempt < 100 => {}
            Err(source) => return Err(ServeError::Listen { path, source }),
        }
    }
    unreachable!("the loop returns after a hundred attempts")
}

/// Gives the socket to a group, by number or by name.
fn share(path: &Path, group: &str) -> io::Result<()> {
    use std::os::unix::fs::{PermissionsExt, chown};
    let by_name = || {
        let groups = std::fs::read_to_string("/etc/group").ok()?;
        let line = groups
            .lines()
            .find(|line| line.split(':').next() == Some(group))?;
        line.split(':').nth(2)?.parse().ok()
    };
    let id = group.parse().ok().or_else(by_name);
    let id =
        id.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no group {group:?}")))?;
    chown(path, None, Some(id))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
}
