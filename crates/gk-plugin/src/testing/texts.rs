//! Translations, found as a host finds them.

use std::collections::HashMap;

use gk_protocol::registration::Registration;
use serde_json::Value;

#[derive(Debug, Default)]
pub(super) struct Texts {
    /// Namespace, language in lower case, key.
    texts: HashMap<(String, String, String), String>,
    /// The plugin's own namespace.
    own: String,
}

impl Texts {
    pub(super) fn add(&mut self, namespace: &str, language: &str, key: &str, text: &str) {
        let place = (namespace.to_owned(), plain(language), key.to_owned());
        self.texts.insert(place, text.to_owned());
    }

    /// Puts the texts of a registration in place of those that the plugin had.
    pub(super) fn take(&mut self, registration: &Registration) {
        let before = std::mem::take(&mut self.own);
        self.texts.retain(|(namespace, ..), _| *namespace != before);
        let Some(i18n) = &registration.i18n else {
            return;
        };
        self.own = match i18n.namespace.as_str() {
            "" => registration.name.clone(),
            namespace => namespace.to_owned(),
        };
        let own = self.own.clone();
        for (language, texts) in &i18n.translations {
            for (key, text) in texts {
                self.add(&own, language, key, text);
            }
        }
    }

    /// The text of a key in a language, else in its base language, else in English, else the key.
    pub(super) fn translate(&self, language: &str, key: &str, args: &[Value]) -> String {
        let text = key
            .split_once('.')
            .and_then(|(namespace, key)| self.find(namespace, language, key))
            .or_else(|| self.find(&self.own, language, key));
        substitute(text.unwrap_or(key), args)
    }

    fn find(&self, namespace: &str, language: &str, key: &str) -> Option<&str> {
        let text = |language: &str| {
            let place = (namespace.to_owned(), language.to_owned(), key.to_owned());
            self.texts.get(&place).map(String::as_str)
        };
        let language = plain(language);
        let mut tag = language.as_str();
        loop {
            if let Some(text) = text(tag) {
                return Some(text);
            }
            match tag.rsplit_once('-') {
                Some((base, _)) => tag = base,
                None => return text("en"),
            }
        }
    }
}

/// `de_AT` and `de-at` are one language.
fn plain(language: &str) -> String {
    language.to_ascii_lowercase().replace('_', "-")
}

/// Puts arguments into a text: `{0}`, `{1}` and so on, and in turn `%s`, `%d` and `%v`; `%%` is a
/// percent sign. Without arguments the text stays as it is, and so does a place without one.
fn substitute(text: &str, args: &[Value]) -> String {
    if args.is_empty() {
        return text.to_owned();
    }
    let (mut out, mut rest, mut turn) = (String::new(), text, 0);
    while let Some(at) = rest.find(['{', '%']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (argument, length) = match rest.as_bytes() {
            [b'%', b'%', ..] => {
                out.push('%');
                rest = &rest[2..];
                continue;
            }
            [b'%', b's' | b'd' | b'v', ..] => {
                turn += 1;
                (args.get(turn - 1), 2)
            }
            _ => match number(rest) {
                Some((number, length)) => (args.get(number), length),
                None => (None, 1),
            },
        };
        match argument {
            Some(Value::String(text)) => out.push_str(text),
            Some(Value::Null) => {}
            Some(other) => out.push_str(&other.to_string()),
            None => out.push_str(&rest[..length]),
        }
        rest = &rest[length..];
    }
    out + rest
}

/// The number of `{12}` at the beginning of a text, and its length.
fn number(text: &str) -> Option<(usize, usize)> {
    let (digits, _) = text.strip_prefix('{')?.split_once('}')?;
    let plain = (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let number = digits.parse().ok().filter(|_| plain)?;
    Some((number, digits.len() + 2))
}
