//! Traces in words, one line a step.

use super::concurrent::{Action, Scene, State, Way};
use super::pruner;
use super::vault::{FIRST_SNAPSHOT, File, Owner, Set, Vault, blob_name, file_name, file_of, pack_name, pack_of};
use super::writer;

/// Each step of a way through the model. The last state has no step.
pub(crate) fn told(scene: &Scene, path: &[(State, Option<Action>)]) -> Vec<String> {
    let mut lines = Vec::new();
    for pair in path.windows(2) {
        if let (before, Some(action)) = &pair[0] {
            lines.push(step(scene, before, *action, &pair[1].0));
        }
    }
    lines
}

fn step(scene: &Scene, before: &State, action: Action, after: &State) -> String {
    match action {
        Action::Forget(snapshot) => format!("{} is forgotten", snapshot_name(snapshot)),
        Action::Writer(own, way) => {
            let (was, is) = (before.writers[own], after.writers[own]);
            let what = writer_step(scene, own, was, is, &after.vault);
            format!("writer {}: {what}{}", own + 1, aside(way))
        }
        Action::Pruner(own, way) => {
            let what = pruner_step(own, before, after);
            format!("pruner {}: {what}{}", own + 1, aside(way))
        }
    }
}

fn aside(way: Way) -> &'static str {
    match way {
        Way::Plain | Way::SourceChanged => "",
        Way::LooksAgain => "",
        Way::AnswerLost => "; the answer is lost",
        Way::Refused => "; the store refuses",
        Way::Dies => "; it dies, and the next pass begins",
        Way::Waits => "; the grace period is not over",
        Way::SparesOrphans => "; packs that no index names are too young",
    }
}

fn snapshot_name(snapshot: usize) -> String {
    if snapshot == FIRST_SNAPSHOT { "snapshot 0".into() } else { format!("snapshot {snapshot}") }
}

fn writer_step(scene: &Scene, own: usize, was: writer::Writer, is: writer::Writer, vault: &Vault) -> String {
    use writer::At;
    match was.at {
        At::Begin => format!("reads the state: epoch {}", is.seen),
        At::Load if is.at == At::Withdraw => "loads the index; the source has changed".into(),
        At::Load => {
            let stored = is.store.and(vault.blobs_in(is.adopt));
            let found = scene.needs[own].without(stored);
            format!("loads the index: it has {}, it lacks {}", found.named(blob_name), is.store.named(blob_name))
        }
        At::Adopt => format!("adopts {}", is.adopt.named(pack_name)),
        At::PutPack => format!("puts {}", pack(vault, pack_of(Owner::Writer(own), was.written))),
        At::PutIndex => format!("puts {}", file(vault, file_of(Owner::Writer(own), was.written))),
        At::PutSnapshot if is.at != At::Confirm && is.at != At::PutSnapshot => {
            format!("reads the state: epoch {}", is.seen)
        }
        At::PutSnapshot => format!("puts snapshot {}: {}", own + 1, scene.needs[own].named(blob_name)),
        At::Confirm if is.at == At::Acknowledged => format!("acknowledges; the boundary is {}", vault.boundary),
        At::Confirm => format!("reads the state: boundary {}, epoch {}", vault.boundary, vault.epoch),
        At::Withdraw => format!("withdraws snapshot {}", own + 1),
        At::Acknowledged | At::Withdrawn => "does nothing".into(),
    }
}

fn pruner_step(own: usize, before: &State, after: &State) -> String {
    use pruner::At;
    let (was, is) = (before.pruners[own], after.pruners[own]);
    let vault = &after.vault;
    match was.at {
        At::Begin => format!("reads the state: epoch {}, boundary {}", is.epoch, is.boundary),
        At::MoveBoundary if before.vault.boundary == vault.boundary => "cannot move the boundary".into(),
        At::MoveBoundary => format!("moves the boundary to {}", vault.boundary),
        At::ReadAgain => format!("reads the state: epoch {}, boundary {}", is.epoch, is.boundary),
        At::ListSnapshots => format!("lists snapshots; they need {}", is.used.named(blob_name)),
        At::Load => format!("loads the index: {}", is.files.named(file_name)),
        At::ListPacks => format!(
            "lists packs; decides to write {}, to sweep {}, to condemn {}",
            is.fresh.named(blob_name),
            is.sweep.named(pack_name),
            is.condemn.named(pack_name),
        ),
        At::PutPack => format!("puts {}", pack(vault, pack_of(Owner::Pruner(own), was.pass))),
        At::PutIndex => format!("puts {}", file(vault, file_of(Owner::Pruner(own), was.pass))),
        At::RemoveIndex => format!("removes index file {}", was.files.first().map(file_name).unwrap_or_default()),
        At::DeletePack => format!("deletes pack {}", was.sweep.first().map(pack_name).unwrap_or_default()),
        At::Condemn if *vault == before.vault => "is too late to condemn".into(),
        At::Condemn => format!("condemns {} in epoch {}", was.condemn.named(pack_name), vault.epoch),
        At::Done => "does nothing".into(),
    }
}

fn pack(vault: &Vault, slot: usize) -> String {
    format!("pack {} ({})", pack_name(slot), vault.blobs_in(Set::one(slot)).named(blob_name))
}

fn file(vault: &Vault, slot: usize) -> String {
    let File { names, .. } = vault.files[slot];
    format!("index file {} ({})", file_name(slot), names.named(pack_name))
}
