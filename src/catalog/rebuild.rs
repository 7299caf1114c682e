//! Filling a catalog from the vaults alone.
//!
//! One transaction: a crash leaves the catalog as it was. What is not in any vault is lost with the old catalog: runs
//! that went on, and records that are still spooled on a host (they arrive with the next delivery).

use super::{Catalog, CatalogError, During, apply, snapshots};
use crate::catalog::Listed;
use crate::record::Entry;

/// What a vault holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultContents {
    /// Its name in the configuration.
    pub vault: String,
    /// The records that count.
    pub entries: Vec<Entry>,
    /// Its snapshots.
    pub snapshots: Vec<Listed>,
}

/// What a rebuild took in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rebuilt {
    /// Records.
    pub records: usize,
    /// Snapshots.
    pub snapshots: usize,
}

/// Children before what they refer to.
const TABLES: [&str; 10] =
    ["drills", "copies", "verifications", "snapshots", "missed_tiers", "dues", "run_tiers", "runs", "records", "plans"];

impl Catalog {
    /// Forgets everything and takes in what the vaults hold.
    pub fn rebuild(&self, vaults: &[VaultContents]) -> Result<Rebuilt, CatalogError> {
        let op = "rebuild all";
        self.change(op, |transaction| {
            for table in TABLES {
                transaction.execute(&format!("DELETE FROM {table}"), ()).during(op)?;
            }
            let mut rebuilt = Rebuilt::default();
            for contents in vaults {
                for entry in &contents.entries {
                    apply::apply(transaction, &contents.vault, entry)?;
                }
                snapshots::replace(transaction, &contents.vault, &contents.snapshots)?;
                rebuilt.records += contents.entries.len();
                rebuilt.snapshots += contents.snapshots.len();
            }
            Ok(rebuilt)
        })
    }
}
