//! Connecting to the unix socket that a child offers, without being led elsewhere.
//!
//! The child owns the directory its socket is in: it can put a symbolic link there that names
//! another service's socket, and a host that follows it becomes the child's deputy. So the path
//! is opened without following a link, what was opened is checked and connected to (not the path
//! again), and the kernel is asked who listens.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Who has to be listening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedPeer {
    /// The user the listening process ran as when it started to listen.
    pub uid: u32,
    /// The session the listening process has to belong to: the id of a [`Child`](crate::Child),
    /// each of which leads a session of its own. `None` accepts any process of that user.
    pub session: Option<u32>,
}

/// The socket was not connected to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The path cannot be opened.
    #[error("the socket {path} cannot be opened", path = .path.display())]
    Open {
        /// The socket's path.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// There is something else at the path: a symbolic link, a file.
    #[error("{path} is not a socket (it is {found}); the program must listen at the path that it names", path = .path.display())]
    NotASocket {
        /// The socket's path.
        path: PathBuf,
        /// What it is instead.
        found: &'static str,
    },
    /// Nobody listens, or too many wait already.
    #[error("nobody accepts connections at {path}", path = .path.display())]
    Connect {
        /// The socket's path.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Somebody else listens.
    #[error("the process listening at {path} is not the child: {why}", path = .path.display())]
    ForeignPeer {
        /// The socket's path.
        path: PathBuf,
        /// What gave it away.
        why: String,
    },
}

/// Connects to the socket at `path` if it is one, not a link to one, and `expected` listens.
///
/// With `dir`, such as [`Child::sockets`](crate::Child::sockets), the socket is the one in that
/// directory that is called what the path ends in; elsewhere than on Linux it is not looked at.
///
/// Never blocks: a listener whose queue is full is an error. The stream is non-blocking.
///
/// # Errors
/// See [`SocketError`].
pub fn connect(
    path: &Path,
    dir: Option<BorrowedFd<'_>>,
    expected: ExpectedPeer,
) -> Result<UnixStream, SocketError> {
    let pinned = pin(path, dir)?;
    let failed = |source: io::Error| SocketError::Connect {
        path: path.into(),
        source,
    };
    let address = SocketAddrUnix::new(&pinned.address).map_err(|errno| failed(errno.into()))?;
    let socket = new_socket().map_err(|errno| failed(errno.into()))?;
    rustix::net::connect(&socket, &address).map_err(|errno| failed(errno.into()))?;
    check_peer(path, &socket, expected)?;
    Ok(UnixStream::from(socket))
}

/// A socket's inode, held so that it cannot be exchanged, and the address that reaches it.
struct Pinned {
    address: PathBuf,
    #[cfg(target_os = "linux")]
    _inode: std::os::fd::OwnedFd,
}

#[cfg(target_os = "linux")]
fn pin(path: &Path, dir: Option<BorrowedFd<'_>>) -> Result<Pinned, SocketError> {
    use rustix::fs::{Mode, OFlags};
    use std::os::fd::AsRawFd;

    let open = |errno: rustix::io::Errno| SocketError::Open {
        path: path.into(),
        source: errno.into(),
    };
    let (dir, found) = match dir {
        // A path without a name is nowhere.
        Some(dir) => (dir, Path::new(path.file_name().unwrap_or_default())),
        None => (rustix::fs::CWD, path),
    };
    let inode = rustix::fs::openat(
        dir,
        found,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(open)?;
    check_type(path, rustix::fs::fstat(&inode).map_err(open)?.st_mode)?;
    Ok(Pinned {
        address: format!("/proc/self/fd/{}", inode.as_raw_fd()).into(),
        _inode: inode,
    })
}

#[cfg(not(target_os = "linux"))]
fn pin(path: &Path, _dir: Option<BorrowedFd<'_>>) -> Result<Pinned, SocketError> {
    let open = |errno: rustix::io::Errno| SocketError::Open {
        path: path.into(),
        source: errno.into(),
    };
    check_type(path, rustix::fs::lstat(path).map_err(open)?.st_mode)?;
    Ok(Pinned {
        address: path.into(),
    })
}

fn check_type(path: &Path, mode: rustix::fs::RawMode) -> Result<(), SocketError> {
    use rustix::fs::FileType;
    let found = match FileType::from_raw_mode(mode) {
        FileType::Socket => return Ok(()),
        FileType::Symlink => "a symbolic link",
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Fifo => "a named pipe",
        _ => "a device",
    };
    Err(SocketError::NotASocket {
        path: path.into(),
        found,
    })
}

#[cfg(target_os = "linux")]
fn new_socket() -> rustix::io::Result<std::os::fd::OwnedFd> {
    rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
}

#[cfg(not(target_os = "linux"))]
fn new_socket() -> rustix::io::Result<std::os::fd::OwnedFd> {
    let _ = SocketFlags::empty();
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

#[cfg(target_os = "linux")]
fn check_peer(
    path: &Path,
    socket: &std::os::fd::OwnedFd,
    expected: ExpectedPeer,
) -> Result<(), SocketError> {
    let foreign = |why: String| SocketError::ForeignPeer {
        path: path.into(),
        why,
    };
    let peer = crate::sys::peer(socket)
        .map_err(|error| foreign(format!("the kernel does not say who it is ({error})")))?;
    if peer.uid != expected.uid {
        return Err(foreign(format!(
            "it runs as user {} instead of {}",
            peer.uid, expected.uid
        )));
    }
    let Some(session) = expected.session else {
        return Ok(());
    };
    // Process 0 is one of another pid namespace; asked about, it would stand for the host.
    if peer.pid <= 0 {
        return Err(foreign("it cannot be seen from here".into()));
    }
    match crate::sys::session(peer.pid) {
        Ok(found) if found == session => Ok(()),
        Ok(_) => Err(foreign(format!(
            "process {} does not belong to the child",
            peer.pid
        ))),
        Err(_) => Err(foreign(format!("process {} has ended", peer.pid))),
    }
}

#[cfg(not(target_os = "linux"))]
fn check_peer(
    _path: &Path,
    _socket: &std::os::fd::OwnedFd,
    _expected: ExpectedPeer,
) -> Result<(), SocketError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn me() -> ExpectedPeer {
        ExpectedPeer {
            uid: rustix::process::getuid().as_raw(),
            session: None,
        }
    }

    #[test]
    fn connects_to_a_socket_however_long_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let short = dir.path().join("s");
        let _listener = UnixListener::bind(&short).unwrap();
        let deep = dir.path().join("d".repeat(200));
        std::fs::create_dir(&deep).unwrap();
        std::fs::rename(&short, deep.join("s")).unwrap();
        connect(&deep.join("s"), None, me()).unwrap();
    }

    #[test]
    fn follows_no_link_and_connects_to_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let _listener = UnixListener::bind(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let refused = |name: &str| connect(&dir.path().join(name), None, me()).unwrap_err();
        assert!(matches!(
            refused("link"),
            SocketError::NotASocket {
                found: "a symbolic link",
                ..
            }
        ));
        assert!(matches!(
            refused("file"),
            SocketError::NotASocket {
                found: "a file",
                ..
            }
        ));
        assert!(matches!(refused("absent"), SocketError::Open { .. }));
    }

    /// What the pinning is for: between the look at a path and the connection a plugin puts a link
    /// there.
    #[test]
    fn a_link_put_in_its_place_meanwhile_leads_nowhere() {
        use std::sync::atomic::{AtomicBool, Ordering};
        const ROUNDS: u32 = 1000;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let own = UnixListener::bind(at("own")).unwrap();
        let other = UnixListener::bind(at("other")).unwrap();
        for listener in [&own, &other] {
            listener.set_nonblocking(true).unwrap();
        }
        let done = AtomicBool::new(false);
        let (mut connected, mut refused, mut deputy) = (0_u32, 0_u32, 0_u32);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::os::unix::fs::symlink("other", at("link")).unwrap();
                    std::fs::hard_link(at("own"), at("socket")).unwrap();
                    std::fs::rename(at("socket"), at("s")).unwrap();
                    std::fs::rename(at("link"), at("s")).unwrap();
                }
            });
            let started = std::time::Instant::now();
            let in_time = || started.elapsed() < std::time::Duration::from_secs(60);
            while connected < ROUNDS || refused < ROUNDS || (deputy == 0 && in_time()) {
                match connect(&at("s"), None, me()) {
                    Ok(_) => {
                        connected += 1;
                        own.accept().unwrap();
                    }
                    Err(SocketError::Open { .. } | SocketError::NotASocket { .. }) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
                assert!(other.accept().is_err(), "it was led to the other socket");
                // See that the race is one: who looks at the path and then connects to it is led
                // there.
                let looked = std::fs::symlink_metadata(at("s"));
                if looked.is_ok_and(|found| !found.is_symlink()) {
                    let _ = UnixStream::connect(at("s"));
                    while own.accept().is_ok() {}
                    deputy += u32::from(other.accept().is_ok());
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(deputy > 0, "nothing was raced for");
    }

    #[test]
    fn a_socket_nobody_listens_at_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(UnixListener::bind(dir.path().join("s")).unwrap());
        assert!(matches!(
            connect(&dir.path().join("s"), None, me()),
            Err(SocketError::Connect { .. })
        ));
    }

    #[test]
    fn another_user_or_session_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let _listener = UnixListener::bind(&path).unwrap();
        // 0 where the session's leader is outside this pid namespace, as under `unshare --pid`.
        let own_session = crate::sys::session(0).unwrap();
        connect(
            &path,
            None,
            ExpectedPeer {
                session: Some(own_session),
                ..me()
            },
        )
        .unwrap();
        let refused = |expected| {
            matches!(
                connect(&path, None, expected),
                Err(SocketError::ForeignPeer { .. })
            )
        };
        assert!(refused(ExpectedPeer {
            uid: me().uid.wrapping_add(1),
            session: None
        }));
        assert!(refused(ExpectedPeer {
            session: Some(own_session.wrapping_add(1)),
            ..me()
        }));
    }

    #[test]
    fn a_full_queue_is_an_error_and_not_a_wait() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = new_socket().unwrap();
        rustix::net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let mut held = Vec::new();
        let error = loop {
            match connect(&path, None, me()) {
                Ok(stream) => held.push(stream),
                Err(error) => break error,
            }
            assert!(held.len() < 100, "the queue never fills");
        };
        assert!(matches!(error, SocketError::Connect { .. }));
    }
}
