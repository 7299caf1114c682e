//! `drctl key rotate`: a vault under a new master key, beside the old one.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use serde_json::json;

use super::args::key::Rotate;
use super::backup::{problems, seconds};
use super::context::{Context, has_vault};
use super::error::Failure;
use super::exit::Exit;
use super::heal::completeness;
use super::key::new_password;
use super::replicate::{Key, another, failure as replicate_failure, other};
use super::secret::{self, KeySource, Purpose};
use super::target::Target;
use crate::record::entry::CopiedSnapshot;
use crate::record::{Draft, Record, Recorder, Status, Work};
use crate::replication::rotate::{RotateError, Rotated, rotate};
use crate::service::host::archive;
use crate::store::Store;
use crate::units::ByteSize;
use crate::vault::{InitOptions, OpenOptions, Vault, VaultError};

/// Runs the command.
pub(crate) async fn run(args: Rotate, context: &Context) -> Result<Exit, Failure> {
    let old = context.open_target(&context.target()?, Purpose::Read).await?;
    let key = Key { file: args.new.new_key_file.clone(), command: None };
    let there = other(context, another(&context.global, args.to.clone(), key, args.to_aws_profile.clone()));
    let target = there.target()?;
    let new = open(&args, &old, there.store(&target).await?, &target, context).await?;
    let started = context.env.clock.now();
    let bar = Arc::new(context.bar());
    let done = rotate(&old, &new, context.lock_wait(), bar.clone(), context.stop.cancel()).await;
    bar.done();
    let done = done.map_err(failure)?;
    vouch(&done, started, &target, (&old, &new), context).await?;
    context.out.result(&document(&done, &new), |out| show(&done, &new, out))?;
    Ok(if done.is_complete() { Exit::Done } else { Exit::Partial })
}

/// The new vault: the one that an earlier run began, or one that is made now.
async fn open(args: &Rotate, old: &Vault, store: Store, target: &Target, context: &Context) -> Result<Vault, Failure> {
    let there = has_vault(&store).await?;
    let password = match (there, &args.new.generate_key, &args.new.new_key_file) {
        (true, Some(_), _) => {
            return Err(Failure::usage(format!(
                "there is a vault at {} already: a key made now does not open it",
                target.url
            ))
            .hint("go on with the key that it was made with: --new-key-file FILE"));
        }
        (true, None, None) => {
            let prompt = format!("Password for {}: ", super::escape::text(&target.url));
            secret::obtain(&KeySource::Ask, Purpose::Write, context.shared_key(), context.out, &prompt)?
        }
        (true, None, Some(_)) | (false, ..) => new_password(&args.new, context)?,
    };
    if old.is_opened_by(&password).await.map_err(Failure::of)? {
        return Err(Failure::usage(
            "the new key is one that opens the old vault: whoever has it would have the new one, too",
        )
        .hint("choose another password, or make one with --generate-key FILE"));
    }
    let opened = if there {
        Vault::open(store, &password, &OpenOptions::default(), &context.env).await
    } else {
        let options = InitOptions {
            same_chunks_as: Some(*old.chunker()),
            pack_size: old.pack_size(),
            sharing: old.sharing(),
            ..InitOptions::default()
        };
        Vault::init(store, &password, &options, &context.env).await
    };
    opened.map_err(|error| match error {
        VaultError::WrongKey { .. } => Failure::of(error)
            .advise("to go on with a rotation, give the key that it was begun with: --new-key-file FILE"),
        error => Failure::of(error),
    })
}

fn failure(error: RotateError) -> Failure {
    match error {
        RotateError::Replicate(error) => replicate_failure(error),
        RotateError::OtherVault { .. } => {
            Failure::of(error).exits(Exit::Usage).hint("give --to an address where there is no vault yet")
        }
        RotateError::Check(crate::check::CheckError::Cancelled) => Failure::of(error).exits(Exit::Interrupted),
        RotateError::Records(_) | RotateError::Check(_) => Failure::of(error),
    }
}

/// Records in the new vault under which ids the snapshots go on there, wherever a record vouches for them in the old one.
async fn vouch(
    done: &Rotated,
    started: jiff::Timestamp,
    target: &Target,
    (old, new): (&Vault, &Vault),
    context: &Context,
) -> Result<(), Failure> {
    let audit = archive(new).audit().await.map_err(Failure::of)?;
    let records: Vec<&Record> = audit.entries.iter().map(|entry| &entry.record).collect();
    let mut groups: BTreeMap<Option<String>, (&Record, Vec<CopiedSnapshot>)> = BTreeMap::new();
    for (origin, copy) in done.pairs() {
        if records.iter().any(|record| completeness(record, copy).is_some()) {
            continue;
        }
        let word = records.iter().find_map(|record| Some((*record, completeness(record, origin)?)));
        let Some((record, completeness)) = word else { continue };
        let copied = CopiedSnapshot { origin, copy, completeness };
        groups.entry(record.plan.clone()).or_insert((record, Vec::new())).1.push(copied);
    }
    let finished = context.env.clock.now();
    for (record, copied) in groups.into_values() {
        let draft = |recorder: &Recorder| Draft {
            id: recorder.run_id(),
            plan: record.plan.clone(),
            due: None,
            tiers: Vec::new(),
            started,
            finished,
            status: Status::Ok,
            work: Work::Replicate { from: old.store().url().to_owned(), copied },
            figures: BTreeMap::new(),
            problems: Vec::new(),
        };
        context.record(target, new, draft).await;
    }
    Ok(())
}

fn document(done: &Rotated, new: &Vault) -> serde_json::Value {
    json!({
        "status": if done.is_complete() { "complete" } else { "partial" },
        "vault": { "url": new.store().url(), "id": new.id() },
        "copied": done.copy.copied,
        "present": done.copy.plan.present.len(),
        "not_copied": done.copy.not_copied,
        "figures": done.copy.figures,
        "records": done.records,
        "damage": done.report.damage,
        "problems": done.copy.problems,
    })
}

fn show(done: &Rotated, new: &Vault, out: &mut dyn Write) -> std::io::Result<()> {
    let f = &done.copy.figures;
    let bytes = |count: u64| ByteSize(count).to_string();
    let short = new.id().get(..8).unwrap_or_default();
    let (copied, present) = (done.copy.copied.len(), done.copy.plan.present.len());
    writeln!(out, "vault {short} at {} has a master key of its own", new.store().url())?;
    writeln!(out, "snapshots   {copied} sealed anew, {present} were there")?;
    if f.packs_adopted > 0 {
        writeln!(out, "adopted     {} in {} packs of an interrupted run", bytes(f.bytes_adopted), f.packs_adopted)?;
    }
    writeln!(
        out,
        "uploaded    {} in {} packs, read back, in {}",
        bytes(f.bytes_uploaded),
        f.packs_uploaded,
        seconds(f.millis)
    )?;
    let records = &done.records;
    writeln!(out, "records     {} taken over, {} were there", records.carried, records.present)?;
    let left = records.left.iter().map(|(key, why)| (key.as_str(), why.as_str()));
    let found = done.copy.problems.iter().map(|problem| (problem.what.as_str(), problem.why.as_str()));
    let damaged: Vec<(String, &str)> =
        done.report.damage.iter().map(|damage| (damage.id.short(), damage.why.as_str())).collect();
    let damage = damaged.iter().map(|(id, why)| (id.as_str(), *why));
    if !done.is_complete() {
        return problems(out, found.chain(left).chain(damage).collect::<Vec<_>>().into_iter());
    }
    writeln!(
        out,
        "the old vault is as it was. Use the new one from now on; run this again for what was backed up into the"
    )?;
    writeln!(out, "old one meanwhile, and remove that when nobody needs it: until then its old key still opens it")
}
