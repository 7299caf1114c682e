//! The page from top to bottom, but for its drawing of time.

use maud::{Markup, html};

use super::{Page, words};
use crate::drill::judge::{Finding, Headline};
use crate::objective::{Scale, Shortfall, Verdict};
use crate::runbook::outcome::{Cache, StepKind, StepRun};
use crate::runbook::plan::State;
use crate::units::{ByteSize, Span};

impl Page<'_> {
    fn step_runs(&self) -> &[StepRun] {
        self.evidence.facts.run.as_ref().map_or(&[], |run| &run.steps)
    }

    fn finding(&self) -> Option<(&Finding, &Verdict)> {
        self.judgement.findings.iter().find_map(|finding| Some((finding, finding.verdict.as_ref()?)))
    }

    pub(super) fn masthead(&self) -> Markup {
        let facts = &self.evidence.facts;
        html! {
            header {
                p.kicker { "Recovery drill " span.num { (facts.number) } }
                h1 { (facts.plan) }
                p.sub {
                    @if let Some(loss) = &facts.fail { (words::wall(loss.at.wall, loss.at.time)) }
                    @if let Some(owner) = &facts.owner { " · owned by " (owner) }
                }
            }
            @if self.is_simulated() {
                p.notice {
                    strong { "Simulated calendar." } " The schedule ran in simulated time; dates marked "
                    span.tag { "simulated" } " never happened. The durations of the recovery are real."
                }
            }
        }
    }

    pub(super) fn verdict(&self) -> Markup {
        html! {
            section.verdict {
                p.word { (words::verdict(self.headline())) }
                div {
                    p.lead { (self.summary()) }
                    @let reasons = self.reasons();
                    @if !reasons.is_empty() { ul { @for reason in reasons { li { (reason) } } } }
                }
            }
        }
    }

    fn summary(&self) -> String {
        let facts = &self.evidence.facts;
        let figures = &self.judgement.figures;
        let lost = facts.scenario.lost.join(" and ");
        let lost =
            if lost.is_empty() { words::disaster(facts.scenario.disaster).to_owned() } else { format!("Lost: {lost}") };
        let place = facts.vault.region.as_ref().map(|region| format!(" ({region})")).unwrap_or_default();
        match (figures.recovery, figures.point) {
            (Some(recovery), Some(point)) => format!(
                "{lost}. {} came back from vault {}{place} in {}, declared times included, with the last {} of data lost.",
                facts.plan,
                facts.vault.name,
                words::span(recovery.span()),
                words::span(point.span()),
            ),
            (None, _) => {
                format!("{lost}. No proven recovery of {} from vault {}{place}.", facts.plan, facts.vault.name)
            }
            (Some(_), None) => {
                format!("{lost}. {} came back from vault {}{place}, with unknown loss.", facts.plan, facts.vault.name)
            }
        }
    }

    fn reasons(&self) -> Vec<String> {
        let facts = &self.evidence.facts;
        let mut reasons: Vec<String> = self.judgement.doubts.iter().map(ToString::to_string).collect();
        match self.finding().map(|(_, verdict)| verdict) {
            None => reasons.push(format!("nothing is promised for this case: {}", facts.scenario.disaster)),
            Some(Verdict::Pass) => {}
            Some(Verdict::Indicative) => {
                reasons.push(match &facts.production {
                    Some(production) => format!("within the objective, but on less than production ({production})"),
                    None => "within the objective; the plan does not say what production is, so that is all".to_owned(),
                });
            }
            Some(Verdict::Partial { skipped }) => {
                reasons.push(format!("within the objective, but not exercised: {}", skipped.join(", ")));
            }
            Some(Verdict::Fail { why }) => reasons.extend(why.iter().map(|short| match short {
                Shortfall::TooSlow { promised, achieved } => format!(
                    "recovery took {} with its declared times; {} were promised",
                    words::span(achieved.span()),
                    words::span(promised.0)
                ),
                Shortfall::TooOld { promised, achieved } => format!(
                    "up to {} of data were lost or at risk; {} were promised",
                    words::span(achieved.span()),
                    words::span(promised.0)
                ),
                Shortfall::NotMeasured { .. } => short.to_string(),
            })),
        }
        reasons
    }

    /// The two numbers that it is about.
    pub(super) fn panels(&self) -> Markup {
        let figures = &self.judgement.figures;
        let objective = self.finding().map(|(finding, _)| finding.objective);
        let recovery = figures.recovery.map(|it| it.span());
        let point = figures.point.map(|it| it.span());
        html! {
            section.panels {
                (panel("Recovery time", recovery, objective.map(|it| it.rto.0), &html! {
                    @if let Some(executed) = figures.executed {
                        (words::span(executed.span())) " measured + " (words::span(figures.allowances.sum())) " declared"
                    } @else { "a critical step did not end well" }
                }))
                (panel("Data lost", point, objective.map(|it| it.rpo.0), &html! {
                    @match figures.worst_exposure {
                        Some(worst) => { "at worst in the period: " (words::span(worst.span())) },
                        None => { "no earlier drill: no period to look back on" },
                    }
                }))
            }
        }
    }

    pub(super) fn promises(&self) -> Markup {
        let figures = &self.judgement.figures;
        let dash = || html! { span.quiet { "–" } };
        html! {
            section {
                h2 { "Promised and achieved" }
                table.figures {
                    thead {
                        tr {
                            th { "Disaster" } th { "Objective" } th.r { "Promised" } th.r { "Measured" }
                            th.r { "Declared" } th.r { "Achieved" } th { "Verdict" }
                        }
                    }
                    tbody {
                        @for finding in &self.judgement.findings {
                            @let drilled = finding.verdict.is_some();
                            @let rto = finding.objective.rto;
                            @let rpo = finding.objective.rpo;
                            tr.first {
                                th rowspan="2" { (words::disaster(finding.disaster)) }
                                td { "RTO" }
                                td.r { (words::span(rto.0)) }
                                @if drilled {
                                    td.r { @match figures.executed { Some(it) => (words::span(it.span())), None => (dash()) } }
                                    td.r { (words::span(figures.allowances.sum())) }
                                    td.r { @match figures.recovery { Some(it) => strong { (words::span(it.span())) }, None => (dash()) } }
                                    td rowspan="2" { (self.chip(finding)) }
                                } @else {
                                    td.r { (dash()) } td.r { (dash()) } td.r { (dash()) }
                                    td rowspan="2" { span.quiet { "not drilled here" } }
                                }
                            }
                            tr {
                                td { "RPO" }
                                td.r { (words::span(rpo.0)) }
                                @if drilled {
                                    td.r { @match figures.point { Some(it) => (words::span(it.span())), None => (dash()) } }
                                    td.r { (dash()) }
                                    td.r { @match figures.point.max(figures.worst_exposure.filter(|_| figures.point.is_some())) {
                                        Some(it) => strong { (words::span(it.span())) }, None => (dash())
                                    } }
                                } @else { td.r { (dash()) } td.r { (dash()) } td.r { (dash()) } }
                            }
                        }
                    }
                }
                p.fine {
                    "Measured is what this drill executed. Declared is what it did not exercise, taken in full from the plan. \
                     Execution time alone never passes. The RPO is judged on the worst of this drill and the period since the last one."
                }
            }
        }
    }

    fn chip(&self, finding: &Finding) -> Markup {
        let headline = match &finding.verdict {
            _ if !self.judgement.doubts.is_empty() => Headline::Fail,
            Some(Verdict::Pass) => Headline::Pass,
            Some(Verdict::Indicative) => Headline::Indicative,
            Some(Verdict::Partial { .. }) => Headline::Partial,
            Some(Verdict::Fail { .. }) => Headline::Fail,
            None => Headline::Unjudged,
        };
        html! { span.chip.(headline.name()) { (words::verdict(headline)) } }
    }

    pub(super) fn steps(&self) -> Markup {
        let figures = &self.judgement.figures;
        let after = |step: &StepRun| {
            let began = step.started?.boot().checked_sub(figures.start?.boot())?;
            Some(Span::round_up(began))
        };
        html! {
            section {
                h2 { "Steps " span.count { (figures.exercised) " of " (figures.steps) " exercised" } }
                @if self.step_runs().is_empty() { p { "The drill never came to its first step." } }
                @else {
                    table.steps {
                        thead { tr { th { "Step" } th { "Kind" } th.r { "Began after" } th.r { "Took" } th { "What it showed" } } }
                        tbody {
                            @for step in self.step_runs() {
                                tr.(state_class(step.state)) {
                                    th { (step.id) @if !step.critical { span.tag { "optional" } } }
                                    td { (words::kind(step.kind)) }
                                    td.r { @if let Some(began) = after(step) { (words::step_span(began)) } @else { "–" } }
                                    td.r { @if let Some(took) = step.took() { (words::step_span(took)) } @else { "–" } }
                                    td {
                                        span.state { (words::state(step.state)) }
                                        span.said { (step.said) }
                                        @if step.state == State::Failed && !step.output.is_empty() { pre { (step.output) } }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// What this drill does not show.
    pub(super) fn gaps(&self) -> Markup {
        let facts = &self.evidence.facts;
        let missing = self.step_runs().iter().filter(|step| !matches!(step.state, State::Done | State::Failed));
        let others: Vec<_> = self.judgement.findings.iter().filter(|finding| finding.verdict.is_none()).collect();
        html! {
            section {
                h2 { "What was not exercised" }
                ul.plain {
                    @for step in missing { li { strong { "Step " (step.id) } ": " (step.said) } }
                    @for allowance in &facts.allowances {
                        li { strong { "The time " (words::phase(allowance.phase)) } ": taken as declared, " (words::span(allowance.span)) ", by " (allowance.source) }
                    }
                    @for finding in others { li { strong { (words::disaster(finding.disaster)) } ": another drill's scenario" } }
                    li { strong { "Lasting health" } ": each check ran once; none was repeated to see it stay green" }
                    @if facts.scale == Scale::Smaller {
                        li { strong { "Production's scale" } ": " (facts.production.as_deref().unwrap_or("the plan does not say what production is")) }
                    }
                    @if facts.canary.is_none() { li { strong { "A canary" } ": none was planted in the source, so the recovery point rests on the snapshot's own time" } }
                }
                @if !facts.problems.is_empty() {
                    h3 { "Problems outside the steps" }
                    ul.plain { @for problem in &facts.problems { li { strong { (problem.what) } ": " (problem.why) } } }
                }
            }
        }
    }

    pub(super) fn restored(&self) -> Markup {
        let figures = &self.judgement.figures;
        let speed = figures.bytes_per_second.map(|rate| format!("{}/s", ByteSize(rate)));
        let proofs = self.step_runs().iter().filter(|step| step.kind == StepKind::Check && step.state == State::Done);
        html! {
            section {
                h2 { "What came back" }
                dl.tiles {
                    (tile("Files", &words::count(figures.files)))
                    (tile("Restored", &ByteSize(figures.bytes).to_string()))
                    (tile("Fetched", &ByteSize(figures.fetched).to_string()))
                    (tile("In", &figures.restoring.map_or("–".into(), words::span)))
                    (tile("Throughput", &speed.unwrap_or_else(|| "–".into())))
                    (tile("Cache", figures.cache.map_or("–", |cache| match cache { Cache::Cold => "cold", Cache::Warm => "warm" })))
                }
                @for restored in self.step_runs().iter().filter_map(|step| step.restored.as_ref()) {
                    dl.facts {
                        dt { "Snapshot" } dd { code { (restored.snapshot) } }
                        dt { "Tree" } dd { code { (restored.tree) } }
                        dt { "Taken on" } dd { (restored.host) ": " (restored.paths.join(", ")) }
                        dt { "Consistent to" } dd { (words::wall(restored.consistent_to, restored.time)) ", " (words::point(restored.point)) }
                    }
                }
                @if let Some(skew) = figures.skew.filter(|skew| *skew > Span::ZERO) {
                    p { "The sources' points lie " (words::span(skew)) " apart; the oldest counts." }
                }
                h3 { "How it was proven" }
                ul.plain {
                    @for step in proofs { li { strong { (step.id) } ": " (step.said) } }
                    @if let Some(canary) = &self.evidence.facts.canary {
                        li { strong { "Canary" } ": " @match canary.newest { Some(newest) => { "the newest that came back was written at " span.num { (newest.strftime("%Y-%m-%d %H:%M:%S UTC")) } } None => "none could be read from what came back" } ", with one planted every " (words::span(canary.period)) }
                    }
                    li.fine { "Digests are computed by code that has no part in backing up or restoring." }
                }
            }
        }
    }

    pub(super) fn circumstances(&self) -> Markup {
        let facts = &self.evidence.facts;
        let figures = &self.judgement.figures;
        html! {
            section {
                h2 { "Circumstances" }
                dl.facts {
                    dt { "Drill" } dd { code { (facts.id) } }
                    @if let Some(loss) = &facts.fail { dt { "The loss" } dd { (words::wall(loss.at.wall, loss.at.time)) ", " (loss.chosen) } }
                    dt { "Lost" } dd { (if facts.scenario.lost.is_empty() { "nothing named".to_owned() } else { facts.scenario.lost.join(", ") }) }
                    dt { "Restored from" } dd { "vault " (facts.vault.name) @if let Some(region) = &facts.vault.region { ", " (region) } ", " code { (facts.vault.url) } }
                    dt { "Runbook" } dd { (facts.runbook.name) ", digest " code { (facts.runbook.digest) } }
                    dt { "Ran on" } dd { (facts.machine.host) ", " (facts.machine.kind) ", " (facts.machine.version) }
                    dt { "Clock" } dd {
                        @match facts.machine.clock_offset_millis {
                            Some(millis) => { span.num { (format!("{millis:+}")) } " ms, as the time daemon says" },
                            None => { "offset unknown" },
                        }
                        "; durations are of the boot clock"
                    }
                    dt { "Waiting for people" } dd { (words::span(figures.human_wait)) ", not deducted" }
                    @if let Some(raw) = figures.since_loss { dt { "Loss to service" } dd { (words::span(raw.span())) " on the drill's own clocks, before declared times" } }
                }
            }
        }
    }

    pub(super) fn verify(&self) -> Markup {
        let file = format!("drill-{}.json", self.evidence.facts.id);
        html! {
            section {
                h2 { "How to check this page" }
                p { "Every number above follows from the evidence, a JSON file of one canonical form. Its SHA-256 is" }
                p.digest { code { (self.digest) } }
                p { "and is kept in the drill's signed record in the vault. " code { "sha256sum " (file) } " must print it; "
                    code { "drctl drill report" } " computes every figure again from the file and says when one does not follow." }
            }
        }
    }
}

fn state_class(state: State) -> &'static str {
    match state {
        State::Done => "done",
        State::Failed => "failed",
        State::Skipped | State::Waiting | State::Running => "skipped",
    }
}

fn tile(name: &str, value: &str) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn panel(name: &str, achieved: Option<Span>, promised: Option<Span>, note: &Markup) -> Markup {
    let held = achieved.zip(promised).map(|(achieved, promised)| achieved <= promised);
    let class = match held {
        Some(true) => "held",
        Some(false) => "missed",
        None if achieved.is_none() => "missed",
        None => "",
    };
    html! {
        div.panel.(class) {
            p.name { (name) }
            p.value { (achieved.map_or("not measured".into(), words::span)) }
            p.promise { @match promised { Some(span) => { "promised: at most " (words::span(span)) }, None => { "nothing is promised" } } }
            p.note { (note) }
        }
    }
}

/// The trade's words, in plain ones.
pub(super) fn glossary() -> Markup {
    let terms = [
        (
            "RTO",
            "recovery time objective: the longest that recovery may take, from the loss until the service is back.",
        ),
        ("RPO", "recovery point objective: the most data that may be lost, as the time before the loss."),
        (
            "Measured, declared",
            "a drill can measure its own steps. How long people take to notice and decide, it cannot: the plan declares that, and it counts in full.",
        ),
        ("Consistency point", "everything that was committed by then is in what came back."),
        ("Worst exposure", "the longest time in the period for which a loss would have cost data."),
        ("Passed", "every step was exercised at production's scale, and both objectives held."),
        (
            "Partial, indicative",
            "the objectives held, but steps were left out, or the data or machine was smaller than production's.",
        ),
        ("Failed", "an objective was missed, was not measured, or the measurement is not to be trusted."),
    ];
    html! {
        footer {
            h2 { "Words" }
            dl { @for (term, meaning) in terms { div { dt { (term) } dd { (meaning) } } } }
            p { "This page supports a control; it does not satisfy one." }
        }
    }
}
