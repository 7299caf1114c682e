//! `drctl find`: finds files by name, over all snapshots.

use std::collections::HashSet;
use std::io::Write;

use jiff::tz::TimeZone;
use serde_json::{Map, json};

use super::args::find::Find;
use super::context::Context;
use super::error::Failure;
use super::exit::Exit;
use super::output::Format;
use super::pick::{self, Among};
use super::secret::Purpose;
use super::stream::LongDocument;
use super::{node, time};
use crate::look::{Case, Filter, Finder, LookError};
use crate::vault::Vault;
use crate::vault::snapshot::SnapshotFile;

/// Runs the command.
pub(crate) async fn run(args: Find, context: &Context) -> Result<Exit, Failure> {
    let case = if args.ignore_case { Case::Ignored } else { Case::Sensitive };
    let mut finder = Finder::new(&args.patterns, case).map_err(|error| Failure::of(error).exits(Exit::Usage))?;
    let vault = context.open(Purpose::Read).await?;
    let mut snapshots = chosen(&args, &vault, context).await?;
    if args.newest {
        snapshots.reverse();
    }
    let index = context.index(&vault).await?;

    let zone = TimeZone::system();
    let mut out = context.out.stdout();
    let mut document = match context.out.format() {
        Format::Json => Some(LongDocument::begin(&mut out, &Map::new(), "found").map_err(Failure::output)?),
        Format::Human => None,
    };
    let mut lines = context.out.stdout();
    let mut seen = HashSet::new();
    let mut count = 0_u64;
    let mut problems = Vec::new();
    for file in &snapshots {
        let mut headed = false;
        let found = |path: &[u8], entry: &crate::vault::tree::Node| {
            if args.newest && !seen.insert(path.to_vec()) {
                return Ok(());
            }
            count += 1;
            if let Some(document) = &mut document {
                return document.item(&json!({ "snapshot": file.id, "entry": node::Entry::new(path, entry) }));
            }
            if !std::mem::replace(&mut headed, true) {
                let when = time::show(file.snapshot.time, &zone);
                let host = super::escape::text(&file.snapshot.hostname);
                writeln!(lines, "in {} of {when} on {host}:", file.id.short())?;
            }
            writeln!(lines, "  {}", node::long_line(path, entry, &zone))
        };
        let damaged = |error: &LookError| {
            let text = format!("in {}: failed to {}", file.id.short(), super::error::chain(error));
            context.out.warn(&text);
            problems.push(text);
            Ok(())
        };
        finder.search(&vault, &index, file.snapshot.tree, found, damaged).await.map_err(Failure::output)?;
    }
    if let Some(document) = document {
        let tail = json!({ "searched": snapshots.len(), "problems": problems });
        document.end(&tail.as_object().cloned().unwrap_or_default()).map_err(Failure::output)?;
    }
    lines.flush().map_err(Failure::output)?;
    if count == 0 {
        context.out.note(&format!("nothing found in {} snapshots", snapshots.len()));
    }
    Ok(if problems.is_empty() { Exit::Done } else { Exit::Partial })
}

/// The snapshots to look in, oldest first.
async fn chosen(args: &Find, vault: &Vault, context: &Context) -> Result<Vec<SnapshotFile>, Failure> {
    let filter = Filter::from(&args.filter);
    if args.snapshot.is_empty() {
        let mut all = pick::all(vault, context.out).await?;
        all.retain(|file| filter.admits(&file.snapshot));
        return Ok(all);
    }
    let among = Among::of(filter);
    let mut found = Vec::new();
    for text in &args.snapshot {
        found.push(pick::find(vault, &pick::spec(text)?, &among, context.out).await?);
    }
    found.sort_by_key(|file| file.snapshot.time);
    Ok(found)
}
