//! `drctl diff`: shows what differs between two snapshots.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::json;

use super::args::diff;
use super::context::Context;
use super::error::Failure;
use super::exit::Exit;
use super::output::{Format, Output, Paint};
use super::pick::{self, Among};
use super::secret::Purpose;
use super::snapshots::Shown;
use super::stream::LongDocument;
use super::{escape, node};
use crate::look::{Change, Diff, Difference, Spec, locate};
use crate::units::ByteSize;
use crate::vault::index::Index;
use crate::vault::snapshot::SnapshotFile;
use crate::vault::{Id, Vault};

/// What differs, in numbers.
#[derive(Debug, Default, Serialize)]
struct Totals {
    added: u64,
    removed: u64,
    content: u64,
    kind: u64,
    metadata: u64,
    bytes_added: u64,
    bytes_removed: u64,
}

impl Totals {
    fn count(&mut self, difference: &Difference) {
        match difference.change {
            Change::Added => self.added += 1,
            Change::Removed => self.removed += 1,
            Change::Content => self.content += 1,
            Change::Kind => self.kind += 1,
            Change::Metadata => self.metadata += 1,
        }
        if difference.change != Change::Metadata {
            self.bytes_added += difference.after.as_ref().map_or(0, |node| node.size);
            self.bytes_removed += difference.before.as_ref().map_or(0, |node| node.size);
        }
    }
}

/// Runs the command.
pub(crate) async fn run(args: diff::Diff, context: &Context) -> Result<Exit, Failure> {
    let (from, to) = (pick::spec(&args.from)?, pick::spec(&args.to)?);
    let among = Among::options(&args.latest, &[&from, &to], context)?;
    let vault = context.open(Purpose::Read).await?;
    let before = pick::find(&vault, &from, &among, context.out).await?;
    let after = pick::find(&vault, &to, &among, context.out).await?;
    let index = context.index(&vault).await?;
    let roots = (folder(&vault, &index, &before, &from).await?, folder(&vault, &index, &after, &to).await?);

    let mut out = context.out.stdout();
    let head = json!({ "from": Shown::new(&before), "to": Shown::new(&after) });
    let mut document = match context.out.format() {
        Format::Json => {
            let head = head.as_object().cloned().unwrap_or_default();
            Some(LongDocument::begin(&mut out, &head, "changes").map_err(Failure::output)?)
        }
        Format::Human => None,
    };
    let mut lines = context.out.stdout();
    let mut totals = Totals::default();
    let mut problems = Vec::new();
    let mut diff = Diff::new(&vault, &index, roots.0, roots.1);
    while let Some(next) = diff.next().await {
        match next {
            Ok(difference) => {
                totals.count(&difference);
                if difference.change == Change::Metadata && !args.metadata {
                    continue;
                }
                match &mut document {
                    Some(document) => document.item(&as_json(&difference)),
                    None => write_line(&mut lines, &difference, context.out),
                }
                .map_err(Failure::output)?;
            }
            Err(error) => {
                let text = format!("failed to {}", super::error::chain(&error));
                context.out.warn(&text);
                problems.push(text);
            }
        }
    }
    match document {
        Some(document) => {
            let tail = json!({ "totals": totals, "problems": problems });
            document.end(&tail.as_object().cloned().unwrap_or_default())
        }
        None => write_totals(&mut lines, &totals),
    }
    .map_err(Failure::output)?;
    Ok(if problems.is_empty() { Exit::Done } else { Exit::Partial })
}

async fn folder(vault: &Vault, index: &Index, file: &SnapshotFile, spec: &Spec) -> Result<Id, Failure> {
    let found = locate(vault, index, file.snapshot.tree, spec.path.as_bytes()).await.map_err(Failure::of)?;
    match found.folder() {
        Some((tree, _)) => Ok(tree),
        None => Err(Failure::usage(format!("{} is no folder in {}", spec.path, file.id.short()))
            .hint("compare the folders that the files are in")),
    }
}

/// Either side carries the path.
fn as_json(difference: &Difference) -> serde_json::Value {
    let entry = |side: &Option<Box<_>>| side.as_ref().map(|entry| json!(node::Entry::new(&difference.path, entry)));
    json!({
        "change": difference.change, "before": entry(&difference.before), "after": entry(&difference.after),
    })
}

fn write_line(out: &mut dyn Write, difference: &Difference, face: Output) -> io::Result<()> {
    let (mark, paint) = match difference.change {
        Change::Added => ("+", Paint::Green),
        Change::Removed => ("-", Paint::Red),
        Change::Content => ("M", Paint::Yellow),
        Change::Kind => ("T", Paint::Yellow),
        Change::Metadata => ("U", Paint::Cyan),
    };
    writeln!(out, "{} {}", face.paint(paint, mark), escape::name(&difference.path))
}

fn write_totals(out: &mut dyn Write, totals: &Totals) -> io::Result<()> {
    writeln!(
        out,
        "{} new, {} gone, {} with other content, {} of another kind, {} with other metadata; {} more, {} less",
        totals.added,
        totals.removed,
        totals.content,
        totals.kind,
        totals.metadata,
        ByteSize(totals.bytes_added),
        ByteSize(totals.bytes_removed),
    )?;
    out.flush()
}
