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
pub fn latest<'a>(snapshots: &'a [SnapshotFile], filter: &Filter, at: Option<Timestamp>) -> Option<&'a SnapshotFile> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::Id;

    fn snapshot(n: u8, host: &str, tags: &[&str], paths: &[&str]) -> SnapshotFile {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let snapshot = Snapshot {
            time: Timestamp::from_second(i64::from(n) * 3600).expect("in range"),
            hostname: host.to_owned(),
            tags: owned(tags),
            paths: owned(paths),
            ..Snapshot::default()
        };
        SnapshotFile { id: Id([n; 32]), snapshot }
    }

    fn some() -> Vec<SnapshotFile> {
        vec![
            snapshot(1, "db1", &["daily"], &["/srv"]),
            snapshot(2, "db2", &["daily", "weekly"], &["/srv", "/etc"]),
            snapshot(3, "db1", &["weekly"], &["/srv"]),
            snapshot(4, "db2", &[], &["/etc", "/srv"]),
        ]
    }

    fn filter(hosts: &[&str], tags: &[&[&str]], paths: &[&str]) -> Filter {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Filter { hosts: owned(hosts), tags: tags.iter().map(|set| owned(set)).collect(), paths: owned(paths) }
    }

    #[test]
    fn filters_and_together_what_or_alone_lists() {
        let table: [(Filter, &[u8]); 7] = [
            (Filter::default(), &[1, 2, 3, 4]),
            (filter(&["db1"], &[], &[]), &[1, 3]),
            (filter(&["db1", "db2"], &[&["weekly"]], &[]), &[2, 3]),
            (filter(&[], &[&["daily", "weekly"]], &[]), &[2]),
            (filter(&[], &[&["daily"], &["weekly"]], &[]), &[1, 2, 3]),
            (filter(&[], &[], &["/etc/", "/srv"]), &[2, 4]),
            (filter(&["db3"], &[], &[]), &[]),
        ];
        for (filter, expected) in table {
            let admitted: Vec<u8> =
                some().iter().filter(|file| filter.admits(&file.snapshot)).map(|file| file.id.0[0]).collect();
            assert_eq!(admitted, expected, "{filter:?}");
        }
    }

    #[test]
    fn latest_is_the_newest_that_counts() {
        let pick = |filter: Filter, at: Option<i64>| {
            let at = at.map(|second| Timestamp::from_second(second).expect("in range"));
            latest(&some(), &filter, at).map(|file| file.id.0[0])
        };
        assert_eq!(pick(Filter::default(), None), Some(4));
        assert_eq!(pick(filter(&["db1"], &[], &[]), None), Some(3));
        assert_eq!(pick(Filter::default(), Some(2 * 3600)), Some(2), "one taken at that very time counts");
        assert_eq!(pick(Filter::default(), Some(2 * 3600 - 1)), Some(1));
        assert_eq!(pick(Filter::default(), Some(0)), None);
    }

    #[test]
    fn the_newest_of_each_group_are_chosen() {
        let ids = |count| choose(some(), count).iter().map(|file| file.id.0[0]).collect::<Vec<_>>();
        assert_eq!(ids(1), [3, 4]);
        assert_eq!(ids(2), [1, 2, 3, 4]);
    }

    #[test]
    fn snapshots_are_named_with_or_without_a_path() {
        let spec = |text: &str| text.parse::<Spec>();
        assert_eq!(spec("latest"), Ok(Spec { which: Which::Latest, path: String::new() }));
        assert_eq!(spec("latest:/etc:x"), Ok(Spec { which: Which::Latest, path: "/etc:x".into() }));
        assert_eq!(spec("4BBA301E:"), Ok(Spec { which: Which::Id("4bba301e".into()), path: String::new() }));
        for bad in ["", ":", "lastest", "/etc", &"a".repeat(65)] {
            assert!(spec(bad).is_err(), "{bad}");
        }
    }
}
