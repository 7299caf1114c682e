//! Several files as one.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use super::complaint::{ConfigError, Finding};
use super::document::{self, Document};
use super::places::Places;
use super::resolve::resolve;
use super::schema::schema;
use super::{Config, raw};

/// The files seen so far. Each name is defined in one of them.
#[derive(Default)]
pub(super) struct Merge {
    raw: raw::File,
    places: Places,
}

impl Merge {
    /// Adds a file; reports what was defined before.
    pub(super) fn add(&mut self, document: Document) -> Vec<Finding> {
        let Document { raw, places } = document;
        let mut duplicates = Duplicates { before: &self.places, now: &places, findings: Vec::new() };
        duplicates.one("state_dir", &mut self.raw.state_dir, raw.state_dir);
        duplicates.one("hooks", &mut self.raw.hooks, raw.hooks);
        duplicates.many("vault", &mut self.raw.vault, raw.vault);
        duplicates.many("retention", &mut self.raw.retention, raw.retention);
        duplicates.many("plan", &mut self.raw.plan, raw.plan);
        duplicates.many("runbook", &mut self.raw.runbook, raw.runbook);
        let findings = duplicates.findings;
        self.places.merge(places);
        findings
    }

    /// The configuration that all files together make.
    pub(super) fn finish(self) -> Result<Config, ConfigError> {
        resolve(self.raw, self.places).map_err(|findings| ConfigError::Refused { findings })
    }
}

struct Duplicates<'a> {
    before: &'a Places,
    now: &'a Places,
    findings: Vec<Finding>,
}

impl Duplicates<'_> {
    fn one<T>(&mut self, key: &str, into: &mut Option<T>, from: Option<T>) {
        match (&into, from) {
            (Some(_), Some(_)) => self.twice(key, &format!("`{key}`")),
            (None, Some(value)) => *into = Some(value),
            (_, None) => {}
        }
    }

    fn many<T>(&mut self, table: &str, into: &mut BTreeMap<String, T>, from: BTreeMap<String, T>) {
        for (name, value) in from {
            match into.entry(name) {
                Entry::Occupied(first) => {
                    let name = first.key();
                    self.twice(&format!("{table}.{name}"), &format!("{table} `{name}`"));
                }
                Entry::Vacant(free) => {
                    free.insert(value);
                }
            }
        }
    }

    fn twice(&mut self, path: &str, noun: &str) {
        let first = self.before.find(path).map_or_else(String::new, |place| format!(" (first at {place})"));
        let what = format!("{noun} is defined twice{first}");
        self.findings.push(Finding::error(self.now.find(path), what, "rename or remove one of them"));
    }
}

/// A configuration of one text, which includes nothing. `file` is what findings call it and what relative paths in it
/// are relative to; nothing is read.
pub fn parse(file: &Path, text: &str) -> Result<Config, ConfigError> {
    let refused = |findings| ConfigError::Refused { findings };
    let document = document::parse(&schema(), file, text).map_err(refused)?;
    if !document.raw.include.is_empty() {
        let what = "`include` in a text that is no file";
        let place = document.places.find("include");
        return Err(refused(vec![Finding::error(place, what, "load it from a file")]));
    }
    let mut merge = Merge::default();
    match merge.add(document) {
        findings if findings.is_empty() => merge.finish(),
        findings => Err(refused(findings)),
    }
}
