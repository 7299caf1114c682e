//! Carrying out a prune while backups run, in vaults that only drctl writes to.
//!
//! What goes is condemned first, and stays where it is and in the index: whoever reads still finds it, and writers that begin
//! from now on do not rely on it. Only a prune that comes at least the grace period later deletes it. Order of a pass: the
//! boundary is moved over what was condemned long enough ago; *then* snapshots are listed, then the index is loaded; what
//! they need of condemned packs is copied; index files without the packs that are swept, and then those packs' removal; last,
//! what goes now is condemned. A writer in turn writes its snapshot and *then* looks at the boundary ([`super::confirm`]),
//! so that one of the two sees the other, whoever is slow. No clock and no lock is needed for that: the shared lock only
//! keeps away those who must be alone, and the grace period only saves work. A crash at any point leaves a whole vault, and
//! the next prune goes on. docs/prune.md has the reasons, and what a model of it was shown to do.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::decision::{Beside, Figures, PrunePlan, Refusal};
use super::plan;
use super::repack::{self, Others};
use super::run::{Form, Mode, Options, Outcome, PruneError, clear_unfinished, mark, snapshots};
use crate::monitor::{Cancel, Monitor, Silent};
use crate::units::ByteSize;
use crate::vault::index::Index;
use crate::vault::lock::{LockGuard, LockKind};
use crate::vault::snapshot::SnapshotFile;
use crate::vault::{BlobKey, Condemned, FileType, Id, Vault, VaultError};

pub(super) async fn run(
    vault: &Vault,
    options: Options,
    monitor: &Arc<dyn Monitor>,
    cancel: &Cancel,
    lock: &LockGuard,
) -> Result<Outcome, PruneError> {
    let clock = vault.env().clock.clone();
    let begun = clock.boot();
    let mut done = pass(vault, options, monitor, cancel, lock).await?;
    if options.mode == Mode::Write && options.grace.is_zero() && done.figures.condemned_packs > 0 {
        match pass(vault, options, monitor, cancel, lock).await {
            Ok(second) => {
                done.packs_written += second.packs_written;
                done.figures = Figures {
                    delete_packs: done.figures.delete_packs + second.figures.delete_packs,
                    freed: done.figures.freed + second.figures.freed,
                    condemned_packs: second.figures.condemned_packs,
                    condemned: second.figures.condemned,
                    ..done.figures
                };
            }
            // The first one did what it says. What it condemned goes another time.
            Err(PruneError::AtWork { .. } | PruneError::Overtaken) => {}
            Err(error) => return Err(error),
        }
    }
    done.millis = u64::try_from((clock.boot() - begun).as_millis()).unwrap_or(u64::MAX);
    Ok(done)
}

async fn pass(
    vault: &Vault,
    options: Options,
    monitor: &Arc<dyn Monitor>,
    cancel: &Cancel,
    lock: &LockGuard,
) -> Result<Outcome, PruneError> {
    let seen = boundary(vault, options).await?;
    // From here on: a writer whose snapshot is not among these finds the boundary where it is now.
    let snapshots = snapshots(vault).await?;
    monitor.stage("index");
    let indexed = vault.list(FileType::Index).await?;
    let index = vault.load_index(&**monitor).await?.beside(&seen.condemned);
    let marks = mark(vault, &index, &snapshots, monitor, cancel).await?;
    let (listed, recent) = packs(vault, options.grace).await?;
    let beside = Beside { condemned: seen.condemned.packs().clone(), boundary: seen.boundary, recent };
    let plan = match plan::prune(&marks, &listed, &marks, options.limits, Some(&beside)) {
        Ok(plan) => plan,
        Err(refusal) => {
            let Some(lost) = lost(&index, &refusal) else { return Err(refusal.into()) };
            // A backup that was overtaken stores again what its snapshot needs; a prune that went on has removed index
            // files. Nothing is said of snapshots that may be whole soon, or by now: first those who are at work are
            // looked for, then what those have left who are not any more.
            if let Some(lock) = lock.other().await? {
                tracing::info!(%refusal, "others are at work");
                return Err(PruneError::AtWork { holder: lock.to_string() });
            }
            if !same(&indexed, &vault.list(FileType::Index).await?) {
                tracing::info!(%refusal, "others were at work");
                return Err(PruneError::Overtaken);
            }
            return Err(explain(vault, &index, &snapshots, refusal, &lost, cancel).await);
        }
    };
    let mut done =
        Outcome { form: Form::Concurrent, figures: plan.figures, packs_written: 0, no_room_for: 0, millis: 0 };
    if options.mode == Mode::Write && !plan.is_empty() {
        let moved = repack::repack(vault, &plan, &marks, Others::AtWork, monitor, cancel).await?;
        done.packs_written = moved.packs_written;
        if moved.no_room {
            done.no_room_for = (plan.repack.len() + plan.rescue.len()) as u64;
            done.figures = without_moving(&plan);
        }
        lock.check()?;
        if cancel.is_cancelled() {
            return Err(PruneError::Cancelled);
        }
        sweep(vault, &plan, moved.no_room, lock, monitor).await?;
        condemn(vault, &plan, moved.no_room, &seen.condemned).await?;
    }
    Ok(done)
}

fn same(before: &[(Id, u64)], now: &[(Id, u64)]) -> bool {
    let now: HashSet<&(Id, u64)> = now.iter().collect();
    before.len() == now.len() && before.iter().all(|file| now.contains(file))
}

/// What is condemned, and what of it goes in this pass.
struct Seen {
    condemned: Condemned,
    boundary: u64,
}

/// Moves the boundary over what was condemned long enough ago; a rehearsal only supposes that it was moved.
async fn boundary(vault: &Vault, options: Options) -> Result<Seen, PruneError> {
    let condemned = vault.condemned().await?;
    let age = vault.env().clock.now().duration_since(condemned.since());
    // Without grace no clock is asked: the one that said when may be ahead of ours.
    let is_due = condemned.epoch() > condemned.boundary() && (options.grace.is_zero() || age >= signed(options.grace));
    Ok(match options.mode {
        Mode::Write if is_due => {
            let condemned = vault.advance_boundary(&condemned).await?;
            Seen { boundary: condemned.boundary(), condemned }
        }
        Mode::Rehearse if is_due => Seen { boundary: condemned.epoch(), condemned },
        Mode::Write | Mode::Rehearse => Seen { boundary: condemned.boundary(), condemned },
    })
}

/// Every pack with its size, and which of them are younger than the grace period as far as the store's clock can be trusted.
async fn packs(vault: &Vault, grace: Duration) -> Result<(Vec<(Id, ByteSize)>, HashSet<Id>), VaultError> {
    let now = vault.env().clock.now();
    let (mut listed, mut recent) = (Vec::new(), HashSet::new());
    for (id, object) in vault.list_objects(FileType::Pack).await? {
        listed.push((id, ByteSize(object.size)));
        if !grace.is_zero() && now.duration_since(object.modified) < signed(grace) {
            recent.insert(id);
        }
    }
    Ok((listed, recent))
}

fn signed(span: Duration) -> SignedDuration {
    SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX)
}

/// Takes out of the index, and then deletes, what was condemned long enough ago and holds nothing any more that is needed.
async fn sweep(
    vault: &Vault,
    plan: &PrunePlan,
    no_room: bool,
    lock: &LockGuard,
    monitor: &Arc<dyn Monitor>,
) -> Result<(), PruneError> {
    let needed: HashSet<Id> = if no_room { plan.rescue.iter().map(|pack| pack.pack).collect() } else { HashSet::new() };
    let swept: Vec<Id> = plan.sweep.iter().map(|gone| gone.pack).filter(|pack| !needed.contains(pack)).collect();
    let gone: HashSet<Id> = swept.iter().chain(&plan.forget).copied().collect();
    if gone.is_empty() {
        return Ok(());
    }
    monitor.stage("index");
    vault.rewrite_index(&gone, &HashSet::new(), lock, &**monitor).await?;
    monitor.stage("delete packs");
    monitor.total(swept.len() as u64, 0);
    vault.remove_packs_under(lock, &swept).await?;
    monitor.advance(swept.len() as u64, 0);
    Ok(())
}

async fn condemn(vault: &Vault, plan: &PrunePlan, no_room: bool, seen: &Condemned) -> Result<(), PruneError> {
    let rewritten = if no_room { &[][..] } else { &plan.repack[..] };
    let condemned: Vec<Id> =
        plan.delete.iter().map(|gone| gone.pack).chain(rewritten.iter().map(|pack| pack.pack)).collect();
    if condemned.is_empty() || vault.condemn(seen, &condemned).await? {
        return Ok(());
    }
    Err(PruneError::Overtaken)
}

/// What is freed and condemned when nothing could be moved.
fn without_moving(plan: &PrunePlan) -> Figures {
    let needed: HashSet<Id> = plan.rescue.iter().map(|pack| pack.pack).collect();
    let stay = || plan.sweep.iter().filter(|gone| needed.contains(&gone.pack));
    let figures = plan.figures.without_rewriting();
    Figures {
        delete_packs: figures.delete_packs - stay().count() as u64,
        freed: figures.freed - stay().map(|gone| gone.size.0).sum::<u64>(),
        ..figures
    }
}

/// What runs that died left half-written, when nobody is at work who may still be writing it.
pub(super) async fn clear_unfinished_if_alone(vault: &Vault, monitor: &dyn Monitor) -> Result<(), PruneError> {
    match vault.lock(LockKind::Exclusive, Duration::ZERO).await {
        Ok(lock) => {
            let cleared = clear_unfinished(vault, monitor, &lock).await;
            lock.release().await;
            cleared
        }
        Err(VaultError::Locked { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The blobs that no pack has. Nothing if some of what was refused is there and damaged, which is no matter of who came
/// first.
fn lost(index: &Index, refusal: &Refusal) -> Option<Vec<BlobKey>> {
    match refusal {
        Refusal::NotIndexed { blobs, .. } => Some(blobs.clone()),
        Refusal::Damaged { packs, .. } => {
            let gone: HashSet<Id> = packs.iter().filter(|pack| pack.found.is_none()).map(|pack| pack.pack).collect();
            let all = gone.len() == packs.len();
            all.then(|| index.iter().filter(|(_, at)| gone.contains(&at.pack)).map(|(key, _)| key).collect())
        }
    }
}

/// Which snapshots cannot be had whole. A backup that died after it wrote its snapshot and before it looked at the boundary
/// leaves such a one; it was never acknowledged.
async fn explain(
    vault: &Vault,
    index: &Index,
    snapshots: &[SnapshotFile],
    refusal: Refusal,
    lost: &[BlobKey],
    cancel: &Cancel,
) -> PruneError {
    let silent: Arc<dyn Monitor> = Arc::new(Silent);
    let mut lacking = Vec::new();
    for file in snapshots {
        match mark(vault, index, std::slice::from_ref(file), &silent, cancel).await {
            Ok(marks) if lost.iter().any(|key| marks.reaches(key)) => lacking.push(file.id),
            Ok(_) => {}
            // What the store did not let be read may be whole: whoever is told that it lacks something may forget it.
            Err(error @ (PruneError::Cancelled | PruneError::UnreadTrees { .. })) => return error,
            Err(_) => lacking.push(file.id),
        }
    }
    match lacking.is_empty() {
        true => refusal.into(),
        false => PruneError::Lacking { snapshots: lacking, blobs: lost.len() },
    }
}
