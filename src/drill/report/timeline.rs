//! Time, drawn: what recovery took against the RTO, its execution step by step, and what was lost against the RPO.
//!
//! Three scales, each linear and each labelled, since allowances of minutes and steps of milliseconds do not fit on one.
//! Drawn by hand in SVG with classes only, so that the page's colours apply in light, dark and print.

use std::time::Duration;

use maud::{Markup, html};

use super::{Page, words};
use crate::drill::evidence::Phase;
use crate::runbook::outcome::{Moment, StepRun};
use crate::runbook::plan::State;
use crate::units::Span;

/// The drawing's width, and the margins left and right of a scale.
const WIDTH: f64 = 960.0;
const LEFT: f64 = 8.0;
const RIGHT: f64 = 8.0;
const ROW: f64 = 24.0;
/// Letters of a step's name that fit beside its bar.
const NAME: usize = 24;
/// Where bars begin when names stand to their left.
const NAMED_LEFT: f64 = 190.0;

/// A linear scale.
#[derive(Clone, Copy)]
struct Scale {
    from: f64,
    to: f64,
    left: f64,
    right: f64,
}

impl Scale {
    fn x(self, at: f64) -> f64 {
        let share = (at - self.from) / (self.to - self.from).max(1e-9);
        self.left + share.clamp(0.0, 1.0) * (self.right - self.left)
    }
}

fn n(number: f64) -> String {
    format!("{number:.1}")
}

fn seconds(span: Span) -> f64 {
    span.duration().as_secs_f64()
}

pub(super) fn section(page: &Page<'_>) -> Markup {
    let figures = &page.judgement.figures;
    if figures.start.is_none() {
        return html! {};
    }
    html! {
        section.time {
            h2 { "Time" }
            (recovery(page))
            (execution(page))
            (point(page))
        }
    }
}

/// Recovery time on the scale of the RTO.
fn recovery(page: &Page<'_>) -> Markup {
    let facts = &page.evidence.facts;
    let figures = &page.judgement.figures;
    let Some(executed) = figures.executed else { return html! {} };
    let promised = page.judgement.findings.iter().find(|it| it.verdict.is_some()).map(|it| it.objective.rto.0);
    let total = seconds(executed.with(figures.allowances).span());
    let longest = total.max(promised.map_or(0.0, seconds));
    let scale = Scale { from: 0.0, to: longest * 1.02, left: LEFT, right: WIDTH - RIGHT };
    let before = facts.allowances.iter().filter(|it| it.phase != Phase::Switch);
    let after = facts.allowances.iter().filter(|it| it.phase == Phase::Switch);
    let mut at = 0.0;
    let mut bars = Vec::new();
    let declared = |it: &crate::drill::evidence::Allowance| ("declared", name_of(it.phase), it.span);
    let measured = std::iter::once(("measured", "executed", executed.span()));
    for (class, name, span) in before.map(declared).chain(measured).chain(after.map(declared)) {
        bars.push((class, name, at, at + seconds(span), span));
        at += seconds(span);
    }
    // next to declared minutes, measured seconds are a sliver that needs a name beside it
    let measured = bars.iter().find(|(class, ..)| *class == "measured");
    let sliver = measured.filter(|(_, name, from, to, _)| scale.x(*to) - scale.x(*from) <= room(name));
    let sliver = sliver.map(|(_, name, from, _, span)| (scale.x(*from), format!("{name} {}", words::span(*span))));
    html! {
        figure {
            figcaption { strong { "To recover" } " from the loss, declared times included" }
            svg viewBox=(format!("0 0 {WIDTH} 92")) role="img" aria-label="Recovery time against its objective" {
                @for &(class, name, from, to, span) in &bars {
                    @let (x, wide) = (scale.x(from), (scale.x(to) - scale.x(from)).max(1.5));
                    rect.(class) x=(n(x)) y="26" width=(n(wide)) height="26" {
                        title { (name) ": " (words::span(span)) }
                    }
                    @if wide > room(name) {
                        text.bar.(class) x=(n(x + 6.0)) y="43" { (name) }
                    }
                    @if wide > room(&words::span(span)) - 6.0 {
                        text.small x=(n(x)) y="68" { (words::span(span)) }
                    }
                }
                @if let Some((x, label)) = sliver {
                    (mark(x, 52.0, 74.0, "end", &label, 86.0))
                }
                (mark(scale.x(total), 20.0, 58.0, "end", &format!("back {}", words::span(executed.with(figures.allowances).span())), 14.0))
                @if let Some(promised) = promised {
                    (mark(scale.x(seconds(promised)), 20.0, 76.0, "goal", &format!("RTO {}", words::span(promised)), 88.0))
                }
                line.axis x1=(n(LEFT)) y1="52.5" x2=(n(WIDTH - RIGHT)) y2="52.5" {}
            }
        }
    }
}

const fn name_of(phase: Phase) -> &'static str {
    match phase {
        Phase::Detect => "detect",
        Phase::Decide => "decide",
        Phase::Provision => "provision",
        Phase::Switch => "switch",
    }
}

/// What a text in the drawing's small type takes, with a margin.
fn room(text: &str) -> f64 {
    f64::from(u32::try_from(text.chars().count()).unwrap_or(u32::MAX)) * 6.8 + 12.0
}

/// A vertical mark with a label that stays inside the drawing.
fn mark(x: f64, top: f64, bottom: f64, class: &str, label: &str, label_y: f64) -> Markup {
    let anchor = if x > WIDTH * 0.75 {
        "end"
    } else if x < WIDTH * 0.25 {
        "start"
    } else {
        "middle"
    };
    html! {
        line.mark.(class) x1=(n(x)) y1=(n(top)) x2=(n(x)) y2=(n(bottom)) {}
        text.label.(class) x=(n(x)) y=(n(label_y)) text-anchor=(anchor) { (label) }
    }
}

/// The executed part, step by step, on a scale of its own.
fn execution(page: &Page<'_>) -> Markup {
    let figures = &page.judgement.figures;
    let steps = page.evidence.facts.run.as_ref().map_or(&[][..], |run| &run.steps);
    let Some(start) = figures.start else { return html! {} };
    let since = |moment: Moment| moment.boot().saturating_sub(start.boot()).as_secs_f64();
    let end = steps.iter().filter_map(|step| step.ended).map(since).fold(0.0, f64::max);
    let scale = Scale { from: 0.0, to: end, left: NAMED_LEFT, right: WIDTH - RIGHT };
    let top = 26.0;
    #[expect(clippy::cast_precision_loss, reason = "a drawing of 2^53 steps would fail earlier")]
    let row = |number: usize| top + ROW * number as f64;
    let bottom = row(steps.len());
    let marks = [("t_data", figures.data), ("t_svc", figures.service)];
    let marks: Vec<(f64, String)> = marks
        .into_iter()
        .filter_map(|(name, moment)| {
            let at = since(moment?);
            let after = Span::round_up(Duration::from_secs_f64(at));
            Some((scale.x(at), format!("{name} {}", words::step_span(after))))
        })
        .collect();
    html! {
        figure {
            figcaption { strong { "The executed part, enlarged" } ", from the first step at " span.num { (words::clock(start.wall)) } }
            svg viewBox=(format!("0 0 {WIDTH} {}", n(bottom + 26.0))) role="img" aria-label="Steps over time" {
                @for (number, step) in steps.iter().enumerate() {
                    @let y = row(number);
                    text.step x=(n(LEFT)) y=(n(y + 16.0)) { (shorten(&step.id)) title { (step.id) } }
                    @if let Some((from, to)) = extent(step, &since) {
                        rect.(class_of(step)) x=(n(scale.x(from))) y=(n(y + 4.0)) width=(n((scale.x(to) - scale.x(from)).max(2.0))) height="16" {
                            title { (step.id) @if let Some(took) = step.took() { ": " (words::step_span(took)) } }
                        }
                    } @else {
                        text.small x=(n(NAMED_LEFT)) y=(n(y + 16.0)) { "not exercised" }
                    }
                }
                line.axis x1=(n(NAMED_LEFT)) y1=(n(bottom + 2.0)) x2=(n(WIDTH - RIGHT)) y2=(n(bottom + 2.0)) {}
                text.small x=(n(NAMED_LEFT)) y=(n(bottom + 18.0)) { "t_start" }
                @for (number, (x, label)) in marks.iter().enumerate() {
                    (mark(*x, 18.0, bottom + 2.0, "end", label, if number == 0 { bottom + 18.0 } else { 12.0 }))
                }
            }
        }
    }
}

fn extent(step: &StepRun, since: &impl Fn(Moment) -> f64) -> Option<(f64, f64)> {
    Some((since(step.started?), since(step.ended?)))
}

fn class_of(step: &StepRun) -> &'static str {
    match step.state {
        State::Done => "measured",
        State::Failed => "failed",
        State::Skipped | State::Waiting | State::Running => "declared",
    }
}

fn shorten(name: &str) -> String {
    if name.chars().count() <= NAME {
        return name.to_owned();
    }
    name.chars().take(NAME - 1).chain(['…']).collect()
}

/// What was lost on the scale of the RPO: time runs to the right and ends at the loss.
fn point(page: &Page<'_>) -> Markup {
    let figures = &page.judgement.figures;
    let (Some(point), Some(loss)) = (figures.point, &page.evidence.facts.fail) else { return html! {} };
    let promised = page.judgement.findings.iter().find(|it| it.verdict.is_some()).map(|it| it.objective.rpo.0);
    let worst = figures.worst_exposure.map(|it| it.span());
    let lost = seconds(point.span());
    let longest = [Some(point.span()), promised, worst].into_iter().flatten().map(seconds).fold(0.0, f64::max);
    let scale = Scale { from: -longest.max(1e-3) * 1.02, to: 0.0, left: LEFT, right: WIDTH - RIGHT };
    let x = scale.x(-lost);
    html! {
        figure {
            figcaption {
                strong { "Lost" } ": " (words::span(point.span())) " before the loss at " span.num { (words::clock(loss.at.wall)) }
                @if page.is_simulated() { " " span.tag { "simulated" } }
            }
            svg viewBox=(format!("0 0 {WIDTH} 108")) role="img" aria-label="Data lost against its objective" {
                rect.lost x=(n(x)) y="40" width=(n((scale.x(0.0) - x).max(1.5))) height="26" {
                    title { "lost: " (words::span(point.span())) }
                }
                line.axis x1=(n(LEFT)) y1="66.5" x2=(n(WIDTH - RIGHT)) y2="66.5" {}
                (mark(scale.x(0.0), 34.0, 72.0, "end", "t_fail", 28.0))
                (mark(x, 34.0, 72.0, "end", "t_cp", if x > WIDTH * 0.9 { 14.0 } else { 28.0 }))
                @if let Some(promised) = promised {
                    (mark(scale.x(-seconds(promised)), 34.0, 76.0, "goal", &format!("RPO {}", words::span(promised)), 88.0))
                }
                @if let Some(worst) = worst {
                    (mark(scale.x(-seconds(worst)), 58.0, 90.0, "worst", &format!("worst in the period {}", words::span(worst)), 103.0))
                }
            }
        }
    }
}
