//! `drctl forget`: removes snapshots, by id or by number.

use serde_json::json;

use super::args::forget::Forget;
use super::context::Context;
use super::error::Failure;
use super::exit::Exit;
use super::secret::Purpose;
use super::{pick, prune};
use crate::look::Filter;
use crate::prune::{GRACE, forget};
use crate::vault::Id;

/// Digits of an id that name a snapshot to be removed, at least: a number that was meant as a count must not fit one.
const SHORTEST: usize = 4;

/// Runs the command.
pub(crate) async fn run(args: Forget, context: &Context) -> Result<Exit, Failure> {
    let vault = context.open(Purpose::Write).await?;
    let all = pick::all(&vault, context.out).await?;
    let filter = Filter::from(&args.filter);
    let choice = match args.keep_last {
        Some(count) => {
            let counted: Vec<_> = all.iter().filter(|file| filter.admits(&file.snapshot)).cloned().collect();
            forget::keep_last(&counted, count.get())
        }
        None => {
            let mut remove: Vec<Id> = Vec::new();
            for prefix in &args.ids {
                if prefix.len() < SHORTEST {
                    return Err(Failure::usage(format!("{prefix:?} is too short for something that is removed"))
                        .hint(format!("give at least {SHORTEST} digits of the id, as `drctl snapshots` shows it")));
                }
                remove.push(vault.find_snapshot(prefix).await.map_err(Failure::of)?.id);
            }
            remove.sort_unstable();
            remove.dedup();
            let keep = all.iter().map(|file| file.id).filter(|id| !remove.contains(id)).collect();
            forget::Choice { keep, remove }
        }
    };
    if !args.dry_run {
        forget::remove(&vault, &choice.remove, context.lock_wait()).await.map_err(Failure::of)?;
    }
    let pruned = if args.prune {
        Some(prune::prune(&vault, args.dry_run, Default::default(), GRACE, context).await?)
    } else {
        None
    };
    let document = json!({
        "dry_run": args.dry_run,
        "removed": choice.remove,
        "kept": choice.keep,
        "prune": pruned,
    });
    context.out.result(&document, |out| {
        let verb = if args.dry_run { "would forget" } else { "forgot" };
        for id in &choice.remove {
            writeln!(out, "{verb} {}", id.short())?;
        }
        writeln!(out, "{verb} {} snapshots, {} stay", choice.remove.len(), choice.keep.len())?;
        match &pruned {
            Some(pruned) => prune::show(pruned, args.dry_run, out),
            None if choice.remove.is_empty() => Ok(()),
            None => writeln!(out, "their data stays until `drctl prune`"),
        }
    })?;
    Ok(Exit::Done)
}
