//! `drctl snapshots`

use std::num::NonZeroUsize;

use clap::Args;

use super::select::{Filter, count};

/// List the snapshots of a vault, oldest first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drctl snapshots
  drctl snapshots --host db1 --tag nightly
  drctl snapshots --latest 3           the newest three of each host and set of paths
  drctl snapshots --json | jq -r '.snapshots[-1].id'")]
pub(crate) struct Snapshots {
    /// Only these, by the beginning of their id
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) ids: Vec<String>,
    /// Which snapshots count.
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// Only the newest N of each host and set of paths
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) latest: Option<NonZeroUsize>,
}
