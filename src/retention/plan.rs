//! Decides which snapshots of one plan stay in one vault, each with the rule that says so.
//!
//! Ages decide, not counts: a tier keeps what is younger than its age, and at least its `min` newest complete snapshots
//! however old they are, so that backups that stopped do not drain a vault. The order in which snapshots are given does
//! not matter, and carrying a plan out leaves nothing more to drop.
//!
//! Never dropped, whatever the tiers say: the newest verified snapshot, the newest complete one, what is held, what a
//! copy still owes, what claims to be from the future, and what no rule speaks of. A partial snapshot counts for no
//! minimum and displaces nothing.
//!
//! It does not know what a snapshot costs, nor about locks of the store; it deletes nothing.

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use jiff::Timestamp;

use crate::config::{Keep, Tier};
use crate::record::Completeness;
use crate::units::Percent;
use crate::vault::Id;

/// A snapshot of the plan, as it lies in the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its id in this vault.
    pub id: Id,
    /// The start of its run.
    pub time: Timestamp,
    /// The tiers it serves.
    pub tiers: Vec<Tier>,
    /// Whether all was read.
    pub completeness: Completeness,
    /// When it was last read back whole, or drilled.
    pub verified: Option<Timestamp>,
    /// The hold an operator put on it.
    pub hold: Option<String>,
    /// Vaults that should have a copy of it and do not yet.
    pub owed_to: Vec<String>,
}

/// Why a snapshot stays.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(tag = "rule", content = "of", rename_all = "kebab-case")]
pub enum Reason {
    /// Younger than the tier's age.
    Within(Tier),
    /// Among the newest complete ones of the tier.
    Minimum(Tier),
    /// The newest verified snapshot.
    LastVerified,
    /// The newest complete snapshot.
    NewestComplete,
    /// The newest snapshot of a plan that has no complete one.
    NothingBetter,
    /// On hold.
    Held(String),
    /// This vault has no copy of it yet.
    OwedTo(String),
    /// Its time lies ahead of the clock; it counts for nothing else until that is cleared up.
    FromTheFuture,
    /// It serves a tier that this retention does not name.
    NoRuleFor(Tier),
    /// It carries the plan's name and no tier.
    NoTier,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Within(tier) => write!(f, "within {tier}"),
            Reason::Minimum(tier) => write!(f, "minimum of {tier}"),
            Reason::LastVerified => f.write_str("last verified"),
            Reason::NewestComplete => f.write_str("newest complete"),
            Reason::NothingBetter => f.write_str("newest, and none is complete"),
            Reason::Held(hold) => write!(f, "held: {hold}"),
            Reason::OwedTo(vault) => write!(f, "not yet copied to {vault}"),
            Reason::FromTheFuture => f.write_str("from the future: check the clocks"),
            Reason::NoRuleFor(tier) => write!(f, "no rule for {tier}"),
            Reason::NoTier => f.write_str("no tier"),
        }
    }
}

/// A snapshot that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The snapshot.
    pub id: Id,
    /// Its time.
    pub time: Timestamp,
    /// Every rule that keeps it, at least one, ascending.
    pub reasons: Vec<Reason>,
}

/// A snapshot that goes: each of its tiers has expired and no other rule keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The snapshot.
    pub id: Id,
    /// Its time.
    pub time: Timestamp,
    /// The tiers that kept it until now, ascending, with the instant before which each drops.
    pub expired: Vec<(Tier, Timestamp)>,
}

/// When a single run drops suspiciously much: above `share` percent of what is held, and more than `floor` snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlastLimit {
    /// Percent of the snapshots held.
    pub share: Percent,
    /// So many may always go.
    pub floor: usize,
}

const HALF: Percent = Percent::new(50).expect("50 is at most 100");

impl Default for BlastLimit {
    fn default() -> Self {
        Self { share: HALF, floor: 10 }
    }
}

/// Whether an operator has seen the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// The service's own runs.
    None,
    /// Given for this very plan.
    Given,
}

/// One run would drop more than the blast limit allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "apply retention: it would drop {dropping} of {held} snapshots, more than {}% at once needs an operator's consent",
    limit.share.get()
)]
pub struct BlastGuard {
    /// Snapshots that would go.
    pub dropping: usize,
    /// Snapshots held.
    pub held: usize,
    /// The limit.
    pub limit: BlastLimit,
}

/// What stays and what goes. Both ascending by time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetentionPlan {
    /// What stays.
    pub keep: Vec<Kept>,
    /// What goes, to be shown. To carry it out, ask [`RetentionPlan::approved`].
    pub drop: Vec<Dropped>,
}

impl RetentionPlan {
    /// What may be dropped now: refused when it is more than `limit` allows and nobody consented.
    pub fn approved(&self, limit: BlastLimit, consent: Consent) -> Result<&[Dropped], BlastGuard> {
        let (dropping, held) = (self.drop.len(), self.keep.len() + self.drop.len());
        let above = dropping > limit.floor && dropping * 100 > held * usize::from(limit.share.get());
        match consent {
            Consent::None if above => Err(BlastGuard { dropping, held, limit }),
            Consent::None | Consent::Given => Ok(&self.drop),
        }
    }
}

/// Decides for all snapshots of one plan.
pub fn retention(now: Timestamp, held: &[Held], tiers: &[Keep]) -> RetentionPlan {
    let mut sorted: Vec<&Held> = held.iter().collect();
    sorted.sort_unstable_by_key(|snapshot| (snapshot.time, snapshot.id));
    let protected = Protected::among(now, &sorted, tiers);
    let mut plan = RetentionPlan::default();
    for snapshot in sorted {
        let reasons = reasons(now, snapshot, tiers, &protected);
        let (id, time) = (snapshot.id, snapshot.time);
        if reasons.is_empty() {
            let served = tiers.iter().filter(|keep| snapshot.tiers.contains(&keep.tier));
            let mut expired: Vec<_> = served.map(|keep| (keep.tier, keep.age.before(now))).collect();
            expired.sort_unstable();
            plan.drop.push(Dropped { id, time, expired });
        } else {
            plan.keep.push(Kept { id, time, reasons: reasons.into_iter().collect() });
        }
    }
    plan
}

/// What is kept by its place among the others.
#[derive(Default)]
struct Protected {
    last_verified: Option<Id>,
    newest_complete: Option<Id>,
    nothing_better: Option<Id>,
    minimum: HashSet<(Tier, Id)>,
}

impl Protected {
    /// `sorted` ascending by time.
    fn among(now: Timestamp, sorted: &[&Held], tiers: &[Keep]) -> Self {
        let newest_first = || sorted.iter().rev().filter(|snapshot| snapshot.time <= now);
        let complete = || newest_first().filter(|snapshot| snapshot.completeness == Completeness::Complete);
        let newest_complete = complete().next().map(|snapshot| snapshot.id);
        let verified =
            complete().find(|s| s.verified.is_some()).or_else(|| newest_first().find(|s| s.verified.is_some()));
        let mut minimum = HashSet::new();
        for keep in tiers {
            let least = usize::try_from(keep.min).unwrap_or(usize::MAX);
            let served = complete().filter(|snapshot| snapshot.tiers.contains(&keep.tier));
            minimum.extend(served.take(least).map(|snapshot| (keep.tier, snapshot.id)));
        }
        let nothing_better = if newest_complete.is_none() { newest_first().next().map(|s| s.id) } else { None };
        Self { last_verified: verified.map(|snapshot| snapshot.id), newest_complete, nothing_better, minimum }
    }
}

/// Every rule that keeps the snapshot.
fn reasons(now: Timestamp, snapshot: &Held, tiers: &[Keep], protected: &Protected) -> BTreeSet<Reason> {
    let mut reasons = BTreeSet::new();
    for &tier in &snapshot.tiers {
        match tiers.iter().find(|keep| keep.tier == tier) {
            None => {
                reasons.insert(Reason::NoRuleFor(tier));
            }
            Some(keep) => {
                if snapshot.time > keep.age.before(now) && snapshot.time <= now {
                    reasons.insert(Reason::Within(tier));
                }
                if protected.minimum.contains(&(tier, snapshot.id)) {
                    reasons.insert(Reason::Minimum(tier));
                }
            }
        }
    }
    let id = Some(snapshot.id);
    let rules = [
        (snapshot.tiers.is_empty(), Reason::NoTier),
        (protected.last_verified == id, Reason::LastVerified),
        (protected.newest_complete == id, Reason::NewestComplete),
        (protected.nothing_better == id, Reason::NothingBetter),
        (snapshot.time > now, Reason::FromTheFuture),
    ];
    reasons.extend(rules.into_iter().filter(|(holds, _)| *holds).map(|(_, reason)| reason));
    reasons.extend(snapshot.hold.clone().map(Reason::Held));
    reasons.extend(snapshot.owed_to.iter().cloned().map(Reason::OwedTo));
    reasons
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
