//! `drctl diff`

use clap::Args;

use super::select::Latest;

/// Show what differs between two snapshots.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drctl diff 4bba301e latest
  drctl diff 4bba301e:/etc 90c2d7aa:/etc
  drctl diff 4bba301e latest --metadata     also where only mode, owner or times differ

Each line starts with + (new), - (gone), M (other content), T (another kind of file) or U (other metadata).")]
pub(crate) struct Diff {
    /// The older side: a snapshot, with a path if wanted
    #[arg(value_name = "FROM")]
    pub(crate) from: String,
    /// The newer side
    #[arg(value_name = "TO", default_value = "latest")]
    pub(crate) to: String,
    /// Show where only metadata differs
    #[arg(long)]
    pub(crate) metadata: bool,
    /// Which snapshot "latest" is.
    #[command(flatten)]
    pub(crate) latest: Latest,
}
