//! `drctl prune`: frees what no snapshot needs.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use super::args::prune::Prune;
use super::backup::seconds;
use super::context::Context;
use super::error::Failure;
use super::exit::Exit;
use super::secret::Purpose;
use crate::prune::decision::Limits;
use crate::prune::{self, Form, GRACE, Mode, Options, Outcome, PruneError};
use crate::units::{ByteSize, Span};
use crate::vault::Vault;
use crate::vault::settings::Sharing;

/// Runs the command.
pub(crate) async fn run(args: Prune, context: &Context) -> Result<Exit, Failure> {
    let vault = context.open(Purpose::Write).await?;
    if args.grace.is_some() && vault.sharing() == Sharing::Shared {
        return Err(Failure::usage(
            "prune with --grace: nobody works in this vault while it is pruned, so nothing waits",
        )
        .hint("leave --grace away; only vaults made with `drctl init --native` are pruned while backups run"));
    }
    let limits = Limits { max_unused: args.max_unused.0, max_repack: args.max_repack };
    let done = prune(&vault, args.dry_run, limits, args.grace.map_or(GRACE, Span::duration), context).await?;
    context.out.result(&done, |out| show(&done, args.dry_run, out))?;
    Ok(if done.no_room_for > 0 { Exit::Partial } else { Exit::Done })
}

/// Prunes with a progress bar.
pub(crate) async fn prune(
    vault: &Vault,
    rehearse: bool,
    limits: Limits,
    grace: Duration,
    context: &Context,
) -> Result<Outcome, Failure> {
    let mode = if rehearse { Mode::Rehearse } else { Mode::Write };
    let options = Options { limits, mode, grace, retry_lock: context.lock_wait() };
    let bar = Arc::new(context.bar());
    let done = prune::run(vault, options, bar.clone(), context.stop.cancel()).await;
    bar.done();
    done.map_err(failure)
}

fn failure(error: PruneError) -> Failure {
    match error {
        PruneError::Cancelled => Failure::of(error).exits(Exit::Interrupted),
        PruneError::Vault(_) => Failure::of(error),
        PruneError::Overtaken => Failure::of(error).hint("run it again"),
        PruneError::AtWork { .. } => Failure::of(error).exits(Exit::Locked).hint(
            "run it again when they are done, or wait with --retry-lock; `drctl unlock` removes locks of the dead",
        ),
        PruneError::UnreadTrees { .. } => Failure::of(error).hint("see that the store answers, and run it again"),
        PruneError::Lacking { .. } => Failure::of(error).hint(
            "if their backups failed or were killed, remove them with `drctl forget`; else heal the vault first: \
             `drctl check --read-data --heal-from COPY`",
        ),
        PruneError::Refused(_) | PruneError::DamagedTrees { .. } | PruneError::DamagedBlob { .. } => {
            Failure::of(error).hint("nothing was deleted; see what is damaged with `drctl check --read-data`")
        }
    }
}

/// What was freed, for people.
pub(crate) fn show(done: &Outcome, rehearsed: bool, out: &mut dyn Write) -> std::io::Result<()> {
    let f = &done.figures;
    let bytes = |count: u64| ByteSize(count).to_string();
    writeln!(out, "stored    {} in {} packs", bytes(f.total), f.packs)?;
    writeln!(out, "needed    {}", bytes(f.used))?;
    writeln!(
        out,
        "not       {} unused, {} twice, {} in no index",
        bytes(f.unused),
        bytes(f.duplicate),
        bytes(f.orphan)
    )?;
    let (deletes, rewrites, frees) = match rehearsed {
        true => ("would delete", "would rewrite", "would free"),
        false => ("deleted", "rewrote", "freed"),
    };
    writeln!(
        out,
        "{deletes} {} packs, {rewrites} {} ({} moved), {frees} {}; {} unused stay, in {}",
        f.delete_packs,
        f.repack_packs,
        bytes(f.rewrite),
        bytes(f.freed),
        bytes(f.unused_after),
        seconds(done.millis)
    )?;
    if f.recent_packs > 0 {
        writeln!(
            out,
            "{} packs are younger than the grace: runs that are under way may be using them",
            f.recent_packs
        )?;
    }
    if done.form == Form::Concurrent && f.condemned_packs > 0 {
        let (packs, size) = (f.condemned_packs, bytes(f.condemned));
        let condemned = if rehearsed { "would then be condemned" } else { "are condemned" };
        writeln!(out, "{packs} packs ({size}) {condemned}: a prune deletes them once their grace is over")?;
    }
    if done.no_room_for > 0 {
        writeln!(
            out,
            "partial: the store is too full to rewrite {} packs; prune again now that there is room, or make some",
            done.no_room_for
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::Id;

    #[test]
    fn what_others_may_be_doing_and_what_was_not_read_is_not_called_damage() {
        let tree = || Id([1; 32]);
        let table = [
            (PruneError::AtWork { holder: "x".into() }, Exit::Locked, "--retry-lock"),
            (PruneError::Overtaken, Exit::Failed, "run it again"),
            (PruneError::UnreadTrees { count: 1, first: tree(), why: "x".into() }, Exit::Failed, "the store answers"),
            (PruneError::Lacking { snapshots: vec![tree()], blobs: 1 }, Exit::Failed, "drctl forget"),
            (PruneError::DamagedTrees { count: 1, first: tree(), why: "x".into() }, Exit::Failed, "check --read-data"),
            (PruneError::Cancelled, Exit::Interrupted, ""),
        ];
        for (error, exit, hint) in table {
            let said = format!("{error:?}");
            let failure = failure(error);
            let document = format!("{:?}", failure.report());
            assert_eq!(failure.exit(), exit, "{said}");
            assert!(document.contains(hint), "{said}: {document}");
            assert_eq!(document.contains("damage"), said.starts_with("Damaged"), "{said}: {document}");
        }
    }
}
