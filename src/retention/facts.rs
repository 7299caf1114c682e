//! What the catalog knows of a snapshot, as retention asks it.

use super::plan::Held;
use crate::catalog::SnapshotRow;

impl From<&SnapshotRow> for Held {
    /// Without holds, and owed to nobody yet: whoever plans the copies adds to `owed_to` what they still lack.
    fn from(row: &SnapshotRow) -> Self {
        Self {
            id: row.listed.id,
            time: row.listed.time,
            tiers: row.listed.tiers.clone(),
            completeness: row.completeness,
            verified: row.verified(),
            hold: None,
            owed_to: Vec::new(),
        }
    }
}
