//! What a drill found, for a person at a terminal: the promises beside what was achieved, then the steps.

use std::io::{self, Write};

use super::escape;
use super::exit::Exit;
use super::output::{Output, Paint};
use super::planned::word;
use super::table::{Align, Listing};
use crate::drill::evidence::{DrillEnding, Evidence};
use crate::drill::judge::Headline;
use crate::objective::{Rpa, Rta, RtaExec};
use crate::record::TimeKind;
use crate::units::{ByteSize, Span};

/// The code to end with.
pub(super) fn exit(evidence: &Evidence) -> Exit {
    match evidence.headline() {
        Headline::Pass | Headline::Indicative | Headline::Unjudged => Exit::Done,
        Headline::Partial => Exit::Partial,
        Headline::Fail if evidence.facts.ending == DrillEnding::Cancelled => Exit::Interrupted,
        Headline::Fail if evidence.judgement.doubts.is_empty() => Exit::ObjectiveMissed,
        Headline::Fail => Exit::Failed,
    }
}

/// Shows it.
pub(super) fn show(evidence: &Evidence, out: Output, to: &mut dyn Write) -> io::Result<()> {
    let (facts, judgement) = (&evidence.facts, &evidence.judgement);
    let lost = facts.scenario.lost.join(", ");
    writeln!(to, "drill {} of plan {}: the loss of the {}", facts.number, facts.plan, facts.scenario.disaster)?;
    if !lost.is_empty() {
        writeln!(to, "  lost      {}", escape::text(&lost))?;
    }
    let region = facts.vault.region.as_ref().map(|region| format!(" ({region})")).unwrap_or_default();
    writeln!(to, "  restored  from vault {}{}", facts.vault.name, escape::text(&region))?;
    writeln!(to)?;
    objectives(evidence, out).print(to)?;
    writeln!(to)?;
    steps(evidence, out).print(to)?;
    let figures = &judgement.figures;
    if figures.files > 0 {
        let rate = figures.bytes_per_second.map(|rate| format!(", {}/s", ByteSize(rate))).unwrap_or_default();
        writeln!(to, "\n{} files with {} came back{rate}", figures.files, ByteSize(figures.bytes))?;
    }
    for doubt in &judgement.doubts {
        writeln!(to, "{} {}", out.paint(Paint::Red, "failed:"), escape::text(&doubt.to_string()))?;
    }
    for problem in &facts.problems {
        let (what, why) = (escape::text(&problem.what), escape::text(&problem.why));
        writeln!(to, "{} {what}: {why}", out.paint(Paint::Yellow, "problem:"))?;
    }
    let verdict = judgement.findings.iter().find_map(|finding| finding.verdict.as_ref());
    let (paint, headline) = (paint(evidence.headline()), evidence.headline().name().to_uppercase());
    let why = match (evidence.headline(), verdict) {
        (Headline::Fail, _) if !judgement.doubts.is_empty() => String::new(),
        (Headline::Unjudged, _) => format!(": nothing is promised for the loss of the {}", facts.scenario.disaster),
        (Headline::Indicative, _) => match &facts.production {
            Some(production) => format!(": less than production ({production})"),
            None => ": the plan does not say what production is (recover.production)".to_owned(),
        },
        (_, Some(verdict)) => {
            verdict.to_string().split_once(": ").map(|(_, why)| format!(": {why}")).unwrap_or_default()
        }
        (_, None) => String::new(),
    };
    writeln!(to, "verdict: {}{}", out.paint(paint, &headline), escape::text(&why))
}

fn paint(headline: Headline) -> Paint {
    match headline {
        Headline::Pass | Headline::Indicative => Paint::Green,
        Headline::Partial | Headline::Unjudged => Paint::Yellow,
        Headline::Fail => Paint::Red,
    }
}

/// Promised and achieved, side by side.
pub(super) fn objectives(evidence: &Evidence, out: Output) -> Listing {
    let (facts, judgement) = (&evidence.facts, &evidence.judgement);
    let figures = &judgement.figures;
    let promise = judgement.findings.iter().find(|finding| finding.verdict.is_some()).map(|it| it.objective);
    let columns = ["", "Promised", "Achieved", "", "How it is measured"].map(|name| (name, Align::Left));
    let mut table = Listing::new(out, &columns);
    let nothing = || "nothing".to_owned();
    let missing = || "not measured".to_owned();
    let held = |achieved: Option<Span>, promised: Option<Span>| match (achieved, promised) {
        (Some(achieved), Some(promised)) if achieved <= promised => "met",
        (_, Some(_)) => "MISSED",
        (_, None) => "",
    };
    let declared = figures.allowances.sum();
    let how = figures.executed.map_or_else(missing, |executed: RtaExec| {
        format!("{executed} from the first step to the last green check, and {declared} declared")
    });
    table.row(&[
        "RTO".into(),
        promise.map_or_else(nothing, |it| it.rto.to_string()).into(),
        figures.recovery.map_or_else(missing, |it: Rta| it.to_string()).into(),
        held(figures.recovery.map(Rta::span), promise.map(|it| it.rto.0)).into(),
        how.into(),
    ]);
    let simulated = facts.fail.as_ref().is_some_and(|loss| loss.at.time == TimeKind::Simulated);
    let calendar = if simulated { ", simulated calendar" } else { "" };
    let rpo = |achieved: Option<Rpa>, name: &str, how: String| {
        [
            name.into(),
            promise.map_or_else(nothing, |it| it.rpo.to_string()).into(),
            achieved.map_or_else(missing, |it| it.to_string()).into(),
            held(achieved.map(Rpa::span), promise.map(|it| it.rpo.0)).into(),
            how.into(),
        ]
    };
    table.row(&rpo(figures.point, "RPO", format!("from what is proven to be there to the loss{calendar}")));
    if let Some(worst) = &facts.exposure {
        let how = format!("worst exposure since {}{calendar}", worst.since.strftime("%Y-%m-%d %H:%MZ"));
        table.row(&rpo(figures.worst_exposure, "RPO", how));
    }
    table
}

/// Each step, and what it proved.
pub(super) fn steps(evidence: &Evidence, out: Output) -> Listing {
    runs(evidence.facts.run.as_ref().map_or(&[], |run| &run.steps), out)
}

/// Steps of a run.
pub(super) fn runs(steps: &[crate::runbook::outcome::StepRun], out: Output) -> Listing {
    let columns = [("Step", Align::Left), ("", Align::Left), ("Took", Align::Right), ("What it proved", Align::Left)];
    let mut table = Listing::new(out, &columns);
    for step in steps {
        table.row(&[
            step.id.as_str().into(),
            word(step.state).into(),
            step.took().map(|took| took.to_string()).unwrap_or_default().into(),
            step.said.as_str().into(),
        ]);
    }
    table
}
