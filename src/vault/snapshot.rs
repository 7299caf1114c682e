//! Snapshots as they are stored: restic's fields in restic's order.
//!
//! Fields that are not known are kept, so that another tool's survive when a snapshot is written again.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::id::Id;

/// A backup: its root tree, when and where it was taken, and of what.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// When the backup started.
    pub time: Timestamp,
    /// The snapshot that it was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Id>,
    /// The root tree.
    pub tree: Id,
    /// What was backed up, as absolute paths.
    #[serde(deserialize_with = "null_is_empty")]
    pub paths: Vec<String>,
    /// The host that it is of.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// Who took it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// The number of who took it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uid: u32,
    /// The group of who took it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gid: u32,
    /// Patterns of what was left out.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub excludes: Vec<String>,
    /// Labels; drctl's own are `plan=...` and `tier=...`.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The snapshot that this one was rewritten or copied from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Id>,
    /// What wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program_version: Option<String>,
    /// What the backup did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// How many things could not be stored, or not whole. A field of drctl's own: whoever restores this must know.
    #[serde(default, skip_serializing_if = "is_none")]
    pub problems: u64,
    /// What other tools put in.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What a backup did, in counts and bytes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// When it started.
    pub backup_start: Timestamp,
    /// When it ended.
    pub backup_end: Timestamp,
    /// Files that the parent did not have.
    pub files_new: u64,
    /// Files that the parent had otherwise.
    pub files_changed: u64,
    /// Files that the parent had.
    pub files_unmodified: u64,
    /// Folders that the parent did not have.
    pub dirs_new: u64,
    /// Folders that the parent had otherwise.
    pub dirs_changed: u64,
    /// Folders that the parent had.
    pub dirs_unmodified: u64,
    /// Data blobs added.
    pub data_blobs: u64,
    /// Tree blobs added.
    pub tree_blobs: u64,
    /// Bytes of the blobs added, before compression.
    pub data_added: u64,
    /// Bytes of the blobs added, as stored.
    pub data_added_packed: u64,
    /// Files looked at.
    pub total_files_processed: u64,
    /// Bytes of the files looked at.
    pub total_bytes_processed: u64,
    /// What other tools put in.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A snapshot and its name in the vault.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotFile {
    /// The object's id.
    pub id: Id,
    /// What it says.
    pub snapshot: Snapshot,
}

impl Snapshot {
    /// Whether all that was to be stored was, as far as what wrote it says.
    pub fn is_complete(&self) -> bool {
        self.problems == 0
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

/// Go writes an absent list as null.
fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by restic 0.18, but for the ids.
    const RESTIC: &str = concat!(
        r#"{"time":"2026-11-23T08:01:02.123456789+01:00","parent":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","#,
        r#""tree":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","paths":["/etc"],"hostname":"vm","username":"ada","#,
        r#""uid":1000,"gid":1000,"excludes":["*.tmp"],"tags":["a","b"],"program_version":"restic 0.18.0","#,
        r#""summary":{"backup_start":"2026-11-23T08:01:02.1+01:00","backup_end":"2026-11-23T08:01:03Z","files_new":1,"files_changed":2,"#,
        r#""files_unmodified":3,"dirs_new":4,"dirs_changed":5,"dirs_unmodified":6,"data_blobs":7,"tree_blobs":8,"data_added":9,"#,
        r#""data_added_packed":10,"total_files_processed":11,"total_bytes_processed":12}}"#
    );

    #[test]
    fn restics_own_is_written_again_as_it_was_but_in_utc() {
        let snapshot: Snapshot = serde_json::from_str(RESTIC).unwrap();
        let utc = RESTIC
            .replace("T08:01:02.123456789+01:00", "T07:01:02.123456789Z")
            .replace("T08:01:02.1+01:00", "T07:01:02.1Z");
        assert_eq!(serde_json::to_string(&snapshot).unwrap(), utc);
    }

    #[test]
    fn what_is_empty_is_left_out() {
        let snapshot = Snapshot { tree: Id::of(b""), ..Snapshot::default() };
        let json = serde_json::to_string(&snapshot).unwrap();
        assert_eq!(json, format!(r#"{{"time":"1970-01-01T00:00:00Z","tree":"{}","paths":[]}}"#, Id::of(b"")));
        assert_eq!(serde_json::from_str::<Snapshot>(&json).unwrap(), snapshot);
    }

    #[test]
    fn fields_of_other_tools_survive() {
        let json = RESTIC.replacen('{', r#"{"label":"x","delete":{"After":"2030"},"#, 1);
        let snapshot: Snapshot = serde_json::from_str(&json).unwrap();
        let again: Value = serde_json::to_value(&snapshot).unwrap();
        assert_eq!(again["label"], "x");
        assert_eq!(again["delete"]["After"], "2030");
        let inner = RESTIC.replace(r#""files_new""#, r#""command":"rustic backup","files_new""#);
        let again = serde_json::to_value(serde_json::from_str::<Snapshot>(&inner).unwrap()).unwrap();
        assert_eq!(again["summary"]["command"], "rustic backup");
    }

    #[test]
    fn null_lists_are_empty_and_a_null_tree_is_refused() {
        let tree = Id::of(b"");
        let nulls =
            format!(r#"{{"time":"2020-01-01T00:00:00Z","tree":"{tree}","paths":null,"tags":null,"excludes":null}}"#);
        assert_eq!(serde_json::from_str::<Snapshot>(&nulls).unwrap().paths, Vec::<String>::new());
        assert!(serde_json::from_str::<Snapshot>(&nulls.replace(&format!("\"{tree}\""), "null")).is_err());
        assert!(serde_json::from_str::<Snapshot>("{}").is_err());
    }
}
