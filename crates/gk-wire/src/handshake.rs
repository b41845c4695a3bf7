//! The start: the magic cookie, the environment, and the line that a plugin prints first.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

/// The core protocol's version, the first field of the handshake line.
pub const CORE_PROTOCOL_VERSION: u32 = 1;

/// Longest handshake line that is taken, in bytes without its line feed. With a certificate a line
/// has about 900.
pub const MAX_LINE_BYTES: usize = 8 * 1024;

/// A certificate field counts only if it is longer than this many characters, as Go has it.
const MIN_CERT_CHARS: usize = 50;

/// Names of the environment variables between host and plugin. A host must keep all other
/// `PLUGIN_*` variables away from a plugin: a stray one changes what it does.
pub mod env {
    /// Lowest TCP port a plugin may listen on.
    pub const MIN_PORT: &str = "PLUGIN_MIN_PORT";
    /// Highest TCP port a plugin may listen on.
    pub const MAX_PORT: &str = "PLUGIN_MAX_PORT";
    /// Comma list of the application's protocol versions that the host speaks.
    pub const PROTOCOL_VERSIONS: &str = "PLUGIN_PROTOCOL_VERSIONS";
    /// The host's certificate in PEM; its presence asks for AutoMTLS.
    pub const CLIENT_CERT: &str = "PLUGIN_CLIENT_CERT";
    /// Directory for the socket; TMPDIR without it.
    pub const UNIX_SOCKET_DIR: &str = "PLUGIN_UNIX_SOCKET_DIR";
    /// Group that gets the socket.
    pub const UNIX_SOCKET_GROUP: &str = "PLUGIN_UNIX_SOCKET_GROUP";
    /// Asks a gRPC plugin to multiplex.
    pub const MULTIPLEX_GRPC: &str = "PLUGIN_MULTIPLEX_GRPC";
}

/// The cookie by which a plugin knows that a host started it and not a person, and the version of the
/// application's protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandshakeConfig {
    /// Version of the application's protocol.
    pub protocol_version: u32,
    /// Name of the cookie's environment variable.
    pub cookie_key: String,
    /// The cookie's value.
    pub cookie_value: String,
}

impl HandshakeConfig {
    /// The variables that a host adds to a plugin's environment.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        self.environment_for(&[self.protocol_version])
    }

    /// The same for a host that speaks several versions of the application's protocol. The plugin
    /// takes the highest that it has, too; which one that is [`Handshake::version`] says.
    #[must_use]
    pub fn environment_for(&self, versions: &[u32]) -> Vec<(String, String)> {
        let versions: Vec<_> = versions.iter().map(ToString::to_string).collect();
        vec![
            (self.cookie_key.clone(), self.cookie_value.clone()),
            (env::MIN_PORT.to_owned(), "10000".to_owned()),
            (env::MAX_PORT.to_owned(), "25000".to_owned()),
            (env::PROTOCOL_VERSIONS.to_owned(), versions.join(",")),
        ]
    }
}

/// Kind of address a plugin listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Network {
    /// A Unix socket.
    Unix,
    /// TCP.
    Tcp,
}

/// The protocol of a plugin's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// net/rpc over yamux: this crate.
    NetRpc,
    /// gRPC.
    Grpc,
}

/// The handshake line: `core|app|network|address|protocol|certificate|multiplex`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// Version of the application's protocol that the plugin chose.
    pub app_version: u32,
    /// Kind of address.
    pub network: Network,
    /// The address: a path, or host and port.
    pub address: String,
    /// The protocol of the connection.
    pub protocol: Protocol,
    /// The plugin's certificate in DER, if it speaks TLS.
    pub cert: Option<Vec<u8>>,
    /// `true` if a gRPC plugin multiplexes.
    pub multiplex: bool,
}

/// Errors in a handshake line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// Longer than [`MAX_LINE_BYTES`].
    #[error("the first line is longer than {MAX_LINE_BYTES} bytes")]
    TooLong,
    /// The bytes of the line are no text.
    #[error("the first line is not UTF-8")]
    NotText,
    /// Too few fields: most often something that was printed before the handshake.
    #[error("the first line is no handshake (`1|<version>|unix|<path>|netrpc`): {0:?}")]
    NotAHandshake(String),
    /// Another core protocol.
    #[error("core protocol version {0:?} (1 is known)")]
    CoreVersion(String),
    /// The application's version is no number.
    #[error("application protocol version {0:?} is not a number")]
    AppVersion(String),
    /// Neither `unix` nor `tcp`.
    #[error("unknown network {0:?}")]
    Network(String),
    /// Neither `netrpc` nor `grpc`.
    #[error("unknown protocol {0:?}")]
    Protocol(String),
    /// The certificate is not base64.
    #[error("the certificate is not base64")]
    Certificate,
    /// The last field is no bool.
    #[error("the multiplex field {0:?} is neither true nor false")]
    Multiplex(String),
}

/// The plugin serves a version of the application's protocol that the host does not speak.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("incompatible protocol version: the plugin speaks {plugin}, this host {host:?}")]
pub struct IncompatibleVersion {
    /// The version that the plugin serves.
    pub plugin: u32,
    /// The versions that the host speaks.
    pub host: Vec<u32>,
}

impl Handshake {
    /// The version that the plugin serves, if it is one of these that the host speaks.
    ///
    /// # Errors
    ///
    /// If the host speaks none such.
    pub fn version(&self, spoken: &[u32]) -> Result<u32, IncompatibleVersion> {
        match spoken.contains(&self.app_version) {
            true => Ok(self.app_version),
            false => Err(IncompatibleVersion {
                plugin: self.app_version,
                host: spoken.to_vec(),
            }),
        }
    }

    /// Reads the line, with or without its line feed.
    ///
    /// # Errors
    ///
    /// As Go's parser, but that the errors say what was printed.
    pub fn parse(line: &[u8]) -> Result<Self, HandshakeError> {
        if line.len() > MAX_LINE_BYTES + 1 {
            return Err(HandshakeError::TooLong);
        }
        let line = std::str::from_utf8(line)
            .map_err(|_| HandshakeError::NotText)?
            .trim();
        let fields: Vec<&str> = line.split('|').collect();
        let [core, app, network, address, rest @ ..] = fields.as_slice() else {
            return Err(HandshakeError::NotAHandshake(line.to_owned()));
        };
        let number = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| text.parse().ok())
                .flatten()
        };
        match number(core) {
            Some(CORE_PROTOCOL_VERSION) => {}
            Some(_) => return Err(HandshakeError::CoreVersion((*core).to_owned())),
            None => return Err(HandshakeError::NotAHandshake(line.to_owned())),
        }
        let app_version =
            number(app).ok_or_else(|| HandshakeError::AppVersion((*app).to_owned()))?;
        let network = match *network {
            "unix" => Network::Unix,
            "tcp" => Network::Tcp,
            other => return Err(HandshakeError::Network(other.to_owned())),
        };
        let protocol = match rest.first().copied() {
            None | Some("netrpc") => Protocol::NetRpc,
            Some("grpc") => Protocol::Grpc,
            Some(other) => return Err(HandshakeError::Protocol(other.to_owned())),
        };
        let cert = match rest.get(1) {
            Some(cert) if cert.len() > MIN_CERT_CHARS => {
                let der = STANDARD_NO_PAD
                    .decode(cert)
                    .or_else(|_| STANDARD.decode(cert));
                Some(der.map_err(|_| HandshakeError::Certificate)?)
            }
            _ => None,
        };
        let multiplex = match rest.get(2).copied() {
            None | Some("" | "false") => false,
            Some("true") => true,
            Some(other) => return Err(HandshakeError::Multiplex(other.to_owned())),
        };
        Ok(Handshake {
            app_version,
            network,
            address: (*address).to_owned(),
            protocol,
            cert,
            multiplex,
        })
    }
}

/// The line as a plugin prints it, without line feed.
impl fmt::Display for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let network = match self.network {
            Network::Unix => "unix",
            Network::Tcp => "tcp",
        };
        let protocol = match self.protocol {
            Protocol::NetRpc => "netrpc",
            Protocol::Grpc => "grpc",
        };
        let cert = self
            .cert
            .as_ref()
            .map(|der| STANDARD_NO_PAD.encode(der))
            .unwrap_or_default();
        let (core, app) = (CORE_PROTOCOL_VERSION, self.app_version);
        write!(
            f,
            "{core}|{app}|{network}|{}|{protocol}|{cert}",
            self.address
        )?;
        if self.multiplex {
            f.write_str("|true")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_of_go() {
        let line = Handshake::parse(b"1|1|unix|/run/gk/plugin0000000001|netrpc|\n").unwrap();
        assert_eq!(
            (line.app_version, line.network, line.protocol),
            (1, Network::Unix, Protocol::NetRpc)
        );
        assert_eq!(line.address, "/run/gk/plugin0000000001");
        assert_eq!(line.cert, None);
        assert_eq!(
            line.to_string(),
            "1|1|unix|/run/gk/plugin0000000001|netrpc|"
        );
        assert_eq!(
            Handshake::parse(b"  1|7|tcp|127.0.0.1:1234")
                .unwrap()
                .protocol,
            Protocol::NetRpc
        );
        assert!(
            Handshake::parse(b"1|1|unix|/x|grpc||true")
                .unwrap()
                .multiplex
        );
        assert_eq!(
            Handshake::parse(b"1|1|unix|/x|netrpc|short").unwrap().cert,
            None
        );
    }

    #[test]
    fn what_is_no_handshake_is_named() {
        let not = |text: &str| Err(HandshakeError::NotAHandshake(text.to_owned()));
        assert_eq!(Handshake::parse(b"Welcome!\n"), not("Welcome!"));
        assert_eq!(Handshake::parse(b"\n"), not(""));
        assert_eq!(Handshake::parse(b"a|b|c|d"), not("a|b|c|d"));
        assert_eq!(
            Handshake::parse(b"2|1|unix|/x"),
            Err(HandshakeError::CoreVersion("2".into()))
        );
        assert_eq!(
            Handshake::parse(b"1|+1|unix|/x"),
            Err(HandshakeError::AppVersion("+1".into()))
        );
        assert_eq!(
            Handshake::parse(b"1|1|udp|/x"),
            Err(HandshakeError::Network("udp".into()))
        );
        assert_eq!(
            Handshake::parse(b"1|1|unix|/x|"),
            Err(HandshakeError::Protocol(String::new()))
        );
        assert_eq!(
            Handshake::parse(&[b'x'; MAX_LINE_BYTES + 2]),
            Err(HandshakeError::TooLong)
        );
        assert_eq!(
            Handshake::parse(b"1|1|\xff|x"),
            Err(HandshakeError::NotText)
        );
        let cert = format!("1|1|unix|/x|netrpc|{}", "*".repeat(60));
        assert_eq!(
            Handshake::parse(cert.as_bytes()),
            Err(HandshakeError::Certificate)
        );
    }

    proptest! {
        #[test]
        fn round_trip(app_version: u32, address in "[a-z/0-9.]{1,60}", cert in proptest::option::of(proptest::collection::vec(any::<u8>(), 40..200))) {
            let handshake = Handshake { app_version, network: Network::Unix, address, protocol: Protocol::NetRpc, cert, multiplex: false };
            prop_assert_eq!(Handshake::parse(handshake.to_string().as_bytes()).unwrap(), handshake);
        }

        #[test]
        fn never_panics(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Handshake::parse(&line);
        }
    }
}
