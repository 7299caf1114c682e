//! `drctl status`: promises beside what is known.

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
use crate::monitor::{Cancel, Silent};
use crate::service::status::{PlanStatus, Point, Promise, Proven, Status, Time};
use crate::units::Span;

/// Runs the command.
pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let service = context.service(Arc::new(Silent), Cancel::default())?;
    for name in &args.plans {
        service.plan(name).map_err(Failure::of)?;
    }
    let mut status = service.status().map_err(Failure::of)?;
    status.plans.retain(|plan| args.plans.is_empty() || args.plans.iter().any(|name| name == plan.plan.as_str()));
    show(&status, context)?;
    Ok(if status.holds() { Exit::Done } else { Exit::ObjectiveMissed })
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
        Ok(())
    })
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
