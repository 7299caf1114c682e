//! What a check has found so far, put together: objects, packs, and the blobs of which no place is whole.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{BadPack, BadPacks, Certainty, Damage, Object, packs};
use crate::vault::index::Index;
use crate::vault::{BlobKey, Id};

/// Damage so far, and the blobs whose files are still to be located.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) damage: BTreeMap<(Object, Id), Damage>,
    pub(super) packs: BadPacks,
    /// Those of them of which all blobs may be damaged.
    pub(super) unknown: HashSet<Id>,
    /// For each damaged blob, the objects whose damage it is.
    pub(super) blobs: HashMap<BlobKey, Vec<(Object, Id)>>,
}

impl Found {
    pub(super) fn object(&mut self, object: Object, id: Id, why: String) {
        let damage = Damage { object, id, why, files: Vec::new(), files_count: 0, snapshots: Vec::new() };
        self.damage.entry((object, id)).or_insert(damage);
    }

    pub(super) fn blob(&mut self, object: Object, key: BlobKey, why: String) {
        self.object(object, key.id, why);
        self.blobs.entry(key).or_default().push((object, key.id));
    }

    /// A damaged pack: all its blobs are, or only these.
    pub(super) fn pack(&mut self, id: Id, why: String, blobs: Option<HashSet<BlobKey>>, certainty: Certainty) {
        self.object(Object::Pack, id, why.clone());
        if blobs.is_none() {
            self.unknown.insert(id);
        }
        self.packs.insert(id, BadPack { why, broken: blobs.unwrap_or_default(), certainty });
    }

    /// Takes over what earlier reading found of packs that are still named.
    pub(super) fn take_known(&mut self, known: &BadPacks, compared: &mut packs::Compared) {
        for (id, bad) in known {
            let is_this = |pack: &Id| pack == id;
            let resized = compared.resized.iter().any(|(pack, _, _)| is_this(pack));
            if compared.sound.remove(id) || resized || compared.missing.iter().any(is_this) {
                compared.resized.retain(|(pack, _, _)| !is_this(pack));
                compared.missing.retain(|pack| !is_this(pack));
                self.pack(*id, bad.why.clone(), Some(bad.broken.clone()), bad.certainty);
            }
        }
    }

    /// Once all damaged packs are known: which blobs are damaged in every place where they lie.
    pub(super) fn judge_packs(&mut self, index: &Index) {
        if !self.unknown.is_empty() {
            for (key, at) in index.iter().filter(|(_, at)| self.unknown.contains(&at.pack)) {
                if let Some(bad) = self.packs.get_mut(&at.pack) {
                    bad.broken.insert(key);
                }
            }
        }
        for (id, bad) in &self.packs {
            for key in &bad.broken {
                // A blob that is whole in another pack is not lost.
                let is_broken = |pack: &Id| self.packs.get(pack).is_some_and(|bad| bad.broken.contains(key));
                if index.get_all(*key).iter().all(|at| is_broken(&at.pack)) {
                    self.blobs.entry(*key).or_default().push((Object::Pack, *id));
                }
            }
        }
    }

    pub(super) fn into_damage(self) -> Vec<Damage> {
        self.damage.into_values().collect()
    }
}
