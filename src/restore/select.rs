//! What of a snapshot is restored.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::RestoreError;

/// Include and exclude patterns in gitignore syntax, matched against paths as the snapshot has them: a pattern with a
/// slash in front is anchored at `/`, one without matches at any depth, and what matches a folder takes in all below.
#[derive(Debug, Default)]
pub struct Selection {
    include: Option<Gitignore>,
    exclude: Option<Gitignore>,
}

/// Whether an entry is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Restored, and all below it unless excluded.
    Yes,
    /// Not itself; something below it may be.
    Below,
    /// Not, and nothing below it.
    No,
}

impl Selection {
    /// Everything that matches an include pattern (or everything, when there is none) and no exclude pattern.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, RestoreError> {
        Ok(Self { include: build(include)?, exclude: build(exclude)? })
    }

    /// Whether nothing is left out.
    pub fn is_everything(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }

    /// Judges the entry at `path` (absolute, in the snapshot); `above` is the verdict on its folder.
    pub(super) fn wants(&self, path: &[u8], is_dir: bool, above: Wanted) -> Wanted {
        let relative = Path::new(OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path)));
        if let Some(exclude) = &self.exclude
            && exclude.matched(relative, is_dir).is_ignore()
        {
            return Wanted::No;
        }
        match (&self.include, above) {
            (None, _) | (_, Wanted::Yes) => Wanted::Yes,
            (Some(include), Wanted::Below | Wanted::No) => {
                if include.matched(relative, is_dir).is_ignore() {
                    Wanted::Yes
                } else if is_dir {
                    Wanted::Below
                } else {
                    Wanted::No
                }
            }
        }
    }
}

fn build(patterns: &[String]) -> Result<Option<Gitignore>, RestoreError> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let mut builder = GitignoreBuilder::new("");
    builder.allow_unclosed_class(false);
    for pattern in patterns {
        let bad = |why: String| RestoreError::Pattern { pattern: pattern.clone(), why };
        builder.add_line(None, pattern).map_err(|error| bad(error.to_string()))?;
    }
    let bad = |error: ignore::Error| RestoreError::Pattern { pattern: patterns.join(" "), why: error.to_string() };
    builder.build().map(Some).map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(include: &[&str], exclude: &[&str], path: &str, is_dir: bool) -> Wanted {
        let own = |patterns: &[&str]| patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
        let selection = Selection::new(&own(include), &own(exclude)).unwrap();
        // Walks down to the path, as a restore does.
        let mut above = selection.wants(b"/", true, Wanted::Below);
        let parts: Vec<_> = path.match_indices('/').skip(1).map(|(at, _)| &path[..at]).collect();
        for part in parts {
            above = selection.wants(part.as_bytes(), true, above);
            if above == Wanted::No {
                return Wanted::No;
            }
        }
        selection.wants(path.as_bytes(), is_dir, above)
    }

    #[test]
    fn no_patterns_want_everything() {
        assert_eq!(wants(&[], &[], "/a/b", false), Wanted::Yes);
        assert!(Selection::default().is_everything());
    }

    #[test]
    fn a_folder_that_is_included_takes_in_all_below() {
        assert_eq!(wants(&["/srv/data"], &[], "/srv", true), Wanted::Below);
        assert_eq!(wants(&["/srv/data"], &[], "/srv/data/x/y", false), Wanted::Yes);
        assert_eq!(wants(&["/srv/data"], &[], "/srv/other", false), Wanted::No);
        assert_eq!(wants(&["*.sql"], &[], "/var/dumps/one.sql", false), Wanted::Yes);
    }

    #[test]
    fn an_exclude_wins() {
        assert_eq!(wants(&["/srv"], &["*.tmp"], "/srv/a.tmp", false), Wanted::No);
        assert_eq!(wants(&[], &["/srv/cache/"], "/srv/cache/x", false), Wanted::No);
    }

    #[test]
    fn names_that_are_not_utf8_are_matched() {
        let selection = Selection::new(&["*.bin".to_owned()], &[]).unwrap();
        assert_eq!(selection.wants(b"/a/\xff.bin", false, Wanted::Below), Wanted::Yes);
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let error = Selection::new(&["a[".to_owned()], &[]).unwrap_err();
        assert!(error.to_string().contains("a["), "{error}");
    }
}
