//! Packs: whether those that the index names are there, and whether what is in them is what it was.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::{Certainty, CheckError, ReadData};
use crate::clock::Random;
use crate::monitor::{Cancel, Monitor};
use crate::vault::index::{Index, PackContents};
use crate::vault::pack::{Opener, read_header};
use crate::vault::{BlobKey, Id, Located, Spare, Vault, VaultError, chain, has_threads, off_thread, ranges};

/// Packs read and verified at the same time; each stands in memory whole. A disk answers at once: one that waits for each
/// processor is enough.
const CONCURRENT: usize = 4;
const CONCURRENT_NEAR: usize = 3;
/// Bytes of packs in memory at the same time. With larger packs than usual, one at a time goes on.
const IN_MEMORY: u32 = 72 << 20;

/// Packs in the index against packs in the store.
#[derive(Debug)]
pub(super) struct Compared {
    /// Named by an index and there, with the right size.
    pub(super) sound: HashSet<Id>,
    pub(super) missing: Vec<Id>,
    /// There, with another size: what it has, and what is wrong with it.
    pub(super) resized: Vec<(Id, u64, String)>,
    pub(super) orphans: u64,
    pub(super) packs: u64,
}

pub(super) fn compare(index: &Index, stored: &[(Id, u64)]) -> Compared {
    let mut sizes: HashMap<Id, u64> = stored.iter().copied().collect();
    let mut compared =
        Compared { sound: HashSet::new(), missing: Vec::new(), resized: Vec::new(), orphans: 0, packs: 0 };
    for pack in index.packs() {
        compared.packs += 1;
        match sizes.remove(&pack.id) {
            None => compared.missing.push(pack.id),
            Some(size) if size != pack.size => {
                let why = format!("it has {size} bytes where the index implies {}", pack.size);
                compared.resized.push((pack.id, size, why));
            }
            Some(_) => {
                compared.sound.insert(pack.id);
            }
        }
    }
    compared.orphans = sizes.len() as u64;
    compared
}

/// The packs to be read.
pub(super) fn choose(packs: Vec<(Id, u64)>, which: ReadData, random: &dyn Random) -> Vec<(Id, u64)> {
    match which {
        ReadData::None => Vec::new(),
        ReadData::All => packs,
        ReadData::Part { part, of } => {
            let number = |id: &Id| u32::from_be_bytes([id.0[0], id.0[1], id.0[2], id.0[3]]);
            packs.into_iter().filter(|(id, _)| number(id) % of.max(1) == part.saturating_sub(1)).collect()
        }
        // At least one: a share of a small vault is not nothing.
        ReadData::Share { per_mille } => {
            let count = (packs.len() * usize::from(per_mille)).div_ceil(1000);
            drawn(packs, random).take(count).collect()
        }
        ReadData::Bytes(bytes) => drawn(packs, random)
            .scan(0, |before, pack| {
                let fits = *before < bytes;
                *before += pack.1;
                fits.then_some(pack)
            })
            .collect(),
    }
}

/// All packs in random order.
fn drawn(packs: Vec<(Id, u64)>, random: &dyn Random) -> impl Iterator<Item = (Id, u64)> {
    let ticket = |pack| {
        let mut ticket = [0; 8];
        random.fill(&mut ticket);
        (u64::from_le_bytes(ticket), pack)
    };
    let mut drawn: Vec<(u64, (Id, u64))> = packs.into_iter().map(ticket).collect();
    drawn.sort_unstable();
    drawn.into_iter().map(|(_, pack)| pack)
}

/// A pack with damage in it.
#[derive(Debug)]
pub(super) struct Damaged {
    pub(super) why: String,
    /// The blobs that are damaged; none: all may be.
    pub(super) blobs: Option<HashSet<BlobKey>>,
    pub(super) certainty: Certainty,
}

/// What reading packs found.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) packs: u64,
    pub(super) bytes: u64,
    pub(super) damaged: Vec<(Id, Damaged)>,
}

pub(super) async fn read(
    vault: &Vault,
    index: &Index,
    packs: Vec<(Id, u64)>,
    monitor: &Arc<dyn Monitor>,
    cancel: &Cancel,
) -> Result<Read, CheckError> {
    monitor.total(packs.len() as u64, packs.iter().map(|(_, size)| size).sum());
    let chosen: HashSet<Id> = packs.iter().map(|(id, _)| *id).collect();
    let named = index.packs().filter(|pack| chosen.contains(&pack.id)).map(|pack| (pack.id, pack.blobs));
    let named: HashMap<Id, u32> = named.collect();
    let memory = Semaphore::new(IN_MEMORY as usize);
    let verifier = Arc::new(Verifier { vault: vault.clone(), index: index.clone(), spare: Spare::default() });
    let verified = stream::iter(packs).map(|(id, size)| {
        let (verifier, monitor, cancel) = (Arc::clone(&verifier), monitor.clone(), cancel.clone());
        let (blobs, memory) = (named.get(&id).copied().unwrap_or(0), &memory);
        async move {
            let weight = u32::try_from(size).unwrap_or(u32::MAX).clamp(1, IN_MEMORY);
            let _memory = memory.acquire_many(weight).await.expect("the semaphore is never closed");
            if cancel.is_cancelled() {
                return Err(CheckError::Cancelled);
            }
            let pack = Pack { id, size, blobs };
            let damaged = if vault.store().is_near() && has_threads() {
                let on = Handle::current();
                off_thread(move || verifier.verify(pack, Source::Near(&on))).await
            } else {
                match vault.load_pack_range(&id, 0..size).await {
                    Ok(bytes) => off_thread(move || verifier.verify(pack, Source::Whole(&bytes))).await,
                    Err(error) => Err(error),
                }
            };
            let damaged = damaged.unwrap_or_else(|error| {
                let certainty = if error.is_damage() { Certainty::Damaged } else { Certainty::Unread };
                Some(Damaged { why: chain(&error), blobs: None, certainty })
            });
            monitor.advance(1, size);
            Ok((id, size, damaged))
        }
    });
    let mut read = Read::default();
    let concurrent = if vault.store().is_near() { CONCURRENT_NEAR } else { CONCURRENT };
    let mut verified = std::pin::pin!(verified.buffer_unordered(concurrent));
    while let Some((id, size, damaged)) = verified.try_next().await? {
        read.packs += 1;
        read.bytes += size;
        read.damaged.extend(damaged.map(|damaged| (id, damaged)));
    }
    read.damaged.sort_unstable_by_key(|(id, _)| *id);
    Ok(read)
}

/// A pack to be verified.
#[derive(Clone, Copy)]
struct Pack {
    id: Id,
    size: u64,
    /// How many the index says that it has.
    blobs: u32,
}

/// Where a pack's bytes come from.
#[derive(Clone, Copy)]
enum Source<'s> {
    /// From this machine, piece by piece: what was just read is still near the processor when it is opened.
    Near(&'s Handle),
    Whole(&'s Bytes),
}

impl Source<'_> {
    /// What the pack says that it holds, or why that cannot be told.
    fn header(self, vault: &Vault, pack: Pack) -> Result<Result<PackContents, String>, VaultError> {
        match self {
            Self::Near(on) => match on.block_on(vault.read_pack_header(&pack.id, pack.size)) {
                Err(error) if !error.is_damage() => Err(error),
                read => Ok(read.map_err(|error| chain(&error))),
            },
            Self::Whole(bytes) => Ok(read_header(vault.key(), pack.id, bytes).map_err(|error| chain(&error))),
        }
    }

    /// These bytes of a pack, as far as it reaches.
    fn range<'b>(
        &'b self,
        vault: &Vault,
        pack: Pack,
        range: Range<u64>,
        buffer: &'b mut Vec<u8>,
    ) -> Result<&'b [u8], VaultError> {
        let range = range.start.min(pack.size)..range.end.min(pack.size);
        match self {
            Self::Near(on) => vault.read_pack_range(on, &pack.id, range, buffer),
            Self::Whole(bytes) => {
                let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                Ok(&bytes[place(range.start)..place(range.end)])
            }
        }
    }

    fn is_its_name(self, vault: &Vault, id: Id) -> Result<bool, VaultError> {
        match self {
            Self::Near(on) => match on.block_on(vault.prove_pack(&id)) {
                Ok(()) => Ok(true),
                Err(error) if error.is_damage() => Ok(false),
                Err(error) => Err(error),
            },
            Self::Whole(bytes) => Ok(Id::of(bytes) == id),
        }
    }
}

/// Verifies packs, on as many threads as call it.
struct Verifier {
    vault: Vault,
    index: Index,
    /// What no thread needs at the moment. Buffers that have grown serve for the next pack.
    spare: Spare<Tools>,
}

struct Tools {
    opener: Opener,
    buffer: Vec<u8>,
}

impl Verifier {
    /// Verifies a whole pack: its header, and every blob in it, which must be those that the index says. Fails when it
    /// cannot be read.
    ///
    /// Header and blobs fill the pack, so that each byte lies under a seal; it need not be hashed as well to find what was
    /// changed. That takes a third of the time, and is done where something is wrong.
    fn verify(&self, pack: Pack, source: Source<'_>) -> Result<Option<Damaged>, VaultError> {
        let new = || Tools { opener: Opener::new(self.vault.key().clone()), buffer: Vec::new() };
        let mut tools = self.spare.take().unwrap_or_else(new);
        let verified = verify(&self.vault, &self.index, pack, source, &mut tools);
        self.spare.give(tools);
        verified
    }
}

fn verify(
    vault: &Vault,
    index: &Index,
    pack: Pack,
    source: Source<'_>,
    Tools { opener, buffer }: &mut Tools,
) -> Result<Option<Damaged>, VaultError> {
    let mut why = Vec::new();
    let mut wanted = match source.header(vault, pack)? {
        Ok(contents) => {
            let there = contents.blobs.iter().filter(|(key, at)| index.has_place(*key, *at)).count();
            if there == pack.blobs as usize {
                contents.blobs
            } else {
                let all = listed(index, pack.id);
                let absent = all.len().saturating_sub(there);
                why.push(format!("{absent} blobs that the index names are not in its header"));
                all
            }
        }
        Err(error) => {
            why.push(format!("its header cannot be read: {error}"));
            listed(index, pack.id)
        }
    };
    wanted.sort_unstable_by_key(|(_, at)| at.offset);
    let mut broken = HashSet::new();
    for group in ranges::coalesce_near(wanted, |(_, at)| *at) {
        let bytes = source.range(vault, pack, group.start..group.end, buffer)?;
        for (key, located) in &group.items {
            let sealed = group.sealed(bytes, located);
            let (id, start) = (key.id.short(), located.offset);
            let fault = match sealed.map(|sealed| opener.prove(&key.id, sealed, located.uncompressed)) {
                Some(Ok(())) => continue,
                Some(Err(error)) => format!("blob {id} at {start}: {}", chain(&error)),
                None => format!("blob {id} at {start} lies beyond its end"),
            };
            broken.insert(*key);
            why.push(fault);
        }
    }
    if why.is_empty() {
        return Ok(None);
    }
    if !source.is_its_name(vault, pack.id)? {
        why.insert(0, "its bytes are not those that it is named for".to_owned());
    }
    let more = why.len().saturating_sub(4);
    why.truncate(4);
    if more > 0 {
        why.push(format!("and {more} more"));
    }
    Ok(Some(Damaged { why: why.join("; "), blobs: Some(broken), certainty: Certainty::Damaged }))
}

/// What the index says is in a pack. Goes through all of it: for packs that are damaged.
fn listed(index: &Index, pack: Id) -> Vec<(BlobKey, Located)> {
    index.iter().filter(|(_, located)| located.pack == pack).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Seeded;

    fn packs(count: u8) -> Vec<(Id, u64)> {
        (0..count).map(|n| (Id([n; 32]), 1)).collect()
    }

    #[test]
    fn a_share_is_drawn_and_never_nothing() {
        let random = Seeded::new(1);
        assert_eq!(choose(packs(200), ReadData::Share { per_mille: 50 }, &random).len(), 10);
        assert_eq!(choose(packs(3), ReadData::Share { per_mille: 50 }, &random).len(), 1);
        assert!(choose(packs(3), ReadData::None, &random).is_empty());
        assert_eq!(choose(packs(9), ReadData::Bytes(4), &random).len(), 4);
    }

    #[test]
    fn the_parts_are_the_whole() {
        let random = Seeded::new(1);
        let mut all: Vec<_> =
            (1..=7).flat_map(|part| choose(packs(200), ReadData::Part { part, of: 7 }, &random)).collect();
        all.sort_unstable();
        assert_eq!(all, packs(200));
    }
}
