//! When a plan's complete snapshots became restorable in a vault: what exposure is computed from.
//!
//! From the records of runs, so that snapshots that retention has dropped since count for their time.

use jiff::Timestamp;
use rusqlite::params;

use super::value::Nanos;
use super::{Catalog, CatalogError, During};

impl Catalog {
    /// For each complete snapshot that a plan of a host ever had in a vault: when it was durable there, and the start of
    /// the run that made it, which nothing in it can be older than. Copies count from their arrival.
    pub fn arrivals(&self, vault: &str, host: &str, plan: &str) -> Result<Vec<(Timestamp, Timestamp)>, CatalogError> {
        let op = "look up when snapshots arrived";
        let sql = "SELECT finished, started FROM runs
            WHERE vault = ?1 AND host = ?2 AND plan = ?3 AND kind = 'backup' AND status = 'ok' AND snapshot IS NOT NULL
            UNION ALL
            SELECT c.arrived, r.started FROM copies c JOIN runs r ON r.snapshot = c.origin AND r.vault = c.origin_vault
            WHERE c.vault = ?1 AND r.host = ?2 AND r.plan = ?3 AND r.kind = 'backup' AND c.completeness = 'complete'
            ORDER BY 1, 2";
        let connection = self.lock();
        let mut statement = connection.prepare_cached(sql).during(op)?;
        let rows = statement
            .query_map(params![vault, host, plan], |row| Ok((row.get::<_, Nanos>(0)?.0, row.get::<_, Nanos>(1)?.0)));
        rows.during(op)?.collect::<Result<Vec<_>, _>>().during(op)
    }
}
