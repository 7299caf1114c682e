//! Taking in a record.
//!
//! The order of records does not matter and taking one twice changes nothing: hosts deliver late, and a rebuild reads
//! them as they come.

use jiff::Timestamp;
use rusqlite::{Transaction, params};

use super::value::{Named, Nanos, RunText, Text};
use super::{Catalog, CatalogError, During};
use crate::config::Tier;
use crate::record::entry::{CopiedSnapshot, DrillOutcome, MissedDue};
use crate::record::{Entry, MissReason, Proof, Record, Status, TimeKind, Work};
use crate::vault::Id;

const OP: &str = "take in a record";

impl Catalog {
    /// Takes in a record of a vault.
    pub fn apply(&self, vault: &str, entry: &Entry) -> Result<(), CatalogError> {
        self.change(OP, |transaction| apply(transaction, vault, entry))
    }
}

pub(super) fn apply(transaction: &Transaction<'_>, vault: &str, entry: &Entry) -> Result<(), CatalogError> {
    let record = &entry.record;
    let id = Text(record.id);
    know_vault(transaction, vault)?;
    if let Some(plan) = &record.plan {
        know_plan(transaction, plan, record.due.unwrap_or(record.started).min(record.started))?;
    }
    let link = record.link;
    let sql = "INSERT INTO records (id, vault, host, chain, seq, prev, digest, kind, finished)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
    let values = params![
        id,
        vault,
        record.host,
        Text(link.chain),
        i64::try_from(link.seq).unwrap_or(i64::MAX),
        link.prev.map(Text),
        Text(entry.digest),
        record.work.kind(),
        Nanos(record.finished)
    ];
    if transaction.execute(sql, values).during(OP)? == 0 {
        return Ok(());
    }
    if let Work::Missed { dues, reason } = &record.work {
        return apply_missed(transaction, record, dues, *reason);
    }
    apply_run(transaction, vault, record)?;
    match &record.work {
        Work::Verify { snapshots } => {
            for snapshot in snapshots {
                apply_proof(transaction, vault, record, *snapshot, Proof::Read)?;
            }
        }
        Work::Replicate { from, copied } => {
            for copy in copied {
                apply_copy(transaction, vault, record, from, copy)?;
            }
        }
        Work::Drill(outcome) => apply_drill(transaction, vault, record, outcome)?,
        Work::Backup { .. } | Work::Restore { .. } | Work::Retention { .. } | Work::Prune | Work::Missed { .. } => {}
    }
    Ok(())
}

/// Names a vault that other rows refer to.
pub(super) fn know_vault(transaction: &Transaction<'_>, vault: &str) -> Result<(), CatalogError> {
    transaction.execute("INSERT INTO vaults (name) VALUES (?) ON CONFLICT DO NOTHING", [vault]).during(OP)?;
    Ok(())
}

/// Names a plan; it was first seen at the earliest of all such times.
pub(super) fn know_plan(transaction: &Transaction<'_>, plan: &str, seen: Timestamp) -> Result<(), CatalogError> {
    let sql = "INSERT INTO plans (name, first_seen) VALUES (?, ?)
        ON CONFLICT (name) DO UPDATE SET first_seen = min(first_seen, excluded.first_seen)";
    transaction.execute(sql, params![plan, Nanos(seen)]).during(OP)?;
    Ok(())
}

/// The row of a finished run; it replaces that of the run while it was going.
fn apply_run(transaction: &Transaction<'_>, vault: &str, record: &Record) -> Result<(), CatalogError> {
    let json =
        |what, value: Result<String, serde_json::Error>| value.map_err(|source| CatalogError::Json { what, source });
    let snapshot = match &record.work {
        Work::Backup { snapshot } => *snapshot,
        Work::Restore { snapshot } => Some(*snapshot),
        Work::Drill(outcome) => outcome.snapshot,
        Work::Retention { .. } | Work::Prune | Work::Replicate { .. } | Work::Verify { .. } | Work::Missed { .. } => {
            None
        }
    };
    let simulated = match record.time {
        TimeKind::Real => 0,
        TimeKind::Simulated => 1,
    };
    let sql = "INSERT INTO runs (id, kind, host, vault, plan, due, started, finished, status, snapshot, simulated,
            figures, problems, omitted)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, host = excluded.host, vault = excluded.vault,
            plan = excluded.plan, due = excluded.due, started = excluded.started, finished = excluded.finished,
            status = excluded.status, snapshot = excluded.snapshot, simulated = excluded.simulated,
            figures = excluded.figures, problems = excluded.problems, omitted = excluded.omitted";
    let values = params![
        Text(record.id),
        record.work.kind(),
        record.host,
        vault,
        record.plan,
        record.due.map(Nanos),
        Nanos(record.started),
        Nanos(record.finished),
        Named(record.status),
        snapshot.map(Text),
        simulated,
        json("figures", serde_json::to_string(&record.figures))?,
        json("problems", serde_json::to_string(&record.problems))?,
        i64::try_from(record.problems_omitted).unwrap_or(i64::MAX)
    ];
    transaction.execute(sql, values).during(OP)?;
    transaction.execute("DELETE FROM run_tiers WHERE run = ?", [Text(record.id)]).during(OP)?;
    set_run_tiers(transaction, &Text(record.id), &record.tiers)?;
    if let (Work::Backup { .. }, Some(plan), Some(due)) = (&record.work, &record.plan, record.due) {
        take_due(transaction, &record.host, plan, &Nanos(due), &Text(record.id))?;
    }
    Ok(())
}

pub(super) fn set_run_tiers(transaction: &Transaction<'_>, run: &RunText, tiers: &[Tier]) -> Result<(), CatalogError> {
    for tier in tiers {
        let sql = "INSERT INTO run_tiers (run, tier) VALUES (?, ?) ON CONFLICT DO NOTHING";
        transaction.execute(sql, params![run, Named(*tier)]).during(OP)?;
    }
    Ok(())
}

/// Gives a due instant to a run. Where records disagree, a run counts before a miss and the earlier run before the later,
/// in whatever order they arrive.
fn take_due(
    transaction: &Transaction<'_>,
    host: &str,
    plan: &str,
    due: &Nanos,
    run: &RunText,
) -> Result<(), CatalogError> {
    let sql = "INSERT INTO dues (host, plan, due, run) VALUES (?, ?, ?, ?)
        ON CONFLICT (host, plan, due) DO UPDATE SET run = excluded.run, missed = NULL
        WHERE dues.run IS NULL OR excluded.run < dues.run";
    transaction.execute(sql, params![host, plan, due, run]).during(OP)?;
    let sql = "DELETE FROM missed_tiers WHERE host = ? AND plan = ? AND due = ?";
    transaction.execute(sql, params![host, plan, due]).during(OP)?;
    Ok(())
}

fn apply_missed(
    transaction: &Transaction<'_>,
    record: &Record,
    dues: &[MissedDue],
    reason: MissReason,
) -> Result<(), CatalogError> {
    let Some(plan) = &record.plan else { return Ok(()) };
    for missed in dues {
        let sql = "INSERT INTO dues (host, plan, due, missed) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING";
        let values = params![record.host, plan, Nanos(missed.due), Named(reason)];
        if transaction.execute(sql, values).during(OP)? == 0 {
            continue;
        }
        for tier in &missed.tiers {
            let sql = "INSERT INTO missed_tiers (host, plan, due, tier) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING";
            transaction.execute(sql, params![record.host, plan, Nanos(missed.due), Named(*tier)]).during(OP)?;
        }
    }
    Ok(())
}

/// A proof is as old as the run's start: what was read first was read then.
fn apply_proof(
    transaction: &Transaction<'_>,
    vault: &str,
    record: &Record,
    snapshot: Id,
    proof: Proof,
) -> Result<(), CatalogError> {
    let sql = "INSERT INTO verifications (vault, snapshot, proof, at, record) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT DO NOTHING";
    let values = params![vault, Text(snapshot), Named(proof), Nanos(record.started), Text(record.id)];
    transaction.execute(sql, values).during(OP)?;
    Ok(())
}

/// A snapshot that was copied twice counts from the first time.
fn apply_copy(
    transaction: &Transaction<'_>,
    vault: &str,
    record: &Record,
    from: &str,
    copied: &CopiedSnapshot,
) -> Result<(), CatalogError> {
    let sql = "INSERT INTO copies (vault, copy, origin_vault, origin, completeness, arrived, record)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (vault, copy) DO UPDATE SET origin_vault = excluded.origin_vault, origin = excluded.origin,
            completeness = excluded.completeness, arrived = excluded.arrived, record = excluded.record
        WHERE excluded.record < copies.record";
    let values = params![
        vault,
        Text(copied.copy),
        from,
        Text(copied.origin),
        Named(copied.completeness),
        Nanos(record.finished),
        Text(record.id)
    ];
    transaction.execute(sql, values).during(OP)?;
    Ok(())
}

fn apply_drill(
    transaction: &Transaction<'_>,
    vault: &str,
    record: &Record,
    outcome: &DrillOutcome,
) -> Result<(), CatalogError> {
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let sql = "INSERT INTO drills (record, vault, plan, number, runbook, scenario, snapshot, verdict, rta_ms, rpa_ms,
            exercised, steps, evidence, started, finished)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let values = params![
        Text(record.id),
        vault,
        record.plan,
        count(outcome.number),
        outcome.runbook,
        outcome.scenario,
        outcome.snapshot.map(Text),
        outcome.verdict,
        outcome.rta_exec_ms.map(count),
        outcome.rpa_ms.map(count),
        count(outcome.exercised),
        count(outcome.steps),
        outcome.evidence.map(Text),
        Nanos(record.started),
        Nanos(record.finished)
    ];
    transaction.execute(sql, values).during(OP)?;
    match (record.status, outcome.snapshot) {
        (Status::Ok, Some(snapshot)) => apply_proof(transaction, vault, record, snapshot, Proof::Drill),
        (Status::Ok | Status::Partial | Status::Failed, _) => Ok(()),
    }
}
