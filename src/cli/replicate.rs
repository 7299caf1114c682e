//! `drctl replicate`: brings the copies of plans up to date, or copies snapshots to another vault.

mod copies;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde_json::json;

use super::args::global::{Global, StoreArgs};
use super::args::replicate::Replicate;
use super::backup::{problems, seconds};
use super::configured::Configured;
use super::context::Context;
use super::error::Failure;
use super::exit::Exit;
use super::secret::Purpose;
use super::time;
use crate::replication::plan::Lag;
use crate::replication::{self, Mode, Options, Outcome, ReplicateError, Select, Status, Verify};
use crate::units::ByteSize;
use crate::vault::Vault;

/// Runs the command.
pub(crate) async fn run(args: Replicate, context: &Context) -> Result<Exit, Failure> {
    let Some(to) = args.to.clone() else { return Box::pin(copies::run(&args, context)).await };
    if !args.all && args.what.is_empty() {
        return Err(Failure::usage("what to copy was not said")
            .hint("name snapshots, or copy all that the copy lacks with --all"));
    }
    let from = Global { vault: args.from.clone().or_else(|| context.global.vault.clone()), ..context.global.clone() };
    let source = other(context, from).open(Purpose::Read).await?;
    let key = Key { file: args.to_key_file, command: args.to_password_command };
    let to = another(&context.global, to, key, args.to_aws_profile);
    let copy = other(context, to).open(Purpose::Write).await?;
    let options = Options {
        select: if args.all { Select::All } else { named(&source, &args.what).await? },
        mode: if args.dry_run { Mode::Rehearse } else { Mode::Write },
        verify: if args.no_read_back { Verify::Structure } else { Verify::ReadBack },
        retry_lock: context.lock_wait(),
    };
    let bar = Arc::new(context.bar());
    let done = replication::run(&source, &copy, options, bar.clone(), context.stop.cancel()).await;
    bar.done();
    let done = done.map_err(failure)?;
    context.out.result(&document(&done), |out| show(&done, args.dry_run, out))?;
    Ok(match done.status {
        Status::Complete => Exit::Done,
        Status::Partial => Exit::Partial,
    })
}

/// How a second vault of one command is opened.
#[derive(Debug, Default)]
pub(crate) struct Key {
    /// `--...-key-file`
    pub(crate) file: Option<PathBuf>,
    /// `--...-password-command`
    pub(crate) command: Option<String>,
}

/// The options as they hold for a second vault: what says where the first one lies, or opens it, says nothing about it.
pub(crate) fn another(global: &Global, vault: String, key: Key, aws_profile: Option<String>) -> Global {
    let store =
        StoreArgs { s3_region: None, s3_endpoint: None, s3_path_style: None, aws_profile, ..global.store.clone() };
    Global { vault: Some(vault), key_file: key.file, password_command: key.command, store, ..global.clone() }
}

/// The same command with the options of another vault.
pub(crate) fn other(context: &Context, global: Global) -> Context {
    Context {
        global,
        out: context.out,
        env: context.env.clone(),
        stop: context.stop.clone(),
        config: Configured::default(),
    }
}

async fn named(source: &Vault, prefixes: &[String]) -> Result<Select, Failure> {
    let mut ids = Vec::new();
    for prefix in prefixes {
        ids.push(source.find_snapshot(prefix).await.map_err(Failure::of)?.id);
    }
    Ok(Select::Snapshots(ids))
}

pub(crate) fn failure(error: ReplicateError) -> Failure {
    match error {
        ReplicateError::Cancelled => Failure::of(error).exits(Exit::Interrupted),
        ReplicateError::Overtaken => Failure::of(error).hint("run it again; what was copied is not copied twice"),
        ReplicateError::SameVault { .. } => {
            Failure::of(error).exits(Exit::Usage).hint("give --to the address of another vault")
        }
        ReplicateError::ReadBack { .. } => Failure::plain(format!("failed to {}", super::error::chain(&error)))
            .hint("the copy's store loses or changes what it acknowledged: look at it before you rely on it"),
        ReplicateError::Source(_) | ReplicateError::Copy(_) | ReplicateError::Seal(_) => Failure::of(error),
    }
}

fn document(done: &Outcome) -> serde_json::Value {
    let whole_seconds = |span: Option<SignedDuration>| span.map(|span| span.as_secs());
    json!({
        "status": done.status,
        "copied": done.copied,
        "not_copied": done.not_copied,
        "owed": done.plan.owed,
        "present": done.plan.present.len(),
        "figures": done.figures,
        "lag": {
            "newest": done.lag.newest,
            "complete_up_to": done.lag.complete_up_to,
            "behind_seconds": whole_seconds(done.lag.behind),
            "waiting_seconds": whole_seconds(done.lag.waiting),
        },
        "problems": done.problems,
    })
}

fn show(done: &Outcome, rehearsed: bool, out: &mut dyn Write) -> std::io::Result<()> {
    let f = &done.figures;
    let bytes = |count: u64| ByteSize(count).to_string();
    let zone = TimeZone::system();
    let present = done.plan.present.len();
    if rehearsed {
        writeln!(out, "would copy  {} snapshots, newest first; {present} are there", done.plan.owed.len())?;
        for id in &done.plan.owed {
            writeln!(out, "  {}", id.short())?;
        }
    } else {
        writeln!(out, "copied      {} snapshots, {present} were there", done.copied.len())?;
        for copied in &done.copied {
            let (from, to) = (copied.origin.short(), copied.copy.short());
            writeln!(out, "  {from} of {} as {to}", time::show(copied.time, &zone))?;
        }
        if f.packs_adopted > 0 {
            writeln!(out, "adopted     {} in {} packs of an interrupted run", bytes(f.bytes_adopted), f.packs_adopted)?;
        }
        let (up, packs, took) = (bytes(f.bytes_uploaded), f.packs_uploaded, seconds(f.millis));
        writeln!(out, "uploaded    {up} in {packs} packs, {} blobs, in {took}", f.blobs)?;
    }
    lag(&done.lag, &zone, out)?;
    if !done.problems.is_empty() {
        problems(out, done.problems.iter().map(|p| (p.what.as_str(), p.why.as_str())))?;
    }
    Ok(())
}

fn lag(lag: &Lag, zone: &TimeZone, out: &mut dyn Write) -> std::io::Result<()> {
    match lag.complete_up_to {
        Some(complete) => writeln!(out, "complete    up to {}", time::show(complete, zone))?,
        None if lag.waiting.is_some() => writeln!(out, "complete    not even up to the oldest snapshot")?,
        None => writeln!(out, "complete    there is nothing to copy")?,
    }
    if let Some(behind) = lag.behind.filter(|behind| !behind.is_zero()) {
        writeln!(out, "behind      {behind:#} at its newest")?;
    }
    match lag.waiting {
        Some(waiting) => writeln!(out, "waiting     for {waiting:#}, the oldest that is owed"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::Cli;
    use super::*;

    #[test]
    fn what_is_said_of_one_vault_is_not_said_of_the_other() {
        let line =
            "drctl --vault s3://a/b --key-file /k --s3-region r --aws-profile reader --limit-upload 1MiB ls latest";
        let cli = Cli::try_parse_from(line.split(' ')).expect("a command line");
        let key = Key { file: Some("/other".into()), command: None };
        let global = another(&cli.global, "s3://c/d".to_owned(), key, Some("writer".to_owned()));
        assert_eq!((global.vault.as_deref(), global.key_file), (Some("s3://c/d"), Some("/other".into())));
        assert_eq!((global.store.s3_region, global.store.aws_profile.as_deref()), (None, Some("writer")));
        assert!(global.store.limit_upload.is_some(), "the line is the same");
    }

    #[test]
    fn a_gap_is_never_called_complete() {
        let text = |given: Lag| {
            let mut out = Vec::new();
            lag(&given, &TimeZone::UTC, &mut out).expect("written to memory");
            String::from_utf8(out).expect("text")
        };
        let hour = SignedDuration::from_hours(1);
        let at = jiff::Timestamp::from_second(1_780_000_000).ok();
        let gap =
            text(Lag { newest: at, complete_up_to: None, behind: Some(SignedDuration::ZERO), waiting: Some(hour) });
        assert!(gap.contains("not even up to the oldest") && gap.contains("waiting     for 1h"), "{gap}");
        let whole = text(Lag { newest: at, complete_up_to: at, behind: Some(SignedDuration::ZERO), waiting: None });
        assert!(whole.starts_with("complete    up to 2026-") && whole.lines().count() == 1, "{whole}");
    }
}
