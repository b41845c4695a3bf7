//! Files of a plugin, below a quota.
//!
//! Each plugin has a directory of its own below the root, mode 0700; a file is a file there, with
//! its metadata in front of its data. Not a place for what changes often: each write replaces the
//! file.

mod format;
mod key;
mod methods;
mod tree;

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use gk_hostapi::HostError;
use gk_manifest::PluginName;
use parking_lot::Mutex;
use rustix::io::Errno;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{Mutex as AsyncMutex, Semaphore};

pub use self::format::{METADATA_BYTES_MAX, METADATA_ENTRIES_MAX};
use self::key::FileKey;
pub use self::key::{KEY_BYTES_MAX, SEGMENT_BYTES_MAX, SEGMENTS_MAX};
pub(crate) use self::methods::METHODS;
use self::tree::{Resolve, Tree, Usage};

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

/// The service.
#[derive(Debug)]
pub struct Files {
    root: Arc<OwnedFd>,
    resolve: Resolve,
    directories_max: u64,
    plugins: Mutex<HashMap<PluginName, Arc<Plugin>>>,
}

#[derive(Debug)]
struct Plugin {
    tree: Tree,
    /// Held while files are written: the check of the quota and the write are one. None until the
    /// files were added up, which happens at the first write after the host's start.
    usage: Arc<AsyncMutex<Option<Usage>>>,
    reads: Arc<Semaphore>,
}

impl Files {
    /// Files below this directory, which is made if there is none, and given the mode 0700. Blocks.
    ///
    /// # Errors
    /// Unavailable: the directory cannot be made or opened.
    pub fn open(root: &Path) -> Result<Self, HostError> {
        let open = || -> std::io::Result<OwnedFd> {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(root)?;
            std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o700))?;
            Ok(std::fs::File::open(root)?.into())
        };
        let root = open().map_err(|error| {
            HostError::unavailable(format!(
                "the directory of plugins' files cannot be opened: {error}"
            ))
        })?;
        Ok(Self {
            resolve: Resolve::detect(&root),
            root: Arc::new(root),
            directories_max: DIRECTORIES_MAX,
            plugins: Mutex::default(),
        })
    }

    /// As [`open`](Self::open), with paths resolved as on a kernel without `openat2`.
    #[cfg(test)]
    fn open_stepwise(root: &Path) -> Result<Self, HostError> {
        Ok(Self {
            resolve: Resolve::Step,
            ..Self::open(root)?
        })
    }

    /// Stores a file, new or not, with its metadata; it is there as a whole or not at all. It is on
    /// disk when this returns. `quota` is what the plugin may use in bytes, none for
    /// [`QUOTA_BYTES_DEFAULT`].
    ///
    /// # Errors
    /// Invalid: the key. Limit: [`FILE_BYTES_MAX`], [`FILES_MAX`], [`DIRECTORIES_MAX`], the
    /// metadata's limits, the quota.
    /// Unavailable: the disk.
    pub async fn store(
        &self,
        plugin: &PluginName,
        key: &str,
        data: Bytes,
        metadata: &BTreeMap<String, String>,
        quota: Option<u64>,
    ) -> Result<(), HostError> {
        let file_key = FileKey::parse(key)?;
        if data.len() > FILE_BYTES_MAX {
            return Err(HostError::limit(format!(
                "a file has at most {FILE_BYTES_MAX} bytes, not {}",
                data.len()
            )));
        }
        let header = format::header(metadata)?;
        let quota = quota.unwrap_or(QUOTA_BYTES_DEFAULT);
        let name = plugin.clone();
        let directories_max = self.directories_max;
        self.write(plugin, move |tree, usage| {
            let bytes = (header.len() + data.len()) as u64;
            let old = tree.size(&file_key)?;
            let mut after = Usage {
                bytes: usage.bytes.saturating_sub(old.unwrap_or(0)),
                ..*usage
            };
            let others = after.bytes;
            after.bytes += bytes;
            // A plugin above a quota that was lowered may still replace a file by a smaller one.
            if after.bytes > quota && after.bytes > usage.bytes {
                return Err(Failure::Host(HostError::limit(format!(
                    "plugin \"{name}\" storage limit exceeded ({others} + {bytes} > {quota} bytes)"
                ))));
            }
            if old.is_none() {
                after.files += 1;
                if after.files > FILES_MAX {
                    return Err(Failure::Host(HostError::limit(format!(
                        "plugin \"{name}\" has {FILES_MAX} files; delete some"
                    ))));
                }
                let missing = tree.missing(&file_key)?;
                after.directories += missing;
                if missing > 0 && after.directories > directories_max {
                    return Err(Failure::Host(HostError::limit(format!(
                        "plugin \"{name}\" has {directories_max} directories; delete files, or \
                         use keys with fewer different parts"
                    ))));
                }
            }
            tree.replace(&file_key, &[&header, &data])?;
            *usage = after;
            Ok(())
        })
        .await
    }

    /// A file and its metadata.
    ///
    /// # Errors
    /// Invalid: the key. Not found. Unavailable: the disk.
    pub async fn get(&self, plugin: &PluginName, key: &str) -> Result<StoredFile, HostError> {
        let file_key = FileKey::parse(key)?;
        let max = (format::HEADER_BYTES_MAX + FILE_BYTES_MAX) as u64;
        let parsed = self
            .read(plugin, move |tree| {
                let file = match tree.read(&file_key) {
                    Err(Errno::NOENT) => return Ok(None),
                    file => file?,
                };
                Ok(Some(format::parse(tree::read_up_to(file, max)?)))
            })
            .await?;
        match parsed {
            None => Err(HostError::not_found(format!("file {key:?} not found"))),
            Some(None) => Err(HostError::failed(format!(
                "file {key:?} is damaged; store it again"
            ))),
            Some(Some((metadata, data))) => Ok(StoredFile { data, metadata }),
        }
    }

    /// Deletes a file, and says whether there was one.
    ///
    /// # Errors
    /// Invalid: the key. Unavailable: the disk.
    pub async fn delete(&self, plugin: &PluginName, key: &str) -> Result<bool, HostError> {
        let key = FileKey::parse(key)?;
        self.write(plugin, move |tree, usage| {
            let Some(bytes) = tree.size(&key)? else {
                return Ok(false);
            };
            let emptied = tree.delete(&key)?;
            usage.directories = usage.directories.saturating_sub(emptied);
            usage.files = usage.files.saturating_sub(1);
            usage.bytes = usage.bytes.saturating_sub(bytes);
            Ok(true)
        })
        .await
    }

    /// The files whose keys start with `prefix` and come after `after`, in the order of the keys'
    /// bytes, at most `limit` (0 for [`LIST_MAX`], never more than that). What is stored or deleted
    /// meanwhile may be there or not.
    ///
    /// # Errors
    /// Invalid: a prefix longer than [`KEY_BYTES_MAX`]. Unavailable: the disk.
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
        let prefix = prefix.to_owned();
        let after = after.unwrap_or_default().to_owned();
        self.read(plugin, move |tree| {
            let mut keys = tree.keys(&prefix)?;
            keys.retain(|key| *key > after);
            keys.sort_unstable();
            let next = (keys.len() > limit).then(|| {
                keys.truncate(limit);
                keys.last().cloned().unwrap_or_default()
            });
            let mut files = Vec::with_capacity(keys.len());
            for key in keys {
                // A file that was deleted meanwhile, or is damaged, is left out; reading it says so.
                files.extend(info(tree, key)?);
            }
            Ok(FilePage { files, next })
        })
        .await
    }

    /// Bytes a plugin's files take.
    ///
    /// # Errors
    /// Unavailable: the disk.
    pub async fn used_bytes(&self, plugin: &PluginName) -> Result<u64, HostError> {
        self.write(plugin, |_, usage| Ok(usage.bytes)).await
    }

    /// Deletes all files of a plugin that is uninstalled.
    ///
    /// # Errors
    /// Unavailable: the disk.
    pub async fn clear(&self, plugin: &PluginName) -> Result<(), HostError> {
        self.write(plugin, |tree, usage| {
            tree.clear()?;
            *usage = Usage::default();
            Ok(())
        })
        .await
    }

    /// Runs work that changes files: one at a time for each plugin, to its end even if nobody waits
    /// for it any more.
    async fn write<T: Send + 'static>(
        &self,
        name: &PluginName,
        work: impl FnOnce(&Tree, &mut Usage) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, HostError> {
        let plugin = self.plugin(name).await?;
        let mut usage = Arc::clone(&plugin.usage).lock_owned().await;
        blocking(move || {
            let mut known = match usage.take() {
                Some(known) => known,
                None => plugin.tree.usage()?,
            };
            match work(&plugin.tree, &mut known) {
                // How much of it was done is for the disk to say, at the next write.
                Err(Failure::Disk(error)) => Err(Failure::Disk(error)),
                done => {
                    *usage = Some(known);
                    done
                }
            }
        })
        .await
    }

    /// Runs work that only reads.
    async fn read<T: Send + 'static>(
        &self,
        name: &PluginName,
        work: impl FnOnce(&Tree) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, HostError> {
        let plugin = self.plugin(name).await?;
        let permit = Arc::clone(&plugin.reads).acquire_owned().await;
        blocking(move || {
            // The semaphore is never closed; the permit lasts as long as the read.
            let _permit = permit;
            work(&plugin.tree)
        })
        .await
    }

    async fn plugin(&self, name: &PluginName) -> Result<Arc<Plugin>, HostError> {
        if let Some(plugin) = self.plugins.lock().get(name) {
            return Ok(Arc::clone(plugin));
        }
        let (root, directory) = (Arc::clone(&self.root), name.clone());
        let directory =
            blocking(move || Ok(tree::open_or_make(&*root, directory.as_str())?)).await?;
        let new = Arc::new(Plugin {
            tree: Tree::new(directory, self.resolve),
            usage: Arc::default(),
            reads: Arc::new(Semaphore::new(READS_MAX)),
        });
        // The quicker request counts: there must be one usage for each plugin.
        Ok(Arc::clone(
            self.plugins.lock().entry(name.clone()).or_insert(new),
        ))
    }
}

/// Why work on the disk failed.
enum Failure {
    Host(HostError),
    Disk(std::io::Error),
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        Self::Disk(error.into())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Disk(error)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, HostError> {
    let failed = || HostError::unavailable("the file storage failed; the host's log says why");
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(Failure::Host(error))) => Err(error),
        Ok(Err(Failure::Disk(error))) => {
            tracing::error!(%error, "the file storage failed");
            match error.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Err(
                    HostError::unavailable("the disk of the file storage is full"),
                ),
                _ => Err(failed()),
            }
        }
        Err(_) => Err(failed()),
    }
}

/// The entry of a file in a list; none if there is no file, or it is damaged.
fn info(tree: &Tree, key: String) -> Result<Option<FileInfo>, Failure> {
    let Ok(file_key) = FileKey::parse(&key) else {
        return Ok(None);
    };
    let mut file = match tree.read(&file_key) {
        Err(Errno::NOENT) => return Ok(None),
        file => file?,
    };
    let stat = file.metadata()?;
    let mut start = [0; 12];
    let mut header = Vec::new();
    let read = file.read_exact(&mut start).ok().and_then(|()| {
        let length = format::header_bytes(&start)?;
        header.extend_from_slice(&start);
        header.resize(length, 0);
        file.read_exact(header.get_mut(start.len()..)?).ok()?;
        format::metadata(&header)
    });
    Ok(read.map(|metadata| FileInfo {
        key,
        size: stat.len().saturating_sub(header.len() as u64),
        content_type: metadata
            .get(CONTENT_TYPE)
            .map_or(CONTENT_TYPE_DEFAULT, String::as_str)
            .to_owned(),
        metadata,
        modified_at: stat
            .modified()
            .map_or(OffsetDateTime::UNIX_EPOCH, Into::into),
    }))
}

fn rfc3339<S: Serializer>(time: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    let text = time.format(&Rfc3339).map_err(serde::ser::Error::custom)?;
    serializer.serialize_str(&text)
}

#[cfg(test)]
mod tests;
