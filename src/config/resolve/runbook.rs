//! Runbooks.

use std::path::{Component, Path, PathBuf};

use super::Context;
use crate::config::complaint::suggest;
use crate::config::name::PlanName;
use crate::config::places::describe;
use crate::config::raw;
use crate::config::runbook::{
    Action, Against, Check, Criticality, DigestOf, Expect, RestoreStep, Runbook, SnapshotChoice, Step,
};
use crate::units::{ByteSize, Span};

impl Context<'_> {
    pub(super) fn runbook(&mut self, path: &str, raw: raw::Runbook, plans: &[PlanName]) -> Option<Runbook> {
        if raw.step.is_empty() {
            self.error(path, format!("{} has no step", describe(path)), "add a [[runbook.NAME.step]]");
        }
        let mut steps = Vec::new();
        for (index, step) in raw.step.into_iter().enumerate() {
            steps.push(self.step(&format!("{path}.step.{index}"), step, plans));
        }
        let steps = steps.into_iter().collect::<Option<_>>()?;
        Some(Runbook { description: raw.description, steps })
    }

    fn step(&mut self, path: &str, raw: raw::Step, plans: &[PlanName]) -> Option<Step> {
        let id = raw.id.parse().map_err(|refused| self.not_a_name(&format!("{path}.id"), "step", &refused)).ok();
        let (restore, exec, check) = (raw::StepKind::Restore, raw::StepKind::Exec, raw::StepKind::Check);
        let given: [(&str, bool, &[raw::StepKind]); 8] = [
            ("snapshot", raw.snapshot.is_some(), &[restore]),
            ("plan", raw.plan.is_some(), &[restore]),
            ("include", raw.include.is_some(), &[restore]),
            ("into", raw.into.is_some(), &[restore]),
            ("command", raw.command.is_some(), &[exec, check]),
            ("digest", raw.digest.is_some(), &[check]),
            ("file", raw.file.is_some(), &[check]),
            ("sqlite", raw.sqlite.is_some(), &[check]),
        ];
        let kind = raw.kind.name();
        for (key, _, belongs) in given.iter().filter(|(_, given, belongs)| *given && !belongs.contains(&raw.kind)) {
            let what = format!("key `{key}` does not belong to kind `{kind}`, in {}", describe(path));
            let fix = format!("remove it, or set kind = \"{}\"", belongs[0].name());
            self.error(&format!("{path}.{key}"), what, fix);
        }
        let action = match raw.kind {
            raw::StepKind::Restore => Action::Restore(RestoreStep {
                plan: match raw.plan {
                    None => None,
                    Some(name) => Some(self.plan_name(&format!("{path}.plan"), &name, plans)?),
                },
                snapshot: self.snapshot(&format!("{path}.snapshot"), raw.snapshot.as_deref())?,
                include: raw.include.unwrap_or_default(),
                into: self.within(&format!("{path}.into"), raw.into)?,
            }),
            raw::StepKind::Exec => {
                let command = self.needed(path, kind, "command", raw.command)?;
                Action::Exec { command: self.command(&format!("{path}.command"), command)? }
            }
            raw::StepKind::Check => {
                let command = match raw.command {
                    None => None,
                    Some(command) => Some(Check::Command(self.command(&format!("{path}.command"), command)?)),
                };
                let digest = raw.digest.map(|digest| self.digest(&format!("{path}.digest"), digest));
                let file = raw.file.map(|file| {
                    let path = self.within(&format!("{path}.file.path"), Some(file.path))?;
                    Some(Check::File { path, min_size: file.min_size.unwrap_or(ByteSize(0)) })
                });
                let sqlite = raw.sqlite.map(|sqlite| self.sqlite(&format!("{path}.sqlite"), sqlite));
                let choices =
                    vec![("digest", digest), ("file", file), ("command", command.map(Some)), ("sqlite", sqlite)];
                Action::Check(self.exactly_one(path, choices)??)
            }
        };
        Some(Step {
            id: id?,
            description: raw.description,
            needs: raw.needs,
            timeout: raw.timeout.unwrap_or(Span::from_hours(1)),
            criticality: if raw.critical == Some(false) { Criticality::Optional } else { Criticality::Critical },
            on_error: raw.on_error.unwrap_or_default(),
            action,
        })
    }

    fn plan_name(&mut self, key: &str, name: &str, plans: &[PlanName]) -> Option<PlanName> {
        let found = plans.iter().find(|plan| plan.as_str() == name).cloned();
        if found.is_none() {
            let fix = suggest(name, plans.iter().map(PlanName::as_str), &format!("define it as [plan.{name}]"));
            self.error(key, format!("there is no plan `{name}`, named by {}", describe(key)), fix);
        }
        found
    }

    fn snapshot(&mut self, key: &str, text: Option<&str>) -> Option<SnapshotChoice> {
        match text {
            None | Some("latest") => Some(SnapshotChoice::Latest),
            Some(id) if (4..=64).contains(&id.len()) && is_hex(id) => Some(SnapshotChoice::Id(id.to_owned())),
            Some(_) => {
                let fix = "use \"latest\", or the first 4 or more hex digits of an id";
                self.error(key, format!("{} is no snapshot", describe(key)), fix);
                None
            }
        }
    }

    /// A path that stays within the target, whatever the target is.
    pub(super) fn within(&mut self, key: &str, path: Option<PathBuf>) -> Option<PathBuf> {
        let path = path.unwrap_or_else(|| ".".into());
        let inside =
            |path: &Path| path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !inside(&path) || path.as_os_str().is_empty() {
            let what = format!("{} does not stay within the target", describe(key));
            self.error(key, what, "use a path without a leading / and without ..");
            return None;
        }
        Some(path)
    }

    fn digest(&mut self, path: &str, raw: raw::Digest) -> Option<Check> {
        let tree = self.within(&format!("{path}.path"), raw.path);
        let key = format!("{path}.sha256");
        if raw.sha256.as_deref().is_some_and(|text| text.len() != 64 || !is_hex(text)) {
            self.error(&key, format!("{} is no digest", describe(&key)), "write 64 lower-case hex digits");
            return None;
        }
        let choices = vec![
            ("against", raw.against.map(|Against::Source| DigestOf::Source)),
            ("manifest", raw.manifest.map(|file| DigestOf::Manifest(self.rebase(path, &file)))),
            ("sha256", raw.sha256.map(DigestOf::Sha256)),
        ];
        let against = self.exactly_one(path, choices);
        Some(Check::Digest { path: tree?, against: against? })
    }

    fn sqlite(&mut self, path: &str, raw: raw::SqliteQuery) -> Option<Check> {
        let database = self.within(&format!("{path}.path"), Some(raw.path));
        let choices = vec![("expect", raw.expect.map(Expect::Equals)), ("at_least", raw.at_least.map(Expect::AtLeast))];
        let expect = self.exactly_one(path, choices);
        Some(Check::Sqlite { path: database?, query: raw.query, expect: expect? })
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
