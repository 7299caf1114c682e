//! A writer: a backup, or a copy from another vault, which differs in that its source never changes.
//!
//! A writer that died is one that takes no further step, and a put that takes effect after its writer died is one that a
//! slow writer makes before it stops. So neither needs a step of its own.

use super::concurrent::{Flaw, Scene, Way};
use super::vault::{EACH, File, Owner, Set, Vault, file_of, pack_of, snapshot_of};

/// What a writer does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum At {
    /// Reads the state.
    Begin,
    /// Loads the index, and fetches what only condemned packs still hold.
    Load,
    /// Looks for packs that no index names.
    Adopt,
    PutPack,
    PutIndex,
    PutSnapshot,
    /// Reads the boundary.
    Confirm,
    /// Deletes its snapshot.
    Withdraw,
    Acknowledged,
    Withdrawn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Writer {
    pub(crate) at: At,
    /// The epoch that it knows of.
    pub(crate) seen: u8,
    /// The packs that the index named, while it is needed.
    view: Set,
    /// Blobs that go into a pack of its own.
    pub(crate) store: Set,
    /// Packs of others that its index file names.
    pub(crate) adopt: Set,
    again: Set,
    /// How many index files it wrote.
    pub(crate) written: u8,
    /// Whether its snapshot was put.
    published: bool,
    /// Whether it had to look again after its snapshot was put.
    pub(crate) overtaken: bool,
    /// Whether it stored something anew then.
    pub(crate) repaired: bool,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self {
            at: At::Begin,
            seen: 0,
            view: Set::EMPTY,
            store: Set::EMPTY,
            adopt: Set::EMPTY,
            again: Set::EMPTY,
            written: 0,
            published: false,
            overtaken: false,
            repaired: false,
        }
    }

    /// One that never runs.
    pub(crate) fn absent() -> Self {
        Self { at: At::Withdrawn, ..Self::new() }
    }

    /// How it may go on.
    pub(crate) fn ways(&self, scene: &Scene, vault: &Vault, own: usize, faults: u8, ways: &mut Vec<Way>) {
        match self.at {
            At::Acknowledged | At::Withdrawn => return,
            At::Load if self.published && scene.source_changes && self.lost(scene, vault, own) => {
                ways.push(Way::SourceChanged);
            }
            // A model has an end: a writer that has no room for another pack stops there.
            At::PutPack | At::PutIndex if usize::from(self.written) == EACH => return,
            At::PutPack | At::PutIndex | At::PutSnapshot if faults > 0 => ways.push(Way::AnswerLost),
            _ => {}
        }
        if self.at == At::PutSnapshot && scene.looks_again && vault.epoch > self.seen {
            ways.push(Way::LooksAgain);
        }
        ways.push(Way::Plain);
    }

    /// Whether a blob of its snapshot is in no pack that is there.
    fn lost(&self, scene: &Scene, vault: &Vault, own: usize) -> bool {
        let (_, index) = vault.index();
        !vault.blobs_in(index.names.within(vault.packs)).covers(scene.needs[own])
    }

    pub(crate) fn step(&mut self, scene: &Scene, vault: &mut Vault, own: usize, way: Way) {
        let early = scene.flaw == Some(Flaw::IndexBeforeEpoch);
        match self.at {
            At::Begin if early => {
                self.view = vault.index().1.names;
                self.at = At::Load;
            }
            At::Begin => {
                self.seen = vault.epoch;
                self.at = At::Load;
            }
            At::Load if way == Way::SourceChanged => self.at = At::Withdraw,
            At::Load => {
                let (_, mut index) = vault.index();
                if early {
                    self.seen = vault.epoch;
                    index.names = self.view;
                }
                self.decide(scene, vault, own, index);
                if scene.flaw == Some(Flaw::EpochAfterIndex) {
                    self.seen = vault.epoch;
                }
            }
            At::Adopt => {
                let condemned = match scene.flaw {
                    Some(Flaw::CondemnedAdopted) => Set::EMPTY,
                    _ => vault.condemned(self.seen),
                };
                let orphans = vault.packs.without(self.view).without(condemned);
                for orphan in orphans.iter() {
                    let blobs = vault.blobs_in(Set::one(orphan));
                    if !blobs.within(self.store).is_empty() {
                        self.adopt = self.adopt.and(Set::one(orphan));
                        self.store = self.store.without(blobs);
                    }
                }
                self.view = Set::EMPTY;
                self.go_on();
            }
            At::PutPack => {
                vault.put_pack(pack_of(Owner::Writer(own), self.written), self.store);
                if way == Way::Plain {
                    self.at = At::PutIndex;
                }
            }
            At::PutIndex => {
                let mut names = self.adopt.and(self.again);
                if !self.store.is_empty() {
                    names = names.and(Set::one(pack_of(Owner::Writer(own), self.written)));
                }
                vault.files[file_of(Owner::Writer(own), self.written)] = File { names, again: self.again };
                if way == Way::Plain {
                    (self.store, self.adopt, self.again) = Default::default();
                    self.written += 1;
                    self.repaired |= self.published;
                    self.go_on();
                }
            }
            At::PutSnapshot if way == Way::LooksAgain => {
                self.seen = vault.epoch;
                self.at = if early { At::Begin } else { At::Load };
            }
            At::PutSnapshot => {
                vault.snapshots = vault.snapshots.and(Set::one(snapshot_of(own)));
                if way == Way::Plain {
                    self.published = true;
                    self.go_on();
                }
            }
            At::Confirm
                if vault.boundary <= self.seen || scene.is_stock(own) || scene.flaw == Some(Flaw::BoundaryUnread) =>
            {
                self.at = At::Acknowledged;
                (self.seen, self.written) = (0, 0);
            }
            At::Confirm => {
                self.overtaken = true;
                self.seen = vault.epoch;
                self.at = if early { At::Begin } else { At::Load };
            }
            At::Withdraw => {
                vault.snapshots = vault.snapshots.without(Set::one(snapshot_of(own)));
                self.at = At::Withdrawn;
                (self.seen, self.written) = (0, 0);
            }
            At::Acknowledged | At::Withdrawn => {}
        }
    }

    /// Decides what to store, from the index: whatever has no place in a pack that is not condemned.
    fn decide(&mut self, scene: &Scene, vault: &Vault, own: usize, index: File) {
        let known = if scene.is_stock(own) { Set::EMPTY } else { vault.condemned(self.seen) };
        let condemned = known.without(index.again);
        self.store = scene.needs[own].without(vault.blobs_in(index.names.without(condemned)));
        self.view = Set::EMPTY;
        if self.published && scene.flaw == Some(Flaw::TakenBack) {
            let there = condemned.within(index.names).within(vault.packs);
            self.again = there.iter().map(Set::one).fold(Set::EMPTY, |again, pack| {
                let useful = !vault.blobs_in(pack).within(self.store).is_empty();
                if useful { again.and(pack) } else { again }
            });
            self.store = self.store.without(vault.blobs_in(self.again));
        }
        self.go_on();
        if !self.published && scene.adoption && self.at == At::PutPack {
            self.view = index.names;
            self.at = At::Adopt;
        }
    }

    /// To the next put that is needed.
    fn go_on(&mut self) {
        self.at = if !self.store.is_empty() {
            At::PutPack
        } else if !self.adopt.and(self.again).is_empty() {
            At::PutIndex
        } else if self.published {
            At::Confirm
        } else {
            At::PutSnapshot
        };
    }
}
