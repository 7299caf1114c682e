//! Reads configuration files. The only place in the ground that touches the file system.
//!
//! Files are read once each, in the order in which they are included. Globs work per folder: `*`, `?` and `[...]` match
//! within one name and not a leading dot; `**` is refused. A pattern that matches nothing is an error, because a plan
//! that was silently not loaded is a backup that silently does not run.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::path::{Component, Path, PathBuf};

use globset::GlobBuilder;
use serde_json::Value;

use super::complaint::{ConfigError, Finding, Place};
use super::document::{self, Document};
use super::merge::Merge;
use super::{Config, schema::schema};

/// The largest file that is read. A configuration is written by hand.
const MAX_FILE: u64 = 4 << 20;

/// Reads `path` and all that it includes.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let schema = schema();
    let mut findings = Vec::new();
    let mut merge = Merge::default();
    let mut seen = BTreeSet::from([identity(path)?]);
    let mut queue = VecDeque::from([path.to_owned()]);
    while let Some(file) = queue.pop_front() {
        match read(&schema, &file)? {
            Err(found) => findings.extend(found),
            Ok(document) => {
                for (index, pattern) in document.raw.include.iter().enumerate() {
                    let place = document.places.find(&format!("include.{index}"));
                    match expand(file.parent().unwrap_or(Path::new("")), pattern) {
                        Err((what, fix)) => findings.push(Finding::error(place, what, fix)),
                        Ok(included) => {
                            for file in included {
                                if seen.insert(identity(&file)?) {
                                    queue.push_back(file);
                                }
                            }
                        }
                    }
                }
                findings.extend(merge.add(document));
            }
        }
    }
    if findings.is_empty() { merge.finish() } else { Err(ConfigError::Refused { findings }) }
}

/// A file by any of its names.
fn identity(path: &Path) -> Result<PathBuf, ConfigError> {
    fs::canonicalize(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

fn read(schema: &Value, path: &Path) -> Result<Result<Document, Vec<Finding>>, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let start = |what: String, fix: &str| {
        let place = Place { file: path.to_owned().into(), line: 1, column: 1 };
        Ok(Err(vec![Finding::error(Some(place), what, fix)]))
    };
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > MAX_FILE {
        return start(format!("this file has {size} bytes, more than a configuration"), "check what is included");
    }
    match String::from_utf8(fs::read(path).map_err(failed)?) {
        Ok(text) => Ok(document::parse(schema, path, &text)),
        Err(error) => {
            let offset = error.utf8_error().valid_up_to();
            start(format!("this file is not UTF-8 from byte {offset} on"), "save it as UTF-8")
        }
    }
}

/// The files that a pattern names, sorted; or what is wrong with it and what would put it right.
fn expand(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, (String, String)> {
    let refuse = |why: &str, fix: &str| Err((format!("include `{pattern}` {why}"), fix.to_owned()));
    let mut found = vec![if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() }];
    for part in Path::new(pattern).components() {
        let Component::Normal(name) = part else {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        };
        let name = name.to_str().unwrap_or_default();
        if !name.contains(['*', '?', '[']) {
            found.iter_mut().for_each(|path| path.push(name));
            continue;
        }
        if name.contains("**") {
            return refuse("spans folders with **", "name each folder: \"plans/*/*.toml\"");
        }
        let Ok(glob) = GlobBuilder::new(name).literal_separator(true).build() else {
            return refuse("is not a glob", "write it like \"schedules/*.toml\"");
        };
        let glob = glob.compile_matcher();
        let mut next = Vec::new();
        for path in found {
            let Ok(entries) = fs::read_dir(&path) else { continue };
            let names = entries.filter_map(Result::ok).map(|entry| entry.file_name());
            next.extend(names.filter(|name| visible(name) && glob.is_match(name)).map(|name| path.join(name)));
        }
        found = next;
    }
    found.retain(|path| path.is_file());
    found.sort();
    if found.is_empty() {
        return refuse("matches no file", "correct it, or remove it; it is relative to the folder of this file");
    }
    Ok(found)
}

/// Editors keep half-written copies under names with a dot.
fn visible(name: &std::ffi::OsStr) -> bool {
    !name.as_encoded_bytes().starts_with(b".")
}
