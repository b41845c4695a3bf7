//! Configuration of plugins that is encrypted at rest, such as the tokens of services they use.
//!
//! It protects a copy of the host's file, not a host that is running: the host can decrypt.

mod keys;
mod methods;
mod sqlite;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use gk_hostapi::HostError;
use gk_manifest::PluginName;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use self::keys::OpenError;
pub use self::keys::{ENCRYPTION_KEY_BYTES, ENCRYPTION_KEYS_MAX, SecureKeys};
pub(crate) use self::methods::METHODS;

/// The environment variable that holds the keys, as upstream calls it.
pub const KEY_VARIABLE: &str = "GOATFLOW_SECURE_KEY";
/// Longest key (name of a secret), in bytes of UTF-8. The shortest has one.
pub const KEY_BYTES_MAX: usize = 256;
/// Longest secret, in bytes of UTF-8.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;
/// Most secrets of a plugin.
pub const SECRETS_MAX: i64 = 1000;

/// A secret in the clear. It is wiped from memory when it is dropped, and not shown by `Debug`.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a secret.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Shows it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The outcome of a rotation of keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Secrets that are now encrypted with the first key and were not before.
    pub encrypted_anew: u64,
    /// Secrets that were already.
    pub unchanged: u64,
    /// Secrets that cannot be decrypted with any key; they stay as they are.
    pub unreadable: u64,
}

/// A secret that is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecret {
    /// Id of the key that it is encrypted with.
    pub key_id: String,
    /// The nonce.
    pub nonce: Vec<u8>,
    /// The encrypted text.
    pub sealed: Vec<u8>,
}

/// Change of an encrypted secret, by the plugin's name and that of the secret; `None` leaves it as it
/// is.
pub type Reseal =
    dyn FnMut(&str, &str, &SealedSecret) -> Result<Option<SealedSecret>, HostError> + Send;

/// Where encrypted secrets are stored. It sees nothing in the clear. The module `testing` has its contract.
#[async_trait]
pub trait SecretStore: fmt::Debug + Send + Sync + 'static {
    /// The secret of that name.
    ///
    /// # Errors
    /// Unavailable, timeout: the store.
    async fn get(&self, plugin: &PluginName, key: &str) -> Result<Option<SealedSecret>, HostError>;

    /// Sets a secret, new or not.
    ///
    /// # Errors
    /// Limit: [`SECRETS_MAX`] others of the plugin. Unavailable, timeout: the store.
    async fn set(
        &self,
        plugin: &PluginName,
        key: &str,
        secret: SealedSecret,
    ) -> Result<(), HostError>;

    /// Deletes all secrets of a plugin.
    ///
    /// # Errors
    /// Unavailable, timeout: the store.
    async fn clear(&self, plugin: &PluginName) -> Result<(), HostError>;

    /// Changes all secrets at once, or none if `change` fails.
    ///
    /// # Errors
    /// The error of `change`. Unavailable, timeout: the store.
    async fn reseal(&self, change: Box<Reseal>) -> Result<(), HostError>;

    /// The ids of the keys that stored secrets are encrypted with.
    ///
    /// # Errors
    /// Unavailable, timeout: the store.
    async fn key_ids(&self) -> Result<BTreeSet<String>, HostError>;
}

/// Returns the error of a plugin that has too many secrets.
#[must_use]
pub fn too_many(plugin: &PluginName) -> HostError {
    HostError::limit(format!(
        "plugin \"{plugin}\" has {SECRETS_MAX} secrets; no more are allowed"
    ))
}

/// The service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SecureConfig {
    store: Arc<dyn SecretStore>,
    keys: Option<Arc<SecureKeys>>,
}

impl SecureConfig {
    /// Secrets in this store. Without keys every request is refused, with a text that says what to
    /// do.
    #[must_use]
    pub fn new(store: impl SecretStore, keys: Option<SecureKeys>) -> Self {
        Self {
            store: Arc::new(store),
            keys: keys.map(Arc::new),
        }
    }

    /// Returns whether there are keys: without them no secret is kept.
    pub fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    fn keys(&self) -> Result<Arc<SecureKeys>, HostError> {
        self.keys.clone().ok_or_else(|| {
            HostError::unavailable(format!(
                "secure config: this host has no encryption key; its operator sets one in \
                 {KEY_VARIABLE}, {} hexadecimal digits as `openssl rand -hex \
                 {ENCRYPTION_KEY_BYTES}` makes them",
                2 * ENCRYPTION_KEY_BYTES
            ))
        })
    }

    /// The secret of that name.
    ///
    /// # Errors
    /// Invalid: a name that is empty or longer than [`KEY_BYTES_MAX`]. Not found. Unavailable: no
    /// key, not the right key, or the store. Failed: it does not decrypt.
    pub async fn get(&self, plugin: &PluginName, key: &str) -> Result<Secret, HostError> {
        check_key(key)?;
        let keys = self.keys()?;
        let Some(sealed) = self.store.get(plugin, key).await? else {
            return Err(HostError::not_found(format!(
                "secure config key {key:?} not found"
            )));
        };
        match keys.open(plugin.as_str(), key, &sealed) {
            Ok(secret) => match std::str::from_utf8(&secret) {
                Ok(text) => Ok(Secret::new(text.to_owned())),
                Err(_) => Err(broken(key)),
            },
            Err(OpenError::Broken) => Err(broken(key)),
            Err(OpenError::NoKey) => Err(HostError::unavailable(format!(
                "secure config key {key:?} is encrypted with the key {}, which this host does \
                 not have; its operator adds it behind the first in {KEY_VARIABLE}",
                sealed.key_id
            ))),
        }
    }

    /// Sets a secret, new or not.
    ///
    /// # Errors
    /// Invalid: the name. Limit: a secret longer than [`SECRET_BYTES_MAX`], or more than
    /// [`SECRETS_MAX`] of them. Unavailable: no key, or the store.
    pub async fn set(
        &self,
        plugin: &PluginName,
        key: &str,
        secret: &Secret,
    ) -> Result<(), HostError> {
        check_key(key)?;
        let keys = self.keys()?;
        let bytes = secret.expose().as_bytes();
        if bytes.len() > SECRET_BYTES_MAX {
            return Err(HostError::limit(format!(
                "a secret has at most {SECRET_BYTES_MAX} bytes, not {}",
                bytes.len()
            )));
        }
        let sealed = keys.seal(plugin.as_str(), key, bytes)?;
        self.store.set(plugin, key, sealed).await
    }

    /// Deletes all secrets of a plugin that is uninstalled. It needs no key.
    ///
    /// # Errors
    /// Unavailable: the store.
    pub async fn clear(&self, plugin: &PluginName) -> Result<(), HostError> {
        self.store.clear(plugin).await
    }

    /// Returns the ids of the keys that secrets are encrypted with and that are not here. The secrets
    /// cannot be read without them.
    ///
    /// # Errors
    /// Unavailable, timeout: the store.
    pub async fn missing_keys(&self) -> Result<Vec<String>, HostError> {
        let mut ids = self.store.key_ids().await?;
        if let Some(keys) = &self.keys {
            ids.retain(|id| !keys.has(id));
        }
        Ok(ids.into_iter().collect())
    }

    /// Encrypts every secret with the first key that is not yet; all at once or, if it fails, none.
    /// Once it is through and nothing is unreadable, the other keys are needed no more.
    ///
    /// # Errors
    /// Unavailable: no key, or the store.
    pub async fn rotate(&self) -> Result<Rotation, HostError> {
        let keys = self.keys()?;
        let rotation = Arc::new(Mutex::new(Rotation::default()));
        let counted = Arc::clone(&rotation);
        let reseal = move |plugin: &str, key: &str, old: &SealedSecret| {
            let mut rotation = counted.lock();
            match keys.open(plugin, key, old) {
                Err(_) => rotation.unreadable += 1,
                Ok(_) if old.key_id == keys.current_id() => rotation.unchanged += 1,
                Ok(secret) => {
                    rotation.encrypted_anew += 1;
                    return Ok(Some(keys.seal(plugin, key, &secret)?));
                }
            }
            Ok(None)
        };
        self.store.reseal(Box::new(reseal)).await?;
        Ok(*rotation.lock())
    }
}

fn check_key(key: &str) -> Result<(), HostError> {
    match key.len() {
        0 => Err(HostError::invalid("the key is empty")),
        1..=KEY_BYTES_MAX => Ok(()),
        length => Err(HostError::invalid(format!(
            "a key has at most {KEY_BYTES_MAX} bytes, not {length}"
        ))),
    }
}

fn broken(key: &str) -> HostError {
    HostError::failed(format!(
        "secure config key {key:?} does not decrypt: it was changed, or belongs elsewhere; set \
         it again"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use gk_hostapi::ErrorKind;

    const OLD: &str = "1111111111111111111111111111111111111111111111111111111111111111";
    const NEW: &str = "2222222222222222222222222222222222222222222222222222222222222222";

    fn plugin(name: &str) -> PluginName {
        PluginName::new(name).unwrap()
    }

    fn with(store: &Store, keys: &str) -> SecureConfig {
        let keys = (!keys.is_empty()).then(|| SecureKeys::parse(keys).unwrap());
        SecureConfig::new(store.clone(), keys)
    }

    #[tokio::test]
    async fn the_contract_of_a_store_holds() {
        testing::contract(|| async { Arc::new(Store::in_memory().unwrap()) as _ }).await;
    }

    #[tokio::test]
    async fn a_secret_is_its_plugins_alone_and_not_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.db");
        let store = Store::open(&path).unwrap();
        let (config, p) = (with(&store, OLD), plugin("p"));
        let secret = Secret::new("correct horse".to_owned());
        config.set(&p, "k", &secret).await.unwrap();
        assert_eq!(config.get(&p, "k").await.unwrap().expose(), "correct horse");
        assert!(!format!("{secret:?}").contains("horse"));
        let error = config.get(&plugin("q"), "k").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        // Somebody who can write the file moves it to a plugin of theirs.
        store
            .run(|c| Ok(c.execute("UPDATE secure SET plugin = 'q'", [])?))
            .await
            .unwrap();
        let error = config.get(&plugin("q"), "k").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Failed);
        for file in ["host.db", "host.db-wal"] {
            let bytes = std::fs::read(dir.path().join(file)).unwrap();
            assert!(!bytes.windows(5).any(|window| window == b"horse"), "{file}");
        }
    }

    #[tokio::test]
    async fn keys_are_rotated() {
        let store = Store::in_memory().unwrap();
        let p = plugin("p");
        let secret = Secret::new("s".to_owned());
        with(&store, OLD).set(&p, "old", &secret).await.unwrap();
        with(&store, NEW).set(&p, "new", &secret).await.unwrap();
        // The new key alone does not read what the old one wrote, and says which is missing.
        let error = with(&store, NEW).get(&p, "old").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let old_id = SecureKeys::parse(OLD).unwrap().current_id().to_owned();
        assert!(error.to_string().contains(&old_id), "{error}");
        let unreadable = with(&store, NEW).rotate().await.unwrap();
        assert_eq!((unreadable.unreadable, unreadable.unchanged), (1, 1));

        let both = with(&store, &format!("{NEW} {OLD}"));
        let expected = Rotation {
            encrypted_anew: 1,
            unchanged: 1,
            unreadable: 0,
        };
        assert_eq!(both.rotate().await.unwrap(), expected);
        for key in ["old", "new"] {
            assert_eq!(with(&store, NEW).get(&p, key).await.unwrap().expose(), "s");
        }
    }

    #[tokio::test]
    async fn without_a_key_it_says_how_to_get_one() {
        let store = Store::in_memory().unwrap();
        let config = with(&store, "");
        for error in [
            config.get(&plugin("p"), "k").await.unwrap_err(),
            config
                .set(&plugin("p"), "k", &Secret::new(String::new()))
                .await
                .unwrap_err(),
            config.rotate().await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.to_string().contains(KEY_VARIABLE), "{error}");
        }
    }

    #[tokio::test]
    async fn the_limits_hold_at_the_limit() {
        let store = Store::in_memory().unwrap();
        let (config, p) = (with(&store, OLD), plugin("p"));
        let longest = "k".repeat(KEY_BYTES_MAX);
        let largest = Secret::new("s".repeat(SECRET_BYTES_MAX));
        config.set(&p, &longest, &largest).await.unwrap();
        assert_eq!(
            config.get(&p, &longest).await.unwrap().expose(),
            largest.expose()
        );
        let larger = Secret::new("s".repeat(SECRET_BYTES_MAX + 1));
        let kinds = [
            config.set(&p, "k", &larger).await,
            config.set(&p, &(longest.clone() + "k"), &largest).await,
            config.set(&p, "", &largest).await,
        ]
        .map(|result| result.unwrap_err().kind());
        assert_eq!(
            kinds,
            [ErrorKind::Limit, ErrorKind::Invalid, ErrorKind::Invalid]
        );
        for n in 1..SECRETS_MAX {
            config
                .set(&p, &n.to_string(), &Secret::new(String::new()))
                .await
                .unwrap();
        }
        let one_more = config.set(&p, "more", &Secret::new(String::new())).await;
        assert_eq!(one_more.unwrap_err().kind(), ErrorKind::Limit);
        config.set(&p, "1", &largest).await.unwrap();
        config.clear(&p).await.unwrap();
        config.set(&p, "more", &largest).await.unwrap();
    }
}
