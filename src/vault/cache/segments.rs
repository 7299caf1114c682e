//! Index segments, each named for the index files that it covers.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Cache, remove};
use crate::vault::Id;
use crate::vault::index::{self, Segment, SegmentError};

impl Cache {
    /// The segments that hold what these index files say and nothing else, and the index files that none covers.
    ///
    /// `ids` are all index files that the vault has now. Segments that cover one which is gone (a prune replaced it) would
    /// name blobs that are gone, and are removed, as are damaged ones and those that others made superfluous.
    pub fn index_segments(&self, ids: &[Id]) -> (Vec<Segment>, Vec<Id>) {
        let mut missing: HashSet<Id> = ids.iter().copied().collect();
        let present = missing.clone();
        let mut found: Vec<(PathBuf, Segment)> = Vec::new();
        for path in files(&self.index) {
            match open(&path) {
                Ok(Some(segment)) if segment.covers().all(|id| present.contains(&id)) => found.push((path, segment)),
                // Merged away by another process between the listing and now.
                Ok(None) => {}
                Ok(Some(_)) => remove(&path),
                Err(error) => {
                    tracing::warn!(%error, ?path, "a cached index segment is rebuilt");
                    remove(&path);
                }
            }
        }
        // Merged ones first: a process that was killed between a merge and the removal of its parts left both.
        found.sort_by_key(|(_, segment)| std::cmp::Reverse(segment.covers().count()));
        let mut segments = Vec::new();
        for (path, segment) in found {
            let news = segment.covers().filter(|id| missing.remove(id)).count();
            if news > 0 {
                segments.push(segment);
            } else {
                remove(&path);
            }
        }
        (segments, ids.iter().copied().filter(|id| missing.remove(id)).collect())
    }

    /// Keeps a segment for later runs. What comes back is the same, mapped from its file where that worked, so that it
    /// takes no memory of its own.
    pub fn store_segment(&self, segment: Segment) -> Segment {
        let Some(place) = self.place(&[&segment]) else { return segment.aside() };
        let stored = self.put(&place, |file| file.write_all(segment.as_bytes()));
        match stored.as_ref().map(Segment::open) {
            Some(Ok(mapped)) => mapped,
            Some(Err(error)) => {
                tracing::warn!(%error, path = ?place, "a cached segment cannot be read back");
                remove(&place);
                segment.aside()
            }
            None => segment.aside(),
        }
    }

    /// Merges small segments when there are many, and removes the files of those that were merged.
    pub fn compact(&self, segments: Vec<Segment>) -> Vec<Segment> {
        let (segments, done) = index::compact(segments, |small| self.merge(small));
        if let Err(error) = done {
            tracing::warn!(%error, "index segments stay unmerged");
        }
        segments
    }

    /// Makes one segment of several, and removes their files.
    pub fn merge(&self, small: &[&Segment]) -> Result<Segment, SegmentError> {
        let Some(place) = self.place(small) else { return Segment::merge_aside(small) };
        let mut failed = None;
        let stored = self.put(&place, |file| match Segment::merge(small, file) {
            Ok(_) => Ok(()),
            Err(SegmentError::Io(error)) => Err(error),
            Err(error) => {
                let text = error.to_string();
                failed = Some(error);
                Err(std::io::Error::other(text))
            }
        });
        match (stored, failed) {
            (Some(file), _) => {
                let merged = Segment::open(&file)?;
                small.iter().filter_map(|part| self.place(&[part])).for_each(|part| remove(&part));
                Ok(merged)
            }
            (None, Some(error)) => Err(error),
            (None, None) => Segment::merge_aside(small),
        }
    }

    /// Where the union of these segments is kept. Nothing for one that covers no index file: it could not be found again.
    fn place(&self, segments: &[&Segment]) -> Option<PathBuf> {
        let mut covers: Vec<Id> = segments.iter().flat_map(|segment| segment.covers()).collect();
        covers.sort_unstable();
        covers.dedup();
        let name = Id::of(&covers.iter().flat_map(|id| id.0).collect::<Vec<u8>>());
        (!covers.is_empty()).then(|| self.index.join(name.to_string()))
    }
}

/// Nothing when the file is gone.
fn open(path: &Path) -> Result<Option<Segment>, SegmentError> {
    match File::open(path) {
        Ok(file) => Segment::open(&file).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What a folder holds, in a fixed order; nothing when it cannot be read.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort_unstable();
    paths
}
