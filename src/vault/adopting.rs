//! Adopting a repository that another tool made.
//!
//! drctl works in such a repository anyway: it cuts files as that tool does, with the repository's own polynomial, and
//! heeds locks. Adopting writes that down, sealed, in `drctl/vault`, so that every later version keeps to it. It is one
//! write of one new object, which takes effect or does not: nothing that was there is changed, and there is nothing to
//! resume. It does not judge whether the data is sound; that is `check`'s business.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::error::{Damage, VaultError};
use super::handle::Vault;
use super::layout::{CONFIG, FileType, SETTINGS};
use super::pack::DEFAULT_PACK_SIZE;
use super::settings::{ChunkerSetting, Settings, Sharing};
use super::snapshot::SnapshotFile;
use crate::monitor::Monitor;
use crate::store::PutNew;

/// What came of an adoption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adopted {
    /// The settings were written.
    Now,
    /// They were there.
    Before,
}

/// What a repository is, seen without reading its data.
#[derive(Debug, Default)]
pub struct Survey {
    /// Whether drctl made it or adopted it before.
    pub has_settings: bool,
    /// Snapshots that can be read.
    pub snapshots: usize,
    /// What the programs that made them call themselves; those that do not say are not among them.
    pub programs: BTreeSet<String>,
    /// Packs that the index names.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Index files and snapshots that cannot be read, and packs that the index names and that are gone or cut off.
    pub damaged: Vec<VaultError>,
    /// What the configuration asks of those who write, and drctl does not do.
    pub wishes: Vec<Wish>,
}

/// A setting of rustic's that stands in the repository's configuration, and that neither restic nor drctl knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// Files are cut otherwise than with Rabin in restic's sizes: what rustic stores and what others store is not shared.
    OtherCuts,
    /// Nothing is to be deleted.
    AppendOnly,
}

/// What rustic adds to a configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Rustic {
    chunker: Option<String>,
    chunk_size: Option<u64>,
    chunk_min_size: Option<u64>,
    chunk_max_size: Option<u64>,
    is_hot: Option<bool>,
    append_only: Option<bool>,
}

impl Rustic {
    fn wishes(&self) -> Vec<Wish> {
        let other = |size: Option<u64>, usual: u64| size.is_some_and(|size| size != usual);
        let rabin = self.chunker.as_deref().is_none_or(|kind| kind == "rabin");
        let usual = !other(self.chunk_size, 1 << 20)
            && !other(self.chunk_min_size, 512 << 10)
            && !other(self.chunk_max_size, 8 << 20);
        let cuts = (!(rabin && usual)).then_some(Wish::OtherCuts);
        let append = (self.append_only == Some(true)).then_some(Wish::AppendOnly);
        cuts.into_iter().chain(append).collect()
    }
}

impl Vault {
    /// Looks at what is there: configuration, index, snapshots and the list of packs. Refuses the first version of the
    /// format, and half of a repository that rustic keeps in two places.
    pub async fn survey(&self, monitor: &dyn Monitor) -> Result<Survey, VaultError> {
        self.writable()?;
        let rustic = self.rustic().await?;
        if rustic.is_hot == Some(true) {
            return Err(VaultError::HalfARepository { url: self.store().url().to_owned() });
        }
        let loaded = self.load_index_past_damage(monitor).await?;
        let mut damaged: Vec<VaultError> = loaded.damaged.into_iter().map(|(_, error)| error).collect();
        let stored: std::collections::HashMap<_, _> = self.list(FileType::Pack).await?.into_iter().collect();
        let (mut packs, mut bytes) = (0, 0);
        for pack in loaded.index.packs() {
            packs += 1;
            bytes += pack.size;
            if stored.get(&pack.id) != Some(&pack.size) {
                damaged.push(VaultError::wrong_size(super::layout::pack(&pack.id)));
            }
        }
        let snapshots = self.snapshots().await?;
        damaged.extend(snapshots.damaged.into_iter().map(|(_, error)| error));
        let program = |file: &SnapshotFile| file.snapshot.program_version.clone();
        Ok(Survey {
            has_settings: self.has_settings(),
            snapshots: snapshots.whole.len(),
            programs: snapshots.whole.iter().filter_map(program).collect(),
            packs,
            bytes,
            damaged,
            wishes: rustic.wishes(),
        })
    }

    /// Writes down how drctl works in this repository: as the tool that made it does.
    ///
    /// Of several who adopt it at once, one writes; the others find that it was done.
    pub async fn adopt(&self) -> Result<Adopted, VaultError> {
        self.writable()?;
        if self.has_settings() {
            return Ok(Adopted::Before);
        }
        let now = self.env().clock.now();
        let settings = Settings::new(now, ChunkerSetting::Rabin, DEFAULT_PACK_SIZE, Sharing::Shared);
        match self.store().put_new(SETTINGS, settings.seal(self.key(), self.env())?.into()).await? {
            PutNew::Created => Ok(Adopted::Now),
            PutNew::Exists => {
                // Somebody else's, and then they must be this vault's.
                Settings::open(self.key(), &self.store().get(SETTINGS).await?)?;
                Ok(Adopted::Before)
            }
        }
    }

    async fn rustic(&self) -> Result<Rustic, VaultError> {
        let damaged = |why: Damage| VaultError::damaged(CONFIG, why);
        let json = self.key().open(&self.store().get(CONFIG).await?).map_err(|error| damaged(error.into()))?;
        serde_json::from_slice(&json).map_err(|error| damaged(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Silent;
    use crate::vault::settings::Chunker;
    use crate::vault::tests::{open, vault};

    /// A vault as another tool would have made it, with `more` in its configuration.
    async fn foreign(more: &str) -> Vault {
        let made = vault().await;
        let json = String::from_utf8(made.key().open(&made.store().get(CONFIG).await.unwrap()).unwrap()).unwrap();
        let json = json.replace('}', &format!("{more}}}"));
        let mut sealed = Vec::new();
        made.key().seal_into([3; 16], json.as_bytes(), &mut sealed).unwrap();
        made.store().put(CONFIG, sealed.into()).await.unwrap();
        made.store().delete(SETTINGS).await.unwrap();
        open(made.store(), "password").await.unwrap()
    }

    #[tokio::test]
    async fn adopting_keeps_the_polynomial_and_adds_one_object() {
        let vault = foreign("").await;
        let Chunker::Rabin { polynomial } = *vault.chunker() else { panic!("{:?}", vault.chunker()) };
        let before = vault.store().list("").await.unwrap();
        assert!(!vault.survey(&Silent).await.unwrap().has_settings);
        // Two at once.
        let (one, other) = futures::join!(vault.adopt(), vault.adopt());
        let mut outcomes = [one.unwrap(), other.unwrap()];
        outcomes.sort_by_key(|outcome| *outcome == Adopted::Before);
        assert_eq!(outcomes, [Adopted::Now, Adopted::Before]);
        let mut after = vault.store().list("").await.unwrap();
        after.retain(|object| object.key != SETTINGS);
        assert_eq!(after, before);
        let again = open(vault.store(), "password").await.unwrap();
        assert_eq!((again.adopt().await.unwrap(), again.chunker()), (Adopted::Before, &Chunker::Rabin { polynomial }));
        assert_eq!((again.sharing(), again.pack_size()), (Sharing::Shared, DEFAULT_PACK_SIZE));
        assert!(again.survey(&Silent).await.unwrap().has_settings);
    }

    #[tokio::test]
    async fn settings_of_another_vault_are_not_taken_for_an_adoption() {
        let vault = foreign("").await;
        vault.store().put(SETTINGS, vec![7; 100].into()).await.unwrap();
        assert!(matches!(vault.adopt().await, Err(VaultError::Damaged { object, .. }) if object == SETTINGS));
    }

    #[tokio::test]
    async fn what_rustic_asks_for_is_seen() {
        let usual = r#","chunker":"rabin","chunk_size":1048576,"is_hot":false,"compression":7"#;
        assert_eq!(foreign(usual).await.survey(&Silent).await.unwrap().wishes, []);
        let other = r#","chunker":"fixed_size","append_only":true"#;
        let seen = foreign(other).await.survey(&Silent).await.unwrap().wishes;
        assert_eq!(seen, [Wish::OtherCuts, Wish::AppendOnly]);
        let seen = foreign(r#","chunk_max_size":4194304"#).await.survey(&Silent).await.unwrap().wishes;
        assert_eq!(seen, [Wish::OtherCuts]);
        let half = foreign(r#","is_hot":true"#).await.survey(&Silent).await.unwrap_err();
        assert!(matches!(half, VaultError::HalfARepository { .. }), "{half:?}");
    }

    #[tokio::test]
    async fn damage_is_told() {
        let vault = foreign("").await;
        let object = super::super::layout::snapshot(&crate::vault::Id::of(b"x"));
        vault.store().put(&object, "x".into()).await.unwrap();
        let seen = vault.survey(&Silent).await.unwrap().damaged;
        assert!(matches!(&seen[..], [VaultError::Damaged { .. }]), "{seen:?}");
    }
}
