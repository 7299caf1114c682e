//! What is known of a snapshot, as replication asks it on either side: from the catalog, or from the vault alone.

use super::plan::{Arrived, Origin};
use crate::catalog::{Listed, SnapshotRow};
use crate::record::Completeness;
use crate::retention::Held;
use crate::vault::snapshot::SnapshotFile;

impl From<&SnapshotRow> for Origin {
    fn from(row: &SnapshotRow) -> Self {
        Self::of(&row.listed, row.completeness)
    }
}

impl From<&SnapshotRow> for Arrived {
    fn from(row: &SnapshotRow) -> Self {
        Self { held: Held::from(row), original: row.listed.original, tree: row.listed.tree }
    }
}

/// Without a record of its run: nothing but the vault was asked.
impl From<&SnapshotFile> for Origin {
    fn from(file: &SnapshotFile) -> Self {
        Self::of(&Listed::from(file), Completeness::Unknown)
    }
}

/// Without a record of its run: nothing but the vault was asked.
impl From<&SnapshotFile> for Arrived {
    fn from(file: &SnapshotFile) -> Self {
        let listed = Listed::from(file);
        let completeness = Completeness::Unknown;
        Self::from(&SnapshotRow { listed, completeness, read: None, drilled: None })
    }
}

impl Origin {
    fn of(listed: &Listed, completeness: Completeness) -> Self {
        Self {
            id: listed.id,
            original: listed.original,
            tree: listed.tree,
            time: listed.time,
            tiers: listed.tiers.clone(),
            completeness,
        }
    }

    /// The same snapshot once it has arrived under another id.
    pub(super) fn arrived_as(&self, copy: crate::vault::Id) -> Arrived {
        let held = Held {
            id: copy,
            time: self.time,
            tiers: self.tiers.clone(),
            completeness: self.completeness,
            verified: None,
            hold: None,
            owed_to: Vec::new(),
        };
        Arrived { held, original: Some(self.original.unwrap_or(self.id)), tree: self.tree }
    }
}
