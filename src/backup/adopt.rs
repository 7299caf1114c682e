//! Packs that an interrupted run has left: stored, but named by no index file.
//!
//! They are found by listing `data/` against the index, without any local state, and indexed, so that nothing is
//! uploaded twice. A pack is named by the SHA-256 of its bytes and stored in one step, and its header is sealed: one
//! whose header opens and adds up to its size holds the blobs that it says. Whoever trusts the store less has it read
//! whole ([`Proof::Whole`]). Everything else is left to prune.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt, stream};

use crate::monitor::Monitor;
use crate::vault::index::{Index, PackContents};
use crate::vault::index_file::BLOBS_PER_FILE;
use crate::vault::{Condemned, FileType, Id, Vault, VaultError};

/// Headers fetched at the same time.
const CONCURRENT: usize = 8;

/// What makes an orphan worth trusting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Its header opens and adds up to its size.
    Header,
    /// All of it was read and hashes to its name, too.
    Whole,
}

/// What was found and indexed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Adopted {
    /// Packs.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Indexes the packs that no index file names, in the vault and in `index`.
///
/// The caller holds a lock, so that no prune removes them meanwhile, or one that condemned them first. Those that are
/// condemned already are on their way out: nobody may rely on them.
pub async fn adopt(
    vault: &Vault,
    index: &Index,
    condemned: &Condemned,
    proof: Proof,
    monitor: &dyn Monitor,
) -> Result<Adopted, VaultError> {
    let known: HashSet<Id> = index.packs().map(|pack| pack.id).collect();
    let is_orphan = |id: &Id| !known.contains(id) && condemned.of(id).is_none();
    let orphans: Vec<(Id, u64)> =
        vault.list(FileType::Pack).await?.into_iter().filter(|(id, _)| is_orphan(id)).collect();
    if orphans.is_empty() {
        return Ok(Adopted::default());
    }
    monitor.total(orphans.len() as u64, 0);
    let found = stream::iter(orphans)
        .map(|(id, size)| async move {
            let contents = match prove(vault, &id, size, proof).await {
                Ok(contents) => Some((contents, size)),
                // Not whole, or not ours: it stays an orphan.
                Err(VaultError::Damaged { .. }) => {
                    monitor.note(&format!("pack {} is in no index and cannot be read: left alone", id.short()));
                    None
                }
                Err(error) => return Err(error),
            };
            monitor.advance(1, 0);
            Ok(contents)
        })
        .buffer_unordered(CONCURRENT)
        .try_filter_map(|contents| async move { Ok(contents) });
    let (mut adopted, mut unnamed, mut blobs) = (Adopted::default(), Vec::new(), 0);
    let mut found = std::pin::pin!(found);
    while let Some((contents, size)) = found.try_next().await? {
        adopted.packs += 1;
        adopted.bytes += size;
        blobs += contents.blobs.len();
        unnamed.push(contents);
        if blobs >= BLOBS_PER_FILE {
            blobs = 0;
            vault.save_index_of(std::mem::take(&mut unnamed), index).await?;
        }
    }
    if !unnamed.is_empty() {
        vault.save_index_of(unnamed, index).await?;
    }
    if adopted.packs > 0 {
        monitor.note(&format!("{} packs of an interrupted run were found and are used", adopted.packs));
    }
    Ok(adopted)
}

async fn prove(vault: &Vault, id: &Id, size: u64, proof: Proof) -> Result<PackContents, VaultError> {
    match proof {
        Proof::Header => {}
        Proof::Whole => vault.prove_pack(id).await?,
    }
    vault.read_pack_header(id, size).await
}
