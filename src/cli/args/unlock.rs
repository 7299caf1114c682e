//! `drctl unlock`

use clap::Args;

/// Remove locks that dead processes left behind.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drctl unlock           removes locks that are 30 minutes old, or whose process on this machine is gone
  drctl unlock --all     removes every lock; make sure first that nothing is working in the vault")]
pub(crate) struct Unlock {
    /// Remove every lock, those of living processes too
    #[arg(long)]
    pub(crate) all: bool,
}
