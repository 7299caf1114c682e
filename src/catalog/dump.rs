//! The catalog as text: all that is derived from the vaults, in one order, to compare a rebuilt catalog with the lost one.
//!
//! Left out is what only this host knows: runs that go on, when a plan was
//! first configured, and the addresses of vaults.

use rusqlite::types::ValueRef;

use super::{Catalog, CatalogError, During};

const DERIVED: [(&str, &str); 9] = [
    ("record", "SELECT * FROM records"),
    ("run", "SELECT * FROM runs WHERE status <> 'running'"),
    ("run tier", "SELECT * FROM run_tiers WHERE run NOT IN (SELECT id FROM runs WHERE status = 'running')"),
    ("due", "SELECT * FROM dues WHERE run IS NULL OR run NOT IN (SELECT id FROM runs WHERE status = 'running')"),
    ("missed tier", "SELECT * FROM missed_tiers"),
    ("snapshot", "SELECT * FROM snapshots"),
    ("verification", "SELECT * FROM verifications"),
    ("copy", "SELECT * FROM copies"),
    ("drill", "SELECT * FROM drills"),
];

impl Catalog {
    /// All that is derived from the vaults: a line for each row, sorted within each table.
    pub fn dump(&self) -> Result<String, CatalogError> {
        let op = "read all";
        let connection = self.lock();
        let mut text = String::new();
        for (noun, sql) in DERIVED {
            let mut statement = connection.prepare(sql).during(op)?;
            let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
            let rows = statement.query_map((), |row| {
                let mut line = noun.to_owned();
                for (column, name) in names.iter().enumerate() {
                    line += &match row.get_ref(column)? {
                        ValueRef::Null => String::new(),
                        ValueRef::Integer(number) => format!(" {name}={number}"),
                        ValueRef::Real(number) => format!(" {name}={number:?}"),
                        ValueRef::Text(text) => format!(" {name}={:?}", String::from_utf8_lossy(text)),
                        ValueRef::Blob(bytes) => format!(" {name}=x{}", hex::encode(bytes)),
                    };
                }
                Ok(line)
            });
            let mut lines = rows.during(op)?.collect::<Result<Vec<String>, _>>().during(op)?;
            lines.sort_unstable();
            for line in lines {
                text += &line;
                text.push('\n');
            }
        }
        Ok(text)
    }
}
