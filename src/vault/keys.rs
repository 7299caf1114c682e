//! The key files of a vault: which there are, and how they come and go.
//!
//! All of them seal the same master key, so adding or removing one re-encrypts nothing; and whoever once held the master
//! key keeps it. Invariant: the key file that the vault was opened with is removed only after another was proven to open.

use std::sync::Arc;

use super::crypto::MasterKey;
use super::error::VaultError;
use super::handle::Vault;
use super::id::Id;
use super::key::{KdfCost, KeyError, KeyFile, Secret};
use super::layout::{self, FileType};
use super::opening::off_thread;
use crate::clock::Env;
use crate::store::Store;

/// A key file, without what is sealed in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its name.
    pub id: Id,
    /// When, by whom and where it was made.
    pub file: KeyFile,
    /// Whether the vault was opened with it.
    pub current: bool,
}

impl Vault {
    /// The key files that can be read, by id.
    pub async fn keys(&self) -> Result<Vec<KeyInfo>, VaultError> {
        let mut keys = Vec::new();
        for (id, _) in self.list(FileType::Key).await? {
            match self.key_file(&id).await {
                Ok(file) => keys.push(KeyInfo { id, file, current: id == self.key_id() }),
                Err(error @ VaultError::Damaged { .. }) => tracing::warn!(key = %id, %error, "key file passed over"),
                Err(error) => return Err(error),
            }
        }
        Ok(keys)
    }

    /// The key files that cannot be read, and why, by id.
    pub async fn damaged_keys(&self) -> Result<Vec<(Id, VaultError)>, VaultError> {
        let mut damaged = Vec::new();
        for (id, _) in self.list(FileType::Key).await? {
            match self.key_file(&id).await {
                Ok(_) => {}
                Err(error @ VaultError::Damaged { .. }) => damaged.push((id, error)),
                Err(error) => return Err(error),
            }
        }
        Ok(damaged)
    }

    /// Adds a way to open the vault and returns its id.
    pub async fn add_key(&self, password: &Secret, cost: KdfCost) -> Result<Id, VaultError> {
        self.writable()?;
        put_key(self.store(), self.key().clone(), password, cost, self.env()).await
    }

    /// Removes a way to open the vault: not the one in use, and not the last.
    pub async fn remove_key(&self, id: &Id) -> Result<(), VaultError> {
        if *id == self.key_id() {
            return Err(VaultError::KeyInUse(*id));
        }
        let keys = self.list(FileType::Key).await?;
        if !keys.iter().any(|(key, _)| key == id) {
            return Err(VaultError::NoSuchKey(*id));
        }
        if keys.len() < 2 {
            return Err(VaultError::LastKey(*id));
        }
        self.remove(FileType::Key, id).await
    }

    /// Replaces the key file in use by one with another password. Other key files keep working.
    ///
    /// The new one is read back and opened before the old one goes; a crash in between leaves both.
    pub async fn change_password(&self, password: &Secret, cost: KdfCost) -> Result<Id, VaultError> {
        let old = self.key_id();
        let new = self.add_key(password, cost).await?;
        let (file, secret) = (self.key_file(&new).await?, password.clone());
        off_thread(move || file.open(&secret)).await.map_err(|error| VaultError::damaged(layout::key(&new), error))?;
        self.set_key_id(new);
        self.remove(FileType::Key, &old).await?;
        Ok(new)
    }

    /// Whether this password opens any of the key files. Ones that cannot be read open nothing.
    pub async fn is_opened_by(&self, password: &Secret) -> Result<bool, VaultError> {
        for KeyInfo { file, .. } in self.keys().await? {
            let secret = password.clone();
            if off_thread(move || file.open(&secret)).await.is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn key_file(&self, id: &Id) -> Result<KeyFile, VaultError> {
        let json = self.load(FileType::Key, id).await?;
        KeyFile::parse(&json).map_err(|error| VaultError::damaged(layout::key(id), error))
    }
}

/// Seals the master key with a password and stores the key file.
pub(super) async fn put_key(
    store: &Store,
    master: Arc<MasterKey>,
    password: &Secret,
    cost: KdfCost,
    env: &Env,
) -> Result<Id, VaultError> {
    let (password, env) = (password.clone(), env.clone());
    let json = off_thread(move || KeyFile::seal(&master, &password, cost, &env)?.to_json());
    let json = json.await.map_err(|error: KeyError| VaultError::MakeKey(error))?;
    let id = Id::of(&json);
    store.put(&layout::key(&id), json.into()).await?;
    Ok(id)
}
