//! From what was written to what is meant.
//!
//! Fills in defaults, turns tables with alternatives into enums, and makes sure that every name which is used exists.
//! Goes on past what is wrong, so that all of it is reported at once. Whether what is meant can come true is not decided
//! here but in `check`.

mod plan;
mod runbook;
mod schedule;
mod vault;

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::complaint::{Finding, suggest};
use super::name::{NotAName, PlanName, RetentionName, RunbookName, VaultName};
use super::places::{Places, describe};
use super::retention::{Keep, Tier, Tiers};
use super::{Config, Hook, raw};
use crate::units::{Age, Span};

/// The configuration, or all that is wrong with it.
pub(super) fn resolve(raw: raw::File, places: Places) -> Result<Config, Vec<Finding>> {
    let mut context = Context { places: &places, findings: Vec::new() };
    let vaults = context.named("vault", raw.vault, Context::vault);
    let mut retention = context.named("retention", raw.retention, Context::retention);
    if !retention.contains_key(Tiers::GFS)
        && let Ok(gfs) = Tiers::GFS.parse()
    {
        retention.insert(gfs, Tiers::gfs());
    }
    let plan_names: Vec<PlanName> = raw.plan.keys().filter_map(|name| name.parse().ok()).collect();
    let runbooks = context.named("runbook", raw.runbook, |context, path, raw| context.runbook(path, raw, &plan_names));
    let known = Known { vaults: &vaults, retention: &retention, runbooks: &runbooks };
    let plans = context.named("plan", raw.plan, |context, path, raw| context.plan(path, raw, &known));
    let on_failure = raw.hooks.and_then(|hooks| {
        let command = context.command("hooks.on_failure", hooks.on_failure)?;
        Some(Hook { command, timeout: hooks.timeout.unwrap_or(Span::from_mins(1)) })
    });
    let state_dir = raw.state_dir.map(|dir| context.rebase("state_dir", &dir));
    let findings = context.findings;
    if findings.is_empty() {
        Ok(Config { state_dir, on_failure, vaults, retention, plans, runbooks, places })
    } else {
        Err(findings)
    }
}

/// What plans may name.
struct Known<'a> {
    vaults: &'a BTreeMap<VaultName, super::VaultConfig>,
    retention: &'a BTreeMap<RetentionName, Tiers>,
    runbooks: &'a BTreeMap<RunbookName, super::Runbook>,
}

struct Context<'a> {
    places: &'a Places,
    findings: Vec<Finding>,
}

impl Context<'_> {
    fn error(&mut self, path: &str, what: impl Into<String>, fix: impl Into<String>) {
        self.findings.push(Finding::error(self.places.find(path), what, fix));
    }

    /// Resolves each entry of a table of named things.
    fn named<N, R, T>(
        &mut self,
        table: &str,
        raw: BTreeMap<String, R>,
        mut each: impl FnMut(&mut Self, &str, R) -> Option<T>,
    ) -> BTreeMap<N, T>
    where
        N: FromStr<Err = NotAName> + Ord,
    {
        let mut out = BTreeMap::new();
        for (name, raw) in raw {
            let path = format!("{table}.{name}");
            match name.parse() {
                Ok(parsed) => {
                    if let Some(value) = each(self, &path, raw) {
                        out.insert(parsed, value);
                    }
                }
                Err(refused) => self.not_a_name(&path, table, &refused),
            }
        }
        out
    }

    fn not_a_name(&mut self, path: &str, noun: &str, refused: &NotAName) {
        let what = format!("{:?} cannot name a {noun}", refused.0);
        self.error(path, what, "use lower-case letters, digits, - and _, a letter or digit first, at most 64");
    }

    /// The entry that a name stands for.
    fn known<N, T>(&mut self, path: &str, noun: &str, name: &str, known: &BTreeMap<N, T>) -> Option<N>
    where
        N: Ord + Clone + Borrow<str>,
    {
        let found = known.get_key_value(name).map(|(name, _)| name.clone());
        if found.is_none() {
            let fix = suggest(name, known.keys().map(Borrow::borrow), &format!("define it as [{noun}.{name}]"));
            self.error(path, format!("there is no {noun} `{name}`, named by {}", describe(path)), fix);
        }
        found
    }

    /// A path relative to the folder of the file that its key is written in.
    fn rebase(&self, key: &str, path: &Path) -> PathBuf {
        let place = self.places.find(key);
        let folder = place.as_ref().and_then(|place| place.file.parent());
        folder.map_or_else(|| path.to_owned(), |folder| folder.join(path))
    }

    /// A program and its arguments.
    fn command(&mut self, path: &str, command: Vec<String>) -> Option<Vec<String>> {
        if command.first().is_none_or(String::is_empty) {
            self.error(path, format!("{} names no program", describe(path)), "write it like [\"/usr/bin/true\"]");
            return None;
        }
        Some(command)
    }

    /// The only one of several alternatives that was written.
    fn exactly_one<T>(&mut self, path: &str, choices: Vec<(&str, Option<T>)>) -> Option<T> {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        let mut given: Vec<_> = choices.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        match (given.pop(), given.pop()) {
            (Some((_, value)), None) => Some(value),
            (Some((last, _)), Some((first, _))) => {
                let what = format!("`{first}` and `{last}` exclude each other in {}", describe(path));
                self.error(&format!("{path}.{last}"), what, "keep one of them");
                None
            }
            (None, _) => {
                let what = format!("{} says nothing", describe(path));
                self.error(path, what, format!("add one of {}", super::complaint::quoted(names)));
                None
            }
        }
    }

    fn retention(&mut self, path: &str, raw: raw::Retention) -> Option<Tiers> {
        let tiers = [(Tier::Daily, raw.daily), (Tier::Weekly, raw.weekly), (Tier::Monthly, raw.monthly)];
        let mut out = Vec::new();
        for (tier, raw) in tiers {
            let Some(raw) = raw else { continue };
            let keep = Keep { tier, age: raw.keep, min: raw.min.unwrap_or(1) };
            if keep.age == Age::default() && keep.min == 0 {
                let what = format!("tier `{tier}` in {} keeps nothing", describe(path));
                self.error(&format!("{path}.{tier}"), what, "set `keep` or `min` above zero, or remove the tier");
            }
            out.push(keep);
        }
        if out.is_empty() {
            self.error(path, format!("{} keeps no tier", describe(path)), "add daily = { keep = \"30d\", min = 7 }");
            return None;
        }
        Some(Tiers(out))
    }
}
