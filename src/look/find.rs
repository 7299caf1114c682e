//! Finds entries by name.
//!
//! Patterns have the syntax of .gitignore. As long as all of them look at names only, a tree in which nothing was found
//! is not opened again: a search over a year of snapshots reads each folder's states once.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::error::LookError;
use super::walk::Walk;
use crate::vault::index::Index;
use crate::vault::tree::{Node, NodeKind};
use crate::vault::{Id, Vault};

/// Trees that are remembered as holding nothing; 32 bytes each.
const BARREN_MAX: usize = 1 << 20;

/// Whether upper and lower case differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// They do.
    Sensitive,
    /// They do not.
    Ignored,
}

/// The pattern cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("understand the pattern {pattern:?}")]
pub struct BadPattern {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    #[source]
    pub source: ignore::Error,
}

/// Looks for entries, in one snapshot after the other.
#[derive(Debug)]
pub struct Finder {
    patterns: Gitignore,
    /// Trees without a find anywhere beneath them; `None` when a pattern looks at whole paths.
    barren: Option<HashSet<Id>>,
}

/// A folder on the way to the current entry.
struct Open {
    tree: Id,
    fruitful: bool,
}

impl Finder {
    /// Looks for what fits any of the patterns.
    pub fn new(patterns: &[String], case: Case) -> Result<Self, BadPattern> {
        let mut builder = GitignoreBuilder::new("/");
        let bad = |pattern: &str, source| BadPattern { pattern: pattern.to_owned(), source };
        let first = patterns.first().map_or("", String::as_str);
        builder.case_insensitive(case == Case::Ignored).map_err(|error| bad(first, error))?;
        for pattern in patterns {
            // In a list of exclusions these two would begin a comment and an exception.
            let literal = if pattern.starts_with(['#', '!']) { format!("\\{pattern}") } else { pattern.clone() };
            builder.add_line(None, &literal).map_err(|error| bad(pattern, error))?;
        }
        let names_only = patterns.iter().all(|pattern| !pattern.trim_end_matches('/').contains('/'));
        let patterns = builder.build().map_err(|error| bad(first, error))?;
        Ok(Self { patterns, barren: names_only.then(HashSet::new) })
    }

    /// Whether the entry fits.
    pub fn fits(&self, path: &[u8], node: &Node) -> bool {
        self.patterns.matched(Path::new(OsStr::from_bytes(path)), node.kind == NodeKind::Dir).is_ignore()
    }

    /// Hands every entry that fits to `found`, and every error to `damaged`. Stops when one of them returns an error.
    pub async fn search<E>(
        &mut self,
        vault: &Vault,
        index: &Index,
        root: Id,
        mut found: impl FnMut(&[u8], &Node) -> Result<(), E>,
        mut damaged: impl FnMut(&LookError) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.is_barren(root) {
            return Ok(());
        }
        let mut open = vec![Open { tree: root, fruitful: false }];
        let mut walk = Walk::new(vault, index, root, b"");
        while let Some(entry) = walk.next().await {
            let node = match entry {
                Ok(node) => node,
                Err(error) => {
                    // What could not be read may hold something.
                    open.iter_mut().for_each(|folder| folder.fruitful = true);
                    damaged(&error)?;
                    continue;
                }
            };
            self.close(&mut open, walk.depth() + 1);
            if self.fits(walk.path(), &node) {
                open.iter_mut().for_each(|folder| folder.fruitful = true);
                found(walk.path(), &node)?;
            }
            if let Some(tree) = node.subtree {
                if self.is_barren(tree) {
                    walk.skip();
                } else {
                    open.push(Open { tree, fruitful: false });
                }
            }
        }
        self.close(&mut open, 0);
        Ok(())
    }

    fn is_barren(&self, tree: Id) -> bool {
        self.barren.as_ref().is_some_and(|barren| barren.contains(&tree))
    }

    /// Leaves the folders beyond `depth`.
    fn close(&mut self, open: &mut Vec<Open>, depth: usize) {
        for folder in open.drain(depth.min(open.len())..) {
            if let (Some(barren), false) = (&mut self.barren, folder.fruitful)
                && barren.len() < BARREN_MAX
            {
                barren.insert(folder.tree);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bed;
    use super::*;

    fn finder(patterns: &[&str], case: Case) -> Finder {
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        Finder::new(&patterns, case).expect("patterns")
    }

    async fn search(finder: &mut Finder, bed: &Bed, root: Id) -> Vec<String> {
        let seen = std::cell::RefCell::new(Vec::new());
        let found = |path: &[u8], _: &Node| {
            seen.borrow_mut().push(String::from_utf8_lossy(path).into_owned());
            Ok::<(), ()>(())
        };
        let damaged = |error: &LookError| {
            seen.borrow_mut().push(error.to_string());
            Ok(())
        };
        finder.search(&bed.vault, &bed.index, root, found, damaged).await.expect("nothing stops it");
        seen.into_inner()
    }

    async fn bed() -> (Bed, Id) {
        let bed = Bed::new().await;
        let sub = bed.dir("Keys", vec![bed.file("a.key", &[]).await, bed.file("b.KEY", &[]).await]).await;
        let home = bed.dir("home", vec![sub, bed.file("!odd", &[]).await, bed.file("#note", &[]).await]).await;
        let other = bed.dir("other", vec![bed.file("x", &[]).await]).await;
        let root = bed.tree(vec![home, other]).await;
        (bed, root)
    }

    #[tokio::test]
    async fn patterns_follow_gitignore() {
        let (bed, root) = bed().await;
        let table: [(&[&str], Case, &[&str]); 7] = [
            (&["*.key"], Case::Sensitive, &["/home/Keys/a.key"]),
            (&["*.key"], Case::Ignored, &["/home/Keys/a.key", "/home/Keys/b.KEY"]),
            (&["keys/"], Case::Ignored, &["/home/Keys"]),
            (&["x/"], Case::Sensitive, &[]),
            (&["/home/*"], Case::Sensitive, &["/home/!odd", "/home/#note", "/home/Keys"]),
            (&["!odd", "#note"], Case::Sensitive, &["/home/!odd", "/home/#note"]),
            (&["/x", "Keys/x"], Case::Sensitive, &[]),
        ];
        for (patterns, case, expected) in table {
            assert_eq!(search(&mut finder(patterns, case), &bed, root).await, expected, "{patterns:?}");
        }
    }

    #[tokio::test]
    async fn barren_trees_are_not_opened_again_and_fruitful_ones_are() {
        let (bed, root) = bed().await;
        let mut finder = finder(&["a.key"], Case::Sensitive);
        for _ in 0..2 {
            assert_eq!(search(&mut finder, &bed, root).await, ["/home/Keys/a.key"]);
        }
        assert_eq!(finder.barren.as_ref().map(HashSet::len), Some(1), "only /other holds nothing");
        assert!(!finder.is_barren(root));
    }

    #[tokio::test]
    async fn what_could_not_be_read_is_not_barren() {
        let (bed, _) = bed().await;
        let mut lost = bed.dir("lost", Vec::new()).await;
        lost.subtree = Some(Id([3; 32]));
        let root = bed.tree(vec![lost]).await;
        let mut finder = finder(&["a.key"], Case::Sensitive);
        for _ in 0..2 {
            assert_eq!(search(&mut finder, &bed, root).await, ["load the folder /lost (tree 03030303)"]);
        }
    }

    #[test]
    fn a_pattern_that_cannot_be_understood_is_refused() {
        let error = Finder::new(&["[z-a]".to_owned()], Case::Sensitive).expect_err("a range that runs backwards");
        assert_eq!(error.to_string(), "understand the pattern \"[z-a]\"");
    }
}
