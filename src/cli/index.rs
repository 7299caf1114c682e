//! `drctl index`: makes the index of a vault anew.

use std::io::Write;

use super::args::index::{Action, Index};
use super::backup::seconds;
use super::context::Context;
use super::error::Failure;
use super::escape;
use super::exit::Exit;
use super::secret::Purpose;
use crate::heal::rebuild::plan::Trust;
use crate::heal::rebuild::{self, Mode, Options, Outcome, RebuildError};

/// Runs the command. A pack that cannot be named makes it partial.
pub(crate) async fn run(args: Index, context: &Context) -> Result<Exit, Failure> {
    let Action::Rebuild(args) = args.action;
    // What is rebuilt comes from the vault itself, not from a local copy.
    let vault = context.open_uncached(&context.target()?, Purpose::Write).await?;
    let options = Options {
        trust: if args.read_all_packs { Trust::Nothing } else { Trust::Valid },
        mode: if args.dry_run { Mode::Rehearse } else { Mode::Write },
        retry_lock: context.lock_wait(),
    };
    let bar = context.bar();
    let done = rebuild::run(&vault, options, &bar, &context.stop.cancel()).await;
    bar.done();
    let done = done.map_err(|error| match error {
        RebuildError::Cancelled => Failure::of(error).exits(Exit::Interrupted),
        RebuildError::Vault(_) => Failure::of(error),
    })?;
    context.out.result(&done, |out| show(&done, args.dry_run, out))?;
    Ok(if done.is_whole() { Exit::Done } else { Exit::Partial })
}

fn show(done: &Outcome, rehearsed: bool, out: &mut dyn Write) -> std::io::Result<()> {
    for id in &done.damaged_files {
        writeln!(out, "damaged     index {id}")?;
    }
    for pack in &done.lost_packs {
        writeln!(out, "lost        pack {pack}: index files name it, and it is not there")?;
    }
    for it in &done.unreadable {
        writeln!(out, "unreadable  pack {}: {}", it.pack, escape::text(&it.why))?;
    }
    let (packs, read, took) = (done.packs, done.headers_read, seconds(done.millis));
    writeln!(out, "read        the headers of {read} of {packs} packs, in {took}")?;
    let named = if rehearsed { "would name" } else { "named     " };
    writeln!(out, "{named}  {} packs that were in no index; {} blobs", done.packs_added, done.blobs)?;
    if !rehearsed {
        writeln!(out, "replaced    {} index files by {}", done.files_removed, done.files_written)?;
    }
    match done.lost_packs.len() + done.unreadable.len() {
        0 => Ok(()),
        count => writeln!(
            out,
            "PARTIAL: {count} packs; `drctl check` says what that hits, a copy or the next backup heals it"
        ),
    }
}
