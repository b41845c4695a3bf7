//! Which hosts a plugin's requests may go to.

use gk_sqlguard::Scope;
use url::{Host, Url};

use crate::error::HostError;

/// The longest pattern of a host, in bytes.
pub const HOST_PATTERN_BYTES_MAX: usize = 512;

/// The hosts a permission names. A URL is matched by its parsed host, never by its text.
///
/// A pattern is `[scheme://]host[:port]`:
///
/// | Host | matches |
/// |---|---|
/// | `example.com` | this host |
/// | `*.example.com` | `example.com` and every host below it |
/// | `203.0.113.7`, `[2001:db8::1]` | this address, however it is written |
/// | `*` | every host |
///
/// Without a scheme both `http` and `https` match. Without a port a host matches on the default
/// port of the URL's scheme only; `:*` stands for any port. The pattern `*` alone matches any host
/// on any port, as [`Scope::Any`] does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpScope(Scope<Vec<Pattern>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    scheme: Option<Scheme>,
    host: HostPattern,
    port: PortPattern,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    Any,
    Exactly(Host),
    AtOrBelow(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PortPattern {
    OfScheme,
    Any,
    Exactly(u16),
}

impl HttpScope {
    /// Parses the patterns of a permission.
    ///
    /// # Errors
    /// Invalid: a pattern of another form.
    pub fn parse(patterns: Scope<&[String]>) -> Result<Self, HostError> {
        let parse = |text: &String| {
            Pattern::parse(text).ok_or_else(|| {
                let shown: String = text.chars().take(80).collect();
                HostError::invalid(format!(
                    "{shown:?} is no host pattern; write a host, *.domain or *, with a scheme before \
                     it (https://) or a port behind it (:8443) as needed"
                ))
            })
        };
        let patterns = patterns.map(|patterns| patterns.iter().map(parse).collect());
        Ok(Self(patterns.transpose()?))
    }

    /// Returns whether requests to this URL are within the scope.
    #[must_use]
    pub fn allows(&self, url: &Url) -> bool {
        self.0.allows(|patterns| {
            let (Some(scheme), Some(host)) = (Scheme::of(url.scheme()), host(url)) else {
                return false;
            };
            // `port` is what differs from the scheme's own.
            let matches = |pattern: &Pattern| pattern.matches(scheme, &host, url.port());
            patterns.iter().any(matches)
        })
    }

    /// Says how the scope would have to change to allow a URL that it does not allow.
    #[must_use]
    pub fn remedy(&self, url: &Url) -> String {
        let patterns: &[Pattern] = match &self.0 {
            Scope::Any => &[],
            Scope::Only(patterns) => patterns,
        };
        let (Some(scheme), Some(host)) = (Scheme::of(url.scheme()), host(url)) else {
            return "it is neither http nor https".to_owned();
        };
        let port = url.port();
        let of_host = |pattern: &&Pattern| pattern.matches_host(&host);
        let at_port = |pattern: &&Pattern| of_host(pattern) && pattern.matches_port(scheme, port);
        let shown = url.host_str().unwrap_or_default();
        if patterns.iter().any(|pattern| at_port(&pattern)) {
            return format!("the scope grants this host, but not by {}", url.scheme());
        }
        if patterns.iter().any(|pattern| of_host(&pattern)) {
            let port = port.unwrap_or(scheme.default_port());
            return format!(
                "the scope grants this host, but not this port: an entry without a port is for the scheme's own one; \
                 write \"{shown}:{port}\", or \"{shown}:*\" for every port"
            );
        }
        format!("no entry of the permission's scope is this host; \"{shown}\" would be")
    }
}

/// The host in one form: lower case and IDNA come from the parser; one trailing dot, which means
/// the same host, goes here.
fn host(url: &Url) -> Option<Host> {
    Some(match url.host()? {
        Host::Domain(domain) => Host::Domain(undotted(domain).to_owned()),
        Host::Ipv4(address) => Host::Ipv4(address),
        Host::Ipv6(address) => match address.to_ipv4_mapped() {
            Some(address) => Host::Ipv4(address),
            None => Host::Ipv6(address),
        },
    })
}

fn undotted(domain: &str) -> &str {
    domain.strip_suffix('.').unwrap_or(domain)
}

impl Scheme {
    fn of(text: &str) -> Option<Self> {
        match text {
            "http" => Some(Self::Http),
            "https" => Some(Self::Https),
            _ => None,
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        // Characters that a URL parser would quietly drop or change do not belong into a pattern.
        let odd = |c: char| c.is_whitespace() || c.is_control() || "/\\?#@%".contains(c);
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(Scheme::of(&scheme.to_ascii_lowercase())?), rest),
            None => (None, text),
        };
        if rest.is_empty() || text.len() > HOST_PATTERN_BYTES_MAX || rest.contains(odd) {
            return None;
        }
        let (name, port) = match rest.rsplit_once(':') {
            // A colon within brackets is the address's.
            Some((name, port)) if !port.contains(']') => match port {
                "*" => (name, PortPattern::Any),
                port if port.bytes().all(|b| b.is_ascii_digit()) => (
                    name,
                    PortPattern::Exactly(port.parse().ok().filter(|port| *port > 0)?),
                ),
                _ => return None,
            },
            _ => (rest, PortPattern::OfScheme),
        };
        let host = match name {
            "*" => HostPattern::Any,
            name => match name.strip_prefix("*.") {
                Some(domain) => match parse_host(domain)? {
                    Host::Domain(domain) => HostPattern::AtOrBelow(domain),
                    Host::Ipv4(_) | Host::Ipv6(_) => return None,
                },
                None => HostPattern::Exactly(parse_host(name)?),
            },
        };
        let port = match (&host, scheme, port) {
            (HostPattern::Any, None, PortPattern::OfScheme) => PortPattern::Any,
            (_, _, port) => port,
        };
        Some(Self { scheme, host, port })
    }

    fn matches(&self, scheme: Scheme, host: &Host, port: Option<u16>) -> bool {
        self.matches_host(host)
            && self.matches_port(scheme, port)
            && self.scheme.is_none_or(|wanted| wanted == scheme)
    }

    fn matches_host(&self, host: &Host) -> bool {
        match (&self.host, host) {
            (HostPattern::Any, _) => true,
            (HostPattern::Exactly(wanted), host) => wanted == host,
            (HostPattern::AtOrBelow(domain), Host::Domain(host)) => {
                host == domain
                    || host
                        .strip_suffix(domain.as_str())
                        .is_some_and(|above| above.ends_with('.'))
            }
            (HostPattern::AtOrBelow(_), _) => false,
        }
    }

    fn matches_port(&self, scheme: Scheme, port: Option<u16>) -> bool {
        match self.port {
            PortPattern::Any => true,
            PortPattern::OfScheme => port.is_none(),
            PortPattern::Exactly(wanted) => port.unwrap_or(scheme.default_port()) == wanted,
        }
    }
}

/// Parses the host of a pattern as the host of a URL is parsed, so that both end in the same form.
fn parse_host(text: &str) -> Option<Host> {
    if text.contains('*') || (text.contains(':') && !text.starts_with('[')) {
        return None;
    }
    let url = Url::parse(&format!("http://{text}/")).ok()?;
    host(&url).filter(|host| !matches!(host, Host::Domain(domain) if domain.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(pattern: &str, url: &str) -> bool {
        let scope = HttpScope::parse(Scope::Only(&[pattern.to_owned()])).expect(pattern);
        Url::parse(url).is_ok_and(|url| scope.allows(&url))
    }

    #[test]
    fn patterns_match_the_parsed_host() {
        for (pattern, url, expected) in [
            ("api.example.com", "https://api.example.com/x", true),
            ("api.example.com", "http://API.Example.COM./x", true),
            ("API.Example.com.", "http://api.example.com", true),
            ("api.example.com", "https://example.com/", false),
            ("api.example.com", "https://x.api.example.com/", false),
            ("api.example.com", "https://api.example.com:8443/", false),
            ("api.example.com", "https://api.example.com:443/", true),
            ("api.example.com", "http://api.example.com:443/", false),
            (
                "api.example.com:8443",
                "https://api.example.com:8443/",
                true,
            ),
            ("api.example.com:443", "https://api.example.com/", true),
            ("api.example.com:443", "http://api.example.com/", false),
            ("api.example.com:*", "http://api.example.com:99/", true),
            ("https://api.example.com", "https://api.example.com/", true),
            ("https://api.example.com", "http://api.example.com/", false),
            ("https://a.example:8443", "https://a.example:8443/", true),
            ("*.example.com", "http://example.com/", true),
            ("*.example.com", "http://a.b.example.com/", true),
            ("*.example.com", "http://badexample.com/", false),
            ("*.example.com", "http://example.com.evil/", false),
            ("*.example.com:8080", "http://a.example.com/", false),
            ("*", "http://anything:77/", true),
            ("*", "http://[::1]/", true),
            ("https://*", "https://anything/", true),
            ("https://*", "https://anything:77/", false),
            ("https://*", "http://anything/", false),
            ("*:8080", "http://anything:8080/", true),
            ("bücher.example", "http://xn--bcher-kva.example/", true),
            ("xn--bcher-kva.example", "http://BÜCHER.example/", true),
            ("203.0.113.7", "http://0xcb007107/", true),
            ("[2001:db8::1]", "http://[2001:0db8:0::1]/", true),
            ("[2001:db8::1]:8080", "http://[2001:db8::1]:8080/", true),
            ("127.0.0.1", "http://[::ffff:127.0.0.1]/", true),
            // Row 17 of the contract: text that holds the allowed host somewhere.
            (
                "allowed.example",
                "http://allowed.example:x@evil.example/",
                false,
            ),
            (
                "allowed.example",
                "http://allowed.example@evil.example/",
                false,
            ),
            (
                "allowed.example",
                "http://evil.example?.allowed.example",
                false,
            ),
            (
                "allowed.example",
                "http://evil.example#.allowed.example",
                false,
            ),
            (
                "allowed.example",
                "http://evil.example\\.allowed.example",
                false,
            ),
            (
                "allowed.example",
                "http://evil.example\\@allowed.example",
                false,
            ),
            (
                "*.allowed.example",
                "http://evil.example/.allowed.example",
                false,
            ),
            (
                "*.allowed.example",
                "http://evil.example%2f.allowed.example",
                false,
            ),
            ("allowed.example", "http://allowed.example../", false),
            ("allowed.example", "ftp://allowed.example/", false),
        ] {
            assert_eq!(allows(pattern, url), expected, "{pattern} {url}");
        }
    }

    #[test]
    fn a_refusal_says_what_would_be_granted() {
        for (patterns, url, expected) in [
            (
                &["127.0.0.1"][..],
                "http://127.0.0.1:8080/",
                "\"127.0.0.1:8080\"",
            ),
            (&["127.0.0.1"], "http://127.0.0.1:8080/", "\"127.0.0.1:*\""),
            (&["a.example:8080"], "http://a.example/", "\"a.example:80\""),
            (
                &["*.a.example"],
                "https://b.a.example:8443/",
                "\"b.a.example:8443\"",
            ),
            (&["https://a.example"], "http://a.example/", "not by http"),
            (&["[::1]"], "http://[::1]:81/", "\"[::1]:81\""),
            (
                &["a.example", "c.example:1"],
                "http://b.example/",
                "\"b.example\" would be",
            ),
        ] {
            let patterns: Vec<String> = patterns.iter().map(|&text| text.to_owned()).collect();
            let scope = HttpScope::parse(Scope::Only(&patterns)).unwrap();
            let url = Url::parse(url).unwrap();
            assert!(!scope.allows(&url), "{url}");
            let remedy = scope.remedy(&url);
            assert!(remedy.contains(expected), "{url}: {remedy}");
        }
    }

    #[test]
    fn no_pattern_is_no_host_and_a_bad_one_is_an_error() {
        let anything = Url::parse("http://anything:77/").unwrap();
        let any = HttpScope::parse(Scope::Any).unwrap();
        assert!(any.allows(&anything));
        let none = HttpScope::parse(Scope::Only(&[])).unwrap();
        assert!(!none.allows(&anything));
        for bad in [
            "",
            "https://",
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "u@a",
            "*.",
            "*.*.a",
            "a*b",
            "a:b",
            "a:0",
            "a:70000",
            "ftp://a",
            "*.127.0.0.1",
            "[::1",
            "a\\b",
            "://a",
            "a:1:2",
            "a\n",
            &"a".repeat(HOST_PATTERN_BYTES_MAX + 1),
        ] {
            let parsed = HttpScope::parse(Scope::Only(&[bad.to_owned()]));
            assert!(parsed.is_err(), "{bad:?}");
        }
    }
}
