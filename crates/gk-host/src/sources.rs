//! Sources of configuration values, and errors that name them.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider, Source};

/// Provider of the variables for some keys. Their values are text, also where they look like a
/// number; `true` and `false` are booleans.
pub(crate) struct Variables {
    pub(crate) keys: &'static [&'static str],
    pub(crate) environment: Vec<(OsString, OsString)>,
}

/// Returns a variable of this process. An empty one counts as unset, as env files and container
/// specifications leave it.
pub(crate) fn process_variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|text| !text.is_empty())
}

/// Returns the name of a key's variable. The key of a section's value has a dot.
pub(crate) fn variable(key: &str) -> String {
    format!("GK_{}", key.replace('.', "_").to_ascii_uppercase())
}

impl Provider for Variables {
    fn metadata(&self) -> Metadata {
        Metadata::named("environment").interpolater(|_, path| variable(&path.join(".")))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut values = Dict::new();
        for key in self.keys {
            let name = variable(key);
            let set = self.environment.iter().find(|(known, _)| *known == *name);
            let Some((_, text)) = set.filter(|(_, text)| !text.is_empty()) else {
                continue;
            };
            let text = text.to_str().ok_or_else(|| format!("{name} is not text"))?;
            let value = match text {
                "true" => Value::from(true),
                "false" => Value::from(false),
                _ => Value::from(text),
            };
            match key.split_once('.') {
                None => _ = values.insert((*key).to_owned(), value),
                Some((section, key)) => {
                    let section = values.entry(section.to_owned());
                    let section = section.or_insert_with(|| Value::from(Dict::new()));
                    if let Value::Dict(_, section) = section {
                        section.insert(key.to_owned(), value);
                    }
                }
            }
        }
        Ok(Profile::Default.collect(values))
    }
}

/// Describes errors of reading values: the key as the user wrote it, the failure, and its source.
pub(crate) fn explain(errors: figment::Error) -> anyhow::Error {
    let mut text = String::new();
    for error in errors {
        if !text.is_empty() {
            text.push_str("; ");
        }
        let key = error.path.join(".");
        let metadata = error.metadata.as_ref();
        match metadata.filter(|metadata| metadata.name == "environment") {
            Some(_) => {
                let _ = write!(text, "{}: {}", variable(&key), error.kind);
            }
            None => {
                if !key.is_empty() {
                    let _ = write!(text, "{key}: ");
                }
                let _ = write!(text, "{}{}", error.kind, file_suffix(metadata));
            }
        }
    }
    anyhow::Error::msg(text)
}

fn file_suffix(metadata: Option<&Metadata>) -> String {
    match metadata.and_then(|metadata| metadata.source.as_ref()) {
        Some(Source::File(path)) => format!(" (in {})", path.display()),
        _ => String::new(),
    }
}

/// Adds its source to an error that begins with its key.
pub(crate) fn located(error: &anyhow::Error, merged: &Figment) -> anyhow::Error {
    let text = format!("{error:#}");
    let key = text.split([' ', ':']).next().unwrap_or_default();
    let metadata = merged.find_metadata(key);
    match metadata.filter(|metadata| metadata.name == "environment") {
        Some(_) => anyhow::anyhow!("{text} (set by {})", variable(key)),
        None => anyhow::anyhow!("{text}{}", file_suffix(metadata)),
    }
}

/// Returns true if the error means that an address is in use.
pub(crate) fn is_taken(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    })
}
