//! Records in a vault: `drctl/records/YYYY/MM/<run>`, sealed with the vault's key; and the public keys of the hosts that
//! sign them: `drctl/hosts/<host>/<fingerprint>`.
//!
//! Records are created and never changed or removed. Writing one again is harmless: what is there is compared, so a
//! crash between delivery and the removal from the spool is repaired by delivering again.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::entry::{Record, RunId, Work};
use super::sign::{PublicKey, Signed};
use super::verify::{Audit, Entry, Flaw, Found, KnownKeys, verify};
use crate::clock::Env;
use crate::store::{ObjectInfo, PutNew, Store, StoreError};
use crate::vault::crypto::{CryptoError, MasterKey};
use crate::vault::{Id, layout};

/// Larger objects under `drctl/records/` are not fetched: no record is that large.
const MAX_RECORD: u64 = 8 << 20;
/// Records fetched at once.
const AT_ONCE: usize = 16;

/// A vault's records cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store failed.
    #[error("reach the records of the vault")]
    Store(#[from] StoreError),
    /// Sealing failed.
    #[error("seal {0}")]
    Seal(String, #[source] CryptoError),
    /// A signed record that is none.
    #[error("file a record whose text is not one")]
    NoRecord(#[source] serde_json::Error),
    /// Another record lies under the id.
    #[error("file record {0}: the vault holds another one under that name, which is forged or of a broken clock")]
    Conflict(RunId),
}

/// The records of one vault.
#[derive(Debug, Clone)]
pub struct Archive {
    pub(super) store: Store,
    pub(super) key: Arc<MasterKey>,
    pub(super) env: Env,
}

/// A host's public key, as stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HostFile {
    host: String,
    key: String,
    since: Timestamp,
}

/// Where a record belongs: by the time in its id, so that the id alone names it.
pub(super) fn place(id: RunId) -> String {
    layout::record(&id.0)
}

/// Why an object is not fetched, if it is not.
pub(super) fn too_large(size: u64) -> Option<String> {
    (size > MAX_RECORD).then(|| format!("it has {size} bytes, more than any record"))
}

impl Archive {
    /// The records in `store`, sealed with the vault's `key`.
    pub fn new(store: Store, key: Arc<MasterKey>, env: Env) -> Self {
        Self { store, key, env }
    }

    /// Files a signed record. When it is there already, nothing happens.
    pub async fn file(&self, signed: &Signed) -> Result<RunId, ArchiveError> {
        let record: Record = serde_json::from_str(&signed.record).map_err(ArchiveError::NoRecord)?;
        let key = place(record.id);
        let sealed = self.seal(&key, signed)?;
        match self.store.put_new(&key, sealed).await? {
            PutNew::Created => Ok(record.id),
            PutNew::Exists => match self.fetch::<Signed>(&key).await? {
                Ok(there) if there == *signed => Ok(record.id),
                Ok(_) | Err(_) => Err(ArchiveError::Conflict(record.id)),
            },
        }
    }

    /// Makes a host's public key known to the vault. Once is enough; again is harmless, and mends what was damaged.
    pub async fn introduce(&self, host: &str, key: &PublicKey) -> Result<(), ArchiveError> {
        let place = layout::host_key(host, &key.fingerprint());
        let file = HostFile { host: host.to_owned(), key: key.hex(), since: self.env.clock.now() };
        let sealed = self.seal(&place, &file)?;
        match self.store.size(&place).await? {
            None => drop(self.store.put_new(&place, sealed).await?),
            // It vouches for nothing as it is, and only the host itself gets here.
            Some(size) if too_large(size).is_some() || self.host_key(&place).await?.is_err() => {
                self.store.put(&place, sealed).await?;
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Files the evidence of a drill, whose digest its record has. When it is there already, nothing happens.
    pub async fn file_evidence(&self, id: RunId, text: &str) -> Result<(), ArchiveError> {
        let key = layout::evidence(&id.0);
        self.store.put_new(&key, self.seal(&key, &text)?).await?;
        Ok(())
    }

    /// The evidence of a drill; `None` when the vault has none, or none that can be opened. It is to be compared with the
    /// digest in the drill's record.
    pub async fn evidence(&self, id: RunId) -> Result<Option<String>, ArchiveError> {
        Ok(self.fetch(&layout::evidence(&id.0)).await?.ok())
    }

    /// What is wrong with the evidence of drills: it must be what the drills' records in the audit say. Evidence that is
    /// not there is none: a host keeps it while its vault cannot be reached.
    pub async fn audit_evidence(&self, audit: &Audit) -> Result<Vec<Flaw>, ArchiveError> {
        let drilled = |entry: &Entry| match &entry.record.work {
            Work::Drill(outcome) => Some((layout::evidence(&entry.record.id.0), outcome.evidence?)),
            _ => None,
        };
        let digests: HashMap<String, Id> = audit.entries.iter().filter_map(drilled).collect();
        let mut flaws = Vec::new();
        for ObjectInfo { key, size, .. } in self.store.list(layout::EVIDENCE).await? {
            let text = match too_large(size) {
                Some(why) => Err(why),
                None => self.fetch::<String>(&key).await?,
            };
            let changed = |text: &String| digests.get(&key).is_some_and(|digest| Id::of(text.as_bytes()) != *digest);
            match text {
                Err(why) => flaws.push(Flaw::Unreadable { key, why }),
                Ok(text) if changed(&text) => {
                    flaws.push(Flaw::Unreadable { key, why: "it is not what the drill's record has".to_owned() });
                }
                Ok(_) => {}
            }
        }
        Ok(flaws)
    }

    /// Fetches and checks all records.
    pub async fn audit(&self) -> Result<Audit, ArchiveError> {
        let (known, unusable) = self.known_keys().await?;
        let listed = self.store.list(layout::RECORDS).await?;
        let mut found = Vec::with_capacity(listed.len());
        let mut fetches = futures::stream::iter(listed.into_iter().map(|object| async move {
            let content = match too_large(object.size) {
                Some(why) => Err(why),
                None => self.fetch(&object.key).await?,
            };
            Ok::<_, ArchiveError>(Found { key: object.key, content })
        }))
        .buffer_unordered(AT_ONCE);
        while let Some(fetched) = fetches.next().await {
            found.push(fetched?);
        }
        drop(fetches);
        let mut audit = verify(found, &known, place);
        audit.flaws.extend(unusable);
        Ok(audit)
    }

    /// The keys of hosts, and those objects that hold none and so vouch for nothing.
    async fn known_keys(&self) -> Result<(KnownKeys, Vec<Flaw>), ArchiveError> {
        let (mut known, mut unusable) = (KnownKeys::default(), Vec::new());
        for object in self.store.list(layout::HOSTS).await? {
            let found = match too_large(object.size) {
                Some(why) => Err(why),
                None => self.host_key(&object.key).await?,
            };
            match found {
                Ok((host, key)) => known.add(&host, key),
                Err(why) => unusable.push(Flaw::Unreadable { key: object.key, why }),
            }
        }
        Ok((known, unusable))
    }

    /// The host and the key at `place`, or why there is none.
    async fn host_key(&self, place: &str) -> Result<Result<(String, PublicKey), String>, ArchiveError> {
        let file = match self.fetch::<HostFile>(place).await? {
            Ok(file) => file,
            Err(why) => return Ok(Err(why)),
        };
        let key = PublicKey::parse(&file.key).filter(|key| layout::host_key(&file.host, &key.fingerprint()) == place);
        Ok(key.map(|key| (file.host, key)).ok_or_else(|| "it holds the key of another host, or none".to_owned()))
    }

    fn seal<T: Serialize>(&self, key: &str, value: &T) -> Result<Bytes, ArchiveError> {
        // Structs of strings: there is nothing in them that JSON cannot say.
        let plain = serde_json::to_vec(value).map_err(ArchiveError::NoRecord)?;
        self.seal_bytes(key, &plain)
    }

    pub(super) fn seal_bytes(&self, key: &str, plain: &[u8]) -> Result<Bytes, ArchiveError> {
        let mut sealed = Vec::with_capacity(plain.len() + crate::vault::crypto::OVERHEAD);
        let seal = self.key.seal_into(self.env.random_bytes(), plain, &mut sealed);
        seal.map_err(|source| ArchiveError::Seal(key.to_owned(), source))?;
        Ok(sealed.into())
    }

    /// The object's content, or why it is damaged. A store that fails is an error, not damage.
    async fn fetch<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<Result<T, String>, ArchiveError> {
        let plain = self.plain(key).await?;
        Ok(plain.and_then(|plain| serde_json::from_slice(&plain).map_err(|e| e.to_string())))
    }
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
