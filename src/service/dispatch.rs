//! Which plans run now: asks the schedule planner over recorded runs, records what was missed, claims what is due.
//!
//! It takes no input but the catalog and the clock, so that a heartbeat, a restart and a person asking all decide alike.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::error::ServiceError;
use super::host::Service;
use super::job::{Claimed, INTERRUPTED, Job};
use crate::catalog::{RunRow, RunState};
use crate::config::{Plan, PlanName};
use crate::record::entry::MissedDue;
use crate::record::{Draft, MissReason, Status, Work};
use crate::schedule::plan::{self as planner, Decision, Missed, PlanFacts, Running};

/// A run that was stopped or cut off is made up for at once, but not more often than this in a row: were it the run that
/// brings the machine down, the machine would never come up again.
const REVIVALS: usize = 3;

/// What was found to be due.
#[derive(Debug, Default)]
pub struct Dispatched {
    /// Runs to execute now, longest overdue first.
    pub claimed: Vec<Claimed>,
    /// Instants that were recorded as missed.
    pub missed: Vec<Missed>,
    /// The next instant of any plan.
    pub next: Option<Timestamp>,
}

impl Service {
    /// Decides for all plans, records what was missed and claims what is due.
    ///
    /// A crash after a miss was recorded leaves the run due, and its carried tiers recorded.
    pub fn dispatch(&self) -> Result<Dispatched, ServiceError> {
        self.recover()?;
        let mut dispatched = Dispatched::default();
        loop {
            let decision = self.decide()?;
            for ahead in &decision.ahead {
                let (plan, last) = (&ahead.plan, ahead.last.to_string());
                tracing::error!(
                    plan,
                    last,
                    "the clock is behind the plan's newest run; nothing of it is due until then"
                );
            }
            self.record_missed(&decision.missed)?;
            dispatched.missed.extend(decision.missed.iter().cloned());
            for due in &decision.due {
                let (name, _) = self.plan(&due.plan)?;
                dispatched.claimed.extend(self.claim(Job::from((name, due.clone())))?);
            }
            dispatched.next = decision.next_due();
            // What was recorded moves the planner on: this ends.
            if decision.unfinished.is_empty() {
                break;
            }
        }
        for job in self.revivals()? {
            dispatched.claimed.extend(self.claim(job)?);
        }
        Ok(dispatched)
    }

    /// What the planner decides now. Changes nothing but the catalog's note of when a plan was first seen.
    pub fn decide(&self) -> Result<Decision, ServiceError> {
        let now = self.env.clock.now();
        let mut histories = Vec::new();
        for (name, plan) in &self.config.plans {
            let Some(schedule) = &plan.schedule else { continue };
            self.catalog.see_plan(name.as_str(), now)?;
            histories.push((name, schedule, self.catalog.history(self.host(), name.as_str())?));
        }
        let facts: Vec<PlanFacts<'_>> = histories
            .iter()
            .map(|(name, schedule, history)| PlanFacts {
                plan: name.as_str(),
                schedule,
                since: history.first_seen.unwrap_or(now),
                last: history.last_due,
                running: history.running_since.map(|started| Running { started }),
                carried: &history.carried,
            })
            .collect();
        Ok(planner::schedule(now, &facts))
    }

    /// One record for each plan and reason.
    fn record_missed(&self, missed: &[Missed]) -> Result<(), ServiceError> {
        let mut groups: BTreeMap<(&str, MissReason), Vec<MissedDue>> = BTreeMap::new();
        for miss in missed {
            let due = MissedDue { due: miss.due, tiers: miss.tiers.clone() };
            groups.entry((&miss.plan, miss.reason)).or_default().push(due);
        }
        let now = self.env.clock.now();
        for ((plan, reason), dues) in groups {
            let (name, configured) = self.plan(plan)?;
            tracing::warn!(plan, ?reason, count = dues.len(), "instants were missed");
            self.record(
                configured.vault.as_str(),
                Draft {
                    id: self.recorder.run_id(),
                    plan: Some(name.to_string()),
                    due: None,
                    tiers: Vec::new(),
                    started: now,
                    finished: now,
                    status: Status::Ok,
                    work: Work::Missed { dues, reason },
                    figures: BTreeMap::new(),
                    problems: Vec::new(),
                },
            )?;
        }
        Ok(())
    }

    /// Runs that make up for those that were stopped or cut off.
    fn revivals(&self) -> Result<Vec<Job>, ServiceError> {
        let mut jobs = Vec::new();
        for (name, plan) in &self.config.plans {
            if self.needs_revival(name, plan)? {
                let tiers = self.catalog.history(self.host(), name.as_str())?.carried;
                jobs.push(Job { plan: name.clone(), due: None, tiers });
            }
        }
        Ok(jobs)
    }

    fn needs_revival(&self, name: &PlanName, plan: &Plan) -> Result<bool, ServiceError> {
        if plan.schedule.is_none() {
            return Ok(false);
        }
        let recent = self.catalog.recent_runs(Some(name.as_str()), 50)?;
        let interrupted = recent
            .iter()
            .filter(|run| run.kind == "backup" && run.host == self.host())
            .take_while(|run| is_interrupted(run))
            .count();
        Ok((1..=REVIVALS).contains(&interrupted))
    }
}

fn is_interrupted(run: &RunRow) -> bool {
    match run.state {
        RunState::Ended { status: Status::Failed, .. } => run.figures.get(INTERRUPTED) == Some(&1),
        RunState::Ended { status: Status::Ok | Status::Partial, .. } | RunState::Running => false,
    }
}
