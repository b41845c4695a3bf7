//! Files below a directory of one host.
//!
//! Each plugin has a directory of its own below the root, mode 0700; a file is a file there, with
//! its metadata in front of its data.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use gk_hostapi::HostError;
use gk_manifest::PluginName;
use parking_lot::Mutex;
use rustix::io::Errno;
use time::OffsetDateTime;
use tokio::sync::{Mutex as AsyncMutex, Semaphore};

use super::key::FileKey;
use super::tree::{Resolve, Tree, Usage};
use super::{
    DIRECTORIES_MAX, FILE_BYTES_MAX, FILES_MAX, FileInfo, FilePage, FileStore, READS_MAX,
    StoredFile, content_type, format, over_quota, too_many, tree,
};

/// Files below a directory.
#[derive(Debug)]
pub struct LocalFiles {
    root: Arc<OwnedFd>,
    resolve: Resolve,
    pub(super) directories_max: u64,
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

impl LocalFiles {
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
    pub(super) fn open_stepwise(root: &Path) -> Result<Self, HostError> {
        Ok(Self {
            resolve: Resolve::Step,
            ..Self::open(root)?
        })
    }
}

#[async_trait]
impl FileStore for LocalFiles {
    async fn store(
        &self,
        plugin: &PluginName,
        key: &str,
        data: Bytes,
        metadata: &BTreeMap<String, String>,
        quota: u64,
    ) -> Result<(), HostError> {
        let file_key = FileKey::parse(key)?;
        let header = format::header(metadata)?;
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
                return Err(Failure::Host(over_quota(&name, others, bytes, quota)));
            }
            if old.is_none() {
                after.files += 1;
                if after.files > FILES_MAX {
                    return Err(Failure::Host(too_many(&name)));
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

    async fn get(&self, plugin: &PluginName, key: &str) -> Result<StoredFile, HostError> {
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

    async fn delete(&self, plugin: &PluginName, key: &str) -> Result<bool, HostError> {
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

    async fn list(
        &self,
        plugin: &PluginName,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<FilePage, HostError> {
        let prefix = prefix.to_owned();
        let after = after.to_owned();
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

    async fn used_bytes(&self, plugin: &PluginName) -> Result<u64, HostError> {
        self.write(plugin, |_, usage| Ok(usage.bytes)).await
    }

    async fn clear(&self, plugin: &PluginName) -> Result<(), HostError> {
        self.write(plugin, |tree, usage| {
            tree.clear()?;
            *usage = Usage::default();
            Ok(())
        })
        .await
    }
}

impl LocalFiles {
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
        content_type: content_type(&metadata).to_owned(),
        metadata,
        modified_at: stat
            .modified()
            .map_or(OffsetDateTime::UNIX_EPOCH, Into::into),
    }))
}
