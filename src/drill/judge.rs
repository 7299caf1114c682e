//! Figures and verdicts, computed from the facts of a drill and from nothing else.
//!
//! Invariants: durations come from boot time and are rounded up; a missing instant fails; a step that was not exercised
//! makes the verdict partial at most; less than production's data or hardware is indicative at most; human wait is shown
//! and never deducted; whatever gives reason to distrust the measurement fails the drill.
//!
//! Checks run once each: the window for which they must stay green is zero, and the report says so.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::evidence::{Canary, DrillEnding, Facts, Phase};
use crate::objective::{self, Allowances, Disaster, Measured, Objective, Rpa, Rta, RtaExec, Verdict};
use crate::record::TimeKind;
use crate::runbook::outcome::{Cache, Moment, Restored, StepKind, StepRun};
use crate::runbook::plan::State;
use crate::units::Span;

/// Every number that a report shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// t_start: the first step began.
    pub start: Option<Moment>,
    /// t_data: the last byte was restored and verified.
    pub data: Option<Moment>,
    /// t_svc: the last critical step was green. `None`: one was not, or nothing was proven.
    pub service: Option<Moment>,
    /// RTA_exec: t_svc - t_start.
    pub executed: Option<RtaExec>,
    /// Declared times, by phase.
    pub allowances: Allowances,
    /// What is judged: RTA_exec and the allowances.
    pub recovery: Option<Rta>,
    /// t_svc - t_fail, as measured. In a drill it starts with the drill, not with an alarm.
    pub since_loss: Option<Rta>,
    /// W: time spent waiting for people. Part of RTA_exec.
    pub human_wait: Span,
    /// RTA_exec - W.
    pub machine: Option<Span>,
    /// t_cp: the oldest consistency point of the critical restores.
    pub consistency_point: Option<Timestamp>,
    /// Between the oldest and the newest of them.
    pub skew: Option<Span>,
    /// RPA: t_fail - t_cp.
    pub point: Option<Rpa>,
    /// The worst exposure in the period.
    pub worst_exposure: Option<Rpa>,
    /// Files restored.
    pub files: u64,
    /// Bytes restored.
    pub bytes: u64,
    /// Bytes fetched from the vault.
    pub fetched: u64,
    /// From the beginning of the first restore to the end of the last.
    pub restoring: Option<Span>,
    /// Bytes restored per second of that, rounded down.
    pub bytes_per_second: Option<u64>,
    /// Cold when every restore was.
    pub cache: Option<Cache>,
    /// Steps that ran to an end, good or bad.
    pub exercised: u64,
    /// All steps.
    pub steps: u64,
    /// Names of those that did not.
    pub missing: Vec<String>,
}

/// A reason to distrust what was measured. Any fails the drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Doubt {
    /// It did not come to its end.
    Ended {
        /// How it ended instead.
        ending: DrillEnding,
    },
    /// A step failed without which there is no recovery.
    StepFailed {
        /// The step.
        step: String,
        /// Why.
        why: String,
    },
    /// No critical check was green: what came back was not proven.
    Unproven,
    /// The canary does not agree with the consistency point.
    Canary {
        /// By how much.
        off: Span,
        /// What would have been fine.
        period: Span,
    },
    /// The plan names a canary, and none came back.
    NoCanary,
    /// The promises were made after the first step.
    LatePromise,
    /// Times of the world and of a simulation would have to be subtracted.
    MixedTimes,
    /// The worst exposure of the period ends before it begins.
    BadExposure,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended { ending } => f.write_str(match ending {
                DrillEnding::Completed => "the drill came to its end",
                DrillEnding::Cancelled => "the drill was cancelled",
                DrillEnding::Killed => "the drill was killed",
                DrillEnding::Overdue => "the drill was due and never began",
            }),
            Self::StepFailed { step, why } => write!(f, "step {step} failed: {why}"),
            Self::Unproven => f.write_str("no critical check was green: what came back was not proven"),
            Self::Canary { off, period } => {
                write!(f, "the canary and the consistency point are {off} apart, with one planted every {period}")
            }
            Self::NoCanary => f.write_str("no canary could be read from what came back"),
            Self::LatePromise => f.write_str("the objectives were not in force before the first step"),
            Self::MixedTimes => f.write_str("real and simulated times were mixed: the recovery point was not measured"),
            Self::BadExposure => f.write_str("the worst exposure of the period was not measured"),
        }
    }
}

/// A promise and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The kind of disaster.
    pub disaster: Disaster,
    /// What is promised.
    pub objective: Objective,
    /// `None`: this drill was of another kind of disaster.
    pub verdict: Option<Verdict>,
}

/// The verdict on a drill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Headline {
    /// Every step exercised at production's scale, within the objective.
    Pass,
    /// Within the objective, with less than production's data or hardware.
    Indicative,
    /// Within the objective as far as it was exercised.
    Partial,
    /// Missed, not measured, or not to be trusted.
    Fail,
    /// Measured, but nothing is promised for this kind of disaster.
    Unjudged,
}

impl Headline {
    /// Its name in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Indicative => "indicative",
            Self::Partial => "partial",
            Self::Fail => "fail",
            Self::Unjudged => "unjudged",
        }
    }
}

/// What follows from the facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// The verdict on the drill.
    pub headline: Headline,
    /// One for each promise.
    pub findings: Vec<Finding>,
    /// Reasons to distrust the measurement.
    pub doubts: Vec<Doubt>,
    /// The numbers.
    pub figures: Figures,
}

fn steps(facts: &Facts) -> &[StepRun] {
    facts.run.as_ref().map_or(&[], |run| &run.steps)
}

/// Computes every figure.
pub fn recompute(facts: &Facts) -> Figures {
    let steps = steps(facts);
    let start = steps.iter().filter_map(|step| step.started).min_by_key(|moment| moment.boot_nanos);
    let service = service(steps);
    let span = |from: Option<Moment>, to: Option<Moment>| to?.boot().checked_sub(from?.boot());
    let executed = start.zip(service).and_then(|(from, to)| RtaExec::between(from.boot(), to.boot()));
    let fail = facts.fail.as_ref().map(|loss| loss.at);
    let allowances = allowances(facts);
    let human_wait = steps.iter().fold(Span::ZERO, |sum, step| sum.saturating_add(step.waited));

    let restores: Vec<(&StepRun, &Restored)> =
        steps.iter().filter_map(|step| Some((step, step.restored.as_ref()?))).collect();
    let critical = restores.iter().filter(|(step, _)| step.critical && step.state == State::Done);
    let points: Vec<Timestamp> = critical.map(|(_, restored)| restored.consistent_to).collect();
    let is_comparable = fail.is_some_and(|fail| !mixes_times(facts, fail.time));
    let consistency_point = points.iter().min().copied();
    let ends = |kind: StepKind| steps.iter().filter(move |step| step.kind == kind).filter_map(|step| step.ended);
    let starts = steps.iter().filter(|step| step.kind == StepKind::Restore).filter_map(|step| step.started);
    let last_restored = ends(StepKind::Restore).max_by_key(|moment| moment.boot_nanos);
    let restoring = span(starts.min_by_key(|moment| moment.boot_nanos), last_restored);
    let sum = |of: fn(&Restored) -> u64| restores.iter().map(|(_, restored)| of(restored)).fold(0, u64::saturating_add);
    let bytes = sum(|restored| restored.bytes);
    let is_missing = |step: &&StepRun| !matches!(step.state, State::Done | State::Failed);
    let missing: Vec<String> = steps.iter().filter(is_missing).map(|step| step.id.clone()).collect();
    let all_restored = steps.iter().filter(|step| step.kind == StepKind::Restore && step.critical);
    Figures {
        start,
        data: last_restored.filter(|_| all_restored.clone().all(|step| step.state == State::Done)),
        service,
        executed,
        allowances,
        recovery: executed.map(|executed| executed.with(allowances)),
        since_loss: fail.zip(service).and_then(|(from, to)| Rta::between(from.boot(), to.boot())),
        human_wait,
        machine: executed.map(|it| Span::round_up(it.span().duration().saturating_sub(human_wait.duration()))),
        consistency_point,
        skew: consistency_point.zip(points.iter().max()).map(|(oldest, newest)| apart(oldest, *newest)),
        point: consistency_point
            .zip(fail)
            .filter(|_| is_comparable)
            .and_then(|(point, fail)| Rpa::between(point, fail.wall)),
        worst_exposure: facts.exposure.as_ref().and_then(|worst| Rpa::between(worst.point, worst.at)),
        files: sum(|restored| restored.files),
        bytes,
        fetched: sum(|restored| restored.fetched),
        restoring: restoring.map(Span::round_up),
        bytes_per_second: restoring.and_then(|took| per_second(bytes, took)),
        cache: restores.iter().map(|(_, restored)| restored.cache).reduce(|one, other| match (one, other) {
            (Cache::Cold, Cache::Cold) => Cache::Cold,
            (Cache::Warm, _) | (_, Cache::Warm) => Cache::Warm,
        }),
        exercised: (steps.len() - missing.len()) as u64,
        steps: steps.len() as u64,
        missing,
    }
}

/// When every critical step had ended well, a check among them.
fn service(steps: &[StepRun]) -> Option<Moment> {
    let critical = steps.iter().filter(|step| step.critical);
    if !critical.clone().all(|step| step.state == State::Done) || !is_proven(steps) {
        return None;
    }
    critical.map(|step| step.ended).collect::<Option<Vec<_>>>()?.into_iter().max_by_key(|moment| moment.boot_nanos)
}

fn is_proven(steps: &[StepRun]) -> bool {
    steps.iter().any(|step| step.critical && step.kind == StepKind::Check && step.state == State::Done)
}

fn allowances(facts: &Facts) -> Allowances {
    let mut sum = Allowances::default();
    for declared in &facts.allowances {
        let field = match declared.phase {
            Phase::Detect => &mut sum.detect,
            Phase::Decide => &mut sum.decide,
            Phase::Provision => &mut sum.provision,
            Phase::Switch => &mut sum.switch,
        };
        *field = field.saturating_add(declared.span);
    }
    sum
}

fn mixes_times(facts: &Facts, fail: TimeKind) -> bool {
    let restored = steps(facts).iter().filter_map(|step| step.restored.as_ref()).map(|restored| restored.time);
    restored.chain(facts.exposure.as_ref().map(|worst| worst.time)).any(|time| time != fail)
}

fn apart(one: Timestamp, other: Timestamp) -> Span {
    let span: SignedDuration = other.duration_since(one);
    Span::round_up(span.unsigned_abs())
}

fn per_second(bytes: u64, took: Duration) -> Option<u64> {
    let per = u128::from(bytes).checked_mul(1_000_000_000)?.checked_div(took.as_nanos())?;
    u64::try_from(per).ok()
}

/// Computes figures and verdicts.
pub fn judge(facts: &Facts) -> Judgement {
    let figures = recompute(facts);
    let doubts = doubts(facts, &figures);
    let measured = Measured {
        executed: figures.executed,
        point: figures.point,
        worst_exposure: figures.worst_exposure,
        skipped: figures.missing.clone(),
        scale: facts.scale,
    };
    let find = |promise: &super::evidence::Promise| Finding {
        disaster: promise.disaster,
        objective: promise.objective,
        verdict: (promise.disaster == facts.scenario.disaster)
            .then(|| objective::judge(promise.objective, figures.allowances, &measured)),
    };
    let findings: Vec<Finding> = facts.promises.iter().map(find).collect();
    let drilled = findings.iter().find_map(|finding| finding.verdict.as_ref());
    let headline = match drilled {
        _ if !doubts.is_empty() => Headline::Fail,
        None => Headline::Unjudged,
        Some(Verdict::Pass) => Headline::Pass,
        Some(Verdict::Indicative) => Headline::Indicative,
        Some(Verdict::Partial { .. }) => Headline::Partial,
        Some(Verdict::Fail { .. }) => Headline::Fail,
    };
    Judgement { headline, findings, doubts, figures }
}

fn doubts(facts: &Facts, figures: &Figures) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    match facts.ending {
        DrillEnding::Completed => {}
        ending @ (DrillEnding::Cancelled | DrillEnding::Killed | DrillEnding::Overdue) => {
            doubts.push(Doubt::Ended { ending });
        }
    }
    let steps = steps(facts);
    let failed = steps.iter().filter(|step| step.critical && step.state == State::Failed);
    doubts.extend(failed.map(|step| Doubt::StepFailed { step: step.id.clone(), why: step.said.clone() }));
    if !is_proven(steps) {
        doubts.push(Doubt::Unproven);
    }
    match (&facts.canary, figures.consistency_point) {
        (Some(Canary { period, newest: Some(newest) }), Some(point)) => {
            let (off, period) = (apart(point, *newest), *period);
            if off > period {
                doubts.push(Doubt::Canary { off, period });
            }
        }
        (Some(Canary { newest: None, .. }), Some(_)) => doubts.push(Doubt::NoCanary),
        (None, _) | (_, None) => {}
    }
    if figures.start.is_some_and(|start| facts.promised_since.boot_nanos > start.boot_nanos) {
        doubts.push(Doubt::LatePromise);
    }
    if facts.fail.as_ref().is_some_and(|loss| mixes_times(facts, loss.at.time)) {
        doubts.push(Doubt::MixedTimes);
    }
    if facts.exposure.is_some() && figures.worst_exposure.is_none() {
        doubts.push(Doubt::BadExposure);
    }
    doubts
}

#[cfg(test)]
mod tests;
