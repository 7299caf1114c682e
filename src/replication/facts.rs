//! What the catalog knows of a snapshot, as replication asks it on either side.

use super::plan::{Arrived, Origin};
use crate::catalog::SnapshotRow;
use crate::retention::Held;

impl From<&SnapshotRow> for Origin {
    fn from(row: &SnapshotRow) -> Self {
        Self {
            id: row.listed.id,
            original: row.listed.original,
            tree: row.listed.tree,
            time: row.listed.time,
            tiers: row.listed.tiers.clone(),
            completeness: row.completeness,
        }
    }
}

impl From<&SnapshotRow> for Arrived {
    fn from(row: &SnapshotRow) -> Self {
        Self { held: Held::from(row), original: row.listed.original, tree: row.listed.tree }
    }
}
