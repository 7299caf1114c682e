//! `drctl drill`: rehearses recovery, lists what was rehearsed, and computes reports again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use jiff::tz::TimeZone;
use serde_json::json;

use super::args::drill::{Action, Drill, List, Report, Run};
use super::context::Context;
use super::drilled;
use super::error::Failure;
use super::exit::Exit;
use super::table::{Align, Listing};
use super::time;
use crate::catalog::DrillRow;
use crate::config::{Plan, PlanName, VaultConfig, VaultName};
use crate::drill::evidence::Evidence;
use crate::drill::plan as planner;
use crate::drill::report;
use crate::drill::run::Afterwards;
use crate::monitor::Silent;
use crate::objective::{Disaster, Rpa, Rta};
use crate::service::Service;
use crate::service::drills::{Drilled, Order};

/// Runs the command.
pub(crate) async fn run(args: Drill, context: &Context) -> Result<Exit, Failure> {
    match args.action {
        Action::Run(args) => drill(args, context).await,
        Action::List(args) => list(&args, context),
        Action::Report(args) => context.stop.or(report(args, context)).await,
    }
}

async fn drill(args: Run, context: &Context) -> Result<Exit, Failure> {
    let bar = Arc::new(context.bar());
    let service = context.service(bar.clone(), context.stop.cancel())?;
    let order = order(&args, &service)?;
    let drilled = Box::pin(service.drill(order)).await;
    bar.done();
    let drilled = drilled.map_err(Failure::of)?;
    if let Some(path) = &args.html {
        write_page(path, &drilled.evidence)?;
    }
    context.out.result(&document(&drilled), |out| {
        drilled::show(&drilled.evidence, context.out, out)?;
        writeln!(out, "evidence {} (SHA-256 {})", drilled.json.display(), drilled.digest)?;
        if let Some(sandbox) = &drilled.sandbox {
            writeln!(out, "sandbox  {}", sandbox.display())?;
        }
        writeln!(out, "report   {}", args.html.as_deref().unwrap_or(&drilled.html).display())
    })?;
    Ok(drilled::exit(&drilled.evidence))
}

fn order(args: &Run, service: &Service) -> Result<Order, Failure> {
    let (plan, configured) = service.plan(&args.plan).map_err(Failure::of)?;
    let vault = |name: &String| {
        let found = service.config().vaults.get_key_value(name.as_str());
        found.map(|(name, _)| name.clone()).ok_or_else(|| {
            let known: Vec<&str> = service.config().vaults.keys().map(VaultName::as_str).collect();
            Failure::usage(format!("there is no vault {name:?} in the configuration"))
                .hint(format!("it has {}", known.join(", ")))
        })
    };
    let runbook = args.runbook.as_ref().map(|name| {
        let found = service.config().runbooks.get_key_value(name.as_str());
        found.map(|(name, _)| name.clone()).ok_or_else(|| {
            Failure::usage(format!("there is no runbook {name:?} in the configuration"))
                .hint("`drctl runbook check` lists them")
        })
    });
    let lost = args.lose.iter().map(vault).collect::<Result<Vec<_>, _>>()?;
    let disaster = match args.scenario {
        Some(scenario) => scenario.into(),
        None => disaster(configured, &service.config().vaults, &lost),
    };
    Ok(Order {
        lost,
        from: args.from.as_ref().map(vault).transpose()?,
        runbook: runbook.transpose()?,
        within: args.sandbox.clone(),
        afterwards: if args.keep { Afterwards::Keep } else { Afterwards::TearDown },
        ..Order::of(plan.clone(), disaster)
    })
}

/// What is lost when that is not said: of the disasters that something is promised for, the first that leaves a vault; the
/// loss of a vault is most like that of its region.
fn disaster(plan: &Plan, vaults: &BTreeMap<VaultName, VaultConfig>, lost: &[VaultName]) -> Disaster {
    let mut promised: Vec<Disaster> = plan.objective.iter().map(|(disaster, _)| disaster).collect();
    if !lost.is_empty() {
        promised.sort_by_key(|disaster| *disaster != Disaster::Region);
    }
    let leaves_one = |disaster: &Disaster| planner::choose(plan, vaults, *disaster, lost, None).is_ok();
    let first = promised.first().copied().unwrap_or(Disaster::Host);
    promised.into_iter().find(leaves_one).unwrap_or(first)
}

fn document(drilled: &Drilled) -> serde_json::Value {
    json!({
        "id": drilled.id,
        "vault": drilled.vault,
        "verdict": drilled.evidence.headline(),
        "digest": drilled.digest,
        "json": drilled.json,
        "html": drilled.html,
        "sandbox": drilled.sandbox,
        "evidence": drilled.evidence,
    })
}

/// Writes the page where the user wants it.
pub(super) fn write_page(path: &Path, evidence: &Evidence) -> Result<(), Failure> {
    let page = report::html(evidence).map_err(Failure::of)?;
    fs::write(path, page).map_err(|error| Failure::because(format!("failed to write {}", path.display()), error))
}

fn list(args: &List, context: &Context) -> Result<Exit, Failure> {
    let service = context.service(Arc::new(Silent), context.stop.cancel())?;
    if let Some(plan) = &args.plan {
        service.plan(plan).map_err(Failure::of)?;
    }
    let drills = service.catalog().drills(args.plan.as_deref(), args.limit).map_err(Failure::of)?;
    let documents: Vec<_> = drills.iter().map(row_json).collect();
    context.out.result(&json!({ "drills": documents }), |out| {
        if drills.is_empty() {
            return writeln!(out, "nothing was drilled yet; `drctl drill run PLAN` does");
        }
        table(&drills, context).print(out)
    })?;
    Ok(Exit::Done)
}

fn row_json(row: &DrillRow) -> serde_json::Value {
    json!({
        "id": row.id,
        "plan": row.plan,
        "number": row.number,
        "started": row.started,
        "finished": row.finished,
        "scenario": row.scenario,
        "vault": row.vault,
        "runbook": row.runbook,
        "snapshot": row.snapshot,
        "rta_exec_ms": row.rta_exec_ms,
        "rpa_ms": row.rpa_ms,
        "exercised": row.exercised,
        "steps": row.steps,
        "verdict": row.verdict,
        "digest": row.evidence,
    })
}

fn table(drills: &[DrillRow], context: &Context) -> Listing {
    let columns = [
        ("Drill", Align::Left),
        ("Plan", Align::Left),
        ("No.", Align::Right),
        ("When", Align::Left),
        ("Loss of", Align::Left),
        ("From", Align::Left),
        ("Executed in", Align::Right),
        ("Lost", Align::Right),
        ("Steps", Align::Right),
        ("Verdict", Align::Left),
    ];
    let mut table = Listing::new(context.out, &columns);
    let zone = TimeZone::system();
    let span = |millis: u64| std::time::Duration::from_millis(millis);
    for row in drills {
        let took = row.rta_exec_ms.and_then(|millis| Rta::between(std::time::Duration::ZERO, span(millis)));
        let start = jiff::Timestamp::UNIX_EPOCH;
        let lost = row.rpa_ms.and_then(|millis| Rpa::between(start, start.checked_add(span(millis)).ok()?));
        table.row(&[
            row.id.to_string().into(),
            row.plan.clone().unwrap_or_default().into(),
            row.number.to_string().into(),
            time::show(row.started, &zone).into(),
            row.scenario.as_str().into(),
            row.vault.as_str().into(),
            took.map_or("not measured".to_owned(), |it| it.to_string()).into(),
            lost.map_or("not measured".to_owned(), |it| it.to_string()).into(),
            format!("{} of {}", row.exercised, row.steps).into(),
            row.verdict.to_uppercase().into(),
        ]);
    }
    table
}

async fn report(args: Report, context: &Context) -> Result<Exit, Failure> {
    let service = context.service(Arc::new(Silent), context.stop.cancel())?;
    let row = find(args.which.as_deref(), &service)?;
    let found = service.evidence(&row).await.map_err(Failure::of)?.ok_or_else(|| {
        Failure::plain(format!("the evidence of drill {} is neither on this host nor in vault {}", row.id, row.vault))
            .hint("a drill that is not recorded with evidence cannot be shown; `drctl drill list` has its verdict")
    })?;
    if let Some(path) = &args.html {
        write_page(path, &found.evidence)?;
    }
    let (sound, recorded) = (found.evidence.is_sound(), row.evidence == Some(found.digest));
    let document = json!({
        "id": row.id,
        "digest": found.digest,
        "recorded_digest": row.evidence,
        "matches_record": recorded,
        "sound": sound,
        "evidence": found.evidence,
    });
    context.out.result(&document, |out| {
        drilled::show(&found.evidence, context.out, out)?;
        writeln!(out, "evidence {} (SHA-256 {})", found.place, found.digest)?;
        match &args.html {
            Some(path) => writeln!(out, "report   {}", path.display()),
            None => Ok(()),
        }
    })?;
    if !recorded {
        return Err(Failure::plain("the evidence is not the one that the drill's signed record names")
            .hint("it was changed since; look for the right one in the vault that the drill restored from"));
    }
    if !sound {
        return Err(Failure::plain("the evidence's own judgement does not follow from its facts")
            .hint("what is shown was computed from the facts; the program that wrote it judged otherwise"));
    }
    Ok(drilled::exit(&found.evidence))
}

/// The drill that is meant.
fn find(which: Option<&str>, service: &Service) -> Result<DrillRow, Failure> {
    let plan = which.and_then(|which| service.config().plans.get_key_value(which)).map(|(name, _)| name);
    let drills = service.catalog().drills(plan.map(PlanName::as_str), u32::MAX).map_err(Failure::of)?;
    let prefix = which.filter(|_| plan.is_none()).unwrap_or_default().to_ascii_uppercase();
    let mut fits = drills.into_iter().filter(|row| row.id.to_string().starts_with(&prefix));
    let none = || match which {
        None => Failure::plain("nothing was drilled yet").hint("`drctl drill run PLAN` does"),
        Some(which) => {
            Failure::plain(format!("{which:?} is neither a plan with drills nor the beginning of a drill's id"))
                .hint("`drctl drill list` shows them")
        }
    };
    let newest = fits.next().ok_or_else(none)?;
    if !prefix.is_empty() && fits.next().is_some() {
        return Err(Failure::plain(format!("several drills begin with {prefix}")).hint("give more of the id"));
    }
    Ok(newest)
}
