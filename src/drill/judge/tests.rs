use super::super::samples::{self, at, pass, wall};
use super::*;
use crate::drill::evidence::{Allowance, Exposure};
use crate::objective::Scale;

fn headline(change: impl FnOnce(&mut Facts)) -> (Headline, Judgement) {
    let mut facts = pass();
    change(&mut facts);
    let judgement = judge(&facts);
    (judgement.headline, judgement)
}

fn drilled(judgement: &Judgement) -> String {
    judgement.findings.iter().find_map(|it| it.verdict.as_ref()).map_or_else(String::new, ToString::to_string)
}

#[test]
fn figures_are_those_of_the_definitions() {
    let figures = recompute(&pass());
    assert_eq!((figures.start, figures.data, figures.service), (Some(at(250)), Some(at(702_400)), Some(at(848_750))));
    assert_eq!(figures.executed.unwrap().span().to_string(), "14m8s500ms");
    assert_eq!(figures.recovery.unwrap().span().to_string(), "36m8s500ms");
    assert_eq!(figures.since_loss.unwrap().span().to_string(), "14m8s750ms");
    // t_fail is 13:22:07.250, t_cp 13:21:55
    assert_eq!(figures.point.unwrap().span().to_string(), "12s250ms");
    assert_eq!(figures.worst_exposure.unwrap().span().to_string(), "12s");
    assert_eq!(figures.restoring.unwrap().to_string(), "11m42s150ms");
    assert_eq!(figures.bytes_per_second, Some(103_079_215_104 * 1000 / 702_150));
    assert_eq!((figures.exercised, figures.steps, figures.files), (4, 4, 48_211));
    assert_eq!((figures.skew, figures.cache), (Some(Span::ZERO), Some(Cache::Cold)));
}

#[test]
fn each_rule_alone_changes_the_verdict() {
    type Change = fn(&mut Facts);
    let table: [(Headline, &str, Change); 16] = [
        (Headline::Pass, "PASS", |_| {}),
        // execution alone would pass; the allowances do not fit
        (Headline::Fail, "FAIL: recovery took 1h1m9s with its allowances, promised were 1h", |facts| {
            facts.allowances.push(Allowance { span: Span::from_mins(25), ..facts.allowances[0].clone() });
        }),
        // a millisecond over the promise is over: 46 minutes of allowances and 14m0s001ms
        (Headline::Fail, "FAIL: recovery took 1h1s with its allowances, promised were 1h", |facts| {
            facts.allowances[1].span = Span::from_mins(34);
            samples::steps(facts)[3].ended = Some(at(250 + 14 * 60_000 + 1));
        }),
        (Headline::Pass, "PASS", |facts| {
            facts.allowances[1].span = Span::from_mins(34);
            samples::steps(facts)[3].ended = Some(at(250 + 14 * 60_000));
        }),
        // a person's wait is part of it
        (Headline::Fail, "FAIL: recovery took 1h8m9s with its allowances, promised were 1h", |facts| {
            let last = &mut samples::steps(facts)[3];
            last.ended = Some(at(848_750 + 32 * 60_000));
            last.waited = Span::from_mins(32);
        }),
        (Headline::Fail, "FAIL: 13h52m8s of data were lost, promised were 15s", |facts| {
            facts.canary = None;
            samples::steps(facts)[0].restored.as_mut().unwrap().consistent_to = wall("2026-11-22T23:30:00Z");
        }),
        // the drill hit a good moment; the period had a worse one
        (Headline::Fail, "FAIL: 16s of data were lost, promised were 15s", |facts| {
            facts.exposure.as_mut().unwrap().at = wall("2026-11-02T04:10:16Z");
        }),
        (Headline::Pass, "PASS", |facts| facts.exposure = None),
        (Headline::Fail, "FAIL: the recovery point was not measured", |facts| facts.fail = None),
        // the point lies after the loss: one of the two is wrong
        (Headline::Fail, "FAIL: the recovery point was not measured", |facts| {
            facts.canary = None;
            samples::steps(facts)[0].restored.as_mut().unwrap().consistent_to = wall("2026-11-23T13:22:08Z");
        }),
        (Headline::Fail, "FAIL: the recovery time was not measured", |facts| samples::steps(facts)[3].ended = None),
        (Headline::Partial, "PARTIAL: not exercised: same-as-source", |facts| {
            let step = &mut samples::steps(facts)[3];
            step.critical = false;
            samples::skip(step, "no source");
        }),
        // a critical step that was not exercised leaves the service unproven
        (Headline::Fail, "FAIL: the recovery time was not measured", |facts| {
            samples::skip(&mut samples::steps(facts)[3], "no source");
        }),
        (Headline::Indicative, "INDICATIVE: smaller than production", |facts| facts.scale = Scale::Smaller),
        (Headline::Unjudged, "", |facts| facts.promises.retain(|promise| promise.disaster != Disaster::Region)),
        (Headline::Fail, "FAIL: the recovery time was not measured; the recovery point was not measured", |facts| {
            facts.run = None;
        }),
    ];
    for (number, (expected, verdict, change)) in table.into_iter().enumerate() {
        let (headline, judgement) = headline(change);
        assert_eq!(
            (headline, drilled(&judgement).as_str()),
            (expected, verdict),
            "row {number}: {:?}",
            judgement.doubts
        );
    }
}

#[test]
fn each_doubt_fails_a_drill_that_would_pass() {
    type Change = fn(&mut Facts);
    let table: [(&str, Change); 10] = [
        ("the drill was cancelled", |facts| facts.ending = DrillEnding::Cancelled),
        ("the drill was killed", |facts| facts.ending = DrillEnding::Killed),
        ("the drill was due and never began", |facts| facts.ending = DrillEnding::Overdue),
        ("step intact failed: torn page", |facts| {
            let step = &mut samples::steps(facts)[2];
            (step.state, step.said) = (State::Failed, "torn page".into());
        }),
        ("no critical check was green: what came back was not proven", |facts| {
            samples::steps(facts)
                .iter_mut()
                .filter(|step| step.kind == StepKind::Check)
                .for_each(|step| step.critical = false);
        }),
        ("the canary and the consistency point are 10s1ms apart, with one planted every 10s", |facts| {
            facts.canary.as_mut().unwrap().newest = Some(wall("2026-11-23T13:22:05.001Z"));
        }),
        ("no canary could be read from what came back", |facts| facts.canary.as_mut().unwrap().newest = None),
        ("the objectives were not in force before the first step", |facts| facts.promised_since = at(251)),
        ("real and simulated times were mixed: the recovery point was not measured", |facts| {
            samples::steps(facts)[0].restored.as_mut().unwrap().time = TimeKind::Simulated;
        }),
        ("the worst exposure of the period was not measured", |facts| {
            facts.exposure.as_mut().unwrap().at = wall("2026-11-02T04:00:00Z");
        }),
    ];
    for (doubt, change) in table {
        let (headline, judgement) = headline(change);
        assert_eq!(headline, Headline::Fail, "{doubt}");
        let doubts: Vec<String> = judgement.doubts.iter().map(ToString::to_string).collect();
        assert_eq!(doubts, [doubt]);
    }
}

#[test]
fn only_the_promise_for_what_was_lost_is_judged() {
    let (_, judgement) = headline(|_| {});
    let judged: Vec<_> = judgement.findings.iter().map(|it| (it.disaster, it.verdict.is_some())).collect();
    assert_eq!(judged, [(Disaster::Host, false), (Disaster::Region, true), (Disaster::Attack, false)]);
}

#[test]
fn an_optional_step_may_fail() {
    let (headline, judgement) = headline(|facts| {
        let step = &mut samples::steps(facts)[1];
        (step.state, step.critical) = (State::Failed, false);
    });
    assert_eq!((headline, judgement.figures.exercised), (Headline::Pass, 4));
}

#[test]
fn several_sources_count_by_the_oldest_and_show_their_skew() {
    let mut facts = pass();
    let steps = samples::steps(&mut facts);
    let mut second = steps[0].clone();
    second.id = "second".into();
    let back = second.restored.as_mut().unwrap();
    back.consistent_to = wall("2026-11-23T13:22:00Z");
    back.cache = Cache::Warm;
    steps.push(second);
    let figures = recompute(&facts);
    assert_eq!(figures.point.unwrap().span().to_string(), "12s250ms");
    assert_eq!((figures.skew, figures.cache), (Some(Span::from_secs(5)), Some(Cache::Warm)));
    assert_eq!(figures.files, 2 * 48_211);
}

#[test]
fn simulated_times_are_compared_among_themselves() {
    let judgement = judge(&samples::simulated());
    assert_eq!(judgement.headline, Headline::Indicative, "{:?}", judgement.doubts);
    assert_eq!(judgement.figures.point.unwrap().span().to_string(), "16h30m");
    assert_eq!(judgement.figures.executed.unwrap().span().to_string(), "2s445ms");
    let exposure = Exposure { time: TimeKind::Real, ..pass().exposure.unwrap() };
    let facts = Facts { exposure: Some(exposure), ..samples::simulated() };
    assert_eq!(judge(&facts).doubts, [Doubt::MixedTimes]);
}
