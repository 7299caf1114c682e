//! `drctl serve`: the daemon, or one round of it.

use std::sync::Arc;

use serde_json::json;

use super::args::serve::Serve;
use super::context::Context;
use super::error::Failure;
use super::exit::Exit;
use super::planned::word;
use super::{escape, time};
use crate::monitor::Silent;
use crate::record::Status;
use crate::service::Tick;

/// Runs the command.
pub(crate) async fn run(args: Serve, context: &Context) -> Result<Exit, Failure> {
    if args.once {
        return once(context).await;
    }
    let service = Arc::new(context.service(Arc::new(Silent), context.stop.cancel())?);
    let stop = context.stop.clone();
    service.serve(async move { stop.requested().await }).await.map_err(Failure::of)?;
    Ok(Exit::Done)
}

/// One round: everything that is due now.
async fn once(context: &Context) -> Result<Exit, Failure> {
    let service = context.service(Arc::new(Silent), context.stop.cancel())?;
    let tick = Box::pin(service.tick_alone()).await.map_err(Failure::of)?;
    show(&tick, context)?;
    Ok(if context.stop.is_requested() { Exit::Interrupted } else { exit(&tick) })
}

fn exit(tick: &Tick) -> Exit {
    let runs = tick.runs.iter().map(|run| Some(run.status));
    let worst = runs.chain(tick.steps.iter().map(|step| step.status)).map(|status| match status {
        Some(Status::Ok) => 0,
        Some(Status::Partial) => 1,
        Some(Status::Failed) | None => 2,
    });
    match worst.max() {
        None | Some(0) => Exit::Done,
        Some(1) => Exit::Partial,
        Some(_) => Exit::Failed,
    }
}

fn show(tick: &Tick, context: &Context) -> Result<(), Failure> {
    let zone = context.now().time_zone().clone();
    let missed = tick.missed.iter().map(|miss| json!({ "plan": miss.plan, "due": miss.due, "reason": miss.reason }));
    let document = json!({
        "missed": missed.collect::<Vec<_>>(),
        "runs": tick.runs,
        "steps": tick.steps,
        "next": tick.next,
    });
    context.out.result(&document, |out| {
        for miss in &tick.missed {
            writeln!(out, "missed     {} of {} ({})", miss.plan, time::show(miss.due, &zone), word(miss.reason))?;
        }
        for run in &tick.runs {
            let snapshot = run.snapshot.map(|id| format!(", snapshot {}", id.short())).unwrap_or_default();
            writeln!(out, "backup     {} {}{snapshot}", run.plan, word(run.status))?;
            for problem in run.problems.iter().take(20) {
                writeln!(out, "             {}: {}", escape::text(&problem.what), escape::text(&problem.why))?;
            }
        }
        for step in &tick.steps {
            let status = step.status.map_or_else(|| "could not be tried".to_owned(), word);
            writeln!(out, "{:<10} {} {status}: {}", step.kind, step.vault, escape::text(&step.what))?;
        }
        match tick.next {
            Some(next) => writeln!(out, "next plan due {}", time::show(next, &zone)),
            None => writeln!(out, "nothing is scheduled"),
        }
    })
}
