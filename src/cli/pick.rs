//! Finds the snapshot that the user means.

use super::error::Failure;
use super::output::Output;
use super::time;
use crate::look::{self, Filter, Spec, Which};
use crate::vault::Vault;
use crate::vault::snapshot::SnapshotFile;

/// Reads what was typed for a snapshot.
pub(crate) fn spec(text: &str) -> Result<Spec, Failure> {
    text.parse().map_err(|error: look::BadSpec| {
        Failure::usage(error.to_string()).hint("`drctl snapshots` lists what there is")
    })
}

/// The snapshot that is meant, and a word on which one `latest` turned out to be.
pub(crate) async fn find(vault: &Vault, spec: &Spec, filter: &Filter, out: Output) -> Result<SnapshotFile, Failure> {
    match &spec.which {
        Which::Id(prefix) => vault
            .find_snapshot(prefix)
            .await
            .map_err(|error| Failure::because("failed to find the snapshot", error)),
        Which::Latest => {
            let all = all(vault, out).await?;
            let found = look::latest(&all, filter, None).cloned().ok_or_else(|| none(all.len(), filter))?;
            let when = time::show(found.snapshot.time, &jiff::tz::TimeZone::system());
            out.note(&format!("latest is {} of {when} on {}", found.id.short(), found.snapshot.hostname));
            Ok(found)
        }
    }
}

/// All snapshots that can be read; each of the others is warned of.
pub(crate) async fn all(vault: &Vault, out: Output) -> Result<Vec<SnapshotFile>, Failure> {
    let list = vault.snapshots().await.map_err(|error| Failure::because("failed to list the snapshots", error))?;
    for (id, error) in &list.damaged {
        out.warn(&format!("snapshot {} cannot be read and is left out: {error}", id.short()));
    }
    Ok(list.whole)
}

fn none(count: usize, filter: &Filter) -> Failure {
    match (count, filter == &Filter::default()) {
        (0, _) => Failure::plain("there is no snapshot in this vault yet"),
        (_, true) => Failure::plain("there is no snapshot that can be read"),
        (count, false) => Failure::plain(format!("none of the {count} snapshots fits"))
            .hint("look at them with `drctl snapshots`, then change --host, --tag or --path"),
    }
}
