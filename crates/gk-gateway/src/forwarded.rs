//! Client address of a request that a proxy passed on. Headers of proxies are trusted only from
//! proxies that the operator names.

use std::net::IpAddr;

use axum::http::{Extensions, HeaderMap, HeaderName, header};
use ipnet::IpNet;

use crate::server::Peer;

/// Maximum number of addresses of one header that are read, from its end.
const HOPS_MAX: usize = 32;

/// Proxies that are trusted, and the header in which they name the client.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TrustedProxies {
    /// Addresses of the proxies.
    pub networks: Vec<IpNet>,
    /// Connections through a Unix socket come from a trusted proxy.
    pub unix: bool,
    /// The proxies write `Forwarded` (RFC 7239) instead of `X-Forwarded-For`. The header that they
    /// do not write comes from the client and is ignored.
    pub rfc7239: bool,
}

/// Address of the client, as an extension of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientIp(pub(crate) IpAddr);

/// Returns the address that a request comes from, if it is known.
pub(crate) fn client(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ClientIp>().map(|client| client.0)
}

impl TrustedProxies {
    fn trusts(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&ip))
    }

    /// Returns the address of the client: that of the connection, or the one in the proxies'
    /// header. Each proxy adds the address it serves at the end, so the client's is the last one
    /// that is not a trusted proxy's.
    pub(crate) fn client(&self, peer: Option<Peer>, headers: &HeaderMap) -> Option<IpAddr> {
        let address = peer?.address;
        let direct = address.map(|address| address.ip().to_canonical());
        let trusted = match direct {
            Some(ip) => self.trusts(ip),
            // The local socket is for users of this machine.
            None => self.unix && peer?.local.is_none(),
        };
        if !trusted {
            return direct;
        }
        let mut client = direct;
        let name: HeaderName = match self.rfc7239 {
            true => header::FORWARDED,
            false => HeaderName::from_static("x-forwarded-for"),
        };
        let values: Vec<_> = headers.get_all(name).iter().collect();
        // An unreadable value makes those before it unreliable.
        let hops = values
            .iter()
            .rev()
            .map_while(|value| {
                let value = value.to_str().ok()?;
                Some(match self.rfc7239 {
                    true => unquoted(value, ',')?.into_iter().rev().collect(),
                    false => value.rsplit(',').collect::<Vec<_>>(),
                })
            })
            .flatten()
            .take(HOPS_MAX);
        for hop in hops {
            let ip = match self.rfc7239 {
                true => element(hop),
                false => address_of(hop.trim()),
            };
            // An entry without an address makes those before it unreliable.
            let Some(ip) = ip else {
                break;
            };
            client = Some(ip);
            if !self.trusts(ip) {
                break;
            }
        }
        client
    }
}

/// Returns the `for` of an element of `Forwarded`.
fn element(element: &str) -> Option<IpAddr> {
    unquoted(element, ';')?.into_iter().find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        if !name.trim().eq_ignore_ascii_case("for") {
            return None;
        }
        address_of(value.trim().trim_matches('"'))
    })
}

/// Splits a text at a character outside of quoted strings. Returns `None` if a quoted string does
/// not end: a client may have begun it, and the entry that its proxy added would be read as a part
/// of it.
fn unquoted(text: &str, at: char) -> Option<Vec<&str>> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == at && !quoted => {
                parts.push(&text[start..index]);
                start = index + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!quoted).then_some(parts)
}

/// Parses an address, with or without a port or brackets.
fn address_of(text: &str) -> Option<IpAddr> {
    let ip = match text.parse::<std::net::SocketAddr>() {
        Ok(address) => address.ip(),
        Err(_) => text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
            .unwrap_or(text)
            .parse()
            .ok()?,
    };
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn seen(
        proxies: &TrustedProxies,
        peer: Option<&str>,
        name: &'static str,
        values: &[&str],
    ) -> Option<String> {
        let peer = Peer {
            address: peer.map(|address| address.parse().unwrap()),
            local: None,
        };
        let headers = values
            .iter()
            .map(|value| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        proxies
            .client(Some(peer), &headers)
            .map(|ip| ip.to_string())
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let mut proxies = TrustedProxies {
            networks: vec!["10.0.0.0/8".parse().unwrap()],
            ..TrustedProxies::default()
        };
        let xff = "x-forwarded-for";
        for (peer, values, client) in [
            ("192.0.2.1:5", &["1.1.1.1"][..], "192.0.2.1"),
            ("10.0.0.1:5", &[], "10.0.0.1"),
            ("10.0.0.1:5", &["198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1:5", &["6.6.6.6, 198.51.100.7"], "198.51.100.7"),
            (
                "10.0.0.1:5",
                &["6.6.6.6, 198.51.100.7, 10.1.1.1"],
                "198.51.100.7",
            ),
            ("10.0.0.1:5", &["6.6.6.6", "198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1:5", &["6.6.6.6, nonsense"], "10.0.0.1"),
            ("10.0.0.1:5", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("10.0.0.1:5", &["198.51.100.7:1234"], "198.51.100.7"),
            ("[::ffff:10.0.0.1]:5", &["198.51.100.7"], "198.51.100.7"),
        ] {
            let got = seen(&proxies, Some(peer), xff, values);
            assert_eq!(got.as_deref(), Some(client), "{peer} {values:?}");
        }
        // An unreadable value discards only those before it.
        let odd = HeaderValue::from_bytes(b"6.6.6.6, \xe9").unwrap();
        let mut headers = HeaderMap::new();
        headers.append(xff, HeaderValue::from_static("6.6.6.6"));
        headers.append(xff, odd);
        let peer = Peer {
            address: Some("10.0.0.1:5".parse().unwrap()),
            local: None,
        };
        let got = proxies.client(Some(peer), &headers).unwrap();
        assert_eq!(got.to_string(), "10.0.0.1");
        // The header that the proxy does not write comes from the client.
        let forwarded = ["for=6.6.6.6"];
        let got = seen(&proxies, Some("10.0.0.1:5"), "forwarded", &forwarded);
        assert_eq!(got.as_deref(), Some("10.0.0.1"));
        assert_eq!(seen(&proxies, None, xff, &["1.1.1.1"]), None);
        proxies.unix = true;
        let got = seen(&proxies, None, xff, &["198.51.100.7"]);
        assert_eq!(got.as_deref(), Some("198.51.100.7"));
        proxies.rfc7239 = true;
        for (value, client) in [
            ("for=198.51.100.7;proto=https", "198.51.100.7"),
            ("For=\"[2001:db8::1]:80\"", "2001:db8::1"),
            ("for=6.6.6.6, by=x;for=198.51.100.7", "198.51.100.7"),
            ("for=_hidden", "10.0.0.1"),
            // A host name chosen by the client, quoted by its proxy.
            ("for=198.51.100.7;host=\"x,for=6.6.6.6\"", "198.51.100.7"),
            ("for=198.51.100.7;host=\"x;for=6.6.6.6\"", "198.51.100.7"),
            (
                "host=\"x\\\";for=6.6.6.6\";for=198.51.100.7",
                "198.51.100.7",
            ),
            // A quoted string begun by the client, and the entry that its proxy adds.
            ("for=6.6.6.6;x=\", for=198.51.100.7", "10.0.0.1"),
            ("for=6.6.6.6;x=\", for=\"[2001:db8::1]\"", "10.0.0.1"),
        ] {
            let got = seen(&proxies, Some("10.0.0.1:5"), "forwarded", &[value]);
            assert_eq!(got.as_deref(), Some(client), "{value}");
        }
    }
}
