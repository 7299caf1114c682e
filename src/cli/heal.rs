//! `drctl check --heal-from` and `--heal-from-source`: replaces what is damaged.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use super::args::check::Check;
use super::check::{self, Checked};
use super::context::Context;
use super::error::Failure;
use super::escape;
use super::exit::Exit;
use super::output::Output;
use super::replicate::{Key, another, other};
use super::secret::Purpose;
use super::table::{Align, Listing};
use super::target::Target;
use crate::heal::{self, HealError, Healed, HealedSnapshot, Sources};
use crate::monitor::Monitor;
use crate::record::entry::CopiedSnapshot;
use crate::record::{Completeness, Draft, Record, Status, Work};
use crate::service::host::archive;
use crate::service::verify::{self, proven};
use crate::units::ByteSize;
use crate::vault::{Vault, whoami};

/// Lost blobs that are named; `--json` names all.
const NAMED: usize = 20;

/// Runs the command. What is left damaged ends it with exit code 1.
pub(crate) async fn run(args: Check, context: &Context) -> Result<Exit, Failure> {
    let target = context.target()?;
    let vault = context.open_uncached(&target, Purpose::Write).await?;
    let copy = match &args.heal_from {
        Some(url) => {
            let key = Key { file: args.heal_from_key_file, command: args.heal_from_password_command };
            let there = other(context, another(&context.global, url.clone(), key, args.heal_from_aws_profile));
            Some(there.open_uncached(&there.target()?, Purpose::Read).await?)
        }
        None => None,
    };
    let host = whoami::hostname();
    let sources = Sources { copy: copy.as_ref(), files: args.heal_from_source.then_some(host.as_str()) };
    let started = context.env.clock.now();
    let bar = Arc::new(context.bar());
    let done = heal::run(&vault, sources, context.lock_wait(), bar.clone(), context.stop.cancel()).await;
    let done = match done {
        Ok(done) => done,
        Err(error) => {
            bar.done();
            return Err(failure(error));
        }
    };
    bar.stage("records");
    vouch(&done.healed.snapshots, &target, &vault, context).await?;
    let records = verify::records(&vault).await.map_err(Failure::of)?;
    bar.done();
    if !done.snapshots.is_empty() {
        let found = proven(&done.snapshots, &done.report).with(&records);
        context.record(&target, &vault, |recorder| check::account(found, started, recorder)).await;
    }
    let whole = done.report.damage.is_empty() && records.flaws.is_empty();
    check::show(&Checked { report: done.report, records, healed: Some(done.healed) }, context)?;
    Ok(if whole { Exit::Done } else { Exit::Failed })
}

fn failure(error: HealError) -> Failure {
    match error {
        HealError::Cancelled => Failure::of(error).exits(Exit::Interrupted),
        HealError::SameVault { .. } => {
            Failure::of(error).exits(Exit::Usage).hint("give --heal-from the address of another vault")
        }
        HealError::ReadBack { .. } => Failure::plain(format!("failed to {}", super::error::chain(&error)))
            .hint("the vault's store loses or changes what it acknowledged: look at it, then run this again"),
        HealError::Vault(_) | HealError::Copy(_) | HealError::Seal(_) => Failure::of(error),
    }
}

/// Records under which id a snapshot goes on that a record vouched for: its word holds for what came of it.
async fn vouch(healed: &[HealedSnapshot], target: &Target, vault: &Vault, context: &Context) -> Result<(), Failure> {
    let renamed: Vec<&HealedSnapshot> = healed.iter().filter(|it| it.lost != it.now).collect();
    if renamed.is_empty() {
        return Ok(());
    }
    let audit = archive(vault).audit().await.map_err(Failure::of)?;
    for HealedSnapshot { lost, now } in renamed {
        let word = audit.entries.iter().find_map(|entry| Some((&entry.record, completeness(&entry.record, *lost)?)));
        let Some((record, completeness)) = word else { continue };
        let copied = CopiedSnapshot { origin: *lost, copy: *now, completeness };
        let at = context.env.clock.now();
        let draft = |recorder: &crate::record::Recorder| Draft {
            id: recorder.run_id(),
            plan: record.plan.clone(),
            due: None,
            tiers: record.tiers.clone(),
            started: at,
            finished: at,
            status: Status::Ok,
            work: Work::Replicate { from: target.label().to_owned(), copied: vec![copied] },
            figures: BTreeMap::new(),
            problems: Vec::new(),
        };
        context.record(target, vault, draft).await;
    }
    Ok(())
}

/// What a record says about a snapshot that it vouches for.
pub(super) fn completeness(record: &Record, snapshot: crate::vault::Id) -> Option<Completeness> {
    match &record.work {
        Work::Backup { snapshot: Some(id) } if *id == snapshot => match record.status {
            Status::Ok => Some(Completeness::Complete),
            Status::Partial | Status::Failed => Some(Completeness::Partial),
        },
        Work::Replicate { copied, .. } => copied.iter().find(|it| it.copy == snapshot).map(|it| it.completeness),
        _ => None,
    }
}

/// What was done, for people.
pub(crate) fn show(healed: &Healed, terminal: Output, out: &mut dyn Write) -> std::io::Result<()> {
    let mut table = Listing::new(terminal, &[("Healed", Align::Left), ("Id", Align::Left), ("By", Align::Left)]);
    for id in &healed.indexes {
        table.row(&["index".into(), id.short().into(), "the headers of packs".into()]);
    }
    for id in &healed.packs {
        table.row(&["pack".into(), id.short().into(), "new packs".into()]);
    }
    for HealedSnapshot { lost, now } in &healed.snapshots {
        let by = if lost == now { "the same object".to_owned() } else { format!("snapshot {}", now.short()) };
        table.row(&["snapshot".into(), lost.short().into(), by.into()]);
    }
    if healed.indexes.len() + healed.packs.len() + healed.snapshots.len() > 0 {
        table.print(out)?;
    }
    let Healed { blobs_from_copy: copy, blobs_from_source: files, blobs_moved: moved, packs_written, .. } = healed;
    let bytes = ByteSize(healed.bytes_written);
    writeln!(
        out,
        "{copy} blobs came from the other vault, {files} from files, {moved} out of damaged packs; {packs_written} packs ({bytes}) written"
    )?;
    if healed.packs_named > 0 {
        writeln!(out, "{} packs that were in no index are named now", healed.packs_named)?;
    }
    for lost in healed.not_found.iter().take(NAMED) {
        let kind = super::planned::word(lost.kind);
        writeln!(out, "not found: {kind} {}: {}", lost.id.short(), escape::text(&lost.why))?;
    }
    match healed.not_found.len().saturating_sub(NAMED) {
        0 => Ok(()),
        more => writeln!(out, "not found: {more} more blobs"),
    }
}
