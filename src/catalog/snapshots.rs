//! Snapshots: what the vaults list, joined with what the records say about them.

use jiff::Timestamp;
use rusqlite::{Transaction, params};

use super::apply::know_vault;
use super::value::{IdText, Named, Nanos, Text, TierList};
use super::{Catalog, CatalogError, During};
use crate::config::Tier;
use crate::record::{Completeness, Status};
use crate::vault::Id;
use crate::vault::snapshot::SnapshotFile;

const OP: &str = "note the snapshots of a vault";

/// A snapshot as its vault lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: Id,
    /// The start of its run.
    pub time: Timestamp,
    /// The root of what it holds.
    pub tree: Id,
    /// The host that it is of.
    pub host: String,
    /// From its tag `plan=`.
    pub plan: Option<String>,
    /// From its tags `tier=`, ascending; names that are no tiers are left out.
    pub tiers: Vec<Tier>,
    /// The id it was first given, when it is a copy.
    pub original: Option<Id>,
}

impl From<&SnapshotFile> for Listed {
    fn from(file: &SnapshotFile) -> Self {
        let snapshot = &file.snapshot;
        let tier = |name: &str| Tier::ALL.into_iter().find(|tier| tier.name() == name);
        let tagged =
            |name: &'static str| snapshot.tags.iter().filter_map(move |tag| tag.strip_prefix(name)?.strip_prefix('='));
        let mut tiers: Vec<Tier> = tagged("tier").filter_map(tier).collect();
        tiers.sort_unstable();
        tiers.dedup();
        Self {
            id: file.id,
            time: snapshot.time,
            tree: snapshot.tree,
            host: snapshot.hostname.clone(),
            plan: tagged("plan").next().map(str::to_owned),
            tiers,
            original: snapshot.original,
        }
    }
}

/// A snapshot with what is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRow {
    /// As its vault lists it.
    pub listed: Listed,
    /// What the record of its run, or of its copying, says.
    pub completeness: Completeness,
    /// When every blob of it was last read back, in this vault.
    pub read: Option<Timestamp>,
    /// When it was last brought back by a drill, from this vault.
    pub drilled: Option<Timestamp>,
}

impl SnapshotRow {
    /// The newest proof of either kind.
    pub fn verified(&self) -> Option<Timestamp> {
        self.read.max(self.drilled)
    }
}

impl Catalog {
    /// Replaces what is known of a vault's list of snapshots.
    pub fn list_snapshots(&self, vault: &str, snapshots: &[Listed]) -> Result<(), CatalogError> {
        self.change(OP, |transaction| replace(transaction, vault, snapshots))
    }

    /// The snapshots of one plan of one host in a vault, oldest first.
    pub fn snapshots(&self, vault: &str, host: &str, plan: &str) -> Result<Vec<SnapshotRow>, CatalogError> {
        let op = "look up snapshots";
        let sql = "SELECT s.id, s.time, s.tree, s.host, s.plan, s.tiers, s.original,
                (SELECT status FROM runs WHERE snapshot = s.id AND vault = s.vault AND kind = 'backup'
                    AND finished IS NOT NULL ORDER BY id LIMIT 1),
                (SELECT completeness FROM copies WHERE copy = s.id AND vault = s.vault),
                (SELECT max(at) FROM verifications WHERE snapshot = s.id AND vault = s.vault AND proof = 'read'),
                (SELECT max(at) FROM verifications WHERE snapshot = s.id AND vault = s.vault AND proof = 'drill')
            FROM snapshots s WHERE s.vault = ? AND s.host = ? AND s.plan = ? ORDER BY s.time, s.id";
        let connection = self.lock();
        let mut statement = connection.prepare_cached(sql).during(op)?;
        let rows = statement.query_map(params![vault, host, plan], |row| {
            let made = row.get::<_, Option<Named<Status>>>(7)?.map(|status| match status.0 {
                Status::Ok => Completeness::Complete,
                Status::Partial => Completeness::Partial,
                Status::Failed => Completeness::Unknown,
            });
            let copied = row.get::<_, Option<Named<Completeness>>>(8)?.map(|copied| copied.0);
            Ok(SnapshotRow {
                listed: Listed {
                    id: row.get::<_, IdText>(0)?.0,
                    time: row.get::<_, Nanos>(1)?.0,
                    tree: row.get::<_, IdText>(2)?.0,
                    host: row.get(3)?,
                    plan: row.get(4)?,
                    tiers: row.get::<_, TierList>(5)?.0,
                    original: row.get::<_, Option<IdText>>(6)?.map(|id| id.0),
                },
                completeness: made.or(copied).unwrap_or(Completeness::Unknown),
                read: row.get::<_, Option<Nanos>>(9)?.map(|at| at.0),
                drilled: row.get::<_, Option<Nanos>>(10)?.map(|at| at.0),
            })
        });
        rows.during(op)?.collect::<Result<Vec<_>, _>>().during(op)
    }
}

pub(super) fn replace(transaction: &Transaction<'_>, vault: &str, snapshots: &[Listed]) -> Result<(), CatalogError> {
    know_vault(transaction, vault)?;
    transaction.execute("DELETE FROM snapshots WHERE vault = ?", [vault]).during(OP)?;
    let sql =
        "INSERT INTO snapshots (vault, id, time, tree, host, plan, tiers, original) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    let mut insert = transaction.prepare_cached(sql).during(OP)?;
    for listed in snapshots {
        let values = params![
            vault,
            Text(listed.id),
            Nanos(listed.time),
            Text(listed.tree),
            listed.host,
            listed.plan,
            TierList(listed.tiers.clone()),
            listed.original.map(Text)
        ];
        insert.execute(values).during(OP)?;
    }
    Ok(())
}
