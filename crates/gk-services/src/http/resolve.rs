//! From a host's name to the addresses a connection may be made to.
//!
//! The check is part of the resolution itself: the client connects to what comes out of here and
//! asks no second time, so a name that changes its address between a check and a connection (DNS
//! rebinding) finds no gap.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use ipnet::IpNet;
use reqwest::dns::{Name, Resolving};

use super::address;

/// Most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 32;

/// Turns names into addresses.
#[async_trait]
pub trait Resolve: Send + Sync + fmt::Debug + 'static {
    /// The addresses of a host.
    ///
    /// # Errors
    /// If there are none, or nobody could be asked.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver: `/etc/hosts`, then DNS.
#[derive(Debug, Default, Clone, Copy)]
#[non_exhaustive]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((host, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

/// The error where every address of a host is refused. The client's error has it in its chain.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("an address of kind {0}")]
pub(super) struct AddressRefused(pub(super) &'static str);

/// Lets only allowed addresses through.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) inner: Arc<dyn Resolve>,
    pub(super) allowed: Arc<[IpNet]>,
}

impl reqwest::dns::Resolve for Filter {
    fn resolve(&self, name: Name) -> Resolving {
        let (inner, allowed) = (Arc::clone(&self.inner), Arc::clone(&self.allowed));
        Box::pin(async move {
            let found = inner.resolve(name.as_str()).await?;
            let mut refused = None;
            let mut fine = Vec::new();
            for ip in found.into_iter().take(ADDRESSES_MAX) {
                match address::check(ip, &allowed) {
                    // Port 0 stands for the URL's.
                    Ok(()) => fine.push(SocketAddr::new(ip, 0)),
                    Err(reason) => refused = Some(reason),
                }
            }
            match refused {
                Some(reason) if fine.is_empty() => Err(AddressRefused(reason.0).into()),
                _ => Ok(Box::new(fine.into_iter()) as reqwest::dns::Addrs),
            }
        })
    }
}
