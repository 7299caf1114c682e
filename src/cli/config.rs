//! `drctl config`: checks and shows the configuration.

use serde_json::json;

use super::args::config::{Action, Config as Args};
use super::configured::place;
use super::context::Context;
use super::error::Failure;
use super::escape;
use super::exit::Exit;
use crate::config::{self, ConfigError, Finding, Severity};

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

/// All findings, those of the syntax and those of what cannot come true. Errors end it with exit code 2.
fn check(context: &Context) -> Result<Exit, Failure> {
    let Some(path) = place(&context.global) else {
        return context.configured().map(|_| Exit::Done);
    };
    let (findings, plans, vaults) = match config::load(&path) {
        Ok(config) => (config::check(&config), config.plans.len(), config.vaults.len()),
        Err(ConfigError::Refused { findings }) => (findings, 0, 0),
        Err(error @ ConfigError::Read { .. }) => return Err(Failure::of(error).exits(Exit::Usage)),
    };
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let document = json!({ "file": path, "findings": findings, "plans": plans, "vaults": vaults });
    context.out.result(&document, |out| {
        for finding in &findings {
            for line in shown(finding) {
                writeln!(out, "{}", escape::text(&line))?;
            }
        }
        match (errors, findings.len()) {
            (0, 0) => writeln!(out, "{}: {plans} plans, {vaults} vaults; nothing is wrong", path.display()),
            (0, warnings) => writeln!(out, "{}: it can be used; {warnings} warnings", path.display()),
            (errors, _) => writeln!(out, "{}: it cannot be used; {errors} errors", path.display()),
        }
    })?;
    Ok(if errors == 0 { Exit::Done } else { Exit::Usage })
}

fn shown(finding: &Finding) -> Vec<String> {
    finding.to_string().lines().map(str::to_owned).collect()
}
