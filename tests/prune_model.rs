//! Prune beside running backups, and prune alone beside stock tools, as models: every order of steps is tried, and every
//! state is looked at. docs/prune.md has the protocols, and what these models show.
//!
//! A model shows what its steps and its bounds allow, and no more. So each is also run with something done wrong, and has
//! to find what is lost then.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "counts of states and traces are what docs/prune.md is written from")]

#[path = "prune_model/concurrent.rs"]
mod concurrent;
#[path = "prune_model/exclusive.rs"]
mod exclusive;
#[path = "prune_model/plan.rs"]
mod plan;
#[path = "prune_model/pruner.rs"]
mod pruner;
#[path = "prune_model/trace.rs"]
mod trace;
#[path = "prune_model/vault.rs"]
mod vault;
#[path = "prune_model/writer.rs"]
mod writer;

use std::fmt::Debug;
use std::hash::Hash;

use concurrent::{Flaw, Scene};
use exclusive::{Job, Shared, Wrong};
use stateright::{Checker, HasDiscoveries, Model, Path};
use vault::{FIRST_SNAPSHOT, Set};

const A: Set = Set::of(0b001);
const B: Set = Set::of(0b010);
const C: Set = Set::of(0b100);
const NOTHING: Set = Set::EMPTY;

/// Two writers and a pruner. Of the pack that is indexed one blob is needed, and a third blob is in a pack that no index names.
fn scene() -> Scene {
    Scene {
        packs: [A.and(B), C],
        kept: A,
        needs: [A.and(B), B.and(C)],
        passes: [2, 0],
        faults: 0,
        forgettable: Set::one(FIRST_SNAPSHOT),
        repacks: true,
        adoption: false,
        looks_again: false,
        source_changes: false,
        flaw: None,
    }
}

/// One writer and a pruner.
fn pair() -> Scene {
    Scene { needs: [A.and(B), NOTHING], ..scene() }
}

/// A backup and a prune of ours beside restic's.
fn shared() -> Shared {
    Shared {
        packs: [A.and(B), C],
        kept: A,
        jobs: [Job::Backup, Job::StockBackup, Job::Prune, Job::StockPrune],
        needs: [A.and(B), B.and(C), NOTHING, NOTHING],
        lapses: 2,
        flaw: None,
    }
}

/// Looks at every state, and says how many there are. What always has to hold does, and what has to happen happens.
fn holds<M>(model: M) -> usize
where
    M: Model + Debug + Send + Sync + 'static,
    M::State: Hash + Send + Sync + Clone + PartialEq + Debug + 'static,
    M::Action: Clone + PartialEq + Debug,
{
    let told = format!("{model:?}");
    let checker = model.checker().spawn_dfs().join();
    println!("{} states: {told}", checker.unique_state_count());
    checker.assert_properties();
    checker.unique_state_count()
}

/// What no longer holds, and the way there.
type Broken<M> = (&'static str, Path<<M as Model>::State, <M as Model>::Action>);

/// One of the shortest ways to break what always has to hold, if there is one.
fn shortest<M>(model: &M) -> Option<Broken<M>>
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Hash + Send + Sync + Clone + PartialEq + 'static,
    M::Action: Clone + PartialEq,
{
    let mut found: Option<(&str, Path<_, _>)> = None;
    loop {
        // A search goes on for a while after it found something, and tells of the last. So it is sent again, less deep.
        let depth = found.as_ref().map_or(usize::MAX, |(_, path)| path.clone().into_actions().len() + 1);
        let search = model.clone().checker().finish_when(HasDiscoveries::AnyFailures).target_max_depth(depth);
        let broken = search.spawn_bfs().join().discoveries().into_iter();
        let mut broken: Vec<_> =
            broken.filter(|(name, _)| model.property(name).expectation.discovery_is_failure()).collect();
        match broken.pop() {
            Some(shorter) => found = Some(shorter),
            None => return found,
        }
    }
}

#[test]
fn two_writers_and_a_pruner_lose_nothing_whatever_the_order() {
    holds(Scene { source_changes: true, ..scene() });
    holds(Scene { repacks: false, ..scene() });
    holds(Scene { adoption: true, looks_again: true, ..scene() });
}

#[test]
fn snapshots_that_are_forgotten_at_any_time_take_nothing_with_them() {
    holds(Scene { forgettable: Set::of(0b111), adoption: true, ..scene() });
}

#[test]
fn lost_answers_refused_deletes_and_deaths_lose_nothing() {
    holds(Scene { faults: 1, adoption: true, ..scene() });
}

#[test]
fn a_writer_that_is_overtaken_again_and_again_loses_nothing() {
    let needs = [A.and(C), NOTHING];
    let forgettable = Set::of(0b111);
    holds(Scene { needs, passes: [3, 0], adoption: true, faults: 2, looks_again: true, forgettable, ..scene() });
}

#[test]
fn two_pruners_and_a_writer_lose_nothing() {
    holds(Scene { passes: [2, 1], ..pair() });
    holds(Scene { packs: [A, NOTHING], needs: [A, NOTHING], passes: [2, 2], ..scene() });
}

#[test]
fn two_writers_and_two_pruners_lose_nothing() {
    holds(Scene { passes: [1, 1], ..scene() });
    holds(Scene { passes: [1, 1], adoption: true, faults: 1, ..scene() });
}

#[test]
#[ignore = "takes ten minutes and gigabytes"]
fn larger_scenes_lose_nothing_either() {
    holds(Scene { passes: [2, 1], faults: 1, ..pair() });
    holds(Scene { passes: [3, 0], ..scene() });
    holds(Scene { passes: [2, 2], ..pair() });
}

#[test]
fn whatever_is_done_wrong_loses_something() {
    let adopted = Scene { adoption: true, needs: [A.and(C), NOTHING], ..pair() };
    for (flaw, scene, steps) in [
        (Flaw::ListedOnce, pair(), 16),
        (Flaw::SnapshotsFirst, pair(), 15),
        (Flaw::BoundaryUnread, pair(), 17),
        (Flaw::TakenBack, pair(), 21),
        (Flaw::EpochAfterIndex, pair(), 17),
        (Flaw::CondemnedAdopted, adopted, 20),
        (Flaw::PacksFirst, pair(), 13),
        (Flaw::IndexGoneFirst, pair(), 15),
        (Flaw::NoRescue, pair(), 17),
        (Flaw::Unconditional, Scene { needs: [B, NOTHING], passes: [2, 1], ..pair() }, 22),
        (Flaw::StockWriter, pair(), 17),
        (Flaw::ListsForget, Scene { passes: [3, 0], ..pair() }, 34),
    ] {
        let scene = Scene { flaw: Some(flaw), ..scene };
        let (property, path) = shortest(&scene).unwrap_or_else(|| panic!("{flaw:?} does no harm"));
        let lines = trace::told(&scene, &path.into_vec());
        println!(
            "{flaw:?}: no longer true that {property}, after {} steps:\n    {}",
            lines.len(),
            lines.join("\n    ")
        );
        assert_eq!(lines.len(), steps, "{flaw:?}: the shortest way has another length, so the model is another");
    }
}

#[test]
fn lists_that_keep_all_packs_make_up_for_an_index_that_was_loaded_too_early() {
    holds(Scene { flaw: Some(Flaw::IndexBeforeEpoch), source_changes: true, ..scene() });
}

#[test]
fn beside_stock_tools_locks_lose_nothing() {
    holds(shared());
}

#[test]
fn beside_stock_tools_whatever_is_done_wrong_loses_something() {
    for (flaw, steps) in [
        (Wrong::ListedOnce, 13),
        (Wrong::IndexBeforeLock, 15),
        (Wrong::SnapshotsBeforeLock, 14),
        (Wrong::Unlocked, 10),
        (Wrong::GoesOn, 15),
    ] {
        let scene = Shared { flaw: Some(flaw), ..shared() };
        let (_, path) = shortest(&scene).unwrap_or_else(|| panic!("{flaw:?} does no harm"));
        let lines = exclusive::told(&scene, &path.into_vec());
        println!(
            "{flaw:?}: no longer is every snapshot whole, after {} steps:\n    {}",
            lines.len(),
            lines.join("\n    ")
        );
        assert_eq!(lines.len(), steps, "{flaw:?}: the shortest way has another length, so the model is another");
    }
}
