//! Translations that plugins register, and looking them up.
//!
//! A text is found under `<namespace>.<key>`, by every plugin: what people read is no secret. A
//! namespace belongs to one plugin at a time.

mod methods;
mod substitute;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use gk_hostapi::HostError;
use gk_manifest::{I18nSpec, PluginName};
use parking_lot::Mutex;
use serde_json::Value;

pub(crate) use self::methods::METHODS;
use self::substitute::substitute;
pub use self::substitute::{ARGS_MAX, OUTPUT_BYTES_MAX};

/// Longest namespace, in bytes.
pub const NAMESPACE_BYTES_MAX: usize = 64;
/// Longest key without its namespace, and longest name of a language, in bytes.
pub const KEY_BYTES_MAX: usize = 256;
/// Longest text, in bytes.
pub const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Most bytes of a plugin's keys and texts in all languages.
pub const CATALOGUE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The language of last resort.
const FALLBACK: &str = "en";

/// The texts of all plugins. Reading takes no lock.
pub struct Catalogue {
    namespaces: ArcSwap<Namespaces>,
    /// Texts of generations that do not serve yet. Held while texts are added or removed.
    prepared: Mutex<HashMap<PluginName, Prepared>>,
}

/// The texts that a generation will have once it serves, by their namespace's name.
struct Prepared {
    generation: u64,
    texts: Option<(Box<str>, Arc<Namespace>)>,
}

type Namespaces = HashMap<Box<str>, Arc<Namespace>>;

struct Namespace {
    plugin: PluginName,
    generation: u64,
    languages: Languages,
}

/// Language in lower case → key → text.
type Languages = HashMap<Box<str>, HashMap<Box<str>, Box<str>>>;

impl Catalogue {
    /// A catalogue without texts.
    #[must_use]
    pub fn new() -> Self {
        Self {
            namespaces: ArcSwap::default(),
            prepared: Mutex::default(),
        }
    }

    /// Takes the texts of a plugin's generation. They are found once it is
    /// [committed](Self::commit); until then those of the one that serves are.
    ///
    /// A namespace that another plugin has is refused, so that nobody puts words into another's
    /// mouth; but the namespace that bears a plugin's own name is always that plugin's: whoever had
    /// it before loses it.
    ///
    /// # Errors
    /// Invalid: a namespace that is not of `[A-Za-z0-9_-]`, up to [`NAMESPACE_BYTES_MAX`]. Denied:
    /// it is another's; then the generation has no texts. Limit: [`KEY_BYTES_MAX`],
    /// [`TEXT_BYTES_MAX`], [`CATALOGUE_BYTES_MAX`].
    pub fn prepare(
        &self,
        plugin: &PluginName,
        generation: u64,
        spec: Option<&I18nSpec>,
    ) -> Result<(), HostError> {
        let mut prepared = Prepared {
            generation,
            texts: None,
        };
        let mut denied = Ok(());
        if let Some(spec) = spec {
            let name = namespace(plugin, spec)?;
            let languages = texts(spec)?;
            denied = self.is_free(plugin, name);
            if denied.is_ok() {
                let namespace = Namespace {
                    plugin: plugin.clone(),
                    generation,
                    languages,
                };
                prepared.texts = Some((Box::from(name), Arc::new(namespace)));
            }
        }
        let mut all = self.prepared.lock();
        // A generation that comes late, after a newer one, has nothing to say any more.
        let newest = {
            let namespaces = self.namespaces.load();
            let own = namespaces.values().filter(|other| other.plugin == *plugin);
            let serving = own.map(|other| other.generation).max();
            serving.max(all.get(plugin).map(|other| other.generation))
        };
        if newest <= Some(generation) {
            all.insert(plugin.clone(), prepared);
        }
        denied
    }

    /// The texts of a generation that was prepared are found from now on, in place of all that the
    /// plugin had before. Nothing happens for one that was not, or that was committed.
    pub fn commit(&self, plugin: &PluginName, generation: u64) {
        let mut all = self.prepared.lock();
        let Some(prepared) = all.remove(plugin) else {
            return;
        };
        if prepared.generation != generation {
            all.insert(plugin.clone(), prepared);
            return;
        }
        let mut after = Namespaces::clone(&self.namespaces.load());
        after.retain(|_, other| other.plugin != *plugin);
        if let Some((name, namespace)) = prepared.texts {
            match after.get(&name) {
                // Somebody else's by now.
                Some(owner) if plugin.as_str() != &*name => {
                    tracing::warn!(%plugin, owner = %owner.plugin, namespace = &*name, "its translations are left out");
                }
                owner => {
                    if let Some(owner) = owner {
                        tracing::warn!(plugin = %owner.plugin, namespace = &*name, "a namespace \
                             goes to the plugin whose name it bears");
                    }
                    after.insert(name, namespace);
                }
            }
        }
        self.namespaces.store(Arc::new(after));
    }

    /// Removes the texts of one generation of a plugin; those of others stay.
    pub fn remove(&self, plugin: &PluginName, generation: u64) {
        let mut all = self.prepared.lock();
        if all
            .get(plugin)
            .is_some_and(|prepared| prepared.generation == generation)
        {
            all.remove(plugin);
        }
        let mut after = Namespaces::clone(&self.namespaces.load());
        after.retain(|_, other| other.plugin != *plugin || other.generation != generation);
        self.namespaces.store(Arc::new(after));
    }

    /// Returns whether a plugin may have a namespace.
    fn is_free(&self, plugin: &PluginName, name: &str) -> Result<(), HostError> {
        match self.namespaces.load().get(name) {
            Some(owner) if owner.plugin != *plugin && plugin.as_str() != name => {
                Err(HostError::denied(format!(
                    "the namespace {name:?} is plugin \"{}\"'s; choose another",
                    owner.plugin
                )))
            }
            _ => Ok(()),
        }
    }

    /// The text of a key: in the language, else in its base language (`de` for `de-AT`), else in
    /// English, else the key itself. A key whose first part is no namespace is looked up in the
    /// plugin's own.
    ///
    /// Arguments replace `{0}`, `{1}` … and, in turn, `%s`, `%d` and `%v`; `%%` is a percent sign.
    /// What an argument holds is not looked at again, a place without an argument stays as it is,
    /// and without any arguments so does the whole text.
    #[must_use]
    pub fn translate(
        &self,
        plugin: &PluginName,
        language: &str,
        key: &str,
        args: &[Value],
    ) -> String {
        let namespaces = self.namespaces.load();
        let find = |namespace: &str, key: &str| {
            let namespace = namespaces.get(namespace)?;
            namespace.find(language, key)
        };
        let text = key
            .split_once('.')
            .and_then(|(namespace, key)| find(namespace, key))
            .or_else(|| {
                let own = namespaces.values().find(|other| other.plugin == *plugin)?;
                own.find(language, key)
            })
            .unwrap_or(key);
        substitute(text, args)
    }
}

/// The namespace that a plugin asks for.
fn namespace<'a>(plugin: &'a PluginName, spec: &'a I18nSpec) -> Result<&'a str, HostError> {
    let name = match spec.namespace.as_str() {
        "" => plugin.as_str(),
        name => name,
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if name.len() > NAMESPACE_BYTES_MAX || !name.bytes().all(plain) {
        return Err(HostError::invalid(format!(
            "the namespace {:?} is not made of up to {NAMESPACE_BYTES_MAX} letters, digits, `-` \
             and `_`",
            name.chars().take(80).collect::<String>()
        )));
    }
    Ok(name)
}

impl Default for Catalogue {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.namespaces.load().keys())
            .finish()
    }
}

impl Namespace {
    fn find(&self, language: &str, key: &str) -> Option<&str> {
        if language.len() <= KEY_BYTES_MAX {
            let language = normalised(language);
            let mut tag = language.as_str();
            loop {
                if let Some(text) = self.text(tag, key) {
                    return Some(text);
                }
                match tag.rsplit_once('-') {
                    Some((base, _)) => tag = base,
                    None => break,
                }
            }
        }
        self.text(FALLBACK, key)
    }

    fn text(&self, language: &str, key: &str) -> Option<&str> {
        self.languages.get(language)?.get(key).map(|text| &**text)
    }
}

/// `de_AT` and `de-at` are one language.
fn normalised(language: &str) -> String {
    language.to_ascii_lowercase().replace('_', "-")
}

fn texts(spec: &I18nSpec) -> Result<Languages, HostError> {
    let mut languages = Languages::new();
    let mut bytes = 0;
    for (language, texts) in &spec.translations {
        let entry = languages.entry(normalised(language).into()).or_default();
        for (key, text) in texts {
            if key.len() > KEY_BYTES_MAX || language.len() > KEY_BYTES_MAX {
                return Err(HostError::limit(format!(
                    "a key or language has at most {KEY_BYTES_MAX} bytes"
                )));
            }
            if text.len() > TEXT_BYTES_MAX {
                return Err(HostError::limit(format!(
                    "the text of {key:?} in {language:?} has {} bytes; {TEXT_BYTES_MAX} are \
                     allowed",
                    text.len()
                )));
            }
            bytes += key.len() + text.len();
            if bytes > CATALOGUE_BYTES_MAX {
                return Err(HostError::limit(format!(
                    "the translations have more than {CATALOGUE_BYTES_MAX} bytes"
                )));
            }
            entry.insert(Box::from(key.as_str()), Box::from(text.as_str()));
        }
    }
    Ok(languages)
}

#[cfg(test)]
mod tests;
