//! What prune is told beside the facts; what it can decide about a pack, and why; the sums it reports; the reasons for
//! which it refuses.

use std::collections::HashSet;
use std::sync::Arc;

use super::plan::Homes;
use crate::units::ByteSize;
use crate::vault::{BlobKey, Id};

/// How much of what remains may stay unused, in percent. 0 repacks everything that holds an unused byte; 100 never
/// repacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MaxUnused(u8);

impl MaxUnused {
    /// `None` above 100.
    pub fn percent(percent: u8) -> Option<Self> {
        (percent <= 100).then_some(Self(percent))
    }

    /// The largest number of unused bytes beside `used` ones.
    pub(super) fn beside(self, used: u64) -> u64 {
        match self.0 {
            100 => u64::MAX,
            percent => {
                let allowed = u128::from(used) * u128::from(percent) / u128::from(100 - percent);
                u64::try_from(allowed).unwrap_or(u64::MAX)
            }
        }
    }
}

impl Default for MaxUnused {
    /// 5%: rewriting the last few percent costs more traffic than it saves space.
    fn default() -> Self {
        Self(5)
    }
}

/// What a prune may leave, and what it may rewrite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// How much may stay unused.
    pub max_unused: MaxUnused,
    /// Bytes that may be fetched and stored again; any number when not given. What that leaves unused is for the next prune,
    /// which begins with the most wasteful packs again.
    pub max_repack: Option<ByteSize>,
}

/// What a prune has to know when others may work beside it.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    /// Condemned packs and their epochs, ascending by pack.
    pub condemned: Arc<[(Id, u64)]>,
    /// Those of epochs up to this one are deleted now.
    pub boundary: u64,
    /// Packs that are too young to be touched: who wrote them may be about to name them.
    pub recent: HashSet<Id>,
}

impl Beside {
    pub(super) fn epoch(&self, pack: &Id) -> Option<u64> {
        self.condemned.binary_search_by_key(pack, |(id, _)| *id).ok().map(|at| self.condemned[at].1)
    }

    pub(super) fn is_condemned(&self, pack: &Id) -> bool {
        self.epoch(pack).is_some()
    }
}

/// Why a pack stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeepReason {
    /// Every blob in it is needed.
    FullyUsed,
    /// Some of it is unused, within what `MaxUnused` tolerates.
    Tolerated,
    /// Written a short while ago, so perhaps by a run that is still under way. Only where others may work meanwhile.
    Recent,
}

/// Why a pack goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeleteReason {
    /// No snapshot needs any blob in it.
    Unused,
    /// What is needed of it is also in other packs.
    OnlyDuplicates,
    /// No index names it: left behind by an interrupted run.
    Orphan,
    /// An earlier prune condemned it. Only where others may work meanwhile.
    Condemned,
}

/// A pack that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The pack.
    pub pack: Id,
    /// Its bytes that no snapshot needs.
    pub unused: ByteSize,
    /// Why it stays.
    pub reason: KeepReason,
}

/// A pack whose used blobs move to a new pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repacked {
    /// The pack that goes once its blobs are indexed elsewhere.
    pub pack: Id,
    /// Its size in the store.
    pub size: ByteSize,
    /// Its bytes that no snapshot needs: the reason.
    pub unused: ByteSize,
    /// How many blobs move.
    pub blobs: u64,
}

/// A pack that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// The pack.
    pub pack: Id,
    /// Its size in the store.
    pub size: ByteSize,
    /// Why it goes.
    pub reason: DeleteReason,
}

/// What the index needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IndexChange {
    /// It names exactly the packs that stay.
    None,
    /// New index files without the packs that go replace the old ones *before* any pack is deleted.
    Rewrite,
}

/// Sums for `--dry-run` and the run's record. All in stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Figures {
    /// Packs in the store.
    pub packs: u64,
    /// Bytes of all packs.
    pub total: u64,
    /// Bytes of blobs that snapshots need, one copy each.
    pub used: u64,
    /// Bytes of indexed blobs that nothing needs.
    pub unused: u64,
    /// Bytes of further copies of needed blobs.
    pub duplicate: u64,
    /// Packs and bytes that no index names.
    pub orphan_packs: u64,
    /// Bytes of those.
    pub orphan: u64,
    /// Packs deleted whole.
    pub delete_packs: u64,
    /// Packs rewritten.
    pub repack_packs: u64,
    /// Bytes to fetch and store again for repacking.
    pub rewrite: u64,
    /// Bytes by which the store shrinks (headers of new packs not counted).
    pub freed: u64,
    /// Unused bytes that stay in packs kept.
    pub unused_after: u64,
    /// Packs with something unused in them, or in no index, that are too young to be touched.
    pub recent_packs: u64,
    /// Packs that are condemned once this is done, and whose time has not come yet. They are still there.
    pub condemned_packs: u64,
    /// Bytes of those.
    pub condemned: u64,
    /// Unused bytes in the packs that are rewritten, and by how much less the new ones take.
    #[serde(skip)]
    pub(super) repack_waste: u64,
    #[serde(skip)]
    pub(super) repack_freed: u64,
    /// Bytes of the packs that are rewritten and then condemned.
    #[serde(skip)]
    pub(super) repack_condemned: u64,
}

impl Figures {
    /// The same when no pack could be rewritten: of `repack` packs nothing is freed.
    pub(super) fn without_rewriting(self) -> Self {
        let unused_after = self.unused_after + self.repack_waste;
        let freed = self.freed - self.repack_freed;
        let condemned = self.condemned - self.repack_condemned;
        let condemned_packs =
            if self.repack_condemned > 0 { self.condemned_packs - self.repack_packs } else { self.condemned_packs };
        let none = Self { repack_packs: 0, rewrite: 0, repack_waste: 0, repack_freed: 0, repack_condemned: 0, ..self };
        Self { unused_after, freed, condemned_packs, condemned, ..none }
    }
}

/// What prune would do, all lists ascending by pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrunePlan {
    /// Packs that stay.
    pub keep: Vec<Kept>,
    /// Packs that are rewritten.
    pub repack: Vec<Repacked>,
    /// Condemned packs that hold what a snapshot needs after all: that moves as well.
    pub rescue: Vec<Repacked>,
    /// Packs that go: at once where nobody works meanwhile, else they are condemned now, as those that are rewritten are.
    pub delete: Vec<Deleted>,
    /// Packs that were condemned long enough ago to be deleted now.
    pub sweep: Vec<Deleted>,
    /// Packs that an index names, the store does not have, and nothing needs: dropped from the index.
    pub forget: Vec<Id>,
    /// What the index needs.
    pub index: IndexChange,
    /// Sums.
    pub figures: Figures,
    /// Which copy counts of the needed blobs that have several.
    pub(super) homes: Homes,
}

impl PrunePlan {
    /// Nothing would change.
    pub fn is_empty(&self) -> bool {
        let nothing_goes = self.delete.is_empty() && self.sweep.is_empty();
        self.repack.is_empty() && self.rescue.is_empty() && nothing_goes && self.index == IndexChange::None
    }
}

/// Why a vault is not pruned. Lists are bounded; counts are whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A snapshot needs a blob that no index names.
    #[error("find {count} blobs that snapshots need in the index (first: {}); repair the index or heal the vault first", first_blob(.blobs))]
    NotIndexed {
        /// Up to [`NAMED`] of them.
        blobs: Vec<BlobKey>,
        /// All of them.
        count: usize,
    },
    /// A needed blob lies only in packs that are gone or have another size than the index says.
    #[error("read {count} damaged or missing packs that snapshots need (first: {}); heal the vault first", first_pack(.packs))]
    Damaged {
        /// Up to [`NAMED`] of them, with the size expected and the one found.
        packs: Vec<DamagedPack>,
        /// All of them.
        count: usize,
    },
}

/// A needed pack that is not what the index says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DamagedPack {
    /// The pack.
    pub pack: Id,
    /// The size that follows from the index.
    pub expected: u64,
    /// The size in the store; `None` when it is not there.
    pub found: Option<u64>,
}

/// How many things a refusal names.
pub const NAMED: usize = 20;

fn first_blob(blobs: &[BlobKey]) -> String {
    blobs.first().map(|blob| format!("{:?} {}", blob.kind, blob.id.short()).to_lowercase()).unwrap_or_default()
}

fn first_pack(packs: &[DamagedPack]) -> String {
    packs
        .first()
        .map(|p| match p.found {
            None => format!("{} is missing", p.pack.short()),
            Some(found) => format!("{} has {found} bytes instead of {}", p.pack.short(), p.expected),
        })
        .unwrap_or_default()
}
