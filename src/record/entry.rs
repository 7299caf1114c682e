//! What a record says.
//!
//! A record is the immutable account of one finished run, or of instants that were missed. It is self-contained: the
//! catalog is filled from records and the list of snapshots alone. Sizes are bounded; there are no floating-point
//! numbers, so that its canonical text is unique.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::Ulid;

use crate::config::Tier;
use crate::monitor::Problem;
use crate::vault::Id;

/// The version of the records that this program writes.
pub const VERSION: u32 = 1;

/// Problems that a record names; it counts the rest.
pub const MAX_PROBLEMS: usize = 100;

/// Characters kept of each text of a problem.
const MAX_TEXT: usize = 500;

/// The identity of a run and of its record. Sorts by the time at which the run started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub Ulid);

/// The text is no run id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a run id (26 characters, as a ULID has them)")]
pub struct NotARunId(pub String);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

impl FromStr for RunId {
    type Err = NotARunId;

    fn from_str(text: &str) -> Result<Self, NotARunId> {
        let refuse = || NotARunId(text.chars().take(80).collect());
        let id = Self(Ulid::from_string(text).map_err(|_| refuse())?);
        // ULIDs decode leniently (case, I for 1): a record has one name only.
        if id.to_string() == text { Ok(id) } else { Err(refuse()) }
    }
}

impl Serialize for RunId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All was done.
    Ok,
    /// Some of it could not be done; the rest counts.
    Partial,
    /// Nothing of it counts.
    Failed,
}

/// Whether a snapshot holds all that its run should have read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Completeness {
    /// All of it.
    Complete,
    /// Some of it could not be read.
    Partial,
    /// No record of its run is known. Counts like a partial one.
    Unknown,
}

/// Why an instant was missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissReason {
    /// Nothing ran the schedule at that time.
    Downtime,
    /// The run before was still going.
    Overlap,
}

/// Which clock a record's times are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeKind {
    /// The machine's.
    #[default]
    Real,
    /// One turned by hand, as the demo's year is.
    Simulated,
}

/// An instant that was missed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissedDue {
    /// The instant.
    pub due: Timestamp,
    /// The tiers that it would have served.
    pub tiers: Vec<Tier>,
}

/// A snapshot that arrived in a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiedSnapshot {
    /// Its id in the vault it was copied from.
    pub origin: Id,
    /// Its id in the copy.
    pub copy: Id,
    /// Carried along: the copy must be judged without the origin.
    pub completeness: Completeness,
}

/// How a snapshot was proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// Every blob was read back.
    Read,
    /// A drill brought it back and its checks passed.
    Drill,
}

/// What a drill showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillOutcome {
    /// Its place among the plan's drills, from 1.
    pub number: u64,
    /// The runbook.
    pub runbook: String,
    /// What was lost.
    pub scenario: String,
    /// The snapshot that was brought back.
    pub snapshot: Option<Id>,
    /// The verdict's name.
    pub verdict: String,
    /// From the first step to the service, rounded up.
    pub rta_exec_ms: Option<u64>,
    /// From the consistency point to the loss, rounded up.
    pub rpa_ms: Option<u64>,
    /// Steps exercised.
    pub exercised: u64,
    /// Steps in all.
    pub steps: u64,
    /// SHA-256 of the canonical evidence.
    pub evidence: Option<Id>,
}

/// What was done, with what only that kind of run has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Work {
    /// A snapshot was made.
    Backup {
        /// None when it failed, and for a rehearsal.
        snapshot: Option<Id>,
    },
    /// A snapshot was brought back.
    Restore {
        /// The snapshot.
        snapshot: Id,
    },
    /// Snapshots were dropped.
    Retention {
        /// Those.
        dropped: Vec<Id>,
    },
    /// Space was freed.
    Prune,
    /// Snapshots were copied into the vault that holds this record.
    Replicate {
        /// The name of the vault they come from.
        from: String,
        /// What arrived.
        copied: Vec<CopiedSnapshot>,
    },
    /// Snapshots were read back.
    Verify {
        /// Those found whole.
        snapshots: Vec<Id>,
    },
    /// Recovery was tried.
    Drill(DrillOutcome),
    /// Instants were missed.
    Missed {
        /// Those, ascending.
        dues: Vec<MissedDue>,
        /// Why.
        reason: MissReason,
    },
}

impl Work {
    /// The kind, as stored.
    pub fn kind(&self) -> &'static str {
        match self {
            Work::Backup { .. } => "backup",
            Work::Restore { .. } => "restore",
            Work::Retention { .. } => "retention",
            Work::Prune => "prune",
            Work::Replicate { .. } => "replicate",
            Work::Verify { .. } => "verify",
            Work::Drill(_) => "drill",
            Work::Missed { .. } => "missed",
        }
    }
}

/// The place of a record among those that one process wrote to one vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The chain: one for each process and vault.
    pub chain: RunId,
    /// From 0 without gaps.
    pub seq: u64,
    /// SHA-256 of the canonical text of the record before; none at 0.
    pub prev: Option<Id>,
}

/// What a run has to say when it ends. The recorder adds who says it and the place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The run.
    pub id: RunId,
    /// The plan that it belongs to.
    pub plan: Option<String>,
    /// The instant that it was due, when the schedule started it.
    pub due: Option<Timestamp>,
    /// The tiers that it serves.
    pub tiers: Vec<Tier>,
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// How it ended.
    pub status: Status,
    /// What was done.
    pub work: Work,
    /// Counts, bytes and milliseconds by name; the name ends in the unit.
    pub figures: BTreeMap<String, i64>,
    /// What went wrong.
    pub problems: Vec<Problem>,
}

/// The account of a finished run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Of the format.
    pub version: u32,
    /// The run.
    pub id: RunId,
    /// Who says so.
    pub host: String,
    /// Its place among the others.
    pub link: Link,
    /// Which clock the times are from.
    pub time: TimeKind,
    /// The plan that it belongs to.
    pub plan: Option<String>,
    /// The instant that it was due, when the schedule started it.
    pub due: Option<Timestamp>,
    /// The tiers that it serves.
    pub tiers: Vec<Tier>,
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// How it ended.
    pub status: Status,
    /// What was done.
    pub work: Work,
    /// Counts, bytes and milliseconds by name; the name ends in the unit.
    pub figures: BTreeMap<String, i64>,
    /// What went wrong, the first [`MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// How many more there were.
    pub problems_omitted: u64,
}

impl Record {
    /// The record of a run: bounds the problems.
    pub fn new(draft: Draft, host: &str, link: Link, time: TimeKind) -> Self {
        let omitted = draft.problems.len().saturating_sub(MAX_PROBLEMS);
        let short = |text: &str| text.chars().take(MAX_TEXT).collect::<String>();
        let bounded = |problem: &Problem| Problem { what: short(&problem.what), why: short(&problem.why) };
        Self {
            version: VERSION,
            id: draft.id,
            host: host.to_owned(),
            link,
            time,
            plan: draft.plan,
            due: draft.due,
            tiers: draft.tiers,
            started: draft.started,
            finished: draft.finished,
            status: draft.status,
            work: draft.work,
            figures: draft.figures,
            problems: draft.problems.iter().take(MAX_PROBLEMS).map(bounded).collect(),
            problems_omitted: omitted as u64,
        }
    }
}
