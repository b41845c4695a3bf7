//! Addresses, and whom a plugin may write to.

use lettre::Address;

use crate::HostError;

/// Longest recipient with its display name, in bytes.
pub const RECIPIENT_BYTES_MAX: usize = 512;
/// Longest address, in bytes (RFC 5321, 4.5.3.1.3, without the brackets).
pub const ADDRESS_BYTES_MAX: usize = 254;

/// The recipients a permission names: `@example.com` is every address of exactly this domain (not of
/// a domain below it), anything else is one address. Case does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailScope {
    /// None of them is any recipient.
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Domain(String),
    Address(String),
}

impl MailScope {
    /// Parses the patterns of a permission; none is any recipient.
    ///
    /// # Errors
    /// Invalid: a pattern of another form. It must not be dropped: no pattern left would be anybody.
    pub fn parse(patterns: &[String]) -> Result<Self, HostError> {
        let patterns = patterns.iter().map(|text| {
            let parsed = match text.strip_prefix('@') {
                // A character of addresses, but in a pattern a mistake.
                _ if text.contains('*') => Err(not_one()),
                // Any local part will do to check the domain.
                Some(domain) => parse_address(&format!("a@{domain}"))
                    .map(|address| Pattern::Domain(address.domain().to_ascii_lowercase())),
                None => parse_address(text)
                    .map(|address| Pattern::Address(address.to_string().to_ascii_lowercase())),
            };
            parsed.map_err(|_| {
                let shown: String = text.chars().take(80).collect();
                HostError::invalid(format!(
                    "{shown:?} is no pattern of recipients; write @domain or a whole address"
                ))
            })
        });
        Ok(Self {
            patterns: patterns.collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn allows(&self, address: &Address) -> bool {
        self.patterns.is_empty()
            || self.patterns.iter().any(|pattern| match pattern {
                Pattern::Domain(domain) => address.domain().eq_ignore_ascii_case(domain),
                Pattern::Address(wanted) => {
                    let address: &str = address.as_ref();
                    address.eq_ignore_ascii_case(wanted)
                }
            })
    }
}

/// One recipient: an address, or `Name <address>`; nothing else that the standards call a mailbox.
pub(super) fn parse_recipient(text: &str) -> Result<(Option<String>, Address), HostError> {
    if text.len() > RECIPIENT_BYTES_MAX {
        return Err(HostError::invalid(format!(
            "at most {RECIPIENT_BYTES_MAX} bytes are possible, not {}",
            text.len()
        )));
    }
    if text.contains(char::is_control) {
        return Err(HostError::invalid(
            "it holds a line break or another control character",
        ));
    }
    let text = text.trim_matches(' ');
    let Some(rest) = text.strip_suffix('>') else {
        return Ok((None, parse_address(text)?));
    };
    let (name, address) = rest.split_once('<').ok_or_else(not_one)?;
    let name = name.trim_matches(' ').trim_matches('"');
    if name.contains(|c| "@,;:<>()[]\\\"".contains(c)) {
        return Err(not_one());
    }
    let name = (!name.is_empty()).then(|| name.to_owned());
    Ok((name, parse_address(address)?))
}

fn not_one() -> HostError {
    HostError::invalid("not exactly one address, such as name@example.com")
}

/// Parses an address of the plain form that every server reads in the same way.
///
/// Refused although the standards know them: quoted local parts, `%` and `!` (old ways to have a mail
/// passed on to somewhere else), addresses of IP hosts, and anything but ASCII.
pub(super) fn parse_address(text: &str) -> Result<Address, HostError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@.#$&'*+/=?^_`{|}~-".contains(c);
    if !text.is_ascii() {
        return Err(HostError::invalid(
            "the address is not ASCII; write its domain in the form that begins with xn--",
        ));
    }
    if text.len() > ADDRESS_BYTES_MAX || !text.chars().all(plain) || text.matches('@').count() != 1
    {
        return Err(not_one());
    }
    let address: Address = text.parse().map_err(|_| not_one())?;
    let last = address.domain().rsplit('.').next().unwrap_or_default();
    if last.is_empty() || last.bytes().all(|b| b.is_ascii_digit()) {
        return Err(not_one());
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(pattern: &str, recipient: &str) -> bool {
        let scope = MailScope::parse(&[pattern.to_owned()]).expect(pattern);
        parse_recipient(recipient).is_ok_and(|(_, address)| scope.allows(&address))
    }

    #[test]
    fn patterns_match_parsed_addresses() {
        for (pattern, recipient, expected) in [
            ("@example.com", "x@example.com", true),
            ("@example.com", "X@EXAMPLE.com", true),
            ("@Example.com", "Some One <x@example.com>", true),
            ("@example.com", "\"Some One\" <x@example.com>", true),
            ("@example.com", " x+tag@example.com ", true),
            ("@example.com", "x@sub.example.com", false),
            ("@example.com", "x@badexample.com", false),
            ("@example.com", "x@example.com.evil", false),
            ("a@example.com", "A@example.com", true),
            ("a@example.com", "aa@example.com", false),
            // Row 19 of the contract: each of these ends with the allowed domain.
            ("@example.com", "victim@evil.example, x@example.com", false),
            ("@example.com", "victim@evil.example;x@example.com", false),
            ("@example.com", "victim@evil.example x@example.com", false),
            (
                "@example.com",
                "victim@evil.example\r\nBcc: x@example.com",
                false,
            ),
            ("@example.com", "victim@evil.example\nx@example.com", false),
            ("@example.com", "victim@evil.example\0@example.com", false),
            ("@example.com", "victim@evil.example@example.com", false),
            (
                "@example.com",
                "\"victim@evil.example, \"@example.com",
                false,
            ),
            ("@example.com", "victim%evil.example@example.com", false),
            ("@example.com", "evil.example!victim@example.com", false),
            ("@example.com", "@evil.example:x@example.com", false),
            (
                "@example.com",
                "<victim@evil.example> <x@example.com>",
                false,
            ),
            ("@example.com", "x@example.com <victim@evil.example>", false),
            (
                "@example.com",
                "<x@example.com>, victim@evil.example>",
                false,
            ),
            ("@example.com", "x(@evil.example)@example.com", false),
            ("@example.com", "group: x@example.com;", false),
            ("@example.com", "x@example.com,", false),
            ("@example.com", "@example.com", false),
            ("@example.com", "", false),
            ("@example.com", "x@example.com>", false),
        ] {
            assert_eq!(
                allows(pattern, recipient),
                expected,
                "{pattern} {recipient:?}"
            );
        }
    }

    #[test]
    fn no_pattern_is_anybody_and_a_bad_one_is_an_error() {
        let (_, address) = parse_recipient("x@example.com").unwrap();
        assert!(MailScope::parse(&[]).unwrap().allows(&address));
        for bad in [
            "",
            "@",
            "example.com",
            "*@example.com",
            "@example.com ",
            "@*.example.com",
            "@[127.0.0.1]",
            "@127.0.0.1",
            "a@b@c",
            "@exämple.com",
        ] {
            assert!(MailScope::parse(&[bad.to_owned()]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_limits_hold_at_the_limit() {
        // A label of a domain has at most 63 bytes, a local part 64.
        let label = "d".repeat(60);
        let domain = format!("{label}.{label}.{label}.example");
        let local = "l".repeat(ADDRESS_BYTES_MAX - domain.len() - 1);
        assert!(parse_address(&format!("{local}@{domain}")).is_ok());
        assert!(parse_address(&format!("{local}l@{domain}")).is_err());
        let name = "n".repeat(RECIPIENT_BYTES_MAX - "<x@example.com>".len());
        assert!(parse_recipient(&format!("{name}<x@example.com>")).is_ok());
        assert!(parse_recipient(&format!("{name}n<x@example.com>")).is_err());
    }
}
