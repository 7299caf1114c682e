//! The only place that knows what objects in a vault are called.
//!
//! The first six are restic's; everything of ours is under `drctl/`, which stock tools ignore.

use super::id::Id;

/// The sealed configuration: what makes a place a vault.
pub const CONFIG: &str = "config";

/// Our own settings, sealed. Absent in vaults that another tool made and nobody adopted.
pub const SETTINGS: &str = "drctl/vault";

/// Where all is that a prune which others work beside keeps.
pub const GC: &str = "drctl/gc";

/// Up to where condemned packs may be swept, in vaults that only drctl writes to.
pub const GC_STATE: &str = "drctl/gc/state";

/// Where the lists of condemned packs are.
pub const CONDEMNED: &str = "drctl/gc/condemned";

/// Where the records of finished runs are.
pub const RECORDS: &str = "drctl/records";

/// Where the public keys of the hosts that sign records are.
pub const HOSTS: &str = "drctl/hosts";

/// Where the evidence of drills is.
pub const EVIDENCE: &str = "drctl/evidence";

/// Where packs lie while they are written and have no name yet: a folder that stock tools make, too.
pub const UNNAMED_PACKS: &str = "data/00";

/// The types of objects that are named by an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileType {
    /// Sealed blobs and their header.
    Pack,
    /// Which blobs lie in which packs.
    Index,
    /// A backup: its root tree, and what it is of.
    Snapshot,
    /// Somebody is at work.
    Lock,
    /// The master key, sealed with a password.
    Key,
}

impl FileType {
    /// All of them, in the order in which they refer to each other.
    pub const ALL: [Self; 5] = [Self::Key, Self::Snapshot, Self::Index, Self::Pack, Self::Lock];

    /// The folder that holds them.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Pack => "data",
            Self::Index => "index",
            Self::Snapshot => "snapshots",
            Self::Lock => "locks",
            Self::Key => "keys",
        }
    }
}

/// The key of an object that is named by its id.
pub fn object(kind: FileType, id: &Id) -> String {
    match kind {
        FileType::Pack => pack(id),
        _ => format!("{}/{id}", kind.folder()),
    }
}

/// The id in an object's key; nothing when it is not one that this version of the format has.
pub fn parse(kind: FileType, key: &str) -> Option<Id> {
    let id = key.rsplit('/').next()?.parse().ok()?;
    (object(kind, &id) == key).then_some(id)
}

/// `data/ab/abcd...`
pub fn pack(id: &Id) -> String {
    format!("data/{:02x}/{id}", id.0[0])
}

/// `index/...`
pub fn index(id: &Id) -> String {
    object(FileType::Index, id)
}

/// `snapshots/...`
pub fn snapshot(id: &Id) -> String {
    object(FileType::Snapshot, id)
}

/// `locks/...`
pub fn lock(id: &Id) -> String {
    object(FileType::Lock, id)
}

/// `keys/...`
pub fn key(id: &Id) -> String {
    object(FileType::Key, id)
}

/// `drctl/records/YYYY/MM/<ulid>`: by the month (UTC) in which the record's id was drawn.
pub fn record(id: &ulid::Ulid) -> String {
    let millis = i64::try_from(id.timestamp_ms()).unwrap_or(i64::MAX);
    let drawn = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    let day = jiff::tz::TimeZone::UTC.to_datetime(drawn);
    format!("{RECORDS}/{:04}/{:02}/{id}", day.year(), day.month())
}

/// `drctl/gc/condemned/<epoch>-<nonce>`
pub fn condemned(name: &str) -> String {
    format!("{CONDEMNED}/{name}")
}

/// `drctl/evidence/<ulid>`: the evidence of the drill whose record has this id.
pub fn evidence(id: &ulid::Ulid) -> String {
    format!("{EVIDENCE}/{id}")
}

/// `drctl/hosts/<name in hex>/<fingerprint>`: host names may hold what keys must not.
pub fn host_key(host: &str, fingerprint: &str) -> String {
    format!("{HOSTS}/{}/{fingerprint}", hex::encode(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_restics_and_parse_back() {
        let id = Id::of(b"");
        assert_eq!(pack(&id), format!("data/e3/{id}"));
        assert_eq!(
            [index(&id), snapshot(&id), lock(&id), key(&id)],
            [format!("index/{id}"), format!("snapshots/{id}"), format!("locks/{id}"), format!("keys/{id}")]
        );
        for kind in FileType::ALL {
            assert_eq!(parse(kind, &object(kind, &id)), Some(id), "{kind:?}");
        }
    }

    #[test]
    fn what_is_foreign_is_no_object() {
        let id = Id::of(b"");
        for key in [
            "",
            "data",
            "data/e3",
            "data/e3/x",
            &format!("data/e4/{id}"),
            &format!("data/{id}"),
            &format!("index/{id}.tmp"),
        ] {
            for kind in FileType::ALL {
                assert_eq!(parse(kind, key), None, "{key}");
            }
        }
    }

    #[test]
    fn records_lie_by_month() {
        let at: jiff::Timestamp = "2026-03-31T23:59:59.999Z".parse().unwrap();
        let id = ulid::Ulid::from_parts(at.as_millisecond().unsigned_abs(), 1);
        assert_eq!(record(&id), format!("drctl/records/2026/03/{id}"));
    }
}
