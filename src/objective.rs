//! What is promised (RTO, RPO), what is measured (RTA, RPA), and the verdict between them.
//!
//! A promise and a measurement are different types and meet only in [`judge`]. Invariant: no verdict is better than what
//! was measured. What was not measured fails; what was not exercised is at most partial; what is smaller than production
//! is at most indicative. The formulas are those of NIST SP 800-34r1 and ISO 22301, with recovery time counted until the
//! service is accepted as healthy, and every measurement rounded up.
//!
//! It does not read clocks, and it does not decide which instants bound a measurement: the drill does.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;

/// What is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Disaster {
    /// The machine, with its disks and drctl's state on them.
    Host,
    /// The region of the plan's vault, with everything in it.
    Region,
    /// The data, by somebody who holds what the host holds: its files, its keys, its credentials.
    Attack,
}

impl Disaster {
    /// All of them, the most likely first.
    pub const ALL: [Self; 3] = [Self::Host, Self::Region, Self::Attack];
}

impl fmt::Display for Disaster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Host => "host",
            Self::Region => "region",
            Self::Attack => "attack",
        })
    }
}

/// Recovery time objective: promised, from the loss until the service is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Rto(pub Span);

/// Recovery point objective: promised, the most that may be lost, as the time before the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Rpo(pub Span);

/// What a plan promises for one kind of disaster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    /// The longest that recovery may take, allowances included.
    pub rto: Rto,
    /// The oldest that the recovered state may be.
    pub rpo: Rpo,
}

/// Declared times of what a drill does not exercise. They count towards the RTO in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Allowances {
    /// From the loss to the alarm.
    pub detect: Span,
    /// From the alarm to the decision to recover.
    pub decide: Span,
    /// Until there is hardware to recover on.
    pub provision: Span,
    /// Turning users to the recovered service.
    pub switch: Span,
}

impl Allowances {
    /// All of them, one after the other.
    pub fn sum(self) -> Span {
        let Self { detect, decide, provision, switch } = self;
        detect.saturating_add(decide).saturating_add(provision).saturating_add(switch)
    }
}

/// Recovery time actual: from the loss until every critical check stayed green.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rta(Span);

/// The part of the recovery time that was executed: from the runbook's first step until every critical check stayed
/// green. Never passes alone: the allowances are added before it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RtaExec(Span);

/// Recovery point actual: from the consistency point of what was restored to the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rpa(Span);

impl Rta {
    /// Between two readings of the boot clock. `None` when they are out of order: then nothing was measured.
    pub fn between(fail: Duration, service: Duration) -> Option<Self> {
        service.checked_sub(fail).map(Span::round_up).map(Self)
    }

    /// The measured time.
    pub fn span(self) -> Span {
        self.0
    }
}

impl RtaExec {
    /// Between two readings of the boot clock. `None` when they are out of order: then nothing was measured.
    pub fn between(start: Duration, service: Duration) -> Option<Self> {
        service.checked_sub(start).map(Span::round_up).map(Self)
    }

    /// The measured time.
    pub fn span(self) -> Span {
        self.0
    }

    /// What is judged: the execution and all that was declared around it.
    pub fn with(self, allowances: Allowances) -> Rta {
        Rta(self.0.saturating_add(allowances.sum()))
    }
}

impl Rpa {
    /// From the consistency point to the loss, both wall time. `None` when the point lies after the loss: then one of
    /// the two is wrong, and nothing was measured.
    pub fn between(consistency_point: Timestamp, fail: Timestamp) -> Option<Self> {
        Duration::try_from(fail.duration_since(consistency_point)).ok().map(Span::round_up).map(Self)
    }

    /// The measured time.
    pub fn span(self) -> Span {
        self.0
    }
}

/// Prints a measurement rounded up: to a tenth of a second below ten seconds, to a whole second from there.
fn print_measured(span: Span, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let millis = span.duration().as_millis();
    if millis < 10_000 {
        let tenths = millis.div_ceil(100);
        return f.pad(&format!("{}.{}s", tenths / 10, tenths % 10));
    }
    let seconds = u64::try_from(millis.div_ceil(1000)).unwrap_or(u64::MAX);
    fmt::Display::fmt(&Span::from_secs(seconds), f)
}

macro_rules! display {
    (promised: $($promised:ty),*; measured: $($measured:ty),*) => {
        $(impl fmt::Display for $promised {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        })*
        $(impl fmt::Display for $measured {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                print_measured(self.0, f)
            }
        })*
    };
}
display!(promised: Rto, Rpo; measured: Rta, RtaExec, Rpa);

impl Rto {
    /// Holds the promise against what was executed and what was declared around it. `None`: it was not measured.
    pub fn judge(self, executed: Option<RtaExec>, allowances: Allowances) -> Result<(), Shortfall> {
        let achieved = executed.ok_or(Shortfall::NotMeasured { measure: Measure::RecoveryTime })?.with(allowances);
        if achieved.0 > self.0 { Err(Shortfall::TooSlow { promised: self, achieved }) } else { Ok(()) }
    }
}

impl Rpo {
    /// Holds the promise against the state that came back. `None`: it was not measured.
    pub fn judge(self, achieved: Option<Rpa>) -> Result<(), Shortfall> {
        let achieved = achieved.ok_or(Shortfall::NotMeasured { measure: Measure::RecoveryPoint })?;
        if achieved.0 > self.0 { Err(Shortfall::TooOld { promised: self, achieved }) } else { Ok(()) }
    }
}

/// What a verdict needs to have been measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// RTA_exec: one of its two instants is missing, as when a critical check never stayed green.
    RecoveryTime,
    /// RPA: nothing was restored, or its consistency point is unknown.
    RecoveryPoint,
}

/// One way in which a promise was not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Shortfall {
    /// Execution and allowances together took longer than the RTO.
    TooSlow {
        /// The objective.
        promised: Rto,
        /// RTA_exec with the allowances.
        achieved: Rta,
    },
    /// The recovered state is older than the RPO.
    TooOld {
        /// The objective.
        promised: Rpo,
        /// How old it was, or was at its worst in the period.
        achieved: Rpa,
    },
    /// There is no measurement.
    NotMeasured {
        /// Which one.
        measure: Measure,
    },
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSlow { promised, achieved } => {
                write!(f, "recovery took {achieved} with its allowances, promised were {promised}")
            }
            Self::TooOld { promised, achieved } => write!(f, "{achieved} of data were lost, promised were {promised}"),
            Self::NotMeasured { measure: Measure::RecoveryTime } => f.write_str("the recovery time was not measured"),
            Self::NotMeasured { measure: Measure::RecoveryPoint } => f.write_str("the recovery point was not measured"),
        }
    }
}

/// How what was drilled compares with production.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Data and hardware are production's, or larger.
    Production,
    /// Less data or other hardware than production's.
    Smaller,
}

/// What a drill or an incident found for one kind of disaster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// Execution of the runbook.
    pub executed: Option<RtaExec>,
    /// Age of the recovered state at the loss.
    pub point: Option<Rpa>,
    /// The worst exposure since the last drill; judged as the point is. `None` when there was no earlier drill: then the
    /// period is the moment of the loss.
    pub worst_exposure: Option<Rpa>,
    /// Ids of the runbook's steps that were not exercised.
    pub skipped: Vec<String>,
    /// How it compares with production.
    pub scale: Scale,
}

/// Whether a promise holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// Measured at production's scale, every step exercised, within the objective.
    Pass,
    /// The objective was missed, or not measured.
    Fail {
        /// At least one reason.
        why: Vec<Shortfall>,
    },
    /// Within the objective as far as it was exercised.
    Partial {
        /// Ids of the steps that were not exercised.
        skipped: Vec<String>,
    },
    /// Within the objective, with less than production's data or hardware.
    Indicative,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("PASS"),
            Self::Indicative => f.write_str("INDICATIVE: smaller than production"),
            Self::Partial { skipped } => write!(f, "PARTIAL: not exercised: {}", skipped.join(", ")),
            Self::Fail { why } => {
                let why: Vec<_> = why.iter().map(ToString::to_string).collect();
                write!(f, "FAIL: {}", why.join("; "))
            }
        }
    }
}

/// Holds an objective against what was measured. The worst finding wins: fail, partial, indicative, pass.
pub fn judge(objective: Objective, allowances: Allowances, measured: &Measured) -> Verdict {
    let worst_point = measured.point.map(|point| measured.worst_exposure.map_or(point, |worst| worst.max(point)));
    let results = [objective.rto.judge(measured.executed, allowances), objective.rpo.judge(worst_point)];
    let why: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    if !why.is_empty() {
        Verdict::Fail { why }
    } else if !measured.skipped.is_empty() {
        Verdict::Partial { skipped: measured.skipped.clone() }
    } else {
        match measured.scale {
            Scale::Smaller => Verdict::Indicative,
            Scale::Production => Verdict::Pass,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECTIVE: Objective = Objective { rto: Rto(Span::from_mins(30)), rpo: Rpo(Span::from_hours(24)) };
    const ALLOWANCES: Allowances = Allowances {
        detect: Span::from_mins(5),
        decide: Span::from_mins(10),
        provision: Span::ZERO,
        switch: Span::from_mins(1),
    };

    fn good() -> Measured {
        Measured {
            executed: Some(RtaExec(Span::from_mins(14))),
            point: Some(Rpa(Span::from_hours(24))),
            worst_exposure: None,
            skipped: Vec::new(),
            scale: Scale::Production,
        }
    }

    #[test]
    fn the_worst_finding_wins() {
        let table = [
            (good(), "PASS"),
            (Measured { scale: Scale::Smaller, ..good() }, "INDICATIVE: smaller than production"),
            (
                Measured { scale: Scale::Smaller, skipped: vec!["switch".into(), "dns".into()], ..good() },
                "PARTIAL: not exercised: switch, dns",
            ),
            (
                Measured {
                    executed: Some(RtaExec(Span::round_up(Duration::from_millis(14 * 60_000 + 1)))),
                    skipped: vec!["switch".into()],
                    ..good()
                },
                "FAIL: recovery took 30m1s with its allowances, promised were 30m",
            ),
            (
                Measured { point: Some(Rpa(Span::from_secs(86_401))), ..good() },
                "FAIL: 24h1s of data were lost, promised were 24h",
            ),
            (
                Measured { worst_exposure: Some(Rpa(Span::from_hours(50))), ..good() },
                "FAIL: 2d2h of data were lost, promised were 24h",
            ),
            (Measured { worst_exposure: Some(Rpa(Span::from_hours(2))), ..good() }, "PASS"),
            (
                Measured { executed: None, point: None, scale: Scale::Smaller, ..good() },
                "FAIL: the recovery time was not measured; the recovery point was not measured",
            ),
            (
                Measured { point: None, worst_exposure: Some(Rpa(Span::ZERO)), ..good() },
                "FAIL: the recovery point was not measured",
            ),
        ];
        for (measured, verdict) in table {
            assert_eq!(judge(OBJECTIVE, ALLOWANCES, &measured).to_string(), verdict);
        }
    }

    #[test]
    fn execution_alone_never_passes() {
        let executed = Some(RtaExec(Span::from_mins(29)));
        assert_eq!(OBJECTIVE.rto.judge(executed, Allowances::default()), Ok(()));
        assert!(matches!(OBJECTIVE.rto.judge(executed, ALLOWANCES), Err(Shortfall::TooSlow { .. })));
    }

    #[test]
    fn measurements_are_rounded_up_and_never_negative() {
        let exec = RtaExec::between(Duration::from_secs(1), Duration::from_nanos(2_500_000_001)).unwrap();
        assert_eq!(exec.span().to_string(), "1s501ms");
        assert_eq!(exec.to_string(), "1.6s");
        assert_eq!(Rta::between(Duration::from_secs(2), Duration::from_secs(1)), None);
        let early: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let late: Timestamp = "2026-01-01T00:01:00.0000001Z".parse().unwrap();
        assert_eq!(Rpa::between(early, late).unwrap().to_string(), "1m1s");
        assert_eq!(Rpa::between(late, early), None);
    }

    #[test]
    fn evidence_comes_back_from_json() {
        let verdict = judge(OBJECTIVE, ALLOWANCES, &Measured { executed: None, ..good() });
        let json = serde_json::to_string(&verdict).unwrap();
        assert_eq!(json, r#"{"verdict":"fail","why":[{"kind":"not-measured","measure":"recovery-time"}]}"#);
        assert_eq!(serde_json::from_str::<Verdict>(&json).unwrap(), verdict);
    }
}
