//! `drctl status`: promises beside what is known.

use std::io::{self, Write};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::args::status::Status as Args;
use super::context::Context;
use super::error::Failure;
use super::escape;
use super::exit::Exit;
use super::output::Paint;
use super::planned::word;
use super::table::{Align, Field, Listing};
use super::time;
use crate::config::{Config, Plan};
use crate::monitor::{Cancel, Silent};
use crate::service::round::{Round, Untried};
use crate::service::status::{PlanStatus, Point, Promise, Proven, Status, Time};
use crate::units::Span;

/// Runs the command.
pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let service = context.service(Arc::new(Silent), Cancel::default())?;
    for name in &args.plans {
        service.plan(name).map_err(Failure::of)?;
    }
    let mut status = service.status().map_err(Failure::of)?;
    if !args.plans.is_empty() {
        narrow(&mut status, &args.plans, service.config());
    }
    show(&status, context)?;
    Ok(if status.is_well() { Exit::Done } else { Exit::ObjectiveMissed })
}

/// Leaves what concerns these plans: they, and the vaults that they use.
fn narrow(status: &mut Status, plans: &[String], config: &Config) {
    let is_asked = |plan: &str| plans.iter().any(|name| name == plan);
    status.plans.retain(|plan| is_asked(plan.plan.as_str()));
    let uses = |plan: &Plan, vault: &str| {
        std::iter::once(&plan.vault)
            .chain(plan.copies.iter().map(|copy| &copy.vault))
            .any(|name| name.as_str() == vault)
    };
    if let Some(round) = &mut status.round {
        round.untried.retain(|untried| match &untried.plan {
            Some(plan) => is_asked(plan),
            None => config.plans.iter().any(|(name, plan)| is_asked(name.as_str()) && uses(plan, &untried.vault)),
        });
    }
}

fn show(status: &Status, context: &Context) -> Result<(), Failure> {
    let zone = context.now().time_zone().clone();
    context.out.result(status, |out| {
        if status.plans.is_empty() {
            return writeln!(out, "no plans");
        }
        plans(status, context, &zone).print(out)?;
        if status.plans.iter().any(|plan| !plan.promises.is_empty()) {
            writeln!(out)?;
            promises(status, context).print(out)?;
        }
        for plan in &status.plans {
            if let Some(problem) = plan.last.as_ref().and_then(|last| last.problem.as_ref()) {
                writeln!(out, "\n{}: the last run said: {}", plan.plan, escape::text(problem))?;
            }
        }
        for (vault, count) in &status.spooled {
            writeln!(out, "\n{count} records wait for vault {}", escape::text(vault))?;
        }
        if !status.holds() {
            let word = context.out.paint(Paint::Red, "NOT HELD");
            writeln!(out, "\n{word}: an objective is exceeded, or a proof is older than is allowed")?;
        }
        status.round.as_ref().map_or(Ok(()), |round| untried(round, status.now, context, out))
    })
}

fn untried(round: &Round, now: Timestamp, context: &Context, out: &mut dyn Write) -> io::Result<()> {
    if round.untried.is_empty() {
        return Ok(());
    }
    let word = context.out.paint(Paint::Red, "NOT DONE");
    writeln!(out, "\n{word}: the last round of steps, {}, could not try", ago(now, round.ended))?;
    for Untried { kind, plan, vault, why } in &round.untried {
        let plan = plan.as_ref().map(|plan| format!(" of plan {plan}")).unwrap_or_default();
        writeln!(out, "  {}{plan} in vault {vault}: failed to {}", escape::text(kind), escape::text(why))?;
    }
    writeln!(out, "  `drctl serve --once` tries again what is due")
}

fn plans(status: &Status, context: &Context, zone: &TimeZone) -> Listing {
    let columns = ["Plan", "Last run", "Last success", "Next run", "Missed", "Read back", "Drilled"];
    let columns = columns.map(|name| (name, if name == "Missed" { Align::Right } else { Align::Left }));
    let mut table = Listing::new(context.out, &columns);
    for plan in &status.plans {
        table.row(&[
            plan.plan.to_string().into(),
            last(plan).into(),
            plan.last_success.map_or("never".to_owned(), |at| ago(status.now, at)).into(),
            plan.next.map_or("by hand".to_owned(), |next| upcoming(status.now, next, zone)).into(),
            plan.missed_count.to_string().into(),
            proven(status.now, &plan.read).into(),
            proven(status.now, &plan.drilled).into(),
        ]);
    }
    table
}

fn promises(status: &Status, context: &Context) -> Listing {
    let columns =
        ["Plan", "Loss of", "RPO", "Exposure", "Left in", "RTO", "Drilled", ""].map(|name| (name, Align::Left));
    let mut table = Listing::new(context.out, &columns);
    for plan in &status.plans {
        for Promise { disaster, objective, point, time } in &plan.promises {
            let (exposure, vault) = match point {
                Point::Within { exposure, vault } | Point::Exceeded { exposure, vault } => {
                    (exposure.to_string(), vault.to_string())
                }
                Point::Nothing => ("everything".to_owned(), "no vault".to_owned()),
            };
            let took = match time {
                Time::Within { took } | Time::Exceeded { took } => took.to_string(),
                Time::NotMeasured => "not measured".to_owned(),
                Time::NotDrilled => "never".to_owned(),
            };
            let verdict: Field = match (point, time) {
                (Point::Within { .. }, Time::Within { .. } | Time::NotDrilled) => "holds".into(),
                (Point::Exceeded { .. } | Point::Nothing, Time::Within { .. } | Time::NotDrilled) => {
                    "RPO EXCEEDED".into()
                }
                (Point::Within { .. }, Time::Exceeded { .. } | Time::NotMeasured) => "RTO EXCEEDED".into(),
                (Point::Exceeded { .. } | Point::Nothing, Time::Exceeded { .. } | Time::NotMeasured) => {
                    "BOTH EXCEEDED".into()
                }
            };
            table.row(&[
                plan.plan.to_string().into(),
                disaster.to_string().into(),
                objective.rpo.to_string().into(),
                exposure.into(),
                vault.into(),
                objective.rto.to_string().into(),
                took.into(),
                verdict,
            ]);
        }
    }
    table
}

fn last(plan: &PlanStatus) -> String {
    match (plan.running_since, &plan.last) {
        (Some(_), _) => "running".to_owned(),
        (None, Some(last)) => word(last.status),
        (None, None) => "none".to_owned(),
    }
}

fn ago(now: Timestamp, at: Timestamp) -> String {
    // Whole minutes: this is read by people, and the exact instants are in --json.
    let minutes = now.duration_since(at).as_mins().max(0).unsigned_abs();
    match minutes {
        0 => "just now".to_owned(),
        minutes => format!("{} ago", Span::from_secs(minutes * 60)),
    }
}

fn upcoming(now: Timestamp, next: Timestamp, zone: &TimeZone) -> String {
    if next <= now { "due now".to_owned() } else { time::show(next, zone) }
}

fn proven(now: Timestamp, proof: &Proven) -> String {
    let newest = proof.newest.map_or("never".to_owned(), |at| ago(now, at));
    if proof.overdue { format!("{newest} OVERDUE") } else { newest }
}
