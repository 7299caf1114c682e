//! Plans.

use std::path::Path;

use super::{Context, Known};
use crate::config::places::describe;
use crate::config::plan::{
    Caches, CanaryQuery, CopyTo, DrillPolicy, FilesSource, Mounts, Objectives, Plan, Production, Recover, Source,
    Verify,
};
use crate::config::raw;
use crate::config::retention::Tiers;
use crate::units::Span;

impl Context<'_> {
    pub(super) fn plan(&mut self, path: &str, raw: raw::Plan, known: &Known<'_>) -> Option<Plan> {
        let source = self.source(&format!("{path}.source"), raw.source);
        let vault = self.known(&format!("{path}.vault"), "vault", &raw.vault, known.vaults);
        let retention = raw.retention.as_deref().unwrap_or(Tiers::GFS);
        let retention = self.known(&format!("{path}.retention"), "retention", retention, known.retention);
        let schedule = match raw.schedule {
            None => None,
            Some(schedule) => {
                let kept = retention.as_ref().and_then(|name| known.retention.get(name));
                Some(self.schedule(&format!("{path}.schedule"), &schedule, kept))
            }
        };
        let mut copies = Vec::new();
        for (index, copy) in raw.copies.into_iter().enumerate() {
            let path = format!("{path}.copies.{index}");
            let vault = self.known(&format!("{path}.vault"), "vault", &copy.vault, known.vaults);
            let retention = match &copy.retention {
                None => retention.clone(),
                Some(name) => self.known(&format!("{path}.retention"), "retention", name, known.retention),
            };
            if let (Some(vault), Some(retention)) = (vault, retention) {
                copies.push(CopyTo { vault, max_lag: copy.max_lag.unwrap_or(Span::from_hours(24)), retention });
            }
        }
        let objective = Objectives {
            host: raw.objective.host,
            region: raw.objective.region,
            attack: raw.objective.attack,
            allow: raw.objective.allow,
        };
        let recover = raw.recover.map(|recover| self.recover(&format!("{path}.recover"), recover, &objective, known));
        for (index, tag) in raw.tags.iter().enumerate() {
            if tag.is_empty() || tag.contains(',') {
                let key = format!("{path}.tags.{index}");
                self.error(&key, format!("{} is no tag", describe(&key)), "use a text without commas");
            }
        }
        Some(Plan {
            owner: raw.owner,
            source: source?,
            schedule: schedule.map_or(Some(None), |schedule| schedule.map(Some))?,
            vault: vault?,
            copies,
            retention: retention?,
            verify: Verify { read: raw.verify.read, boot: raw.verify.boot },
            objective,
            recover: recover.map_or(Some(None), |recover| recover.map(Some))?,
            tags: raw.tags,
            level: raw.level.unwrap_or(3),
            timeout: raw.timeout.unwrap_or(Span::from_hours(24)),
            retries: raw.retries.unwrap_or(2),
        })
    }

    fn recover(&mut self, path: &str, raw: raw::Recover, promised: &Objectives, known: &Known<'_>) -> Option<Recover> {
        let runbook = self.known(&format!("{path}.runbook"), "runbook", &raw.runbook, known.runbooks);
        let drill = raw.drill.map(|drill| {
            let all = || promised.iter().map(|(disaster, _)| disaster).collect();
            let scenarios = if drill.scenarios.is_empty() { all() } else { drill.scenarios };
            if scenarios.is_empty() {
                let path = format!("{path}.drill");
                let what = format!("{} has no scenario", describe(&path));
                self.error(&path, what, "add scenarios = [\"host\"], or an objective");
            }
            DrillPolicy { every: drill.every, scenarios }
        });
        let production = raw.production.map(|raw::Production { size, processors, memory }| {
            if size.is_none() && processors.is_none() && memory.is_none() {
                let path = format!("{path}.production");
                let what = format!("{} says nothing", describe(&path));
                self.error(&path, what, "add size, processors or memory");
            }
            Production { size, processors, memory }
        });
        let canary = raw.canary.map(|raw::Canary { path: database, query, period }| {
            let path = self.within(&format!("{path}.canary.path"), Some(database))?;
            Some(CanaryQuery { path, query, period })
        });
        let canary = canary.map_or(Some(None), |canary| canary.map(Some));
        Some(Recover { runbook: runbook?, drill, canary: canary?, production })
    }

    fn source(&mut self, path: &str, raw: raw::Source) -> Option<Source> {
        let given = [
            ("paths", raw.paths.is_some(), raw::SourceKind::Files),
            ("exclude", raw.exclude.is_some(), raw::SourceKind::Files),
            ("exclude_files", raw.exclude_files.is_some(), raw::SourceKind::Files),
            ("exclude_caches", raw.exclude_caches.is_some(), raw::SourceKind::Files),
            ("one_file_system", raw.one_file_system.is_some(), raw::SourceKind::Files),
            ("command", raw.command.is_some(), raw::SourceKind::Command),
            ("name", raw.name.is_some(), raw::SourceKind::Command),
            ("path", raw.path.is_some(), raw::SourceKind::Sqlite),
        ];
        let kind = raw.kind.name();
        for (key, _, belongs) in given.iter().filter(|(_, given, belongs)| *given && *belongs != raw.kind) {
            let what = format!("key `{key}` does not belong to kind `{kind}`, in {}", describe(path));
            self.error(&format!("{path}.{key}"), what, format!("remove it, or set kind = \"{}\"", belongs.name()));
        }
        match raw.kind {
            raw::SourceKind::Files => {
                let paths = self.needed(path, kind, "paths", raw.paths)?;
                if paths.is_empty() {
                    let key = format!("{path}.paths");
                    self.error(&key, format!("{} is empty", describe(&key)), "name a folder, like \"/srv\"");
                }
                for (index, folder) in paths.iter().enumerate() {
                    self.absolute(&format!("{path}.paths.{index}"), folder);
                }
                let files = raw.exclude_files.unwrap_or_default();
                Some(Source::Files(FilesSource {
                    paths,
                    exclude: raw.exclude.unwrap_or_default(),
                    exclude_files: files.iter().map(|file| self.rebase(path, file)).collect(),
                    caches: if raw.exclude_caches == Some(true) { Caches::Exclude } else { Caches::Include },
                    mounts: if raw.one_file_system == Some(true) { Mounts::Stay } else { Mounts::Cross },
                }))
            }
            raw::SourceKind::Command => {
                let name = self.needed(path, kind, "name", raw.name);
                let command = self.needed(path, kind, "command", raw.command)?;
                let command = self.command(&format!("{path}.command"), command)?;
                let name = name?;
                if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
                    let key = format!("{path}.name");
                    self.error(&key, format!("{} is no file name", describe(&key)), "write it like \"dump.sql\"");
                }
                Some(Source::Command { command, name })
            }
            raw::SourceKind::Sqlite => {
                let file = self.needed(path, kind, "path", raw.path)?;
                self.absolute(&format!("{path}.path"), &file);
                Some(Source::Sqlite { path: file })
            }
        }
    }

    /// A key that its kind cannot do without.
    pub(super) fn needed<T>(&mut self, path: &str, kind: &str, key: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            let what = format!("{} has kind `{kind}` and no `{key}`", describe(path));
            self.error(path, what, format!("add `{key}`"));
        }
        value
    }

    fn absolute(&mut self, key: &str, path: &Path) {
        if !path.is_absolute() {
            let what = format!("{} is not an absolute path", describe(key));
            self.error(key, what, "start it with /, so that it means the same wherever drctl runs");
        }
    }
}
