//! The copies of plans, as the service makes them.

use std::sync::Arc;

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::cli::args::replicate::Replicate;
use crate::cli::context::Context;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::planned::word;
use crate::cli::table::{Align, Listing};
use crate::cli::{escape, time};
use crate::config::PlanName;
use crate::record::Status;
use crate::service::Service;
use crate::service::copies::CopyState;
use crate::units::Span;

/// Brings the copies up to date, or says how far they are behind.
pub(super) async fn run(args: &Replicate, context: &Context) -> Result<Exit, Failure> {
    let bar = Arc::new(context.bar());
    let service = context.service(bar.clone(), context.stop.cancel())?;
    let mut plans: Vec<PlanName> = Vec::new();
    for name in &args.what {
        plans.push(service.plan(name).map_err(Failure::of)?.0.clone());
    }
    let vaults = service.config().vaults.keys().cloned().collect::<Vec<_>>();
    for vault in &vaults {
        if let Err(error) = service.refresh(vault).await {
            bar.done();
            return Err(Failure::of(error));
        }
    }
    let steps = if args.status { Vec::new() } else { service.replicate(&plans).await };
    for vault in vaults.iter().filter(|vault| steps.iter().any(|step| step.vault == **vault)) {
        if let Err(error) = service.deliver(vault).await {
            context.out.warn(&format!("records wait in the spool: failed to {}", crate::cli::error::chain(&error)));
        }
    }
    bar.done();
    let states = service.copies(&plans).map_err(Failure::of)?;
    let document = json!({ "steps": steps, "copies": states.iter().map(state_json).collect::<Vec<_>>() });
    context.out.result(&document, |out| {
        for step in &steps {
            let plan = step.plan.as_ref().map(ToString::to_string).unwrap_or_default();
            let status = step.status.map_or_else(|| "could not be tried".to_owned(), word);
            writeln!(out, "{plan} to {}: {status}: {}", step.vault, escape::text(&step.what))?;
        }
        if states.is_empty() {
            return writeln!(out, "no plan has copies");
        }
        table(&states, &service, context).print(out)
    })?;
    if context.stop.is_requested() {
        return Ok(Exit::Interrupted);
    }
    let worst = steps.iter().map(|step| step.status.map_or(2, |status| status as u8)).max().unwrap_or(0);
    Ok(match (worst, states.iter().any(CopyState::is_late)) {
        (status, false) if status == Status::Ok as u8 => Exit::Done,
        (status, true) if status == Status::Ok as u8 => Exit::ObjectiveMissed,
        (status, _) if status == Status::Partial as u8 => Exit::Partial,
        _ => Exit::Failed,
    })
}

fn state_json(state: &CopyState) -> Value {
    json!({
        "plan": state.plan,
        "from": state.from,
        "to": state.to,
        "present": state.present,
        "owed": state.owed,
        "late": state.is_late(),
        "lag": {
            "newest": state.lag.newest,
            "complete_up_to": state.lag.complete_up_to,
            "behind_seconds": state.lag.behind.map(|span| span.as_secs()),
            "waiting_seconds": state.lag.waiting.map(|span| span.as_secs()),
            "allowed_seconds": state.max_lag.duration().as_secs(),
        },
    })
}

fn table(states: &[CopyState], service: &Service, context: &Context) -> Listing {
    let columns = [
        ("Plan", Align::Left),
        ("Copy", Align::Left),
        ("There", Align::Right),
        ("Owed", Align::Right),
        ("Complete up to", Align::Left),
        ("Waiting", Align::Left),
        ("Allowed", Align::Left),
        ("", Align::Left),
    ];
    let mut table = Listing::new(context.out, &columns);
    let zone = TimeZone::system();
    let now = service.env().clock.now();
    for state in states {
        let complete = match state.lag.complete_up_to {
            Some(at) => time::show(at, &zone),
            None if state.lag.waiting.is_some() => "nothing".to_owned(),
            None => "nothing to copy".to_owned(),
        };
        let waiting = state.lag.waiting.map(|waiting| now.checked_sub(waiting).unwrap_or(now).duration_until(now));
        let waiting = waiting.map(|span| Span::from_secs(span.as_secs().max(0).unsigned_abs()).to_string());
        table.row(&[
            state.plan.to_string().into(),
            state.to.to_string().into(),
            state.present.to_string().into(),
            state.owed.to_string().into(),
            complete.into(),
            waiting.unwrap_or_default().into(),
            state.max_lag.to_string().into(),
            if state.is_late() { "LATE".into() } else { "".into() },
        ]);
    }
    table
}
