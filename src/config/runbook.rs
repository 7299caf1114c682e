//! Runbooks: typed steps and what they need. Whether the needs form an order is decided where runbooks are planned.
//!
//! Paths in a step are relative to the target that a run restores into, and stay within it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name::{PlanName, StepId};
use crate::units::{ByteSize, Span};

/// How something comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Runbook {
    /// What it brings back.
    pub description: String,
    /// In the order of the file; at least one. Ids are not known to be unique, nor needs to exist or to form an order.
    pub steps: Vec<Step>,
}

/// Whether a failed step is a failed recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Criticality {
    /// It is: the service does not count as back before this step is green.
    Critical,
    /// It is not.
    Optional,
}

/// What a failed step does to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// No further step starts.
    #[default]
    Stop,
    /// Steps that do not need it go on.
    Continue,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its name.
    pub id: StepId,
    /// What it is for.
    pub description: Option<String>,
    /// Ids of the steps that must have been done before, as they were written.
    pub needs: Vec<String>,
    /// The longest that it may take.
    pub timeout: Span,
    /// Whether recovery fails with it.
    pub criticality: Criticality,
    /// What happens to the other steps when it fails.
    pub on_error: OnError,
    /// What it does.
    pub action: Action,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Brings data back.
    Restore(RestoreStep),
    /// Runs a program and its arguments, without a shell, in the target.
    Exec {
        /// Program and arguments.
        command: Vec<String>,
    },
    /// Proves something.
    Check(Check),
}

/// Which snapshot to restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotChoice {
    /// The newest one of the plan.
    Latest,
    /// The one whose id starts like this: 4 to 64 lower-case hex digits.
    Id(String),
}

/// Brings data back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreStep {
    /// Whose snapshot; `None` is the plan that is being recovered.
    pub plan: Option<PlanName>,
    /// Which one.
    pub snapshot: SnapshotChoice,
    /// Only what matches one of these globs; empty is all.
    pub include: Vec<String>,
    /// Folder within the target.
    pub into: PathBuf,
}

/// What the restored state must show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// A tree has the content that it should have.
    Digest {
        /// The tree, within the target.
        path: PathBuf,
        /// What its content is held against. Never something that the backup itself computed.
        against: DigestOf,
    },
    /// A file is there.
    File {
        /// The file, within the target.
        path: PathBuf,
        /// It is at least this large.
        min_size: ByteSize,
    },
    /// A program and its arguments, run without a shell in the target, exits with 0.
    Command(Vec<String>),
    /// A query of a restored SQLite database has the right answer.
    Sqlite {
        /// The database, within the target.
        path: PathBuf,
        /// The first column of its first row is judged.
        query: String,
        /// The right answer.
        expect: Expect,
    },
}

/// What a digest can be held against, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Against {
    /// What the source holds.
    Source,
}

/// What a tree is held against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DigestOf {
    /// What the source holds, read by other code than the backup's.
    Source,
    /// A list of digests and paths as `sha256sum` writes it; an absolute path outside the target.
    Manifest(PathBuf),
    /// The digest of the whole tree: 64 lower-case hex digits.
    Sha256(String),
}

/// The right answer of a query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// This text.
    Equals(String),
    /// A number, not below this.
    AtLeast(i64),
}
