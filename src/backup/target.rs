//! What is backed up, as one tree: the paths that were asked for and the folders that lead to them.
//!
//! Paths are absolute and stored as such: backing up `/srv/data` gives a tree with `srv`, in it `data`, as
//! `restic backup /srv/data` does. The folders on the way are stored with their own metadata and nothing else in them.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::{BackupError, Source};
use crate::source::files::{Names, look_up};

/// A stream that is stored as a file: standard input, a program's output, a database copied online.
pub struct Stream {
    /// Where it is stored, absolute. The metadata of a file that exists there is used.
    pub path: PathBuf,
    /// The bytes.
    pub reader: Box<dyn Read + Send>,
    /// Asked after the last byte: whether the stream was whole. An error fails the run.
    pub finish: Box<dyn FnOnce() -> Result<(), String> + Send>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What is done with one name in a folder on the way.
#[derive(Debug)]
pub(super) enum Target {
    /// A folder that leads to others.
    Way(BTreeMap<Vec<u8>, Target>),
    /// Stored with all that is in it.
    Whole,
    /// Stored from a stream.
    Stream(Stream),
}

/// All targets of a run, below `/`.
#[derive(Debug)]
pub(super) struct Targets {
    /// What to do with `/` itself.
    pub(super) root: Target,
    paths: Vec<PathBuf>,
}

impl Targets {
    /// When no target is there the run ends; one that is not, or whose file system does not answer, is a problem of the
    /// walk's.
    pub(super) fn new(source: Source, files: &Names) -> Result<Self, BackupError> {
        match source {
            Source::Files(paths) => {
                if paths.is_empty() {
                    return Err(BackupError::NoPaths);
                }
                let mut paths: Vec<PathBuf> = paths.iter().map(|path| normal(path)).collect::<Result<_, _>>()?;
                let (mut found, mut missing) = (0, None);
                for path in &paths {
                    match look_up(path, files) {
                        Err(source) if source.kind() != std::io::ErrorKind::TimedOut => {
                            missing.get_or_insert(BackupError::Path { path: path.clone(), source });
                        }
                        Ok(_) | Err(_) => found += 1,
                    }
                }
                if let (0, Some(missing)) = (found, missing) {
                    return Err(missing);
                }
                paths.sort();
                paths.dedup();
                let mut root = Target::Way(BTreeMap::new());
                for path in &paths {
                    insert(&mut root, names(path), Target::Whole);
                }
                Ok(Self { root, paths })
            }
            Source::Stream(stream) => {
                let path = normal(&stream.path)?;
                if path == Path::new("/") {
                    return Err(BackupError::BadPath { path, why: "a stream needs a file name" });
                }
                let mut root = Target::Way(BTreeMap::new());
                insert(&mut root, names(&path), Target::Stream(stream));
                Ok(Self { root, paths: vec![path] })
            }
        }
    }

    /// The paths as the snapshot lists them, sorted.
    pub(super) fn paths(&self) -> Vec<String> {
        self.paths.iter().map(|path| path.to_string_lossy().into_owned()).collect()
    }
}

/// Removes `.`; refuses what is not absolute, and `..`, which would name another place once a symlink is on the way.
fn normal(path: &Path) -> Result<PathBuf, BackupError> {
    let bad = |why| BackupError::BadPath { path: path.to_owned(), why };
    if !path.is_absolute() {
        return Err(bad("the path is not absolute"));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(bad("the path has `..` in it"));
    }
    Ok(path.components().collect())
}

fn names(path: &Path) -> Vec<Vec<u8>> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.as_bytes().to_vec()),
            Component::RootDir | Component::CurDir | Component::ParentDir | Component::Prefix(_) => None,
        })
        .collect()
}

/// A path within one that is stored whole adds nothing; a path above others takes them in.
fn insert(into: &mut Target, names: Vec<Vec<u8>>, target: Target) {
    let mut at = into;
    for name in names {
        match at {
            Target::Whole | Target::Stream(_) => return,
            Target::Way(children) => {
                at = children.entry(name).or_insert_with(|| Target::Way(BTreeMap::new()));
            }
        }
    }
    if !matches!(at, Target::Whole) {
        *at = target;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(target: &Target) -> String {
        match target {
            Target::Whole => "*".into(),
            Target::Stream(_) => "|".into(),
            Target::Way(children) => {
                let inner: Vec<_> =
                    children.iter().map(|(n, t)| format!("{}{}", String::from_utf8_lossy(n), shape(t))).collect();
                format!("({})", inner.join(" "))
            }
        }
    }

    #[test]
    fn paths_become_one_tree() {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["a/b", "a/c", "d"] {
            std::fs::create_dir_all(dir.path().join(sub)).unwrap();
        }
        let paths = ["a/b/", "a/./c", "a/b", "d"].map(|p| dir.path().join(p)).to_vec();
        let targets = Targets::new(Source::Files(paths), &Names::new()).unwrap();
        assert_eq!(targets.paths().len(), 3);
        assert!(shape(&targets.root).contains("(a(b* c*) d*)"), "{}", shape(&targets.root));
    }

    #[test]
    fn a_path_within_another_adds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        let one =
            Targets::new(Source::Files(vec![dir.path().join("a/b"), dir.path().join("a")]), &Names::new()).unwrap();
        assert!(shape(&one.root).contains("a*"));
        let root = Targets::new(Source::Files(vec!["/".into(), dir.path().join("a")]), &Names::new()).unwrap();
        assert_eq!(shape(&root.root), "*");
    }

    #[test]
    fn what_cannot_be_stored_is_refused() {
        let files = |path: &str| Targets::new(Source::Files(vec![path.into()]), &Names::new());
        assert!(matches!(files("relative"), Err(BackupError::BadPath { .. })));
        assert!(matches!(files("/tmp/../etc"), Err(BackupError::BadPath { .. })));
        assert!(matches!(files("/no/such/path/anywhere"), Err(BackupError::Path { .. })));
        assert!(matches!(Targets::new(Source::Files(vec![]), &Names::new()), Err(BackupError::NoPaths)));
    }
}
