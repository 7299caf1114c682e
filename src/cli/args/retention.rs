//! `drctl retention`

use clap::Args;

/// Explain what each plan keeps and drops, by rule, and drop it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drctl retention                     explain, change nothing
  drctl retention orders --dry-run    the same, for one plan
  drctl retention --apply             drop what no rule keeps
  drctl retention --apply --acknowledge 41

What is dropped is freed by the next prune. More than half of a plan's snapshots at once needs --acknowledge with the
very number that is to be dropped.")]
pub(crate) struct Retention {
    /// Only these plans
    #[arg(value_name = "PLAN")]
    pub(crate) plans: Vec<String>,
    /// Explain, change nothing; this is the default
    #[arg(short = 'n', long, conflicts_with = "apply")]
    pub(crate) dry_run: bool,
    /// Drop what no rule keeps
    #[arg(long)]
    pub(crate) apply: bool,
    /// Agree to so many snapshots being dropped at once
    #[arg(long, value_name = "N", requires = "apply")]
    pub(crate) acknowledge: Option<usize>,
}
