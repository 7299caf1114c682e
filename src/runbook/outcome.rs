//! What a run of a runbook leaves behind: plain facts, from which figures are computed elsewhere.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::manifest::Origin;
use super::plan::State;
use crate::clock::Clock;
use crate::monitor::Problem;
use crate::record::TimeKind;
use crate::units::Span;

/// An instant, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Wall time.
    pub wall: Timestamp,
    /// Nanoseconds of boot time: durations are differences of these.
    pub boot_nanos: u64,
    /// Whose wall time it is.
    pub time: TimeKind,
}

impl Moment {
    /// Now.
    pub fn now(clock: &dyn Clock, time: TimeKind) -> Self {
        let boot_nanos = u64::try_from(clock.boot().as_nanos()).unwrap_or(u64::MAX);
        Self { wall: clock.now(), boot_nanos, time }
    }

    /// Since boot.
    pub const fn boot(self) -> Duration {
        Duration::from_nanos(self.boot_nanos)
    }
}

/// What kind of step it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepKind {
    /// Brought data back.
    Restore,
    /// Ran a program.
    Exec,
    /// Proved something.
    Check,
}

/// Whether a local copy of the vault's index and packs could help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cache {
    /// There was none: as on a blank host.
    Cold,
    /// There was one.
    Warm,
}

/// How the consistency point of a restored snapshot is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PointKind {
    /// Files read while they were in use: the start of the snapshot. Some of what came back may be newer.
    SnapshotStart,
    /// One transaction's view: the instant of the copy.
    Transaction,
}

/// What a restore step brought back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Restored {
    /// The plan whose snapshot it was.
    pub plan: String,
    /// Its full id, in hex.
    pub snapshot: String,
    /// Id of its root tree, in hex.
    pub tree: String,
    /// The host that made it.
    pub host: String,
    /// The paths in it.
    pub paths: Vec<String>,
    /// Every commit at or before this instant is in it.
    pub consistent_to: Timestamp,
    /// How that is known.
    pub point: PointKind,
    /// Whose wall time the point is.
    pub time: TimeKind,
    /// Files written.
    pub files: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Bytes fetched from the vault.
    pub fetched: u64,
    /// Cold or warm.
    pub cache: Cache,
    /// What could not be restored whole. Any makes the step fail.
    pub problems: Vec<Problem>,
    /// The live source that it can be held against; in an incident there is none.
    #[serde(skip)]
    pub origin: Option<OriginOf>,
}

/// An origin. Takes no part in comparisons of facts.
#[derive(Debug, Clone)]
pub struct OriginOf(pub Origin);

impl PartialEq for OriginOf {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// How a step went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRun {
    /// Its name.
    pub id: String,
    /// Its kind.
    pub kind: StepKind,
    /// What it is for, as the runbook says.
    pub description: Option<String>,
    /// Whether recovery fails with it.
    pub critical: bool,
    /// How it ended.
    pub state: State,
    /// When it began. `None`: it did not.
    pub started: Option<Moment>,
    /// When it ended.
    pub ended: Option<Moment>,
    /// How much of that was spent waiting for people.
    pub waited: Span,
    /// What it proved, or why it failed or did not run.
    pub said: String,
    /// The end of what it printed.
    pub output: String,
    /// What it brought back.
    pub restored: Option<Restored>,
}

impl StepRun {
    /// How long it took.
    pub fn took(&self) -> Option<Span> {
        self.ended?.boot().checked_sub(self.started?.boot()).map(Span::round_up)
    }
}

/// How a run came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// Every step is in a final state by itself.
    Completed,
    /// The operator, or a shutdown, stopped it.
    Cancelled,
}

/// A run of a runbook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its steps, in the order of the runbook.
    pub steps: Vec<StepRun>,
    /// How it ended.
    pub ending: Ending,
}
