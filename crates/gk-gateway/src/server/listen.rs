//! Sockets that the host listens on: TCP addresses, Unix sockets, and sockets handed over by
//! systemd.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::Peer;

/// Maximum number of connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// An address to listen on, as people write it: `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`,
/// `:8080` (all addresses of the machine), `unix:/run/goatkit/http.sock`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenAddress {
    /// Name or address of a host (empty: all addresses) and a port; port 0 takes a free one.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// Port number.
        port: u16,
    },
    /// Path of a Unix socket.
    Unix(PathBuf),
}

/// Error for a text that is not an address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no address to listen on; 127.0.0.1:8080, [::1]:8080, localhost:8080, :8080 and unix:/path are"
)]
pub struct ListenError(String);

impl FromStr for ListenAddress {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let wrong = || ListenError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err(wrong()),
                path => Ok(ListenAddress::Unix(path.into())),
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        // The number's parser accepts a sign, which a port does not have.
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
        let host = match host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
        {
            Some(ip) => {
                ip.parse::<Ipv6Addr>().map_err(|_| wrong())?;
                ip
            }
            None => {
                let name = host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
                host.strip_prefix("").filter(|_| name).ok_or_else(wrong)?
            }
        };
        Ok(ListenAddress::Tcp {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp { host, port } if host.contains(':') => {
                write!(f, "[{host}]:{port}")
            }
            ListenAddress::Tcp { host, port } => write!(f, "{host}:{port}"),
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl ListenAddress {
    /// Binds the address. A name may stand for several addresses; all of them that the machine has
    /// are bound. A Unix socket gets this mode; a socket file without a listener is replaced.
    ///
    /// # Errors
    /// If none of the addresses can be bound.
    pub async fn bind(&self, socket_mode: u32) -> io::Result<Vec<BoundListener>> {
        match self {
            ListenAddress::Tcp { host, port } => bind_tcp(host, *port).await,
            ListenAddress::Unix(path) => {
                let (listener, made) = bind_path(path, socket_mode)?;
                let made = Some(made);
                Ok(vec![BoundListener::Unix { listener, made }])
            }
        }
    }
}

/// Binds a Unix socket for users of this machine who need no token: this process's own user, and
/// root. Its file has the mode 0600, and the kernel tells the user of each connection.
///
/// # Errors
/// If the path is taken, or cannot be used.
pub fn bind_local(path: &Path) -> io::Result<BoundListener> {
    let (listener, made) = bind_path(path, 0o600)?;
    let made = Some(made);
    Ok(BoundListener::Local { listener, made })
}

async fn bind_tcp(host: &str, port: u16) -> io::Result<Vec<BoundListener>> {
    let addresses: Vec<SocketAddr> = match host {
        // Accepts connections over IPv4, too. A machine without IPv6 gets the IPv4 address alone.
        "" => {
            let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            return match listen(any) {
                Ok(listener) => Ok(vec![listener]),
                Err(error) if error.kind() == ErrorKind::AddrInUse => Err(error),
                Err(_) => listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
                    .map(|listener| vec![listener]),
            };
        }
        host => match host.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) => tokio::net::lookup_host((host, port)).await?.collect(),
        },
    };
    let mut bound: Vec<BoundListener> = Vec::new();
    let mut failed = None;
    for mut address in addresses {
        // All addresses of one name share a port that the system chose.
        if let (0, Some(BoundListener::Tcp(first))) = (port, bound.first()) {
            address.set_port(first.local_addr()?.port());
        }
        match listen(address) {
            Ok(listener) => bound.push(listener),
            // A name often stands for an address of IPv6 that the machine does not have.
            Err(error) if matches!(error.raw_os_error(), Some(code) if absent(code)) => {
                failed = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    match (bound.is_empty(), failed) {
        (false, _) => Ok(bound),
        (true, Some(error)) => Err(error),
        (true, None) => Err(ErrorKind::AddrNotAvailable.into()),
    }
}

/// Returns true if the machine does not have the address, or its family.
fn absent(code: i32) -> bool {
    [
        rustix::io::Errno::ADDRNOTAVAIL,
        rustix::io::Errno::AFNOSUPPORT,
    ]
    .iter()
    .any(|errno| errno.raw_os_error() == code)
}

fn listen(address: SocketAddr) -> io::Result<BoundListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
    }?;
    // A restart must not wait for connections of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(BoundListener::Tcp(socket.listen(BACKLOG)?))
}

fn bind_path(path: &Path, mode: u32) -> io::Result<(UnixListener, CreatedSocket)> {
    if let Ok(metadata) = fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err(io::Error::new(
                ErrorKind::AlreadyExists,
                "there is something else than a socket; remove it or choose another path",
            ));
        }
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => {
                return Err(io::Error::new(
                    ErrorKind::AddrInUse,
                    "somebody listens there already",
                ));
            }
            // The file was left behind by a process that was killed.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path)?,
            Err(error) => return Err(error),
        }
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, PermissionsExt::from_mode(mode))?;
    let file = fs::symlink_metadata(path)?;
    let made = CreatedSocket {
        path: path.to_owned(),
        identity: identity(&file),
    };
    Ok((listener, made))
}

fn identity(file: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (file.dev(), file.ino())
}

/// File of a Unix socket, removed when dropped.
#[derive(Debug)]
pub struct CreatedSocket {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for CreatedSocket {
    fn drop(&mut self) {
        // The file may have been replaced by another process meanwhile, and then stays.
        let still = fs::symlink_metadata(&self.path);
        if still.is_ok_and(|file| identity(&file) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A listening socket.
#[derive(Debug)]
#[non_exhaustive]
pub enum BoundListener {
    /// Socket over TCP.
    Tcp(TcpListener),
    /// Unix socket.
    Unix {
        /// Handle of the socket.
        listener: UnixListener,
        /// File of the socket, if it was created here.
        made: Option<CreatedSocket>,
    },
    /// Unix socket for users of this machine who need no token.
    Local {
        /// Handle of the socket.
        listener: UnixListener,
        /// File of the socket.
        made: Option<CreatedSocket>,
    },
}

/// An accepted connection, of which no byte was read yet.
pub(super) enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl BoundListener {
    pub(super) async fn accept(&self) -> io::Result<(Accepted, Peer)> {
        match self {
            BoundListener::Tcp(listener) => {
                let (socket, address) = listener.accept().await?;
                // Answers are written whole; a socket that refuses the option still works.
                let _ = socket.set_nodelay(true);
                let peer = Peer {
                    address: Some(address),
                    local: None,
                };
                Ok((Accepted::Tcp(socket), peer))
            }
            BoundListener::Unix { listener, .. } => {
                let (socket, _) = listener.accept().await?;
                Ok((Accepted::Unix(socket), Peer::default()))
            }
            BoundListener::Local { listener, .. } => loop {
                let (socket, _) = listener.accept().await?;
                // The file's mode keeps other users out, but it could be changed.
                let uid = socket.peer_cred()?.uid();
                if uid == 0 || uid == rustix::process::geteuid().as_raw() {
                    let peer = Peer {
                        address: None,
                        local: Some(uid),
                    };
                    return Ok((Accepted::Unix(socket), peer));
                }
                tracing::warn!(
                    uid,
                    "another user has come to the local socket, and is not let in"
                );
            },
        }
    }

    /// Returns the address as the beginning of a URL: `http://127.0.0.1:8080`, or `unix:/path`.
    #[must_use]
    pub fn shown(&self, scheme: &str) -> String {
        match self {
            BoundListener::Tcp(listener) => match listener.local_addr() {
                Ok(address) => format!("{scheme}://{address}"),
                Err(_) => format!("{scheme}://?"),
            },
            BoundListener::Unix { listener, .. } | BoundListener::Local { listener, .. } => {
                let path = listener.local_addr().ok();
                let path = path.as_ref().and_then(|address| address.as_pathname());
                format!("unix:{}", path.unwrap_or(Path::new("?")).display())
            }
        }
    }
}

/// Takes over the sockets that systemd hands over (`LISTEN_FDS`), of TCP and Unix. Must be called
/// within a tokio runtime.
///
/// # Errors
/// If a descriptor is neither.
pub fn inherited(mut descriptors: listenfd::ListenFd) -> io::Result<Vec<BoundListener>> {
    let mut listeners = Vec::new();
    for index in 0..descriptors.len() {
        // A call for the wrong kind leaves the descriptor in place.
        if let Ok(Some(listener)) = descriptors.take_tcp_listener(index) {
            rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::CLOEXEC)?;
            listener.set_nonblocking(true)?;
            listeners.push(BoundListener::Tcp(TcpListener::from_std(listener)?));
        } else if let Ok(Some(listener)) = descriptors.take_unix_listener(index) {
            rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::CLOEXEC)?;
            listener.set_nonblocking(true)?;
            listeners.push(BoundListener::Unix {
                listener: UnixListener::from_std(listener)?,
                made: None,
            });
        } else {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "descriptor {} of LISTEN_FDS is no listening TCP or Unix stream socket",
                    index + 3
                ),
            ));
        }
    }
    Ok(listeners)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, host, port) in [
            ("127.0.0.1:8080", "127.0.0.1", 8080),
            ("localhost:0", "localhost", 0),
            (":8080", "", 8080),
            ("[::1]:8080", "::1", 8080),
            ("my-host.example:65535", "my-host.example", 65535),
        ] {
            let address: ListenAddress = text.parse().unwrap();
            let expected = ListenAddress::Tcp {
                host: host.into(),
                port,
            };
            assert_eq!(address, expected);
            assert_eq!(address.to_string(), text);
        }
        let unix: ListenAddress = "unix:/run/x.sock".parse().unwrap();
        assert_eq!(unix, ListenAddress::Unix("/run/x.sock".into()));
        assert_eq!(unix.to_string(), "unix:/run/x.sock");
        for text in [
            "",
            "8080",
            "localhost",
            "::1:8080",
            "[::1]",
            "[x]:1",
            "a b:1",
            "a:99999",
            "a:-1",
            "a:+1",
            "a:",
            "unix:",
            "http://localhost:80",
        ] {
            let error = text.parse::<ListenAddress>().unwrap_err().to_string();
            assert!(error.contains("127.0.0.1:8080"), "{text}: {error}");
        }
    }

    #[tokio::test]
    async fn a_name_has_all_its_addresses_on_one_port() {
        let address: ListenAddress = "localhost:0".parse().unwrap();
        let bound = address.bind(0o600).await.unwrap();
        let ports: Vec<_> = bound
            .iter()
            .map(|listener| match listener {
                BoundListener::Tcp(listener) => listener.local_addr().unwrap().port(),
                _ => panic!("not TCP"),
            })
            .collect();
        assert!(ports.iter().all(|port| *port == ports[0] && *port != 0));
        let taken = format!("localhost:{}", ports[0]);
        let taken = taken.parse::<ListenAddress>().unwrap().bind(0o600).await;
        assert_eq!(taken.unwrap_err().kind(), ErrorKind::AddrInUse);
        let any: ListenAddress = ":0".parse().unwrap();
        let any = any.bind(0o600).await.unwrap();
        let BoundListener::Tcp(listener) = &any[0] else {
            panic!("not TCP");
        };
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_unix_socket_has_its_mode_and_goes_with_the_listener() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("http.sock");
        let address = ListenAddress::Unix(path.clone());
        let bound = address.bind(0o640).await.unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        let taken = address.bind(0o640).await.unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
        drop(bound);
        assert!(!path.exists());
        // The socket file of a killed process is replaced, and other files are not.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(address.bind(0o640).await.unwrap());
        fs::write(&path, "mine").unwrap();
        address.bind(0o640).await.unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }
}
