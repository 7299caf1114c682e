//! One process's pen: turns drafts into signed, chained, durable records, and delivers them.
//!
//! A chain belongs to one process and one vault, so that a service and a command line on one host never fork one. A
//! record is in the spool, durably, before [`Recorder::write`] returns; delivery may come much later and from another
//! process.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::archive::{Archive, ArchiveError};
use super::canonical::CanonicalError;
use super::entry::{Draft, Link, Record, RunId, TimeKind};
use super::sign::{HostKey, HostKeyError, PublicKey};
use super::spool::{Spool, SpoolError};
use super::verify::Entry;
use crate::clock::Env;

/// A record cannot be written or delivered.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The host's key cannot be used.
    #[error(transparent)]
    Key(#[from] HostKeyError),
    /// The record has no canonical text.
    #[error("put record {id} into words")]
    Canonical {
        /// The run.
        id: RunId,
        /// Why.
        #[source]
        source: CanonicalError,
    },
    /// The spool failed.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The vault failed; the records stay in the spool.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// What a delivery did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delivery {
    /// Records that the vault now holds.
    pub delivered: usize,
    /// Records that it will never take, each with the reason; they stay in the spool.
    pub stuck: Vec<(RunId, String)>,
}

/// Writes this process's records.
#[derive(Debug)]
pub struct Recorder {
    env: Env,
    host: String,
    time: TimeKind,
    key: HostKey,
    spool: Spool,
    /// The next link of each vault's chain.
    chains: Mutex<HashMap<String, Link>>,
}

impl Recorder {
    /// A recorder with the key and the spool of a state folder.
    pub fn open(state: &Path, host: &str, time: TimeKind, env: Env) -> Result<Self, RecordError> {
        let key = HostKey::load_or_create(state, env.random.as_ref())?;
        Ok(Self { env, host: host.to_owned(), time, key, spool: Spool::at(state), chains: Mutex::default() })
    }

    /// A fresh id for a run that starts now.
    pub fn run_id(&self) -> RunId {
        RunId(self.env.ulid())
    }

    /// The host's name in records.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host's public key.
    pub fn public_key(&self) -> PublicKey {
        self.key.public()
    }

    /// Signs a record for a vault and keeps it durably. The entry is what the catalog takes.
    ///
    /// After a failure the vault's chain ends and the next record starts another: the one that failed may be on the disk
    /// after all, and two records must not claim one place.
    pub fn write(&self, vault: &str, draft: Draft) -> Result<Entry, RecordError> {
        let mut chains = self.chains.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Link { chain: self.run_id(), seq: 0, prev: None };
        let link = chains.get(vault).copied().unwrap_or_else(fresh);
        let record = Record::new(draft, &self.host, link, self.time);
        let id = record.id;
        let signed = self.key.sign(&record).map_err(|source| RecordError::Canonical { id, source })?;
        if let Err(error) = self.spool.keep(vault, id, &signed) {
            chains.remove(vault);
            return Err(error.into());
        }
        let digest = signed.digest();
        chains.insert(vault.to_owned(), Link { seq: link.seq + 1, prev: Some(digest), ..link });
        Ok(Entry { record, digest })
    }

    /// Delivers what waits for a vault, also what other processes of this host left, oldest first. Stops at the first
    /// failure of the store; what was delivered until then is.
    pub async fn deliver(&self, vault: &str, archive: &Archive) -> Result<Delivery, RecordError> {
        let mut delivery = Delivery::default();
        let waiting = self.spool.waiting(vault)?;
        if !waiting.is_empty() {
            archive.introduce(&self.host, &self.key.public()).await?;
        }
        for spooled in waiting {
            let signed = match spooled.content {
                Ok(signed) => signed,
                Err(why) => {
                    delivery.stuck.push((spooled.id, why));
                    continue;
                }
            };
            match archive.file(&signed).await {
                Ok(id) => {
                    self.spool.remove(vault, id)?;
                    delivery.delivered += 1;
                }
                Err(stuck @ (ArchiveError::Conflict(_) | ArchiveError::NoRecord(_))) => {
                    delivery.stuck.push((spooled.id, stuck.to_string()));
                }
                Err(failed @ (ArchiveError::Store(_) | ArchiveError::Seal(..))) => return Err(failed.into()),
            }
        }
        Ok(delivery)
    }

    /// How many records wait for each vault.
    pub fn waiting(&self) -> Result<Vec<(String, usize)>, RecordError> {
        Ok(self.spool.counts()?)
    }
}
