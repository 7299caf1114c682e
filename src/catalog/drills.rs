//! Drills: what was shown, and when.

use jiff::Timestamp;
use rusqlite::{Row, params};

use super::value::{IdText, Nanos, RunText};
use super::{Catalog, CatalogError, During};
use crate::record::RunId;
use crate::vault::Id;

/// A drill that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrillRow {
    /// Its run.
    pub id: RunId,
    /// The vault it restored from.
    pub vault: String,
    /// The plan that was brought back.
    pub plan: Option<String>,
    /// Its place among the plan's drills.
    pub number: u64,
    /// The runbook.
    pub runbook: String,
    /// What was lost.
    pub scenario: String,
    /// The snapshot.
    pub snapshot: Option<Id>,
    /// The verdict's name.
    pub verdict: String,
    /// Milliseconds from the first step to the service.
    pub rta_exec_ms: Option<u64>,
    /// Milliseconds from the consistency point to the loss.
    pub rpa_ms: Option<u64>,
    /// Steps exercised.
    pub exercised: u64,
    /// Steps in all.
    pub steps: u64,
    /// SHA-256 of the evidence.
    pub evidence: Option<Id>,
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
}

impl Catalog {
    /// Drills, newest first; of one plan or of all.
    pub fn drills(&self, plan: Option<&str>, limit: u32) -> Result<Vec<DrillRow>, CatalogError> {
        let op = "list drills";
        let sql = "SELECT * FROM drills WHERE ?1 IS NULL OR plan = ?1 ORDER BY record DESC LIMIT ?2";
        let connection = self.lock();
        let mut statement = connection.prepare_cached(sql).during(op)?;
        let rows = statement.query_map(params![plan, limit], drill_row).during(op)?;
        rows.collect::<Result<Vec<_>, _>>().during(op)
    }

    /// The number that the plan's next drill has.
    pub fn next_drill_number(&self, plan: &str) -> Result<u64, CatalogError> {
        let op = "number a drill";
        let sql = "SELECT coalesce(max(number), 0) FROM drills WHERE plan = ?";
        let last: i64 = self.lock().query_one(sql, [plan], |row| row.get(0)).during(op)?;
        Ok(u64::try_from(last).unwrap_or_default() + 1)
    }
}

fn drill_row(row: &Row<'_>) -> rusqlite::Result<DrillRow> {
    let count = |column| Ok::<_, rusqlite::Error>(row.get::<_, i64>(column)?.max(0).unsigned_abs());
    let maybe = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(|n| n.max(0).unsigned_abs()));
    Ok(DrillRow {
        id: row.get::<_, RunText>("record")?.0,
        vault: row.get("vault")?,
        plan: row.get("plan")?,
        number: count("number")?,
        runbook: row.get("runbook")?,
        scenario: row.get("scenario")?,
        snapshot: row.get::<_, Option<IdText>>("snapshot")?.map(|id| id.0),
        verdict: row.get("verdict")?,
        rta_exec_ms: maybe("rta_ms")?,
        rpa_ms: maybe("rpa_ms")?,
        exercised: count("exercised")?,
        steps: count("steps")?,
        evidence: row.get::<_, Option<IdText>>("evidence")?.map(|id| id.0),
        started: row.get::<_, Nanos>("started")?.0,
        finished: row.get::<_, Nanos>("finished")?.0,
    })
}
