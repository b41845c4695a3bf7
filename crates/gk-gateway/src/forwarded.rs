//! Whose request it is when a proxy passed it on: headers of proxies are believed only from proxies
//! that the operator names.

use std::net::IpAddr;

use axum::http::{Extensions, HeaderMap, HeaderName, header};
use ipnet::IpNet;

use crate::server::Peer;

/// Addresses of one header that are looked at, from its end.
const HOPS_MAX: usize = 32;

/// Which proxies are believed, and in which header they say for whom they ask.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TrustedProxies {
    /// Their addresses.
    pub networks: Vec<IpNet>,
    /// Whether what comes through a Unix socket is a proxy's.
    pub unix: bool,
    /// The header they write: `Forwarded` (RFC 7239) instead of `X-Forwarded-For`. One that they do not
    /// write is the client's own.
    pub rfc7239: bool,
}

/// The client's address, as an extension of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientIp(pub(crate) IpAddr);

/// Where a request comes from, if that is known.
pub(crate) fn client(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ClientIp>().map(|client| client.0)
}

impl TrustedProxies {
    fn trusts(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&ip))
    }

    /// The address of the client: of the connection, or what the proxies say. Each proxy adds whom it
    /// serves at the end; the last address that is not a trusted proxy's is the client's.
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
        // What cannot be read says nothing of what stands before it.
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
            // What is no address says nothing of those before it.
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

/// The `for` of an element of `Forwarded`.
fn element(element: &str) -> Option<IpAddr> {
    unquoted(element, ';')?.into_iter().find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        if !name.trim().eq_ignore_ascii_case("for") {
            return None;
        }
        address_of(value.trim().trim_matches('"'))
    })
}

/// Splits where the character stands outside of quoted strings. `None` if one does not end: what a client sent begins it
/// then, and what its proxy added would be read as a part of it.
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

/// An address, with or without a port or brackets.
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
        // What cannot be read hides nothing but what stands before it.
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
        // The header that the proxy does not write is the client's own.
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
            // A name that the client chose, quoted by its proxy.
            ("for=198.51.100.7;host=\"x,for=6.6.6.6\"", "198.51.100.7"),
            ("for=198.51.100.7;host=\"x;for=6.6.6.6\"", "198.51.100.7"),
            (
                "host=\"x\\\";for=6.6.6.6\";for=198.51.100.7",
                "198.51.100.7",
            ),
            // A quoted string that the client begins, and what its proxy adds.
            ("for=6.6.6.6;x=\", for=198.51.100.7", "10.0.0.1"),
            ("for=6.6.6.6;x=\", for=\"[2001:db8::1]\"", "10.0.0.1"),
        ] {
            let got = seen(&proxies, Some("10.0.0.1:5"), "forwarded", &[value]);
            assert_eq!(got.as_deref(), Some(client), "{value}");
        }
    }
}
