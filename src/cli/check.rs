//! `drctl check`: whether the vault is whole. With `--heal-from` and `--heal-from-source`, see `heal.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::args::check::{Check, Subset};
use super::backup::seconds;
use super::context::Context;
use super::error::Failure;
use super::escape;
use super::exit::Exit;
use super::output::Paint;
use super::secret::Purpose;
use crate::check::{self, CheckError, Lock, Object, Options, ReadData, Report};
use crate::heal::Healed;
use crate::monitor::Monitor;
use crate::record::{Draft, Recorder, Status, Work};
use crate::service::verify::{self, Found, Records, proven};
use crate::store::StoreErrorKind;
use crate::units::ByteSize;
use crate::vault::{Id, VaultError};

/// Runs the command. Damage ends it with exit code 1.
pub(crate) async fn run(args: Check, context: &Context) -> Result<Exit, Failure> {
    if args.heals() {
        return Box::pin(super::heal::run(args, context)).await;
    }
    let target = context.target()?;
    // A proof comes from the vault itself, not from a local copy.
    let vault = if args.read_data {
        context.open_uncached(&target, Purpose::Read).await?
    } else {
        context.open_target(&target, Purpose::Read).await?
    };
    let before: Vec<Id> = match read_back(&args) {
        true => vault.snapshots().await.map_err(Failure::of)?.whole.iter().map(|file| file.id).collect(),
        false => Vec::new(),
    };
    let bar = Arc::new(context.bar());
    bar.stage("records");
    let records = verify::records(&vault).await.map_err(Failure::of)?;
    let started = context.env.clock.now();
    let read_data = match (args.read_data, args.read_data_subset) {
        (true, _) => ReadData::All,
        (false, None) => ReadData::None,
        (false, Some(Subset::Percent(share))) => ReadData::Share { per_mille: (share * 10.0).ceil() as u16 },
        (false, Some(Subset::Part { part, of })) => ReadData::Part { part, of },
        (false, Some(Subset::Size(ByteSize(bytes)))) => ReadData::Bytes(bytes),
    };
    let lock = if args.no_lock { Lock::None } else { Lock::Shared { retry: context.lock_wait() } };
    let report = check::run(&vault, Options { read_data, lock }, bar.clone(), context.stop.cancel()).await;
    bar.done();
    let report = report.map_err(|error| match error {
        CheckError::Cancelled => Failure::of(error).exits(Exit::Interrupted),
        CheckError::Vault(VaultError::Store(ref store)) if store.kind == StoreErrorKind::Denied && !args.no_lock => {
            Failure::of(error).advise("with credentials that may only read, check with --no-lock")
        }
        CheckError::Vault(_) => Failure::of(error),
    })?;
    if read_back(&args) && !before.is_empty() {
        let found = proven(&before, &report).with(&records);
        context.record(&target, &vault, |recorder| account(found, started, recorder)).await;
    }
    let whole = report.damage.is_empty() && records.flaws.is_empty();
    show(&Checked { report, records, healed: None }, context)?;
    Ok(if whole { Exit::Done } else { Exit::Failed })
}

/// What is printed: what the vault's check found, what is wrong with its records, and what was mended.
#[derive(Serialize)]
pub(super) struct Checked {
    #[serde(flatten)]
    pub(super) report: Report,
    pub(super) records: Records,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) healed: Option<Healed>,
}

/// Whether the check proves something that is recorded. Without a lock a prune may disturb it, and credentials that take
/// none may not write either.
fn read_back(args: &Check) -> bool {
    args.read_data && !args.no_lock
}

pub(super) fn account(found: Found, started: Timestamp, recorder: &Recorder) -> Draft {
    let whole = found.damaged == 0;
    Draft {
        id: recorder.run_id(),
        plan: None,
        due: None,
        tiers: Vec::new(),
        started,
        finished: started
            .saturating_add(SignedDuration::from_millis(found.millis.try_into().unwrap_or(i64::MAX)))
            .unwrap_or(started),
        status: match (whole, found.whole.is_empty()) {
            (true, _) => Status::Ok,
            (false, false) => Status::Partial,
            (false, true) => Status::Failed,
        },
        work: Work::Verify { snapshots: found.whole },
        figures: BTreeMap::from([("read_bytes".to_owned(), i64::try_from(found.bytes_read).unwrap_or(i64::MAX))]),
        problems: found.problems,
    }
}

pub(super) fn show(checked: &Checked, context: &Context) -> Result<(), Failure> {
    let Checked { report, records, healed } = checked;
    context.out.result(checked, |out| {
        if let Some(healed) = healed {
            super::heal::show(healed, context.out, out)?;
        }
        for damage in &report.damage {
            let object = format!("{:?}", damage.object).to_lowercase();
            writeln!(
                out,
                "{} {object} {}: {}",
                context.out.paint(Paint::Red, "damaged"),
                damage.id,
                escape::text(&damage.why)
            )?;
            if damage.files_count > 0 {
                let snapshots: Vec<_> = damage.snapshots.iter().map(crate::vault::Id::short).collect();
                writeln!(
                    out,
                    "  hits {} files in {} snapshots ({})",
                    damage.files_count,
                    snapshots.len(),
                    snapshots.join(" ")
                )?;
                for file in damage.files.iter().take(10) {
                    writeln!(out, "    {}", escape::text(file))?;
                }
                if damage.files_count > 10 {
                    writeln!(out, "    and {} more", damage.files_count - 10)?;
                }
            } else if !damage.snapshots.is_empty() {
                writeln!(out, "  hits {} snapshots", damage.snapshots.len())?;
            }
        }
        for flaw in &records.flaws {
            writeln!(out, "{} record: {}", context.out.paint(Paint::Red, "damaged"), escape::text(flaw))?;
        }
        if !records.unsigned.is_empty() {
            let ids: Vec<_> = records.unsigned.iter().map(Id::short).collect();
            writeln!(out, "  no record vouches for {}: `latest` passes them over, their ids do not", ids.join(" "))?;
        }
        writeln!(
            out,
            "{} snapshots, {} trees, {} packs checked; {} packs ({}) read back and verified, in {}",
            report.snapshots,
            report.trees,
            report.packs,
            report.packs_read,
            ByteSize(report.bytes_read),
            seconds(report.millis)
        )?;
        match (report.orphan_packs, report.damage.is_empty()) {
            (0, _) => {}
            (orphans, true) => writeln!(
                out,
                "{orphans} packs are named by no index: left by interrupted runs, the next backup or prune takes them"
            )?,
            (orphans, false) => writeln!(out, "{orphans} packs are named by no index")?,
        }
        match report.damage.len() {
            0 if records.flaws.is_empty() => writeln!(out, "no damage found"),
            0 => writeln!(out, "DAMAGED RECORDS: what was backed up is whole, what is known of it is not"),
            count => writeln!(out, "DAMAGED: {count} objects{}", remedy(report)),
        }
    })
}

/// What to do about damage, behind how much there is. What costs least and needs no copy comes first.
fn remedy(report: &Report) -> &'static str {
    let all = |kind| report.damage.iter().all(|damage| damage.object == kind);
    let any = |kind| report.damage.iter().any(|damage| damage.object == kind);
    if all(Object::Condemned) {
        ", no snapshot among what they hit: `drctl index rebuild` mends them"
    } else if all(Object::Key) {
        ", key files, no snapshot among what they hit: remove each with `drctl key remove KEY`, and make another with \
         `drctl key add`; no copy heals them"
    } else if any(Object::Index) {
        ". Do not prune. Index files are among them: run `drctl index rebuild`, which makes the index anew from the packs, \
         then `drctl check` again; what is damaged then is healed from a copy: `drctl check --read-data --heal-from COPY`"
    } else if report.orphan_packs > 0 && (any(Object::Tree) || any(Object::Blob)) {
        ". Do not prune. Packs that no index names may hold what is missing: run `drctl index rebuild`, which makes the \
         index anew from the packs, then `drctl check` again; what is damaged then is healed from a copy: \
         `drctl check --read-data --heal-from COPY`"
    } else {
        ". Do not prune; heal from a copy: `drctl check --read-data --heal-from COPY`"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Damage;

    fn report(objects: &[Object], orphan_packs: u64) -> Report {
        let damage = |object: &Object| Damage {
            object: *object,
            id: Id([1; 32]),
            why: "broken".to_owned(),
            files: Vec::new(),
            files_count: 0,
            snapshots: Vec::new(),
        };
        Report {
            damage: objects.iter().map(damage).collect(),
            orphan_packs,
            snapshots: 1,
            trees: 1,
            packs: 1,
            packs_read: 0,
            bytes_read: 0,
            millis: 1,
        }
    }

    #[test]
    fn what_mends_damage_without_a_copy_is_named_first() {
        let (rebuild, copy, keys) = ("drctl index rebuild", "--heal-from COPY", "drctl key remove");
        let table: [(&[Object], u64, &str, Option<&str>); 8] = [
            (&[Object::Condemned], 0, rebuild, None),
            (&[Object::Index, Object::Tree, Object::Pack], 0, rebuild, Some(copy)),
            (&[Object::Tree], 3, rebuild, Some(copy)),
            (&[Object::Blob, Object::Key], 3, rebuild, Some(copy)),
            (&[Object::Blob], 0, copy, None),
            (&[Object::Pack], 3, copy, None),
            (&[Object::Key], 3, keys, None),
            (&[Object::Snapshot, Object::Key], 0, copy, None),
        ];
        for (objects, orphans, first, second) in table {
            let text = remedy(&report(objects, orphans));
            let at = [rebuild, copy, keys].map(|what| text.find(what).unwrap_or(usize::MAX));
            let place = |what: &str| text.find(what);
            assert!(place(first).is_some_and(|place| at.iter().all(|other| place <= *other)), "{objects:?}: {text}");
            assert_eq!(at.iter().filter(|at| **at < usize::MAX).count(), 1 + usize::from(second.is_some()), "{text}");
            assert!(second.is_none_or(|second| place(second).is_some()), "{objects:?}: {text}");
        }
    }
}
