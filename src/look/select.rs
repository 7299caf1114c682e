//! Which snapshot is meant.
//!
//! Pure: the snapshots are handed in, with what the user typed.

use std::str::FromStr;

use jiff::Timestamp;

use crate::vault::snapshot::{Snapshot, SnapshotFile};

/// Which snapshots count. Empty lists let everything through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Any of these hosts.
    pub hosts: Vec<String>,
    /// Any of these sets, all tags of it.
    pub tags: Vec<Vec<String>>,
    /// All of these paths, as they were backed up.
    pub paths: Vec<String>,
}

impl Filter {
    /// Whether the snapshot counts.
    pub fn admits(&self, snapshot: &Snapshot) -> bool {
        let host = self.hosts.is_empty() || self.hosts.contains(&snapshot.hostname);
        let all = |set: &Vec<String>| set.iter().all(|tag| snapshot.tags.contains(tag));
        let tags = self.tags.is_empty() || self.tags.iter().any(all);
        let plain = |path: &str| if path.len() > 1 { path.trim_end_matches('/').to_owned() } else { path.to_owned() };
        let paths = self.paths.iter().all(|path| snapshot.paths.iter().any(|held| plain(held) == plain(path)));
        host && tags && paths
    }
}

/// A snapshot and, if given, a path in it: "latest", "4bba301e", "4bba301e:/etc".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Which snapshot.
    pub which: Which,
    /// Where in it; empty for the top.
    pub path: String,
}

/// Which snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The newest that counts.
    Latest,
    /// The one whose id begins so.
    Id(String),
}

/// The text names no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no snapshot; write \"latest\" or the beginning of an id, with a path if wanted (4bba301e:/etc)")]
pub struct BadSpec(String);

impl FromStr for Spec {
    type Err = BadSpec;

    fn from_str(text: &str) -> Result<Self, BadSpec> {
        let (which, path) = text.split_once(':').unwrap_or((text, ""));
        let is_id = !which.is_empty() && which.len() <= 64 && which.bytes().all(|byte| byte.is_ascii_hexdigit());
        let which = match which {
            "latest" => Which::Latest,
            id if is_id => Which::Id(id.to_ascii_lowercase()),
            _ => return Err(BadSpec(text.to_owned())),
        };
        Ok(Self { which, path: path.to_owned() })
    }
}

/// The newest snapshot that counts and was taken at `at` or before.
pub fn latest<'a>(
    snapshots: &'a [SnapshotFile],
    filter: &Filter,
    at: Option<Timestamp>,
) -> Option<&'a SnapshotFile> {
    snapshots
        .iter()
        .filter(|file| filter.admits(&file.snapshot) && at.is_none_or(|at| file.snapshot.time <= at))
        .max_by_key(|file| (file.snapshot.time, file.id))
}

/// The newest `count` snapshots of each host and set of paths, in the order in which they came.
pub fn choose(snapshots: Vec<SnapshotFile>, count: usize) -> Vec<SnapshotFile> {
    let group = |file: &SnapshotFile| {
        let mut paths = file.snapshot.paths.clone();
        paths.sort_unstable();
        (file.snapshot.hostname.clone(), paths)
    };
    let mut groups = std::collections::HashMap::<_, Vec<_>>::new();
    for file in &snapshots {
        groups.entry(group(file)).or_default().push((file.snapshot.time, file.id));
    }
    let mut kept = std::collections::HashSet::new();
    for times in groups.values_mut() {
        times.sort_unstable();
        kept.extend(times.iter().rev().take(count).map(|(_, id)| *id));
    }
    snapshots.into_iter().filter(|file| kept.contains(&file.id)).collect()
}
