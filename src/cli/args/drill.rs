//! `drctl drill`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::objective::Disaster;

/// Restore into a sandbox, check what came back, and hold the measured times against the promised ones.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drctl drill run orders                         the first disaster that something is promised for
  drctl drill run orders --scenario region       the region is lost: restores from a copy elsewhere
  drctl drill run orders --lose primary          that vault is not touched
  drctl drill list
  drctl drill report orders --html report.html

A drill runs the plan's runbook, the very steps of an incident, and reads its vault without any local copy of it. It passes
only when every critical check is green; execution alone never passes: the plan's allowances are added. Exit codes: 0 within
the objective, 1 failed or not to be trusted, 3 some steps were not exercised, 4 an objective was missed.")]
pub(crate) struct Drill {
    /// What to do.
    #[command(subcommand)]
    pub(crate) action: Action,
}

/// What to do about drills.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Drill the recovery of a plan, now
    Run(Run),
    /// List drills, the newest first
    List(List),
    /// Show a drill's evidence, computed again
    Report(Report),
}

/// Drill the recovery of a plan, now.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The plan to bring back
    #[arg(value_name = "PLAN")]
    pub(crate) plan: String,
    /// What is lost [by default the first that the plan promises something for and that leaves a vault]
    #[arg(long, value_name = "DISASTER")]
    pub(crate) scenario: Option<Scenario>,
    /// This vault is lost too, and must not be used; may be repeated
    #[arg(long, value_name = "VAULT")]
    pub(crate) lose: Vec<String>,
    /// Restore from this vault [by default the first that is left]
    #[arg(long, value_name = "VAULT", conflicts_with = "lose")]
    pub(crate) from: Option<String>,
    /// Bring it back by this runbook [by default the plan's]
    #[arg(long, value_name = "NAME")]
    pub(crate) runbook: Option<String>,
    /// Make the sandbox in this folder [by default in the state folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) sandbox: Option<PathBuf>,
    /// Leave the sandbox there
    #[arg(long)]
    pub(crate) keep: bool,
    /// Write the report there as well
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// List drills, the newest first.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those of this plan
    #[arg(value_name = "PLAN")]
    pub(crate) plan: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: u32,
}

/// Show a drill's evidence, computed again.
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// The beginning of a drill's id, or a plan, whose newest drill is meant [by default the newest drill of all]
    #[arg(value_name = "DRILL|PLAN")]
    pub(crate) which: Option<String>,
    /// Write the page there
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// A kind of disaster, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// The machine, with its disks
    Host,
    /// The region of the plan's vault, with everything in it
    Region,
    /// The data, by somebody who holds what the host holds
    Attack,
}

impl From<Scenario> for Disaster {
    fn from(scenario: Scenario) -> Self {
        match scenario {
            Scenario::Host => Self::Host,
            Scenario::Region => Self::Region,
            Scenario::Attack => Self::Attack,
        }
    }
}
