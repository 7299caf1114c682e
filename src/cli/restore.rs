//! `drctl restore`: a snapshot, or a part of one, to files.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::args::restore::Restore;
use super::args::select::Latest;
use super::backup::{asked, problems, seconds};
use super::context::Context;
use super::error::Failure;
use super::escape;
use super::exit::Exit;
use super::pick::{self, Among};
use super::secret::Purpose;
use super::target::Target;
use super::time;
use crate::config::Config;
use crate::look::{Spec, Which};
use crate::monitor::Monitor;
use crate::restore::{self, Existing, Mode, Outcome, Privileged, RestoreError, Selection, Status, Trust};
use crate::units::ByteSize;
use crate::vault::Vault;
use crate::vault::snapshot::SnapshotFile;

/// Ranges fetched at the same time from a store on this machine, and from one across a network.
const WORKERS_LOCAL: usize = 4;
const WORKERS_REMOTE: usize = 16;

/// What a rehearsal would delete is shown up to so many.
const NAMED: usize = 20;

/// Runs the command.
pub(crate) async fn run(args: Restore, context: &Context) -> Result<Exit, Failure> {
    let config = context.config().ok().flatten();
    let (spec, plan) = wanted(&args.snapshot, |name| config.is_some_and(|config| config.plans.contains_key(name)))?;
    let latest = Latest { filter: (&args.filter).into(), at: args.at.clone(), unsigned: args.unsigned };
    let mut among = Among::options(&latest, &[&spec], context)?;
    if let Some(plan) = plan {
        among = among.of_plan(plan);
    }
    let selection = Selection::new(&args.include, &args.exclude).map_err(usage)?;
    let target = match (&args.to, args.in_place) {
        (Some(to), _) => to.clone(),
        (None, true) => PathBuf::from("/"),
        (None, false) => {
            return Err(Failure::usage("where to restore to was not said")
                .hint("name a folder with --to DIR, or restore to where the files came from with --in-place"));
        }
    };
    let existing = match (args.delete, args.overwrite) {
        (true, _) => Existing::Mirror,
        (false, true) => Existing::Overwrite,
        (false, false) => Existing::Refuse,
    };
    // A plan is in its own vault, unless another one is named.
    let home = plan.zip(config).and_then(|(plan, config)| config.plans.get(plan)).map(|plan| &plan.vault);
    let target_vault = context.target_of(home)?;
    let copies = plan.zip(config).map(|(plan, config)| copies(config, plan, &target_vault)).unwrap_or_default();
    let opened = context.open_target(&target_vault, Purpose::Read).await;
    let vault = opened.map_err(|failure| match copies.first() {
        Some(first) if failure.exit() != Exit::WrongKey => failure.advise(format!(
            "the plan is copied to {}: `drctl restore {} --vault {first} ...` restores from there",
            copies.join(", "),
            args.snapshot
        )),
        Some(_) | None => failure,
    })?;
    let found = pick::find(&vault, &spec, &among, context.out).await?;
    let subpath = match (spec.path.as_str(), &args.path) {
        ("", Some(path)) => PathBuf::from(path),
        ("", None) => PathBuf::from("/"),
        (path, None) => PathBuf::from(path),
        (_, Some(_)) => {
            return Err(Failure::usage("the part to restore was named twice: after the colon and with --path"));
        }
    };
    if args.in_place && subpath != std::path::Path::new("/") {
        return Err(Failure::usage("--in-place restores to where the files came from, and a subpath moves them")
            .hint("choose what to restore with --include instead"));
    }
    let options = restore::Options {
        target: target.clone(),
        subpath,
        selection,
        whole: found.snapshot.paths.iter().map(PathBuf::from).collect(),
        existing,
        trust: if args.trust_times { Trust::Times } else { Trust::Content },
        mode: if args.dry_run { Mode::Rehearse } else { Mode::Write },
        privileged: if args.privileged { Privileged::Restore } else { Privileged::Leave },
        workers: workers(&vault),
    };
    let bar = Arc::new(context.bar());
    bar.stage("index");
    let index = vault.load_index(&*bar).await;
    let index = match index {
        Ok(index) => index,
        Err(_) => {
            // A restore goes on past damage: what the readable part of the index names can be had.
            let loaded = vault.load_index_past_damage(&*bar).await.map_err(Failure::of)?;
            for (id, error) in &loaded.damaged {
                context.out.warn(&format!(
                    "index file {} cannot be read: failed to {}",
                    id.short(),
                    super::error::chain(error)
                ));
            }
            loaded.index
        }
    };
    let done = restore::run(&vault, &index, found.snapshot.tree, options, bar.clone(), context.stop.cancel()).await;
    bar.done();
    let done = done.map_err(failure)?;
    let s = &done.summary;
    if !(args.include.is_empty() || s.files + s.dirs + s.others > 0) && done.status == Status::Complete {
        return Err(Failure::plain("nothing in the snapshot fits what is to be included; nothing was restored").hint(
            "patterns follow the rules of .gitignore; `drctl find PATTERN` and `drctl ls SNAPSHOT` show what there is",
        ));
    }
    let way = Way { vault: vault.store().url(), target: &target, rehearsed: args.dry_run };
    show(&done, &found, &way, context)?;
    Ok(match done.status {
        Status::Complete => Exit::Done,
        Status::Partial => Exit::Partial,
    })
}

/// What was typed: a snapshot, or a plan, whose newest snapshot is meant. A plan that is configured goes before an id that
/// begins like its name ("db").
fn wanted(text: &str, is_plan: impl Fn(&str) -> bool) -> Result<(Spec, Option<&str>), Failure> {
    let (plan, path) = text.split_once(':').unwrap_or((text, ""));
    if !is_plan(plan)
        && let Ok(spec) = text.parse()
    {
        return Ok((spec, None));
    }
    let is_name = !plan.is_empty() && plan.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !is_name {
        return pick::spec(text).map(|spec| (spec, None));
    }
    Ok((Spec { which: Which::Latest, path: path.to_owned() }, Some(plan)))
}

/// The vaults that a plan is copied to, but for the one that is looked into.
fn copies<'c>(config: &'c Config, plan: &str, but: &Target) -> Vec<&'c str> {
    let copies = config.plans.get(plan).map(|plan| plan.copies.as_slice()).unwrap_or_default();
    copies
        .iter()
        .map(|copy| copy.vault.as_str())
        .filter(|name| but.name.as_ref().is_none_or(|but| but.as_str() != *name))
        .collect()
}

/// How many ranges are fetched at the same time.
pub(crate) fn workers(vault: &Vault) -> usize {
    if vault.store().is_near() { WORKERS_LOCAL } else { WORKERS_REMOTE }
}

fn usage(error: RestoreError) -> Failure {
    Failure::of(error).exits(Exit::Usage)
}

fn failure(error: RestoreError) -> Failure {
    match error {
        RestoreError::NotEmpty { .. } => Failure::of(error).exits(Exit::Usage).hint(
            "choose an empty folder, or let what differs be overwritten with --overwrite (try it with --dry-run first)",
        ),
        RestoreError::MirrorOfSelection => usage(error).hint("leave out --delete, or --include and --exclude"),
        RestoreError::NoSuchPath { ref path } => {
            let shown = "`drctl ls SNAPSHOT` shows what there is";
            match std::path::absolute(path) {
                Ok(absolute) if path.is_relative() => Failure::of(error)
                    .hint(format!("paths in a snapshot begin at the root, as {} does; {shown}", absolute.display())),
                Ok(_) | Err(_) => Failure::of(error).hint(shown),
            }
        }
        RestoreError::Target { .. } => {
            Failure::of(error).hint("name a folder, or one that can be made, where you may write: --to DIR")
        }
        RestoreError::Cancelled => Failure::of(error).exits(Exit::Interrupted),
        RestoreError::Vault(_) | RestoreError::Pattern { .. } => Failure::of(error),
    }
}

/// From where to where.
struct Way<'a> {
    vault: &'a str,
    target: &'a Path,
    rehearsed: bool,
}

fn show(done: &Outcome, from: &SnapshotFile, way: &Way<'_>, context: &Context) -> Result<(), Failure> {
    let (s, rehearsed) = (&done.summary, way.rehearsed);
    let document = json!({
        "snapshot": from.id,
        "time": from.snapshot.time,
        "paths": from.snapshot.paths,
        "problems_of_backup": from.snapshot.problems,
        "vault": way.vault,
        "target": way.target,
        "dry_run": rehearsed,
        "status": done.status,
        "summary": s,
        "problems": done.problems,
    });
    context.out.result(&document, |out| {
        let bytes = |count: u64| ByteSize(count).to_string();
        let [restored, written, fetched] = match rehearsed {
            true => ["would restore", "would write", "fetch"],
            false => ["restored", "wrote", "fetched"],
        };
        let (id, when) = (from.id.short(), time::show(from.snapshot.time, context.now().time_zone()));
        writeln!(out, "snapshot {id} of {when}, of {}", escape::text(&from.snapshot.paths.join(", ")))?;
        writeln!(out, "from {} to {}", escape::text(way.vault), escape::name(way.target.as_os_str().as_bytes()))?;
        let files = match s.files_lost {
            0 => s.files.to_string(),
            lost => format!("{} of {}", s.files.saturating_sub(lost), s.files),
        };
        writeln!(out, "{restored} {files} files, {} folders, {} others, {}", s.dirs, s.others, bytes(s.bytes))?;
        if s.files_unchanged > 0 || s.bytes_unchanged > 0 {
            writeln!(out, "there already: {} files whole, {} in all", s.files_unchanged, bytes(s.bytes_unchanged))?;
        }
        if s.deleted > 0 {
            writeln!(
                out,
                "{} {} entries that the snapshot does not have",
                if rehearsed { "would delete" } else { "deleted" },
                s.deleted
            )?;
            for path in s.would_delete.iter().take(NAMED) {
                writeln!(out, "  {}", escape::text(path))?;
            }
            if s.would_delete.len() > NAMED {
                writeln!(out, "  ... (--json names up to a thousand)")?;
            }
        }
        let free = s.bytes_free.map_or_else(String::new, |free| format!(" ({} are free there)", bytes(free)));
        writeln!(
            out,
            "{written} {}{free}, {fetched} {}{} {}",
            bytes(s.bytes_written),
            bytes(s.bytes_fetched),
            if rehearsed { "; looked through in" } else { ", in" },
            seconds(s.millis)
        )?;
        asked(out, &s.requests, s.requests_per_terabyte)?;
        if !done.problems.is_empty() {
            problems(out, done.problems.iter().map(|p| (p.what.as_str(), p.why.as_str())))?;
        }
        if s.files_lost > 0 {
            let stand = if rehearsed { "would stand" } else { "stands" };
            writeln!(
                out,
                "what is not whole {stand} there all the same, with zeros or nothing for what is lost; a copy of the vault or \
                 an older snapshot may have it (--vault COPY, --at TIME), or heals it (`drctl check --read-data --heal-from COPY`)"
            )?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_plan_goes_before_an_id_that_begins_like_its_name() {
        let typed = |text: &'static str| wanted(text, |name| name == "db").ok();
        let of_plan = |path: &str, plan| Some((Spec { which: Which::Latest, path: path.to_owned() }, Some(plan)));
        assert_eq!(typed("db"), of_plan("", "db"));
        assert_eq!(typed("db:/etc"), of_plan("/etc", "db"));
        assert_eq!(typed("orders"), of_plan("", "orders"), "another host may have configured it");
        assert_eq!(typed("dbe"), Some((Spec { which: Which::Id("dbe".to_owned()), path: String::new() }, None)));
        assert_eq!(typed("latest"), Some((Spec { which: Which::Latest, path: String::new() }, None)));
        assert!(typed("no name!").is_none());
    }
}
