//! `drctl catalog`

use clap::{Args, Subcommand};

/// Rebuild the local catalog of runs and snapshots.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drctl catalog rebuild     forgets the catalog and fills it from the records in the vaults

The catalog is a cache: the vaults are the truth.")]
pub(crate) struct Catalog {
    /// What to do.
    #[command(subcommand)]
    pub(crate) action: Action,
}

/// What to do with the catalog.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Action {
    /// Fill it from the vaults alone
    Rebuild,
}
