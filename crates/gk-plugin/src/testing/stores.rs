//! Stores of the plugin: cache, keys and values, files, secrets.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::StoredFile;
use crate::host::wire::{bytes, encode};

/// Default and maximum lifetime of an entry of the cache.
const TTL_DEFAULT: Duration = Duration::from_secs(60 * 60);
const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Keys of a page where the plugin does not say, and at most.
const KV_PAGE: usize = 100;
const PAGE_MAX: usize = 1000;

#[derive(Debug)]
pub(super) struct Stores {
    pub(super) now: OffsetDateTime,
    /// Values, and when they end.
    cache: BTreeMap<String, (Bytes, OffsetDateTime)>,
    /// Values, and their versions.
    kv: BTreeMap<String, (Bytes, u64)>,
    kv_version: u64,
    /// Files, and when they were stored.
    pub(super) files: BTreeMap<String, (StoredFile, OffsetDateTime)>,
    pub(super) secrets: BTreeMap<String, String>,
    pub(super) settings: BTreeMap<String, String>,
}

impl Default for Stores {
    fn default() -> Self {
        Stores {
            now: OffsetDateTime::UNIX_EPOCH,
            cache: BTreeMap::new(),
            kv: BTreeMap::new(),
            kv_version: 0,
            files: BTreeMap::new(),
            secrets: BTreeMap::new(),
            settings: BTreeMap::new(),
        }
    }
}

#[derive(Deserialize)]
struct Key {
    key: String,
}

#[derive(Deserialize)]
struct Entry {
    key: String,
    #[serde(default, deserialize_with = "bytes")]
    value: Bytes,
    #[serde(default)]
    ttl: i64,
    #[serde(default)]
    if_version: Option<u64>,
}

#[derive(Deserialize)]
struct Text {
    key: String,
    value: String,
}

#[derive(Deserialize)]
struct Listing {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    after: Option<String>,
    #[serde(default)]
    limit: usize,
}

#[derive(Deserialize)]
struct NewFile {
    key: String,
    #[serde(flatten)]
    file: StoredFile,
}

/// Reads arguments; a mistake is told as the host tells it.
pub(super) fn read<T: serde::de::DeserializeOwned>(args: &Value) -> Result<T, String> {
    T::deserialize(args).map_err(|error| format!("arguments: {error}"))
}

fn done() -> Value {
    json!({ "ok": true })
}

pub(super) fn status_ok() -> Value {
    json!({ "status": "ok" })
}

fn found(value: Option<&Bytes>) -> Value {
    json!({ "value": value.map(|value| encode(value)), "found": value.is_some() })
}

fn not_empty(key: String) -> Result<String, String> {
    match key.is_empty() {
        true => Err("the key is empty".to_owned()),
        false => Ok(key),
    }
}

impl Stores {
    pub(super) fn kv(&self, key: &str) -> Option<Bytes> {
        self.kv.get(key).map(|(value, _)| value.clone())
    }

    /// Sets a key, and returns the version of its value.
    pub(super) fn set_kv(&mut self, key: String, value: Bytes) -> u64 {
        self.kv_version += 1;
        self.kv.insert(key, (value, self.kv_version));
        self.kv_version
    }

    pub(super) fn cached(&self, key: &str) -> Option<Bytes> {
        let (value, ends) = self.cache.get(key)?;
        (self.now < *ends).then(|| value.clone())
    }

    /// `seconds` of 0 and below are the default.
    pub(super) fn set_cached(&mut self, key: &str, value: Bytes, seconds: i64) {
        let ttl = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
        let ttl = ttl.map_or(TTL_DEFAULT, Duration::from_secs).min(TTL_MAX);
        self.cache.insert(key.to_owned(), (value, self.now + ttl));
    }

    pub(super) fn store_file(&mut self, key: &str, file: StoredFile) {
        self.files.insert(key.to_owned(), (file, self.now));
    }

    /// Serves a method, if it is one of the stores'.
    pub(super) fn serve(&mut self, method: &str, args: &Value) -> Option<Result<Value, String>> {
        Some(match method {
            "cache_get" => read::<Key>(args)
                .and_then(|wanted| not_empty(wanted.key))
                .map(|key| found(self.cached(&key).as_ref())),
            "cache_set" => read::<Entry>(args).and_then(|entry| {
                let key = not_empty(entry.key)?;
                self.set_cached(&key, entry.value, entry.ttl);
                Ok(done())
            }),
            "cache_delete" => read::<Key>(args)
                .and_then(|wanted| not_empty(wanted.key))
                .map(|key| {
                    self.cache.remove(&key);
                    done()
                }),
            "kv_get" => read::<Key>(args)
                .and_then(|wanted| not_empty(wanted.key))
                .map(|key| {
                    let stored = self.kv.get(&key);
                    let mut answer = found(stored.map(|(value, _)| value));
                    if let Some((_, version)) = stored {
                        answer["version"] = json!(version);
                    }
                    answer
                }),
            "kv_set" => read::<Entry>(args).and_then(|entry| {
                let key = not_empty(entry.key)?;
                let version = self.kv.get(&key).map_or(0, |(_, version)| *version);
                if entry.if_version.is_some_and(|wanted| wanted != version) {
                    return Ok(json!({ "ok": false, "version": version }));
                }
                Ok(json!({ "ok": true, "version": self.set_kv(key, entry.value) }))
            }),
            "kv_delete" => read::<Key>(args)
                .and_then(|wanted| not_empty(wanted.key))
                .map(|key| {
                    self.kv.remove(&key);
                    done()
                }),
            "kv_list" => read::<Listing>(args).map(|wanted| {
                let (keys, more) = page(&self.kv, &wanted, KV_PAGE);
                let next = keys.last().filter(|_| more);
                json!({ "keys": keys, "next": next })
            }),
            "secure_config_get" => {
                read::<Key>(args).and_then(|Key { key }| match self.secrets.get(&key) {
                    Some(secret) => Ok(json!({ "value": secret })),
                    None => Err(format!("secure config key {key:?} not found")),
                })
            }
            "secure_config_set" => read::<Text>(args).and_then(|text| {
                self.secrets.insert(not_empty(text.key)?, text.value);
                Ok(status_ok())
            }),
            "config_get" => {
                read::<Key>(args).and_then(|Key { key }| match self.settings.get(&key) {
                    Some(value) => Ok(json!({ "value": value })),
                    None => Err(format!("unknown config key: {key}")),
                })
            }
            "store_file" => read::<NewFile>(args).and_then(|new| {
                check_file_key(&new.key)?;
                self.store_file(&new.key, new.file);
                Ok(status_ok())
            }),
            "get_file" => read::<Key>(args).and_then(|Key { key }| {
                check_file_key(&key)?;
                let (file, _) =
                    (self.files.get(&key)).ok_or_else(|| format!("file {key:?} not found"))?;
                Ok(json!({ "data": encode(&file.data), "metadata": file.metadata }))
            }),
            "delete_file" => read::<Key>(args).and_then(|Key { key }| {
                check_file_key(&key)?;
                self.files.remove(&key);
                Ok(status_ok())
            }),
            "list_files" => read::<Listing>(args).and_then(|wanted| self.list_files(&wanted)),
            "time_now" => moment(self.now).map(|now| json!({ "now": now })),
            _ => return None,
        })
    }

    fn list_files(&self, wanted: &Listing) -> Result<Value, String> {
        let (keys, _) = page(&self.files, wanted, PAGE_MAX);
        let files = keys.into_iter().filter_map(|key| {
            let (file, stored) = self.files.get(key)?;
            Some((key, file, *stored))
        });
        let files = files.map(|(key, file, stored)| {
            let content_type = file.metadata.get("content-type");
            Ok(json!({
                "key": key,
                "size": file.data.len(),
                "content_type": content_type.map_or("application/octet-stream", String::as_str),
                "metadata": file.metadata,
                "modified_at": moment(stored)?,
            }))
        });
        files.collect::<Result<Vec<_>, String>>().map(Value::Array)
    }
}

fn moment(at: OffsetDateTime) -> Result<String, String> {
    at.format(&Rfc3339).map_err(|error| error.to_string())
}

/// The keys that are asked for, in their order, and whether there are more. A limit of 0 is
/// `usual`.
fn page<'a, V>(
    of: &'a BTreeMap<String, V>,
    wanted: &Listing,
    usual: usize,
) -> (Vec<&'a String>, bool) {
    let limit = match wanted.limit {
        0 => usual,
        limit => limit.min(PAGE_MAX),
    };
    let after = wanted.after.as_deref().unwrap_or_default();
    let mut keys = of
        .keys()
        .filter(|key| key.starts_with(&wanted.prefix) && key.as_str() > after);
    let page = keys.by_ref().take(limit).collect();
    (page, keys.next().is_some())
}

/// Refuses what is no key of a file: a relative path without dots in front of its parts.
fn check_file_key(key: &str) -> Result<(), String> {
    let invalid = |why: &str| Err(format!("invalid file key: {key:?}: {why}"));
    if key.is_empty() || key.len() > 512 {
        return invalid("it must have 1 to 512 bytes");
    }
    if key.contains(|c: char| c.is_control() || c == '\\') {
        return invalid("it holds a control character or a backslash");
    }
    for part in key.split('/') {
        if part.is_empty() {
            return invalid("it begins or ends with a slash, or has two in a row");
        }
        if part.starts_with('.') {
            return invalid("a part begins with a dot");
        }
    }
    Ok(())
}
