//! The vaults of a configuration, opened when they are first needed.
//!
//! One that cannot be opened is tried again at the next need; one that was opened stays open. No password is kept: what
//! stays is the vault's key.

use std::collections::BTreeMap;

use tokio::sync::OnceCell;

use super::secret::{self, Purpose, SecretError, SharedKey};
use crate::clock::Env;
use crate::config::{Config, CredentialsRef, VaultConfig, VaultName};
use crate::store::{Credentials, OpenOptions as StoreOptions, Store, StoreError};
use crate::vault::{CacheMode, OpenOptions, Vault, VaultError};

/// A vault cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration does not name it.
    #[error("open vault {0}: the configuration does not know it")]
    Unknown(VaultName),
    /// Its password, or its store's credentials, cannot be had.
    #[error("open vault {vault}")]
    Secret {
        /// The vault.
        vault: VaultName,
        /// Why.
        #[source]
        source: SecretError,
    },
    /// Its store cannot be reached.
    #[error("open vault {vault}")]
    Store {
        /// The vault.
        vault: VaultName,
        /// Why.
        #[source]
        source: Box<StoreError>,
    },
    /// It cannot be opened.
    #[error("open vault {vault}")]
    Vault {
        /// The vault.
        vault: VaultName,
        /// Why.
        #[source]
        source: Box<VaultError>,
    },
}

/// The vaults of a configuration.
#[derive(Debug)]
pub struct Vaults {
    all: BTreeMap<VaultName, Slot>,
    cache: CacheMode,
    shared: SharedKey,
    env: Env,
}

#[derive(Debug)]
struct Slot {
    config: VaultConfig,
    open: OnceCell<Vault>,
}

impl Vaults {
    /// Those of `config`; none is opened yet.
    pub fn of(config: &Config, cache: CacheMode, shared: SharedKey, env: Env) -> Self {
        let slot = |config: &VaultConfig| Slot { config: config.clone(), open: OnceCell::new() };
        let all = config.vaults.iter().map(|(name, vault)| (name.clone(), slot(vault))).collect();
        Self { all, cache, shared, env }
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &VaultName> {
        self.all.keys()
    }

    /// The vault of this name.
    pub async fn open(&self, name: &VaultName) -> Result<Vault, OpenError> {
        let slot = self.slot(name)?;
        slot.open.get_or_try_init(|| self.open_now(name, &slot.config, self.cache.clone())).await.cloned()
    }

    /// The vault of this name without any local copy of it: what is read is read from its store, so that it proves
    /// something.
    pub async fn open_uncached(&self, name: &VaultName) -> Result<Vault, OpenError> {
        match self.cache {
            CacheMode::Off => self.open(name).await,
            CacheMode::At(_) => self.open_now(name, &self.slot(name)?.config, CacheMode::Off).await,
        }
    }

    fn slot(&self, name: &VaultName) -> Result<&Slot, OpenError> {
        self.all.get(name).ok_or_else(|| OpenError::Unknown(name.clone()))
    }

    async fn open_now(&self, name: &VaultName, config: &VaultConfig, cache: CacheMode) -> Result<Vault, OpenError> {
        let no_secret = |source| OpenError::Secret { vault: name.clone(), source };
        let options = store_options(config, self.shared).map_err(no_secret)?;
        let store = Store::open(&config.url, &options).await;
        let store = store.map_err(|source| OpenError::Store { vault: name.clone(), source: Box::new(source) })?;
        let password = secret::obtain(&config.key, Purpose::Write, self.shared).map_err(no_secret)?;
        if let Some(warning) = password.warning {
            tracing::warn!(vault = %name, "{warning}");
        }
        Vault::open(store, &password.secret, &OpenOptions { cache }, &self.env)
            .await
            .map_err(|source| OpenError::Vault { vault: name.clone(), source: Box::new(source) })
    }
}

/// How the store of a configured vault is reached.
pub fn store_options(config: &VaultConfig, shared: SharedKey) -> Result<StoreOptions, SecretError> {
    let credentials = match &config.credentials {
        CredentialsRef::Environment => Credentials::Environment,
        CredentialsRef::Profile(name) => Credentials::Profile(name.clone()),
        CredentialsRef::Keys { access_key, secret_key, session_token } => Credentials::Keys {
            access_key_id: secret::obtain_text(access_key, shared)?.to_string(),
            secret_access_key: secret::obtain_text(secret_key, shared)?,
            session_token: session_token.as_ref().map(|token| secret::obtain_text(token, shared)).transpose()?,
        },
    };
    Ok(StoreOptions {
        credentials,
        region: config.region.clone().filter(|_| !config.is_local()),
        endpoint: config.endpoint.clone(),
        path_style: config.path_style,
        ca_file: config.ca_file.clone(),
        proxy: config.proxy.clone(),
        upload_limit: config.limits.upload.map(|rate| rate.0),
        download_limit: config.limits.download.map(|rate| rate.0),
        patience: None,
    })
}
