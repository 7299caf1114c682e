//! `drctl snapshots`: lists the snapshots of a vault.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::json;

use super::args::snapshots::Snapshots;
use super::context::Context;
use super::error::{Failure, chain};
use super::exit::Exit;
use super::secret::Purpose;
use super::table::{Align, Field, Listing};
use super::time;
use crate::look::{self, Filter};
use crate::service::host::archive;
use crate::units::ByteSize;
use crate::vault::snapshot::{Snapshot, SnapshotFile};
use crate::vault::{Id, Vault};

/// A snapshot as programs get it: its id, and what is stored of it.
#[derive(Debug, Serialize)]
pub(crate) struct Shown<'a> {
    /// Whether a signed record vouches for it; unknown where no record vouches for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed: Option<bool>,
    // Before the id, so that no field of the same name in what is stored takes its place.
    #[serde(flatten)]
    snapshot: &'a Snapshot,
    id: &'a Id,
    short_id: String,
}

impl<'a> Shown<'a> {
    /// This snapshot.
    pub(crate) fn new(file: &'a SnapshotFile) -> Self {
        Self { id: &file.id, short_id: file.id.short(), signed: None, snapshot: &file.snapshot }
    }
}

/// Runs the command.
pub(crate) async fn run(args: Snapshots, context: &Context) -> Result<Exit, Failure> {
    let vault = context.open(Purpose::Read).await?;
    let listed = vault.snapshots().await.map_err(Failure::of)?;
    let filter = Filter::from(&args.filter);
    let mut chosen: Vec<SnapshotFile> = match args.ids.as_slice() {
        [] => listed.whole,
        ids => named(&vault, ids).await?,
    };
    chosen.retain(|file| filter.admits(&file.snapshot));
    if let Some(count) = args.latest {
        chosen = look::choose(chosen, count.get());
    }
    let vouched = vouched(&vault, context).await;
    let signed = |file: &SnapshotFile| vouched.as_ref().map(|vouched| vouched.contains(&file.id));
    let document = json!({
        "snapshots": chosen.iter().map(|file| Shown { signed: signed(file), ..Shown::new(file) }).collect::<Vec<_>>(),
        "damaged": listed.damaged.iter()
            .map(|(id, error)| json!({ "id": id, "why": chain(error) })).collect::<Vec<_>>(),
    });
    context.out.result(&document, |out| {
        if chosen.is_empty() {
            return writeln!(out, "no snapshots");
        }
        table(&chosen, vouched.as_ref(), context).print(out)?;
        writeln!(out, "{} snapshot{}", chosen.len(), if chosen.len() == 1 { "" } else { "s" })
    })?;
    for (id, error) in &listed.damaged {
        context.out.warn(&format!("snapshot {} cannot be read: failed to {}", id.short(), chain(error)));
    }
    Ok(if listed.damaged.is_empty() { Exit::Done } else { Exit::Partial })
}

/// Snapshots that signed records vouch for. `None`: they are another tool's, or the records cannot be read.
async fn vouched(vault: &Vault, context: &Context) -> Option<HashSet<Id>> {
    match archive(vault).audit().await {
        Ok(audit) => audit.vouched(),
        Err(error) => {
            context.out.warn(&format!("which snapshots are signed is not known: failed to {}", chain(&error)));
            None
        }
    }
}

async fn named(vault: &Vault, ids: &[String]) -> Result<Vec<SnapshotFile>, Failure> {
    let mut found = Vec::new();
    for id in ids {
        let file = vault.find_snapshot(id).await;
        found.push(file.map_err(Failure::of)?);
    }
    Ok(found)
}

/// What has to be known of a snapshot before it is trusted with a restore.
fn standing(snapshot: &Snapshot, signed: Option<bool>) -> Vec<String> {
    let record = signed.map(|signed| if signed { "signed" } else { "UNSIGNED" });
    let partial = (!snapshot.is_complete()).then_some("PARTIAL");
    record.into_iter().chain(partial).map(str::to_owned).collect()
}

fn table(chosen: &[SnapshotFile], vouched: Option<&HashSet<Id>>, context: &Context) -> Listing {
    let zone = context.now().time_zone().clone();
    let columns = [
        ("ID", Align::Left),
        ("Time", Align::Left),
        ("Host", Align::Left),
        ("Tags", Align::Left),
        ("Record", Align::Left),
        ("Size", Align::Right),
        ("Paths", Align::Left),
    ];
    let mut table = Listing::new(context.out, &columns);
    for SnapshotFile { id, snapshot } in chosen {
        let size = snapshot.summary.as_ref().map(|summary| ByteSize(summary.total_bytes_processed).to_string());
        table.row(&[
            id.short().into(),
            time::show(snapshot.time, &zone).into(),
            snapshot.hostname.clone().into(),
            Field::Lines(snapshot.tags.clone()),
            Field::Lines(standing(snapshot, vouched.map(|vouched| vouched.contains(id)))),
            size.unwrap_or_default().into(),
            Field::Lines(snapshot.paths.clone()),
        ]);
    }
    table
}
