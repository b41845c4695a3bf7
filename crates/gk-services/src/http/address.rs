//! Which addresses a plugin's request may go to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Why an address is refused: what kind of address it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) &'static str);

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

/// IPv4 that is not for everybody (IANA's special-purpose registry, and what clouds put beside it).
const V4_REFUSED: &[(Ipv4Net, &str)] = &[
    (v4(0, 0, 0, 0, 8), "unspecified"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "carrier-grade NAT"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    // The platform's own services at one provider, by a public address.
    (v4(168, 63, 129, 16, 32), "metadata"),
    (v4(169, 254, 0, 0, 16), "link-local or metadata"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "reserved"),
    (v4(192, 0, 2, 0, 24), "documentation"),
    (v4(192, 88, 99, 0, 24), "reserved"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(198, 18, 0, 0, 15), "benchmarking"),
    (v4(198, 51, 100, 0, 24), "documentation"),
    (v4(203, 0, 113, 0, 24), "documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(240, 0, 0, 0, 4), "reserved or broadcast"),
];

const fn v6(high: [u16; 4], prefix: u8) -> Ipv6Net {
    let [a, b, c, d] = high;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), prefix)
}

/// The only part of IPv6 that is for everybody.
const V6_GLOBAL: Ipv6Net = v6([0x2000, 0, 0, 0], 3);

/// Networks within [`V6_GLOBAL`] that are not for everybody.
const V6_REFUSED: &[(Ipv6Net, &str)] = &[
    (v6([0x2001, 0, 0, 0], 32), "Teredo"),
    // Benchmarking, ORCHID and other assignments of the IETF.
    (v6([0x2001, 0, 0, 0], 23), "reserved"),
    (v6([0x2001, 0xdb8, 0, 0], 32), "documentation"),
    (v6([0x2002, 0, 0, 0], 16), "6to4"),
    (v6([0x3fff, 0, 0, 0], 20), "documentation"),
];

/// Translates IPv4 by a router: what counts is the address within.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0], 96);

/// Refuses every address that is not for everybody, unless the operator names its network.
pub(crate) fn check(address: IpAddr, allowed: &[IpNet]) -> Result<(), Refused> {
    // `::ffff:127.0.0.1` connects to 127.0.0.1, and an operator may have named either form.
    let address = address.to_canonical();
    let named = |address: IpAddr| allowed.iter().any(|network| network.contains(&address));
    if named(address) {
        return Ok(());
    }
    match address {
        IpAddr::V4(address) => check_v4(address),
        IpAddr::V6(address) if NAT64.contains(&address) => {
            let embedded = embedded_v4(address);
            if named(IpAddr::V4(embedded)) {
                return Ok(());
            }
            check_v4(embedded)
        }
        IpAddr::V6(address) => check_v6(address),
    }
}

fn check_v4(address: Ipv4Addr) -> Result<(), Refused> {
    match V4_REFUSED
        .iter()
        .find(|(network, _)| network.contains(&address))
    {
        Some((_, kind)) => Err(Refused(kind)),
        None => Ok(()),
    }
}

fn check_v6(address: Ipv6Addr) -> Result<(), Refused> {
    if !V6_GLOBAL.contains(&address) {
        return Err(Refused(outside_global(address)));
    }
    if let Some((_, kind)) = V6_REFUSED
        .iter()
        .find(|(network, _)| network.contains(&address))
    {
        return Err(Refused(kind));
    }
    // ISATAP: an interface identifier that carries an IPv4 address.
    let segments = address.segments();
    if segments[4] & 0xfdff == 0 && segments[5] == 0x5efe {
        return Err(Refused("ISATAP"));
    }
    Ok(())
}

/// The name of what is refused in any case.
fn outside_global(address: Ipv6Addr) -> &'static str {
    let first = address.segments()[0];
    match first {
        _ if address.is_unspecified() => "unspecified",
        _ if address.is_loopback() => "loopback",
        0xfc00..=0xfdff => "private",
        0xfe80..=0xfeff => "link-local",
        0xff00..=0xffff => "multicast",
        _ => "reserved",
    }
}

/// The last 32 bits.
fn embedded_v4(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(address: &str) -> Option<&'static str> {
        check(address.parse().unwrap(), &[])
            .err()
            .map(|refused| refused.0)
    }

    #[test]
    fn every_special_network_at_both_ends() {
        for (address, expected) in [
            ("0.0.0.0", Some("unspecified")),
            ("0.255.255.255", Some("unspecified")),
            ("1.0.0.0", None),
            ("9.255.255.255", None),
            ("10.0.0.0", Some("private")),
            ("10.255.255.255", Some("private")),
            ("11.0.0.0", None),
            ("100.63.255.255", None),
            ("100.64.0.0", Some("carrier-grade NAT")),
            ("100.100.100.200", Some("carrier-grade NAT")),
            ("100.128.0.0", None),
            ("127.0.0.1", Some("loopback")),
            ("127.255.255.254", Some("loopback")),
            ("128.0.0.0", None),
            ("168.63.129.16", Some("metadata")),
            ("168.63.129.17", None),
            ("169.253.255.255", None),
            ("169.254.169.254", Some("link-local or metadata")),
            ("172.15.255.255", None),
            ("172.16.0.0", Some("private")),
            ("172.31.255.255", Some("private")),
            ("172.32.0.0", None),
            ("192.0.0.192", Some("reserved")),
            ("192.0.2.1", Some("documentation")),
            ("192.88.99.1", Some("reserved")),
            ("192.168.0.1", Some("private")),
            ("192.169.0.0", None),
            ("198.17.255.255", None),
            ("198.18.0.0", Some("benchmarking")),
            ("198.19.255.255", Some("benchmarking")),
            ("198.51.100.7", Some("documentation")),
            ("203.0.113.7", Some("documentation")),
            ("223.255.255.255", None),
            ("224.0.0.1", Some("multicast")),
            ("239.255.255.255", Some("multicast")),
            ("240.0.0.1", Some("reserved or broadcast")),
            ("255.255.255.255", Some("reserved or broadcast")),
            ("8.8.8.8", None),
            ("::", Some("unspecified")),
            ("::1", Some("loopback")),
            ("::127.0.0.1", Some("reserved")),
            ("::8.8.8.8", Some("reserved")),
            ("::ffff:127.0.0.1", Some("loopback")),
            ("::ffff:8.8.8.8", None),
            ("::ffff:0:127.0.0.1", Some("reserved")),
            ("64:ff9b::127.0.0.1", Some("loopback")),
            ("64:ff9b::169.254.169.254", Some("link-local or metadata")),
            ("64:ff9b::8.8.8.8", None),
            ("64:ff9b:1::8.8.8.8", Some("reserved")),
            ("100::1", Some("reserved")),
            ("2001::1", Some("Teredo")),
            ("2001:0:4136:e378:8000:63bf:80ff:fffe", Some("Teredo")),
            ("2001:2::1", Some("reserved")),
            ("2001:10::1", Some("reserved")),
            ("2001:1ff:ffff::", Some("reserved")),
            ("2001:200::", None),
            ("2001:db8::1", Some("documentation")),
            ("2001:4860:4860::8888", None),
            ("2002:7f00:1::", Some("6to4")),
            ("2002:808:808::", Some("6to4")),
            ("2606:4700::5efe:127.0.0.1", Some("ISATAP")),
            ("2606:4700::200:5efe:127.0.0.1", Some("ISATAP")),
            ("2606:4700::1111", None),
            ("3fff::1", Some("documentation")),
            ("5f00::1", Some("reserved")),
            ("fc00::1", Some("private")),
            ("fd00:ec2::254", Some("private")),
            ("fe80::1", Some("link-local")),
            ("fec0::1", Some("link-local")),
            ("ff02::1", Some("multicast")),
        ] {
            assert_eq!(kind(address), expected, "{address}");
        }
    }

    #[test]
    fn the_operator_may_name_networks_in_any_form() {
        let allowed = ["127.0.0.0/8", "fd00:1::/32"].map(|net| net.parse().unwrap());
        for (address, fine) in [
            ("127.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("64:ff9b::127.0.0.1", true),
            ("fd00:1::7", true),
            ("fd00:2::7", false),
            ("10.0.0.1", false),
            ("::1", false),
            ("8.8.8.8", true),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(check(address, &allowed).is_ok(), fine, "{address}");
        }
    }
}
