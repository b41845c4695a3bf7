//! Listening: addresses, TLS, proxies, cross-origin requests, limits.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use gk_gateway::server::{self, BoundListener, ListenAddress, ServerConfig, ServerLimits, Tls};
use gk_gateway::{Cors, MEMORY_BYTES_DEFAULT, TrustedProxies};
use gk_manifest::GoDuration;
use gk_runtime::MemoryBudget;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tokio::sync::watch;

use crate::sources::is_taken;

/// Default address to listen on, unless the configuration or systemd has another.
const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

/// Default mode of Unix sockets: user and group may connect.
pub(crate) const SOCKET_MODE_DEFAULT: &str = "0660";

/// The smallest value of [`LimitsSection::memory_mb`], in MiB: enough for the process itself, and a
/// few requests.
const MEMORY_MIB_MIN: usize = 64;

/// Share of [`LimitsSection::memory_mb`] that the budget counts, in eighths. The rest is for the
/// process itself, for allocations too small to be counted, and for what the allocator keeps.
const COUNTED_EIGHTHS: usize = 4;

/// Memory budget for health requests, in bytes.
const HEALTH_BYTES: usize = 8 << 20;

/// Maximum number of connections to the address for health.
const HEALTH_CONNECTIONS_MAX: usize = 64;

/// Addresses to listen on: one string with commas, or a list of strings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listen(pub(crate) Vec<ListenAddress>);

impl std::str::FromStr for Listen {
    type Err = server::ListenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let addresses = text.split(',').map(|address| address.trim().parse());
        addresses.collect::<Result<_, _>>().map(Listen)
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ToString::to_string))
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum OneOrMany {
            One(String),
            Many(Vec<String>),
        }
        let addresses = match OneOrMany::deserialize(deserializer) {
            Ok(OneOrMany::One(text)) => vec![text],
            Ok(OneOrMany::Many(texts)) => texts,
            Err(_) => return Err(de::Error::custom("expected an address, or a list of them")),
        };
        let mut listen = Vec::new();
        for text in addresses {
            let Listen(addresses) = text.parse().map_err(de::Error::custom)?;
            listen.extend(addresses);
        }
        Ok(Listen(listen))
    }
}

/// Section `[tls]`: certificate and key of the listeners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsSection {
    /// Path of the host's certificate and those between it and its authority.
    certificate: PathBuf,
    /// Path of the private key.
    key: PathBuf,
}

/// Section `[cors]`: origins whose pages may call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CorsSection {
    origins: Vec<String>,
    credentials: bool,
}

/// Header in which proxies name the client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ForwardedHeader {
    #[default]
    XForwardedFor,
    Forwarded,
}

/// Section `[limits]`: sizes, numbers and times of connections and requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitsSection {
    /// Upper bound of the host's resident memory in MiB, which clients and plugins cannot exceed.
    memory_mb: usize,
    connections: usize,
    connections_per_client: usize,
    idle_timeout: GoDuration,
    head_timeout: GoDuration,
}

impl Default for LimitsSection {
    fn default() -> Self {
        let duration = |time: Duration| time.try_into().unwrap_or_default();
        LimitsSection {
            memory_mb: MEMORY_BYTES_DEFAULT >> 20,
            connections: server::CONNECTIONS_MAX,
            connections_per_client: server::CONNECTIONS_PER_CLIENT_MAX,
            idle_timeout: duration(server::IDLE_TIMEOUT),
            head_timeout: duration(server::HEAD_TIMEOUT),
        }
    }
}

/// Settings of the listeners.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    pub(crate) listen: Option<Listen>,
    pub(crate) health_listen: Option<Listen>,
    /// Mode of Unix sockets, octal.
    pub(crate) socket_mode: String,
    /// Trusted networks; `unix` stands for connections through Unix sockets.
    pub(crate) trusted_proxies: Vec<String>,
    pub(crate) forwarded_header: ForwardedHeader,
    pub(crate) tls: Option<TlsSection>,
    pub(crate) cors: CorsSection,
    pub(crate) limits: LimitsSection,
}

impl Front {
    /// Checks the values. An error names the key.
    pub(crate) fn check(&self) -> Result<()> {
        self.mode()?;
        self.proxies()?;
        self.cors()?;
        let limits = &self.limits;
        if limits.memory_mb < MEMORY_MIB_MIN {
            bail!(
                "limits.memory_mb is {}; it must be at least {MEMORY_MIB_MIN}",
                limits.memory_mb
            );
        }
        for (name, number) in [
            ("connections", limits.connections),
            ("connections_per_client", limits.connections_per_client),
        ] {
            if number == 0 || number > tokio::sync::Semaphore::MAX_PERMITS {
                bail!("limits.{name} is {number}; it must be at least 1");
            }
        }
        for (name, time) in [
            ("idle_timeout", limits.idle_timeout),
            ("head_timeout", limits.head_timeout),
        ] {
            if time.to_std().unwrap_or_default().is_zero() {
                bail!("limits.{name} is {time}; it must be more than 0s");
            }
        }
        Ok(())
    }

    fn mode(&self) -> Result<u32> {
        let mode = u32::from_str_radix(&self.socket_mode, 8).ok();
        mode.filter(|mode| *mode <= 0o777).with_context(|| {
            format!(
                "socket_mode is {:?}; it must be an octal mode such as \"0660\"",
                self.socket_mode
            )
        })
    }

    /// Returns the proxies that are trusted to name the client of a request.
    pub(crate) fn proxies(&self) -> Result<TrustedProxies> {
        let mut proxies = TrustedProxies::default();
        proxies.rfc7239 = self.forwarded_header == ForwardedHeader::Forwarded;
        for text in &self.trusted_proxies {
            if text == "unix" {
                proxies.unix = true;
                continue;
            }
            let network = match text.parse::<IpAddr>() {
                Ok(ip) => Ok(ip.into()),
                Err(_) => text.parse(),
            };
            let network = network.with_context(|| {
                format!(
                    "trusted_proxies: {text:?} is no address and no network such as 10.1.2.0/24, nor \"unix\""
                )
            })?;
            proxies.networks.push(network);
        }
        Ok(proxies)
    }

    /// Returns the origins whose pages may call.
    pub(crate) fn cors(&self) -> Result<Cors> {
        let section = &self.cors;
        for origin in &section.origins {
            let rest = origin
                .strip_prefix("https://")
                .or_else(|| origin.strip_prefix("http://"));
            let plain = rest.is_some_and(|rest| {
                !rest.is_empty()
                    && rest
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
                    && rest == rest.to_ascii_lowercase()
            });
            if origin != "*" && !plain {
                bail!(
                    "cors.origins: {origin:?} is no origin such as \"https://app.example\" (without a path), nor \"*\""
                );
            }
        }
        if section.credentials && section.origins.iter().any(|origin| origin == "*") {
            bail!("cors.credentials cannot be had for \"*\": name the origins");
        }
        let mut cors = Cors::default();
        cors.origins.clone_from(&section.origins);
        cors.credentials = section.credentials;
        Ok(cors)
    }

    /// Memory budget of clients and plugins together, in bytes.
    pub(crate) fn counted_bytes(&self) -> usize {
        self.limits.memory_mb.saturating_mul(1 << 20) / 8 * COUNTED_EIGHTHS
    }

    /// Returns the limits on clients' connections, in number and time.
    pub(crate) fn server_limits(&self) -> ServerLimits {
        let limits = &self.limits;
        ServerLimits {
            connections: limits.connections,
            connections_per_client: limits.connections_per_client,
            idle_timeout: limits.idle_timeout.to_std().unwrap_or_default(),
            head_timeout: limits.head_timeout.to_std().unwrap_or_default(),
        }
    }

    /// Opens the certificate, if one is configured.
    pub(crate) fn tls(&self) -> Result<Option<Arc<Tls>>> {
        let open = |section: &TlsSection| Tls::open(&section.certificate, &section.key);
        let tls = self.tls.as_ref().map(open).transpose();
        Ok(tls.context("TLS cannot be set up")?.map(Arc::new))
    }

    /// Returns the configuration of the server for clients.
    pub(crate) fn server(
        &self,
        memory: MemoryBudget,
        limits: watch::Receiver<ServerLimits>,
        tls: Option<Arc<Tls>>,
    ) -> Result<ServerConfig> {
        let mut config = ServerConfig::new(memory);
        config.limits = limits;
        config.unlimited = self.proxies()?.networks;
        config.tls = tls;
        Ok(config)
    }

    /// Returns the configuration of the server for health requests.
    pub(crate) fn health_server(&self) -> ServerConfig {
        // A budget of its own, so that clients' memory cannot keep health requests from being
        // answered.
        let mut config = ServerConfig::new(MemoryBudget::new(HEALTH_BYTES));
        let limits = ServerLimits {
            connections: HEALTH_CONNECTIONS_MAX,
            connections_per_client: HEALTH_CONNECTIONS_MAX,
            ..ServerLimits::default()
        };
        config.limits = watch::channel(limits).1;
        config
    }

    /// Binds the configured addresses and takes over the sockets from systemd; binds the default
    /// address if there is neither.
    pub(crate) async fn bind(&self, inherited: listenfd::ListenFd) -> Result<Vec<BoundListener>> {
        let mut listeners = server::inherited(inherited)
            .context("the sockets that were handed over cannot be used")?;
        let default = ListenAddress::Tcp {
            host: LISTEN_DEFAULT.ip().to_string(),
            port: LISTEN_DEFAULT.port(),
        };
        let addresses = match &self.listen {
            Some(Listen(addresses)) => addresses.clone(),
            None if listeners.is_empty() => vec![default],
            None => Vec::new(),
        };
        listeners.extend(self.bind_all(&addresses).await?);
        if listeners.is_empty() {
            bail!("there is no address to listen on: listen is empty");
        }
        Ok(listeners)
    }

    /// Binds the addresses for health requests.
    pub(crate) async fn bind_health(&self) -> Result<Vec<BoundListener>> {
        match &self.health_listen {
            Some(Listen(addresses)) => self.bind_all(addresses).await,
            None => Ok(Vec::new()),
        }
    }

    async fn bind_all(&self, addresses: &[ListenAddress]) -> Result<Vec<BoundListener>> {
        let mut listeners = Vec::new();
        for address in addresses {
            let bound = address.bind(self.mode()?).await;
            let bound = bound.map_err(anyhow::Error::from).map_err(|error| {
                let hint = match is_taken(&error) {
                    true => "; another program listens there",
                    false => "",
                };
                error.context(format!("cannot listen on {address}{hint}"))
            })?;
            listeners.extend(bound);
        }
        Ok(listeners)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change of the defaults.
    type Change = fn(&mut Front);

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let with = |change: Change| {
            let mut front = crate::config::Config::default().front();
            change(&mut front);
            front.check().map_err(|error| format!("{error:#}"))
        };
        assert_eq!(with(|_| {}), Ok(()));
        assert_eq!(
            with(|front| {
                front.trusted_proxies = vec!["10.0.0.0/8".into(), "::1".into(), "unix".into()];
                front.cors.origins = vec!["https://app.example:8443".into()];
                front.cors.credentials = true;
            }),
            Ok(())
        );
        let wrong: [(Change, &str); 9] = [
            (|front| front.socket_mode = "0999".into(), "socket_mode"),
            (|front| front.socket_mode = "1777".into(), "socket_mode"),
            (
                |front| front.trusted_proxies = vec!["x".into()],
                "trusted_proxies",
            ),
            (
                |front| front.cors.origins = vec!["app.example".into()],
                "cors.origins",
            ),
            (
                |front| front.cors.origins = vec!["https://a/b".into()],
                "cors.origins",
            ),
            (
                |front| {
                    front.cors.origins = vec!["*".into()];
                    front.cors.credentials = true;
                },
                "cors.credentials",
            ),
            (|front| front.limits.memory_mb = 63, "memory_mb"),
            (|front| front.limits.connections = 0, "connections"),
            (
                |front| front.limits.idle_timeout = GoDuration::default(),
                "idle_timeout",
            ),
        ];
        for (change, what) in wrong {
            let error = with(change).unwrap_err();
            assert!(error.contains(what), "{what}: {error}");
        }
    }
}
