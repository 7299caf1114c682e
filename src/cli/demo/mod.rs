//! `drctl demo`: the whole loop on local folders, by the very code of the service.
//!
//! Only the calendar is simulated: every day of the year is a real snapshot of data that really changed, retention and
//! prune really delete, copies really copy, and the first region is really removed before the drill. Durations are real.
//! Everything but the report lies in one temporary folder, which goes when the demo ends, also when it fails.

mod data;
mod year;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::args::demo::Demo;
use super::context::Context;
use super::drill::write_page;
use super::drilled;
use super::error::Failure;
use super::exit::Exit;
use super::output::{Format, Output, Paint};
use crate::backup::Threads;
use crate::clock::{Calendar, Clock, Env};
use crate::config::{self, Tier};
use crate::monitor::{Cancel, Silent};
use crate::objective::Disaster;
use crate::record::{Status, TimeKind};
use crate::service::drills::Order;
use crate::service::secret::SharedKey;
use crate::service::{Job, Ran, Service, Setup};
use crate::store::Store;
use crate::units::ByteSize;
use crate::vault::key::{KdfCost, Secret};
use crate::vault::{CacheMode, InitOptions, Vault, whoami};
use data::Application;

/// The demo's configuration: two vaults that stand for two regions, two sources, one promise.
const CONFIG: &str = include_str!("drctl.toml");

/// Everything that the demo made, all of it beneath one folder.
struct Stage {
    root: TempDir,
    calendar: Arc<Calendar>,
    service: Service,
    application: Application,
}

impl Stage {
    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn files(&self) -> PathBuf {
        self.path("files")
    }

    /// Turns the calendar, and waits until the application has written a row at the new time.
    fn turn_to(&self, when: Timestamp) -> Result<(), Failure> {
        self.calendar.turn_to(when);
        if self.application.wait_for(when) {
            Ok(())
        } else {
            Err(Failure::plain("the demo's database cannot be written"))
        }
    }
}

/// Runs the command.
pub(crate) async fn run(args: Demo, context: &Context) -> Result<Exit, Failure> {
    let tell = Teller { out: context.out };
    let begun = context.env.clock.boot();
    let cancel = context.stop.cancel();
    let stage = set(&args, context, &tell, cancel.clone()).await?;
    first_backups(&stage, &tell).await?;
    let Some(year) = year::run(&stage, args.days, context, &tell).await? else { return Ok(Exit::Interrupted) };
    let rows = lose(&stage, &tell).await?;

    tell.step("Drill: recover from region-b alone, by the runbook, into a sandbox")?;
    let (plan, _) = stage.service.plan("files").map_err(Failure::of)?;
    let primary = stage.service.config().vaults.keys().find(|name| name.as_str() == "primary").cloned();
    let order = Order {
        lost: primary.into_iter().collect(),
        chosen: "drawn from the id of the last snapshot".to_owned(),
        ..Order::of(plan.clone(), Disaster::Region)
    };
    let drilled = Box::pin(stage.service.drill(order)).await.map_err(Failure::of)?;
    let report = place(args.report.as_deref(), &drilled.evidence)?;
    let took = crate::units::Span::round_up(context.env.clock.boot() - begun);
    let document = json!({
        "source": { "files": stage.files(), "rows": rows },
        "year": year,
        "evidence": drilled.evidence,
        "verdict": drilled.evidence.headline(),
        "report": report,
        "took_ms": u64::try_from(took.duration().as_millis()).unwrap_or(u64::MAX),
    });
    context.out.result(&document, |out| {
        writeln!(out)?;
        drilled::show(&drilled.evidence, context.out, out)?;
        writeln!(out, "\nThe report is in {}", report.display())?;
        let seconds = took.duration().as_secs();
        writeln!(
            out,
            "Everything else was removed. It took {seconds} s; the dates are simulated, the durations are not."
        )
    })?;
    stage.application.stop().map_err(|error| Failure::because("failed to write the demo's database", error))?;
    stage.root.close().map_err(|error| Failure::because("failed to remove what the demo made", error))?;
    Ok(drilled::exit(&drilled.evidence))
}

/// Says what happens, as it happens, to people; with `--json` there is one document at the end.
struct Teller {
    out: Output,
}

impl Teller {
    fn step(&self, what: &str) -> Result<(), Failure> {
        self.line(&format!("\n{}", self.out.paint(Paint::Bold, what)))
    }

    fn line(&self, text: &str) -> Result<(), Failure> {
        if self.out.format() == Format::Json {
            return Ok(());
        }
        let mut out = self.out.stdout();
        writeln!(out, "{text}").and_then(|()| out.flush()).map_err(Failure::output)
    }
}

/// Copies the folder, starts the application, makes both vaults, opens the service over them.
async fn set(args: &Demo, context: &Context, tell: &Teller, cancel: Cancel) -> Result<Stage, Failure> {
    let failed = |what: &str| {
        let what = format!("failed to {what}");
        move |error: std::io::Error| Failure::because(what, error)
    };
    let folder = match &args.path {
        Some(path) => path.clone(),
        None => data::candidate()
            .ok_or_else(|| Failure::usage("no folder was found to show this on").hint("name one with --path DIR"))?,
    };
    if !folder.is_dir() {
        return Err(Failure::usage(format!("{} is not a folder", folder.display())).hint("name one with --path DIR"));
    }
    let root = tempfile::Builder::new().prefix("drctl-demo-").tempdir_in(data::scratch());
    let root = root.map_err(failed("make a temporary folder"))?;
    let copied = data::copy_folder(&folder, &root.path().join("files")).map_err(failed("copy the folder"))?;
    let calendar = Arc::new(Calendar::over(context.env.clock.clone()));
    let env = Env { clock: calendar.clone(), random: context.env.random.clone() };
    let database = root.path().join("orders.db");
    let application = Application::start(&database, calendar.clone())
        .map_err(|error| Failure::because("failed to make the demo's database", error))?;
    let password = hex::encode(env.random_bytes::<16>());
    for key in ["primary.key", "copy.key"] {
        let path = root.path().join(key);
        fs::write(&path, &password).map_err(failed("write a key"))?;
    }
    let text = data::quoted(root.path()).ok_or_else(|| {
        Failure::usage("the folder for temporary files has a name that is not UTF-8").hint("set TMPDIR to another one")
    })?;
    let text = text.trim_matches(['"', '\'']);
    let config = CONFIG.replace("ROOT", text).replace("INSIDE", text.trim_start_matches('/'));
    let config = config::parse(&root.path().join("drctl.toml"), &config).map_err(Failure::of)?;
    let mut chunker = None;
    for name in ["primary", "copy"] {
        let Some(vault) = config.vaults.get(name) else { continue };
        let store = Store::open(&vault.url, &crate::store::OpenOptions::default()).await.map_err(Failure::of)?;
        let options = InitOptions { same_chunks_as: chunker, cost: KdfCost::Cheap, ..InitOptions::default() };
        let made = Vault::init(store, &Secret::new(password.as_bytes()), &options, &env).await.map_err(Failure::of)?;
        chunker = Some(*made.chunker());
    }
    let setup = Setup {
        config,
        state: root.path().join("state"),
        host: whoami::hostname(),
        username: whoami::username(),
        time: TimeKind::Simulated,
        env,
        cache: CacheMode::At(root.path().join("state/cache")),
        shared_key: SharedKey::Refused,
        threads: Threads::per_processor(),
    };
    let service = Service::open(setup, Arc::new(Silent), cancel).map_err(Failure::of)?;
    let left_out = if copied.left_out { ", a part of it" } else { "" };
    tell.line(&format!("{}", context.out.paint(Paint::Bold, "What there is to lose")))?;
    tell.line(&format!(
        "  a copy of {}: {} files, {}{left_out}",
        super::escape::text(&folder.display().to_string()),
        copied.files,
        ByteSize(copied.bytes)
    ))?;
    tell.line(&format!("  a live SQLite database, written to every {} ms from now on", data::BEAT.as_millis()))?;
    tell.line("  vault primary stands for region-a, vault copy for region-b; each has a key of its own")?;
    tell.line(&format!("  all of it beneath {}", super::escape::text(&root.path().display().to_string())))?;
    Ok(Stage { root, calendar, service, application })
}

/// Backs up both plans by hand, changes something, and backs up again.
async fn first_backups(stage: &Stage, tell: &Teller) -> Result<(), Failure> {
    tell.step("Back up, change something, back up again")?;
    for round in 0..2 {
        if round > 0 {
            data::work(&stage.files(), 0)
                .map_err(|error| Failure::because("failed to change the demo's files", error))?;
        }
        for plan in ["files", "database"] {
            let (name, _) = stage.service.plan(plan).map_err(Failure::of)?;
            let job = Job { plan: name.clone(), due: None, tiers: vec![Tier::Daily] };
            let ran = Box::pin(stage.service.run(job)).await.map_err(Failure::of)?;
            let ran = ran.ok_or_else(|| Failure::plain("a backup by hand was taken for one of the schedule"))?;
            succeeded(&ran)?;
            if let Some(done) = &ran.summary {
                tell.line(&format!(
                    "  {plan:<9} {:>10} in {} files, {:>10} new, {:>10} stored, in {} ms",
                    ByteSize(done.bytes_total).to_string(),
                    done.files_new + done.files_changed + done.files_unmodified,
                    ByteSize(done.bytes_added).to_string(),
                    ByteSize(done.bytes_uploaded).to_string(),
                    done.millis
                ))?;
            }
        }
    }
    Ok(())
}

fn succeeded(ran: &Ran) -> Result<(), Failure> {
    match ran.status {
        Status::Ok => Ok(()),
        Status::Partial | Status::Failed => {
            let why: Vec<String> = ran.problems.iter().map(|it| format!("{}: {}", it.what, it.why)).collect();
            Err(Failure::plain(format!("a backup of plan {} was not complete", ran.plan)).details(why))
        }
    }
}

/// Loses the first region: at an instant that nobody chose, all of its vault. Returns the rows that had been written.
async fn lose(stage: &Stage, tell: &Teller) -> Result<u64, Failure> {
    let (_, plan) = stage.service.plan("files").map_err(Failure::of)?;
    let rows = stage.service.catalog().snapshots(plan.vault.as_str(), stage.service.host(), "files");
    let last = rows.map_err(Failure::of)?.last().map(|row| row.listed.id.to_string()).unwrap_or_default();
    let draw = Sha256::digest(&last);
    let draw = u64::from_be_bytes(draw[..8].try_into().expect("a digest has 32 bytes"));
    let after = SignedDuration::from_secs(i64::try_from(600 + draw % (22 * 3600)).unwrap_or(600));
    let when = stage
        .calendar
        .now()
        .checked_add(after)
        .map_err(|error| Failure::because("failed to turn the calendar", error))?;
    stage.turn_to(when)?;
    let primary = stage.path("region-a");
    let bytes = data::size(&primary);
    fs::remove_dir_all(&primary).map_err(|error| Failure::because("failed to lose region-a", error))?;
    tell.step("Lose region-a")?;
    tell.line(&format!(
        "  at {} (simulated, drawn by lot) vault primary is removed, all {} of it",
        when.strftime("%Y-%m-%d %H:%M UTC"),
        ByteSize(bytes)
    ))?;
    Ok(stage.application.rows())
}

/// Writes the report where the user wants it, or where it is in nobody's way.
fn place(wanted: Option<&Path>, evidence: &crate::drill::evidence::Evidence) -> Result<PathBuf, Failure> {
    if let Some(path) = wanted {
        write_page(path, evidence)?;
        return Ok(path.to_owned());
    }
    let kept = tempfile::Builder::new().prefix("drctl-demo-report-").suffix(".html").tempfile();
    let kept = kept.and_then(|file| file.into_temp_path().keep().map_err(|error| error.error));
    let path = kept.map_err(|error| Failure::because("failed to make a place for the report", error))?;
    write_page(&path, evidence)?;
    Ok(path)
}
