//! A vault under a new master key, beside the old one.
//!
//! Whoever once held a master key keeps it: taking a key file away does not lock them out. So everything is sealed anew,
//! into another vault that cuts files alike: blobs keep their ids, and later backups go on as if nothing had happened. It
//! is a copy (see [`super::run`]), and then the accounts of what was done, whose signatures stay what they are. The old
//! vault is only read. What was cut off goes on where it stopped.

use std::sync::Arc;
use std::time::Duration;

use super::{Mode, Options, Outcome, ReplicateError, Select, Verify};
use crate::check::{self, CheckError, ReadData};
use crate::monitor::{Cancel, Monitor};
use crate::record::Archive;
use crate::record::archive::ArchiveError;
use crate::record::carry::Carried;
use crate::vault::{Id, Vault};

/// Why a vault could not be sealed anew. What arrived stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RotateError {
    /// The other vault was not made to be this one under a new key.
    #[error("seal the vault anew into {url}: the vault there cuts files otherwise, so it was made for something else")]
    OtherVault {
        /// The address.
        url: String,
    },
    /// Copying failed.
    #[error(transparent)]
    Replicate(#[from] ReplicateError),
    /// Records could not be read or written.
    #[error("take over the records")]
    Records(#[from] ArchiveError),
    /// The new vault could not be checked.
    #[error("check the new vault")]
    Check(#[from] CheckError),
}

/// What a rotation did.
#[derive(Debug)]
pub struct Rotated {
    /// The copy.
    pub copy: Outcome,
    /// The records.
    pub records: Carried,
    /// What a look at the structure of the new vault found. That every byte arrived was proven pack by pack.
    pub report: check::Report,
}

impl Rotated {
    /// Whether the new vault has all that the old one has.
    pub fn is_complete(&self) -> bool {
        self.copy.problems.is_empty() && self.records.left.is_empty() && self.report.damage.is_empty()
    }

    /// Every snapshot that is in both, by its ids in the old and in the new one.
    pub fn pairs(&self) -> impl Iterator<Item = (Id, Id)> {
        let new = self.copy.copied.iter().map(|copied| (copied.origin, copied.copy));
        self.copy.plan.present.iter().copied().chain(new)
    }
}

/// Seals all of `old` anew into `new`, which has a master key of its own and cuts files alike.
pub async fn rotate(
    old: &Vault,
    new: &Vault,
    retry_lock: Duration,
    monitor: Arc<dyn Monitor>,
    cancel: Cancel,
) -> Result<Rotated, RotateError> {
    if old.id() != new.id() && old.chunker() != new.chunker() {
        return Err(RotateError::OtherVault { url: new.store().url().to_owned() });
    }
    let options = Options { select: Select::All, mode: Mode::Write, verify: Verify::ReadBack, retry_lock };
    let copy = Box::pin(super::run(old, new, options, monitor.clone(), cancel.clone())).await?;
    monitor.stage("records");
    let archive = |vault: &Vault| Archive::new(vault.store().clone(), vault.key().clone(), vault.env().clone());
    let records = archive(old).carry_over(&archive(new)).await?;
    let options = check::Options { read_data: ReadData::None, lock: check::Lock::Shared { retry: retry_lock } };
    let report = Box::pin(check::run(new, options, monitor, cancel)).await?;
    Ok(Rotated { copy, records, report })
}
