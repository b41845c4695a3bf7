//! Settings of the host that plugins may read.
//!
//! Not the host's own configuration: only what the operator puts here by name, and three settings
//! of the application.

mod methods;

use std::collections::BTreeMap;

pub(crate) use self::methods::METHODS;
use gk_hostapi::HostError;
pub use gk_hostapi::scope::{CONFIG_KEY_BYTES_MAX as KEY_BYTES_MAX, ConfigScope};

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
    /// Invalid: a key longer than [`KEY_BYTES_MAX`]. Denied: a key outside of the scope, or a
    /// secret the scope does not name, whether it exists or not. Not found: no such key.
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

#[cfg(test)]
mod tests {
    use super::*;
    use gk_hostapi::ErrorKind;
    use gk_hostapi::scope::Scope;

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
        let scope = match &scope[..] {
            [] => Scope::Any,
            patterns => Scope::Only(patterns),
        };
        let scope = ConfigScope::parse(scope).unwrap();
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
    fn the_limits_hold_at_the_limit() {
        let longest = "x".repeat(KEY_BYTES_MAX);
        assert_eq!(get(&[&longest], &longest), Err(ErrorKind::NotFound));
        assert_eq!(get(&[], &(longest.clone() + "x")), Err(ErrorKind::Invalid));
        assert!(ConfigScope::parse(Scope::Only(&[longest + "x"])).is_err());
        assert!(ConfigScope::parse(Scope::Only(&[String::new()])).is_err());
    }
}
