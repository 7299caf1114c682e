//! A pruner: passes one after the other, each of which sweeps what earlier ones condemned, and condemns.
//!
//! A pruner that died in its last pass is one that takes no further step.

use super::concurrent::{Flaw, Scene, Way};
use super::plan::decide;
use super::vault::{File, Owner, Set, Vault, file_of, pack_of};

/// What a pruner does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum At {
    /// Reads the state.
    Begin,
    MoveBoundary,
    /// Reads the state that it, or another, has made.
    ReadAgain,
    ListSnapshots,
    Load,
    /// Lists packs, decides, and fetches what moves.
    ListPacks,
    PutPack,
    PutIndex,
    /// Removes an index file that the new one replaces.
    RemoveIndex,
    DeletePack,
    Condemn,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Pruner {
    pub(crate) at: At,
    /// How many passes went before.
    pub(crate) pass: u8,
    pub(crate) epoch: u8,
    pub(crate) boundary: u8,
    /// Blobs that snapshots need.
    pub(crate) used: Set,
    index: File,
    /// Index files that it loaded, and then those of them that are still to be removed.
    pub(crate) files: Set,
    /// Blobs that go into a new pack.
    pub(crate) fresh: Set,
    /// Whether some of them have no other place than condemned packs.
    pub(crate) rescues: bool,
    /// What its index file names.
    pub(crate) names: Set,
    /// Packs that are still to be deleted.
    pub(crate) sweep: Set,
    /// Packs that are to be condemned.
    pub(crate) condemn: Set,
    /// Whether another was first.
    pub(crate) lost: bool,
}

impl Pruner {
    pub(crate) fn new() -> Self {
        Self {
            at: At::Begin,
            pass: 0,
            epoch: 0,
            boundary: 0,
            used: Set::EMPTY,
            index: File::default(),
            files: Set::EMPTY,
            fresh: Set::EMPTY,
            rescues: false,
            names: Set::EMPTY,
            sweep: Set::EMPTY,
            condemn: Set::EMPTY,
            lost: false,
        }
    }

    /// One that never runs.
    pub(crate) fn absent() -> Self {
        Self { at: At::Done, ..Self::new() }
    }

    /// How it may go on.
    pub(crate) fn ways(&self, scene: &Scene, vault: &Vault, own: usize, faults: u8, ways: &mut Vec<Way>) {
        match self.at {
            At::Done => return,
            // The grace period may not be over.
            At::Begin if vault.epoch > vault.boundary => ways.push(Way::Waits),
            // Orphans may be too young.
            At::ListPacks if !self.orphans(vault).is_empty() => ways.push(Way::SparesOrphans),
            At::PutPack | At::PutIndex | At::RemoveIndex if faults > 0 => ways.push(Way::AnswerLost),
            At::DeletePack if faults > 0 => ways.extend([Way::AnswerLost, Way::Refused]),
            _ => {}
        }
        if faults > 0 && self.at != At::Begin && self.pass + 1 < scene.passes[own] {
            ways.push(Way::Dies);
        }
        ways.push(Way::Plain);
    }

    fn orphans(&self, vault: &Vault) -> Set {
        vault.packs.without(self.index.names).without(vault.condemned(self.epoch))
    }

    pub(crate) fn step(&mut self, scene: &Scene, vault: &mut Vault, own: usize, way: Way) {
        if way == Way::Dies {
            return self.end(scene, own);
        }
        match self.at {
            At::Begin => {
                (self.epoch, self.boundary) = (vault.epoch, vault.boundary);
                let moves = self.epoch > self.boundary && way == Way::Plain;
                self.at = match scene.flaw {
                    Some(Flaw::SnapshotsFirst) => {
                        self.used = used(scene, vault);
                        if moves { At::MoveBoundary } else { At::Load }
                    }
                    _ if moves => At::MoveBoundary,
                    _ => At::ListSnapshots,
                };
            }
            At::MoveBoundary => {
                if (vault.epoch, vault.boundary) == (self.epoch, self.boundary) {
                    vault.boundary = vault.epoch;
                }
                self.at = At::ReadAgain;
            }
            At::ReadAgain => {
                (self.epoch, self.boundary) = (vault.epoch, vault.boundary);
                let listed = scene.flaw == Some(Flaw::SnapshotsFirst) || scene.flaw == Some(Flaw::ListedOnce);
                self.at = if listed { At::Load } else { At::ListSnapshots };
            }
            At::ListSnapshots => {
                self.used = used(scene, vault);
                self.at = At::Load;
            }
            At::Load => {
                (self.files, self.index) = vault.index();
                self.at = At::ListPacks;
            }
            At::ListPacks => self.plan(scene, vault, own, way),
            At::PutPack => {
                vault.put_pack(pack_of(Owner::Pruner(own), self.pass), self.fresh);
                if way == Way::Plain {
                    (self.fresh, self.rescues) = (Set::EMPTY, false);
                    self.go_on(scene, own);
                }
            }
            At::PutIndex => {
                let again = self.index.again.within(self.names);
                vault.files[file_of(Owner::Pruner(own), self.pass)] = File { names: self.names, again };
                if way == Way::Plain {
                    (self.names, self.index) = Default::default();
                    self.go_on(scene, own);
                }
            }
            At::RemoveIndex => {
                let file = self.files.first().expect("there is one, or this step had been left out");
                vault.files[file] = File::default();
                if way == Way::Plain {
                    self.files = self.files.without(Set::one(file));
                    self.go_on(scene, own);
                }
            }
            At::DeletePack => {
                let pack = Set::one(self.sweep.first().expect("there is one, or this step had been left out"));
                if way != Way::Refused {
                    vault.packs = vault.packs.without(pack);
                }
                if way != Way::AnswerLost {
                    self.sweep = self.sweep.without(pack);
                    self.go_on(scene, own);
                }
            }
            At::Condemn => {
                self.lost = (vault.epoch, vault.boundary) != (self.epoch, self.boundary);
                if !self.lost || scene.flaw == Some(Flaw::Unconditional) {
                    vault.begin_epoch(self.epoch + 1, self.boundary, self.condemn);
                }
                if scene.flaw == Some(Flaw::ListsForget) {
                    vault.forget_swept(self.boundary);
                }
                self.end(scene, own);
            }
            At::Done => {}
        }
    }

    /// Decides about every pack.
    fn plan(&mut self, scene: &Scene, vault: &Vault, own: usize, way: Way) {
        let condemned = vault.condemned(self.epoch).without(self.index.again);
        let ripe = vault.condemned(self.boundary).without(self.index.again);
        let indexed = self.index.names.within(vault.packs);
        if !vault.blobs_in(indexed).covers(self.used) {
            // Something needed is missing: it prunes nothing.
            return self.end(scene, own);
        }
        let plan = decide(vault, indexed.without(condemned), self.used, scene.repacks);
        let rescued = self.used.without(plan.found);
        self.condemn = plan.goes;
        if way != Way::SparesOrphans {
            self.condemn = self.condemn.and(self.orphans(vault));
        }
        self.fresh = plan.moves;
        if scene.flaw != Some(Flaw::NoRescue) {
            self.fresh = self.fresh.and(rescued);
            self.rescues = !rescued.is_empty();
        }
        self.sweep = ripe.within(vault.packs);
        let fresh = if self.fresh.is_empty() { Set::EMPTY } else { Set::one(pack_of(Owner::Pruner(own), self.pass)) };
        self.names = indexed.without(ripe).and(fresh);
        if self.names.covers(self.index.names) {
            // No name has to go.
            (self.files, self.names) = (Set::EMPTY, fresh);
        }
        self.go_on(scene, own);
    }

    /// To the next step that is needed.
    fn go_on(&mut self, scene: &Scene, own: usize) {
        let flaw = scene.flaw;
        self.at = if !self.fresh.is_empty() {
            At::PutPack
        } else if flaw == Some(Flaw::PacksFirst) && !self.sweep.is_empty() {
            At::DeletePack
        } else if flaw == Some(Flaw::IndexGoneFirst) && !self.files.is_empty() {
            At::RemoveIndex
        } else if !self.names.is_empty() {
            At::PutIndex
        } else if !self.files.is_empty() {
            At::RemoveIndex
        } else if !self.sweep.is_empty() {
            At::DeletePack
        } else if !self.condemn.is_empty() {
            At::Condemn
        } else {
            return self.end(scene, own);
        };
    }

    /// Ends a pass. What one listed, the next does not know.
    fn end(&mut self, scene: &Scene, own: usize) {
        let pass = self.pass + 1;
        let at = if pass < scene.passes[own] { At::Begin } else { At::Done };
        let used = if scene.flaw == Some(Flaw::ListedOnce) { self.used } else { Set::EMPTY };
        *self = Self { at, pass, used, lost: self.lost && at == At::Done, ..Self::new() };
    }
}

/// The blobs that snapshots need.
fn used(scene: &Scene, vault: &Vault) -> Set {
    vault.snapshots.iter().fold(Set::EMPTY, |used, snapshot| used.and(scene.needs_of(snapshot)))
}
