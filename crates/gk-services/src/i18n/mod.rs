//! Translations that plugins register, and looking them up.
//!
//! A text is found under `<namespace>.<key>`, by every plugin: what people read is no secret. A
//! namespace belongs to one plugin at a time.

mod methods;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use gk_hostapi::HostError;
use gk_manifest::{I18nSpec, PluginName};
use parking_lot::Mutex;
use serde_json::Value;

pub(crate) use self::methods::METHODS;

/// Longest namespace, in bytes.
pub const NAMESPACE_BYTES_MAX: usize = 64;
/// Longest key without its namespace, and longest name of a language, in bytes.
pub const KEY_BYTES_MAX: usize = 256;
/// Longest text, in bytes.
pub const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Most bytes of a plugin's keys and texts in all languages.
pub const CATALOGUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most arguments of a text; further ones are not put in.
pub const ARGS_MAX: usize = 32;
/// Longest text with its arguments, in bytes; what is longer is cut.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// The language of last resort.
const FALLBACK: &str = "en";

/// All texts of all plugins. Reading takes no lock.
pub struct Catalogue {
    namespaces: ArcSwap<Namespaces>,
    /// Texts of generations that do not serve yet. Held while texts are added or removed.
    prepared: Mutex<HashMap<PluginName, Prepared>>,
}

/// What a generation will have once it serves: its namespace's name, if it has texts.
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

    /// Takes the texts of a plugin's generation. They are found once it is [committed](Self::commit);
    /// until then those of the one that serves are.
    ///
    /// A namespace that another plugin has is refused, so that nobody puts words into another's mouth;
    /// but the namespace that bears a plugin's own name is always that plugin's: whoever had it before
    /// loses it.
    ///
    /// # Errors
    /// Invalid: a namespace that is not of `[A-Za-z0-9_-]`, up to [`NAMESPACE_BYTES_MAX`]. Denied: it
    /// is another's; then the generation has no texts. Limit: [`KEY_BYTES_MAX`], [`TEXT_BYTES_MAX`],
    /// [`CATALOGUE_BYTES_MAX`].
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

    /// The texts of a generation that was prepared are found from now on, in place of all that the plugin
    /// had before. Nothing happens for one that was not, or that was committed.
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
                        tracing::warn!(plugin = %owner.plugin, namespace = &*name, "a namespace goes to the plugin whose name it bears");
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

    /// Whether a plugin may have a namespace.
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
    /// Arguments replace `{0}`, `{1}` … and, in turn, `%s`, `%d` and `%v`; `%%` is a percent sign. What
    /// an argument holds is not looked at again, a place without an argument stays as it is, and
    /// without any arguments so does the whole text.
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
            "the namespace {:?} is not made of up to {NAMESPACE_BYTES_MAX} letters, digits, `-` and `_`",
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
                    "the text of {key:?} in {language:?} has {} bytes; {TEXT_BYTES_MAX} are allowed",
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

/// Puts arguments into a text, in one pass over the text.
fn substitute(text: &str, args: &[Value]) -> String {
    let mut output = Output::default();
    if args.is_empty() {
        output.push(text);
        return output.0;
    }
    let args = &args[..args.len().min(ARGS_MAX)];
    let mut turn = 0;
    let mut rest = text;
    while let Some(at) = rest.find(['{', '%']) {
        output.push(&rest[..at]);
        rest = &rest[at..];
        let (argument, length) = match place(rest) {
            Some((Place::Percent, length)) => {
                output.push("%");
                rest = &rest[length..];
                continue;
            }
            Some((Place::Number(n), length)) => (args.get(n), length),
            Some((Place::Next, length)) => {
                turn += 1;
                (args.get(turn - 1), length)
            }
            // Just a brace or a percent sign.
            None => (None, 1),
        };
        match argument {
            Some(Value::String(text)) => output.push(text),
            Some(Value::Null) => {}
            Some(other) => output.push(&other.to_string()),
            None => output.push(&rest[..length]),
        }
        rest = &rest[length..];
    }
    output.push(rest);
    output.0
}

enum Place {
    Number(usize),
    Next,
    Percent,
}

/// What stands at the beginning of a text that begins with a brace or percent sign, and its length.
fn place(text: &str) -> Option<(Place, usize)> {
    match text.as_bytes() {
        [b'%', b'%', ..] => Some((Place::Percent, 2)),
        [b'%', b's' | b'd' | b'v', ..] => Some((Place::Next, 2)),
        [b'{', digits @ ..] => {
            let count = digits.iter().take_while(|b| b.is_ascii_digit()).count();
            if !(1..=2).contains(&count) || digits.get(count) != Some(&b'}') {
                return None;
            }
            let number = text.get(1..=count)?.parse().ok()?;
            Some((Place::Number(number), count + 2))
        }
        _ => None,
    }
}

/// A text that does not grow without end, whatever is put into it.
#[derive(Default)]
struct Output(String);

impl Output {
    fn push(&mut self, text: &str) {
        let mut length = text.len().min(OUTPUT_BYTES_MAX - self.0.len());
        while !text.is_char_boundary(length) {
            length -= 1;
        }
        self.0.push_str(&text[..length]);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use gk_hostapi::ErrorKind;

    fn plugin(name: &str) -> PluginName {
        PluginName::new(name).unwrap()
    }

    fn spec(namespace: &str, texts: &[(&str, &str, &str)]) -> I18nSpec {
        let mut spec = I18nSpec {
            namespace: namespace.to_owned(),
            ..I18nSpec::default()
        };
        for (language, key, text) in texts {
            let texts = spec.translations.entry((*language).to_owned()).or_default();
            texts.insert((*key).to_owned(), (*text).to_owned());
        }
        spec
    }

    /// As for a generation that serves at once.
    fn register(
        catalogue: &Catalogue,
        plugin: &PluginName,
        generation: u64,
        spec: &I18nSpec,
    ) -> Result<(), gk_hostapi::HostError> {
        catalogue.prepare(plugin, generation, Some(spec))?;
        catalogue.commit(plugin, generation);
        Ok(())
    }

    fn say(catalogue: &Catalogue, language: &str, key: &str) -> String {
        catalogue.translate(&plugin("reader"), language, key, &[])
    }

    #[test]
    fn languages_fall_back() {
        let catalogue = Catalogue::new();
        let texts = [
            ("de", "a", "de a"),
            ("de-AT", "a", "de-AT a"),
            ("de", "b", "de b"),
            ("en", "b", "en b"),
            ("en", "c.d", "en c.d"),
        ];
        register(&catalogue, &plugin("p"), 1, &spec("", &texts)).unwrap();
        for (language, key, expected) in [
            ("de-AT", "p.a", "de-AT a"),
            ("DE_at", "p.a", "de-AT a"),
            ("de-CH", "p.a", "de a"),
            ("de-Latn-AT", "p.a", "de a"),
            ("de-AT", "p.b", "de b"),
            ("fr", "p.b", "en b"),
            ("", "p.b", "en b"),
            ("fr", "p.a", "p.a"),
            ("de", "p.c.d", "en c.d"),
            ("de", "p.nothing", "p.nothing"),
            ("de", "nothing", "nothing"),
            ("de", "b", "b"),
        ] {
            assert_eq!(say(&catalogue, language, key), expected, "{language} {key}");
        }
        // A plugin may leave its own namespace out.
        assert_eq!(catalogue.translate(&plugin("p"), "de", "b", &[]), "de b");
        assert_eq!(
            catalogue.translate(&plugin("p"), "de", "c.d", &[]),
            "en c.d"
        );
    }

    #[test]
    fn a_namespace_cannot_be_taken() {
        let catalogue = Catalogue::new();
        let (p, q) = (plugin("p"), plugin("q"));
        register(&catalogue, &p, 1, &spec("shared", &[("en", "k", "p's")])).unwrap();
        let taken = register(&catalogue, &q, 1, &spec("shared", &[("en", "k", "q's")]));
        assert_eq!(taken.unwrap_err().kind(), ErrorKind::Denied);
        assert_eq!(say(&catalogue, "en", "shared.k"), "p's");
        // Nobody can sit on another plugin's name.
        register(&catalogue, &p, 2, &spec("q", &[("en", "k", "squatter")])).unwrap();
        assert_eq!(say(&catalogue, "en", "q.k"), "squatter");
        register(&catalogue, &q, 1, &spec("", &[("en", "k", "owner")])).unwrap();
        assert_eq!(say(&catalogue, "en", "q.k"), "owner");
        let again = register(&catalogue, &p, 3, &spec("q", &[]));
        assert_eq!(again.unwrap_err().kind(), ErrorKind::Denied);
        for bad in ["a.b", "a b", "ä", &"n".repeat(NAMESPACE_BYTES_MAX + 1)] {
            let error = register(&catalogue, &p, 4, &spec(bad, &[])).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
        }
    }

    #[test]
    fn texts_come_and_go_with_their_generation() {
        let catalogue = Catalogue::new();
        let p = plugin("p");
        register(
            &catalogue,
            &p,
            1,
            &spec("", &[("en", "k", "one"), ("en", "old", "old")]),
        )
        .unwrap();
        register(&catalogue, &p, 2, &spec("", &[("en", "k", "two")])).unwrap();
        assert_eq!(say(&catalogue, "en", "p.old"), "p.old");
        catalogue.remove(&p, 1);
        register(&catalogue, &p, 1, &spec("", &[("en", "k", "late")])).unwrap();
        assert_eq!(say(&catalogue, "en", "p.k"), "two");
        catalogue.remove(&p, 2);
        assert_eq!(say(&catalogue, "en", "p.k"), "p.k");
    }

    /// The next generation's texts are nobody's business before it serves, nor when it fails.
    #[test]
    fn texts_of_a_generation_that_fails_leave_the_others() {
        let catalogue = Catalogue::new();
        let p = plugin("p");
        let texts = [("en", "k", "one"), ("en", "old", "old")];
        register(&catalogue, &p, 1, &spec("", &texts)).unwrap();
        let new = spec("new", &[("en", "k", "two")]);
        catalogue.prepare(&p, 2, Some(&new)).unwrap();
        assert_eq!(say(&catalogue, "en", "p.old"), "old");
        assert_eq!(say(&catalogue, "en", "new.k"), "new.k");
        catalogue.remove(&p, 2);
        catalogue.commit(&p, 2);
        assert_eq!(say(&catalogue, "en", "p.k"), "one");
        // One without texts takes the former one's away, once it serves.
        catalogue.prepare(&p, 3, None).unwrap();
        assert_eq!(say(&catalogue, "en", "p.k"), "one");
        catalogue.commit(&p, 3);
        assert_eq!(say(&catalogue, "en", "p.k"), "p.k");
        catalogue.remove(&p, 1);
        // A name that somebody else took meanwhile is theirs.
        catalogue.prepare(&p, 4, Some(&new)).unwrap();
        register(&catalogue, &plugin("q"), 1, &new).unwrap();
        catalogue.commit(&p, 4);
        catalogue.remove(&plugin("q"), 1);
        assert_eq!(say(&catalogue, "en", "new.k"), "new.k");
    }

    #[test]
    fn arguments_are_put_in_once() {
        for (text, args, expected) in [
            ("{0} of {1}", json!([3, "many"]), "3 of many"),
            ("%d of %s, %v", json!([3, "many", true]), "3 of many, true"),
            ("{1}{0}{1}", json!(["a", "b"]), "bab"),
            ("100 %% of {0}", json!(["x"]), "100 % of x"),
            // What an argument holds is text and nothing else.
            ("{0}{1}", json!(["{1}%s", "x"]), "{1}%sx"),
            ("%s%s", json!(["%s{0}%%", "x"]), "%s{0}%%x"),
            // Places without an argument, and what is no place.
            ("{0} {1} %s %s", json!(["a"]), "a {1} a %s"),
            (
                "{} {x} {00000} { {0 %q % %",
                json!(["a"]),
                "{} {x} {00000} { {0 %q % %",
            ),
            ("100% {0}", json!(["ü"]), "100% ü"),
            ("{99}", json!(["a"]), "{99}"),
            ("%s", json!([{"a": 1.5}]), "{\"a\":1.5}"),
            ("[%v]", json!([null]), "[]"),
            ("50%% {0}", json!([]), "50%% {0}"),
        ] {
            let args = args.as_array().unwrap();
            assert_eq!(substitute(text, args), expected, "{text}");
        }
    }

    #[test]
    fn the_limits_hold_at_the_limit() {
        let catalogue = Catalogue::new();
        let p = plugin("p");
        let register = |key: usize, text: usize, count: usize| {
            let (key, text) = ("k".repeat(key), "t".repeat(text));
            let languages: Vec<_> = (0..count).map(|n| format!("l{n}")).collect();
            let texts: Vec<_> = languages
                .iter()
                .map(|l| (l.as_str(), &*key, &*text))
                .collect();
            register(&catalogue, &p, 1, &spec("", &texts)).is_ok()
        };
        assert!(register(KEY_BYTES_MAX, TEXT_BYTES_MAX, 1));
        assert!(!register(KEY_BYTES_MAX + 1, 1, 1));
        assert!(!register(1, TEXT_BYTES_MAX + 1, 1));
        let fitting = CATALOGUE_BYTES_MAX / TEXT_BYTES_MAX;
        assert!(register(16, TEXT_BYTES_MAX - 16, fitting));
        assert!(!register(16, TEXT_BYTES_MAX - 16, fitting + 1));
        let long = Value::String("ü".repeat(OUTPUT_BYTES_MAX));
        let cut = substitute("x{0}{0}", &[long]);
        assert_eq!(cut.len(), OUTPUT_BYTES_MAX - 1);
        // Not even a key without a text comes back longer.
        let echoed = substitute(&"k".repeat(OUTPUT_BYTES_MAX + 1), &[]);
        assert_eq!(echoed.len(), OUTPUT_BYTES_MAX);
        let many: Vec<_> = (0..40).map(Value::from).collect();
        assert_eq!(substitute("{31} {32}", &many), "31 {32}");
    }
}
