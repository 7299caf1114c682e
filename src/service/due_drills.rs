//! Scheduled drills: which are due, and what becomes of those that never began.

use jiff::Timestamp;

use super::drills::Order;
use super::error::ServiceError;
use super::host::Service;
use super::steps::Step;
use crate::config::{Plan, PlanName};
use crate::drill::evidence::DrillEnding;
use crate::drill::plan as planner;
use crate::monitor::Problem;
use crate::objective::Disaster;
use crate::record::{Completeness, Status};
use crate::units::Span;
use crate::vault::chain;

/// Overdue drills that are recorded for one plan at a time: a service that was down for a year has one reason, not twelve.
const MOST_OVERDUE: usize = 3;

/// A drill that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueDrill {
    /// What is lost.
    pub disaster: Disaster,
    /// The instant that was drawn.
    pub at: Timestamp,
    /// What it was drawn from: an id that was on record before the period began.
    pub seed: String,
    /// Instants that passed without a drill, each a period before.
    pub overdue: Vec<Timestamp>,
}

impl Service {
    /// Does every drill that is due.
    pub(super) async fn drill_all(&self, steps: &mut Vec<Step>) {
        for (name, plan) in &self.config.plans {
            if self.cancel.is_cancelled() {
                return;
            }
            let mut push = |status, what| {
                let (plan, vault) = (Some(name.clone()), plan.vault.clone());
                steps.push(Step { kind: "drill", plan, vault, status, what });
            };
            let done = match self.due_drill(name) {
                Ok(None) => continue,
                Ok(Some(due)) => Box::pin(self.drill_due(name, plan, due)).await,
                Err(error) => Err(error),
            };
            match done {
                Ok((status, what)) => push(Some(status), what),
                Err(error) => {
                    let error = chain(&error);
                    tracing::error!(plan = %name, error, "the drill cannot be done");
                    push(None, error);
                }
            }
        }
    }

    async fn drill_due(&self, name: &PlanName, plan: &Plan, due: DueDrill) -> Result<(Status, String), ServiceError> {
        for missed in &due.overdue {
            self.record_overdue(name, plan, due.disaster, *missed).await?;
        }
        let chosen = format!("drawn for {} from the seed {}", due.at, due.seed);
        let drilled = Box::pin(self.drill(Order { chosen, ..Order::of(name.clone(), due.disaster) })).await?;
        Ok((
            drilled.evidence.status(),
            format!(
                "drilled the loss of the {} from vault {}: {}",
                due.disaster,
                drilled.vault,
                drilled.evidence.headline().name()
            ),
        ))
    }

    /// A scheduled drill that did not happen is a failed one.
    async fn record_overdue(
        &self,
        name: &PlanName,
        plan: &Plan,
        disaster: Disaster,
        missed: Timestamp,
    ) -> Result<(), ServiceError> {
        let order = Order::of(name.clone(), disaster);
        let way = self.way(name, plan, &order)?;
        let (id, number) = (self.recorder.run_id(), self.catalog.next_drill_number(name.as_str())?);
        let mut facts = self.facts(id, number, (name, plan), &order, &way)?;
        let why = format!("it was due at {missed} and never began");
        facts.problems.push(Problem { what: format!("drill {number} of plan {name}"), why });
        (facts.fail, facts.ending) = (None, DrillEnding::Overdue);
        self.conclude(facts, &way.choice.vault, self.env.clock.now()).await?;
        Ok(())
    }

    /// The drill of a plan that is due now. The scenarios come in turn; the instant is drawn from the last part of the
    /// period since the drill before, or since the plan's first complete snapshot.
    pub fn due_drill(&self, name: &PlanName) -> Result<Option<DueDrill>, ServiceError> {
        let (_, plan) = self.plan(name.as_str())?;
        let Some(policy) = plan.recover.as_ref().and_then(|recover| recover.drill.as_ref()) else { return Ok(None) };
        let last = self.catalog.drills(Some(name.as_str()), 1)?.into_iter().next();
        let since = match &last {
            Some(drill) => Some((drill.started, drill.id.to_string())),
            None => {
                let rows = self.catalog.snapshots(plan.vault.as_str(), self.host(), name.as_str())?;
                let first = rows.iter().find(|row| row.completeness == Completeness::Complete);
                first.map(|row| (row.listed.time, row.listed.id.to_string()))
            }
        };
        let Some((since, seed)) = since else { return Ok(None) };
        let now = self.env.clock.now();
        let apart = plan.schedule.as_ref().and_then(|schedule| schedule.longest_gap(since));
        let mut at = planner::due_at(since, policy.every, apart.unwrap_or(Span::from_hours(24)), &seed);
        if at > now {
            return Ok(None);
        }
        let mut overdue = Vec::new();
        while policy.every.after(at) <= now && policy.every.after(at) > at {
            overdue.push(at);
            at = policy.every.after(at);
        }
        let overdue = overdue.split_off(overdue.len().saturating_sub(MOST_OVERDUE));
        let turn = usize::try_from(last.map_or(0, |drill| drill.number)).unwrap_or(0);
        let count = policy.scenarios.len().max(1);
        let Some(disaster) = policy.scenarios.get(turn % count).copied() else { return Ok(None) };
        Ok(Some(DueDrill { disaster, at, seed, overdue }))
    }
}
