//! `drctl runbook`: checks runbooks, prints them to be followed by hand, and brings plans back by them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::args::runbook::{Action, Run, Runbook};
use super::context::Context;
use super::drilled;
use super::error::Failure;
use super::escape;
use super::exit::Exit;
use crate::config::{Config, RunbookName, VaultName};
use crate::monitor::Silent;
use crate::runbook::plan::{Flaw, Graph, State};
use crate::runbook::render::{self, Scene};
use crate::service::Service;

/// Runs the command.
pub(crate) async fn run(args: Runbook, context: &Context) -> Result<Exit, Failure> {
    match args.action {
        Action::Check { names } => check(&names, context),
        Action::Render { plan, runbook } => render(&plan, runbook.as_deref(), context),
        Action::Run(args) => bring_back(args, context).await,
    }
}

fn named<'a>(config: &'a Config, name: &str) -> Result<&'a RunbookName, Failure> {
    config.runbooks.get_key_value(name).map(|(name, _)| name).ok_or_else(|| {
        let known: Vec<&str> = config.runbooks.keys().map(RunbookName::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Failure::usage(format!("there is no runbook {name:?}")).hint(format!("the configuration has {known}"))
    })
}

fn check(names: &[String], context: &Context) -> Result<Exit, Failure> {
    let config = context.configured()?;
    let mut wanted = names.iter().map(|name| named(config, name)).collect::<Result<Vec<_>, _>>()?;
    if wanted.is_empty() {
        wanted.extend(config.runbooks.keys());
    }
    let checked: Vec<(&RunbookName, Result<Graph, Vec<Flaw>>)> =
        wanted.into_iter().map(|name| (name, Graph::of_runbook(&config.runbooks[name]))).collect();
    let order = |graph: &Graph| -> Vec<Vec<String>> {
        let name = |step: &usize| graph.name(*step).unwrap_or_default().to_owned();
        graph.waves().iter().map(|wave| wave.iter().map(name).collect()).collect()
    };
    let documents = checked.iter().map(|(name, graph)| match graph {
        Ok(graph) => json!({ "runbook": name, "order": order(graph), "flaws": [] }),
        Err(flaws) => {
            let flaws: Vec<String> = flaws.iter().map(ToString::to_string).collect();
            json!({ "runbook": name, "order": null, "flaws": flaws })
        }
    });
    context.out.result(&json!({ "runbooks": documents.collect::<Vec<_>>() }), |out| {
        for (name, graph) in &checked {
            match graph {
                Ok(graph) => {
                    let waves: Vec<String> = order(graph).iter().map(|wave| wave.join(", ")).collect();
                    writeln!(out, "{name}: {}", waves.join(" > "))?;
                }
                Err(flaws) => {
                    for flaw in flaws {
                        writeln!(out, "{name}: {}", escape::text(&flaw.to_string()))?;
                    }
                }
            }
        }
        if checked.is_empty() { writeln!(out, "the configuration has no runbook") } else { Ok(()) }
    })?;
    Ok(if checked.iter().all(|(_, graph)| graph.is_ok()) { Exit::Done } else { Exit::Usage })
}

fn render(plan: &str, runbook: Option<&str>, context: &Context) -> Result<Exit, Failure> {
    let service = context.service(Arc::new(Silent), context.stop.cancel())?;
    let (name, plan) = service.plan(plan).map_err(Failure::of)?;
    let wanted = runbook.map(|name| named(service.config(), name)).transpose()?;
    let (runbook, steps) = service.runbook_of(name, plan, wanted).map_err(Failure::of)?;
    let scene = Scene { name, plan, vaults: &service.config().vaults };
    let text = render::markdown(runbook, steps, scene).map_err(|flaws| {
        Failure::usage(format!("the steps of runbook {runbook} can have no order"))
            .details(flaws.iter().map(ToString::to_string).collect())
    })?;
    context
        .out
        .result(&json!({ "runbook": runbook, "plan": name, "markdown": text }), |out| out.write_all(text.as_bytes()))?;
    Ok(Exit::Done)
}

async fn bring_back(args: Run, context: &Context) -> Result<Exit, Failure> {
    let bar = Arc::new(context.bar());
    let service: Service = context.service(bar.clone(), context.stop.cancel())?;
    let (plan, configured) = service.plan(&args.plan).map_err(Failure::of)?;
    let from: VaultName = match &args.from {
        None => configured.vault.clone(),
        Some(name) => name.parse().map_err(|_| Failure::usage(format!("there is no vault {name:?}")))?,
    };
    let wanted = args.runbook.as_deref().map(|name| named(service.config(), name)).transpose()?;
    ready(&args.to, args.overwrite)?;
    let recovered = Box::pin(service.bring_back(plan, wanted, &from, &args.to)).await;
    bar.done();
    let recovered = recovered.map_err(|error| {
        let other = configured.copies.iter().map(|copy| &copy.vault).find(|vault| **vault != from);
        let failure = Failure::of(error);
        match other {
            Some(other) => failure.hint(format!("if vault {from} is lost, restore from its copy: --from {other}")),
            None => failure,
        }
    })?;
    let is_bad = |critical: bool| {
        recovered.run.steps.iter().any(|step| step.critical == critical && step.state == State::Failed)
    };
    let skipped = recovered.run.steps.iter().any(|step| step.state == State::Skipped);
    context.out.result(&json!({ "plan": plan, "vault": from, "run": recovered.run }), |out| {
        drilled::runs(&recovered.run.steps, context.out).print(out)?;
        for step in recovered.run.steps.iter().filter(|step| !step.output.is_empty() && step.state == State::Failed) {
            writeln!(out, "\n{} printed:", step.id)?;
            for line in step.output.lines() {
                writeln!(out, "  {}", escape::text(line))?;
            }
        }
        let end = match (is_bad(true), is_bad(false) || skipped) {
            (true, _) => "NOT recovered: a critical step failed",
            (false, true) => "recovered, but not every step was exercised",
            (false, false) => "recovered",
        };
        writeln!(out, "\n{end}; it is beneath {}", args.to.display())
    })?;
    Ok(match (context.stop.is_requested(), is_bad(true), is_bad(false) || skipped) {
        (true, _, _) => Exit::Interrupted,
        (false, true, _) => Exit::Failed,
        (false, false, true) => Exit::Partial,
        (false, false, false) => Exit::Done,
    })
}

/// The target is there and, unless the user says otherwise, empty.
fn ready(target: &Path, overwrite: bool) -> Result<(), Failure> {
    let failed = |error| Failure::because(format!("failed to use {}", target.display()), error);
    fs::create_dir_all(target).map_err(failed)?;
    let is_empty = fs::read_dir(target).map_err(failed)?.next().is_none();
    if is_empty || overwrite {
        return Ok(());
    }
    Err(Failure::usage(format!("{} is not empty", target.display()))
        .hint("choose an empty folder, or let what differs be overwritten with --overwrite"))
}
