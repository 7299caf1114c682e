//! Plans: what is backed up, when, where to, for how long, how well, and how it comes back.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::name::{RetentionName, RunbookName, VaultName};
use super::schedule::Schedule;
use crate::objective::{Allowances, Disaster, Objective};
use crate::units::{Age, ByteSize, Span};

/// A promise to keep something recoverable. All names in it exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Who answers for it.
    pub owner: Option<String>,
    /// What is backed up.
    pub source: Source,
    /// When; `None` runs by hand.
    pub schedule: Option<Schedule>,
    /// Where to.
    pub vault: VaultName,
    /// Where its snapshots are copied to.
    pub copies: Vec<CopyTo>,
    /// How long they are kept in the plan's vault.
    pub retention: RetentionName,
    /// How old a proof may get.
    pub verify: Verify,
    /// What is promised for each kind of disaster.
    pub objective: Objectives,
    /// How it comes back.
    pub recover: Option<Recover>,
    /// Tags for its snapshots.
    pub tags: Vec<String>,
    /// Compression level of zstd.
    pub level: i32,
    /// The longest that a run may take.
    pub timeout: Span,
    /// How often a failed run is tried again.
    pub retries: u32,
}

/// What is backed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Source {
    /// Folders and files.
    Files(FilesSource),
    /// What a program prints.
    Command {
        /// Program and arguments, run without a shell.
        command: Vec<String>,
        /// Name of the file in the snapshot.
        name: String,
    },
    /// A live SQLite database.
    Sqlite {
        /// Absolute path.
        path: PathBuf,
    },
}

/// Folders and files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FilesSource {
    /// Absolute paths; at least one.
    pub paths: Vec<PathBuf>,
    /// Patterns as in a .gitignore at the root of each path.
    pub exclude: Vec<String>,
    /// Files with such patterns.
    pub exclude_files: Vec<PathBuf>,
    /// What happens to folders that carry a CACHEDIR.TAG.
    pub caches: Caches,
    /// Whether other file systems are entered.
    pub mounts: Mounts,
}

/// What happens to folders that carry a CACHEDIR.TAG.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Caches {
    /// They are backed up like any other.
    Include,
    /// Only the tag is.
    Exclude,
}

/// Whether other file systems are entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mounts {
    /// They are.
    Cross,
    /// They stay out.
    Stay,
}

/// A vault that snapshots are copied to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CopyTo {
    /// Where to.
    pub vault: VaultName,
    /// How far it may lag behind.
    pub max_lag: Span,
    /// How long it keeps them.
    pub retention: RetentionName,
}

/// How old a proof may get. `None` promises nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Verify {
    /// Every blob was read back.
    pub read: Option<Span>,
    /// A drill brought it back and its checks passed.
    pub boot: Option<Span>,
}

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Objectives {
    /// When the machine is lost.
    pub host: Option<Objective>,
    /// When the region of the plan's vault is lost.
    pub region: Option<Objective>,
    /// When somebody who holds what the host holds destroys the data.
    pub attack: Option<Objective>,
    /// Declared times of what drills do not exercise.
    pub allow: Allowances,
}

impl Objectives {
    /// What is promised for one kind of disaster.
    pub const fn get(&self, disaster: Disaster) -> Option<Objective> {
        match disaster {
            Disaster::Host => self.host,
            Disaster::Region => self.region,
            Disaster::Attack => self.attack,
        }
    }

    /// All promises.
    pub fn iter(&self) -> impl Iterator<Item = (Disaster, Objective)> + '_ {
        Disaster::ALL.into_iter().filter_map(|disaster| Some((disaster, self.get(disaster)?)))
    }
}

/// How it comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recover {
    /// By this runbook.
    pub runbook: RunbookName,
    /// When that is tried.
    pub drill: Option<DrillPolicy>,
    /// The sign of life that is read back.
    pub canary: Option<CanaryQuery>,
    /// What production is. `None`: the plan does not say, so that no drill can claim to be of its size.
    pub production: Option<Production>,
}

/// Where the newest sign of life is in what came back: a row that carries the time at which it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CanaryQuery {
    /// The SQLite database, within the target.
    pub path: PathBuf,
    /// The first column of its first row is the time, in milliseconds since 1970 or as RFC 3339 has it.
    pub query: String,
    /// How often one is written.
    pub period: Span,
}

/// What production is, as far as the plan says. At least one of these is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Production {
    /// How much data comes back, at least.
    pub size: Option<ByteSize>,
    /// Processors of the machine that it comes back on.
    pub processors: Option<u32>,
    /// Memory of that machine.
    pub memory: Option<ByteSize>,
}

impl fmt::Display for Production {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            self.size.map(|size| format!("{size} of data")),
            self.processors.map(|count| format!("{count} processors")),
            self.memory.map(|memory| format!("{memory} of memory")),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// When recovery is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DrillPolicy {
    /// How often.
    pub every: Age,
    /// What is lost, in turn; at least one.
    pub scenarios: Vec<Disaster>,
}
