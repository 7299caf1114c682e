//! Decides which snapshots of a plan a copy lacks, in which order they go, and how far behind the copy is.
//!
//! A copy has retention of its own. What it would drop at once is not owed: otherwise each run would copy again what the
//! copy's retention removed. What is owed is exactly what the copy's retention keeps once everything has arrived.
//!
//! Newest first: the copy's recovery point improves with the first snapshot copied, and a copy that can never catch up
//! is still as fresh as its bandwidth allows. The older ones follow; until then [`Lag::complete_up_to`] says how far back
//! the copy is gapless.
//!
//! It moves nothing and does not verify what has arrived.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use crate::config::{Keep, Tier};
use crate::record::Completeness;
use crate::retention::{Held, retention};
use crate::vault::Id;

/// A snapshot of the plan in the vault that is copied from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its id there.
    pub id: Id,
    /// The id it was first given, when it is itself a copy.
    pub original: Option<Id>,
    /// The root of what it holds.
    pub tree: Id,
    /// The start of its run.
    pub time: Timestamp,
    /// The tiers it serves.
    pub tiers: Vec<Tier>,
    /// Whether all was read.
    pub completeness: Completeness,
}

/// A snapshot of the plan in the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// What the copy's retention knows of it.
    pub held: Held,
    /// The id it was first given.
    pub original: Option<Id>,
    /// The root of what it holds.
    pub tree: Id,
}

/// What a copy lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationPlan {
    /// To be copied, newest first.
    pub owed: Vec<Id>,
    /// Already there: the snapshot, and its id in the copy. Newest first.
    pub present: Vec<(Id, Id)>,
    /// Not copied because the copy's retention would drop them at once. Newest first.
    pub expired: Vec<Id>,
    /// How far behind the copy is.
    pub lag: Lag,
}

/// How far a copy is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// Time of the newest snapshot that the copy has; `None` when it has none.
    pub newest: Option<Timestamp>,
    /// The newest instant such that no snapshot at or before it is owed; `None` when even the oldest is owed, or when
    /// there is nothing to copy.
    pub complete_up_to: Option<Timestamp>,
    /// From the newest snapshot in the copy to the newest in the origin, zero when it has arrived. `None` when nothing
    /// has.
    pub behind: Option<SignedDuration>,
    /// How long ago the oldest snapshot that is owed was taken; `None` when nothing is owed. What `max_lag` limits.
    pub waiting: Option<SignedDuration>,
}

impl Lag {
    /// Whether something has been owed for longer than `max_lag`.
    pub fn exceeds(&self, max_lag: SignedDuration) -> bool {
        self.waiting.is_some_and(|waiting| waiting > max_lag)
    }
}

/// Decides for one plan and one copy. `tiers` is the retention of the copy.
pub fn replication(now: Timestamp, origins: &[Origin], arrived: &[Arrived], tiers: &[Keep]) -> ReplicationPlan {
    let mut newest_first: Vec<&Origin> = origins.iter().collect();
    newest_first.sort_unstable_by_key(|origin| Reverse((origin.time, origin.id)));

    let known = Known::of(arrived);
    let mut present = Vec::new();
    let mut missing = Vec::new();
    for origin in newest_first {
        match known.copy_of(origin) {
            Some(copy) => present.push((origin, copy)),
            None => missing.push(origin),
        }
    }
    let wanted = wanted(now, &missing, arrived, tiers);
    let (owed, expired): (Vec<_>, Vec<_>) = missing.into_iter().partition(|origin| wanted.contains(&origin.id));
    ReplicationPlan {
        lag: lag(now, &owed, &present),
        owed: owed.iter().map(|origin| origin.id).collect(),
        present: present.iter().map(|(origin, copy)| (origin.id, *copy)).collect(),
        expired: expired.iter().map(|origin| origin.id).collect(),
    }
}

/// The copy's snapshots by what identifies them across vaults.
struct Known {
    by_origin: BTreeMap<Id, Id>,
    by_content: BTreeMap<(Id, Timestamp), Id>,
}

impl Known {
    fn of(arrived: &[Arrived]) -> Self {
        let named = |copy: &Arrived| [Some(copy.held.id), copy.original].into_iter().flatten().collect::<Vec<_>>();
        let by_origin = arrived.iter().flat_map(|copy| named(copy).into_iter().map(|name| (name, copy.held.id)));
        let by_content = arrived.iter().map(|copy| ((copy.tree, copy.held.time), copy.held.id));
        Self { by_origin: by_origin.collect(), by_content: by_content.collect() }
    }

    /// By the id first given, else by content and time: other tools' copies may name no original.
    fn copy_of(&self, origin: &Origin) -> Option<Id> {
        let by_name = |name: &Id| self.by_origin.get(name).copied();
        let by_original = || origin.original.as_ref().and_then(by_name);
        let by_content = || self.by_content.get(&(origin.tree, origin.time)).copied();
        by_name(&origin.id).or_else(by_original).or_else(by_content)
    }
}

/// What the copy's retention would keep of `missing` if all of it arrived.
fn wanted(now: Timestamp, missing: &[&Origin], arrived: &[Arrived], tiers: &[Keep]) -> HashSet<Id> {
    let candidates = missing.iter().map(|origin| Held {
        id: origin.id,
        time: origin.time,
        tiers: origin.tiers.clone(),
        completeness: origin.completeness,
        verified: None,
        hold: None,
        owed_to: Vec::new(),
    });
    let all: Vec<Held> = arrived.iter().map(|copy| copy.held.clone()).chain(candidates).collect();
    retention(now, &all, tiers).keep.into_iter().map(|kept| kept.id).collect()
}

/// `owed` and `present` newest first.
fn lag(now: Timestamp, owed: &[&Origin], present: &[(&Origin, Id)]) -> Lag {
    let newest = present.first().map(|(origin, _)| origin.time);
    let newest_owed = owed.first().map(|origin| origin.time);
    let oldest_owed = owed.last().map(|origin| origin.time);
    let gapless =
        present.iter().map(|(origin, _)| origin.time).find(|&time| oldest_owed.is_none_or(|owed| time < owed));
    let behind = newest.map(|newest| newest_owed.map_or(SignedDuration::ZERO, |owed| owed.duration_since(newest)));
    Lag {
        newest,
        complete_up_to: gapless,
        behind: behind.map(|behind| behind.max(SignedDuration::ZERO)),
        waiting: oldest_owed.map(|owed| now.duration_since(owed).max(SignedDuration::ZERO)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Age;

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    fn id(vault: u8, n: u8) -> Id {
        let mut id = [vault; 32];
        id[0] = n;
        Id(id)
    }

    fn at(n: u8) -> Timestamp {
        Timestamp::from_second(1_780_000_000 + i64::from(n) * 3600).expect("in range")
    }

    fn origin(n: u8) -> Origin {
        let tiers = vec![Tier::Daily];
        let completeness = Completeness::Complete;
        Origin { id: id(1, n), original: None, tree: id(7, n), time: at(n), tiers, completeness }
    }

    fn copy_of(origin: &Origin) -> Arrived {
        let held = Held {
            id: id(2, origin.id.0[0]),
            time: origin.time,
            tiers: origin.tiers.clone(),
            completeness: origin.completeness,
            verified: None,
            hold: None,
            owed_to: Vec::new(),
        };
        Arrived { held, original: Some(origin.id), tree: origin.tree }
    }

    fn keep(seconds: u64, min: u32) -> [Keep; 1] {
        [Keep { tier: Tier::Daily, age: Age { months: 0, days: 0, seconds }, min }]
    }

    #[test]
    fn what_is_missing_goes_newest_first() {
        let origins = [origin(1), origin(3), origin(2), origin(4)];
        let plan = replication(at(5), &origins, &[copy_of(&origins[2])], &keep(1_000_000, 0));
        assert_eq!(plan.owed, [id(1, 4), id(1, 3), id(1, 1)]);
        assert_eq!(plan.present, [(id(1, 2), id(2, 2))]);
        assert!(plan.expired.is_empty());
    }

    #[test]
    fn the_lag_names_gaps_and_the_oldest_wait() {
        let origins: Vec<Origin> = (1..=5).map(origin).collect();
        let arrived = [copy_of(&origins[0]), copy_of(&origins[1]), copy_of(&origins[4])];
        let plan = replication(at(6), &origins, &arrived, &keep(1_000_000, 0));
        assert_eq!(plan.owed, [id(1, 4), id(1, 3)]);
        assert_eq!(plan.lag.newest, Some(at(5)));
        assert_eq!(plan.lag.complete_up_to, Some(at(2)));
        assert_eq!(plan.lag.behind, Some(SignedDuration::ZERO));
        assert_eq!(plan.lag.waiting, Some(HOUR * 3));
        assert!(plan.lag.exceeds(HOUR * 2) && !plan.lag.exceeds(HOUR * 3));
    }

    #[test]
    fn a_copy_that_lacks_the_newest_is_behind_and_an_empty_one_says_so() {
        let origins: Vec<Origin> = (1..=3).map(origin).collect();
        let plan = replication(at(4), &origins, &[copy_of(&origins[0])], &keep(1_000_000, 0));
        assert_eq!(plan.lag.behind, Some(HOUR * 2));
        let empty = replication(at(4), &origins, &[], &keep(1_000_000, 0));
        let nothing = Lag { newest: None, complete_up_to: None, behind: None, waiting: Some(HOUR * 3) };
        assert_eq!(empty.lag, nothing);
        let done = replication(at(4), &origins[..1], &[copy_of(&origins[0])], &keep(1_000_000, 0));
        assert_eq!((done.lag.waiting, done.lag.complete_up_to), (None, Some(at(1))));
    }

    #[test]
    fn what_the_copys_retention_dropped_is_not_copied_again() {
        let origins: Vec<Origin> = (1..=10).map(origin).collect();
        let policy = keep(3 * 3600, 2);
        let first = replication(at(10), &origins, &[], &policy);
        assert_eq!(first.owed, [id(1, 10), id(1, 9), id(1, 8)]);
        assert_eq!(first.expired.len(), 7);
        let arrived: Vec<Arrived> = origins[7..].iter().map(copy_of).collect();
        let later = at(11) + SignedDuration::from_mins(30);
        let kept: Vec<Arrived> = {
            let held: Vec<Held> = arrived.iter().map(|copy| copy.held.clone()).collect();
            let keep = retention(later, &held, &policy).keep;
            arrived.into_iter().filter(|copy| keep.iter().any(|k| k.id == copy.held.id)).collect()
        };
        assert_eq!(kept.len(), 2);
        assert_eq!(replication(later, &origins, &kept, &policy).owed, []);
    }

    #[test]
    fn a_copy_is_known_by_original_by_id_or_by_content() {
        let base = origin(1);
        let nameless = Arrived { original: None, ..copy_of(&base) };
        assert!(replication(at(2), std::slice::from_ref(&base), &[nameless], &keep(9999, 0)).owed.is_empty());

        let copied_onward = Origin { original: Some(id(9, 1)), ..base.clone() };
        let sibling = Arrived { original: Some(id(9, 1)), tree: id(8, 8), ..copy_of(&base) };
        assert!(replication(at(2), &[copied_onward], std::slice::from_ref(&sibling), &keep(9999, 0)).owed.is_empty());
        let unrelated = replication(at(2), &[base], &[sibling], &keep(9999, 0));
        assert_eq!(unrelated.owed, [id(1, 1)]);
    }
}
