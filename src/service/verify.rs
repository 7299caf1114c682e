//! Verification: reads back every blob of a vault, and records which snapshots that proves.
//!
//! *Verified* is said of a snapshot that was there before the check began and that no damage hits. What is read comes from
//! the store, never from a local copy. A proof is as old as the check's start.
//!
//! It proves that what was written can be read; whether it is what the source held, a drill proves.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::SignedDuration;
use serde::Serialize;

use super::error::ServiceError;
use super::host::{Service, archive};
use super::steps::{Done, Step};
use crate::check::{self, CheckError, Lock, Object, ReadData, Report};
use crate::config::VaultName;
use crate::monitor::{Cancel, Monitor, Problem};
use crate::record::{Completeness, Work};
use crate::units::Span;
use crate::vault::{Id, Vault, chain};

/// A verification starts when this share of the allowed age has passed, in percent: what is allowed must not be exceeded
/// while it runs.
const EARLY: i32 = 75;

/// What a verification found.
#[derive(Debug)]
pub struct Found {
    /// Snapshots whose every blob was read back, oldest first.
    pub whole: Vec<Id>,
    /// Damaged objects.
    pub damaged: usize,
    /// Each of them.
    pub problems: Vec<Problem>,
    /// Bytes of packs that were read.
    pub bytes_read: u64,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// Which snapshots a check of all data proves. `before` are those that were there when it began.
pub fn proven(before: &[Id], report: &Report) -> Found {
    let mut hit: HashSet<Id> = report.damage.iter().flat_map(|damage| damage.snapshots.iter().copied()).collect();
    hit.extend(report.damage.iter().filter(|damage| damage.object == Object::Snapshot).map(|damage| damage.id));
    let problem = |damage: &check::Damage| {
        let object = format!("{:?} {}", damage.object, damage.id.short()).to_lowercase();
        let hits = damage.snapshots.len();
        Problem { what: object, why: format!("{} (hits {} files in {hits} snapshots)", damage.why, damage.files_count) }
    };
    Found {
        whole: before.iter().copied().filter(|id| !hit.contains(id)).collect(),
        damaged: report.damage.len(),
        problems: report.damage.iter().map(problem).collect(),
        bytes_read: report.bytes_read,
        millis: report.millis,
    }
}

impl Found {
    /// Takes in what is wrong with the records: no snapshot is less whole for it.
    pub fn with(mut self, records: &Records) -> Self {
        let problem = |flaw: &String| Problem { what: "record".to_owned(), why: flaw.clone() };
        self.damaged += records.flaws.len();
        self.problems.extend(records.flaws.iter().map(problem));
        self
    }
}

/// The records of finished runs in a vault, and the evidence of its drills.
#[derive(Debug, Serialize)]
pub struct Records {
    /// Those that count.
    pub count: usize,
    /// What is wrong with others, or missing between them.
    pub flaws: Vec<String>,
    /// Snapshots that no record vouches for, when there are flaws: theirs may be among the damaged.
    pub unsigned: Vec<Id>,
}

/// Looks at every record of a vault and at the evidence that they name.
pub async fn records(vault: &Vault) -> Result<Records, ServiceError> {
    let archive = archive(vault);
    let audit = archive.audit().await?;
    let evidence = archive.audit_evidence(&audit).await?;
    let mut unsigned = Vec::new();
    if let Some(vouched) = audit.vouched().filter(|_| !audit.flaws.is_empty()) {
        let snapshots = vault.snapshots().await?.whole;
        unsigned.extend(snapshots.iter().map(|file| file.id).filter(|id| !vouched.contains(id)));
    }
    let flaws = audit.flaws.iter().chain(&evidence).map(ToString::to_string).collect();
    Ok(Records { count: audit.entries.len(), flaws, unsigned })
}

/// Reads back every blob of a vault.
pub async fn read_back(
    vault: &Vault,
    lock: Lock,
    monitor: Arc<dyn Monitor>,
    cancel: Cancel,
) -> Result<(Found, Report), CheckError> {
    let before: Vec<Id> = vault.snapshots().await?.whole.iter().map(|file| file.id).collect();
    let options = check::Options { read_data: ReadData::All, lock };
    let report = check::run(vault, options, monitor, cancel).await?;
    Ok((proven(&before, &report), report))
}

impl Service {
    pub(super) async fn verify_all(&self, steps: &mut Vec<Step>) {
        for name in self.config.vaults.keys() {
            if self.cancel.is_cancelled() {
                return;
            }
            match self.verify_is_due(name) {
                Ok(true) => self.step("verify", None, name, steps, self.verify(name)).await,
                Ok(false) => {}
                Err(error) => tracing::error!(vault = %name, error = chain(&error), "verification cannot be decided"),
            }
        }
    }

    /// Whether the newest proof of some plan in this vault is nearly as old as the plan allows. A plan whose snapshots were
    /// never read back is due at once; one without snapshots never.
    fn verify_is_due(&self, vault: &VaultName) -> Result<bool, ServiceError> {
        let now = self.env.clock.now();
        for (name, plan) in &self.config.plans {
            let holds = plan.vault == *vault || plan.copies.iter().any(|copy| copy.vault == *vault);
            let Some(allowed) = plan.verify.read.filter(|_| holds) else { continue };
            let rows = self.catalog.snapshots(vault.as_str(), self.host(), name.as_str())?;
            let any = rows.iter().any(|row| row.completeness == Completeness::Complete);
            let newest = rows.iter().filter_map(|row| row.read).max();
            if any && newest.is_none_or(|read| now.duration_since(read) >= early(allowed)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn verify(&self, name: &VaultName) -> Result<Option<Done>, ServiceError> {
        let vault = self.vaults.open_uncached(name).await?;
        let lock = Lock::Shared { retry: std::time::Duration::ZERO };
        let read = Box::pin(read_back(&vault, lock, self.monitor.clone(), self.cancel.clone())).await;
        match read {
            Ok((found, _)) => Ok(Some(Done::of_verify(found.with(&records(&vault).await?), name))),
            Err(CheckError::Cancelled) => Ok(None),
            Err(error) => {
                let work = Work::Verify { snapshots: Vec::new() };
                Ok(Some(Done::failed(work, format!("vault {name}"), chain(&error))))
            }
        }
    }
}

fn early(allowed: Span) -> SignedDuration {
    allowed.signed() / 100 * EARLY
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Damage;

    #[test]
    fn only_what_no_damage_hits_is_proven() {
        let id = |n| Id([n; 32]);
        let damage = |object, n, snapshots: &[u8]| Damage {
            object,
            id: id(n),
            why: "broken".into(),
            files: Vec::new(),
            files_count: 0,
            snapshots: snapshots.iter().map(|n| id(*n)).collect(),
        };
        let report = Report {
            damage: vec![damage(Object::Pack, 9, &[2]), damage(Object::Snapshot, 3, &[])],
            orphan_packs: 0,
            snapshots: 4,
            trees: 0,
            packs: 1,
            packs_read: 1,
            bytes_read: 7,
            millis: 1,
        };
        let found = proven(&[id(1), id(2), id(3), id(4)], &report);
        assert_eq!(found.whole, [id(1), id(4)]);
        assert_eq!((found.damaged, found.problems.len(), found.bytes_read), (2, 2, 7));
        assert!(found.problems[0].what.starts_with("pack "), "{:?}", found.problems);
    }

    #[test]
    fn a_proof_is_renewed_before_it_is_too_old() {
        assert_eq!(early(Span::from_hours(4)), SignedDuration::from_hours(3));
    }
}
