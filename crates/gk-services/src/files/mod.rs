//! Files of a plugin, below a quota.
//!
//! Not a place for what changes often: each write replaces the file. [`LocalFiles`] keeps them in
//! directories of one host.

mod format;
mod key;
mod local;
mod methods;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
mod tree;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use gk_hostapi::HostError;
use gk_manifest::PluginName;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub use self::format::{METADATA_BYTES_MAX, METADATA_ENTRIES_MAX};
use self::key::FileKey;
pub use self::key::{KEY_BYTES_MAX, SEGMENT_BYTES_MAX, SEGMENTS_MAX};
pub use self::local::LocalFiles;
pub(crate) use self::methods::METHODS;

/// Largest file, without its metadata.
pub const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most files of a plugin.
pub const FILES_MAX: u64 = 100_000;
/// Most directories of a plugin: the parts of its keys before the last one, each counted once.
pub const DIRECTORIES_MAX: u64 = 100_000;
/// The most bytes that a plugin's files take on disk, with metadata, where its policy says nothing.
pub const QUOTA_BYTES_DEFAULT: u64 = 500 * 1024 * 1024;
/// Files in a page of [`Files::list`], where the caller names no number, and the most of a page.
pub const LIST_MAX: usize = 1000;
/// Files of a plugin that are read at once; further requests wait.
pub const READS_MAX: usize = 8;
/// The content type of a file whose metadata names none.
pub const CONTENT_TYPE_DEFAULT: &str = "application/octet-stream";

/// The metadata that tells the content type.
const CONTENT_TYPE: &str = "content-type";

/// A file, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileInfo {
    /// The file's key, as it was stored.
    pub key: String,
    /// Bytes of its data.
    pub size: u64,
    /// The metadata `content-type`, or [`CONTENT_TYPE_DEFAULT`].
    pub content_type: String,
    /// Names and values that were stored with the file.
    pub metadata: BTreeMap<String, String>,
    /// When it was stored; RFC 3339 in JSON.
    #[serde(serialize_with = "rfc3339")]
    pub modified_at: OffsetDateTime,
}

/// A page of files, in the order of their keys' bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePage {
    /// Files of this page, by key.
    pub files: Vec<FileInfo>,
    /// The `after` of the next page; none if this is the last page.
    pub next: Option<String>,
}

/// A file and its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Content of the file.
    pub data: Bytes,
    /// Names and values that were stored with the file.
    pub metadata: BTreeMap<String, String>,
}

/// Where files are stored. Keys are valid, data and metadata within their limits; the store does
/// nothing about them. The module `testing` has its contract.
#[async_trait]
pub trait FileStore: fmt::Debug + Send + Sync + 'static {
    /// Stores a file, new or not; it is there as a whole or not at all, and durable when this
    /// returns. `quota` is what the plugin's files may take in bytes, [`stored_bytes`] each.
    ///
    /// # Errors
    /// Limit: the quota, [`FILES_MAX`], a limit of the store. Unavailable, timeout: the store.
    async fn store(
        &self,
        plugin: &PluginName,
        key: &str,
        data: Bytes,
        metadata: &BTreeMap<String, String>,
        quota: u64,
    ) -> Result<(), HostError>;

    /// A file and its metadata.
    ///
    /// # Errors
    /// Not found. Failed: it is damaged. Unavailable, timeout: the store.
    async fn get(&self, plugin: &PluginName, key: &str) -> Result<StoredFile, HostError>;

    /// Deletes a file, and says whether there was one.
    ///
    /// # Errors
    /// Unavailable, timeout: the store.
    async fn delete(&self, plugin: &PluginName, key: &str) -> Result<bool, HostError>;

    /// The files whose keys start with `prefix` and come after `after`, in the order of the keys'
    /// bytes, at most `limit`.
    ///
    /// # Errors
    /// Unavailable, timeout: the store.
    async fn list(
        &self,
        plugin: &PluginName,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<FilePage, HostError>;

    /// Bytes that a plugin's files take.
    ///
    /// # Errors
    /// Unavailable, timeout: the store.
    async fn used_bytes(&self, plugin: &PluginName) -> Result<u64, HostError>;

    /// Deletes all files of a plugin.
    ///
    /// # Errors
    /// Unavailable, timeout: the store.
    async fn clear(&self, plugin: &PluginName) -> Result<(), HostError>;
}

/// Bytes that a file counts for against the quota: its data, its metadata as JSON, and 12.
///
/// # Errors
/// Limit: the metadata is too long.
pub fn stored_bytes(data: &Bytes, metadata: &BTreeMap<String, String>) -> Result<u64, HostError> {
    Ok((format::header(metadata)?.len() + data.len()) as u64)
}

/// The content type that a file's metadata names, or [`CONTENT_TYPE_DEFAULT`].
#[must_use]
pub fn content_type(metadata: &BTreeMap<String, String>) -> &str {
    let named = metadata.get(CONTENT_TYPE);
    named.map_or(CONTENT_TYPE_DEFAULT, String::as_str)
}

/// The error of a plugin whose files would take too much: `others` bytes, and `bytes` more.
#[must_use]
pub fn over_quota(plugin: &PluginName, others: u64, bytes: u64, quota: u64) -> HostError {
    HostError::limit(format!(
        "plugin \"{plugin}\" storage limit exceeded ({others} + {bytes} > {quota} bytes)"
    ))
}

/// The error of a plugin that has [`FILES_MAX`] files.
#[must_use]
pub fn too_many(plugin: &PluginName) -> HostError {
    HostError::limit(format!(
        "plugin \"{plugin}\" has {FILES_MAX} files; delete some"
    ))
}

/// The service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Files {
    store: Arc<dyn FileStore>,
}

impl Files {
    /// Files in this store.
    #[must_use]
    pub fn new(store: impl FileStore) -> Self {
        Self {
            store: Arc::new(store),
        }
    }

    /// Files below this directory, as [`LocalFiles::open`]. Blocks.
    ///
    /// # Errors
    /// Unavailable: the directory cannot be made or opened.
    pub fn open(root: &Path) -> Result<Self, HostError> {
        Ok(Self::new(LocalFiles::open(root)?))
    }

    /// Stores a file, new or not, with its metadata; it is there as a whole or not at all. It is
    /// durable when this returns. `quota` is what the plugin may use in bytes, none for
    /// [`QUOTA_BYTES_DEFAULT`].
    ///
    /// # Errors
    /// Invalid: the key. Limit: [`FILE_BYTES_MAX`], [`FILES_MAX`], [`DIRECTORIES_MAX`], the
    /// metadata's limits, the quota. Unavailable, timeout: the store.
    pub async fn store(
        &self,
        plugin: &PluginName,
        key: &str,
        data: Bytes,
        metadata: &BTreeMap<String, String>,
        quota: Option<u64>,
    ) -> Result<(), HostError> {
        FileKey::parse(key)?;
        if data.len() > FILE_BYTES_MAX {
            return Err(HostError::limit(format!(
                "a file has at most {FILE_BYTES_MAX} bytes, not {}",
                data.len()
            )));
        }
        stored_bytes(&data, metadata)?;
        let quota = quota.unwrap_or(QUOTA_BYTES_DEFAULT);
        self.store.store(plugin, key, data, metadata, quota).await
    }

    /// A file and its metadata.
    ///
    /// # Errors
    /// Invalid: the key. Not found. Failed: it is damaged. Unavailable, timeout: the store.
    pub async fn get(&self, plugin: &PluginName, key: &str) -> Result<StoredFile, HostError> {
        FileKey::parse(key)?;
        self.store.get(plugin, key).await
    }

    /// Deletes a file, and says whether there was one.
    ///
    /// # Errors
    /// Invalid: the key. Unavailable, timeout: the store.
    pub async fn delete(&self, plugin: &PluginName, key: &str) -> Result<bool, HostError> {
        FileKey::parse(key)?;
        self.store.delete(plugin, key).await
    }

    /// The files whose keys start with `prefix` and come after `after`, in the order of the keys'
    /// bytes, at most `limit` (0 for [`LIST_MAX`], never more than that). What is stored or deleted
    /// meanwhile may be there or not.
    ///
    /// # Errors
    /// Invalid: a prefix longer than [`KEY_BYTES_MAX`]. Unavailable, timeout: the store.
    pub async fn list(
        &self,
        plugin: &PluginName,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<FilePage, HostError> {
        if prefix.len() > KEY_BYTES_MAX {
            return Err(HostError::invalid(format!(
                "a prefix has at most {KEY_BYTES_MAX} bytes, not {}",
                prefix.len()
            )));
        }
        let limit = match limit {
            0 => LIST_MAX,
            limit => limit.min(LIST_MAX),
        };
        let after = after.unwrap_or_default();
        self.store.list(plugin, prefix, after, limit).await
    }

    /// Bytes a plugin's files take.
    ///
    /// # Errors
    /// Unavailable, timeout: the store.
    pub async fn used_bytes(&self, plugin: &PluginName) -> Result<u64, HostError> {
        self.store.used_bytes(plugin).await
    }

    /// Deletes all files of a plugin that is uninstalled.
    ///
    /// # Errors
    /// Unavailable, timeout: the store.
    pub async fn clear(&self, plugin: &PluginName) -> Result<(), HostError> {
        self.store.clear(plugin).await
    }
}

fn rfc3339<S: Serializer>(time: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    let text = time.format(&Rfc3339).map_err(serde::ser::Error::custom)?;
    serializer.serialize_str(&text)
}

#[cfg(test)]
mod tests;
