//! What in a configuration cannot come true.
//!
//! Pure: it looks at nothing but the configuration, so it cannot say whether a vault answers. Refused are:
//!
//! - objectives that no surviving vault could meet (`promise`),
//! - tiers that nothing schedules, scheduled tiers that nothing keeps, times that daylight saving moves without the plan
//!   saying that this is meant, schedules that never run (`timing`),
//! - two vaults at one URL, since they could be pruned in two ways, and copies that are none (`places`).
//!
//! Two plans may share a vault: retention belongs to a plan's own snapshots, pruning to the vault.

mod places;
mod promise;
mod timing;

use jiff::Timestamp;

use super::complaint::{Finding, Severity};
use super::name::PlanName;
use super::plan::Plan;
use super::{Config, Place};

/// All findings, in the order of files and lines. Those that are errors mean that the configuration must not be used.
pub fn check(config: &Config) -> Vec<Finding> {
    let mut check = Checks { config, findings: Vec::new() };
    check.vaults();
    for (name, plan) in &config.plans {
        let subject = Subject { path: format!("plan.{name}"), name, plan };
        check.copies(&subject);
        check.timing(&subject);
        check.promise(&subject);
    }
    let mut findings = check.findings;
    let key = |place: &Option<Place>| place.as_ref().map(|place| (place.file.clone(), place.line, place.column));
    findings.sort_by_key(|finding| key(&finding.place));
    findings
}

/// The day from which calendars are looked at: any day does, since what is looked for recurs every year, and a fixed one
/// gives the same answer today and tomorrow.
const SINCE: Timestamp = Timestamp::constant(1_767_225_600, 0);

struct Checks<'a> {
    config: &'a Config,
    findings: Vec<Finding>,
}

/// The plan that is looked at.
struct Subject<'a> {
    path: String,
    name: &'a PlanName,
    plan: &'a Plan,
}

impl Checks<'_> {
    fn add(&mut self, severity: Severity, path: &str, what: String, fix: impl Into<String>) {
        let place = self.config.places.find(path);
        self.findings.push(match severity {
            Severity::Error => Finding::error(place, what, fix),
            Severity::Warning => Finding::warning(place, what, fix),
        });
    }

    fn error(&mut self, path: &str, what: String, fix: impl Into<String>) {
        self.add(Severity::Error, path, what, fix);
    }
}
