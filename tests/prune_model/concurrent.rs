//! The concurrent form: prune beside running backups, in a vault that only drctl writes to. docs/prune.md has the protocol.

use stateright::{Model, Property};

use super::pruner::Pruner;
use super::vault::{FIRST_PACKS, FIRST_SNAPSHOT, Set, Vault, files_of_pruners, snapshot_of};
use super::writer::{self, Writer};

/// Who works in the vault, and on what.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    /// What the packs hold that are there from the beginning. The index names the first.
    pub(crate) packs: [Set; FIRST_PACKS],
    /// What the snapshot needs that is there from the beginning.
    pub(crate) kept: Set,
    /// What each writer's snapshot needs. A writer that needs nothing is not there.
    pub(crate) needs: [Set; 2],
    /// How many passes each pruner makes. One that makes none is not there.
    pub(crate) passes: [u8; 2],
    /// How many answers may be lost, deletes refused and pruners die.
    pub(crate) faults: u8,
    /// Which snapshots may be forgotten.
    pub(crate) forgettable: Set,
    /// Whether packs of which little is needed are written anew.
    pub(crate) repacks: bool,
    /// Whether writers adopt packs that no index names.
    pub(crate) adoption: bool,
    /// Whether writers may look again before they put their snapshot.
    pub(crate) looks_again: bool,
    /// Whether what a writer read may be gone when it has to read it again.
    pub(crate) source_changes: bool,
    /// What is done wrong.
    pub(crate) flaw: Option<Flaw>,
}

/// A step that is left out, or that comes too early or too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Snapshots are listed in the first pass only, before the boundary moves.
    ListedOnce,
    /// Snapshots are listed in every pass, but before the boundary moves.
    SnapshotsFirst,
    /// A writer acknowledges without having read the boundary.
    BoundaryUnread,
    /// A writer takes a condemned pack back by naming it in an index file.
    TakenBack,
    /// A writer loads the index before it reads the state.
    IndexBeforeEpoch,
    /// A writer takes for its epoch what it read after the list of condemned packs.
    EpochAfterIndex,
    /// A writer adopts packs although they are condemned.
    CondemnedAdopted,
    /// Packs are deleted while index files still name them.
    PacksFirst,
    /// Old index files are removed before the new one is written.
    IndexGoneFirst,
    /// What only condemned packs hold is not copied.
    NoRescue,
    /// The first writer is a stock tool's: it knows no state and no lists.
    StockWriter,
    /// The state is changed whatever it is by now.
    Unconditional,
    /// Lists no longer have what was swept.
    ListsForget,
}

/// How a step goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Plain,
    /// It takes effect, and its writer does not know, and does it once more, later.
    AnswerLost,
    /// The store does not let go of the pack.
    Refused,
    /// The pass ends here, and the next one begins.
    Dies,
    /// The grace period is not over.
    Waits,
    /// Packs that no index names are too young to go.
    SparesOrphans,
    /// What is to be read again is not what it was.
    SourceChanged,
    /// A writer looks at the state and the index before it has put its snapshot, to have less to do then.
    LooksAgain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Writer(usize, Way),
    Pruner(usize, Way),
    /// A third party deletes a snapshot.
    Forget(usize),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) vault: Vault,
    pub(crate) writers: [Writer; 2],
    pub(crate) pruners: [Pruner; 2],
    pub(crate) faults: u8,
}

impl Scene {
    /// Whether a writer is a stock tool's.
    pub(crate) fn is_stock(&self, writer: usize) -> bool {
        self.flaw == Some(Flaw::StockWriter) && writer == 0
    }

    /// What a snapshot needs.
    pub(crate) fn needs_of(&self, snapshot: usize) -> Set {
        if snapshot == FIRST_SNAPSHOT { self.kept } else { self.needs[snapshot - 1] }
    }
}

impl State {
    fn acknowledged(&self) -> Set {
        let first = Set::one(FIRST_SNAPSHOT);
        let writers = self.writers.iter().enumerate();
        let acknowledged = writers.filter(|(_, writer)| writer.at == writer::At::Acknowledged);
        acknowledged.fold(first, |all, (writer, _)| all.and(Set::one(snapshot_of(writer))))
    }
}

pub(crate) const WHOLE: &str = "what was acknowledged is whole";
pub(crate) const NAMED: &str = "index files of prune name packs that are there";

impl Model for Scene {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            vault: Vault::new(self.packs),
            writers: self.needs.map(|needs| if needs.is_empty() { Writer::absent() } else { Writer::new() }),
            pruners: self.passes.map(|passes| if passes == 0 { Pruner::absent() } else { Pruner::new() }),
            faults: self.faults,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let mut ways = Vec::new();
        for (own, writer) in state.writers.iter().enumerate() {
            writer.ways(self, &state.vault, own, state.faults, &mut ways);
            actions.extend(ways.drain(..).map(|way| Action::Writer(own, way)));
        }
        for (own, pruner) in state.pruners.iter().enumerate() {
            pruner.ways(self, &state.vault, own, state.faults, &mut ways);
            actions.extend(ways.drain(..).map(|way| Action::Pruner(own, way)));
        }
        actions.extend(self.forgettable.within(state.vault.snapshots).iter().map(Action::Forget));
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        let way = match action {
            Action::Writer(own, way) => {
                state.writers[own].step(self, &mut state.vault, own, way);
                way
            }
            Action::Pruner(own, way) => {
                state.pruners[own].step(self, &mut state.vault, own, way);
                way
            }
            Action::Forget(snapshot) => {
                state.vault.snapshots = state.vault.snapshots.without(Set::one(snapshot));
                Way::Plain
            }
        };
        if matches!(way, Way::AnswerLost | Way::Refused | Way::Dies) {
            state.faults -= 1;
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(WHOLE, |scene: &Self, state: &State| {
                let due = state.acknowledged().within(state.vault.snapshots);
                due.iter().all(|snapshot| state.vault.is_whole(scene.needs_of(snapshot)))
            }),
            Property::sometimes("packs are condemned", |_, state: &State| state.vault.epoch > 0),
            Property::sometimes("packs are swept", |_, state: &State| {
                state.vault.condemned(state.vault.boundary).iter().any(|pack| !state.vault.packs.has(pack))
            }),
            Property::sometimes("what only condemned packs hold is copied", |_, state: &State| {
                state.pruners.iter().any(|pruner| pruner.rescues)
            }),
            Property::sometimes("a writer that was overtaken stores again, and is acknowledged", |_, state: &State| {
                state.writers.iter().any(|writer| writer.at == writer::At::Acknowledged && writer.repaired)
            }),
        ];
        if !self.source_changes {
            properties.push(Property::sometimes(
                "a snapshot that nobody acknowledged is not whole",
                |scene: &Self, state: &State| {
                    let undue = state.vault.snapshots.without(state.acknowledged());
                    undue.iter().any(|snapshot| !state.vault.is_whole(scene.needs_of(snapshot)))
                },
            ));
        }
        if self.passes[1] > 0 {
            properties.push(Property::sometimes("a pruner is too late to condemn", |_, state: &State| {
                state.pruners.iter().any(|pruner| pruner.lost)
            }));
        } else {
            properties.push(Property::always(NAMED, |_, state: &State| {
                let files = files_of_pruners().iter().map(|file| state.vault.files.get(file));
                files.flatten().all(|file| state.vault.packs.covers(file.names))
            }));
        }
        if self.source_changes {
            properties.push(Property::sometimes("a snapshot is withdrawn", |scene: &Self, state: &State| {
                let mut writers = state.writers.iter().zip(scene.needs);
                writers.any(|(writer, needs)| writer.at == writer::At::Withdrawn && !needs.is_empty())
            }));
        }
        properties
    }
}
