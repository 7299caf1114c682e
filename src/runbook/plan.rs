//! Orders a runbook's steps and decides what may run next.
//!
//! A runbook is a graph of steps with needs. [`Graph::of`] refuses one that could never finish and names everything that
//! is wrong with it at once. During a run, [`Graph::advance`] says from the states of the steps alone which start, which
//! are skipped because of which failure, and whether the run is over; a run that is resumed asks the same question.
//!
//! Invariant: a step starts only when each of its needs is done, and every step ends in exactly one final state.
//!
//! It knows no step kinds, timeouts or processes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::config::{OnError, Runbook};

/// A step as the planner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step<'a> {
    /// Its name in the runbook.
    pub id: &'a str,
    /// The steps that come before it.
    pub needs: Vec<&'a str>,
    /// What its failure means.
    pub on_error: OnError,
}

/// What is wrong with a runbook's graph.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Flaw {
    /// No steps at all.
    #[error("there are no steps")]
    Empty,
    /// Two steps have one name.
    #[error("two steps are named {id:?}")]
    Duplicate {
        /// The name.
        id: String,
    },
    /// A need names no step.
    #[error("step {id:?} needs {need:?}, which is no step{}", nearest.as_ref().map(|n| format!(" (did you mean {n:?}?)")).unwrap_or_default())]
    UnknownNeed {
        /// The step.
        id: String,
        /// What it names.
        need: String,
        /// The step with the most similar name, when one is similar.
        nearest: Option<String>,
    },
    /// Steps that wait for each other.
    #[error("steps wait for each other: {}", path.join(" needs "))]
    Cycle {
        /// Along the needs, from the first name in order back to itself.
        path: Vec<String>,
    },
    /// A step that waits for a cycle or an unknown step, and so could never start.
    #[error("step {id:?} could never start: it waits for {because:?}")]
    Unreachable {
        /// The step.
        id: String,
        /// The need that can never be met.
        because: String,
    },
}

/// The state of a step in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not started.
    #[default]
    Waiting,
    /// Started.
    Running,
    /// Ended well.
    Done,
    /// Ended badly.
    Failed,
    /// Will not run.
    Skipped,
}

/// A step that will not run, and the failed step that is the cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    /// The step.
    pub step: usize,
    /// The failed step.
    pub because: usize,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Advance {
    /// Steps to start now, in the order of the runbook.
    pub start: Vec<usize>,
    /// Steps to mark as skipped.
    pub skip: Vec<Skip>,
    /// All steps are in a final state, counting `skip`.
    pub over: bool,
}

/// Steps exercised of steps total: what a drill reports, and why it may be partial.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Coverage {
    /// Steps that ran to an end, good or bad.
    pub exercised: usize,
    /// All steps.
    pub total: usize,
    /// Names of those that did not, in the order of the runbook.
    pub missing: Vec<String>,
}

/// A runbook's steps in an order in which they can run. Steps are numbered as in the runbook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    names: Vec<String>,
    needs: Vec<Vec<usize>>,
    on_error: Vec<OnError>,
    waves: Vec<Vec<usize>>,
}

impl Graph {
    /// Checks and orders a runbook's steps; all flaws at once.
    pub fn of_runbook(runbook: &Runbook) -> Result<Self, Vec<Flaw>> {
        let steps = runbook.steps.iter().map(|step| Step {
            id: step.id.as_str(),
            needs: step.needs.iter().map(|need| need.as_str()).collect(),
            on_error: step.on_error,
        });
        Self::of(&steps.collect::<Vec<_>>())
    }

    /// Checks and orders the steps; all flaws at once.
    pub fn of(steps: &[Step<'_>]) -> Result<Self, Vec<Flaw>> {
        let mut flaws = BTreeSet::new();
        if steps.is_empty() {
            flaws.insert(Flaw::Empty);
        }
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        for (number, step) in steps.iter().enumerate() {
            if numbers.insert(step.id, number).is_some() {
                flaws.insert(Flaw::Duplicate { id: step.id.to_owned() });
            }
        }
        let mut needs = Vec::with_capacity(steps.len());
        let mut blocked: BTreeMap<usize, String> = BTreeMap::new();
        for (number, step) in steps.iter().enumerate() {
            let mut met = BTreeSet::new();
            for &need in &step.needs {
                if let Some(&needed) = numbers.get(need) {
                    met.insert(needed);
                } else {
                    blocked.insert(number, need.to_owned());
                    let nearest = nearest(need, steps);
                    flaws.insert(Flaw::UnknownNeed { id: step.id.to_owned(), need: need.to_owned(), nearest });
                }
            }
            needs.push(met.into_iter().collect::<Vec<_>>());
        }
        let waves = waves(&needs);
        flaws.extend(dead_ends(steps, &needs, &waves, blocked));
        if !flaws.is_empty() {
            return Err(flaws.into_iter().collect());
        }
        let names = steps.iter().map(|step| step.id.to_owned()).collect();
        Ok(Self { names, needs, on_error: steps.iter().map(|step| step.on_error).collect(), waves })
    }

    /// Groups of steps: each step's needs lie in earlier groups. In the order of the runbook within a group.
    pub fn waves(&self) -> &[Vec<usize>] {
        &self.waves
    }

    /// The name of a step.
    pub fn name(&self, step: usize) -> Option<&str> {
        self.names.get(step).map(String::as_str)
    }

    /// What to do next. `states` has one entry for each step; a missing one counts as waiting.
    pub fn advance(&self, states: &[State]) -> Advance {
        let mut states: Vec<State> =
            (0..self.names.len()).map(|n| states.get(n).copied().unwrap_or_default()).collect();
        let stop = (0..states.len()).find(|&n| states[n] == State::Failed && self.on_error[n] == OnError::Stop);
        let mut advance = Advance::default();
        let mut causes: HashMap<usize, usize> = HashMap::new();
        for &step in self.waves.iter().flatten() {
            if states[step] == State::Skipped {
                causes.extend(self.cause(step, &states, &causes).or(stop).map(|because| (step, because)));
            }
            if states[step] != State::Waiting {
                continue;
            }
            if let Some(because) = self.cause(step, &states, &causes).or(stop) {
                states[step] = State::Skipped;
                causes.insert(step, because);
                advance.skip.push(Skip { step, because });
            } else if self.needs[step].iter().all(|&need| states[need] == State::Done) {
                advance.start.push(step);
            }
        }
        advance.start.sort_unstable();
        advance.skip.sort_unstable_by_key(|skip| skip.step);
        advance.over = !states.iter().any(|state| matches!(state, State::Waiting | State::Running));
        advance
    }

    /// Steps exercised of steps total.
    pub fn coverage(&self, states: &[State]) -> Coverage {
        let ran = |n: usize| matches!(states.get(n), Some(State::Done | State::Failed));
        let missing: Vec<String> =
            self.names.iter().enumerate().filter(|(n, _)| !ran(*n)).map(|(_, name)| name.clone()).collect();
        Coverage { exercised: self.names.len() - missing.len(), total: self.names.len(), missing }
    }

    /// The failed step because of which `step` cannot run, when one of its needs failed or was skipped.
    fn cause(&self, step: usize, states: &[State], causes: &HashMap<usize, usize>) -> Option<usize> {
        self.needs[step].iter().find_map(|&need| match states[need] {
            State::Failed => Some(need),
            State::Skipped => Some(causes.get(&need).copied().unwrap_or(need)),
            State::Waiting | State::Running | State::Done => None,
        })
    }
}

/// The step whose name is nearest to `need`, when it is near.
fn nearest(need: &str, steps: &[Step<'_>]) -> Option<String> {
    let scored = steps.iter().map(|step| (strsim::damerau_levenshtein(need, step.id), step.id));
    scored.min().filter(|(distance, name)| *distance <= 1 + name.chars().count() / 3).map(|(_, name)| name.to_owned())
}

/// Topological waves; steps on or behind a cycle are in none.
fn waves(needs: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut placed = BTreeSet::new();
    let mut waves = Vec::new();
    loop {
        let ready: Vec<usize> = (0..needs.len())
            .filter(|step| !placed.contains(step) && needs[*step].iter().all(|need| placed.contains(need)))
            .collect();
        if ready.is_empty() {
            return waves;
        }
        placed.extend(ready.iter().copied());
        waves.push(ready);
    }
}

/// Cycles, each named once, and the steps that wait for one or for an unknown step.
fn dead_ends(
    steps: &[Step<'_>],
    needs: &[Vec<usize>],
    waves: &[Vec<usize>],
    mut blocked: BTreeMap<usize, String>,
) -> Vec<Flaw> {
    let placed: BTreeSet<usize> = waves.iter().flatten().copied().collect();
    let unknown: BTreeSet<usize> = blocked.keys().copied().collect();
    let mut flaws = Vec::new();
    let mut in_cycle = BTreeSet::new();
    for start in (0..steps.len()).filter(|step| !placed.contains(step)) {
        if in_cycle.contains(&start) {
            continue;
        }
        if let Some(path) = cycle_through(start, needs) {
            in_cycle.extend(path.iter().copied());
            let closed = path.iter().chain(path.first());
            flaws.push(Flaw::Cycle { path: closed.map(|&step| steps[step].id.to_owned()).collect() });
        }
    }
    blocked.extend(in_cycle.iter().map(|&step| (step, steps[step].id.to_owned())));
    let mut changed = true;
    while changed {
        changed = false;
        for step in (0..steps.len()).filter(|step| !in_cycle.contains(step)) {
            if let Some(&dead) = needs[step].iter().find(|need| blocked.contains_key(need))
                && !blocked.contains_key(&step)
            {
                blocked.insert(step, steps[dead].id.to_owned());
                changed = true;
            }
        }
    }
    let waiting = blocked.into_iter().filter(|(step, _)| !in_cycle.contains(step) && !unknown.contains(step));
    flaws.extend(waiting.map(|(step, because)| Flaw::Unreachable { id: steps[step].id.to_owned(), because }));
    flaws
}

/// The shortest way from `start` along its needs back to itself.
fn cycle_through(start: usize, needs: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut came_from: BTreeMap<usize, usize> = BTreeMap::new();
    let mut frontier = vec![start];
    while !frontier.is_empty() {
        let mut next = Vec::new();
        for &step in &frontier {
            for &need in &needs[step] {
                if need == start {
                    let back = |&at: &usize| came_from.get(&at).copied();
                    let mut path: Vec<usize> = std::iter::successors(Some(step), back).collect();
                    path.reverse();
                    return Some(path);
                }
                if let std::collections::btree_map::Entry::Vacant(unseen) = came_from.entry(need) {
                    unseen.insert(step);
                    next.push(need);
                }
            }
        }
        frontier = next;
    }
    None
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
