//! Carries a runbook out against a target folder.
//!
//! Steps whose needs are done run side by side; each ends by itself, by its timeout, or because the run was cancelled.
//! What a step did is written down with both clocks. Invariants: a step is *done* only when it ended well in its time; a
//! restore that lost anything has failed; what a failed or late step left running in its process group is killed.
//!
//! A crash leaves the target folder as it is: whoever starts the run owns it and tears it down. What a step that ended
//! well left running in the background is not ended here.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use futures::stream::{FuturesUnordered, StreamExt};

use super::check::{self, Ended, Place};
use super::outcome::{Ending, Moment, Restored, Run, StepKind, StepRun};
use super::plan::{Flaw, Graph, State};
use crate::clock::Env;
use crate::config::{Action, Criticality, RestoreStep, Runbook, Step};
use crate::monitor::{Cancel, Monitor};
use crate::record::TimeKind;
use crate::units::Span;

/// How often it is looked whether the operator asked to stop.
const LOOK: Duration = Duration::from_millis(100);
/// How long a restore may take to stop at a safe point before it is abandoned.
const GRACE: Duration = Duration::from_secs(30);

/// What a runbook cannot do by itself.
#[async_trait::async_trait]
pub trait Hands: Send + Sync {
    /// Restores beneath `into` and says what came back, or why nothing did. Stops at the next safe point when `cancel`
    /// says so. Goes on past damage: what is lost is in the problems of the answer.
    async fn restore(&self, step: &RestoreStep, into: &Path, cancel: &Cancel) -> Result<Restored, String>;
}

/// Where and under whose eyes a runbook runs.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    /// The folder that everything is restored beneath. It exists; steps find it in `DRCTL_SANDBOX`.
    pub target: &'a Path,
    /// Further variables for programs.
    pub variables: &'a [(String, String)],
    /// Clocks. Boot time must be real: durations are measured with it.
    pub env: &'a Env,
    /// Whose wall time the clock shows.
    pub time: TimeKind,
    /// Hears of each step that starts, and of what went wrong.
    pub monitor: &'a dyn Monitor,
    /// Stops the run.
    pub cancel: &'a Cancel,
}

/// Runs all steps that can be run. Fails only when the runbook's steps can have no order; then nothing was done.
pub async fn run(runbook: &Runbook, hands: &dyn Hands, setting: Setting<'_>) -> Result<Run, Vec<Flaw>> {
    let graph = Graph::of_runbook(runbook)?;
    let mut states = vec![State::Waiting; runbook.steps.len()];
    let mut runs: Vec<StepRun> = runbook.steps.iter().map(waiting).collect();
    let mut restored: Vec<(PathBuf, Restored)> = Vec::new();
    let mut running = FuturesUnordered::new();
    let mut ending = Ending::Completed;
    loop {
        if setting.cancel.is_cancelled() {
            for (state, step) in states.iter_mut().zip(&mut runs).filter(|(state, _)| **state == State::Waiting) {
                *state = State::Skipped;
                step.said = "the run was cancelled before".into();
                ending = Ending::Cancelled;
            }
        }
        let advance = graph.advance(&states);
        for skip in &advance.skip {
            states[skip.step] = State::Skipped;
            let cause = &runs[skip.because];
            let how = if states[skip.because] == State::Skipped { "was not exercised" } else { "failed" };
            runs[skip.step].said = format!("step {:?} {how}", cause.id);
        }
        for &at in &advance.start {
            states[at] = State::Running;
            setting.monitor.stage(runbook.steps[at].id.as_str());
            runs[at].started = Some(Moment::now(&*setting.env.clock, setting.time));
            let place = Place {
                target: setting.target.to_owned(),
                variables: setting.variables.to_vec(),
                restored: restored.clone(),
            };
            running.push(async move { (at, one(&runbook.steps[at], hands, place, setting).await) });
        }
        let Some((at, done)) = running.next().await else {
            if advance.over {
                break;
            }
            continue; // steps were skipped, which may free or skip others
        };
        let step = &mut runs[at];
        step.ended = Some(Moment::now(&*setting.env.clock, setting.time));
        states[at] = match done.ended {
            Ended::Done { proved, output } => {
                (step.said, step.output) = (proved, output);
                State::Done
            }
            Ended::Failed { why, output } => {
                let problem = crate::monitor::Problem { what: step.id.clone(), why: why.clone() };
                setting.monitor.problem(&problem);
                (step.said, step.output) = (why, output);
                State::Failed
            }
            Ended::NotExercised { why } => {
                step.said = why;
                State::Skipped
            }
        };
        if done.cancelled {
            ending = Ending::Cancelled;
        }
        if let (Some(back), Action::Restore(action)) = (&done.restored, &runbook.steps[at].action) {
            restored.push((action.into.clone(), back.clone()));
        }
        step.restored = done.restored;
    }
    for (run, state) in runs.iter_mut().zip(states) {
        run.state = state;
    }
    Ok(Run { steps: runs, ending })
}

fn waiting(step: &Step) -> StepRun {
    StepRun {
        id: step.id.as_str().to_owned(),
        kind: match step.action {
            Action::Restore(_) => StepKind::Restore,
            Action::Exec { .. } => StepKind::Exec,
            Action::Check(_) => StepKind::Check,
        },
        description: step.description.clone(),
        critical: step.criticality == Criticality::Critical,
        state: State::Waiting,
        started: None,
        ended: None,
        waited: Span::ZERO,
        said: String::new(),
        output: String::new(),
        restored: None,
    }
}

struct Done {
    ended: Ended,
    restored: Option<Restored>,
    cancelled: bool,
}

/// Runs one step within its time.
async fn one(step: &Step, hands: &dyn Hands, place: Place, setting: Setting<'_>) -> Done {
    let stop = Cancel::default();
    let mut work = pin!(act(step, hands, &place, &stop));
    let clock = &setting.env.clock;
    let limit = pin!(async {
        match select(clock.sleep(step.timeout.duration()), pin!(cancelled(setting))).await {
            Either::Left(_) => false,
            Either::Right(_) => true,
        }
    });
    let cancelled = match select(&mut work, limit).await {
        Either::Left(((ended, restored), _)) => return Done { ended, restored, cancelled: false },
        Either::Right((cancelled, _)) => cancelled,
    };
    let why = if cancelled { "it was cancelled".to_owned() } else { format!("it took longer than {}", step.timeout) };
    stop.cancel();
    // dropping the work of other steps kills it; a restore has threads of its own that must leave the target first
    let restored = match &step.action {
        Action::Restore(_) => match select(work, clock.sleep(GRACE)).await {
            Either::Left(((_, restored), _)) => restored,
            Either::Right(_) => None,
        },
        Action::Exec { .. } | Action::Check(_) => None,
    };
    Done { ended: Ended::failed(why), restored, cancelled }
}

async fn cancelled(setting: Setting<'_>) {
    while !setting.cancel.is_cancelled() {
        setting.env.clock.sleep(LOOK).await;
        tokio::task::yield_now().await; // a clock turned by hand never waits
    }
}

async fn act(step: &Step, hands: &dyn Hands, place: &Place, stop: &Cancel) -> (Ended, Option<Restored>) {
    match &step.action {
        Action::Exec { command } => (check::exec(command, place).await, None),
        Action::Check(proof) => (check::check(proof, place).await, None),
        Action::Restore(restore) => {
            let into: PathBuf = place.target.join(&restore.into).components().collect();
            let answer: std::pin::Pin<Box<dyn Future<Output = _> + Send + '_>> = hands.restore(restore, &into, stop);
            match answer.await {
                Ok(restored) => (judge_restore(&restored), Some(restored)),
                Err(why) => (Ended::failed(why), None),
            }
        }
    }
}

fn judge_restore(restored: &Restored) -> Ended {
    let count = restored.problems.len();
    let Some(first) = restored.problems.first() else {
        let (files, bytes) = (restored.files, crate::units::ByteSize(restored.bytes));
        let proved = format!("{files} files with {bytes}, each blob verified against its SHA-256");
        return Ended::Done { proved, output: String::new() };
    };
    let lines = restored.problems.iter().take(20).map(|problem| format!("{}: {}", problem.what, problem.why));
    Ended::Failed {
        why: format!("{count} things could not be restored whole; the first: {}: {}", first.what, first.why),
        output: lines.collect::<Vec<_>>().join("\n"),
    }
}

#[cfg(test)]
mod tests;
