//! Carrying retention out: facts from the catalog, the decision, the removal.
//!
//! Facts are the vault's list of snapshots as the catalog last took it, with what records say of each. Whoever calls
//! lists the vault first. A plan's snapshots are decided on once in its own vault and once in each copy, by that place's
//! retention; in the plan's own vault, what a copy lacks is owed and stays.
//!
//! A crash in the middle of [`apply`] leaves some of what should go; the next run finds the rest.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;

use super::plan::{BlastLimit, Consent, Held, RetentionPlan, retention};
use crate::catalog::{Catalog, CatalogError, SnapshotRow};
use crate::config::{Config, CopyTo, PlanName, Tiers, VaultName};
use crate::prune::forget;
use crate::replication::plan::{Arrived, Origin, replication};
use crate::vault::{FileType, Id, Vault, chain};

/// How long a prune that is going on is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);

/// The snapshots of one plan in one vault.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The plan.
    pub plan: &'a PlanName,
    /// The vault.
    pub vault: &'a VaultName,
    /// What is kept there.
    pub tiers: &'a Tiers,
    /// Who copies from there, with what each of them keeps.
    copies: &'a [CopyTo],
    config: &'a Config,
}

/// Where a plan's snapshots lie: its own vault first, then its copies.
pub fn scopes<'a>(config: &'a Config, plan: &'a PlanName) -> Vec<Scope<'a>> {
    let Some(configured) = config.plans.get(plan) else { return Vec::new() };
    let scope = |vault: &'a VaultName, retention, copies| {
        Some(Scope { plan, vault, tiers: config.retention.get(retention)?, copies, config })
    };
    let own = scope(&configured.vault, &configured.retention, configured.copies.as_slice());
    let copies = configured.copies.iter().map(|copy| scope(&copy.vault, &copy.retention, &[]));
    std::iter::once(own).chain(copies).flatten().collect()
}

/// What is kept and dropped in one scope, and what that was decided from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The snapshots, oldest first.
    pub held: Vec<SnapshotRow>,
    /// Their fates.
    pub outcome: RetentionPlan,
}

/// What was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// These are gone.
    pub dropped: Vec<Id>,
    /// Why not all that should be.
    pub error: Option<String>,
}

/// Decides what the scope keeps.
pub fn decide(now: Timestamp, catalog: &Catalog, host: &str, scope: &Scope<'_>) -> Result<Decided, CatalogError> {
    let rows = |vault: &VaultName| catalog.snapshots(vault.as_str(), host, scope.plan.as_str());
    let rows_here = rows(scope.vault)?;
    let mut held: Vec<Held> = rows_here.iter().map(Held::from).collect();
    for copy in scope.copies {
        let Some(tiers) = scope.config.retention.get(&copy.retention) else { continue };
        let origins: Vec<Origin> = rows_here.iter().map(Origin::from).collect();
        let arrived: Vec<Arrived> = rows(&copy.vault)?.iter().map(Arrived::from).collect();
        let owed: HashSet<Id> = replication(now, &origins, &arrived, tiers.as_slice()).owed.into_iter().collect();
        for held in held.iter_mut().filter(|held| owed.contains(&held.id)) {
            held.owed_to.push(copy.vault.to_string());
        }
    }
    let outcome = retention(now, &held, scope.tiers.as_slice());
    Ok(Decided { held: rows_here, outcome })
}

/// Drops what was decided, under a shared lock. Refused as a whole when it is suspiciously much and nobody consented.
pub async fn apply(vault: &Vault, decided: &Decided, consent: Consent) -> Applied {
    let wanted: Vec<Id> = match decided.outcome.approved(BlastLimit::default(), consent) {
        Ok(drop) => drop.iter().map(|dropped| dropped.id).collect(),
        Err(guard) => return Applied { dropped: Vec::new(), error: Some(guard.to_string()) },
    };
    match forget::remove(vault, &wanted, LOCK_PATIENCE).await {
        Ok(()) => Applied { dropped: wanted, error: None },
        Err(error) => {
            // The record must say what is gone, not what should be.
            let left = vault.list(FileType::Snapshot).await;
            let left: HashSet<Id> = left
                .map_or_else(|_| wanted.iter().copied().collect(), |list| list.into_iter().map(|(id, _)| id).collect());
            let dropped = wanted.into_iter().filter(|id| !left.contains(id)).collect();
            Applied { dropped, error: Some(chain(&error)) }
        }
    }
}
