//! `drctl forget`

use std::num::NonZeroUsize;

use clap::Args;

use super::select::{Filter, count};

/// Remove snapshots. Their data stays until it is pruned.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drctl forget 4bba301e 90c2d7aa
  drctl forget --keep-last 7 --dry-run           what would go, of each host and set of paths
  drctl forget --keep-last 7 --host db1 --prune")]
pub(crate) struct Forget {
    /// These snapshots, by the beginning of their id
    #[arg(value_name = "SNAPSHOT", required_unless_present = "keep_last", conflicts_with = "keep_last")]
    pub(crate) ids: Vec<String>,
    /// Keep the newest N of each host and set of paths, and the newest complete one; forget the rest
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) keep_last: Option<NonZeroUsize>,
    /// Which snapshots count; the others stay.
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// Delete the data that is no longer needed, too
    #[arg(long)]
    pub(crate) prune: bool,
    /// Show what would be done, change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}
