//! `drctl catalog`: fills the catalog from the vaults.

use super::args::catalog::{Action, Catalog};
use super::context::Context;
use super::error::Failure;
use super::escape;
use super::exit::Exit;

/// Runs the command. A vault that cannot be read makes it partial.
pub(crate) async fn run(args: Catalog, context: &Context) -> Result<Exit, Failure> {
    let Action::Rebuild = args.action;
    let service = context.service_anew(context.stop.cancel())?;
    let done = context.stop.or(async { service.rebuild().await.map_err(Failure::of) }).await?;
    context.out.result(&done, |out| {
        for vault in &done.vaults {
            writeln!(out, "{}: {} records, {} snapshots", vault.vault, vault.records, vault.snapshots)?;
            for flaw in &vault.flaws {
                writeln!(out, "  left out: {}", escape::text(flaw))?;
            }
        }
        for (vault, why) in &done.unreachable {
            writeln!(out, "{vault}: left out: failed to {}", escape::text(why))?;
        }
        writeln!(out, "the catalog now holds {} records and {} snapshots", done.records, done.snapshots)
    })?;
    let whole = done.unreachable.is_empty() && done.vaults.iter().all(|vault| vault.flaws.is_empty());
    Ok(if whole { Exit::Done } else { Exit::Partial })
}
