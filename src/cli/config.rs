//! `drctl config`: checks and shows the configuration.

use std::io;

use serde_json::json;

use super::args::config::{Action, Config as Args};
use super::configured::place;
use super::context::Context;
use super::error::Failure;
use super::escape;
use super::exit::Exit;
use crate::config::{self, Config, ConfigError, Finding, SecretRef, Severity};
use crate::runbook::plan::{Flaw, Graph};

/// Runs the command.
pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    match args.action {
        Action::Check => check(context),
        Action::Show => {
            let config = context.configured()?;
            context.out.result(config, |out| {
                serde_json::to_writer_pretty(&mut *out, config)?;
                writeln!(out)
            })?;
            Ok(Exit::Done)
        }
        Action::Schema => {
            let schema = config::schema();
            context.out.result(&schema, |out| {
                serde_json::to_writer_pretty(&mut *out, &schema)?;
                writeln!(out)
            })?;
            Ok(Exit::Done)
        }
    }
}

/// All findings: those of the syntax, those of what cannot come true, runbooks that cannot be carried out, key files that are
/// not there. Errors end it with exit code 2; those in runbooks keep no plan from running.
fn check(context: &Context) -> Result<Exit, Failure> {
    let Some(path) = place(&context.global) else {
        return context.configured().map(|_| Exit::Done);
    };
    let (mut findings, plans, vaults, runbooks) = match config::load(&path) {
        Ok(config) => {
            let mut findings = config::check(&config);
            findings.extend(key_files(&config));
            (findings, config.plans.len(), config.vaults.len(), runbooks(&config))
        }
        Err(ConfigError::Refused { findings }) => (findings, 0, 0, Vec::new()),
        Err(error @ ConfigError::Read { .. }) => return Err(Failure::of(error).exits(Exit::Usage)),
    };
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let broken = runbooks.len();
    findings.extend(runbooks);
    let document = json!({ "file": path, "findings": findings, "plans": plans, "vaults": vaults });
    context.out.result(&document, |out| {
        for finding in &findings {
            for line in shown(finding) {
                writeln!(out, "{}", escape::text(&line))?;
            }
        }
        let path = path.display();
        match (errors, broken, findings.len()) {
            (0, 0, 0) => writeln!(out, "{path}: {plans} plans, {vaults} vaults; nothing is wrong"),
            (0, 0, warnings) => writeln!(out, "{path}: it can be used; {warnings} warnings"),
            (0, broken, _) => writeln!(out, "{path}: plans run, but not all could be recovered; {broken} errors"),
            (errors, broken, _) => writeln!(out, "{path}: it cannot be used; {} errors", errors + broken),
        }
    })?;
    Ok(if errors + broken == 0 { Exit::Done } else { Exit::Usage })
}

/// What is wrong with the order of runbooks' steps.
fn runbooks(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, runbook) in &config.runbooks {
        let Err(flaws) = Graph::of_runbook(runbook) else { continue };
        for flaw in flaws {
            let (step, key, fix) = match &flaw {
                Flaw::Empty => (None, "", "add a [[runbook.NAME.step]]"),
                Flaw::Duplicate { id } => (Some(id), ".id", "give each step a name of its own"),
                Flaw::UnknownNeed { id, .. } => (Some(id), ".needs", "name a step of this runbook, or remove the need"),
                Flaw::Cycle { path } => (path.first(), ".needs", "remove one of these needs"),
                Flaw::Unreachable { id, .. } => (Some(id), ".needs", "mend the steps that it waits for"),
            };
            // Of two steps with one name, the second is the one too many.
            let number = step.and_then(|id| runbook.steps.iter().rposition(|step| step.id.as_str() == id));
            let place = number.map_or(format!("runbook.{name}"), |number| format!("runbook.{name}.step.{number}{key}"));
            findings.push(Finding::error(config.places.find(&place), format!("runbook `{name}`: {flaw}"), fix));
        }
    }
    findings
}

/// Key files that are not there: no error, since the first `init` makes them, but without one no plan comes to anything.
fn key_files(config: &Config) -> Vec<Finding> {
    let missing = config.vaults.iter().filter_map(|(name, vault)| {
        let SecretRef::File(path) = &vault.key else { return None };
        let error = std::fs::metadata(path).err()?;
        let what = format!("the key file {} of vault `{name}` cannot be used: {error}", path.display());
        let fix = match error.kind() {
            io::ErrorKind::NotFound => format!(
                "bring it back from where you keep the copy, or correct `key`; for a new vault `drctl init --vault {name} \
                 --generate-key {}` makes it",
                path.display()
            ),
            _ => "correct `key`, or what keeps you from the file".to_owned(),
        };
        Some(Finding::warning(config.places.find(&format!("vault.{name}.key")), what, fix))
    });
    missing.collect()
}

fn shown(finding: &Finding) -> Vec<String> {
    finding.to_string().lines().map(str::to_owned).collect()
}
