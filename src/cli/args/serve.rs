//! `drctl serve`

use clap::Args;

/// Run plans when they are due, then copies, retention, prune, verification and drills.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drctl serve                   until SIGTERM or Ctrl-C; running backups then stop at a safe point
  drctl serve --once            one round, for cron or a timer
  drctl --json serve            logs as JSON lines")]
pub(crate) struct Serve {
    /// Do what is due now and end
    #[arg(long)]
    pub(crate) once: bool,
}
