//! `drctl runbook`

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Check, print and carry out runbooks: how things come back.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drctl runbook check                            can every runbook be carried out?
  drctl runbook render orders > orders.md        a document to follow by hand, with plain restic commands
  drctl runbook run orders --to /srv/restored    in an incident; for a rehearsal use `drctl drill run`
  drctl runbook run orders --to /srv/restored --from dr

A run goes on past what is not critical. Steps find the target in DRCTL_SANDBOX. Nothing is removed afterwards.")]
pub(crate) struct Runbook {
    /// What to do.
    #[command(subcommand)]
    pub(crate) action: Action,
}

/// What to do with runbooks.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Say in which order the steps come, or what keeps them from having one
    Check {
        /// Only these
        #[arg(value_name = "RUNBOOK")]
        names: Vec<String>,
    },
    /// Print the recovery of a plan as a document to follow by hand
    Render {
        /// The plan
        #[arg(value_name = "PLAN")]
        plan: String,
        /// Another runbook than the plan's
        #[arg(long, value_name = "NAME")]
        runbook: Option<String>,
    },
    /// Bring a plan back
    Run(Run),
}

/// Bring a plan back.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The plan
    #[arg(value_name = "PLAN")]
    pub(crate) plan: String,
    /// Restore beneath this folder
    #[arg(short = 't', long, value_name = "DIR")]
    pub(crate) to: PathBuf,
    /// From this vault [by default the plan's own]
    #[arg(long, value_name = "VAULT")]
    pub(crate) from: Option<String>,
    /// Another runbook than the plan's
    #[arg(long, value_name = "NAME")]
    pub(crate) runbook: Option<String>,
    /// Write over what is there and differs
    #[arg(long)]
    pub(crate) overwrite: bool,
}
