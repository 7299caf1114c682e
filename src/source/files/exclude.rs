//! What a backup leaves out: patterns in the syntax of gitignore.
//!
//! Each backup path is the root of its own patterns: `/cache` leaves out the entry `cache` of every path that is backed
//! up, and nothing below. The last pattern that fits decides, one that begins with `!` keeps what an earlier one left out.
//! A folder that is left out is not entered, so nothing below it can be kept. Wildcards count bytes, as with git.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// Whether letters must be equal in case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Case {
    /// `A` is not `a`.
    #[default]
    Sensitive,
    /// `A` is `a`.
    Insensitive,
}

/// Why patterns cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ExcludeError {
    /// The file of patterns could not be read.
    #[error("read the patterns in {file:?}")]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A line of a file is no pattern.
    #[error("understand the pattern in line {line} of {file:?}")]
    Line {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: PatternFault,
    },
    /// A pattern of the command line or configuration is none.
    #[error("understand the pattern {pattern:?}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        #[source]
        source: PatternFault,
    },
    /// All patterns are understood but too large together.
    #[error("combine the patterns")]
    Combine(#[source] ignore::Error),
}

/// What is wrong with a pattern.
#[derive(Debug, thiserror::Error)]
pub enum PatternFault {
    /// It is not a glob.
    #[error(transparent)]
    Glob(#[from] ignore::Error),
    /// It is not UTF-8.
    #[error("it is not UTF-8")]
    Encoding,
    /// It has no effect.
    #[error("it matches nothing: it is empty or a comment (write \\# for a name that begins with #)")]
    Nothing,
}

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It is backed up.
    Keep,
    /// It is left out.
    Exclude {
        /// The pattern that says so.
        pattern: &'a str,
    },
}

/// Patterns, ready to be asked.
#[derive(Debug, Clone)]
pub struct Excludes {
    globs: Gitignore,
    patterns: Vec<String>,
}

impl Excludes {
    /// Leaves nothing out.
    pub fn none() -> Self {
        Self { globs: Gitignore::empty(), patterns: Vec::new() }
    }

    /// The patterns in `files`, then those in `patterns`, so that the latter have the last word.
    pub fn new(patterns: &[String], files: &[PathBuf], case: Case) -> Result<Self, ExcludeError> {
        // paths are asked about relative to what is backed up
        let mut builder = GitignoreBuilder::new("");
        builder.allow_unclosed_class(false);
        builder.case_insensitive(case == Case::Insensitive).map_err(ExcludeError::Combine)?;
        let mut used = Vec::new();
        for file in files {
            let text = std::fs::read(file).map_err(|source| ExcludeError::Read { file: file.clone(), source })?;
            let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&text);
            for (line, pattern) in (1..).zip(text.split(|byte| *byte == b'\n')) {
                let pattern = pattern.strip_suffix(b"\r").unwrap_or(pattern);
                match add(&mut builder, pattern) {
                    Ok(pattern) => used.push(pattern.to_owned()),
                    Err(PatternFault::Nothing) => {}
                    Err(source) => return Err(ExcludeError::Line { file: file.clone(), line, source }),
                }
            }
        }
        for pattern in patterns {
            add(&mut builder, pattern.as_bytes())
                .map_err(|source| ExcludeError::Pattern { pattern: pattern.clone(), source })?;
            used.push(pattern.clone());
        }
        Ok(Self { globs: builder.build().map_err(ExcludeError::Combine)?, patterns: used })
    }

    /// What becomes of the entry at `path`, relative to the path that is backed up. Asked of every entry from the top
    /// down.
    pub fn matches(&self, path: &[u8], is_dir: bool) -> Verdict<'_> {
        match self.globs.matched(Path::new(OsStr::from_bytes(path)), is_dir) {
            Match::None | Match::Whitelist(_) => Verdict::Keep,
            Match::Ignore(glob) => Verdict::Exclude { pattern: glob.original() },
        }
    }

    /// All patterns in their order, as a snapshot records them.
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }
}

/// Adds a pattern that says something.
fn add<'a>(builder: &mut GitignoreBuilder, pattern: &'a [u8]) -> Result<&'a str, PatternFault> {
    let pattern = std::str::from_utf8(pattern).map_err(|_| PatternFault::Encoding)?;
    if pattern.starts_with('#') || matches!(pattern.trim(), "" | "!" | "/" | "!/") {
        return Err(PatternFault::Nothing);
    }
    builder.add_line(None, pattern)?;
    Ok(pattern)
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::io::Write;

    use super::*;

    fn excludes(patterns: &[&str]) -> Excludes {
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        Excludes::new(&patterns, &[], Case::Sensitive).unwrap()
    }

    fn excluded(excludes: &Excludes, path: &str) -> bool {
        let (path, is_dir) = path.strip_suffix('/').map_or((path, false), |dir| (dir, true));
        excludes.matches(path.as_bytes(), is_dir) != Verdict::Keep
    }

    #[test]
    fn patterns_mean_what_gitignore_says() {
        for (pattern, out, kept) in [
            ("*.o", &["a.o", "x/y/a.o", ".o", "a.o/"][..], &["a.oo", "a.o/b"][..]),
            ("/cache", &["cache", "cache/"], &["a/cache", "cache2"]),
            ("cache/", &["cache/", "a/cache/"], &["cache", "a/cache"]),
            ("a/b", &["a/b"], &["x/a/b", "b"]),
            ("**/a/b", &["a/b", "x/a/b"], &["a/x/b"]),
            ("a/**/b", &["a/b", "a/x/y/b"], &["a/xb"]),
            ("a/**", &["a/b", "a/b/c"], &["a/"]),
            ("[!a]?", &["bc", "cc"], &["ab", "b"]),
            ("\\#x", &["#x"], &["x"]),
            ("\\!x", &["!x"], &["x"]),
            ("A", &["A"], &["a"]),
            ("é", &["é"], &["e"]),
        ] {
            let excludes = excludes(&[pattern]);
            for path in out {
                assert!(excluded(&excludes, path), "{pattern} leaves out {path}");
            }
            for path in kept {
                assert!(!excluded(&excludes, path), "{pattern} keeps {path}");
            }
        }
    }

    #[test]
    fn the_last_pattern_that_fits_decides() {
        let excludes = excludes(&["*.log", "!keep.log", "/x/keep.log"]);
        assert_eq!(excludes.matches(b"a.log", false), Verdict::Exclude { pattern: "*.log" });
        assert_eq!(excludes.matches(b"keep.log", false), Verdict::Keep);
        assert_eq!(excludes.matches(b"x/keep.log", false), Verdict::Exclude { pattern: "/x/keep.log" });
        assert_eq!(excludes.patterns(), ["*.log", "!keep.log", "/x/keep.log"]);
        assert_eq!(Excludes::none().matches(b"a.log", false), Verdict::Keep);
    }

    #[test]
    fn names_that_are_not_utf8_are_matched_by_their_bytes() {
        let excludes = excludes(&["*.tmp"]);
        assert_ne!(excludes.matches(b"x/\xff\n.tmp", false), Verdict::Keep);
        assert_eq!(excludes.matches(b"x/\xff.tm\xff", false), Verdict::Keep);
    }

    #[test]
    fn case_can_be_ignored() {
        let excludes = Excludes::new(&["Cache".into()], &[], Case::Insensitive).unwrap();
        assert_ne!(excludes.matches(b"a/cACHE", true), Verdict::Keep);
    }

    fn file(text: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        file
    }

    #[test]
    fn files_hold_patterns_and_comments() {
        let file = file("\u{feff}*.o\r\n\n# comment\n  \n!a.o".as_bytes());
        let excludes = Excludes::new(&["b".into()], &[file.path().to_owned()], Case::Sensitive).unwrap();
        assert_eq!(excludes.patterns(), ["*.o", "!a.o", "b"]);
        assert!(excluded(&excludes, "x.o"));
        assert!(!excluded(&excludes, "a.o"));
    }

    #[test]
    fn errors_name_the_file_and_the_line() {
        for (text, fault) in [(&b"ok\n\n[a"[..], "unclosed"), (b"ok\n\nx\xffy", "UTF-8")] {
            let file = file(text);
            let error = Excludes::new(&[], &[file.path().to_owned()], Case::Sensitive).unwrap_err();
            let name = file.path().file_name().unwrap().to_str().unwrap();
            assert!(error.to_string().contains("line 3") && error.to_string().contains(name), "{error}");
            assert!(error.source().unwrap().to_string().contains(fault), "{error:?}");
        }
        let error = Excludes::new(&[], &["/nonexistent/patterns".into()], Case::Sensitive).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/patterns"));
    }

    #[test]
    fn a_pattern_that_can_do_nothing_is_refused() {
        for pattern in ["", " ", "#x#", "/", "!", "[a", "a\\"] {
            let error = Excludes::new(&[pattern.into()], &[], Case::Sensitive).unwrap_err();
            assert!(matches!(error, ExcludeError::Pattern { .. }), "{pattern}");
        }
    }
}
