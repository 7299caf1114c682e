//! A year of schedule: every day the calendar is turned, the data changes, and the service makes a round.

use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{ToSpan, Zoned};
use serde::Serialize;

use super::{Stage, Teller, data, succeeded};
use crate::cli::context::Context;
use crate::cli::error::Failure;
use crate::config::Tier;
use crate::monitor::Monitor;
use crate::record::Status;
use crate::units::ByteSize;

/// How long after the plans are due the service makes its round.
const LATE_SECONDS: i32 = 5;

/// What the year came to.
#[derive(Debug, Default, Serialize)]
pub(super) struct Year {
    /// Simulated days.
    pub(super) days: u64,
    /// Snapshots made.
    pub(super) snapshots: u64,
    /// Snapshots copied to the other region.
    pub(super) copied: i64,
    /// Snapshots that retention dropped, in both.
    pub(super) dropped: i64,
    /// Bytes that prune freed, in both.
    pub(super) freed_bytes: i64,
    /// Times that everything was read back.
    pub(super) read_back: u64,
    /// Snapshots of the files that are left, by the first tier that each serves.
    pub(super) daily: usize,
    pub(super) weekly: usize,
    pub(super) monthly: usize,
    /// Bytes of the first vault at the end.
    pub(super) vault_bytes: u64,
    /// What backups read, all days added up.
    pub(super) protected_bytes: u64,
}

/// Runs the schedule. `None`: the user asked to stop.
pub(super) async fn run(stage: &Stage, days: u16, context: &Context, tell: &Teller) -> Result<Option<Year>, Failure> {
    tell.step(&format!("{days} days of schedule, on a simulated calendar"))?;
    let bar = Arc::new(context.bar());
    bar.stage("days");
    bar.total(u64::from(days), 0);
    let mut year = Year { days: u64::from(days), ..Year::default() };
    // The first day is the next on which the plans are due: today, until half past one.
    let now = stage.service.env().clock.now().to_zoned(TimeZone::UTC);
    let midnight = now.checked_sub(1.hours().minutes(30).seconds(LATE_SECONDS)).and_then(|then| then.start_of_day());
    let midnight: Zoned = midnight.map_err(|error| Failure::because("failed to read the calendar", error))?;
    for day in 1..=days {
        if context.stop.is_requested() {
            return Ok(None);
        }
        let due = midnight.checked_add(i32::from(day).days().hours(1).minutes(30).seconds(LATE_SECONDS));
        let due = due.map_err(|error| Failure::because("failed to turn the calendar", error))?.timestamp();
        stage.turn_to(due)?;
        data::work(&stage.files(), u64::from(day))
            .map_err(|error| Failure::because("failed to change the demo's files", error))?;
        let tick = Box::pin(stage.service.tick()).await.map_err(Failure::of)?;
        if tick.runs.len() != 2 || !tick.missed.is_empty() {
            let (runs, missed) = (tick.runs.len(), tick.missed.len());
            return Err(Failure::plain(format!("day {day} had {runs} runs and {missed} misses; two runs were due")));
        }
        for ran in &tick.runs {
            succeeded(ran)?;
            year.snapshots += 1;
            year.protected_bytes += ran.summary.as_ref().map_or(0, |summary| summary.bytes_total);
        }
        if let Some(bad) = tick.steps.iter().find(|step| step.status != Some(Status::Ok)) {
            return Err(Failure::plain(format!("day {day}: {} of vault {}: {}", bad.kind, bad.vault, bad.what)));
        }
        bar.advance(1, 0);
    }
    bar.done();
    count(&mut year, stage)?;
    let stored = ByteSize(year.vault_bytes);
    tell.line(&format!("  {} snapshots made, {} copied to region-b", year.snapshots, year.copied))?;
    tell.line(&format!(
        "  {} dropped by retention in both regions, {} freed by prune",
        year.dropped,
        ByteSize(year.freed_bytes.max(0).unsigned_abs())
    ))?;
    tell.line(&format!(
        "  left of the files: {} daily, {} weekly, {} monthly snapshots",
        year.daily, year.weekly, year.monthly
    ))?;
    tell.line(&format!("  vault primary holds all of it in {stored}; read back whole {} times", year.read_back))?;
    Ok(Some(year))
}

fn count(year: &mut Year, stage: &Stage) -> Result<(), Failure> {
    let catalog = stage.service.catalog();
    for run in catalog.recent_runs(None, u32::MAX).map_err(Failure::of)? {
        let figure = |name: &str| run.figures.get(name).copied().unwrap_or(0);
        match run.kind.as_str() {
            "replicate" => year.copied += figure("copied_count"),
            "retention" => year.dropped += figure("dropped_count"),
            "prune" => year.freed_bytes += figure("freed_bytes"),
            "verify" if run.vault == "primary" => year.read_back += 1,
            _ => {}
        }
    }
    let left = catalog.snapshots("primary", stage.service.host(), "files").map_err(Failure::of)?;
    let serving = |tier: Tier| left.iter().filter(|row| row.listed.tiers.contains(&tier)).count();
    (year.daily, year.weekly, year.monthly) = (serving(Tier::Daily), serving(Tier::Weekly), serving(Tier::Monthly));
    year.vault_bytes = data::size(&stage.path("region-a"));
    Ok(())
}
