//! `drctl dump`: writes a file, or a folder as tar, to standard output.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::json;

use super::args::dump::{Archive, Dump};
use super::context::Context;
use super::error::Failure;
use super::escape;
use super::exit::Exit;
use super::output::Format;
use super::pick::{self, Among};
use super::secret::Purpose;
use crate::look::{DumpSummary, Found, LookError, dump_file, dump_folder, locate};
use crate::monitor::Monitor;
use crate::units::ByteSize;
use crate::vault::index::Index;
use crate::vault::{Id, Vault};

/// Runs the command.
pub(crate) async fn run(args: Dump, context: &Context) -> Result<Exit, Failure> {
    let mut spec = pick::spec(&args.snapshot)?;
    let among = Among::options(&args.latest, &[&spec], context)?;
    let vault = context.open(Purpose::Read).await?;
    let file = pick::find(&vault, &spec, &among, context.out).await?;
    let index = context.index(&vault).await?;
    let looking = Failure::of;
    // What stands behind the colon is the top of the archive, and is not part of its members' names.
    let top = locate(&vault, &index, file.snapshot.tree, std::mem::take(&mut spec.path).as_bytes()).await;
    let top = top.map_err(looking)?;
    let Some((root, _)) = top.folder() else {
        return Err(Failure::usage(format!("what stands behind the colon in {} is no folder", args.snapshot))
            .hint("write the file as the second argument"));
    };
    let found = locate(&vault, &index, root, args.path.as_bytes()).await.map_err(looking)?;
    let to_terminal = args.output.is_none() && io::stdout().is_terminal();
    if found.folder().is_some() && to_terminal {
        return Err(Failure::usage("an archive does not belong on a terminal")
            .hint("redirect it (> x.tar), pipe it (| tar -t), or use --output FILE"));
    }
    let bar = context.bar();
    let dump = Work { vault: &vault, index: &index, root, archive: args.archive, bar: &bar };
    let written = match &args.output {
        None => dump.write(&found, &mut context.out.stdout()).await,
        Some(path) => {
            let failed = |error| Failure::because(format!("failed to write {}", path.display()), error);
            let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let made = made.map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => failed(error).hint("choose another name, or remove it first"),
                _ => failed(error),
            })?;
            let mut out = BufWriter::new(made);
            let done = dump.write(&found, &mut out).await;
            if done.is_err() {
                // A file that ends in the middle would pass for whole.
                std::fs::remove_file(path).map_err(failed)?;
            } else {
                out.get_ref().sync_all().map_err(failed)?;
            }
            done
        }
    };
    bar.done();
    let summary = written.map_err(|error| match error {
        LookError::Write(error) => Failure::output(error),
        error => Failure::of(error),
    })?;
    report(context, &args, &summary)?;
    Ok(if summary.problems == 0 { Exit::Done } else { Exit::Partial })
}

struct Work<'a> {
    vault: &'a Vault,
    index: &'a Index,
    root: Id,
    archive: Archive,
    bar: &'a super::progress::Bar,
}

impl Work<'_> {
    async fn write(&self, found: &Found, out: &mut (dyn Write + Send)) -> Result<DumpSummary, LookError> {
        self.bar.stage("dump");
        let summary = match (found, found.folder(), self.archive) {
            (Found::Entry { path, node }, None, _) => {
                let bytes = dump_file(self.vault, self.index, path, node, out, self.bar).await?;
                DumpSummary { members: 1, bytes, problems: 0 }
            }
            (_, Some((tree, base)), Archive::Tar) => {
                dump_folder(self.vault, self.index, tree, base, out, self.bar).await?
            }
            (Found::Top(_), None, _) => dump_folder(self.vault, self.index, self.root, b"", out, self.bar).await?,
        };
        out.flush().map_err(LookError::Write)?;
        Ok(summary)
    }
}

/// The summary goes to standard error where standard output holds the data.
fn report(context: &Context, args: &Dump, summary: &DumpSummary) -> Result<(), Failure> {
    let document = json!({
        "members": summary.members,
        "bytes": summary.bytes,
        "problems": summary.problems,
        "output": args.output.as_deref().map(Path::to_string_lossy),
    });
    match (&args.output, context.out.format()) {
        (None, Format::Human) => {}
        (None, Format::Json) => context.out.err_line(&json!({ "result": document }).to_string()),
        (Some(path), Format::Human | Format::Json) => context.out.result(&document, |out| {
            let path = escape::text(&path.display().to_string());
            writeln!(out, "wrote {} of content to {path}", ByteSize(summary.bytes))
        })?,
    }
    Ok(())
}
