//! `drctl backup`: files, folders or standard input into a snapshot.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;

use super::args::backup::Backup;
use super::context::Context;
use super::error::Failure;
use super::exit::Exit;
use super::secret::Purpose;
use super::{backup_plans, escape, time};
use crate::backup::{self, Caches, Mode, Mounts, Outcome, ParentChoice, Source, Status, Stream, Threads};
use crate::record::{self, Draft, Recorder};
use crate::service::job::figures_of;
use crate::source::files::{Case, Excludes};
use crate::store::Requests;
use crate::units::ByteSize;
use crate::vault::whoami;

/// Runs the command.
pub(crate) async fn run(args: Backup, context: &Context) -> Result<Exit, Failure> {
    if !args.plans.is_empty() {
        return backup_plans::run(&args, context).await;
    }
    let source = source(&args)?;
    let excludes = Excludes::new(&args.exclude, &args.exclude_file, Case::Sensitive).map_err(Failure::of)?;
    let time = args.time.as_deref().map(|text| time::parse(text, &context.now())).transpose();
    let time = time.map_err(|error| Failure::usage(error.to_string()))?;
    let target = context.target()?;
    let vault = context.open_target(&target, Purpose::Write).await?;
    let started = context.env.clock.now();
    let parent = match (&args.parent, args.force) {
        (Some(prefix), _) => ParentChoice::Given(vault.find_snapshot(prefix).await.map_err(Failure::of)?.id),
        (None, true) => ParentChoice::None,
        (None, false) => ParentChoice::Latest,
    };
    let options = backup::Options {
        excludes,
        caches: if args.exclude_caches { Caches::Exclude } else { Caches::Keep },
        mounts: if args.one_file_system { Mounts::Stay } else { Mounts::Cross },
        tags: args.tag.into_iter().filter(|tag| !tag.is_empty()).collect(),
        host: args.host.unwrap_or_else(whoami::hostname),
        username: whoami::username(),
        time,
        parent,
        mode: if args.dry_run { Mode::Rehearse } else { Mode::Write },
        level: args.level,
        threads: Threads::per_processor(),
        retry_lock: context.lock_wait(),
        patience: args.hung_after.map_or(backup::PATIENCE, crate::units::Span::duration),
    };
    let bar = Arc::new(context.bar());
    let done = backup::run(&vault, source, options, bar.clone(), context.stop.cancel()).await;
    bar.done();
    let done = done.map_err(Failure::of)?;
    if done.snapshot.is_some() {
        context.record(&target, &vault, |recorder| account(&done, started, recorder)).await;
    }
    show(&done, context)?;
    Ok(match done.status {
        Status::Complete => Exit::Done,
        Status::Partial => Exit::Partial,
    })
}

/// What the run's record says: by it, `latest` knows the snapshot for one that a host of ours made.
fn account(done: &Outcome, started: Timestamp, recorder: &Recorder) -> Draft {
    Draft {
        id: recorder.run_id(),
        plan: None,
        due: None,
        tiers: Vec::new(),
        started,
        finished: done.summary.finished,
        status: match done.status {
            Status::Complete => record::Status::Ok,
            Status::Partial => record::Status::Partial,
        },
        work: record::Work::Backup { snapshot: done.snapshot },
        figures: figures_of(&done.summary),
        problems: done.problems.clone(),
    }
}

fn source(args: &Backup) -> Result<Source, Failure> {
    if args.stdin {
        let path = Path::new("/").join(args.stdin_name.trim_start_matches('/'));
        let reader: Box<dyn Read + Send> = Box::new(std::io::stdin());
        return Ok(Source::Stream(Stream { path, reader, finish: Box::new(|| Ok(())) }));
    }
    let mut paths = args.path.clone();
    for list in &args.files_from {
        paths.extend(listed(list)?);
    }
    let absolute = |path: &PathBuf| {
        std::path::absolute(path).map_err(|error| Failure::because(format!("failed to use the path {path:?}"), error))
    };
    paths.iter().map(absolute).collect::<Result<_, _>>().map(Source::Files)
}

/// The paths in a file, one on a line: any bytes but NUL and newline. Empty lines are passed over.
fn listed(file: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error| {
        Failure::because(format!("failed to read the list of paths {}", file.display()), error).exits(Exit::Usage)
    };
    let input: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(BufReader::new(std::fs::File::open(file).map_err(failed)?))
    };
    let lines = input.split(b'\n').map(|line| line.map_err(failed));
    let mut paths = Vec::new();
    for line in lines {
        let mut line = line?;
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if !line.is_empty() {
            paths.push(PathBuf::from(OsString::from_vec(line)));
        }
    }
    Ok(paths)
}

fn show(done: &Outcome, context: &Context) -> Result<(), Failure> {
    let s = &done.summary;
    let document = json!({
        "snapshot": done.snapshot,
        "parent": done.written.parent,
        "tree": done.written.tree,
        "time": done.written.time,
        "host": done.written.hostname,
        "paths": done.written.paths,
        "tags": done.written.tags,
        "status": done.status,
        "summary": s,
        "problems": done.problems,
    });
    context.out.result(&document, |out| {
        let bytes = |count: u64| ByteSize(count).to_string();
        match &done.snapshot {
            Some(id) => writeln!(out, "snapshot {} saved", id.short())?,
            None => writeln!(out, "rehearsed: nothing was written")?,
        }
        writeln!(out, "files     {} new, {} changed, {} unmodified", s.files_new, s.files_changed, s.files_unmodified)?;
        writeln!(out, "folders   {} new, {} changed, {} unmodified", s.dirs_new, s.dirs_changed, s.dirs_unmodified)?;
        writeln!(
            out,
            "content   {} in all, {} read, {} of it known already",
            bytes(s.bytes_total),
            bytes(s.bytes_read),
            bytes(s.bytes_deduplicated)
        )?;
        writeln!(out, "new       {}, {} once compressed and sealed", bytes(s.bytes_added), bytes(s.bytes_sealed))?;
        if s.packs_adopted > 0 {
            writeln!(out, "adopted   {} in {} packs of an interrupted run", bytes(s.bytes_adopted), s.packs_adopted)?;
        }
        let verb = if done.snapshot.is_some() { "uploaded" } else { "would upload" };
        writeln!(out, "{verb}  {} in {} packs, in {}", bytes(s.bytes_uploaded), s.packs_uploaded, seconds(s.millis))?;
        asked(out, &s.requests, s.requests_per_terabyte)?;
        if !done.problems.is_empty() {
            problems(out, done.problems.iter().map(|p| (p.what.as_str(), p.why.as_str())))?;
        }
        Ok(())
    })
}

/// What a server was asked, for people; nothing where there is none.
pub(crate) fn asked(out: &mut dyn Write, requests: &Requests, rate: Option<u64>) -> io::Result<()> {
    if requests.all() == 0 {
        return Ok(());
    }
    let rate = rate.map(|rate| format!(", at {rate} for a terabyte")).unwrap_or_default();
    let Requests { puts, gets, lists, deletes } = requests;
    writeln!(out, "requests  {}: {puts} put, {gets} get, {lists} list, {deletes} delete{rate}", requests.all())
}

/// How long something took, for people.
pub(crate) fn seconds(millis: u64) -> String {
    format!("{}.{:01} s", millis / 1000, millis % 1000 / 100)
}

/// How many problems are listed again at the end; all were printed when they happened.
const LISTED: usize = 20;

/// The problems of a partial run.
pub(crate) fn problems<'p>(
    out: &mut dyn Write,
    list: impl ExactSizeIterator<Item = (&'p str, &'p str)>,
) -> std::io::Result<()> {
    let count = list.len();
    writeln!(out, "PARTIAL: {count} problem{}", if count == 1 { "" } else { "s" })?;
    for (what, why) in list.take(LISTED) {
        writeln!(out, "  {}: {}", escape::text(what), escape::text(why))?;
    }
    if count > LISTED {
        writeln!(out, "  and {} more", count - LISTED)?;
    }
    Ok(())
}
