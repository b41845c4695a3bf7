//! Addresses of mail, and whom a plugin may write to.

use std::fmt;

use email_address::EmailAddress;
use gk_sqlguard::Scope;

use crate::error::HostError;

/// The longest recipient with its display name, in bytes.
pub const RECIPIENT_BYTES_MAX: usize = 512;
/// The longest address, in bytes (RFC 5321, 4.5.3.1.3, without the brackets).
pub const ADDRESS_BYTES_MAX: usize = 254;

/// An address of the plain form that every server reads in the same way.
///
/// Refused although the standards know them: quoted local parts, `%` and `!` (old ways to have a
/// mail passed on to somewhere else), addresses of IP hosts, and anything but ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailAddress {
    text: String,
    /// The place of the `@`.
    at: usize,
}

/// A recipient: an address, and a display name where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The display name.
    pub name: Option<String>,
    /// The address.
    pub address: MailAddress,
}

/// The recipients a permission names: `@example.com` is every address of exactly this domain (not
/// of a domain below it), anything else is one address. Case does not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailScope(Scope<Vec<Pattern>>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Domain(String),
    Address(String),
}

impl MailScope {
    /// Parses the patterns of a permission.
    ///
    /// # Errors
    /// Invalid: a pattern of another form.
    pub fn parse(patterns: Scope<&[String]>) -> Result<Self, HostError> {
        let patterns =
            patterns.map(|patterns| patterns.iter().map(|text| Pattern::parse(text)).collect());
        Ok(Self(patterns.transpose()?))
    }

    /// Returns whether mail to this address is within the scope.
    #[must_use]
    pub fn allows(&self, address: &MailAddress) -> bool {
        let matches = |pattern: &Pattern| match pattern {
            Pattern::Domain(domain) => address.domain().eq_ignore_ascii_case(domain),
            Pattern::Address(wanted) => address.as_str().eq_ignore_ascii_case(wanted),
        };
        self.0.allows(|patterns| patterns.iter().any(matches))
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, HostError> {
        let parsed = match text.strip_prefix('@') {
            // A character of addresses, but in a pattern a mistake.
            _ if text.contains('*') => Err(not_one()),
            // Any local part will do to check the domain.
            Some(domain) => MailAddress::parse(&format!("a@{domain}"))
                .map(|address| Pattern::Domain(address.domain().to_ascii_lowercase())),
            None => MailAddress::parse(text)
                .map(|address| Pattern::Address(address.text.to_ascii_lowercase())),
        };
        parsed.map_err(|_| {
            let shown: String = text.chars().take(80).collect();
            HostError::invalid(format!(
                "{shown:?} is no pattern of recipients; write @domain or a whole address"
            ))
        })
    }
}

impl Recipient {
    /// Parses one recipient: an address, or `Name <address>`; nothing else that the standards call
    /// a mailbox.
    ///
    /// # Errors
    /// Invalid: another form, a control character, or more than [`RECIPIENT_BYTES_MAX`].
    pub fn parse(text: &str) -> Result<Self, HostError> {
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
            let address = MailAddress::parse(text)?;
            return Ok(Self {
                name: None,
                address,
            });
        };
        let (name, address) = rest.split_once('<').ok_or_else(not_one)?;
        let name = name.trim_matches(' ').trim_matches('"');
        if name.contains(|c| "@,;:<>()[]\\\"".contains(c)) {
            return Err(not_one());
        }
        Ok(Self {
            name: (!name.is_empty()).then(|| name.to_owned()),
            address: MailAddress::parse(address)?,
        })
    }
}

impl MailAddress {
    /// Parses an address.
    ///
    /// # Errors
    /// Invalid: another form, or more than [`ADDRESS_BYTES_MAX`].
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "@.#$&'*+/=?^_`{|}~-".contains(c);
        if !text.is_ascii() {
            return Err(HostError::invalid(
                "the address is not ASCII; write its domain in the form that begins with xn--",
            ));
        }
        if text.len() > ADDRESS_BYTES_MAX || !text.chars().all(plain) {
            return Err(not_one());
        }
        let (local, domain) = text.split_once('@').ok_or_else(not_one)?;
        let is_valid = !domain.contains('@')
            && EmailAddress::is_valid_local_part(local)
            && EmailAddress::is_valid_domain(domain);
        let last = domain.rsplit('.').next().unwrap_or_default();
        if !is_valid || last.is_empty() || last.bytes().all(|b| b.is_ascii_digit()) {
            return Err(not_one());
        }
        Ok(Self {
            at: local.len(),
            text: text.to_owned(),
        })
    }

    /// The whole address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part before the `@`.
    #[must_use]
    pub fn local_part(&self) -> &str {
        &self.text[..self.at]
    }

    /// The part behind the `@`.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.text[self.at + 1..]
    }
}

impl fmt::Display for MailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn not_one() -> HostError {
    HostError::invalid("not exactly one address, such as name@example.com")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(pattern: &str, recipient: &str) -> bool {
        let scope = MailScope::parse(Scope::Only(&[pattern.to_owned()])).expect(pattern);
        Recipient::parse(recipient).is_ok_and(|recipient| scope.allows(&recipient.address))
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
    fn no_pattern_is_nobody_and_a_bad_one_is_an_error() {
        let address = MailAddress::parse("x@example.com").unwrap();
        assert!(MailScope::parse(Scope::Any).unwrap().allows(&address));
        let none = MailScope::parse(Scope::Only(&[])).unwrap();
        assert!(!none.allows(&address));
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
            let parsed = MailScope::parse(Scope::Only(&[bad.to_owned()]));
            assert!(parsed.is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_limits_hold_at_the_limit() {
        // A label of a domain has at most 63 bytes, a local part 64.
        let label = "d".repeat(60);
        let domain = format!("{label}.{label}.{label}.example");
        let local = "l".repeat(ADDRESS_BYTES_MAX - domain.len() - 1);
        assert!(MailAddress::parse(&format!("{local}@{domain}")).is_ok());
        assert!(MailAddress::parse(&format!("{local}l@{domain}")).is_err());
        let name = "n".repeat(RECIPIENT_BYTES_MAX - "<x@example.com>".len());
        assert!(Recipient::parse(&format!("{name}<x@example.com>")).is_ok());
        assert!(Recipient::parse(&format!("{name}n<x@example.com>")).is_err());
    }
}
