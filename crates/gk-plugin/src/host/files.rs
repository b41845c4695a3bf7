//! The files of this plugin.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;

use super::wire::{bytes, encode};
use super::{Host, HostError, moment};

/// The files of this plugin, below its quota.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    host: &'a Host,
}

/// A file and its metadata.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StoredFile {
    /// Content of the file.
    #[serde(default, deserialize_with = "bytes")]
    pub data: Bytes,
    /// The metadata; `content-type` is the one that the host knows.
    #[serde(default, deserialize_with = "entries")]
    pub metadata: BTreeMap<String, String>,
}

/// A file, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FileInfo {
    /// Key under which the file was stored.
    pub key: String,
    /// Bytes of its data.
    pub size: u64,
    /// Content type that the file was stored with.
    #[serde(default)]
    pub content_type: String,
    /// All metadata.
    #[serde(default, deserialize_with = "entries")]
    pub metadata: BTreeMap<String, String>,
    /// When it was stored.
    #[serde(deserialize_with = "moment")]
    pub modified_at: OffsetDateTime,
}

impl<'a> Files<'a> {
    pub(super) fn new(host: &'a Host) -> Self {
        Self { host }
    }

    /// Stores a file, new or not.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn store(
        &self,
        key: &str,
        data: &[u8],
        metadata: &BTreeMap<String, String>,
    ) -> Result<(), HostError> {
        let args = json!({ "key": key, "data": encode(data), "metadata": metadata });
        self.host.done("store_file", &args).await
    }

    /// Reads a file.
    ///
    /// # Errors
    /// See [`HostError`]; that there is none is one of them.
    pub async fn get(&self, key: &str) -> Result<StoredFile, HostError> {
        self.host.call("get_file", &json!({ "key": key })).await
    }

    /// Deletes a file.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn delete(&self, key: &str) -> Result<(), HostError> {
        self.host.done("delete_file", &json!({ "key": key })).await
    }

    /// The files whose keys start with `prefix`.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn list(&self, prefix: &str) -> Result<Vec<FileInfo>, HostError> {
        let files: Option<Vec<FileInfo>> = self
            .host
            .call("list_files", &json!({ "prefix": prefix }))
            .await?;
        Ok(files.unwrap_or_default())
    }
}

/// Metadata; `null` is none, as Go writes it.
fn entries<'de, D>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
