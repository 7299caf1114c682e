//! Drills of plans: the facts around them, and the record of what was found.
//!
//! A drill's evidence as it would be if it were killed right then is on disk, and then it is claimed in the catalog, before
//! it begins. So one that is cut off leaves evidence that says so, and `Service::recover_drills` records it as failed; a
//! crash in between leaves evidence that nothing names. What can be refused is refused before that: it is no drill. What
//! fails afterwards is among the problems of the drill. Evidence is written before the record that names its digest.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;

use super::error::ServiceError;
use super::host::{Service, archive};
use super::marks::Mark;
use super::recovery::{Compare, Recovery};
use crate::catalog::{NewRun, RunRow};
use crate::config::{Action, Plan, PlanName, Runbook, RunbookName, VaultName};
use crate::drill::evidence::{
    Allowance, DrillEnding, Evidence, Exposure, FORMAT, Facts, Loss, Promise, RunbookFacts, Scenario, VaultFacts,
};
use crate::drill::plan::{self as planner, Arrival, Choice};
use crate::drill::run::{self as drill, Afterwards};
use crate::monitor::Problem;
use crate::objective::Disaster;
use crate::record::canonical::canonical;
use crate::record::{Draft, Record, RunId, Status, Work};
use crate::runbook::outcome::{Cache, Moment};
use crate::runbook::plan::Graph;
use crate::vault::{Id, chain};

/// A drill to be done.
#[derive(Debug, Clone)]
pub struct Order {
    /// The plan that is brought back.
    pub plan: PlanName,
    /// What is lost.
    pub disaster: Disaster,
    /// Vaults that are lost besides those that the disaster takes.
    pub lost: Vec<VaultName>,
    /// Restore from this vault; by default the first that is left.
    pub from: Option<VaultName>,
    /// By this runbook; by default the plan's.
    pub runbook: Option<RunbookName>,
    /// The folder in which the sandbox is made; by default in the state folder.
    pub within: Option<PathBuf>,
    /// What happens to the sandbox.
    pub afterwards: Afterwards,
    /// Who chose the instant of the loss.
    pub chosen: String,
}

impl Order {
    /// A drill of the plan, as it is done by hand.
    pub fn of(plan: PlanName, disaster: Disaster) -> Self {
        Self {
            plan,
            disaster,
            lost: Vec::new(),
            from: None,
            runbook: None,
            within: None,
            afterwards: Afterwards::TearDown,
            chosen: "injected when the drill began".to_owned(),
        }
    }
}

/// A drill that was done and recorded.
#[derive(Debug, Clone)]
pub struct Drilled {
    /// Its run.
    pub id: RunId,
    /// The vault that it restored from, which has its record.
    pub vault: VaultName,
    /// What was observed, and what follows.
    pub evidence: Evidence,
    /// SHA-256 of the evidence's text.
    pub digest: Id,
    /// The evidence's text.
    pub json: PathBuf,
    /// The page that is drawn from it.
    pub html: PathBuf,
    /// Where the sandbox was left.
    pub sandbox: Option<PathBuf>,
}

/// How a recovery finds its way.
pub(super) struct Way<'a> {
    runbook: (&'a RunbookName, &'a Runbook),
    pub(super) choice: Choice,
    /// Where each plan that the runbook restores comes from.
    vaults: BTreeMap<PlanName, VaultName>,
}

impl Service {
    /// Drills and records. An error means that nothing was done, or that what was done could not be recorded.
    pub async fn drill(&self, order: Order) -> Result<Drilled, ServiceError> {
        self.recover()?;
        let (name, plan) = self.plan(order.plan.as_str())?;
        let way = self.way(name, plan, &order)?;
        if self.catalog.unfinished_runs(self.host())?.iter().any(|run| is_drill_of(run, name)) {
            return Err(ServiceError::Drilling(name.clone()));
        }
        let (runbook, steps) = way.runbook;
        Graph::of_runbook(steps).map_err(|flaws| ServiceError::Runbook { runbook: runbook.clone(), flaws })?;
        let (id, started) = (self.recorder.run_id(), self.env.clock.now());
        let mark = Mark::of_run(&self.state, id)?;
        let vault = way.choice.vault.clone();
        let number = self.catalog.next_drill_number(name.as_str())?;
        let mut facts = self.facts(id, number, (name, plan), &order, &way)?;
        self.keep(&Evidence::conclude(facts.clone()))?;
        self.catalog.begin(&NewRun {
            id,
            kind: "drill",
            host: self.host().to_owned(),
            vault: vault.to_string(),
            plan: Some(name.to_string()),
            due: None,
            tiers: Vec::new(),
            started,
        })?;

        tracing::info!(plan = %name, drill = number, %vault, "drill starts");
        let sandbox = order.within.clone().unwrap_or_else(|| self.state.join("sandbox")).join(format!("drill-{id}"));
        let variables = [("DRCTL_PLAN".to_owned(), name.to_string()), ("DRCTL_DRILL".to_owned(), id.to_string())];
        let hands = Recovery::new(self, name, way.vaults, Cache::Cold, Compare::WithSource);
        let observed = Box::pin(drill::run(
            &hands,
            drill::Options {
                runbook: steps,
                sandbox: &sandbox,
                afterwards: order.afterwards,
                canary: plan.recover.as_ref().and_then(|recover| recover.canary.as_ref()),
                variables: &variables,
                chosen: &order.chosen,
                env: &self.env,
                time: self.time,
                monitor: &*self.monitor,
                cancel: &self.cancel,
            },
        ))
        .await;
        let production = plan.recover.as_ref().and_then(|recover| recover.production);
        let (_, hardware) = drill::machine(self.host(), VERSION);
        facts.problems = observed.problems;
        match self.exposure(name, &vault, observed.fail.at.wall) {
            Ok(exposure) => facts.exposure = exposure,
            Err(error) => {
                let problem = Problem { what: "tell the worst exposure".to_owned(), why: chain(&error) };
                facts.problems.push(problem);
            }
        }
        facts.scale = drill::scale(production.as_ref(), hardware, observed.run.as_ref());
        facts.fail = Some(observed.fail);
        (facts.run, facts.canary) = (observed.run, observed.canary);
        facts.ending = observed.ending;
        let kept = (order.afterwards == Afterwards::Keep).then_some(sandbox);
        let drilled = Drilled { sandbox: kept, ..self.conclude(facts, &vault, started).await? };
        drop(mark);
        tracing::info!(plan = %name, drill = number, verdict = drilled.evidence.headline().name(), "drill ended");
        Ok(drilled)
    }

    /// Which runbook brings a plan back, and from where.
    pub(super) fn way<'a>(
        &'a self,
        name: &'a PlanName,
        plan: &'a Plan,
        order: &Order,
    ) -> Result<Way<'a>, ServiceError> {
        let runbook = self.runbook_of(name, plan, order.runbook.as_ref())?;
        let choose = |plan: &Plan, from| planner::choose(plan, &self.config.vaults, order.disaster, &order.lost, from);
        let choice = choose(plan, order.from.as_ref())?;
        let mut vaults = BTreeMap::from([(name.clone(), choice.vault.clone())]);
        for step in &runbook.1.steps {
            let Action::Restore(restore) = &step.action else { continue };
            if let Some((other, configured)) =
                restore.plan.as_ref().and_then(|other| self.config.plans.get_key_value(other))
                && !vaults.contains_key(other)
            {
                let near = choose(configured, Some(&choice.vault)).or_else(|_| choose(configured, None))?;
                vaults.insert(other.clone(), near.vault);
            }
        }
        Ok(Way { runbook, choice, vaults })
    }

    /// The runbook of this name, or the plan's own.
    pub fn runbook_of<'a>(
        &'a self,
        name: &PlanName,
        plan: &'a Plan,
        wanted: Option<&RunbookName>,
    ) -> Result<(&'a RunbookName, &'a Runbook), ServiceError> {
        let own = plan.recover.as_ref().map(|recover| &recover.runbook);
        let wanted = wanted.or(own).ok_or_else(|| ServiceError::NoRunbook(name.clone()))?;
        self.config.runbooks.get_key_value(wanted).ok_or_else(|| ServiceError::NoSuchRunbook {
            name: wanted.to_string(),
            known: self.config.runbooks.keys().map(ToString::to_string).collect(),
        })
    }

    /// What is known before a drill begins; as if it were killed right then.
    pub(super) fn facts(
        &self,
        id: RunId,
        number: u64,
        (name, plan): (&PlanName, &Plan),
        order: &Order,
        way: &Way<'_>,
    ) -> Result<Facts, ServiceError> {
        let (machine, hardware) = drill::machine(self.host(), VERSION);
        let production = plan.recover.as_ref().and_then(|recover| recover.production);
        let vault = &way.choice.vault;
        let config = self.config.vaults.get(vault);
        let now = Moment::now(&*self.env.clock, self.time);
        Ok(Facts {
            format: FORMAT,
            id,
            number,
            plan: name.to_string(),
            owner: plan.owner.clone(),
            scenario: Scenario { disaster: order.disaster, lost: way.choice.lost.clone() },
            vault: VaultFacts {
                name: vault.to_string(),
                url: config.map(|config| config.url.clone()).unwrap_or_default(),
                region: config.and_then(|config| config.region.clone()),
            },
            runbook: RunbookFacts {
                name: way.runbook.0.to_string(),
                digest: Id::of(canonical(way.runbook.1)?.as_bytes()).to_string(),
            },
            fail: Some(Loss { at: now, chosen: order.chosen.clone() }),
            allowances: Allowance::declared(plan.objective.allow, &format!("plan {name}")),
            promises: plan.objective.iter().map(|(disaster, objective)| Promise { disaster, objective }).collect(),
            promised_since: now,
            exposure: None,
            scale: drill::scale(production.as_ref(), hardware, None),
            production: production.map(|production| production.to_string()),
            run: None,
            canary: None,
            machine,
            problems: Vec::new(),
            ending: DrillEnding::Killed,
        })
    }

    /// The worst exposure since the drill before, or since the first snapshot arrived.
    fn exposure(&self, name: &PlanName, vault: &VaultName, until: Timestamp) -> Result<Option<Exposure>, ServiceError> {
        let arrivals = self.catalog.arrivals(vault.as_str(), self.host(), name.as_str())?;
        let arrivals: Vec<Arrival> = arrivals.into_iter().map(|(at, point)| Arrival { at, point }).collect();
        let before = self.catalog.drills(Some(name.as_str()), 1)?.first().map(|drill| drill.started);
        let worst = planner::worst_exposure(&arrivals, before.unwrap_or(Timestamp::MIN), until);
        Ok(worst.map(|worst| Exposure { point: worst.point, at: worst.at, since: worst.since, time: self.time }))
    }

    /// Judges, keeps the evidence, records.
    pub(super) async fn conclude(
        &self,
        facts: Facts,
        vault: &VaultName,
        started: Timestamp,
    ) -> Result<Drilled, ServiceError> {
        let evidence = Evidence::conclude(facts);
        let (text, json, html) = self.keep(&evidence)?;
        let digest = Id::of(text.as_bytes());
        let record = self.record_drill(&evidence, digest, vault, started)?;
        if let Err(error) = self.file_evidence(vault, record.id, &text).await {
            tracing::warn!(%vault, error = chain(&error), "the evidence is only on this host");
        }
        self.deliver_soon(vault).await;
        self.tell(vault.as_str(), &record).await;
        Ok(Drilled { id: record.id, vault: vault.clone(), evidence, digest, json, html, sandbox: None })
    }

    async fn file_evidence(&self, vault: &VaultName, run: RunId, text: &str) -> Result<(), ServiceError> {
        let open = self.vaults.open(vault).await?;
        open.writable()?;
        Ok(archive(&open).file_evidence(run, text).await?)
    }

    fn record_drill(
        &self,
        evidence: &Evidence,
        digest: Id,
        vault: &VaultName,
        started: Timestamp,
    ) -> Result<Record, ServiceError> {
        let status = evidence.status();
        let drill = format!("drill {} of plan {}", evidence.facts.number, evidence.facts.plan);
        let doubts = evidence.judgement.doubts.iter().map(ToString::to_string);
        let misses = evidence.judgement.findings.iter().filter_map(|finding| finding.verdict.as_ref());
        let misses = misses.filter(|_| status == Status::Failed).map(ToString::to_string);
        let mut problems: Vec<Problem> = doubts.chain(misses).map(|why| Problem { what: drill.clone(), why }).collect();
        problems.extend(evidence.facts.problems.iter().cloned());
        let figures = &evidence.judgement.figures;
        let figure = |name: &str, count: u64| (name.to_owned(), i64::try_from(count).unwrap_or(i64::MAX));
        let draft = Draft {
            id: evidence.facts.id,
            plan: Some(evidence.facts.plan.clone()),
            due: None,
            tiers: Vec::new(),
            started,
            finished: self.env.clock.now().max(started),
            status,
            work: Work::Drill(evidence.outcome(digest)),
            figures: BTreeMap::from([
                figure("restored_bytes", figures.bytes),
                figure("fetched_bytes", figures.fetched),
                figure("restored_files_count", figures.files),
            ]),
            problems,
        };
        Ok(self.record(vault.as_str(), draft)?.record)
    }

    /// Records drills of this host that a crash cut off, and removes their sandboxes.
    pub(super) fn recover_drills(&self) -> Result<Vec<RunId>, ServiceError> {
        let mut recovered = Vec::new();
        for run in self.catalog.unfinished_runs(self.host())? {
            if run.kind != "drill" || Mark::is_held(&self.state, run.id) {
                continue;
            }
            let path = self.evidence_path(run.id, "json");
            let evidence = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Evidence>(&text).ok());
            let Some(evidence) = evidence.filter(|found| found.facts.id == run.id) else {
                let why = "its first evidence is gone: it stays noted as going on";
                tracing::error!(run = %run.id, file = %path.display(), why, "a drill was cut off and cannot be recorded");
                continue;
            };
            let digest = Id::of(evidence.canonical()?.as_bytes());
            let vault: VaultName = match run.vault.parse() {
                Ok(vault) => vault,
                Err(_) => continue,
            };
            self.record_drill(&evidence, digest, &vault, run.started)?;
            let sandbox = self.state.join("sandbox").join(format!("drill-{}", run.id));
            if let Err(error) = drill::tear_down(&sandbox) {
                tracing::warn!(sandbox = %sandbox.display(), %error, "the sandbox of a drill that was cut off stays");
            }
            tracing::error!(run = %run.id, "a drill was cut off; it is recorded as failed");
            recovered.push(run.id);
        }
        Ok(recovered)
    }
}

/// The program, as evidence names it.
const VERSION: &str = concat!("drctl ", env!("CARGO_PKG_VERSION"));

fn is_drill_of(run: &RunRow, plan: &PlanName) -> bool {
    run.kind == "drill" && run.plan.as_deref() == Some(plan.as_str())
}
