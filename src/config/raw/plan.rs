//! Plans as they are written.

use std::path::PathBuf;

use jiff::civil::Weekday;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::retention::Tier;
use crate::config::schedule::{CatchUp, Daylight};
use crate::objective::{Allowances, Disaster, Objective};
use crate::units::{Age, ByteSize, Span};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-later" = ["journal"]))]
pub(in crate::config) struct Plan {
    /// Who answers for it.
    pub(in crate::config) owner: Option<String>,
    /// What is backed up.
    pub(in crate::config) source: Source,
    /// When. Without it the plan runs by hand.
    pub(in crate::config) schedule: Option<Schedule>,
    /// The vault that it is backed up into.
    pub(in crate::config) vault: String,
    /// Vaults that its snapshots are copied to.
    #[serde(default)]
    pub(in crate::config) copies: Vec<Copy>,
    /// How long snapshots are kept. `gfs` by default.
    pub(in crate::config) retention: Option<String>,
    /// How old a proof may get.
    #[serde(default)]
    pub(in crate::config) verify: Verify,
    /// What is promised for each kind of disaster.
    #[serde(default)]
    pub(in crate::config) objective: Objectives,
    /// How it comes back.
    pub(in crate::config) recover: Option<Recover>,
    /// Tags for its snapshots, besides those of plan and tiers.
    #[serde(default)]
    pub(in crate::config) tags: Vec<String>,
    /// Compression level of zstd, from 1 to 22. 3 by default.
    #[schemars(range(min = 1, max = 22))]
    pub(in crate::config) level: Option<i32>,
    /// The longest that a run may take. 24h by default.
    pub(in crate::config) timeout: Option<Span>,
    /// How often a failed run is tried again. 2 by default.
    pub(in crate::config) retries: Option<u32>,
}

/// The kinds of source that this version knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum SourceKind {
    Files,
    Command,
    Sqlite,
}

impl SourceKind {
    pub(in crate::config) const fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Command => "command",
            Self::Sqlite => "sqlite",
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-later-kind" = ["postgres", "mariadb", "git", "terraform", "s3"]))]
pub(in crate::config) struct Source {
    /// `files`: folders. `command`: what a program prints. `sqlite`: a live database.
    pub(in crate::config) kind: SourceKind,
    /// files: absolute paths.
    pub(in crate::config) paths: Option<Vec<PathBuf>>,
    /// files: patterns as in a .gitignore at the root of each path.
    pub(in crate::config) exclude: Option<Vec<String>>,
    /// files: files with such patterns.
    pub(in crate::config) exclude_files: Option<Vec<PathBuf>>,
    /// files: leave out folders that carry a CACHEDIR.TAG.
    pub(in crate::config) exclude_caches: Option<bool>,
    /// files: do not descend into other file systems.
    pub(in crate::config) one_file_system: Option<bool>,
    /// command: program and arguments, run without a shell.
    pub(in crate::config) command: Option<Vec<String>>,
    /// command: name of the file in the snapshot.
    pub(in crate::config) name: Option<String>,
    /// sqlite: absolute path of the database.
    pub(in crate::config) path: Option<PathBuf>,
}

/// Exactly one of `at`, `cron` and `every`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Schedule {
    /// A time of day, like "01:30".
    pub(in crate::config) at: Option<String>,
    /// Five fields: minute, hour, day of the month, month, day of the week.
    pub(in crate::config) cron: Option<String>,
    /// A fixed interval, counted from midnight UTC of 1 January 1970.
    pub(in crate::config) every: Option<Span>,
    /// IANA time zone. UTC by default.
    pub(in crate::config) zone: Option<String>,
    /// Needed for a time that daylight saving skips or repeats: `once` runs at the change when it is skipped, and the
    /// first time when it comes twice.
    pub(in crate::config) daylight: Option<Daylight>,
    /// The day of the week on which the weekly run is (`at`), or a week starts (`cron`, `every`).
    pub(in crate::config) weekly: Option<Day>,
    /// The day of the month, 1 to 31, on which the monthly run is (`at`), or a month starts (`cron`, `every`). In a
    /// shorter month its last day.
    #[schemars(range(min = 1, max = 31))]
    pub(in crate::config) monthly: Option<i8>,
    /// The tiers that runs serve. With `at`, by default `daily` and those whose day is given; `["weekly"]` runs on the
    /// weekly day only. With `cron` and `every`, by default those of the plan's retention.
    pub(in crate::config) tiers: Option<Vec<Tier>>,
    /// After downtime: `once` makes up for all missed runs with one, `skip` waits for the next. By default `once`.
    pub(in crate::config) catch_up: Option<CatchUp>,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl From<Day> for Weekday {
    fn from(day: Day) -> Self {
        match day {
            Day::Mon => Self::Monday,
            Day::Tue => Self::Tuesday,
            Day::Wed => Self::Wednesday,
            Day::Thu => Self::Thursday,
            Day::Fri => Self::Friday,
            Day::Sat => Self::Saturday,
            Day::Sun => Self::Sunday,
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Copy {
    /// The vault to copy to.
    pub(in crate::config) vault: String,
    /// How far it may lag behind the plan's vault. 24h by default.
    pub(in crate::config) max_lag: Option<Span>,
    /// How long it keeps snapshots. By default as long as the plan's vault.
    pub(in crate::config) retention: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Verify {
    /// Oldest allowed proof that every blob was read back.
    pub(in crate::config) read: Option<Span>,
    /// Oldest allowed proof that it was recovered: a drill whose checks passed.
    pub(in crate::config) boot: Option<Span>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Objectives {
    /// When the machine is lost.
    pub(in crate::config) host: Option<Objective>,
    /// When the region of the plan's vault is lost.
    pub(in crate::config) region: Option<Objective>,
    /// When somebody who holds what the host holds destroys the data.
    pub(in crate::config) attack: Option<Objective>,
    /// Declared times of what drills do not exercise.
    #[serde(default)]
    pub(in crate::config) allow: Allowances,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Recover {
    /// The runbook that brings it back.
    pub(in crate::config) runbook: String,
    /// When that is tried.
    pub(in crate::config) drill: Option<Drill>,
    /// A sign of life that the application writes into the source all the time, with its time.
    pub(in crate::config) canary: Option<Canary>,
    /// What production is. A drill with less is indicative at most; without this every drill is.
    pub(in crate::config) production: Option<Production>,
}

/// Where a drill finds the newest sign of life in what came back.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Canary {
    /// The SQLite database, within the target.
    pub(in crate::config) path: PathBuf,
    /// Its first column of its first row is the time: milliseconds since 1970, or text like 2026-11-25T14:00:00Z.
    pub(in crate::config) query: String,
    /// How often one is written. The newest that came back and the consistency point must agree within this.
    pub(in crate::config) period: Span,
}

/// At least one of the keys.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Production {
    /// How much data comes back, at least.
    pub(in crate::config) size: Option<ByteSize>,
    /// Processors of the machine that it comes back on.
    pub(in crate::config) processors: Option<u32>,
    /// Memory of that machine.
    pub(in crate::config) memory: Option<ByteSize>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Drill {
    /// How often.
    pub(in crate::config) every: Age,
    /// What is lost, in turn. By default all that an objective is promised for.
    #[serde(default)]
    pub(in crate::config) scenarios: Vec<Disaster>,
}
