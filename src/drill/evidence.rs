//! The evidence of a drill: what was observed, and the judgement that follows from it.
//!
//! Invariant: the judgement is a pure function of the facts, so that anybody can check it: [`Evidence::is_sound`]. The
//! canonical text has one form, and its SHA-256 names the evidence in the drill's record and in its report.
//!
//! It supports a claim about recovery; it does not make one.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::judge::{Headline, Judgement, judge};
use crate::monitor::Problem;
use crate::objective::{Allowances, Disaster, Objective, Scale};
use crate::record::canonical::{CanonicalError, canonical};
use crate::record::entry::DrillOutcome;
use crate::record::{RunId, Status, TimeKind};
use crate::runbook::outcome::{Moment, Run};
use crate::units::Span;
use crate::vault::Id;

/// The version of the evidence that this program writes.
pub const FORMAT: u32 = 1;

/// The document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What was observed.
    pub facts: Facts,
    /// What follows.
    pub judgement: Judgement,
}

impl Evidence {
    /// Judges the facts.
    pub fn conclude(facts: Facts) -> Self {
        let judgement = judge(&facts);
        Self { facts, judgement }
    }

    /// Whether the judgement follows from the facts.
    pub fn is_sound(&self) -> bool {
        judge(&self.facts) == self.judgement
    }

    /// The canonical text, as it is stored.
    pub fn canonical(&self) -> Result<String, CanonicalError> {
        canonical(self)
    }

    /// What the drill's record says. `digest` is that of the canonical text.
    pub fn outcome(&self, digest: Id) -> DrillOutcome {
        let figures = &self.judgement.figures;
        let millis = |span: Span| u64::try_from(span.duration().as_millis()).unwrap_or(u64::MAX);
        let restored = self.facts.run.iter().flat_map(|run| &run.steps).find_map(|step| step.restored.as_ref());
        DrillOutcome {
            number: self.facts.number,
            runbook: self.facts.runbook.name.clone(),
            scenario: self.facts.scenario.disaster.to_string(),
            snapshot: restored.and_then(|restored| restored.snapshot.parse().ok()),
            verdict: self.judgement.headline.name().to_owned(),
            rta_exec_ms: figures.executed.map(|it| millis(it.span())),
            rpa_ms: figures.point.map(|it| millis(it.span())),
            exercised: figures.exercised,
            steps: figures.steps,
            evidence: Some(digest),
        }
    }

    /// How the drill's run ended, as a record has it.
    pub fn status(&self) -> Status {
        match self.judgement.headline {
            Headline::Pass | Headline::Indicative | Headline::Unjudged => Status::Ok,
            Headline::Partial => Status::Partial,
            Headline::Fail => Status::Failed,
        }
    }

    /// Whether the objective that was drilled is met as far as it was exercised.
    pub fn headline(&self) -> Headline {
        self.judgement.headline
    }
}

/// What was observed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// [`FORMAT`].
    pub format: u32,
    /// The drill's run.
    pub id: RunId,
    /// Its place among the plan's drills, from 1. Cancelled and killed ones have one too.
    pub number: u64,
    /// The plan that was drilled.
    pub plan: String,
    /// Who answers for it.
    pub owner: Option<String>,
    /// What was lost.
    pub scenario: Scenario,
    /// What it was brought back from.
    pub vault: VaultFacts,
    /// How.
    pub runbook: RunbookFacts,
    /// The loss.
    pub fail: Option<Loss>,
    /// Declared times of what was not exercised.
    pub allowances: Vec<Allowance>,
    /// What is promised, for each kind of disaster.
    pub promises: Vec<Promise>,
    /// When these promises came into force.
    pub promised_since: Moment,
    /// The worst exposure in the period since the drill before; `None`: there was none before.
    pub exposure: Option<Exposure>,
    /// How what was drilled compares with production.
    pub scale: Scale,
    /// What production is, as the plan says.
    pub production: Option<String>,
    /// The steps. `None`: it never came to the first one.
    pub run: Option<Run>,
    /// The newest sign of life that came back. `None`: the plan names none.
    pub canary: Option<Canary>,
    /// Where it ran.
    pub machine: Machine,
    /// What else went wrong: before the first step, or while tearing down.
    pub problems: Vec<Problem>,
    /// How it ended.
    pub ending: DrillEnding,
}

/// What was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scenario {
    /// The kind of disaster, whose promise is judged.
    pub disaster: Disaster,
    /// What could not be used, each as a person would name it: "vault primary (eu-central-1)".
    pub lost: Vec<String>,
}

/// A vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultFacts {
    /// Its name in the configuration.
    pub name: String,
    /// Its address; holds no secret.
    pub url: String,
    /// Where it stands.
    pub region: Option<String>,
}

/// A runbook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunbookFacts {
    /// Its name.
    pub name: String,
    /// SHA-256 of its canonical text, in hex.
    pub digest: String,
}

/// The loss.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// When.
    pub at: Moment,
    /// Who chose the instant: "injected when the drill began", "drawn from the seed of 1 March".
    pub chosen: String,
}

/// What an allowance is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// From the loss to the alarm.
    Detect,
    /// From the alarm to the decision to recover.
    Decide,
    /// Until there is hardware to recover on.
    Provision,
    /// Turning users to the recovered service.
    Switch,
}

/// A declared time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// What for.
    pub phase: Phase,
    /// How long.
    pub span: Span,
    /// Who declared it: "plan orders".
    pub source: String,
}

impl Allowance {
    /// What a plan declares, but for what it declares as nothing.
    pub fn declared(allowances: Allowances, source: &str) -> Vec<Self> {
        let Allowances { detect, decide, provision, switch } = allowances;
        let phases =
            [(Phase::Detect, detect), (Phase::Decide, decide), (Phase::Provision, provision), (Phase::Switch, switch)];
        let some = phases.into_iter().filter(|(_, span)| *span > Span::ZERO);
        some.map(|(phase, span)| Self { phase, span, source: source.to_owned() }).collect()
    }
}

/// A promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    /// For this kind of disaster.
    pub disaster: Disaster,
    /// What is promised.
    pub objective: Objective,
}

/// How long the plan's data was without a usable copy in the place that survives, at its worst.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exposure {
    /// The consistency point of the newest usable copy at that time.
    pub point: Timestamp,
    /// When it was at its worst.
    pub at: Timestamp,
    /// Since when it was looked at: the drill before.
    pub since: Timestamp,
    /// Whose wall time these are.
    pub time: TimeKind,
}

/// A sign of life that carries the time at which it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// How often one is planted.
    pub period: Span,
    /// When the newest one that came back was written. `None`: none could be read.
    pub newest: Option<Timestamp>,
}

/// The machine that the drill ran on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name.
    pub host: String,
    /// What it is: system, processor, memory.
    pub kind: String,
    /// The program's version.
    pub version: String,
    /// How far the wall clock is known to be off, in milliseconds, as the time daemon says.
    pub clock_offset_millis: Option<i64>,
}

/// How a drill ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DrillEnding {
    /// It came to its end, good or bad.
    Completed,
    /// It was stopped.
    Cancelled,
    /// Its process ended before it did.
    Killed,
    /// It was due and never began.
    Overdue,
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn evidence_has_one_text_and_comes_back_from_it() {
        let evidence = Evidence::conclude(samples::pass());
        let text = evidence.canonical().unwrap();
        let back: Evidence = serde_json::from_str(&text).unwrap();
        assert_eq!(back, evidence);
        assert_eq!(back.canonical().unwrap(), text);
        assert!(
            text.starts_with(r#"{"facts":{"allowances":[{"phase":"detect","source":"plan orders","span":"5m"}"#),
            "{text}"
        );
    }

    #[test]
    fn a_judgement_that_does_not_follow_is_found() {
        let mut evidence = Evidence::conclude(samples::fail());
        assert!(evidence.is_sound());
        evidence.judgement.headline = Headline::Pass;
        assert!(!evidence.is_sound());
        let mut evidence = Evidence::conclude(samples::pass());
        evidence.facts.scale = Scale::Smaller;
        assert!(!evidence.is_sound());
    }

    #[test]
    fn the_record_of_a_drill_says_the_same() {
        let evidence = Evidence::conclude(samples::pass());
        let digest = Id::of(evidence.canonical().unwrap().as_bytes());
        let outcome = evidence.outcome(digest);
        assert_eq!((outcome.number, outcome.verdict.as_str(), outcome.scenario.as_str()), (12, "pass", "region"));
        assert_eq!((outcome.rta_exec_ms, outcome.rpa_ms), (Some(848_500), Some(12_250)));
        assert_eq!((outcome.exercised, outcome.steps), (4, 4));
        assert_eq!(outcome.snapshot.unwrap().to_string(), "5e".repeat(32));
    }

    #[test]
    fn allowances_of_nothing_are_not_listed() {
        let declared = Allowances { decide: Span::from_mins(1), ..Allowances::default() };
        let listed = Allowance::declared(declared, "plan p");
        assert_eq!(listed, [Allowance { phase: Phase::Decide, span: Span::from_mins(1), source: "plan p".into() }]);
    }
}
