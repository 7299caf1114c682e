//! `drctl.toml`, schedules and runbooks: strict raw types, then domain types; errors name file, line, key and fix.
//!
//! A file's text goes through `document` (syntax, keys, types, each error with its place), `merge` (several files), and
//! `resolve` (defaults, alternatives, names) to a [`Config`]; [`check`] then says what in it cannot come true.
//! Invariant: every name in a [`Config`] exists, and no secret is in it, only where secrets come from.
//!
//! Only `load` reads files. Secrets are resolved, and anything is printed, by the command line.

mod check;
mod complaint;
mod document;
mod load;
mod merge;
mod name;
mod places;
mod plan;
mod raw;
mod resolve;
mod retention;
mod runbook;
mod schedule;
mod schema;
mod structure;
mod vault;

#[cfg(test)]
mod shipped_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use check::check;
pub use complaint::{ConfigError, Finding, Place, Severity};
pub use load::load;
pub use merge::parse;
pub use name::{NotAName, PlanName, RetentionName, RunbookName, StepId, VaultName};
pub use places::Places;
pub use plan::{
    Caches, CanaryQuery, CopyTo, DrillPolicy, FilesSource, Mounts, Objectives, Plan, Production, Recover, Source,
    Verify,
};
pub use retention::{Keep, Tier, Tiers};
pub use runbook::{
    Action, Against, Check, Criticality, DigestOf, Expect, OnError, RestoreStep, Runbook, SnapshotChoice, Step,
};
pub use schedule::{CatchUp, CronLine, Daylight, Days, Rhythm, Schedule, TierDays, Zone};
pub use schema::schema;
pub use vault::{CredentialsRef, Limits, PruneOptions, PrunedBy, SecretRef, VaultConfig};

use crate::units::Span;

/// A program that is run when something happens.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Hook {
    /// Program and arguments, run without a shell.
    pub command: Vec<String>,
    /// The longest that it may take.
    pub timeout: Span,
}

/// All that was configured. Serialized it is what `config show` prints: defaults filled in, secrets as references.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Config {
    /// Folder of the catalog, caches and spools. `None` is the system's.
    pub state_dir: Option<PathBuf>,
    /// Run when a run did not succeed.
    pub on_failure: Option<Hook>,
    /// Places for snapshots.
    pub vaults: BTreeMap<VaultName, VaultConfig>,
    /// How long snapshots are kept.
    pub retention: BTreeMap<RetentionName, Tiers>,
    /// What is kept recoverable.
    pub plans: BTreeMap<PlanName, Plan>,
    /// How things come back.
    pub runbooks: BTreeMap<RunbookName, Runbook>,
    /// Where it was all written.
    #[serde(skip)]
    pub places: Places,
}
