//! Decides which packs stay, which are rewritten and which go.
//!
//! Two forms. In the exclusive one the caller holds the vault's exclusive lock from before it listed anything until the
//! plan has been carried out, so that the facts given here stay true. In the other one others work [`Beside`]: what goes is
//! condemned first, and deleted by a later prune. Every pack gets exactly one decision with its reason.
//!
//! Invariant: for every used blob, the packs that are kept and the blobs that are repacked hold exactly one copy that
//! counts. A vault in which a used blob cannot be found whole is never pruned: the plan is refused and names what is
//! missing, since deleting around damage can take away what a repair would need.
//!
//! It reads no pack and no clock. It goes through the index once. What it holds grows with the packs of the vault
//! and with the needed blobs that have several places, not with its blobs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::decision::{
    Beside, DamagedPack, DeleteReason, Deleted, Figures, IndexChange, KeepReason, Kept, Limits, NAMED, PrunePlan,
    Refusal, Repacked,
};
use crate::units::ByteSize;

use crate::vault::{BlobKey, Id, Index, Located};

/// Bytes that end every pack's header: IV, MAC, and its length as a 32-bit number.
const HEADER_OVERHEAD: u64 = 36;
/// A header's entry for a blob stored as it is, and for one that was compressed.
const ENTRY: u64 = 37;
const ENTRY_COMPRESSED: u64 = 41;

/// The index, as prune walks it. Walked more than once, so that no copy of it has to be held.
pub trait Entries {
    /// Shows every blob once: all its places, an entry that several index files repeat only once, and its position, which
    /// is the place of its mark.
    fn for_each_blob(&self, see: impl FnMut(BlobKey, &[Located], Option<u64>));
}

/// What snapshots reach.
pub trait Needed {
    /// Whether any snapshot needs this blob, which is in the index at this position.
    fn needs(&self, key: &BlobKey, position: Option<u64>) -> bool;
    /// The blobs that snapshots need and no index names.
    fn unindexed(&self) -> Vec<BlobKey>;
}

impl Entries for Index {
    fn for_each_blob(&self, see: impl FnMut(BlobKey, &[Located], Option<u64>)) {
        self.for_each_blob(see);
    }
}

/// What is learned of one pack.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    /// The size that follows from the index.
    implied: u64,
    /// Bytes of needed blobs that no other usable pack holds.
    sole: u64,
    /// Bytes of all needed blobs in it.
    needed: u64,
    /// Bytes of needed blobs that count here.
    used: u64,
    /// Bytes of needed blobs that count elsewhere.
    duplicate: u64,
    /// Bytes that nothing needs.
    unused: u64,
    /// How many needed blobs count here.
    used_blobs: u64,
    /// As listed; `None` when the store does not have it.
    found: Option<u64>,
}

impl Tally {
    fn usable(&self) -> bool {
        self.found == Some(self.implied)
    }

    fn waste(&self) -> u64 {
        self.unused + self.duplicate
    }
}

/// Decides for every pack. `listed` is what lies under `data/` (id and size); `needed` every blob that any snapshot
/// reaches, trees included; `beside` nothing where nobody else works.
pub fn prune(
    index: &(impl Entries + ?Sized),
    listed: &[(Id, ByteSize)],
    needed: &impl Needed,
    limits: Limits,
    beside: Option<&Beside>,
) -> Result<PrunePlan, Refusal> {
    let (alone, nobody) = (beside.is_none(), Beside::default());
    let beside = beside.unwrap_or(&nobody);
    let mut unindexed = needed.unindexed();
    if !unindexed.is_empty() {
        unindexed.sort_unstable();
        let count = unindexed.len();
        unindexed.truncate(NAMED);
        return Err(Refusal::NotIndexed { blobs: unindexed, count });
    }
    let Walked { mut tallies, several } = walk(index, needed);
    let mut figures = Figures::default();
    let (mut delete, mut sweep) = (Vec::new(), Vec::new());
    for &(pack, size) in listed {
        figures.packs += 1;
        figures.total += size.0;
        if let Some(tally) = tallies.get_mut(&pack) {
            tally.found = Some(size.0);
        }
        match beside.epoch(&pack) {
            Some(epoch) if epoch <= beside.boundary => {
                sweep.push(Deleted { pack, size, reason: DeleteReason::Condemned });
            }
            Some(_) => {
                figures.condemned_packs += 1;
                figures.condemned += size.0;
            }
            None if tallies.contains_key(&pack) => {}
            None => {
                figures.orphan_packs += 1;
                figures.orphan += size.0;
                if beside.recent.contains(&pack) {
                    figures.recent_packs += 1;
                } else {
                    delete.push(Deleted { pack, size, reason: DeleteReason::Orphan });
                }
            }
        }
    }
    refuse_if_lost(&mut tallies, &several, beside)?;
    let homes = choose_homes(&tallies, &several, beside);
    tally_use(&mut tallies, &several, &homes);

    let rewrite = choose_repacks(&tallies, limits, beside);
    let mut plan = PrunePlan {
        keep: Vec::new(),
        repack: Vec::new(),
        rescue: Vec::new(),
        delete: Vec::new(),
        sweep: Vec::new(),
        forget: Vec::new(),
        index: IndexChange::None,
        figures,
        homes: Homes::new(),
    };
    for (&pack, tally) in &tallies {
        plan.figures.used += tally.used;
        let Some(found) = tally.found else {
            plan.forget.push(pack);
            continue;
        };
        if beside.is_condemned(&pack) {
            if tally.used > 0 {
                let (size, unused) = (ByteSize(found), ByteSize(tally.waste()));
                plan.rescue.push(Repacked { pack, size, unused, blobs: tally.used_blobs });
            }
            continue;
        }
        plan.figures.unused += tally.unused;
        plan.figures.duplicate += tally.duplicate;
        let size = ByteSize(found);
        if beside.recent.contains(&pack) {
            plan.figures.unused_after += tally.waste();
            plan.figures.recent_packs += u64::from(tally.waste() > 0);
            plan.keep.push(Kept { pack, unused: ByteSize(tally.waste()), reason: KeepReason::Recent });
        } else if tally.used == 0 {
            let reason = if tally.duplicate > 0 { DeleteReason::OnlyDuplicates } else { DeleteReason::Unused };
            delete.push(Deleted { pack, size, reason });
        } else if rewrite.contains(&pack) {
            plan.figures.repack_packs += 1;
            plan.figures.rewrite += tally.used;
            plan.figures.repack_freed += if alone { found.saturating_sub(tally.used) } else { 0 };
            plan.figures.repack_condemned += if alone { 0 } else { found };
            plan.figures.repack_waste += tally.waste();
            plan.repack.push(Repacked { pack, size, unused: ByteSize(tally.waste()), blobs: tally.used_blobs });
        } else {
            let waste = tally.waste();
            let reason = if waste == 0 { KeepReason::FullyUsed } else { KeepReason::Tolerated };
            plan.figures.unused_after += waste;
            plan.keep.push(Kept { pack, unused: ByteSize(waste), reason });
        }
    }
    delete.sort_unstable_by_key(|gone| gone.pack);
    let bytes = |gone: &[Deleted]| gone.iter().map(|gone| gone.size.0).sum::<u64>();
    let deleted = if alone { &delete } else { &sweep };
    plan.figures.delete_packs = deleted.len() as u64;
    plan.figures.freed = bytes(deleted) + plan.figures.repack_freed;
    if !alone {
        plan.figures.condemned_packs += (delete.len() + plan.repack.len()) as u64;
        plan.figures.condemned += bytes(&delete) + plan.figures.repack_condemned;
    }
    let named = |gone: &Deleted| tallies.contains_key(&gone.pack);
    if (alone && !plan.repack.is_empty()) || !plan.forget.is_empty() || deleted.iter().any(named) {
        plan.index = IndexChange::Rewrite;
    }
    plan.delete = delete;
    plan.sweep = sweep;
    plan.homes = homes;
    Ok(plan)
}

impl PrunePlan {
    /// What moves out of some of the packs that are rewritten, ascending by offset. Asked for some packs at a time, so that
    /// not all of it has to be held; `index` and `needed` are those that the plan was made from.
    pub fn moving(
        &self,
        index: &(impl Entries + ?Sized),
        needed: &impl Needed,
        packs: &[Repacked],
    ) -> HashMap<Id, Vec<(BlobKey, Located)>> {
        let mut moving: HashMap<Id, Vec<(BlobKey, Located)>> =
            packs.iter().map(|repacked| (repacked.pack, Vec::new())).collect();
        for_each_needed(index, needed, |key, places| {
            for at in places {
                if (places.len() == 1 || is_home(&key, at, &self.homes))
                    && let Some(blobs) = moving.get_mut(&at.pack)
                {
                    blobs.push((key, *at));
                }
            }
        });
        for blobs in moving.values_mut() {
            blobs.sort_unstable_by_key(|(_, at)| at.offset);
        }
        moving
    }
}

/// What one walk through the index learns.
struct Walked {
    /// The packs that the index names, and the size each should have. What is needed of them is counted as if every pack
    /// were whole, and without `several`.
    tallies: BTreeMap<Id, Tally>,
    /// The needed blobs that have several places: which of them counts is known only at the end.
    several: Vec<(BlobKey, Located)>,
}

fn walk(index: &(impl Entries + ?Sized), needed: &impl Needed) -> Walked {
    // Looked up for every place: sorted once, at the end.
    let mut tallies: HashMap<Id, Tally> = HashMap::new();
    let mut several = Vec::new();
    index.for_each_blob(|key, places, position| {
        let is_needed = needed.needs(&key, position);
        for at in places {
            let (length, entry) =
                (u64::from(at.length), if at.uncompressed.is_some() { ENTRY_COMPRESSED } else { ENTRY });
            let tally = tallies.entry(at.pack).or_insert(Tally { implied: HEADER_OVERHEAD, ..Tally::default() });
            tally.implied += length + entry;
            if !is_needed {
                tally.unused += length;
            } else if places.len() == 1 {
                tally.needed += length;
                tally.used += length;
                tally.used_blobs += 1;
            } else {
                several.push((key, *at));
            }
        }
    });
    Walked { tallies: tallies.into_iter().collect(), several }
}

/// Where each needed blob that has several usable copies counts.
pub(super) type Homes = HashMap<BlobKey, (Id, u32)>;

/// All places of one blob, for each blob that is needed.
pub(super) fn for_each_needed(
    index: &(impl Entries + ?Sized),
    needed: &impl Needed,
    mut see: impl FnMut(BlobKey, &[Located]),
) {
    index.for_each_blob(|key, places, position| {
        if needed.needs(&key, position) {
            see(key, places);
        }
    });
}

fn is_usable(tallies: &BTreeMap<Id, Tally>, pack: &Id) -> bool {
    tallies.get(pack).is_some_and(Tally::usable)
}

/// The places of one blob after another.
fn blobs(several: &[(BlobKey, Located)]) -> impl Iterator<Item = &[(BlobKey, Located)]> {
    several.chunk_by(|(one, _), (other, _)| one == other)
}

/// Every needed blob must lie in a pack that looks whole. Counts on the way what each pack holds of those in `several`,
/// and what no other one has.
fn refuse_if_lost(
    tallies: &mut BTreeMap<Id, Tally>,
    several: &[(BlobKey, Located)],
    beside: &Beside,
) -> Result<(), Refusal> {
    let mut damaged = BTreeSet::new();
    let name = |pack: Id, tally: &Tally| DamagedPack { pack, expected: tally.implied, found: tally.found };
    for (pack, tally) in tallies.iter_mut() {
        if !tally.usable() && tally.used_blobs > 0 {
            damaged.insert(name(*pack, tally));
        }
        tally.sole = if beside.is_condemned(pack) { 0 } else { tally.needed };
    }
    for places in blobs(several) {
        let usable = || places.iter().filter(|(_, at)| is_usable(tallies, &at.pack));
        let (copies, staying) = (usable().count(), usable().filter(|(_, at)| !beside.is_condemned(&at.pack)).count());
        for (_, at) in places {
            let Some(tally) = tallies.get_mut(&at.pack) else { continue };
            if copies == 0 {
                damaged.insert(name(at.pack, tally));
            } else if tally.usable() {
                tally.needed += u64::from(at.length);
                tally.sole += if staying == 1 { u64::from(at.length) } else { 0 };
            }
        }
    }
    if damaged.is_empty() {
        return Ok(());
    }
    let count = damaged.len();
    Err(Refusal::Damaged { packs: damaged.into_iter().take(NAMED).collect(), count })
}

/// Picks one copy of each needed blob: the one in the pack that has to stay most anyway, so that the others empty. One in a
/// condemned pack only where there is no other.
fn choose_homes(tallies: &BTreeMap<Id, Tally>, several: &[(BlobKey, Located)], beside: &Beside) -> Homes {
    let rank = |(_, at): &&(BlobKey, Located)| {
        let weight = tallies.get(&at.pack).map(|tally| (tally.sole, tally.needed));
        (beside.is_condemned(&at.pack), Reverse(weight), at.pack, at.offset)
    };
    let home = |places: &[(BlobKey, Located)]| {
        let (key, home) = places.iter().filter(|(_, at)| is_usable(tallies, &at.pack)).min_by_key(rank)?;
        Some((*key, (home.pack, home.offset)))
    };
    blobs(several).filter_map(home).collect()
}

/// Whether a place of a needed blob is the one that counts; in a pack that is not usable none is.
fn is_home(key: &BlobKey, at: &Located, homes: &Homes) -> bool {
    homes.get(key).is_none_or(|&(pack, offset)| (pack, offset) == (at.pack, at.offset))
}

/// Splits what packs hold of blobs with several places into what counts and what is there twice.
fn tally_use(tallies: &mut BTreeMap<Id, Tally>, several: &[(BlobKey, Located)], homes: &Homes) {
    for (key, at) in several {
        let Some(tally) = tallies.get_mut(&at.pack) else { continue };
        let length = u64::from(at.length);
        if tally.usable() && is_home(key, at, homes) {
            tally.used += length;
            tally.used_blobs += 1;
        } else {
            tally.duplicate += length;
        }
    }
}

/// The most wasteful packs, until what is left is tolerated, or as much is rewritten as may be.
fn choose_repacks(tallies: &BTreeMap<Id, Tally>, limits: Limits, beside: &Beside) -> HashSet<Id> {
    let stays = |pack: &Id| !beside.is_condemned(pack);
    let wasteful = |(id, t): &(&Id, &Tally)| stays(id) && t.used > 0 && t.waste() > 0;
    let mut candidates: Vec<(&Id, &Tally)> = tallies.iter().filter(wasteful).collect();
    let mut remaining: u64 = candidates.iter().map(|(_, t)| t.waste()).sum();
    candidates.retain(|(id, _)| !beside.recent.contains(id));
    let allowed = limits.max_unused.beside(tallies.values().map(|t| t.used).sum());
    // By share of waste, largest first: a / (a + b) > c / (c + d) iff a * d > c * b.
    candidates.sort_by(|(a_id, a), (b_id, b)| {
        let left = u128::from(a.waste()) * u128::from(b.used);
        let right = u128::from(b.waste()) * u128::from(a.used);
        right.cmp(&left).then(a_id.cmp(b_id))
    });
    let mut rewrite = limits.max_repack.map_or(u64::MAX, |most| most.0);
    let mut chosen = HashSet::new();
    for (pack, tally) in candidates {
        if remaining <= allowed {
            break;
        }
        // One that does not fit any more may be followed by a smaller one that does.
        if tally.used > rewrite {
            continue;
        }
        rewrite -= tally.used;
        remaining -= tally.waste();
        chosen.insert(*pack);
    }
    chosen
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
