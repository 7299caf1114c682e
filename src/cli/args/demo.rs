//! `drctl demo`

use std::path::PathBuf;

use clap::Args;

/// Show the whole loop on local folders: back up, keep, copy, lose, restore, measure. Nothing to configure.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drctl demo
  drctl demo --path ~/documents --report report.html

In about a minute: takes a copy of a folder and a live SQLite database, backs both up into one of two vaults that stand for
two regions, runs a year of schedule on a simulated calendar (each day a real snapshot; retention and prune really delete),
copies to the other region, loses the first one, and drills the recovery from the copy. The durations are real; dates of the
calendar are marked as simulated. All but the report is removed. It works in memory (/dev/shm) where there is room, or in
TMPDIR.")]
pub(crate) struct Demo {
    /// The folder whose copy is backed up [by default something real on this machine]
    #[arg(long, value_name = "DIR")]
    pub(crate) path: Option<PathBuf>,
    /// Days of schedule to run
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u16).range(40..=3650))]
    pub(crate) days: u16,
    /// Write the report there [by default into the folder for temporary files]
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}
