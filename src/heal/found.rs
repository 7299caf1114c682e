//! Where a blob that is damaged can still be had: in another damaged pack, in the other vault, in a file.
//!
//! Whatever is handed on was verified against its id, wherever it comes from.

use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;

use super::run::{Healed, Sources};
use super::store::{Found, Writer};
use super::{HealError, files};
use crate::check::Examined;
use crate::monitor::{Cancel, Monitor};
use crate::vault::index::Index;
use crate::vault::{BlobKey, BlobType, Id, Located, Vault, VaultError, chain, ranges};

/// Ranges fetched at the same time.
const FETCHES: usize = 4;

/// A blob that nobody has whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// Data or tree.
    pub kind: BlobType,
    /// The blob.
    pub id: Id,
    /// Why it could not be had, from the last place that was tried.
    pub why: String,
}

/// Blobs that a place does not have, and why.
type Lacks = Vec<(BlobKey, String)>;

/// Where to look.
pub(super) struct Places<'a> {
    vault: &'a Vault,
    copy: Option<(&'a Vault, Index)>,
    files: Option<&'a str>,
}

impl<'a> Places<'a> {
    pub(super) async fn open(vault: &'a Vault, sources: Sources<'a>, monitor: &dyn Monitor) -> Result<Self, HealError> {
        let mut copy = None;
        if let Some(from) = sources.copy {
            let loaded = from.load_index_past_damage(monitor).await.map_err(HealError::Copy)?;
            for (id, error) in &loaded.damaged {
                let why = chain(error);
                monitor.note(&format!("index {} of the vault to heal from is left out: failed to {why}", id.short()));
            }
            copy = Some((from, loaded.index));
        }
        Ok(Self { vault, copy, files: sources.files })
    }

    /// Looks for these blobs everywhere, the nearest place first, and hands them to the writer. What is left is returned.
    pub(super) async fn find(
        &self,
        seen: &Examined,
        wanted: Vec<BlobKey>,
        writer: &mut Writer,
        healed: &mut Healed,
        monitor: &Arc<dyn Monitor>,
        cancel: &Cancel,
    ) -> Result<Vec<Lost>, HealError> {
        let whole_here = |key: &BlobKey| place_here(seen, *key).is_some();
        let (here, rest): (Vec<BlobKey>, Vec<BlobKey>) = wanted.into_iter().partition(whole_here);
        let (moved, mut lacks) = self.own(seen, here, writer, monitor, cancel).await?;
        healed.blobs_moved += moved;
        lacks.extend(
            rest.into_iter().map(|key| (key, "it is damaged here, and was looked for nowhere else".to_owned())),
        );
        if let Some((copy, index)) = &self.copy {
            let places = place_all(lacks, |key| index.get(key), "the other vault does not have it");
            let got = fetch(copy, index, places, writer, monitor, cancel, HealError::Copy).await?;
            healed.blobs_from_copy += got.0;
            lacks = got.1;
        }
        if let Some(host) = self.files {
            let got = files::find(self.vault, seen, host, lacks, writer, &**monitor, cancel).await?;
            healed.blobs_from_source += got.0;
            lacks = got.1;
        }
        Ok(lacks.into_iter().map(|(key, why)| Lost { kind: key.kind, id: key.id, why }).collect())
    }

    /// Takes blobs out of damaged packs in which they are whole.
    pub(super) async fn own(
        &self,
        seen: &Examined,
        wanted: Vec<BlobKey>,
        writer: &mut Writer,
        monitor: &Arc<dyn Monitor>,
        cancel: &Cancel,
    ) -> Result<(u64, Lacks), HealError> {
        let wanted = wanted.into_iter().map(|key| (key, String::new())).collect();
        let places = place_all(wanted, |key| place_here(seen, key), "it is whole nowhere");
        fetch(self.vault, &seen.index, places, writer, monitor, cancel, HealError::Vault).await
    }
}

/// A place in this vault in which the blob is not known to be damaged.
fn place_here(seen: &Examined, key: BlobKey) -> Option<Located> {
    let is_whole = |at: &Located| seen.packs.get(&at.pack).is_none_or(|bad| !bad.broken.contains(&key));
    seen.index.get_all(key).into_iter().find(is_whole)
}

/// The blobs with a place, and those without one.
type Placed = (Vec<(BlobKey, Located)>, Lacks);

fn place_all(wanted: Lacks, place: impl Fn(BlobKey) -> Option<Located>, otherwise: &str) -> Placed {
    let (mut placed, mut lacks) = (Vec::new(), Lacks::new());
    for (key, _) in wanted {
        match place(key) {
            Some(at) => placed.push((key, at)),
            None => lacks.push((key, otherwise.to_owned())),
        }
    }
    placed.sort_unstable_by_key(|(_, at)| (at.pack, at.offset));
    (placed, lacks)
}

/// Fetches blobs from a vault, and hands on what opens and is what it should be.
async fn fetch(
    from: &Vault,
    index: &Index,
    (placed, mut lacks): Placed,
    writer: &mut Writer,
    monitor: &Arc<dyn Monitor>,
    cancel: &Cancel,
    failed: fn(VaultError) -> HealError,
) -> Result<(u64, Lacks), HealError> {
    let groups = ranges::coalesce(placed, |(_, at)| *at);
    let fetches = groups.into_iter().map(|group| {
        let (from, index) = (from.clone(), index.clone());
        async move { from.payloads(&index, group, |item| *item).await }
    });
    let mut fetches = std::pin::pin!(stream::iter(fetches).buffered(FETCHES));
    let mut count = 0;
    while let Some(fetched) = fetches.try_next().await.map_err(failed)? {
        if cancel.is_cancelled() {
            return Err(HealError::Cancelled);
        }
        monitor.advance(fetched.opened.len() as u64, fetched.bytes);
        count += writer.add(fetched.opened.into_iter().map(Found::Payload).collect()).await?;
        lacks.extend(fetched.lost);
    }
    Ok((count, lacks))
}

/// The same as a map, for who looks blobs up.
pub(super) fn by_id(lacks: &Lacks) -> HashMap<Id, BlobKey> {
    lacks.iter().filter(|(key, _)| key.kind == BlobType::Data).map(|(key, _)| (key.id, *key)).collect()
}
