//! `drctl backup PLAN...`: runs plans of the configuration by hand.

use std::sync::Arc;

use serde_json::json;

use super::args::backup::Backup;
use super::context::Context;
use super::error::Failure;
use super::escape;
use super::exit::Exit;
use super::hints::{self, Advice};
use super::planned::word;
use crate::config::Tier;
use crate::record::Status;
use crate::service::{Job, Ran, ServiceError};
use crate::units::ByteSize;

/// Runs the plans, one after the other. One that fails does not stop the next.
pub(crate) async fn run(args: &Backup, context: &Context) -> Result<Exit, Failure> {
    let bar = Arc::new(context.bar());
    let service = context.service(bar.clone(), context.stop.cancel())?;
    let mut tiers: Vec<Tier> = args.tier.iter().map(|tier| Tier::from(*tier)).collect();
    if tiers.is_empty() {
        // A snapshot without a tier would never be dropped.
        tiers.push(Tier::Daily);
    }
    tiers.sort_unstable();
    tiers.dedup();
    let mut jobs = Vec::new();
    for name in &args.plans {
        let (plan, _) = service.plan(name).map_err(Failure::of)?;
        jobs.push(Job { plan: plan.clone(), due: None, tiers: tiers.clone() });
    }
    service.recover().map_err(Failure::of)?;
    let mut ran = Vec::new();
    for job in jobs {
        let plan = job.plan.clone();
        let busy = service.catalog().history(service.host(), plan.as_str()).map_err(Failure::of)?.running_since;
        if busy.is_some() {
            return Err(Failure::of(ServiceError::Busy(plan)));
        }
        ran.extend(Box::pin(service.run(job)).await.map_err(Failure::of)?);
    }
    bar.done();
    show(&ran, context)?;
    if context.stop.is_requested() {
        return Ok(Exit::Interrupted);
    }
    Ok(exit(&ran))
}

/// What the failed ones have in common; to have failed, when that is all.
fn exit(ran: &[Ran]) -> Exit {
    let mut failed = ran.iter().filter(|run| run.status == Status::Failed).map(|run| advice(run).exit);
    match (ran.iter().map(|run| run.status).max(), failed.next()) {
        (None | Some(Status::Ok), _) => Exit::Done,
        (Some(Status::Partial), _) => Exit::Partial,
        // That nothing was tried must hold for all of them.
        (Some(Status::Failed), Some(Exit::Usage)) if ran.iter().any(|run| run.status != Status::Failed) => Exit::Failed,
        (Some(Status::Failed), Some(first)) if failed.all(|other| other == first) => first,
        (Some(Status::Failed), _) => Exit::Failed,
    }
}

fn advice(run: &Ran) -> Advice {
    let cause = run.cause.as_ref();
    cause.map_or(Advice { exit: Exit::Failed, hint: None }, |cause| hints::advise(cause.as_ref()))
}

/// The run, and what to do now.
fn document(run: &Ran) -> serde_json::Value {
    let mut document = json!(run);
    document["hint"] = json!(advice(run).hint);
    document
}

fn show(ran: &[Ran], context: &Context) -> Result<(), Failure> {
    let documents: Vec<_> = ran.iter().map(document).collect();
    context.out.result(&json!({ "runs": documents }), |out| {
        for run in ran {
            let tiers: Vec<&str> = run.tiers.iter().map(|tier| tier.name()).collect();
            write!(out, "{}: {}", run.plan, word(run.status))?;
            match (&run.snapshot, &run.summary) {
                (Some(id), Some(done)) => writeln!(
                    out,
                    ", snapshot {} for {}, {} in all, {} uploaded",
                    id.short(),
                    tiers.join(", "),
                    ByteSize(done.bytes_total),
                    ByteSize(done.bytes_uploaded)
                )?,
                _ if run.tries == 1 => writeln!(out)?,
                _ => writeln!(out, " after {} tries", run.tries)?,
            }
            for problem in run.problems.iter().take(20) {
                writeln!(out, "  {}: {}", escape::text(&problem.what), escape::text(&problem.why))?;
            }
            if let Some(hint) = advice(run).hint {
                writeln!(out, "  hint: {}", escape::text(&hint))?;
            }
        }
        Ok(())
    })
}
