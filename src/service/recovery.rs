//! The hands of a runbook: what a restore step does, in a drill and in an incident alike.
//!
//! Everything that is needed to restore comes from the vault and the configuration; the catalog, which may be lost, is not
//! asked. `latest` is the newest complete snapshot of the plan that a signed record in that very vault vouches for.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::error::ServiceError;
use super::host::{Service, archive};
use super::vaults::OpenError;
use crate::config::{self, FilesSource, Plan, PlanName, RestoreStep, RunbookName, SnapshotChoice, Source, VaultName};
use crate::drill::plan::NoVault;
use crate::monitor::{Cancel, Problem};
use crate::record::archive::ArchiveError;
use crate::record::verify::Audit;
use crate::record::{Completeness, Draft, Status, TimeKind, Work};
use crate::restore::{self, Existing, Mode, Privileged, RestoreError, Selection, Trust};
use crate::runbook::manifest::{Kind, LeaveOut, Origin};
use crate::runbook::outcome::{Cache, OriginOf, PointKind, Restored, Run, StepRun};
use crate::runbook::plan::State;
use crate::runbook::run::{Hands, Setting, run as run_runbook};
use crate::source::files::{CacheTag, Case, Excludes, Folder, Names, Verdict};
use crate::vault::snapshot::SnapshotFile;
use crate::vault::{Id, Vault, VaultError, chain};

/// Ranges fetched and decoded at the same time.
const WORKERS: usize = 8;
/// The kernel stamps files with a clock that ticks; what was stamped this long before a snapshot may have come after it.
const TICK: SignedDuration = SignedDuration::from_millis(20);

/// Whether what came back can be held against a live source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// This is the host that was backed up.
    WithSource,
    /// The source is gone, as far as anybody knows.
    WithNothing,
}

/// Restores for a runbook.
pub struct Recovery<'a> {
    service: &'a Service,
    /// The plan that is recovered.
    plan: PlanName,
    /// Where each plan of the runbook is restored from.
    vaults: BTreeMap<PlanName, VaultName>,
    cache: Cache,
    compare: Compare,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
enum RecoveryError {
    #[error("restore plan {0}: no vault of it is left")]
    NoVault(PlanName),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error(
        "find a snapshot of plan {plan} in vault {vault}: of {count} there, no signed record says of any that it is complete"
    )]
    NoSnapshot { plan: PlanName, vault: VaultName, count: usize },
}

/// What the records of a vault say of a snapshot.
#[derive(Debug, Clone, Copy)]
struct Vouched {
    completeness: Completeness,
    time: TimeKind,
}

impl<'a> Recovery<'a> {
    /// Recovers `plan`; each plan that the runbook restores comes from its vault in `vaults`.
    pub fn new(
        service: &'a Service,
        plan: &PlanName,
        vaults: BTreeMap<PlanName, VaultName>,
        cache: Cache,
        compare: Compare,
    ) -> Self {
        Self { service, plan: plan.clone(), vaults, cache, compare }
    }

    async fn bring_back(&self, step: &RestoreStep, into: &Path, cancel: &Cancel) -> Result<Restored, RecoveryError> {
        let name = step.plan.as_ref().unwrap_or(&self.plan);
        let from = self.vaults.get(name).ok_or_else(|| RecoveryError::NoVault(name.clone()))?;
        let vault = match self.cache {
            Cache::Cold => self.service.vaults().open_uncached(from).await?,
            Cache::Warm => self.service.vaults().open(from).await?,
        };
        let monitor = self.service.monitor();
        let (found, time) = self.find(&vault, from, name, &step.snapshot).await?;
        let loaded = vault.load_index_past_damage(&**monitor).await?;
        let mut problems: Vec<Problem> = loaded
            .damaged
            .iter()
            .map(|(id, error)| Problem { what: format!("index {}", id.short()), why: chain(error) })
            .collect();
        let root = rustix::process::geteuid().is_root();
        let options = restore::Options {
            target: into.to_owned(),
            subpath: PathBuf::from("/"),
            selection: Selection::new(&step.include, &[])?,
            whole: Vec::new(),
            existing: Existing::Overwrite,
            trust: Trust::Content,
            mode: Mode::Write,
            privileged: if root { Privileged::Restore } else { Privileged::Leave },
            workers: WORKERS,
        };
        let tree = found.snapshot.tree;
        let done =
            Box::pin(restore::run(&vault, &loaded.index, tree, options, monitor.clone(), cancel.clone())).await?;
        problems.extend(done.problems);
        let source = self.service.config().plans.get(name).map(|plan| &plan.source);
        Ok(Restored {
            plan: name.to_string(),
            snapshot: found.id.to_string(),
            tree: tree.to_string(),
            host: found.snapshot.hostname.clone(),
            paths: found.snapshot.paths.clone(),
            consistent_to: found.snapshot.time,
            point: match source {
                Some(Source::Sqlite { .. }) => PointKind::Transaction,
                Some(Source::Files(_) | Source::Command { .. }) | None => PointKind::SnapshotStart,
            },
            time,
            files: done.summary.files,
            bytes: done.summary.bytes,
            fetched: done.summary.bytes_fetched,
            cache: self.cache,
            problems,
            origin: self.origin(source, &found),
        })
    }

    /// The snapshot that is meant, and whose time its own is.
    async fn find(
        &self,
        vault: &Vault,
        from: &VaultName,
        plan: &PlanName,
        choice: &SnapshotChoice,
    ) -> Result<(SnapshotFile, TimeKind), RecoveryError> {
        let vouched = vouched(&archive(vault).audit().await?);
        match choice {
            SnapshotChoice::Id(prefix) => {
                let found = vault.find_snapshot(prefix).await?;
                let time = vouched.get(&found.id).map_or(self.service.time(), |known| known.time);
                Ok((found, time))
            }
            SnapshotChoice::Latest => {
                let listed = vault.snapshots().await?;
                for (id, error) in &listed.damaged {
                    let problem = Problem { what: format!("snapshot {}", id.short()), why: chain(error) };
                    self.service.monitor().problem(&problem);
                }
                let tag = format!("plan={plan}");
                let of_plan: Vec<SnapshotFile> =
                    listed.whole.into_iter().filter(|file| file.snapshot.tags.contains(&tag)).collect();
                let count = of_plan.len();
                let complete =
                    |id: &Id| vouched.get(id).copied().filter(|known| known.completeness == Completeness::Complete);
                let usable = || of_plan.iter().filter_map(|file| Some((file, complete(&file.id)?)));
                // A host that takes over for another has none of its own.
                let own = usable().rfind(|(file, _)| file.snapshot.hostname == self.service.host());
                let (file, known) = own.or_else(|| usable().next_back()).ok_or_else(|| RecoveryError::NoSnapshot {
                    plan: plan.clone(),
                    vault: from.clone(),
                    count,
                })?;
                Ok((file.clone(), known.time))
            }
        }
    }

    fn origin(&self, source: Option<&Source>, found: &SnapshotFile) -> Option<OriginOf> {
        let here = self.compare == Compare::WithSource && found.snapshot.hostname == self.service.host();
        let Some(Source::Files(files)) = source.filter(|_| here) else { return None };
        let since = self.service.env().clock.file_time(found.snapshot.time);
        let since = since.checked_sub(TICK).unwrap_or(since);
        Some(OriginOf(Origin { roots: files.paths.clone(), since, leave_out: leave_out(files)? }))
    }
}

/// A plan that was brought back in earnest.
#[derive(Debug)]
pub struct BroughtBack {
    /// The steps.
    pub run: Run,
}

impl Service {
    /// Brings a plan back beneath `target`, which the caller owns, from one vault, and records the restore. Whatever stands
    /// where the source was is not held against what comes back: it may be what is wrong.
    pub async fn bring_back(
        &self,
        name: &PlanName,
        runbook: Option<&RunbookName>,
        from: &VaultName,
        target: &Path,
    ) -> Result<BroughtBack, ServiceError> {
        let (name, plan) = self.plan(name.as_str())?;
        let (runbook, steps) = self.runbook_of(name, plan, runbook)?;
        let started = self.env.clock.now();
        let is_in = |plan: &Plan| plan.vault == *from || plan.copies.iter().any(|copy| copy.vault == *from);
        if !is_in(plan) {
            return Err(NoVault::NotOfThePlan(from.clone()).into());
        }
        let place = |(name, plan): (&PlanName, &Plan)| {
            (name.clone(), if is_in(plan) { from.clone() } else { plan.vault.clone() })
        };
        let hands =
            Recovery::new(self, name, self.config.plans.iter().map(place).collect(), Cache::Warm, Compare::WithNothing);
        let setting = Setting {
            target,
            variables: &[("DRCTL_PLAN".to_owned(), name.to_string())],
            env: &self.env,
            time: self.time,
            monitor: &*self.monitor,
            cancel: &self.cancel,
        };
        let run = Box::pin(run_runbook(steps, &hands, setting)).await;
        let run = run.map_err(|flaws| ServiceError::Runbook { runbook: runbook.clone(), flaws })?;
        self.record_restore(name, from, &run, started)?;
        self.deliver_soon(from).await;
        Ok(BroughtBack { run })
    }

    fn record_restore(
        &self,
        name: &PlanName,
        from: &VaultName,
        run: &Run,
        started: Timestamp,
    ) -> Result<(), ServiceError> {
        let restored = run.steps.iter().find_map(|step| step.restored.as_ref());
        let Some(snapshot) = restored.and_then(|restored| restored.snapshot.parse().ok()) else { return Ok(()) };
        let failed = |critical| run.steps.iter().any(|step| step.critical == critical && step.state == State::Failed);
        let problem = |step: &StepRun| Problem { what: format!("step {}", step.id), why: step.said.clone() };
        let draft = Draft {
            id: self.recorder.run_id(),
            plan: Some(name.to_string()),
            due: None,
            tiers: Vec::new(),
            started,
            finished: self.env.clock.now().max(started),
            status: match (failed(true), failed(false)) {
                (true, _) => Status::Failed,
                (false, true) => Status::Partial,
                (false, false) => Status::Ok,
            },
            work: Work::Restore { snapshot },
            figures: BTreeMap::new(),
            problems: run.steps.iter().filter(|step| step.state == State::Failed).map(problem).collect(),
        };
        self.record(from.as_str(), draft).map(drop)
    }
}

#[async_trait::async_trait]
impl Hands for Recovery<'_> {
    async fn restore(&self, step: &RestoreStep, into: &Path, cancel: &Cancel) -> Result<Restored, String> {
        self.bring_back(step, into, cancel).await.map_err(|error| chain(&error))
    }
}

/// What the records of a vault say of each snapshot in it.
fn vouched(audit: &Audit) -> HashMap<Id, Vouched> {
    let mut known = HashMap::new();
    for entry in &audit.entries {
        let record = &entry.record;
        match &record.work {
            Work::Backup { snapshot: Some(id) } => {
                let completeness = match record.status {
                    Status::Ok => Completeness::Complete,
                    Status::Partial => Completeness::Partial,
                    Status::Failed => Completeness::Unknown,
                };
                known.insert(*id, Vouched { completeness, time: record.time });
            }
            Work::Replicate { copied, .. } => {
                let of = |copy: &crate::record::entry::CopiedSnapshot| {
                    (copy.copy, Vouched { completeness: copy.completeness, time: record.time })
                };
                known.extend(copied.iter().map(of));
            }
            Work::Backup { snapshot: None }
            | Work::Restore { .. }
            | Work::Retention { .. }
            | Work::Prune
            | Work::Verify { .. }
            | Work::Drill(_)
            | Work::Missed { .. } => {}
        }
    }
    known
}

/// What the backup of these files leaves out on purpose. `None` when its patterns cannot be read.
fn leave_out(files: &FilesSource) -> Option<LeaveOut> {
    let excludes = Excludes::new(&files.exclude, &files.exclude_files, Case::Sensitive).ok()?;
    let roots: Vec<(PathBuf, Option<u64>)> =
        files.paths.iter().map(|root| (root.clone(), std::fs::metadata(root).ok().map(|meta| meta.dev()))).collect();
    let (caches, mounts) = (files.caches, files.mounts);
    let names = Arc::new(Names::new());
    Some(Arc::new(move |path, kind| {
        let Some((root, device)) = roots.iter().find(|(root, _)| path.starts_with(root)) else { return false };
        let Ok(relative) = path.strip_prefix(root) else { return false };
        if relative.as_os_str().is_empty() {
            return false;
        }
        let is_folder = kind == Kind::Folder;
        if excludes.matches(relative.as_os_str().as_bytes(), is_folder) != Verdict::Keep {
            return true;
        }
        if mounts == config::Mounts::Stay
            && is_folder
            && std::fs::symlink_metadata(path).is_ok_and(|meta| Some(meta.dev()) != *device)
        {
            return true;
        }
        caches == config::Caches::Exclude
            && path.file_name() != Some(OsStr::new("CACHEDIR.TAG"))
            && path.parent().is_some_and(|folder| is_cache(folder, &names))
    }))
}

fn is_cache(folder: &Path, names: &Arc<Names>) -> bool {
    let tag = Folder::open(folder, names.clone()).and_then(|folder| folder.cache_tag());
    matches!(tag, Ok(CacheTag::Cache))
}
