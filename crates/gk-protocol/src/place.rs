//! Places at which a plugin may have its socket.

use std::path::{Component, Path, PathBuf};

use gk_wire::{Handshake, Network, Protocol};

use crate::PROTOCOL_VERSION;

/// In which of its directories a plugin made its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketPlace {
    /// `PLUGIN_UNIX_SOCKET_DIR`.
    SocketDir,
    /// `TMPDIR`: go-plugin before 1.5 does not know the other variable.
    TempDir,
}

/// The socket's path, and in which of the directories it is that the plugin was given, if the
/// handshake is one that a plugin may print.
///
/// # Errors
/// What is wrong with it, and what to do: another protocol or version, a certificate, TCP, or a
/// socket elsewhere.
pub fn socket_place(
    handshake: &Handshake,
    socket_dir: &Path,
    temp_dir: &Path,
) -> Result<(PathBuf, SocketPlace), String> {
    if handshake.app_version != PROTOCOL_VERSION {
        return Err(format!(
            "it speaks version {} of the plugin protocol, this host version {PROTOCOL_VERSION}; rebuild it with a matching SDK",
            handshake.app_version
        ));
    }
    if !matches!(handshake.protocol, Protocol::NetRpc) {
        return Err("it speaks gRPC, this host net/rpc; serve the plugin with the SDK's grpcutil.ServePlugin".into());
    }
    if handshake.cert.is_some() {
        return Err(
            "it sends a certificate that nobody asked for; serve the plugin without TLS".into(),
        );
    }
    if !matches!(handshake.network, Network::Unix) {
        return Err("it listens on TCP; a plugin must listen on a unix socket".into());
    }
    let path = Path::new(&handshake.address);
    // The parent is compared as a whole: a deeper path could lead elsewhere through a link.
    let plain = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let named = path
        .as_os_str()
        .to_str()
        .is_some_and(|path| !path.contains("/../") && !path.contains("/./"));
    let place = match path.parent() {
        Some(parent) if parent == socket_dir => Some(SocketPlace::SocketDir),
        Some(parent) if parent == temp_dir => Some(SocketPlace::TempDir),
        _ => None,
    };
    match place.filter(|_| plain && named && path.file_name().is_some()) {
        Some(place) => Ok((path.to_owned(), place)),
        None => Err(format!(
            "its socket {} is directly in neither PLUGIN_UNIX_SOCKET_DIR, {}, nor TMPDIR, {}; create it there",
            path.display(),
            socket_dir.display(),
            temp_dir.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(line: &str) -> Result<(PathBuf, SocketPlace), String> {
        socket_place(
            &Handshake::parse(line.as_bytes()).unwrap(),
            Path::new("/tmp/s/1"),
            Path::new("/tmp/t"),
        )
    }

    #[test]
    fn only_a_socket_in_a_private_directory_is_connected_to() {
        assert_eq!(
            checked("1|1|unix|/tmp/s/1/plugin7|netrpc|").unwrap(),
            (PathBuf::from("/tmp/s/1/plugin7"), SocketPlace::SocketDir)
        );
        assert_eq!(
            checked("1|1|unix|/tmp/t/plugin7|netrpc|").unwrap(),
            (PathBuf::from("/tmp/t/plugin7"), SocketPlace::TempDir)
        );
        for (line, why) in [
            ("1|2|unix|/tmp/s/1/p|netrpc|", "version 2"),
            ("1|1|tcp|127.0.0.1:1234|netrpc|", "TCP"),
            ("1|1|unix|/tmp/s/1/p|grpc|", "gRPC"),
            ("1|1|unix|/tmp/s/1/../2/p|netrpc|", "directly in neither"),
            ("1|1|unix|/tmp/s/1/..|netrpc|", "directly in neither"),
            ("1|1|unix|/tmp/s/1/.|netrpc|", "directly in neither"),
            ("1|1|unix|/tmp/s/1/link/p|netrpc|", "directly in neither"),
            ("1|1|unix|/tmp/s/10/p|netrpc|", "directly in neither"),
            ("1|1|unix|/run/docker.sock|netrpc|", "directly in neither"),
            ("1|1|unix|/tmp/p|netrpc|", "directly in neither"),
            ("1|1|unix|/tmp/t|netrpc|", "directly in neither"),
            ("1|1|unix|/tmp/t/../t2/p|netrpc|", "directly in neither"),
            ("1|1|unix|/tmp/t/link/p|netrpc|", "directly in neither"),
            ("1|1|unix|p|netrpc|", "directly in neither"),
        ] {
            let refused = checked(line).unwrap_err();
            assert!(refused.contains(why), "{line}: {refused}");
        }
        let cert = "A".repeat(400);
        assert!(
            checked(&format!("1|1|unix|/tmp/s/1/p|netrpc|{cert}"))
                .unwrap_err()
                .contains("certificate")
        );
    }
}
