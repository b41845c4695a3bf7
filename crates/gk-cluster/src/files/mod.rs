//! Files of all hosts: bytes in an object store, the list in the database.
//!
//! Each write makes a new object under a random name and then the row that names it, so that a file is
//! there as a whole or not at all, whatever ends in between. Objects without a row are removed later.

mod objects;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use gk_hostapi::{ErrorKind, HostError};
use gk_manifest::PluginName;
use gk_services::files::{
    FILES_MAX, FileInfo, FilePage, FileStore, StoredFile, content_type, over_quota, stored_bytes,
    too_many,
};
use gk_services::kv::end_of;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use time::OffsetDateTime;
use tokio_postgres::{Row, Transaction};

use self::objects::{Unanswered, s3, within};
use crate::database::{Database, Failure, signed, unsigned};

/// Age from which an object without a row is removed: longer than any write takes.
const ORPHAN_AGE: Duration = Duration::from_secs(60 * 60);

/// Interval between two looks for objects without a row.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Number of objects that are looked up at once.
const SWEEP_PAGE: usize = 1000;

/// The files of all hosts.
#[derive(Clone)]
pub struct SharedFiles {
    database: Database,
    objects: Arc<dyn ObjectStore>,
}

impl fmt::Debug for SharedFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the store: it may hold credentials.
        f.debug_struct("SharedFiles").finish_non_exhaustive()
    }
}

impl SharedFiles {
    /// Files whose bytes are at this URL: `s3://bucket/prefix`, with credentials, region and endpoint
    /// from these variables (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`,
    /// `AWS_ENDPOINT_URL` and the others of AWS' tools), or `file:///directory` for a file system that
    /// all hosts mount. Connects to nothing.
    ///
    /// # Errors
    /// Invalid: the URL.
    pub fn new(
        url: &str,
        variables: impl IntoIterator<Item = (String, String)>,
        database: Database,
    ) -> Result<Self, HostError> {
        let wrong = |why: &str| {
            HostError::invalid(format!(
                "the URL is neither s3://bucket/prefix nor file:///directory: {why}"
            ))
        };
        let objects: Arc<dyn ObjectStore> = if let Some(directory) = url.strip_prefix("file://") {
            let local = LocalFileSystem::new_with_prefix(directory);
            let local = local.map_err(|_| wrong("there is no such directory"))?;
            Arc::new(local.with_automatic_cleanup(true))
        } else if let Some(place) = url.strip_prefix("s3://") {
            let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
            let store = s3(bucket, variables).map_err(|error| wrong(&error.to_string()))?;
            Arc::new(PrefixStore::new(store, prefix.trim_matches('/')))
        } else {
            return Err(wrong("it has another scheme"));
        };
        Ok(Self { database, objects })
    }

    /// Asks the object store for something that is not there.
    ///
    /// # Errors
    /// Unavailable, timeout: it does not answer, or refuses.
    pub async fn check(&self) -> Result<(), HostError> {
        let nothing = Path::from("gk-check");
        match within(self.objects.head(&nothing)).await {
            Ok(_) | Err(Unanswered::NotThere) => Ok(()),
            Err(Unanswered::Failed(error)) => Err(error),
        }
    }

    /// Removes objects that no row names, from time to time. Runs until it is dropped.
    pub async fn sweep(&self) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            if let Err(error) = self.remove_orphans(ORPHAN_AGE).await {
                tracing::debug!(%error, "objects without a file cannot be removed");
            }
        }
    }

    /// Removes objects of this age that no row names, and returns their number. Only objects below the id
    /// of these hosts are looked at: other hosts, and other programs, may use the bucket, too.
    ///
    /// # Errors
    /// Unavailable, timeout: the object store, or the database.
    pub async fn remove_orphans(&self, age: Duration) -> Result<usize, HostError> {
        let own = Path::from(self.database.cluster());
        let all = within(self.objects.list_with_delimiter(Some(&own))).await;
        let mut removed = 0;
        for prefix in all.map_err(Unanswered::told)?.common_prefixes {
            let of_plugin = within(self.objects.list_with_delimiter(Some(&prefix))).await;
            let objects = of_plugin.map_err(Unanswered::told)?.objects;
            let old = objects.into_iter().filter(|object| {
                let time = object.last_modified.timestamp();
                let now = OffsetDateTime::now_utc().unix_timestamp();
                now - time >= i64::try_from(age.as_secs()).unwrap_or(i64::MAX)
            });
            let old: Vec<_> = old.map(|object| object.location).collect();
            for page in old.chunks(SWEEP_PAGE) {
                removed += self.remove_unnamed(page).await?;
            }
        }
        Ok(removed)
    }

    async fn remove_unnamed(&self, objects: &[Path]) -> Result<usize, HostError> {
        let names: Vec<String> = objects.iter().map(ToString::to_string).collect();
        let named = "SELECT object FROM file WHERE object = ANY($1)";
        let named = self.database.query(named, &[&names]).await?;
        let named: BTreeSet<String> = named.iter().map(|row| row.get(0)).collect();
        let mut removed = 0;
        for object in objects
            .iter()
            .filter(|object| !named.contains(object.as_ref()))
        {
            within(self.objects.delete(object))
                .await
                .map_err(Unanswered::told)?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Removes objects whose rows are gone. What cannot be removed now is removed later.
    fn forget(&self, objects: Vec<String>) {
        let store = Arc::clone(&self.objects);
        tokio::spawn(async move {
            for object in objects {
                if let Err(Unanswered::Failed(error)) =
                    within(store.delete(&Path::from(object))).await
                {
                    tracing::debug!(%error, "an object without a file is left to the sweep");
                }
            }
        });
    }

    /// The row of a file.
    async fn row(&self, plugin: &PluginName, key: &str) -> Result<Option<Row>, HostError> {
        let select = "SELECT object, metadata::text FROM file WHERE plugin = $1 AND key = $2";
        let (plugin, key) = (plugin.as_str(), key.as_bytes());
        Ok(self.database.query(select, &[&plugin, &key]).await?.pop())
    }
}

/// A name that no other object has.
fn new_object(cluster: &str, plugin: &PluginName) -> Result<String, HostError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|_| HostError::unavailable("the system gives no random bytes"))?;
    Ok(format!(
        "{cluster}/{plugin}/{:032x}",
        u128::from_ne_bytes(random)
    ))
}

#[async_trait]
impl FileStore for SharedFiles {
    async fn store(
        &self,
        plugin: &PluginName,
        key: &str,
        data: Bytes,
        metadata: &BTreeMap<String, String>,
        quota: u64,
    ) -> Result<(), HostError> {
        let row = NewRow {
            plugin: plugin.clone(),
            key: key.as_bytes().to_vec(),
            object: new_object(self.database.cluster(), plugin)?,
            size: data.len() as u64,
            bytes: stored_bytes(&data, metadata)?,
            metadata: serde_json::to_string(metadata)
                .map_err(|_| HostError::invalid("the metadata cannot be written"))?,
        };
        // What does not fit is not sent first.
        let checked = row.clone();
        self.database
            .write(move |transaction| {
                Box::pin(async move { checked.admit(transaction, quota).await.map(drop) })
            })
            .await?;
        let object = Path::from(row.object.as_str());
        let put = within(self.objects.put(&object, PutPayload::from(data))).await;
        put.map_err(Unanswered::told)?;
        let name = row.object.clone();
        let put = self
            .database
            .write(move |transaction| Box::pin(async move { row.put(transaction, quota).await }));
        match put.await {
            Ok(replaced) => {
                self.forget(replaced.into_iter().collect());
                Ok(())
            }
            Err(error) => {
                // Otherwise it is not known whether the row is there: the sweep will see.
                if error.kind() == ErrorKind::Limit {
                    self.forget(vec![name]);
                }
                Err(error)
            }
        }
    }

    async fn get(&self, plugin: &PluginName, key: &str) -> Result<StoredFile, HostError> {
        let not_found = || HostError::not_found(format!("file {key:?} not found"));
        let mut tried = None;
        loop {
            let row = self.row(plugin, key).await?.ok_or_else(not_found)?;
            let (object, metadata): (String, String) = (row.get(0), row.get(1));
            if tried.as_ref() == Some(&object) {
                return Err(HostError::failed(format!(
                    "file {key:?} is damaged: its bytes are gone; store it again"
                )));
            }
            let path = Path::from(object.as_str());
            let read = within(async { self.objects.get(&path).await?.bytes().await }).await;
            match read {
                Ok(data) => {
                    let metadata = serde_json::from_str(&metadata).unwrap_or_default();
                    return Ok(StoredFile { data, metadata });
                }
                // It was replaced meanwhile, and is looked for once more.
                Err(Unanswered::NotThere) => tried = Some(object),
                Err(Unanswered::Failed(error)) => return Err(error),
            }
        }
    }

    async fn delete(&self, plugin: &PluginName, key: &str) -> Result<bool, HostError> {
        let (plugin, key) = (plugin.clone(), key.as_bytes().to_vec());
        let deleted = self.database.write(move |transaction| {
            Box::pin(async move {
                let name = plugin.as_str();
                let (files, used) = locked(transaction, &plugin).await?;
                let delete =
                    "DELETE FROM file WHERE plugin = $1 AND key = $2 RETURNING object, bytes";
                let row = transaction.query_opt(delete, &[&name, &key]).await?;
                let Some(row) = row else {
                    return Ok(None);
                };
                let used = used.saturating_sub(unsigned(&row, 1));
                set_usage(transaction, &plugin, files.saturating_sub(1), used).await?;
                Ok(Some(row.get::<_, String>(0)))
            })
        });
        let deleted = deleted.await?;
        let was_there = deleted.is_some();
        self.forget(deleted.into_iter().collect());
        Ok(was_there)
    }

    async fn list(
        &self,
        plugin: &PluginName,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<FilePage, HostError> {
        let select = "SELECT key, size, metadata::text, modified_at FROM file
            WHERE plugin = $1 AND key >= $2 AND key < $3 AND key > $4 ORDER BY key LIMIT $5";
        let more = i64::try_from(limit + 1).unwrap_or(i64::MAX);
        let (name, prefix, end) = (plugin.as_str(), prefix.as_bytes(), end_of(prefix));
        let rows = self
            .database
            .query(select, &[&name, &prefix, &end, &after.as_bytes(), &more])
            .await?;
        let mut files: Vec<_> = rows.iter().map(info).collect();
        let next = (files.len() > limit).then(|| {
            files.truncate(limit);
            files
                .last()
                .map(|file| file.key.clone())
                .unwrap_or_default()
        });
        Ok(FilePage { files, next })
    }

    async fn used_bytes(&self, plugin: &PluginName) -> Result<u64, HostError> {
        let select = "SELECT bytes FROM file_usage WHERE plugin = $1";
        let rows = self.database.query(select, &[&plugin.as_str()]).await?;
        Ok(rows.first().map_or(0, |row| unsigned(row, 0)))
    }

    async fn clear(&self, plugin: &PluginName) -> Result<(), HostError> {
        let plugin = plugin.clone();
        let cleared = self.database.write(move |transaction| {
            Box::pin(async move {
                locked(transaction, &plugin).await?;
                let name = plugin.as_str();
                let delete = "DELETE FROM file WHERE plugin = $1 RETURNING object";
                let rows = transaction.query(delete, &[&name]).await?;
                let delete = "DELETE FROM file_usage WHERE plugin = $1";
                transaction.execute(delete, &[&name]).await?;
                Ok(rows.iter().map(|row| row.get(0)).collect())
            })
        });
        self.forget(cleared.await?);
        Ok(())
    }
}

/// A row that is to be stored.
#[derive(Debug, Clone)]
struct NewRow {
    plugin: PluginName,
    key: Vec<u8>,
    object: String,
    size: u64,
    bytes: u64,
    metadata: String,
}

impl NewRow {
    /// Returns the number and the bytes of the plugin's files with this one, and the object that it
    /// replaces.
    async fn admit(
        &self,
        transaction: &Transaction<'_>,
        quota: u64,
    ) -> Result<(u64, u64, Option<String>), Failure> {
        let (files, used) = locked(transaction, &self.plugin).await?;
        let old = "SELECT bytes, object FROM file WHERE plugin = $1 AND key = $2";
        let old = transaction
            .query_opt(old, &[&self.plugin.as_str(), &self.key])
            .await?;
        let others = used.saturating_sub(old.as_ref().map_or(0, |row| unsigned(row, 0)));
        let after = others + self.bytes;
        // A plugin above a quota that was lowered may still replace a file by a smaller one.
        if after > quota && after > used {
            return Err(over_quota(&self.plugin, others, self.bytes, quota).into());
        }
        let files = files + u64::from(old.is_none());
        if old.is_none() && files > FILES_MAX {
            return Err(too_many(&self.plugin).into());
        }
        Ok((files, after, old.map(|row| row.get(1))))
    }

    /// Stores the row, and returns the object that it replaces.
    async fn put(
        self,
        transaction: &Transaction<'_>,
        quota: u64,
    ) -> Result<Option<String>, Failure> {
        let (files, used, replaced) = self.admit(transaction, quota).await?;
        let upsert = "INSERT INTO file (plugin, key, object, size, bytes, metadata, modified_at)
            VALUES ($1, $2, $3, $4, $5, $6::text::jsonb, $7) ON CONFLICT (plugin, key) DO UPDATE SET
                object = excluded.object, size = excluded.size, bytes = excluded.bytes,
                metadata = excluded.metadata, modified_at = excluded.modified_at";
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1000;
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        transaction
            .execute(
                upsert,
                &[
                    &self.plugin.as_str(),
                    &self.key,
                    &self.object,
                    &signed(self.size),
                    &signed(self.bytes),
                    &self.metadata,
                    &now,
                ],
            )
            .await?;
        set_usage(transaction, &self.plugin, files, used).await?;
        Ok(replaced)
    }
}

/// The number and the bytes of a plugin's files, locked until the transaction ends: a plugin has one
/// change of files at a time, on whichever host.
async fn locked(transaction: &Transaction<'_>, plugin: &PluginName) -> Result<(u64, u64), Failure> {
    // The update of nothing locks the row that is there.
    let lock = "INSERT INTO file_usage (plugin) VALUES ($1)
        ON CONFLICT (plugin) DO UPDATE SET files = file_usage.files RETURNING files, bytes";
    let row = transaction.query_one(lock, &[&plugin.as_str()]).await?;
    Ok((unsigned(&row, 0), unsigned(&row, 1)))
}

async fn set_usage(
    transaction: &Transaction<'_>,
    plugin: &PluginName,
    files: u64,
    bytes: u64,
) -> Result<(), Failure> {
    let update = "UPDATE file_usage SET files = $2, bytes = $3 WHERE plugin = $1";
    let (files, bytes) = (signed(files), signed(bytes));
    transaction
        .execute(update, &[&plugin.as_str(), &files, &bytes])
        .await?;
    Ok(())
}

fn info(row: &Row) -> FileInfo {
    let metadata: BTreeMap<String, String> = serde_json::from_str(row.get(2)).unwrap_or_default();
    let modified_at = i128::from(row.get::<_, i64>(3)) * 1000;
    FileInfo {
        // Only `store` writes keys, and they are text there.
        key: String::from_utf8_lossy(row.get(0)).into_owned(),
        size: unsigned(row, 1),
        content_type: content_type(&metadata).to_owned(),
        metadata,
        modified_at: OffsetDateTime::from_unix_timestamp_nanos(modified_at)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH),
    }
}
