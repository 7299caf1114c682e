//! How the page says things.

use jiff::Timestamp;
use maud::{Markup, html};

use crate::drill::evidence::Phase;
use crate::drill::judge::Headline;
use crate::objective::Disaster;
use crate::record::TimeKind;
use crate::runbook::outcome::{PointKind, StepKind};
use crate::runbook::plan::State;
use crate::units::Span;

/// Keeps a number and its unit on one line.
const NBSP: char = '\u{a0}';

/// A measured or promised time, for people: rounded up to a tenth of a second below ten seconds, to a second from there.
pub(super) fn span(span: Span) -> String {
    let millis = span.duration().as_millis();
    if millis < 10_000 {
        let tenths = millis.div_ceil(100);
        return match (tenths / 10, tenths % 10) {
            (seconds, 0) => format!("{seconds}{NBSP}s"),
            (seconds, tenth) => format!("{seconds}.{tenth}{NBSP}s"),
        };
    }
    let mut seconds = millis.div_ceil(1000);
    let mut parts = Vec::new();
    for (unit, name) in [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")] {
        // "24 h" is how people say a day's promise
        let unit_counts = unit < 86_400 || seconds >= 2 * unit;
        if unit_counts && seconds >= unit {
            parts.push(format!("{}{NBSP}{name}", seconds / unit));
            seconds %= unit;
        }
    }
    parts.join(" ")
}

/// How long a step took: in milliseconds below one second.
pub(super) fn step_span(took: Span) -> String {
    let millis = took.duration().as_millis();
    if millis < 1000 { format!("{millis}{NBSP}ms") } else { span(took) }
}

/// A wall time, marked when it is no real one.
pub(super) fn wall(at: Timestamp, time: TimeKind) -> Markup {
    html! {
        span.num { (at.strftime("%Y-%m-%d %H:%M:%S UTC")) }
        @match time {
            TimeKind::Real => {}
            TimeKind::Simulated => { " " span.tag { "simulated" } }
        }
    }
}

/// Just the hour.
pub(super) fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

/// A count with thin spaces between thousands.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

pub(super) const fn verdict(headline: Headline) -> &'static str {
    match headline {
        Headline::Pass => "Passed",
        Headline::Indicative => "Indicative",
        Headline::Partial => "Partial",
        Headline::Fail => "Failed",
        Headline::Unjudged => "Not judged",
    }
}

pub(super) const fn disaster(disaster: Disaster) -> &'static str {
    match disaster {
        Disaster::Host => "The host is lost",
        Disaster::Region => "The region is lost",
        Disaster::Attack => "The data is attacked",
    }
}

pub(super) const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Detect => "until the alarm",
        Phase::Decide => "until the decision",
        Phase::Provision => "until there is hardware",
        Phase::Switch => "turning users over",
    }
}

pub(super) const fn kind(kind: StepKind) -> &'static str {
    match kind {
        StepKind::Restore => "restore",
        StepKind::Exec => "program",
        StepKind::Check => "check",
    }
}

pub(super) const fn state(state: State) -> &'static str {
    match state {
        State::Waiting | State::Running => "unfinished",
        State::Done => "done",
        State::Failed => "failed",
        State::Skipped => "not exercised",
    }
}

pub(super) const fn point(kind: PointKind) -> &'static str {
    match kind {
        PointKind::SnapshotStart => "the start of the snapshot: its files were read while in use, so some may be newer",
        PointKind::Transaction => "the instant of one transaction's view",
    }
}
