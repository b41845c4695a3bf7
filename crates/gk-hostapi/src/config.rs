//! Settings of the host that plugins may read.
//!
//! Not the host's own configuration: only what the operator puts here by name, and three settings of
//! the application.

use std::collections::BTreeMap;

use crate::HostError;

/// Longest key, and longest pattern, in bytes.
pub const KEY_BYTES_MAX: usize = 256;

/// A key that holds one of these is a secret (contract §7.2), unless a scope names it.
const SECRET_PARTS: &[&str] = &[
    "database.",
    "db.",
    "mysql.",
    "postgres.",
    "mariadb.",
    "smtp.",
    "mail.",
    "email.",
    "secret",
    "password",
    "credential",
    "token",
    "key",
    "private",
    "auth",
    "session",
    "cookie",
    "ldap.",
    "oauth.",
    "saml.",
    "aws.",
    "gcp.",
    "azure.",
    "cloud.",
];

/// The settings every host has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppSettings {
    /// `app.name`.
    pub name: String,
    /// `app.timezone`, an IANA name.
    pub timezone: String,
    /// `app.env`, such as `production`.
    pub env: String,
}

/// The service: an immutable set of settings.
#[derive(Clone, Default)]
pub struct Config {
    values: BTreeMap<String, String>,
}

impl Config {
    /// The application's settings and what the operator adds; an added key of the same name wins.
    #[must_use]
    pub fn new(app: AppSettings, added: BTreeMap<String, String>) -> Self {
        let mut values = BTreeMap::from([
            ("app.name".to_owned(), app.name),
            ("app.timezone".to_owned(), app.timezone),
            ("app.env".to_owned(), app.env),
        ]);
        values.extend(added);
        Self { values }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// Invalid: a key longer than [`KEY_BYTES_MAX`]. Denied: a key outside of the scope, or a secret
    /// the scope does not name, whether it exists or not. Not found: no such key.
    pub fn get(&self, key: &str, scope: &ConfigScope) -> Result<&str, HostError> {
        if key.len() > KEY_BYTES_MAX {
            return Err(HostError::invalid(format!(
                "a config key has at most {KEY_BYTES_MAX} bytes, not {}",
                key.len()
            )));
        }
        if !scope.allows(key) {
            return Err(HostError::denied(format!(
                "config key {key:?} access denied"
            )));
        }
        match self.values.get(key) {
            Some(value) => Ok(value),
            None => Err(HostError::not_found(format!("unknown config key: {key}"))),
        }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values may be secrets that a scope names.
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// The keys a permission names. A pattern is a whole key; `*` stands for any run of characters; case
/// does not matter.
///
/// Without a pattern every key is in the scope that is no secret. The pattern `*` alone is the same as
/// none: it names nothing. Where the scopes of several grants are put together, one of them without
/// patterns makes the whole one without patterns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigScope {
    /// Lower case; none of them is everything but secrets.
    patterns: Vec<String>,
}

impl ConfigScope {
    /// Parses the patterns of a permission.
    ///
    /// # Errors
    /// Invalid: a pattern that is empty or longer than [`KEY_BYTES_MAX`].
    pub fn parse(patterns: &[String]) -> Result<Self, HostError> {
        for pattern in patterns {
            if pattern.is_empty() || pattern.len() > KEY_BYTES_MAX {
                return Err(HostError::invalid(format!(
                    "a pattern of config keys has 1 to {KEY_BYTES_MAX} bytes, not {}",
                    pattern.len()
                )));
            }
        }
        let names_nothing = |pattern: &String| pattern.bytes().all(|b| b == b'*');
        let patterns = match patterns.iter().any(names_nothing) {
            true => Vec::new(),
            false => patterns
                .iter()
                .map(|pattern| pattern.to_lowercase())
                .collect(),
        };
        Ok(Self { patterns })
    }

    fn allows(&self, key: &str) -> bool {
        let key = key.to_lowercase();
        if self.patterns.is_empty() {
            return !SECRET_PARTS.iter().any(|part| key.contains(part));
        }
        self.patterns.iter().any(|pattern| matches(pattern, &key))
    }
}

/// Whether the whole text matches; each part between stars is looked for once, so no pattern takes
/// longer than its length times the text's.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn config() -> Config {
        let app = AppSettings {
            name: "GoatKit".to_owned(),
            timezone: "Europe/Berlin".to_owned(),
            env: "test".to_owned(),
        };
        let added = ["theme.colour", "smtp.password", "my.api_key", "MONKEY.name"];
        Config::new(
            app,
            added.map(|key| (key.to_owned(), format!("<{key}>"))).into(),
        )
    }

    fn get(scope: &[&str], key: &str) -> Result<String, ErrorKind> {
        let scope: Vec<_> = scope.iter().map(|&s| s.to_owned()).collect();
        let scope = ConfigScope::parse(&scope).unwrap();
        let config = config();
        config
            .get(key, &scope)
            .map(ToOwned::to_owned)
            .map_err(|error| error.kind())
    }

    #[test]
    fn secrets_are_denied_unless_a_scope_names_them() {
        let denied = Err(ErrorKind::Denied);
        for (scope, key, expected) in [
            (&[][..], "app.name", Ok("GoatKit")),
            (&[], "app.timezone", Ok("Europe/Berlin")),
            (&[], "theme.colour", Ok("<theme.colour>")),
            (&[], "theme.none", Err(ErrorKind::NotFound)),
            (&[], "smtp.password", denied),
            (&[], "SMTP.Password", denied),
            (&[], "my.api_key", denied),
            (&[], "MONKEY.name", denied),
            (&[], "database.nothing", denied),
            (&["*"], "smtp.password", denied),
            (&["smtp.*", "*"], "smtp.password", denied),
            (&["smtp.password"], "smtp.password", Ok("<smtp.password>")),
            (&["SMTP.*"], "smtp.password", Ok("<smtp.password>")),
            (&["smtp.*"], "app.name", denied),
            (&["app.*"], "app.name", Ok("GoatKit")),
            (&["app.*"], "app.nothing", Err(ErrorKind::NotFound)),
            (&["pp.name", "app.nam"], "app.name", denied),
            (&["*name"], "app.name", Ok("GoatKit")),
        ] {
            let found = get(scope, key);
            assert_eq!(
                found.as_deref().map_err(|kind| *kind),
                expected,
                "{scope:?} {key}"
            );
        }
        let debug = format!("{:?}", config());
        assert!(!debug.contains("<smtp.password>"), "{debug}");
    }

    #[test]
    fn stars_stand_for_any_run() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "a", true),
            ("*a*", "bab", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a**c", "abc", true),
            ("a*b*c", "axxbxxc", true),
            ("a*b*c", "axxcxxb", false),
            ("*ab", "aab", true),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        assert!(!matches(&"*a".repeat(128), &"b".repeat(256)));
    }

    #[test]
    fn the_limits_hold_at_the_limit() {
        let longest = "x".repeat(KEY_BYTES_MAX);
        assert_eq!(get(&[&longest], &longest), Err(ErrorKind::NotFound));
        assert_eq!(get(&[], &(longest.clone() + "x")), Err(ErrorKind::Invalid));
        assert!(ConfigScope::parse(&[longest + "x"]).is_err());
        assert!(ConfigScope::parse(&[String::new()]).is_err());
    }
}
