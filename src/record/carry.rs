//! Taking all accounts of a vault over into another one.

use bytes::Bytes;
use serde::Serialize;

use super::archive::{Archive, ArchiveError, too_large};
use crate::store::{ObjectInfo, PutNew, StoreErrorKind};
use crate::vault::layout;

/// What was taken over.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Carried {
    /// Objects that the other vault has now and had not before.
    pub carried: u64,
    /// Objects that it had.
    pub present: u64,
    /// Objects that could not be taken over, each with the reason.
    pub left: Vec<(String, String)>,
}

impl Archive {
    /// Seals records, keys of hosts and evidence of drills anew, under the other vault's key and the same names. What is
    /// signed is what is sealed, to the last byte: signatures and chains hold there as they do here.
    ///
    /// What is damaged is listed and left behind. Doing it again carries what has come since.
    pub async fn carry_over(&self, into: &Self) -> Result<Carried, ArchiveError> {
        let mut outcome = Carried::default();
        // A record counts only where its host is known, so hosts go first.
        for folder in [layout::HOSTS, layout::RECORDS, layout::EVIDENCE] {
            for ObjectInfo { key, size, .. } in self.store.list(folder).await? {
                let plain = match too_large(size) {
                    Some(why) => Err(why),
                    None => self.plain(&key).await?,
                };
                match plain {
                    Ok(plain) => into.take_in(key, &plain, &mut outcome).await?,
                    Err(why) => outcome.left.push((key, why)),
                }
            }
        }
        Ok(outcome)
    }

    async fn take_in(&self, key: String, plain: &[u8], outcome: &mut Carried) -> Result<(), ArchiveError> {
        let sealed: Bytes = self.seal_bytes(&key, plain)?;
        match self.store.put_new(&key, sealed.clone()).await? {
            PutNew::Created => outcome.carried += 1,
            PutNew::Exists => match self.plain(&key).await? {
                Ok(there) if there == plain => outcome.present += 1,
                Ok(_) => outcome.left.push((key, "the other vault has another one of that name".to_owned())),
                Err(_) => {
                    // Damaged there, and whole here.
                    self.store.put(&key, sealed).await?;
                    outcome.carried += 1;
                }
            },
        }
        Ok(())
    }

    /// What an object opens to, or why it does not. A store that fails is an error.
    pub(super) async fn plain(&self, key: &str) -> Result<Result<Vec<u8>, String>, ArchiveError> {
        match self.store.get(key).await {
            Ok(sealed) => Ok(self.key.open(&sealed).map_err(|damaged| damaged.to_string())),
            Err(gone) if matches!(gone.kind, StoreErrorKind::NotFound | StoreErrorKind::Truncated) => {
                Ok(Err(gone.to_string()))
            }
            Err(failed) => Err(failed.into()),
        }
    }
}
