//! `drctl retention`: explains what is kept and dropped, and drops it.

use std::io::Write;
use std::sync::Arc;

use serde_json::{Value, json};

use super::args::retention::Retention;
use super::context::Context;
use super::error::Failure;
use super::exit::Exit;
use super::planned::word;
use super::{escape, time};
use crate::monitor::Silent;
use crate::record::Status;
use crate::service::retain::Explained;

/// Runs the command.
pub(crate) async fn run(args: Retention, context: &Context) -> Result<Exit, Failure> {
    let service = context.service(Arc::new(Silent), context.stop.cancel())?;
    let explained = context.stop.or(async { service.explain(&args.plans).await.map_err(Failure::of) }).await?;
    let dropping: usize = explained.iter().map(|scope| scope.decided.outcome.drop.len()).sum();
    if let Some(agreed) = args.acknowledge.filter(|agreed| *agreed != dropping) {
        return Err(Failure::usage(format!("{agreed} was acknowledged, and {dropping} snapshots would be dropped"))
            .hint("look at what `drctl retention` explains, and acknowledge that number"));
    }
    let steps = if args.apply { service.retain(&explained, args.acknowledge).await } else { Vec::new() };
    let document = json!({
        "dry_run": !args.apply,
        "scopes": explained.iter().map(scope_json).collect::<Vec<_>>(),
        "applied": steps,
    });
    context.out.result(&document, |out| {
        for scope in &explained {
            show(scope, context, out)?;
        }
        for step in &steps {
            let plan = step.plan.as_ref().map(ToString::to_string).unwrap_or_default();
            let status = step.status.map_or_else(|| "could not be tried".to_owned(), word);
            writeln!(out, "{plan} in {}: {status}: {}", step.vault, escape::text(&step.what))?;
        }
        match (args.apply, dropping) {
            (_, 0) => writeln!(out, "nothing to drop"),
            (true, _) => writeln!(out, "what was dropped is freed by the next prune"),
            (false, count) => writeln!(out, "{count} would be dropped; --apply drops them"),
        }
    })?;
    Ok(match steps.iter().map(|step| step.status).max_by_key(|status| status.map_or(3, |status| status as u8)) {
        None | Some(Some(Status::Ok)) => Exit::Done,
        Some(Some(Status::Partial)) => Exit::Partial,
        Some(Some(Status::Failed) | None) => Exit::Failed,
    })
}

fn scope_json(scope: &Explained) -> Value {
    let outcome = &scope.decided.outcome;
    let kept = outcome.keep.iter().map(|kept| json!({ "id": kept.id, "time": kept.time, "reasons": kept.reasons }));
    let dropped = outcome.drop.iter().map(|gone| {
        let expired = gone.expired.iter().map(|(tier, before)| json!({ "tier": tier, "before": before }));
        json!({ "id": gone.id, "time": gone.time, "expired": expired.collect::<Vec<_>>() })
    });
    json!({
        "plan": scope.plan,
        "vault": scope.vault,
        "keep": kept.collect::<Vec<_>>(),
        "drop": dropped.collect::<Vec<_>>(),
    })
}

fn show(scope: &Explained, context: &Context, out: &mut dyn Write) -> std::io::Result<()> {
    let zone = context.now().time_zone().clone();
    let outcome = &scope.decided.outcome;
    writeln!(out, "{} in {}: keeps {}, drops {}", scope.plan, scope.vault, outcome.keep.len(), outcome.drop.len())?;
    let state = |id| {
        let row = scope.decided.held.iter().find(|row| row.listed.id == id);
        row.map(|row| word(row.completeness)).unwrap_or_default()
    };
    for kept in &outcome.keep {
        let reasons: Vec<String> = kept.reasons.iter().map(ToString::to_string).collect();
        let (id, when) = (kept.id.short(), time::show(kept.time, &zone));
        writeln!(out, "  keep {id}  {when}  {:<8}  {}", state(kept.id), escape::text(&reasons.join(", ")))?;
    }
    for gone in &outcome.drop {
        let expired: Vec<String> = gone
            .expired
            .iter()
            .map(|(tier, before)| format!("{tier} keeps what is after {}", time::show(*before, &zone)))
            .collect();
        let (id, when) = (gone.id.short(), time::show(gone.time, &zone));
        writeln!(out, "  drop {id}  {when}  {:<8}  {}", state(gone.id), expired.join(", "))?;
    }
    Ok(())
}
