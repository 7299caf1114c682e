//! Runs: those that go on, and what the scheduler and `status` ask about those that ended.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Row, params};

use super::apply::{know_plan, know_vault, set_run_tiers};
use super::value::{IdText, Named, Nanos, RunText, Text};
use super::{Catalog, CatalogError, During};
use crate::config::Tier;
use crate::monitor::Problem;
use crate::record::{RunId, Status};
use crate::vault::Id;

/// A run that starts now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// Its id, which its record will have.
    pub id: RunId,
    /// As `Work::kind` names it.
    pub kind: &'static str,
    /// This host.
    pub host: String,
    /// The vault concerned.
    pub vault: String,
    /// The plan.
    pub plan: Option<String>,
    /// The instant that was due, when the schedule starts it.
    pub due: Option<Timestamp>,
    /// The tiers that it serves.
    pub tiers: Vec<Tier>,
    /// Now.
    pub started: Timestamp,
}

/// Whether a run may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It is noted as going on.
    Started,
    /// The due instant has its fate already: nothing was noted.
    Taken,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Going on, or cut off by a crash.
    Running,
    /// Ended.
    Ended {
        /// How.
        status: Status,
        /// When.
        finished: Timestamp,
    },
}

/// A run as the catalog knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// Its id.
    pub id: RunId,
    /// As `Work::kind` names it.
    pub kind: String,
    /// The host it ran on.
    pub host: String,
    /// The vault concerned.
    pub vault: String,
    /// The plan.
    pub plan: Option<String>,
    /// The instant that was due.
    pub due: Option<Timestamp>,
    /// When it started.
    pub started: Timestamp,
    /// How far it is.
    pub state: RunState,
    /// The snapshot made, restored or drilled.
    pub snapshot: Option<Id>,
    /// Counts, bytes and milliseconds.
    pub figures: BTreeMap<String, i64>,
    /// What went wrong, as far as the record names it.
    pub problems: Vec<Problem>,
}

/// What the schedule planner asks about a plan on a host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// When the plan was first seen.
    pub first_seen: Option<Timestamp>,
    /// The newest due instant with a fate.
    pub last_due: Option<Timestamp>,
    /// The start of the oldest backup of it that goes on.
    pub running_since: Option<Timestamp>,
    /// Tiers of instants that were missed, or whose run failed, and that no run has served since, ascending.
    pub carried: Vec<Tier>,
}

const COLUMNS: &str = "id, kind, host, vault, plan, due, started, finished, status, snapshot, figures, problems";

impl Catalog {
    /// Notes that a plan is configured from now on. Earlier sightings count.
    pub fn see_plan(&self, plan: &str, now: Timestamp) -> Result<(), CatalogError> {
        self.change("note a plan", |transaction| know_plan(transaction, plan, now))
    }

    /// Notes a vault's repository id and address.
    pub fn see_vault(&self, vault: &str, repository: &str, url: &str) -> Result<(), CatalogError> {
        let op = "note a vault";
        self.change(op, |transaction| {
            let sql = "INSERT INTO vaults (name, repository, url) VALUES (?, ?, ?)
                ON CONFLICT (name) DO UPDATE SET repository = excluded.repository, url = excluded.url";
            transaction.execute(sql, [vault, repository, url]).during(op).map(|_| ())
        })
    }

    /// Notes a run as going on, and claims its due instant for it. Two schedulers cannot both start one instant.
    ///
    /// A crash leaves the run as going on: [`Catalog::unfinished_runs`] finds it.
    pub fn begin(&self, run: &NewRun) -> Result<Claim, CatalogError> {
        let op = "note the start of a run";
        self.change(op, |transaction| {
            know_vault(transaction, &run.vault)?;
            if let Some(plan) = &run.plan {
                know_plan(transaction, plan, run.due.unwrap_or(run.started).min(run.started))?;
            }
            if let (Some(plan), Some(due)) = (&run.plan, run.due) {
                let sql = "SELECT count(*) FROM dues WHERE host = ? AND plan = ? AND due = ?";
                let taken: i64 =
                    transaction.query_one(sql, params![run.host, plan, Nanos(due)], |row| row.get(0)).during(op)?;
                if run.kind == "backup" && taken > 0 {
                    return Ok(Claim::Taken);
                }
            }
            let sql =
                "INSERT INTO runs (id, kind, host, vault, plan, due, started, status, simulated, figures, problems,
                    omitted)
                VALUES (?, ?, ?, ?, ?, ?, ?, 'running', 0, '{}', '[]', 0)";
            let due = run.due.map(Nanos);
            let values = params![Text(run.id), run.kind, run.host, run.vault, run.plan, due, Nanos(run.started)];
            transaction.execute(sql, values).during(op)?;
            set_run_tiers(transaction, &Text(run.id), &run.tiers)?;
            if let ("backup", Some(plan), Some(due)) = (run.kind, &run.plan, run.due) {
                let sql = "INSERT INTO dues (host, plan, due, run) VALUES (?, ?, ?, ?)";
                transaction.execute(sql, params![run.host, plan, Nanos(due), Text(run.id)]).during(op)?;
            }
            Ok(Claim::Started)
        })
    }

    /// Runs of this host that are noted as going on, oldest first. At the start of the only process they are those that
    /// a crash cut off, and need a record that says so.
    pub fn unfinished_runs(&self, host: &str) -> Result<Vec<RunRow>, CatalogError> {
        let sql = format!("SELECT {COLUMNS} FROM runs WHERE host = ? AND status = 'running' ORDER BY id");
        self.runs("look for unfinished runs", &sql, params![host])
    }

    /// The tiers that a run serves, ascending.
    pub fn tiers_of_run(&self, run: RunId) -> Result<Vec<Tier>, CatalogError> {
        let op = "look up the tiers of a run";
        let connection = self.lock();
        let mut statement = connection.prepare_cached("SELECT tier FROM run_tiers WHERE run = ?").during(op)?;
        let rows = statement.query_map([Text(run)], |row| Ok(row.get::<_, Named<Tier>>(0)?.0)).during(op)?;
        let mut tiers = rows.collect::<Result<Vec<_>, _>>().during(op)?;
        tiers.sort_unstable();
        Ok(tiers)
    }

    /// The newest runs, newest first; of one plan or of all.
    pub fn recent_runs(&self, plan: Option<&str>, limit: u32) -> Result<Vec<RunRow>, CatalogError> {
        let sql = format!("SELECT {COLUMNS} FROM runs WHERE ?1 IS NULL OR plan = ?1 ORDER BY id DESC LIMIT ?2");
        self.runs("list runs", &sql, params![plan, limit])
    }

    /// The newest run of a plan that ended in one of these ways.
    pub fn last_run(&self, plan: &str, kind: &str, ended: &[Status]) -> Result<Option<RunRow>, CatalogError> {
        let has = |status| ended.contains(&status);
        let sql = format!(
            "SELECT {COLUMNS} FROM runs WHERE plan = ?1 AND kind = ?2 AND (status = 'ok' AND ?3 OR status = 'partial' AND ?4
                OR status = 'failed' AND ?5) ORDER BY started DESC, id DESC LIMIT 1"
        );
        let values = params![plan, kind, has(Status::Ok), has(Status::Partial), has(Status::Failed)];
        Ok(self.runs("look up the last run", &sql, values)?.pop())
    }

    /// The newest run of a kind in a vault that ended in one of these ways; of one plan or of all.
    pub fn last_in_vault(
        &self,
        vault: &str,
        plan: Option<&str>,
        kind: &str,
        ended: &[Status],
    ) -> Result<Option<RunRow>, CatalogError> {
        let has = |status| ended.contains(&status);
        // In the order of the key, which ends at the first that fits.
        let sql = format!(
            "SELECT {COLUMNS} FROM runs WHERE vault = ?1 AND (?2 IS NULL OR plan = ?2) AND kind = ?3
                AND (status = 'ok' AND ?4 OR status = 'partial' AND ?5 OR status = 'failed' AND ?6)
                ORDER BY id DESC LIMIT 1"
        );
        let values = params![vault, plan, kind, has(Status::Ok), has(Status::Partial), has(Status::Failed)];
        Ok(self.runs("look up the last run in a vault", &sql, values)?.pop())
    }

    /// What the schedule planner asks about a plan on a host.
    pub fn history(&self, host: &str, plan: &str) -> Result<History, CatalogError> {
        let op = "look up the history of a plan";
        let connection = self.lock();
        let instant = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
            let found = connection.query_one(sql, values, |row| row.get::<_, Option<Nanos>>(0)).during(op)?;
            Ok::<_, CatalogError>(found.map(|nanos| nanos.0))
        };
        let first_seen = instant("SELECT min(first_seen) FROM plans WHERE name = ?", &[&plan])?;
        let last_due = instant("SELECT max(due) FROM dues WHERE host = ? AND plan = ?", &[&host, &plan])?;
        let running = "SELECT min(started) FROM runs
            WHERE host = ? AND plan = ? AND kind = 'backup' AND status = 'running'";
        let running_since = instant(running, &[&host, &plan])?;
        let carried = "WITH owed (tier, due) AS (
                SELECT tier, due FROM missed_tiers WHERE host = ?1 AND plan = ?2
                UNION ALL
                SELECT t.tier, coalesce(r.due, r.started) FROM runs r JOIN run_tiers t ON t.run = r.id
                WHERE r.host = ?1 AND r.plan = ?2 AND r.kind = 'backup' AND r.status = 'failed'
            ), served (tier, due) AS (
                SELECT t.tier, max(coalesce(r.due, r.started)) FROM runs r JOIN run_tiers t ON t.run = r.id
                WHERE r.host = ?1 AND r.plan = ?2 AND r.kind = 'backup' AND r.status <> 'failed' GROUP BY t.tier
            )
            SELECT DISTINCT owed.tier FROM owed LEFT JOIN served ON served.tier = owed.tier
            WHERE served.due IS NULL OR served.due < owed.due";
        let mut statement = connection.prepare_cached(carried).during(op)?;
        let rows = statement.query_map(params![host, plan], |row| Ok(row.get::<_, Named<Tier>>(0)?.0)).during(op)?;
        let mut carried = rows.collect::<Result<Vec<_>, _>>().during(op)?;
        carried.sort_unstable();
        Ok(History { first_seen, last_due, running_since, carried })
    }

    /// How many due instants of a plan were missed since an instant, that one included.
    pub fn missed_since(&self, host: &str, plan: &str, since: Timestamp) -> Result<u64, CatalogError> {
        let op = "count missed instants";
        let sql = "SELECT count(*) FROM dues WHERE host = ? AND plan = ? AND due >= ? AND missed IS NOT NULL";
        let count: i64 = self.lock().query_one(sql, params![host, plan, Nanos(since)], |row| row.get(0)).during(op)?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    fn runs(&self, op: &'static str, sql: &str, values: &[&dyn rusqlite::ToSql]) -> Result<Vec<RunRow>, CatalogError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(sql).during(op)?;
        let rows = statement.query_map(values, run_row).during(op)?;
        rows.collect::<Result<Vec<_>, _>>().during(op)
    }
}

fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    let json = |column: usize, error: serde_json::Error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error.into())
    };
    let state = match row.get::<_, Option<Nanos>>("finished")? {
        None => RunState::Running,
        Some(finished) => RunState::Ended { status: row.get::<_, Named<Status>>("status")?.0, finished: finished.0 },
    };
    Ok(RunRow {
        id: row.get::<_, RunText>("id")?.0,
        kind: row.get("kind")?,
        host: row.get("host")?,
        vault: row.get("vault")?,
        plan: row.get("plan")?,
        due: row.get::<_, Option<Nanos>>("due")?.map(|due| due.0),
        started: row.get::<_, Nanos>("started")?.0,
        state,
        snapshot: row.get::<_, Option<IdText>>("snapshot")?.map(|id| id.0),
        figures: serde_json::from_str(&row.get::<_, String>("figures")?).map_err(|e| json(10, e))?,
        problems: serde_json::from_str(&row.get::<_, String>("problems")?).map_err(|e| json(11, e))?,
    })
}
