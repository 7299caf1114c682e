//! `drctl status`

use clap::Args;

/// Show each plan's objectives beside what would be lost now, its last success, next run and last proof.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drctl status
  drctl status orders --json | jq .plans[0].promises

Ends with 4 when an objective is exceeded or a proof is older than the plan allows.")]
pub(crate) struct Status {
    /// Only these plans
    #[arg(value_name = "PLAN")]
    pub(crate) plans: Vec<String>,
}
